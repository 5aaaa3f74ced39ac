//! Referees: four implementations by other people must agree with ours on every tree of 1 to 600
//! leaves and on random larger ones, in both directions: what ours proves theirs accept, what
//! theirs prove ours accepts, and what was altered both refuse. Then a real log's tiles and notes.
//!
//! `CUSTODY_SEED` replays a run with other random trees; a failure prints the seed.
//!
//! Not here: programs that others wrote (`make interop`), and the stored vectors (keys/public).

mod notes;
mod tiles;
mod trees;

use std::convert::Infallible;

use ledger_core::{Hash, Index, RightEdge, TreeSize, consistency_proof, inclusion_proof};

/// Every tree up to this size is compared.
const ALL_SIZES: u64 = 600;

/// Entries, and every perfect node and root over them as ours computes them.
struct Ours {
    entries: Vec<Vec<u8>>,
    nodes: Vec<Vec<Hash>>,
    roots: Vec<Hash>,
}

impl Ours {
    /// A tree of `size` entries; entry `n` has a length of its own.
    fn new(size: u64) -> Ours {
        let mut edge = RightEdge::new();
        let mut tree = Ours {
            entries: Vec::new(),
            nodes: Vec::new(),
            roots: vec![edge.root()],
        };
        for number in 0..size {
            let entry = entry(number);
            edge.push_observed(ledger_core::leaf_hash(&entry), &mut |level, at, hash| {
                let level = usize::from(level);
                tree.nodes.resize(tree.nodes.len().max(level + 1), vec![]);
                assert_eq!(tree.nodes[level].len() as u64, at, "nodes come in order");
                tree.nodes[level].push(hash);
            });
            tree.entries.push(entry);
            tree.roots.push(edge.root());
        }
        tree
    }

    fn leaf(&self, index: u64) -> Hash {
        self.nodes[0][usize::try_from(index).unwrap()]
    }

    fn root(&self, size: u64) -> Hash {
        self.roots[usize::try_from(size).unwrap()]
    }

    fn node(&self, level: u8, number: u64) -> Hash {
        self.nodes[usize::from(level)][usize::try_from(number).unwrap()]
    }

    fn inclusion(&self, index: u64, size: u64) -> Vec<Hash> {
        let mut read = |level, number| Ok::<_, Infallible>(self.node(level, number));
        inclusion_proof(Index(index), TreeSize(size), &mut read).unwrap()
    }

    fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        let mut read = |level, number| Ok::<_, Infallible>(self.node(level, number));
        consistency_proof(TreeSize(old), TreeSize(new), &mut read).unwrap()
    }
}

/// The bytes of entry `number`: of many lengths, so that no length is the lucky one.
fn entry(number: u64) -> Vec<u8> {
    let length = usize::try_from(number % 83).unwrap();
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(8 + length, 0xa5);
    bytes
}

/// Random numbers that a seed replays (splitmix64).
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Random {
        let given = std::env::var("CUSTODY_SEED").ok();
        let seed = given.map_or(0x0c05_70d1, |text| text.parse().expect("a decimal seed"));
        Random { seed, state: seed }
    }

    /// A number from `low` to `high`, both included.
    fn within(&mut self, low: u64, high: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        low + mixed % (high - low + 1)
    }
}
