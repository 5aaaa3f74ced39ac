//! How an entry commits to its payload's three parts, so that a part can be withheld or erased
//! without breaking a proof (docs/formats/entry.md, "Commitment").
//!
//! c_i = SHA-256("custody part v1" ‖ i ‖ salt_i ‖ part_i), 32 zero bytes for an absent part; the
//! entry holds SHA3-256("custody payload v1" ‖ c_0 ‖ c_1 ‖ c_2). Two hash families stand between
//! content and tree.
//!
//! Not here: making salts (random, by the writer), or what the parts say.

use sha2::{Digest, Sha256};
use sha3::Sha3_256;

use crate::hash::Hash;
use crate::two::{Joined, sha256_two};

/// How many parts a payload has.
pub const PART_COUNT: usize = 3;

const PART_LABEL: &[u8] = b"custody part v1";
const PAYLOAD_LABEL: &[u8] = b"custody payload v1";

/// A part of a payload, separately salted, withheld and erased.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// What rules read; pseudonyms only.
    Facts,
    /// Names, addresses, clients.
    Who,
    /// Statements, parameters, messages, the masked raw record.
    Text,
}

impl Part {
    /// The parts in the order of their numbers.
    pub const ALL: [Part; PART_COUNT] = [Part::Facts, Part::Who, Part::Text];

    /// The number in the commitment: 0 facts, 1 who, 2 text.
    pub fn number(self) -> u8 {
        match self {
            Part::Facts => 0,
            Part::Who => 1,
            Part::Text => 2,
        }
    }

    /// The name in options and output.
    pub fn name(self) -> &'static str {
        match self {
            Part::Facts => "facts",
            Part::Who => "who",
            Part::Text => "text",
        }
    }
}

/// 16 random bytes that keep a short part from being guessed from its commitment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Salt(pub [u8; Salt::LEN]);

impl Salt {
    /// Length in bytes.
    pub const LEN: usize = 16;
    /// The salt stored for a part that is absent or erased.
    pub const ZERO: Salt = Salt([0; Salt::LEN]);
}

/// What stands before the bytes of a part.
type PartPrefix = [u8; PART_LABEL.len() + 1 + Salt::LEN];

fn part_prefix(part: Part, salt: &Salt) -> PartPrefix {
    let mut prefix = [part.number(); PART_LABEL.len() + 1 + Salt::LEN];
    let (label, behind) = prefix.split_at_mut(PART_LABEL.len());
    label.copy_from_slice(PART_LABEL);
    if let Some(place) = behind.last_chunk_mut() {
        *place = salt.0;
    }
    prefix
}

/// c_i of two parts that are present, for less than twice the work.
pub fn two_part_commitments(part: Part, two: [(&Salt, &[u8]); 2]) -> [Hash; 2] {
    let prefixes = two.map(|(salt, _)| part_prefix(part, salt));
    let [(_, one), (_, other)] = two;
    let joined = |prefix, bytes| Joined { prefix, bytes };
    let [first, second] = &prefixes;
    sha256_two(joined(first, one), joined(second, other))
}

/// c_i of a part that is present.
pub fn part_commitment(part: Part, salt: &Salt, bytes: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(part_prefix(part, salt));
    hasher.update(bytes);
    Hash(hasher.finalize().into())
}

/// The commitment an entry holds, from the three part commitments ([`Hash::ZERO`] = absent).
pub fn payload_commitment(parts: &[Hash; PART_COUNT]) -> Hash {
    let mut hasher = Sha3_256::new();
    hasher.update(PAYLOAD_LABEL);
    for part in parts {
        hasher.update(part.0);
    }
    Hash(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_documentation_is_what_we_compute() {
        let page = include_str!("../../../docs/formats/entry.md");
        let salt = Salt(*b"0123456789abcdef");
        let facts = part_commitment(Part::Facts, &salt, br#"{"class_uid":6005}"#);
        assert_eq!(facts.to_string(), crate::bytes::example_text(page, "c0"));
        let commitment = payload_commitment(&[facts, Hash::ZERO, Hash::ZERO]);
        assert_eq!(
            commitment.to_string(),
            crate::bytes::example_text(page, "commitment")
        );
    }

    #[test]
    fn part_number_salt_and_bytes_each_change_the_commitment() {
        let salt = Salt([7; 16]);
        let base = part_commitment(Part::Facts, &salt, b"x");
        assert_ne!(base, part_commitment(Part::Who, &salt, b"x"));
        assert_ne!(base, part_commitment(Part::Facts, &Salt([8; 16]), b"x"));
        assert_ne!(base, part_commitment(Part::Facts, &salt, b"y"));
        assert_eq!(base, part_commitment(Part::Facts, &salt, b"x"));
        let other = Salt([8; 16]);
        let two = two_part_commitments(Part::Facts, [(&salt, b"x"), (&other, b"yy")]);
        assert_eq!(two, [base, part_commitment(Part::Facts, &other, b"yy")]);
    }
}
