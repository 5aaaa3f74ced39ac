//! Card numbers: found by scheme prefix, length and check digit, whatever separates their digits.
//!
//! What counts as one (PCI DSS 4.0.1, 3.4.1: at most the first six and last four digits may stay):
//! - 13 to 19 digits that a scheme issues with that length, with a Luhn check digit;
//! - digits may be separated by one to three blanks, dashes, dots, tabs or no-break spaces, in
//!   groups of any size; a number may begin and end at any group, so that numbers before and after
//!   do not hide it;
//! - a run of digits without separators counts as a whole when it has up to 19 digits (an
//!   eight-byte number has 19, and searching inside such numbers would shred identifiers); a
//!   longer run cannot be an identifier of that kind and is searched inside;
//! - a digit may be written as an escape (`\x34`) or in another script or width, all of them as
//!   bytes in hexadecimal (`X'3431…'`, `'\x3431…'`; see `encoded`);
//! - a UUID is left alone.
//!
//! Data that follows the number in a magnetic stripe goes too. Not here: verification codes, which
//! are only known by the name that stands beside them (see `rules`).

use super::encoded::{self, FORMS, Folded};
use super::{Found, Kind, MASK, MaskOptions};

/// Digits of the shortest and longest card number.
const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;

/// Separator bytes allowed between two digits of one number.
const SEPARATOR_MAX: usize = 3;

/// The most digits that a run may have to be taken as one number only.
const WHOLE_RUN_MAX: usize = 19;

/// One digit of the text.
#[derive(Clone, Copy)]
struct Digit {
    at: usize,
    value: u8,
    /// The digit begins a group: the byte before it is not a digit.
    starts: bool,
    /// The digit ends a group.
    ends: bool,
}

/// Masks every card number in `text`, also one whose digits are written as escapes or in another
/// script; `None` when there is none.
pub(super) fn mask(text: &str, options: MaskOptions, found: &mut Found) -> Option<String> {
    // Only ASCII digits and whole characters become stars, so this is UTF-8 still.
    let utf8 = |bytes| String::from_utf8(bytes).unwrap_or_else(|_| MASK.to_owned());
    // One reading after the other: each is of the text that the last one left.
    let mut now = None;
    let read = |now: Option<String>, fold: &dyn Fn(&str) -> Folded, found: &mut Found| {
        let text = now.as_deref().unwrap_or(text);
        let folded = fold(text);
        let changed = passes(&folded.bytes, options, found);
        changed
            .map(|changed| utf8(folded.unfold(text, &changed)))
            .or(now)
    };
    if encoded::in_hex(text.as_bytes()) {
        for skip in 0..2 {
            now = read(now, &|text| Folded::of_hex(text, skip), found);
        }
    }
    let plain = passes(now.as_deref().unwrap_or(text).as_bytes(), options, found);
    now = plain.map(utf8).or(now);
    if encoded::possible(now.as_deref().unwrap_or(text)) {
        for form in FORMS {
            now = read(now, &|text| Folded::of(text, form), found);
        }
    }
    now
}

fn passes(text: &[u8], options: MaskOptions, found: &mut Found) -> Option<Vec<u8>> {
    let mut now: Option<Vec<u8>> = None;
    // With the first six kept, those six end a group that was none before: a second look finds what
    // that uncovers. Each look is linear and masks something; four are more than any text needs.
    for _ in 0..4 {
        let Some(next) = pass(now.as_deref().unwrap_or(text), options, found) else {
            break;
        };
        now = Some(next);
    }
    now
}

/// Whether the text holds a card number: what [`mask`] would find, without finding all of it.
pub(super) fn present(text: &str) -> bool {
    present_unescaped(text) || (encoded::possible(text) && present_escaped(text))
}

/// Whether it holds one whose digits are written otherwise than as themselves.
pub(super) fn present_escaped(text: &str) -> bool {
    let folded = |form| holds(&Folded::of(text, form).bytes);
    FORMS.into_iter().any(folded)
}

/// The same of a text without escapes and other scripts.
pub(super) fn present_unescaped(text: &str) -> bool {
    let hex = |skip| holds(&Folded::of_hex(text, skip).bytes);
    holds(text.as_bytes()) || (encoded::in_hex(text.as_bytes()) && (0..2).any(hex))
}

