//! Roots, inclusion proofs and consistency proofs against tlog_tiles, ct-merkle and rs_merkle.
//!
//! rs_merkle knows no domain separation by itself: leaves are hashed before it sees them, and its
//! hasher puts 0x01 before two nodes. Its multiproofs are not used, because it accepts surplus
//! hashes; single-leaf proofs are compared hash by hash besides being verified.
//!
//! Not here: where nodes are stored on disk (see `tiles`).

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use ledger_core::{Hash, Index, TreeSize, verify_consistency, verify_inclusion};
use sha2::{Digest as _, Sha256};
use tlog_tiles::tlog;

use super::{ALL_SIZES, Ours, Random, entry};

/// The referee's own storage of one growing tree.
pub(super) struct TlogTree(Vec<tlog::Hash>);

impl tlog::HashReader for TlogTree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        let hash = |at: &u64| self.0.get(usize::try_from(*at).unwrap()).copied();
        let hashes: Option<Vec<_>> = indexes.iter().map(hash).collect();
        hashes.ok_or(tlog::Error::IndexesNotInTree)
    }
}

impl TlogTree {
    pub(super) fn new<'a>(entries: impl Iterator<Item = &'a [u8]>) -> TlogTree {
        let mut tree = TlogTree(Vec::new());
        for (number, entry) in (0..).zip(entries) {
            let hashes = tlog::stored_hashes(number, entry, &tree).unwrap();
            tree.0.extend(hashes);
        }
        tree
    }
}

fn theirs(hashes: &[Hash]) -> Vec<tlog::Hash> {
    hashes.iter().map(|hash| tlog::Hash(hash.0)).collect()
}

fn ours(hashes: &[tlog::Hash]) -> Vec<Hash> {
    hashes.iter().map(|hash| Hash(hash.0)).collect()
}

/// The hash with one bit changed.
fn altered(proof: &[Hash], at: usize) -> Vec<Hash> {
    let mut proof = proof.to_vec();
    proof[at].0[at % 32] ^= 0x10;
    proof
}

type Judge<'a> = &'a dyn Fn(&[Hash]) -> bool;

/// Both judges accept the proof. One proof in eight, picked by its own bytes, is altered in one
/// place and cut, which both refuse, and gets a hash too many, which ours refuses.
fn judged_alike(proof: &[Hash], ours: Judge<'_>, theirs: Judge<'_>, what: &str) {
    assert!(ours(proof), "ours refuses {what}");
    assert!(theirs(proof), "theirs refuses {what}");
    if proof.last().is_some_and(|hash| hash.0[0] & 7 != 0) {
        return;
    }
    if let Some(last) = proof.len().checked_sub(1) {
        let bad = [altered(proof, last / 2), proof[..last].to_vec()];
        for bad in bad {
            assert!(!ours(&bad), "ours accepts an altered {what}");
            assert!(!theirs(&bad), "theirs accepts an altered {what}");
        }
    }
    let surplus = [proof, &[Hash::ZERO]].concat();
    assert!(!ours(&surplus), "ours accepts a surplus hash in {what}");
}

fn our_inclusion(tree: &Ours, index: u64, size: u64, proof: &[Hash]) -> bool {
    let (leaf, root) = (tree.leaf(index), tree.root(size));
    verify_inclusion(Index(index), TreeSize(size), &leaf, proof, &root).is_ok()
}

fn our_consistency(tree: &Ours, old: u64, new: u64, proof: &[Hash]) -> bool {
    let (old_root, new_root) = (tree.root(old), tree.root(new));
    verify_consistency(TreeSize(old), TreeSize(new), proof, &old_root, &new_root).is_ok()
}

fn tlog_inclusion(tree: &Ours, tlog: &TlogTree, index: u64, size: u64, what: &str) {
    let proof = tree.inclusion(index, size);
    let proved = tlog::prove_record(size, index, tlog).unwrap();
    assert_eq!(ours(&proved), proof, "{what}");
    let (root, leaf) = (
        tlog::Hash(tree.root(size).0),
        tlog::Hash(tree.leaf(index).0),
    );
    let judge =
        |proof: &[Hash]| tlog::check_record(&theirs(proof), size, root, index, leaf).is_ok();
    judged_alike(
        &proof,
        &|proof| our_inclusion(tree, index, size, proof),
        &judge,
        what,
    );
}

