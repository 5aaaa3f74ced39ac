//! Writing JSON in the one form that events have: no spaces, fixed field order, shortest escapes.
//!
//! RFC 8259: `"`, `\` and the control characters below U+0020 are escaped (`\b \t \n \f \r` where
//! they exist, `\u00xx` otherwise), everything else is written as UTF-8. Not here: reading (that is
//! `serde_json`'s work) and floating point numbers (events have none).

/// What stands after the backslash for a byte that needs one; 0 for those that do not.
fn escape_of(byte: u8) -> u8 {
    match byte {
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0C => b'f',
        b'\r' => b'r',
        0..0x20 => b'u',
        b'"' | b'\\' => byte,
        _ => 0,
    }
}

/// Where the first byte that needs an escape is. Most texts have none, and a block without one is
/// seen at once.
fn first_escape(bytes: &[u8]) -> Option<usize> {
    let needs = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let (blocks, rest) = bytes.as_chunks::<16>();
    for (n, block) in blocks.iter().enumerate() {
        if block.iter().fold(false, |any, byte| any | needs(byte)) {
            return block.iter().position(needs).map(|at| n * 16 + at);
        }
    }
    let at = rest.iter().position(needs)?;
    Some(blocks.len() * 16 + at)
}

/// Appends `text` as a JSON string.
pub(crate) fn put_str(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.reserve(bytes.len().saturating_add(2));
    out.push(b'"');
    let mut rest = bytes;
    while let Some(at) = first_escape(rest) {
        let (clean, tail) = rest.split_at(at);
        out.extend_from_slice(clean);
        let Some((&byte, tail)) = tail.split_first() else {
            break;
        };
        match escape_of(byte) {
            b'u' => {
                let high = HEX.get(usize::from(byte >> 4)).copied().unwrap_or(b'0');
                let low = HEX.get(usize::from(byte & 15)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
            short => out.extend_from_slice(&[b'\\', short]),
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends an unsigned number in decimal.
pub(crate) fn put_u64(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' | u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        used += 1;
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
        for value in [0, 1, -1, 9, 10, 12_345, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_i64(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
        let mut out = Vec::new();
        put_u64(u64::MAX, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), u64::MAX.to_string());
    }
}