/// Whether bytes hold a card number whose digits are written as themselves.
fn holds(text: &[u8]) -> bool {
    let mut digits: Vec<Digit> = Vec::new();
    let mut from = 0;
    while let Some((mut start, end)) = region(text, from) {
        let inside = text.get(..end).unwrap_or(text);
        if let Some(card) = one_run(inside.get(start..).unwrap_or(&[])) {
            if card {
                return true;
            }
            from = end;
            continue;
        }
        digits.reserve(DIGITS_MAX * 2);
        while let Some(after) = sequence(inside, start, &mut digits) {
            if digits.len() >= DIGITS_MIN && has_card_number(text, &digits) {
                return true;
            }
            start = after;
        }
        from = end;
    }
    false
}

/// Of digits without separators that can only be one number, whether that is a card's.
fn one_run(inside: &[u8]) -> Option<bool> {
    let one = inside.len() <= WHOLE_RUN_MAX && inside.iter().all(u8::is_ascii_digit);
    one.then(|| {
        let digits = inside.iter().map(|byte| u32::from(byte - b'0'));
        let prefix = digits.clone().take(6).fold(0, |n, digit| n * 10 + digit);
        scheme_issues(prefix, inside.len()) && luhn(digits.rev())
    })
}

fn pass(text: &[u8], options: MaskOptions, found: &mut Found) -> Option<Vec<u8>> {
    let mut copy: Option<Vec<u8>> = None;
    let mut digits: Vec<Digit> = Vec::new();
    let mut from = 0;
    while let Some((mut start, end)) = region(text, from) {
        let inside = text.get(..end).unwrap_or(text);
        while let Some(after) = sequence(inside, start, &mut digits) {
            if digits.len() >= DIGITS_MIN && has_card_number(text, &digits) {
                let copy = copy.get_or_insert_with(|| text.to_vec());
                mask_sequence(copy, &digits, options, found);
            }
            start = after;
        }
        from = end;
    }
    copy
}

/// Where the next thirteen or more bytes that digits and separators consist of begin and end, if
/// thirteen of them are digits. Looking at each thirteenth byte is enough to miss none.
fn region(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from + DIGITS_MIN - 1;
    loop {
        while !is_member(*text.get(at)?) {
            at += DIGITS_MIN;
        }
        let (before, behind) = (text.get(from..at)?, text.get(at..)?);
        let before = before.iter().rev().take_while(|b| is_member(**b)).count();
        let behind = behind.iter().take_while(|b| is_member(**b)).count();
        let (start, end) = (at - before, at + behind);
        if before + behind >= DIGITS_MIN {
            let inside = text.get(start..end)?;
            if inside.iter().filter(|b| b.is_ascii_digit()).count() >= DIGITS_MIN {
                return Some((start, end));
            }
        }
        at = end + DIGITS_MIN;
    }
}

/// Whether a byte can stand in a number and its separators.
#[inline]
fn is_member(byte: u8) -> bool {
    const MEMBERS: [bool; 256] = {
        let mut members = [false; 256];
        let mut byte = 0_u8;
        loop {
            #[expect(
                clippy::indexing_slicing,
                reason = "constant: evaluated by the compiler"
            )]
            {
                members[byte as usize] =
                    matches!(byte, b'0'..=b'9' | b' ' | b'-' | b'.' | b'\t' | 0xC2 | 0xA0);
            }
            if byte == u8::MAX {
                break members;
            }
            byte += 1;
        }
    };
    MEMBERS.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Reads the first digits from `from` on that belong together; where they end.
fn sequence(text: &[u8], from: usize, digits: &mut Vec<Digit>) -> Option<usize> {
    digits.clear();
    let mut at = from + text.get(from..)?.iter().position(u8::is_ascii_digit)?;
    let mut starts = true;
    loop {
        while let Some(byte @ b'0'..=b'9') = text.get(at) {
            digits.push(Digit {
                at,
                value: byte - b'0',
                starts,
                ends: false,
            });
            starts = false;
            at += 1;
        }
        if let Some(last) = digits.last_mut() {
            last.ends = true;
        }
        let gap = separator(text.get(at..).unwrap_or(&[]));
        if gap == 0 || !text.get(at + gap).is_some_and(u8::is_ascii_digit) {
            return Some(at);
        }
        starts = true;
        at += gap;
    }
}

