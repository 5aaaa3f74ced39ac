//! Reading and writing big-endian fields of stored bytes without a panic.
//!
//! Not here: the meaning of any field.

/// Why stored bytes could not be decoded: the structure ends early, or a field has an illegal
/// value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end inside a field.
    #[error("{what} ends early: {needed} more bytes needed at byte {at}")]
    Short {
        /// The structure being read.
        what: &'static str,
        /// Offset inside the structure, in bytes.
        at: usize,
        /// How many bytes are missing at least.
        needed: usize,
    },
    /// The first bytes are not those of this structure.
    #[error("{what} does not begin with its mark")]
    Magic {
        /// The structure being read.
        what: &'static str,
    },
    /// The structure was written by a newer version of the format.
    #[error("{what} has format version {found}, this program reads up to {known}: use a newer one")]
    Version {
        /// The structure being read.
        what: &'static str,
        /// The version found.
        found: u16,
        /// The newest version understood.
        known: u16,
    },
    /// The stored checksum differs from the computed one.
    #[error("{what} has a wrong checksum")]
    Checksum {
        /// The structure being read.
        what: &'static str,
    },
    /// A field has a value that is never written.
    #[error("{what} has an illegal {field}: {value}")]
    Field {
        /// The structure being read.
        what: &'static str,
        /// The field's name in docs/formats.
        field: &'static str,
        /// The value found.
        value: u64,
    },
    /// Bytes are left over after the structure.
    #[error("{what} has {count} bytes too many")]
    Surplus {
        /// The structure being read.
        what: &'static str,
        /// How many bytes are left over.
        count: usize,
    },
    /// A block does not decompress to the length it states.
    #[error("{what} does not decompress to its stated length")]
    Compression {
        /// The structure being read.
        what: &'static str,
    },
}

/// A cursor over stored bytes.
pub struct Fields<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Starts at the first byte of `bytes`, which hold a `what`.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Fields { what, bytes, at: 0 }
    }

    /// The offset of the next field.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(field) = rest.get(..len) else {
            let needed = len.saturating_sub(rest.len());
            return Err(FormatError::Short {
                what: self.what,
                at: self.at,
                needed,
            });
        };
        self.at += len;
        Ok(field)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (what, at) = (self.what, self.at);
        let field = self.take(N)?;
        field.try_into().map_err(|_| FormatError::Short {
            what,
            at,
            needed: N,
        })
    }

    /// A `u8`.
    pub fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// A big-endian `u16`.
    pub fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// A big-endian `u32`.
    pub fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A big-endian `u32` that counts bytes or items in memory.
    pub fn len32(&mut self) -> Result<usize, FormatError> {
        let value = self.u32()?;
        usize::try_from(value).map_err(|_| self.illegal("length", u64::from(value)))
    }

    /// A big-endian `u64`.
    pub fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A big-endian `i64`.
    pub fn i64(&mut self) -> Result<i64, FormatError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// UTF-8 text behind a one-byte length.
    pub fn text8(&mut self, field: &'static str) -> Result<&'a str, FormatError> {
        let len = usize::from(self.u8()?);
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|error| self.illegal(field, error.valid_up_to() as u64))
    }

    /// Refuses bytes that remain.
    pub fn finish(self) -> Result<(), FormatError> {
        let count = self.bytes.len().saturating_sub(self.at);
        if count > 0 {
            return Err(FormatError::Surplus {
                what: self.what,
                count,
            });
        }
        Ok(())
    }

    /// The error for a field with an illegal value.
    pub fn illegal(&self, field: &'static str, value: u64) -> FormatError {
        FormatError::Field {
            what: self.what,
            field,
            value,
        }
    }
}

/// `len` as the `u32` of a length field. Lengths are bounded far below by the writers.
///
/// # Panics
/// If `len` exceeds `u32::MAX`: a bound of ours was not kept.
pub fn length_u32(len: usize) -> u32 {
    let value = u32::try_from(len);
    // INVARIANT: every stored length is bounded by segment and batch limits far below 4 GiB.
    assert!(value.is_ok(), "a stored length exceeds 4 GiB: {len}");
    value.unwrap_or(u32::MAX)
}

/// Appends `text` behind a one-byte length.
///
/// # Panics
/// If `text` is longer than 255 bytes: names are bounded when they are made.
pub fn put_text8(out: &mut Vec<u8>, text: &str) {
    let len = u8::try_from(text.len());
    // INVARIANT: names and keys of positions are at most 255 bytes; their constructors refuse more.
    assert!(
        len.is_ok(),
        "a stored name exceeds 255 bytes: {}",
        text.len()
    );
    out.push(len.unwrap_or(u8::MAX));
    out.extend_from_slice(text.as_bytes());
}

/// The bytes of the fenced block ```` ```hex NAME ```` of a page in docs/formats; spaces, line
/// ends and what follows a `#` do not count.
#[cfg(test)]
pub(crate) fn example_hex(page: &str, name: &str) -> Vec<u8> {
    let digits: String = example_lines(page, &format!("```hex {name}"))
        .map(|line| line.split('#').next().unwrap_or_default().replace(' ', ""))
        .collect();
    assert_eq!(digits.len() % 2, 0, "odd number of digits in {name}");
    (0..digits.len() / 2)
        .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

/// The text of the fenced block ```` ```text NAME ````, without its last line end.
#[cfg(test)]
pub(crate) fn example_text(page: &str, name: &str) -> String {
    example_lines(page, &format!("```text {name}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
fn example_lines<'a>(page: &'a str, fence: &str) -> impl Iterator<Item = &'a str> {
    let mut lines = page.lines().skip_while(move |line| *line != fence);
    assert!(lines.next().is_some(), "no block {fence}");
    lines.take_while(|line| *line != "```")
}
