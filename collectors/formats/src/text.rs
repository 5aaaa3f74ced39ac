//! Bytes to text without loss, cuts at a bound, and keyed digests.
//!
//! Not here: what a text means, masking.

use std::borrow::Cow;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use ledger_event::{Fingerprint, Text};
use sha2::Sha256;

use crate::format::FormatKeys;

/// Bytes as text: what is not UTF-8 becomes `\xNN`, byte by byte; whether there was such.
pub(crate) fn lossless(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (Cow::Borrowed(text), false);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    (Cow::Owned(out), true)
}

/// Cuts a text so that its JSON form has at most `budget` bytes; whether it was cut. What looks
/// like the beginning of a number at the cut goes too, so that no part of a card number is left
/// there.
pub(crate) fn cut(text: &mut Cow<'_, str>, budget: usize) -> bool {
    if text.len() <= budget / 6 {
        return false;
    }
    let mut cost = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        cost += match c {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            c if c < ' ' => 6,
            c => c.len_utf8(),
        };
        (cost > budget).then_some(at)
    });
    let Some(end) = end else { return false };
    let kept = text.get(..end).unwrap_or("");
    let kept = without_open_number(kept).to_owned();
    *text = Cow::Owned(kept);
    true
}

/// The text without the digits and separators at its end, nor a run of hexadecimal digits that can
/// be the beginning of a number written as bytes.
pub(crate) fn without_open_number(text: &str) -> &str {
    const HEX_RUN_MIN: usize = 14;
    let hex = text.trim_end_matches(|c: char| c.is_ascii_hexdigit());
    if text.len() - hex.len() >= HEX_RUN_MIN {
        return hex;
    }
    let trimmed = text.trim_end_matches(|c: char| {
        c.is_ascii_digit() || matches!(c, ' ' | '-' | '.' | '\t' | '\u{a0}')
    });
    // Only blanks and dots stood there: nothing was open.
    let tail = text.get(trimmed.len()..).unwrap_or("");
    if tail.bytes().any(|b| b.is_ascii_digit()) {
        trimmed
    } else {
        text
    }
}

/// The digests of one source, with its key taken in already.
#[derive(Clone)]
pub(crate) struct Digests {
    raw: Hmac<Sha256>,
    identity: Hmac<Sha256>,
}

impl Digests {
    /// Of a source with these keys; every use has its own label.
    pub(crate) fn new(keys: &FormatKeys) -> Digests {
        // RFC 2104: a key shorter than a block is followed by zeros.
        let mut block = [0; 64];
        for (slot, byte) in block.iter_mut().zip(keys.digest_key) {
            *slot = byte;
        }
        let labelled = |label: &[u8]| {
            let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
            mac.update(label);
            mac
        };
        Digests {
            raw: labelled(b"custody raw v1"),
            identity: labelled(b"custody event uid v1"),
        }
    }

    /// Of bytes that must not be guessed from their digest: the native record.
    pub(crate) fn raw(&self) -> Digest {
        Digest(self.raw.clone())
    }

    /// Of what identifies a native record.
    pub(crate) fn identity(&self) -> Digest {
        Digest(self.identity.clone())
    }
}

/// A digest under the source's key.
#[derive(Clone)]
pub(crate) struct Digest(Hmac<Sha256>);

impl Digest {
    /// Takes more bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The first `bytes` bytes of the digest in hexadecimal.
    pub(crate) fn hex(self, bytes: usize) -> String {
        let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
        let digest = self.0.finalize().into_bytes();
        let digits = digest.iter().take(bytes);
        let digits = digits.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        String::from_utf8(digits.collect()).unwrap_or_default()
    }

    /// As OCSF's `fingerprint`.
    pub(crate) fn fingerprint(self) -> Fingerprint<'static> {
        Fingerprint {
            algorithm_id: Some(99),
            algorithm: Some(Text::from("HMAC-SHA-256")),
            value: Some(Text::from(self.hex(32))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_loss() {
        assert_eq!(lossless("æ\0".as_bytes()), (Cow::Borrowed("æ\0"), false));
        assert_eq!(
            lossless(b"a\xff\xc3b"),
            (Cow::Owned("a\\xff\\xc3b".into()), true)
        );
    }

    #[test]
    fn a_cut_leaves_no_part_of_a_number() {
        for (text, budget, expected) in [
            ("abcdef", 3, "abc"),
            ("ab\"\"\"", 4, "ab\""),
            ("pan 4111 1111 1111 1111", 21, "pan"),
            ("pan 343131313131313131", 19, "pan "),
            ("a faded facade", 13, "a faded facad"),
            ("æøå", 3, "æ"),
            ("abc", 99, "abc"),
        ] {
            let mut now = Cow::Borrowed(text);
            assert_eq!(cut(&mut now, budget), text != expected);
            assert_eq!(now, expected);
        }
    }
}
