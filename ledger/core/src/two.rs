//! SHA-256 of two messages side by side.
//!
//! The processor's instructions for SHA-256 wait for one another within a message; two messages
//! whose blocks take turns keep it busy, and cost two thirds of what they cost one after the other
//! (docs/performance.md). Not here: the compression itself (`sha2`).

use sha2::block_api::compress256;

use crate::hash::Hash;

/// Bytes of a block.
const BLOCK: usize = 64;
/// The state that hashing begins with (FIPS 180-4, section 5.3.3).
pub const SHA256_INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A message: a short beginning and the rest.
#[derive(Clone, Copy, Debug)]
pub struct Joined<'a> {
    /// Less than a block.
    pub prefix: &'a [u8],
    /// What follows it.
    pub bytes: &'a [u8],
}

impl<'a> Joined<'a> {
    /// A message without a prefix.
    pub fn whole(bytes: &'a [u8]) -> Joined<'a> {
        Joined { prefix: &[], bytes }
    }
}

/// The digests of two messages.
///
/// # Panics
/// If a prefix fills a block.
pub fn sha256_two(one: Joined<'_>, other: Joined<'_>) -> [Hash; 2] {
    let (one, other) = (Blocks::of(one), Blocks::of(other));
    let (mut first, mut second) = (SHA256_INITIAL, SHA256_INITIAL);
    let both = one.count().min(other.count());
    for at in 0..both {
        compress256(&mut first, one.block(at));
        compress256(&mut second, other.block(at));
    }
    for at in both..one.count() {
        compress256(&mut first, one.block(at));
    }
    for at in both..other.count() {
        compress256(&mut second, other.block(at));
    }
    [digest(first), digest(second)]
}

/// The digests of messages without a prefix, in their order.
pub fn sha256_each<'a>(messages: impl IntoIterator<Item = &'a [u8]>) -> Vec<Hash> {
    let mut messages = messages.into_iter();
    let mut digests = Vec::with_capacity(messages.size_hint().0);
    while let Some(one) = messages.next() {
        match messages.next() {
            Some(other) => digests.extend(sha256_two(Joined::whole(one), Joined::whole(other))),
            None => digests.push(Hash::sha256(one)),
        }
    }
    digests
}

/// A padded message (FIPS 180-4, section 5.1.1) in blocks, most of which lie where they lay.
struct Blocks<'a> {
    /// The prefix and what fills its block.
    first: Option<[u8; BLOCK]>,
    body: &'a [[u8; BLOCK]],
    /// What is left, and the padding.
    end: [[u8; BLOCK]; 2],
    ends: usize,
}

impl<'a> Blocks<'a> {
    fn of(message: Joined<'a>) -> Blocks<'a> {
        let Joined { prefix, bytes } = message;
        assert!(prefix.len() < BLOCK, "a prefix is less than a block");
        let mut first = None;
        let (mut rest, mut open) = (bytes, prefix);
        if let Some((filling, behind)) = bytes.split_at_checked(BLOCK - prefix.len())
            && !prefix.is_empty()
        {
            let mut block = [0; BLOCK];
            put(&mut block, &[prefix, filling]);
            (first, rest, open) = (Some(block), behind, &[]);
        }
        let (body, left) = rest.as_chunks();
        // Either the prefix stands in a block of its own or all of the message is short.
        let left_len = open.len() + left.len();
        let bits = (prefix.len() as u64 + bytes.len() as u64) * 8;
        let ends = if left_len + 9 <= BLOCK { 1 } else { 2 };
        let mut end = [[0; BLOCK]; 2];
        let flat = end.as_flattened_mut();
        put(flat, &[open, left, &[0x80]]);
        let last = end
            .get_mut(ends - 1)
            .and_then(|block| block.last_chunk_mut());
        if let Some(length) = last {
            *length = bits.to_be_bytes();
        }
        Blocks {
            first,
            body,
            end,
            ends,
        }
    }

    fn count(&self) -> usize {
        usize::from(self.first.is_some()) + self.body.len() + self.ends
    }

    /// The block with this number, as the one of a list.
    #[inline]
    fn block(&self, at: usize) -> &[[u8; BLOCK]] {
        let before = usize::from(self.first.is_some());
        let found = match &self.first {
            Some(first) if at == 0 => Some(first),
            _ => {
                (self.body.get(at - before)).or_else(|| self.end.get(at - before - self.body.len()))
            }
        };
        found.map_or(&[], std::slice::from_ref)
    }
}

/// Writes pieces one after the other.
#[inline]
fn put(mut to: &mut [u8], pieces: &[&[u8]]) {
    for piece in pieces {
        let (here, behind) = to.split_at_mut(piece.len());
        here.copy_from_slice(piece);
        to = behind;
    }
}

fn digest(state: [u32; 8]) -> Hash {
    let mut hash = Hash::ZERO;
    for (bytes, word) in hash.0.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_messages_of_any_lengths_have_the_digests_of_sha2() {
        let bytes: Vec<u8> = (0..400_u32).map(|n| (n * 7 % 251) as u8).collect();
        let alone = |message: Joined<'_>| Hash::sha256(&[message.prefix, message.bytes].concat());
        for prefix in [0, 1, 31, 32, 55, 56, 63] {
            for len in 0..260 {
                let one = Joined {
                    prefix: &bytes[..prefix],
                    bytes: &bytes[prefix..prefix + len],
                };
                let other = Joined {
                    prefix: &bytes[300..300 + prefix],
                    bytes: &bytes[..len * 3 % 277],
                };
                let both = sha256_two(one, other);
                assert_eq!(both, [alone(one), alone(other)], "{prefix} and {len}");
            }
        }
        assert_ne!(sha256_each([&b"a"[..]]), sha256_each([&b"b"[..]]));
        let messages: Vec<&[u8]> = (0..5).map(|n| &bytes[n..n * 60]).collect();
        let each: Vec<Hash> = messages.iter().map(|bytes| Hash::sha256(bytes)).collect();
        assert_eq!(sha256_each(messages), each);
    }
}
