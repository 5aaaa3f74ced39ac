//! Characters written otherwise than as themselves: backslash escapes of literals, bytes in
//! hexadecimal, and digits, blanks and dashes of other scripts and widths.
//!
//! `E'\x41\u0041\101'` and `U&'\0041\+000041'` (PostgreSQL 18 manual, 4.1.2.2 and 4.1.2.3), also
//! where more quoting has doubled the backslash; and literals of bytes, as `X'3431'`. [`Folded`] is
//! a text with each such character as one ASCII byte that knows where it came from, so that what is
//! found there can be masked here.
//! Not here: what is found.

use std::borrow::Cow;

use super::prefilter;
use crate::scan;

/// How a backslash escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `\x41`, `\u0041`, `\U00000041`, `\101`.
    Escape,
    /// `\0041`, `\+000041`.
    Unicode,
}

/// Every form.
pub(super) const FORMS: [Form; 2] = [Form::Escape, Form::Unicode];

/// The longest run of backslashes that is read as one.
const RUN_MAX: usize = 64;

/// Whether the text has a character that is written otherwise.
pub(super) fn possible(text: &str) -> bool {
    any(text.as_bytes()) || other_script(text)
}

/// Whether the text has a digit, a blank or a dash of another script or width.
pub(super) fn other_script(text: &str) -> bool {
    let other = |c: char| !c.is_ascii() && folded_char(c).is_some();
    !text.is_ascii() && text.chars().any(other)
}

/// Whether the text has a backslash escape that names a character by its number.
pub(super) fn any(text: &[u8]) -> bool {
    let numbered = |byte: u8| {
        let digit = byte.wrapping_sub(b'0') < 10;
        let letter = (byte | 0x20).wrapping_sub(b'a') < 6;
        let mark = (byte == b'x') | (byte | 0x20 == b'u') | (byte == b'+') | (byte == b't');
        digit | letter | mark
    };
    scan::any_pair(
        text,
        |byte, next| (byte == b'\\') & numbered(next),
        |at| {
            let rest = text.get(at + 1..).unwrap_or(&[]);
            FORMS.iter().any(|form| number(rest, *form).is_some())
        },
    )
}

/// Whether undoing the escapes of a text that has [`any`] shows what the prefilter looks for.
pub(super) fn reveals(text: &str) -> bool {
    let shows = |form| prefilter::hit(decode(text, form).as_bytes());
    FORMS.into_iter().any(shows)
}

/// The number behind a backslash, and how many bytes it takes.
fn number(rest: &[u8], form: Form) -> Option<(u32, usize)> {
    let hex = |from: usize, least: usize, most: usize| {
        let digits = rest.get(from..)?.iter().take(most);
        let digits = digits.map_while(|b| char::from(*b).to_digit(16));
        let (value, count) = digits.fold((0_u32, 0), |(v, n), d| ((v << 4) | d, n + 1));
        (count >= least).then_some((value, from + count))
    };
    match (form, rest.first()?) {
        (Form::Escape, b'x') => hex(1, 1, 2),
        (Form::Escape, b'u') => hex(1, 4, 4),
        (Form::Escape, b'U') => hex(1, 8, 8),
        // The one separator of digits that has an escape of its own.
        (Form::Escape, b't') => Some((9, 1)),
        (Form::Escape, b'0'..=b'7') => {
            let digits = rest.iter().take(3);
            let digits = digits.map_while(|b| char::from(*b).to_digit(8));
            let (value, count) = digits.fold((0, 0), |(v, n), d| ((v << 3) | d, n + 1));
            Some((value & 0xFF, count))
        }
        (Form::Unicode, b'+') => hex(1, 6, 6),
        (Form::Unicode, _) => hex(0, 4, 4),
        _ => None,
    }
}

/// The number that escapes at the beginning of `rest` name, and the bytes that they take: a run of
/// backslashes and digits.
fn numbered(rest: &[u8], form: Form) -> Option<(u32, usize)> {
    let run = rest.iter().take(RUN_MAX).take_while(|b| **b == b'\\');
    let run = run.count();
    let (value, length) = number(rest.get(run..)?, form)?;
    Some((value, run + length))
}

/// The character that they name. Bytes above ASCII are read one by one.
fn escaped(rest: &[u8], form: Form) -> Option<(char, usize)> {
    let (value, length) = numbered(rest, form)?;
    Some((char::from_u32(value)?, length))
}

/// The character that one escape at the beginning of `text` names, and the bytes that it takes.
pub(super) fn escape(text: &str, form: Form) -> Option<(char, usize)> {
    let (value, length) = number(text.as_bytes().get(1..)?, form)?;
    Some((char::from_u32(value)?, 1 + length))
}

