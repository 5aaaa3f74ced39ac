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
#[inline(always)]
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
#[inline(always)]
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

/// How many places are asked at once.
const BLOCK: usize = 16;

/// Whether the byte at some place and the one behind it are a wanted pair, and the place is one
/// that `exact` confirms. `wanted` is asked of sixteen places at once, so it must not branch.
#[inline(always)]
pub(crate) fn any_pair(
    bytes: &[u8],
    wanted: impl Fn(u8, u8) -> bool,
    exact: impl Fn(usize) -> bool,
) -> bool {
    let behind = bytes.get(1..).unwrap_or(&[]);
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let (nexts, rest) = behind.as_chunks::<BLOCK>();
    for (n, (block, next)) in blocks.iter().zip(nexts).enumerate() {
        let pairs = block.iter().zip(next);
        if !pairs.fold(false, |any, (a, b)| any | wanted(*a, *b)) {
            continue;
        }
        let mut pairs = block.iter().zip(next).enumerate();
        if pairs.any(|(at, (a, b))| wanted(*a, *b) && exact(n * BLOCK + at)) {
            return true;
        }
    }
    let from = nexts.len() * BLOCK;
    let pairs = bytes.get(from..).unwrap_or(&[]).iter().zip(rest);
    pairs
        .enumerate()
        .any(|(at, (a, b))| wanted(*a, *b) && exact(from + at))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn finds_the_pairs_that_a_plain_search_finds(
            bytes in proptest::collection::vec(b'a'..=b'd', 0..70),
            places in proptest::collection::vec(proptest::prelude::any::<bool>(), 70),
        ) {
            let wanted = |a: u8, b: u8| (a == b'a') & (b == b'b');
            let exact = |at: usize| places[at];
            let mut plain = bytes.windows(2).enumerate();
            let plain = plain.any(|(at, pair)| pair == b"ab" && exact(at));
            proptest::prop_assert_eq!(any_pair(&bytes, wanted, exact), plain);
        }

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
