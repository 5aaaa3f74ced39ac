//! Inclusion and consistency proofs: made from stored nodes, verified from nothing but hashes
//! (RFC 6962 sections 2.1.1 and 2.1.2; verification as RFC 9162 sections 2.1.3.2 and 2.1.4.2).
//!
//! Not here: where nodes are stored (the caller's `read`), and proof files ([`crate::proof_file`]).

use crate::hash::{Hash, node_hash};
use crate::ids::{Index, TreeSize};
use crate::tree::perfect_nodes;

/// Why a proof does not show what it claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProofError {
    /// The index lies outside the tree.
    #[error("the tree of size {size} has no entry {index}")]
    IndexOutside {
        /// The index claimed.
        index: Index,
        /// The tree's size.
        size: TreeSize,
    },
    /// The older tree is larger than the newer one.
    #[error("the tree shrank from {old} to {new} entries")]
    SizeShrank {
        /// The older size.
        old: TreeSize,
        /// The newer size.
        new: TreeSize,
    },
    /// A proof has one length only, given index and sizes.
    #[error("the proof has {found} hashes where it must have {expected}")]
    Length {
        /// The only possible length.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// The hashes lead to another root than the (newer) tree's.
    #[error("the proof leads to another root than the checkpoint's")]
    RootMismatch,
    /// The hashes lead to another root than the older tree's: history was rewritten.
    #[error("the proof leads to another root than the older checkpoint's")]
    OldRootMismatch,
}

/// The root of the leaves `[start, end)`, from stored perfect nodes.
fn subtree<E>(
    start: u64,
    end: u64,
    read: &mut impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Hash, E> {
    let mut root: Option<Hash> = None;
    for (level, number) in perfect_nodes(start, end).into_iter().rev() {
        let node = read(level, number)?;
        root = Some(root.map_or(node, |right| node_hash(&node, &right)));
    }
    Ok(root.unwrap_or_else(crate::hash::empty_root))
}

/// The root of the tree of `size` leaves, from stored perfect nodes.
///
/// # Errors
/// Those of `read`, which gives the perfect node of a level and a number.
pub fn root_from_nodes<E>(
    size: TreeSize,
    read: &mut impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Hash, E> {
    subtree(0, size.0, read)
}

/// The sibling hashes from the leaf `index` up to the root of the tree of `size` leaves.
///
/// # Errors
/// Those of `read`, which gives the perfect node of a level and a number.
///
/// # Panics
/// If `index` is not inside the tree; callers check what people ask for.
pub fn inclusion_proof<E>(
    index: Index,
    size: TreeSize,
    read: &mut impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    assert!(
        index.0 < size.0,
        "entry {index} is outside the tree of size {size}"
    );
    let mut siblings = Vec::new();
    let (mut start, mut end) = (0, size.0);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index.0 < middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((start, middle));
            start = middle;
        }
    }
    siblings
        .into_iter()
        .rev()
        .map(|(from, to)| subtree(from, to, read))
        .collect()
}

/// The hashes that show the tree of `old` leaves to be a prefix of the tree of `new` leaves. Empty
/// if the sizes are equal or `old` is 0.
///
/// # Errors
/// Those of `read`, which gives the perfect node of a level and a number.
///
/// # Panics
/// If `old` is larger than `new`.
pub fn consistency_proof<E>(
    old: TreeSize,
    new: TreeSize,
    read: &mut impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    assert!(
        old <= new,
        "no consistency proof from size {old} back to {new}"
    );
    if old.0 == 0 || old == new {
        return Ok(Vec::new());
    }
    let mut ranges = Vec::new();
    let (mut start, mut end) = (0, new.0);
    // Descend to the subtree that ends where the old tree ends.
    while old.0 < end {
        let middle = start + split(end - start);
        if old.0 <= middle {
            ranges.push((middle, end));
            end = middle;
        } else {
            ranges.push((start, middle));
            start = middle;
        }
    }
    // If that subtree is the whole old tree, its root is known to the verifier.
    if start != 0 {
        ranges.push((start, end));
    }
    ranges
        .into_iter()
        .rev()
        .map(|(from, to)| subtree(from, to, read))
        .collect()
}

/// Checks that `leaf` is entry `index` of the tree of `size` leaves and root `root`.
///
/// # Errors
/// The misdeed: an index outside, a wrong number of hashes, another root.
pub fn verify_inclusion(
    index: Index,
    size: TreeSize,
    leaf: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index.0 >= size.0 {
        return Err(ProofError::IndexOutside { index, size });
    }
    let expected = inclusion_length(index.0, size.0);
    if proof.len() != expected {
        return Err(ProofError::Length {
            expected,
            found: proof.len(),
        });
    }
    let (mut node, mut last) = (index.0, size.0 - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // A right edge without sibling climbs until it is a right child.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root {
        Ok(())
    } else {
        Err(ProofError::RootMismatch)
    }
}