/// Length of the separator that the bytes begin with: 0 for none or too long a one.
fn separator(bytes: &[u8]) -> usize {
    let mut at = 0;
    let mut count = 0;
    while count <= SEPARATOR_MAX {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b' ' | b'-' | b'.' | b'\t'), _) => at += 1,
            (Some(0xC2), Some(0xA0)) => at += 2,
            _ => return at,
        }
        count += 1;
    }
    0
}

/// Whether any window of the digits is a card number: the cheap question, asked of all digits.
fn has_card_number(text: &[u8], digits: &[Digit]) -> bool {
    let mut run = 0_usize;
    let mut left = 0_usize;
    (0..digits.len()).any(|start| {
        if left == 0 {
            run = digits
                .iter()
                .skip(start + 1)
                .take_while(|d| !d.starts)
                .count()
                + 1;
            left = run;
        }
        left -= 1;
        let long = run > WHOLE_RUN_MAX;
        if !long && !digits.get(start).is_some_and(|d| d.starts) {
            return false;
        }
        windows(digits, start, long).any(|window| !is_in_uuid(text, window))
    })
}

/// The card numbers that begin at one digit.
fn windows(digits: &[Digit], start: usize, long: bool) -> impl Iterator<Item = &[Digit]> {
    (DIGITS_MIN..=DIGITS_MAX)
        .map_while(move |length| digits.get(start..start + length))
        .filter(move |window| ends_well(window, long) && is_card_number(window))
}

fn mask_sequence(text: &mut [u8], digits: &[Digit], options: MaskOptions, found: &mut Found) {
    let runs = run_lengths(digits);
    let mut masked = vec![false; digits.len()];
    let mut kept_start = vec![false; digits.len()];
    for start in 0..digits.len() {
        let long = runs.get(start).is_some_and(|run| *run > WHOLE_RUN_MAX);
        let here = digits.get(start).is_some_and(|d| d.starts)
            || kept_start.get(start).copied().unwrap_or(false)
            || long;
        if !here {
            continue;
        }
        for window in windows(digits, start, long) {
            if is_in_uuid(text, window) {
                continue;
            }
            found.add(Kind::Pan);
            let first = if options.keep_first6 { 6 } else { 0 };
            let end = start + window.len();
            for slot in masked.get_mut(start + first..end - 4).unwrap_or(&mut []) {
                *slot = true;
            }
            if let Some(slot) = kept_start.get_mut(end - 4) {
                *slot = true;
            }
            if let Some(last) = window.last() {
                stripe(text, last.at + 1, found);
            }
        }
    }
    for (digit, masked) in digits.iter().zip(&masked) {
        if *masked {
            // A star behind a slash would begin a comment for whoever reads the statement next.
            let slash = digit.at > 0 && text.get(digit.at - 1) == Some(&b'/');
            if let Some(byte) = text.get_mut(digit.at) {
                *byte = if slash { b'x' } else { b'*' };
            }
        }
    }
}

/// For each digit, how many digits its run without separators has.
fn run_lengths(digits: &[Digit]) -> Vec<usize> {
    let mut lengths = Vec::with_capacity(digits.len());
    for run in digits.chunk_by(|_, next| !next.starts) {
        lengths.extend(std::iter::repeat_n(run.len(), run.len()));
    }
    lengths
}

/// Whether a number may end where the window ends.
fn ends_well(window: &[Digit], inside_long_run: bool) -> bool {
    window.last().is_some_and(|d| d.ends)
        // Inside a run of 20 and more only the lengths that schemes mostly issue are tried.
        || (inside_long_run && matches!(window.len(), 15 | 16))
}

fn is_card_number(window: &[Digit]) -> bool {
    let prefix = window
        .iter()
        .take(6)
        .fold(0_u32, |n, d| n * 10 + u32::from(d.value));
    scheme_issues(prefix, window.len()) && luhn(window.iter().rev().map(|d| u32::from(d.value)))
}

