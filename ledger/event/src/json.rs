//! Writing JSON in the one form that events have: no spaces, fixed field order, shortest escapes.
//!
//! RFC 8259: `"`, `\` and the control characters below U+0020 are escaped (`\b \t \n \f \r` where
//! they exist, `\u00xx` otherwise), everything else is written as UTF-8. Not here: reading (that is
//! `serde_json`'s work) and floating point numbers (events have none).

/// How many bytes are looked at and written at once.
const BLOCK: usize = 16;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// What stands after the backslash for each byte that needs one; 0 for those that do not.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut byte = 0_u8;
    loop {
        #[expect(
            clippy::indexing_slicing,
            reason = "constant: evaluated by the compiler"
        )]
        {
            escapes[byte as usize] = match byte {
                b'"' | b'\\' => byte,
                0x08 => b'b',
                b'\t' => b't',
                b'\n' => b'n',
                0x0C => b'f',
                b'\r' => b'r',
                0..0x20 => b'u',
                _ => 0,
            };
        }
        if byte == u8::MAX {
            break escapes;
        }
        byte += 1;
    }
};

#[inline]
fn escape_of(byte: u8) -> u8 {
    ESCAPES.get(usize::from(byte)).copied().unwrap_or(0)
}

/// Whether some byte of a block needs an escape: all sixteen are compared at once.
#[inline]
fn any_escape(block: &[u8; BLOCK]) -> bool {
    let needs = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    block.iter().fold(false, |any, byte| any | needs(*byte))
}

/// Marks in a word where its first byte that needs an escape is, by the arithmetic of zero bytes
/// (Warren, "Hacker's Delight", 6-1); what is marked behind that one need not.
#[inline]
fn escapes_in(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    let equal = |byte: u8| {
        let zero = word ^ u64::from_le_bytes([byte; 8]);
        zero.wrapping_sub(ONES) & !zero
    };
    let control = word.wrapping_sub(u64::from_le_bytes([0x20; 8])) & !word;
    (control | equal(b'"') | equal(b'\\')) & HIGHS
}

/// How many bytes of a block stand before the first one that needs an escape.
#[inline]
fn clean_in(block: &[u8; BLOCK]) -> usize {
    let word = |half: Option<&[u8; 8]>| half.map_or(0, |half| u64::from_le_bytes(*half));
    let low = escapes_in(word(block.first_chunk()));
    let high = escapes_in(word(block.last_chunk()));
    let (marks, before) = if low == 0 { (high, 8) } else { (low, 0) };
    usize::try_from(marks.trailing_zeros() / 8).unwrap_or(0) + before
}

/// Where the first byte that needs an escape, or ends a string, is.
pub(crate) fn first_escape(bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    if let Some(n) = blocks.iter().position(any_escape) {
        let within = blocks.get(n).map_or(0, clean_in);
        return Some(n * BLOCK + within);
    }
    let at = rest.iter().position(|byte| escape_of(*byte) != 0)?;
    Some(blocks.len() * BLOCK + at)
}

/// Appends `text` as a JSON string. Copies are of whole blocks where they can be, and what is too
/// much is taken back: a copy of any length costs more than that.
pub(crate) fn put_str(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    let room = rest.len().saturating_add(rest.len() / 8);
    out.reserve(room.saturating_add(BLOCK + 2));
    out.push(b'"');
    let mut clean = 0;
    while let Some(block) = rest.get(clean..).and_then(<[u8]>::first_chunk) {
        if !any_escape(block) {
            clean += BLOCK;
            continue;
        }
        let (run, behind) = rest.split_at(clean);
        if clean > 0 {
            out.extend_from_slice(run);
        }
        let here = clean_in(block);
        let end = out.len() + here;
        out.extend_from_slice(block);
        out.truncate(end);
        rest = behind.get(here..).unwrap_or(&[]);
        // One escape often stands behind another.
        while let Some((byte, behind)) = rest.split_first() {
            let escape = escape_of(*byte);
            if escape == 0 {
                break;
            }
            put_escape(*byte, escape, out);
            rest = behind;
        }
        clean = 0;
    }
    let (run, behind) = rest.split_at(clean);
    if clean > 0 {
        out.extend_from_slice(run);
    }
    put_end(behind, out);
    out.push(b'"');
}

