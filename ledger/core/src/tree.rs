//! The Merkle tree of RFC 6962 section 2.1, grown at its right edge only.
//!
//! [`RightEdge`] is a compact range [0, size): one hash for each set bit of the size. It is all
//! that is needed to append and to know the root.
//!
//! Not here: stored hashes (see [`crate::tile`]) and proofs (see [`crate::proof`]).

use crate::bytes::FormatError;
use crate::hash::{Hash, empty_root, node_hash};
use crate::ids::TreeSize;

/// The roots of the perfect subtrees that make up a tree, widest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RightEdge {
    size: u64,
    peaks: Vec<Hash>,
}

impl RightEdge {
    /// The edge of the empty tree.
    pub fn new() -> Self {
        RightEdge::default()
    }

    /// The edge of a tree of `size` leaves whose perfect subtrees have the roots `peaks`, widest
    /// first.
    ///
    /// # Errors
    /// Another number of peaks than `size` has set bits.
    pub fn from_parts(size: TreeSize, peaks: Vec<Hash>) -> Result<Self, FormatError> {
        if u32::try_from(peaks.len()).ok() != Some(size.0.count_ones()) {
            let value = peaks.len() as u64;
            return Err(FormatError::Field {
                what: "right edge",
                field: "hash count",
                value,
            });
        }
        Ok(RightEdge {
            size: size.0,
            peaks,
        })
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// The roots of the perfect subtrees, widest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        self.push_observed(leaf, &mut |_, _, _| ());
    }

    /// Appends a leaf hash and tells `node` of each perfect node that it finishes: its level (0 for
    /// the leaf itself), its number within that level, and its hash.
    pub fn push_observed(&mut self, leaf: Hash, node: &mut impl FnMut(u8, u64, Hash)) {
        let mut hash = leaf;
        let mut level = 0u8;
        let mut number = self.size;
        node(level, number, hash);
        while number & 1 == 1 {
            // INVARIANT: a set bit of the size has its peak.
            let left = self.peaks.pop();
            assert!(
                left.is_some(),
                "the right edge lacks a peak at size {}",
                self.size
            );
            hash = node_hash(&left.unwrap_or_default(), &hash);
            level += 1;
            number >>= 1;
            node(level, number, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(narrowest) = peaks.next() else {
            return empty_root();
        };
        peaks.fold(*narrowest, |right, left| node_hash(left, &right))
    }
}

/// The perfect nodes that cover the leaves `[start, end)`, widest first where `start` is aligned:
/// pairs of level and number within the level. `start` must be a multiple of the largest power of
/// two that is at most `end - start`.
pub fn perfect_nodes(start: u64, end: u64) -> Vec<(u8, u64)> {
    let mut nodes = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        // INVARIANT: subtrees of RFC 6962 start at a multiple of their width.
        assert!(
            at.trailing_zeros() >= level || at == 0,
            "unaligned subtree at {at}"
        );
        nodes.push((u8::try_from(level).unwrap_or(u8::MAX), at >> level));
        at += 1 << level;
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    /// RFC 6962's definition, word by word: the oracle.
    fn root_by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(
                    &root_by_definition(&leaves[..k]),
                    &root_by_definition(&leaves[k..]),
                )
            }
        }
    }

    #[test]
    fn the_classic_eight_leaves_have_their_published_roots() {
        let leaves: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[
                0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
                0x6e, 0x6f,
            ],
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut edge = RightEdge::new();
        for (leaf, root) in leaves.iter().zip(roots) {
            edge.push(leaf_hash(leaf));
            assert_eq!(edge.root().to_string(), root);
        }
    }

    #[test]
    fn every_size_has_the_root_of_the_definition() {
        let leaves: Vec<Hash> = (0u32..300).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let mut edge = RightEdge::new();
        for (n, leaf) in leaves.iter().enumerate() {
            assert_eq!(edge.root(), root_by_definition(&leaves[..n]), "size {n}");
            edge.push(*leaf);
        }
    }

    #[test]
    fn a_wrong_number_of_peaks_is_refused_and_its_twin_taken() {
        let mut edge = RightEdge::new();
        for n in 0u8..7 {
            edge.push(leaf_hash(&[n]));
        }
        let peaks = edge.peaks().to_vec();
        assert!(RightEdge::from_parts(TreeSize(7), peaks[1..].to_vec()).is_err());
        assert!(RightEdge::from_parts(TreeSize(8), peaks.clone()).is_err());
        assert_eq!(RightEdge::from_parts(TreeSize(7), peaks).unwrap(), edge);
    }
}