fn tlog_consistency(tree: &Ours, tlog: &TlogTree, old: u64, new: u64, what: &str) {
    let proof = tree.consistency(old, new);
    let proved = tlog::prove_tree(new, old, tlog).unwrap();
    assert_eq!(ours(&proved), proof, "{what}");
    let (new_root, old_root) = (tlog::Hash(tree.root(new).0), tlog::Hash(tree.root(old).0));
    let judge =
        |proof: &[Hash]| tlog::check_tree(&theirs(proof), new, new_root, old, old_root).is_ok();
    judged_alike(
        &proof,
        &|proof| our_consistency(tree, old, new, proof),
        &judge,
        what,
    );
}

#[test]
fn tlog_tiles_agrees_on_every_tree_of_1_to_600() {
    let tree = Ours::new(ALL_SIZES);
    let tlog = TlogTree::new(tree.entries.iter().map(Vec::as_slice));
    for size in 1..=ALL_SIZES {
        assert_eq!(
            tlog::tree_hash(size, &tlog).unwrap().0,
            tree.root(size).0,
            "root of {size}"
        );
        for other in 0..size {
            tlog_inclusion(
                &tree,
                &tlog,
                other,
                size,
                &format!("entry {other} of {size}"),
            );
            let old = other + 1;
            tlog_consistency(&tree, &tlog, old, size, &format!("trees {old} and {size}"));
        }
    }
}

type CtTree = MemoryBackedTree<Sha256, Vec<u8>>;

fn ct_bytes(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| hash.0).collect()
}

fn ct_root(tree: &Ours, size: u64) -> RootHash<Sha256> {
    RootHash::new(tree.root(size).0.into(), size)
}

fn ct_inclusion(tree: &Ours, ct: &CtTree, index: u64, what: &str) {
    let size = ct.len();
    let proof = tree.inclusion(index, size);
    let at = usize::try_from(index).unwrap();
    assert_eq!(
        ct.prove_inclusion(at).as_bytes(),
        ct_bytes(&proof),
        "{what}"
    );
    let (root, entry) = (ct_root(tree, size), &tree.entries[at]);
    let judge = |proof: &[Hash]| {
        let proof = InclusionProof::from_bytes(ct_bytes(proof));
        root.verify_inclusion(entry, index, &proof).is_ok()
    };
    judged_alike(
        &proof,
        &|proof| our_inclusion(tree, index, size, proof),
        &judge,
        what,
    );
}

fn ct_consistency(tree: &Ours, ct: &CtTree, old: u64, what: &str) {
    let new = ct.len();
    let proof = tree.consistency(old, new);
    let additions = usize::try_from(new - old).unwrap();
    assert_eq!(
        ct.prove_consistency(additions).as_bytes(),
        ct_bytes(&proof),
        "{what}"
    );
    let (old_root, new_root) = (ct_root(tree, old), ct_root(tree, new));
    let judge = |proof: &[Hash]| {
        let proof = ConsistencyProof::try_from_bytes(ct_bytes(proof)).unwrap();
        new_root.verify_consistency(&old_root, &proof).is_ok()
    };
    judged_alike(
        &proof,
        &|proof| our_consistency(tree, old, new, proof),
        &judge,
        what,
    );
}

#[test]
fn ct_merkle_agrees_on_every_tree_of_1_to_600() {
    let tree = Ours::new(ALL_SIZES);
    let mut ct = CtTree::new();
    assert_eq!(ct.root().as_bytes()[..], tree.root(0).0, "the empty root");
    for size in 1..=ALL_SIZES {
        ct.push(entry(size - 1));
        assert_eq!(
            ct.root().as_bytes()[..],
            tree.root(size).0,
            "root of {size}"
        );
        for other in 0..size {
            ct_inclusion(&tree, &ct, other, &format!("entry {other} of {size}"));
            let old = other + 1;
            ct_consistency(&tree, &ct, old, &format!("trees {old} and {size}"));
        }
    }
}

/// RFC 6962's nodes; leaves come hashed.
#[derive(Clone)]
struct Separated;

impl rs_merkle::Hasher for Separated {
    type Hash = [u8; 32];

    fn hash(entry: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update([0])
            .chain_update(entry)
            .finalize()
            .into()
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        let Some(right) = right else { return *left };
        Sha256::new()
            .chain_update([1])
            .chain_update(left)
            .chain_update(right)
            .finalize()
            .into()
    }
}

type RsTree = rs_merkle::MerkleTree<Separated>;

fn rs_tree(tree: &Ours, size: u64) -> RsTree {
    let entries = &tree.entries[..usize::try_from(size).unwrap()];
    let leaves: Vec<[u8; 32]> = entries
        .iter()
        .map(|entry| <Separated as rs_merkle::Hasher>::hash(entry))
        .collect();
    RsTree::from_leaves(&leaves)
}