/// The text with its escapes undone; what names no character stays.
pub(super) fn decode(text: &str, form: Form) -> Cow<'_, str> {
    let mut out = String::new();
    let mut done = 0;
    let mut from = 0;
    while let Some(step) = memchr::memchr(b'\\', text.as_bytes().get(from..).unwrap_or(&[])) {
        let at = from + step;
        match escaped(text.as_bytes().get(at..).unwrap_or(&[]), form) {
            Some((c, length)) => {
                out.push_str(text.get(done..at).unwrap_or(""));
                out.push(c);
                done = at + length;
                from = done;
            }
            None => from = at + 1,
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(done..).unwrap_or(""));
    Cow::Owned(out)
}

/// Hexadecimal digits of the shortest card number whose digits are written as bytes.
const HEX_MIN: usize = 26;

/// Where the next run of hexadecimal digits is that can hold a card number: thirteen bytes of it
/// are digits, counted from its first or its second place on. Looking at each twenty-sixth byte is
/// enough to miss none.
fn hex_run(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from + HEX_MIN - 1;
    loop {
        while !text.get(at)?.is_ascii_hexdigit() {
            at += HEX_MIN;
        }
        let (before, behind) = (text.get(from..at)?, text.get(at..)?);
        let before = before.iter().rev().take_while(|b| b.is_ascii_hexdigit());
        let behind = behind.iter().take_while(|b| b.is_ascii_hexdigit());
        let (start, end) = (at - before.count(), at + behind.count());
        let digits = |from: usize| {
            let (pairs, _) = text.get(from..end).unwrap_or(&[]).as_chunks::<2>();
            let digit = |pair: &&[u8; 2]| matches!(pair, [b'3', b'0'..=b'9']);
            pairs.iter().filter(digit).count()
        };
        if end - start >= HEX_MIN && (digits(start) >= 13 || digits(start + 1) >= 13) {
            return Some((start, end));
        }
        at = end + HEX_MIN;
    }
}

/// Whether a text has digits written as bytes in hexadecimal, as many as a card number has.
pub(super) fn in_hex(text: &[u8]) -> bool {
    hex_run(text, 0).is_some()
}

/// What stands for a character that is no digit, blank or dash.
const OTHER: u8 = b'x';

/// A text in which every digit, blank and dash is one ASCII byte, and every other escape is one
/// letter: its own digits are no part of a number behind it.
pub(super) struct Folded {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// For each byte, where it begins in the text.
    starts: Vec<usize>,
}

impl Folded {
    /// The folding of a text.
    pub(super) fn of(text: &str, form: Form) -> Folded {
        let bytes = Vec::with_capacity(text.len());
        let starts = Vec::with_capacity(text.len());
        let mut folded = Folded { bytes, starts };
        let mut from = 0;
        while let Some(c) = text.get(from..).and_then(|rest| rest.chars().next()) {
            let rest = text.as_bytes().get(from..).unwrap_or(&[]);
            let escape = (c == '\\').then(|| numbered(rest, form)).flatten();
            if let Some((value, length)) = escape {
                // Half of a surrogate pair is no character, and an escape all the same.
                let named = char::from_u32(value).and_then(folded_char);
                folded.push(named.unwrap_or(OTHER), from);
                from += length;
            } else if let Some(byte) = folded_char(c).filter(|_| !c.is_ascii()) {
                folded.push(byte, from);
                from += c.len_utf8();
            } else {
                for byte in rest.iter().take(c.len_utf8()) {
                    folded.push(*byte, from);
                    from += 1;
                }
            }
        }
        folded
    }

    /// The text with each pair of hexadecimal digits in a run that can hold a card number as the
    /// byte that it names. `skip` is 0 or 1: where in the run the first pair begins.
    pub(super) fn of_hex(text: &str, skip: usize) -> Folded {
        let text = text.as_bytes();
        let bytes = Vec::with_capacity(text.len());
        let starts = Vec::with_capacity(text.len());
        let mut folded = Folded { bytes, starts };
        let mut at = 0;
        while at < text.len() {
            let run = hex_run(text, at);
            let (start, end) = run.unwrap_or((text.len(), text.len()));
            for byte in text.get(at..start).unwrap_or(&[]) {
                folded.push(*byte, at);
                at += 1;
            }
            if skip == 1 && at < end {
                folded.push(OTHER, at);
                at += 1;
            }
            for pair in text.get(at..end).unwrap_or(&[]).chunks(2) {
                let named = std::str::from_utf8(pair)
                    .ok()
                    .filter(|pair| pair.len() == 2);
                let named = named.and_then(|pair| u8::from_str_radix(pair, 16).ok());
                folded.push(named.filter(u8::is_ascii).unwrap_or(OTHER), at);
                at += pair.len();
            }
        }
        folded
    }

