//! The history of checkpoints that are kept: a file of records, appended to at each publication
//! (docs/formats/checkpoint.md).
//!
//! Not here: which are kept and for how long (ledger/log), or whether their signatures hold.

use crate::bytes::{Fields, FormatError, length_u32};
use crate::ids::Nanos;
use crate::segment::check_magic;

const WHAT: &str = "checkpoint history";
/// The mark at the start of the file.
pub const HISTORY_MAGIC: &[u8; 8] = b"CUSTCKP1";
/// Longest signed note kept, in bytes.
pub const NOTE_MAX: usize = 1 << 20;
const FIXED: usize = 16;

/// One kept checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryRecord<'a> {
    /// Why it is kept for ever; 0 if only for a while.
    pub keep: Keep,
    /// The ledger time it was published at.
    pub published: Nanos,
    /// The signed note.
    pub note: &'a [u8],
}

/// Reasons to keep a checkpoint for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Keep(pub u32);

impl Keep {
    /// For a while only.
    pub const FOR_A_WHILE: Keep = Keep(0);
    /// The first of an hour.
    pub const HOURLY: Keep = Keep(1);
    /// Sent to a witness, a sink or a timestamp authority.
    pub const SENT: Keep = Keep(2);
    /// Written into a proof or a bundle.
    pub const PROOF: Keep = Keep(4);
    /// At a rotation of keys.
    pub const ROTATION: Keep = Keep(8);
    /// The last before the log was stopped, over all its entries.
    pub const STOPPED: Keep = Keep(16);
    const KNOWN: u32 = 31;

    /// Whether all reasons of `other` are among these.
    pub fn contains(self, other: Keep) -> bool {
        self.0 & other.0 == other.0
    }

    /// These reasons and those of `other`.
    pub fn with(self, other: Keep) -> Keep {
        Keep(self.0 | other.0)
    }
}

impl<'a> HistoryRecord<'a> {
    /// Appends the record: length, reasons, time, note, CRC-32C.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&length_u32(self.note.len()).to_be_bytes());
        out.extend_from_slice(&self.keep.0.to_be_bytes());
        out.extend_from_slice(&self.published.0.to_be_bytes());
        out.extend_from_slice(self.note);
        let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_be_bytes());
    }

    /// Reads the record at the start of `bytes` and says how long it is.
    ///
    /// # Errors
    /// Bytes that end early, a wrong checksum, reasons never written.
    pub fn decode(bytes: &'a [u8]) -> Result<(HistoryRecord<'a>, usize), FormatError> {
        let mut fields = Fields::new(WHAT, bytes);
        let len = fields.len32()?;
        if len > NOTE_MAX {
            return Err(fields.illegal("length", len as u64));
        }
        let keep = Keep(fields.u32()?);
        let published = Nanos(fields.i64()?);
        let note = fields.take(len)?;
        let covered = bytes.get(..FIXED + len).unwrap_or_default();
        if fields.u32()? != crc32c::crc32c(covered) {
            return Err(FormatError::Checksum { what: WHAT });
        }
        if keep.0 & !Keep::KNOWN != 0 {
            return Err(fields.illegal("reasons", u64::from(keep.0)));
        }
        Ok((
            HistoryRecord {
                keep,
                published,
                note,
            },
            fields.at(),
        ))
    }
}

/// Whether a file begins as a history does.
///
/// # Errors
/// Another mark, or that of a newer version.
pub fn check_mark(mark: &[u8]) -> Result<(), FormatError> {
    check_magic(WHAT, mark, HISTORY_MAGIC)
}

/// The records behind the mark of a whole history file, each with its offset.
///
/// # Errors
/// At the first byte that is not as written; what came before was good.
pub fn records(
    file: &[u8],
) -> Result<impl Iterator<Item = Result<(usize, HistoryRecord<'_>), FormatError>>, FormatError> {
    let mark = file.get(..HISTORY_MAGIC.len()).unwrap_or(file);
    check_mark(mark)?;
    let mut at = HISTORY_MAGIC.len();
    let mut failed = false;
    Ok(std::iter::from_fn(move || {
        let rest = file.get(at..).filter(|rest| !rest.is_empty() && !failed)?;
        let read = HistoryRecord::decode(rest).map(|(record, len)| {
            let offset = at;
            at += len;
            (offset, record)
        });
        failed = read.is_err();
        Some(read)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_or_missing_byte_is_refused_and_the_twin_reads() {
        let mut good = HISTORY_MAGIC.to_vec();
        let note = b"origin\n1\nroot\n\nsignatures\n";
        HistoryRecord {
            keep: Keep::HOURLY,
            published: Nanos(7),
            note,
        }
        .encode(&mut good);
        HistoryRecord {
            keep: Keep::FOR_A_WHILE,
            published: Nanos(8),
            note,
        }
        .encode(&mut good);
        let read = |file: &[u8]| {
            records(file)?
                .collect::<Result<Vec<_>, _>>()
                .map(|all| all.len())
        };
        let boundary = 8 + FIXED + note.len() + 4;
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            assert!(read(&bad).is_err(), "byte {at}");
            assert!(
                read(&good[..at]).is_err() || at == 8 || at == boundary,
                "length {at}"
            );
        }
        assert_eq!(read(&good), Ok(2));
    }

    #[test]
    fn the_example_of_the_documentation_decodes() {
        let page = include_str!("../../../docs/formats/checkpoint.md");
        let file = crate::bytes::example_hex(page, "history");
        let note = &b"origin\n1\nroot\n\nsignatures\n"[..];
        let expected = [(Keep::HOURLY, Nanos(7)), (Keep::FOR_A_WHILE, Nanos(8))];
        let found: Vec<_> = records(&file).unwrap().map(Result::unwrap).collect();
        let mut again = HISTORY_MAGIC.to_vec();
        for ((_, record), (keep, published)) in found.iter().zip(expected) {
            let record_expected = HistoryRecord {
                keep,
                published,
                note,
            };
            assert_eq!(*record, record_expected);
            record.encode(&mut again);
        }
        assert_eq!(found.len(), 2);
        assert_eq!(again, file);
    }
}