fn rs_inclusion(tree: &Ours, rs: &RsTree, index: u64, size: u64, what: &str) {
    let proof = tree.inclusion(index, size);
    let (at, total) = (
        usize::try_from(index).unwrap(),
        usize::try_from(size).unwrap(),
    );
    let proved = rs.proof(&[at]);
    let hashes: Vec<Hash> = proved.proof_hashes().iter().copied().map(Hash).collect();
    assert_eq!(hashes, proof, "{what}");
    let judge = |proof: &[Hash]| {
        let hashes = proof.iter().map(|hash| hash.0).collect();
        let proof = rs_merkle::MerkleProof::<Separated>::new(hashes);
        proof.verify(tree.root(size).0, &[at], &[tree.leaf(index).0], total)
    };
    judged_alike(
        &proof,
        &|proof| our_inclusion(tree, index, size, proof),
        &judge,
        what,
    );
}

#[test]
fn rs_merkle_agrees_on_every_tree_of_1_to_600() {
    let tree = Ours::new(ALL_SIZES);
    for size in 1..=ALL_SIZES {
        let rs = rs_tree(&tree, size);
        assert_eq!(rs.root(), Some(tree.root(size).0), "root of {size}");
        for index in 0..size {
            rs_inclusion(&tree, &rs, index, size, &format!("entry {index} of {size}"));
        }
    }
}

/// Random trees that are larger, in the order of their sizes.
const LARGER_TREES: usize = 12;
/// The largest of them may have this many leaves: more than two full tile levels.
const LARGER_MAX: u64 = 90_000;
/// Random entries and older trees looked at in each.
const LOOKS: usize = 40;

#[test]
fn all_agree_on_random_larger_trees() {
    let mut random = Random::new();
    let seed = random.seed;
    let mut sizes: Vec<u64> = (1..LARGER_TREES)
        .map(|_| random.within(ALL_SIZES + 1, LARGER_MAX))
        .collect();
    // One at a tile's edge, where carries are longest.
    sizes.push(65_536);
    sizes.sort_unstable();
    let tree = Ours::new(*sizes.last().unwrap());
    let tlog = TlogTree::new(tree.entries.iter().map(Vec::as_slice));
    let mut ct = CtTree::new();
    for size in sizes {
        for number in ct.len()..size {
            ct.push(entry(number));
        }
        let rs = rs_tree(&tree, size);
        let root = tree.root(size).0;
        let what = format!("root of {size}, seed {seed}");
        assert_eq!(tlog::tree_hash(size, &tlog).unwrap().0, root, "{what}");
        assert_eq!(ct.root().as_bytes()[..], root, "{what}");
        assert_eq!(rs.root(), Some(root), "{what}");
        for _ in 0..LOOKS {
            let index = random.within(0, size - 1);
            let what = format!("entry {index} of {size}, seed {seed}");
            tlog_inclusion(&tree, &tlog, index, size, &what);
            ct_inclusion(&tree, &ct, index, &what);
            rs_inclusion(&tree, &rs, index, size, &what);
            let old = random.within(1, size);
            let what = format!("trees {old} and {size}, seed {seed}");
            tlog_consistency(&tree, &tlog, old, size, &what);
            ct_consistency(&tree, &ct, old, &what);
        }
    }
}

#[test]
fn another_history_is_refused_by_all() {
    let tree = Ours::new(200);
    let mut ct = CtTree::new();
    (0..200).for_each(|number| ct.push(entry(number)));
    for old in 1..200 {
        // The root of another size in the place of the old tree's.
        let (wrong, new_root) = (tree.root(old - 1), tree.root(200));
        let proof = tree.consistency(old, 200);
        let ours = |old_root| {
            verify_consistency(TreeSize(old), TreeSize(200), &proof, &old_root, &new_root)
        };
        assert!(ours(wrong).is_err(), "ours, {old}");
        assert!(ours(tree.root(old)).is_ok(), "ours, the twin, {old}");
        let tlog = |old_root: Hash| {
            let (new_root, old_root) = (tlog::Hash(new_root.0), tlog::Hash(old_root.0));
            tlog::check_tree(&theirs(&proof), 200, new_root, old, old_root)
        };
        assert!(tlog(wrong).is_err(), "tlog_tiles, {old}");
        assert!(tlog(tree.root(old)).is_ok(), "tlog_tiles, the twin, {old}");
        let ct = |old_root: Hash| {
            let proof = ConsistencyProof::try_from_bytes(ct_bytes(&proof)).unwrap();
            let old_root = RootHash::new(old_root.0.into(), old);
            ct_root(&tree, 200).verify_consistency(&old_root, &proof)
        };
        assert!(ct(wrong).is_err(), "ct-merkle, {old}");
        assert!(ct(tree.root(old)).is_ok(), "ct-merkle, the twin, {old}");
    }
}