/// Appends the last bytes of a string, less than a block.
#[inline]
fn put_end(rest: &[u8], out: &mut Vec<u8>) {
    // Two pieces that may overlap.
    if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) {
        let marks = escapes_in(u64::from_le_bytes(*first)) | escapes_in(u64::from_le_bytes(*last));
        if marks == 0 {
            let end = out.len() + rest.len();
            out.extend_from_slice(first);
            out.truncate(end - last.len());
            out.extend_from_slice(last);
            return;
        }
    } else if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) {
        let both = u64::from(u32::from_le_bytes(*first)) << 32;
        if escapes_in(both | u64::from(u32::from_le_bytes(*last))) == 0 {
            let end = out.len() + rest.len();
            out.extend_from_slice(first);
            out.truncate(end - last.len());
            out.extend_from_slice(last);
            return;
        }
    }
    for byte in rest {
        match escape_of(*byte) {
            0 => out.push(*byte),
            escape => put_escape(*byte, escape, out),
        }
    }
}

/// Appends the escape of a byte.
#[inline]
fn put_escape(byte: u8, escape: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'\\', escape]);
    if escape == b'u' {
        let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
        out.extend_from_slice(&[b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
    }
}

/// The numbers from 00 to 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut n = 0;
    while n < 100 {
        #[expect(
            clippy::indexing_slicing,
            clippy::cast_possible_truncation,
            reason = "constant: evaluated by the compiler"
        )]
        {
            pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        }
        n += 1;
    }
    pairs
};

/// Appends an unsigned number in decimal.
pub(crate) fn put_u64(mut value: u64, out: &mut Vec<u8>) {
    if let (true, Ok(digit)) = (value < 10, u8::try_from(value)) {
        out.push(b'0' + digit);
        return;
    }
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for slot in digits.as_chunks_mut::<2>().0.iter_mut().rev() {
        let pair = usize::try_from(value % 100).unwrap_or(0);
        *slot = PAIRS.get(pair).copied().unwrap_or_default();
        used += if value < 10 { 1 } else { 2 };
        value /= 100;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or(&[]));
}

/// Appends a signed number in decimal.
pub(crate) fn put_i64(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    put_u64(value.unsigned_abs(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_string_is_written_as_serde_json_does(
            text in "\\PC{0,40}|[a\"\\\\\n\u{1}æ]{0,40}|[a-z]{0,40}\"?[a-z]{0,40}",
            before in "[a-z]{0,3}",
        ) {
            let mut out = before.clone().into_bytes();
            put_str(&text, &mut out);
            let expected = before + &serde_json::to_string(&text).unwrap();
            proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }

        #[test]
        fn any_number_is_written_in_decimal(value: u64, digits in 0_u32..64) {
            let value = value >> digits;
            let mut out = Vec::new();
            put_u64(value, &mut out);
            proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn strings_and_numbers_read_back_equal() {
        let all: String = (0_u32..0x300)
            .filter_map(char::from_u32)
            .chain("æ☃𝄞".chars())
            .collect();
        for text in [
            "",
            "plain",
            "\"",
            "\\",
            "a\"b\\c\n\r\t\u{8}\u{c}\0\u{1f}\u{7f}",
            &all,
        ] {
            let mut out = Vec::new();
            put_str(text, &mut out);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            assert_eq!(
                out,
                serde_json::to_vec(text).unwrap(),
                "same escapes as serde_json"
            );
        }
        for value in [0, 1, -1, 9, 10, 99, 100, 999, 12_345, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_i64(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
        let mut out = Vec::new();
        put_u64(u64::MAX, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), u64::MAX.to_string());
    }
}