/// Checks that the tree of `old` leaves and `old_root` is a prefix of the tree of `new` leaves and
/// `new_root`.
///
/// # Errors
/// The misdeed: a tree that shrank, a wrong number of hashes, either root not met.
pub fn verify_consistency(
    old: TreeSize,
    new: TreeSize,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::SizeShrank { old, new });
    }
    let expected = consistency_length(old.0, new.0);
    if proof.len() != expected {
        return Err(ProofError::Length {
            expected,
            found: proof.len(),
        });
    }
    if old.0 == 0 {
        // The empty tree is a prefix of every tree, but its root is known.
        let empty = *old_root == crate::hash::empty_root();
        let same = new.0 > 0 || old_root == new_root;
        return met(empty && same, ProofError::OldRootMismatch);
    }
    if old == new {
        return met(old_root == new_root, ProofError::RootMismatch);
    }
    let (mut node, mut last) = (old.0 - 1, new.0 - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let mut rest = proof.iter();
    // Where the old tree is perfect its root itself is the first hash.
    let seed = if node == 0 {
        Some(old_root)
    } else {
        rest.next()
    };
    let mut old_hash = seed.copied().unwrap_or_default();
    let mut new_hash = old_hash;
    for sibling in rest {
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    met(old_hash == *old_root, ProofError::OldRootMismatch)?;
    met(last == 0 && new_hash == *new_root, ProofError::RootMismatch)
}

fn met(condition: bool, otherwise: ProofError) -> Result<(), ProofError> {
    if condition { Ok(()) } else { Err(otherwise) }
}

/// The width of the left subtree of a tree of `width` > 1 leaves: the largest power of two below.
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// How many hashes the inclusion proof of `index` has.
fn inclusion_length(index: u64, size: u64) -> usize {
    let (mut start, mut end, mut length) = (0, size, 0);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            end = middle;
        } else {
            start = middle;
        }
        length += 1;
    }
    length
}

/// How many hashes the consistency proof from `old` to `new` has.
fn consistency_length(old: u64, new: u64) -> usize {
    if old == 0 || old == new {
        return 0;
    }
    let (mut start, mut end, mut length) = (0, new, 0);
    while old < end {
        let middle = start + split(end - start);
        if old <= middle {
            end = middle;
        } else {
            start = middle;
        }
        length += 1;
    }
    if start == 0 { length } else { length + 1 }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::hash::leaf_hash;
    use crate::tree::RightEdge;

    struct Stored {
        leaves: Vec<Hash>,
    }

    impl Stored {
        fn new(size: u32) -> Self {
            Stored {
                leaves: (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect(),
            }
        }

        fn read(&self) -> impl FnMut(u8, u64) -> Result<Hash, Infallible> {
            |level, number| {
                let start = usize::try_from(number << level).unwrap();
                let mut edge = RightEdge::new();
                for leaf in &self.leaves[start..start + (1 << level)] {
                    edge.push(*leaf);
                }
                Ok(edge.root())
            }
        }

        fn root(&self, size: usize) -> Hash {
            let mut edge = RightEdge::new();
            self.leaves[..size].iter().for_each(|leaf| edge.push(*leaf));
            edge.root()
        }
    }

    fn tampered(proof: &[Hash]) -> Vec<Vec<Hash>> {
        let mut wrong = vec![[proof, &[Hash::ZERO]].concat()];
        for at in 0..proof.len() {
            let mut changed = proof.to_vec();
            changed[at].0[at % 32] ^= 1;
            wrong.push(changed);
            wrong.push([&proof[..at], &proof[at + 1..]].concat());
        }
        wrong
    }

    #[test]
    fn tampered_inclusion_proofs_are_refused_and_the_true_ones_hold() {
        let stored = Stored::new(70);
        for size in 1..=70usize {
            let (tree, root) = (TreeSize(size as u64), stored.root(size));
            for at in 0..size {
                let (index, leaf) = (Index(at as u64), stored.leaves[at]);
                let proof = inclusion_proof(index, tree, &mut stored.read()).unwrap();
                for wrong in tampered(&proof) {
                    assert!(verify_inclusion(index, tree, &leaf, &wrong, &root).is_err());
                }
                let other = Index((index.0 + 1) % size as u64);
                if size > 1 {
                    assert!(verify_inclusion(other, tree, &leaf, &proof, &root).is_err());
                }
                let outside = verify_inclusion(Index(size as u64), tree, &leaf, &proof, &root);
                assert!(matches!(outside, Err(ProofError::IndexOutside { .. })));
                let longer = verify_inclusion(index, tree, &Hash::ZERO, &proof, &root);
                assert_eq!(longer, Err(ProofError::RootMismatch));
                assert_eq!(verify_inclusion(index, tree, &leaf, &proof, &root), Ok(()));
            }
        }
    }

    #[test]
    fn tampered_consistency_proofs_are_refused_and_the_true_ones_hold() {
        let stored = Stored::new(70);
        for new in 1..=70usize {
            for old in 0..=new {
                let (from, to) = (TreeSize(old as u64), TreeSize(new as u64));
                let (old_root, new_root) = (stored.root(old), stored.root(new));
                let proof = consistency_proof(from, to, &mut stored.read()).unwrap();
                for wrong in tampered(&proof) {
                    assert!(verify_consistency(from, to, &wrong, &old_root, &new_root).is_err());
                }
                let forged = verify_consistency(from, to, &proof, &Hash([9; 32]), &new_root);
                assert!(forged.is_err(), "{old} {new}");
                if old > 0 {
                    let forked = verify_consistency(from, to, &proof, &old_root, &Hash([9; 32]));
                    assert_eq!(forked, Err(ProofError::RootMismatch), "{old} {new}");
                }
                if old < new {
                    let shrunk = verify_consistency(to, from, &proof, &new_root, &old_root);
                    assert!(matches!(shrunk, Err(ProofError::SizeShrank { .. })));
                }
                assert_eq!(
                    verify_consistency(from, to, &proof, &old_root, &new_root),
                    Ok(())
                );
            }
        }
    }
}
