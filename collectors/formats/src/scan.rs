//! The first of some bytes, for texts where it is near: fields of a record are short, and a search
//! that begins with wide steps costs more than it saves there.
//!
//! Eight bytes at a time, by the arithmetic of zero bytes in a word (Warren, "Hacker's Delight",
//! 6-1); far away by `memchr`. Not here: what the bytes mean.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How many words are looked at before a byte counts as far away.
const NEAR_WORDS: usize = 4;

/// Where the first of the needles is in a word; its lowest mark is exact.
#[inline]
fn in_word<const N: usize>(chunk: [u8; 8], needles: [u8; N]) -> Option<usize> {
    let word = u64::from_le_bytes(chunk);
    let marks = needles.iter().fold(0, |marks, needle| {
        let zero = word ^ (ONES * u64::from(*needle));
        marks | (zero.wrapping_sub(ONES) & !zero & HIGHS)
    });
    let at = usize::try_from(marks.trailing_zeros() / 8).unwrap_or(8);
    (at < 8).then_some(at)
}

/// The first of some bytes.
#[inline]
fn near<const N: usize>(
    bytes: &[u8],
    needles: [u8; N],
    far: impl FnOnce(&[u8]) -> Option<usize>,
) -> Option<usize> {
    let mut rest = bytes;
    for word in 0..NEAR_WORDS {
        let Some((chunk, behind)) = rest.split_first_chunk::<8>() else {
            let at = rest.iter().position(|byte| needles.contains(byte))?;
            return Some(word * 8 + at);
        };
        if let Some(at) = in_word(*chunk, needles) {
            return Some(word * 8 + at);
        }
        rest = behind;
    }
    far(rest).map(|at| NEAR_WORDS * 8 + at)
}

/// The first of one byte.
#[inline]
pub(crate) fn first(bytes: &[u8], needle: u8) -> Option<usize> {
    near(bytes, [needle], |rest| memchr::memchr(needle, rest))
}

/// The first of two bytes.
#[inline]
pub(crate) fn first_of_two(bytes: &[u8], a: u8, b: u8) -> Option<usize> {
    near(bytes, [a, b], |rest| memchr::memchr2(a, b, rest))
}

/// The first of three bytes.
#[inline]
pub(crate) fn first_of_three(bytes: &[u8], a: u8, b: u8, c: u8) -> Option<usize> {
    near(bytes, [a, b, c], |rest| memchr::memchr3(a, b, c, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn finds_what_a_plain_search_finds(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..90),
            [a, b, c]: [u8; 3],
        ) {
            let plain = |needles: &[u8]| bytes.iter().position(|byte| needles.contains(byte));
            proptest::prop_assert_eq!(first(&bytes, a), plain(&[a]));
            proptest::prop_assert_eq!(first_of_two(&bytes, a, b), plain(&[a, b]));
            proptest::prop_assert_eq!(first_of_three(&bytes, a, b, c), plain(&[a, b, c]));
            for needle in bytes.iter().take(40) {
                proptest::prop_assert_eq!(first(&bytes, *needle), plain(&[*needle]));
            }
        }
    }
}