/// Whether the check digit, the first of these from the right, is the right one.
fn luhn(from_right: impl Iterator<Item = u32>) -> bool {
    let sum: u32 = from_right
        .enumerate()
        .map(|(n, value)| match (n % 2 == 1, value * 2) {
            (false, _) => value,
            (true, twice) if twice > 9 => twice - 9,
            (true, twice) => twice,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether some scheme issues numbers with these first six digits and this length (ISO/IEC 7812
/// issuer ranges as the schemes publish them: Visa, Mastercard, American Express, Diners Club,
/// Discover, JCB, UnionPay, Maestro, Mir, RuPay, Troy, Verve, Elo, Humo, UzCard, InterPayment,
/// InstaPayment, Dankort).
fn scheme_issues(prefix: u32, length: usize) -> bool {
    let (two, three, four) = (prefix / 10_000, prefix / 1000, prefix / 100);
    match two {
        40..=49 => matches!(length, 13 | 16 | 19),
        51..=55 => length == 16,
        22..=27 if (2221..=2720).contains(&four) => length == 16,
        22 if (2200..=2205).contains(&four) => (16..=19).contains(&length),
        34 | 37 => length == 15,
        30 if three <= 305 || four == 3095 => (14..=19).contains(&length),
        36 | 38 | 39 => (14..=19).contains(&length),
        35 if (3528..=3589).contains(&four) => (16..=19).contains(&length),
        50 | 56..=58 => length >= 13,
        60 | 62 | 64 | 65 | 81 | 82 => (16..=19).contains(&length),
        63 if three == 636 => (16..=19).contains(&length),
        63 if matches!(three, 637..=639) => length == 16 || (four == 6390 && length >= 13),
        63 if four == 6304 => length >= 13,
        61 | 66..=69 => length >= 13,
        97 if four == 9792 => length == 16,
        98 if four == 9860 => length == 16,
        86 if four == 8600 => length == 16,
        _ => false,
    }
}

/// Whether the window lies in a UUID: groups of 8, 4, 4, 4 and 12 hexadecimal digits.
fn is_in_uuid(text: &[u8], window: &[Digit]) -> bool {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let (Some(first), Some(last)) = (window.first(), window.last()) else {
        return false;
    };
    if last.at - first.at == window.len() - 1 {
        return false; // no separator: thirteen digits do not fit in a group
    }
    let earliest = first.at.saturating_sub(36);
    (earliest..=first.at).any(|start| {
        start + 36 > last.at
            && text.get(start..start + 36).is_some_and(|uuid| {
                uuid.iter().enumerate().all(|(n, byte)| {
                    if DASHES.contains(&n) {
                        *byte == b'-'
                    } else {
                        byte.is_ascii_hexdigit()
                    }
                })
            })
            && !text
                .get(start.wrapping_sub(1))
                .is_some_and(u8::is_ascii_hexdigit)
            && !text.get(start + 36).is_some_and(u8::is_ascii_hexdigit)
    })
}

/// Masks what follows a card number on a magnetic stripe (ISO/IEC 7813): track 2's `=` or `D` and
/// digits, track 1's `^name^digits`.
fn stripe(text: &mut [u8], at: usize, found: &mut Found) {
    let rest = text.get_mut(at..).unwrap_or(&mut []);
    let length = match rest.first() {
        Some(b'=' | b'D' | b'd') => {
            let digits = rest
                .iter()
                .skip(1)
                .take_while(|b| b.is_ascii_digit())
                .count();
            if digits >= 7 { digits + 1 } else { 0 }
        }
        Some(b'^') => {
            // Track 1 has at most 79 characters in all.
            let end = |b: &u8| matches!(b, b'?' | b'\'' | b'"' | b'\n');
            let length = rest
                .iter()
                .take(66)
                .position(end)
                .unwrap_or(rest.len().min(66));
            let body = rest.get(..length).unwrap_or(&[]);
            if body.iter().skip(1).any(|b| *b == b'^') {
                length
            } else {
                0
            }
        }
        _ => 0,
    };
    // Never end inside a character.
    let tail = rest
        .iter()
        .skip(length)
        .take_while(|b| (0x80..0xC0).contains(*b))
        .count();
    let mut changed = false;
    for byte in rest.iter_mut().take(length + tail).skip(1) {
        changed |= *byte != b'*';
        *byte = b'*';
    }
    if changed {
        found.add(Kind::AuthData);
    }
}