    fn push(&mut self, byte: u8, start: usize) {
        self.bytes.push(byte);
        self.starts.push(start);
    }

    /// The text again, with what `changed` has otherwise than the folding.
    pub(super) fn unfold(&self, text: &str, changed: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let ends = self.starts.iter().skip(1).copied().chain([text.len()]);
        let spans = self.starts.iter().copied().zip(ends);
        for ((before, after), (start, end)) in self.bytes.iter().zip(changed).zip(spans) {
            if before == after {
                out.extend_from_slice(text.as_bytes().get(start..end).unwrap_or(&[]));
            } else {
                out.push(*after);
            }
        }
        out
    }
}

/// Digits, blanks and dashes as ASCII.
fn folded_char(c: char) -> Option<u8> {
    match c {
        '0'..='9' | ' ' | '-' | '.' | '\t' => u8::try_from(c).ok(),
        '\u{a0}' | '\u{2000}'..='\u{200d}' | '\u{202f}' | '\u{205f}' | '\u{2060}' => Some(b' '),
        '\u{3000}' | '\u{feff}' => Some(b' '),
        '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe63}' | '\u{ff0d}' => Some(b'-'),
        '\u{b7}' | '\u{ff0e}' => Some(b'.'),
        '\u{660}'.. => {
            let code = u32::from(c);
            let next = ZEROS.partition_point(|zero| *zero <= code);
            let zero = ZEROS.get(next.checked_sub(1)?)?;
            let value = u8::try_from(code - zero).ok().filter(|value| *value < 10)?;
            Some(b'0' + value)
        }
        _ => None,
    }
}

/// The zero of each script's decimal digits (Unicode general category Nd; nine more follow each).
const ZEROS: &[u32] = &[
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6,
    0xE50, 0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50,
    0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
    0x104A0, 0x10D30, 0x10D40, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0,
    0x11650, 0x116C0, 0x116D0, 0x116DA, 0x11730, 0x118E0, 0x11950, 0x11BF0, 0x11C50, 0x11D50,
    0x11DA0, 0x11F50, 0x16A60, 0x16AC0, 0x16B50, 0x16D70, 0x1CCF0, 0x1D7CE, 0x1D7D8, 0x1D7E2,
    0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E5F1, 0x1E950, 0x1FBF0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        for (text, form, expected) in [
            (r"\x50ASS\u0057\U0000004fR\104", Form::Escape, "PASSWORD"),
            (r"\0050A\+000053S", Form::Unicode, "PASS"),
            (r"a\\x41\\\\101", Form::Escape, "aAA"),
            (r"\xg \u12 \9 \", Form::Escape, r"\xg \u12 \9 \"),
            (r"C:\new", Form::Escape, r"C:\new"),
        ] {
            assert_eq!(decode(text, form), expected, "{text}");
        }
        assert!(any(br"\x4") && any(br"\0041") && any(br"\+000041") && !any(br"\n\r\'\\"));
    }

    #[test]
    fn bytes_in_hexadecimal_fold_and_unfold() {
        let hex = "34313131313131313131313131313131";
        for (text, skip) in [
            (format!("SELECT X'{hex}'"), 0),
            (format!("a9{hex}f"), 0),
            (format!("a{hex}"), 1),
        ] {
            let folded = Folded::of_hex(&text, skip);
            let bytes = String::from_utf8(folded.bytes.clone()).unwrap();
            assert!(bytes.contains("4111111111111111"), "{text} is {bytes}");
            assert_eq!(folded.unfold(&text, &folded.bytes), text.as_bytes());
            assert!(in_hex(text.as_bytes()));
        }
        for text in [
            "",
            "d41d8cd98f00b204e9800998ecf8427e",
            "3132333435363738393031",
        ] {
            assert!(!in_hex(text.as_bytes()), "{text}");
            assert_eq!(Folded::of_hex(text, 0).bytes, text.as_bytes());
        }
    }

    #[test]
    fn digits_of_every_script_fold_and_unfold() {
        for text in [
            "\u{ff14}1\u{661}\u{1d7cf}\u{3000}x\u{2013}\u{e9}",
            r"\x34\u0031\61 1\U00000031",
        ] {
            let folded = Folded::of(text, Form::Escape);
            assert!(folded.bytes.starts_with(b"411"), "{text}");
            assert_eq!(folded.unfold(text, &folded.bytes), text.as_bytes());
            let mut changed = folded.bytes.clone();
            changed[0] = b'*';
            assert!(folded.unfold(text, &changed).starts_with(b"*"));
        }
        assert!(!possible("æøå 411 '' \\n"));
        assert!(ZEROS.is_sorted());
    }
}
