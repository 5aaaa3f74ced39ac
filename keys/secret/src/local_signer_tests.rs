//! Tests of the local signer: the contract of every signer, and its own files, lock and restarts.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keys_public::{Half, trust_file_for};
use ledger_core::{Origin, ProofError, RightEdge, consistency_proof, leaf_hash, node_hash};

use super::*;
use crate::store::Keystore;

const ORIGIN: &str = "log.example/main/2026";
const SECOND: i64 = 1_000_000_000;

/// A tree of `len` leaves that differ from those of another `history`.
struct Tree {
    leaves: Vec<Hash>,
}

impl Tree {
    fn new(history: &str, len: u64) -> Tree {
        let leaf = |n: u64| leaf_hash(format!("{history} {n}").as_bytes());
        Tree {
            leaves: (0..len).map(leaf).collect(),
        }
    }

    fn node(&self, level: u8, number: u64) -> Hash {
        let width = 1usize << level;
        let start = usize::try_from(number).unwrap() * width;
        let mut hashes = self.leaves[start..start + width].to_vec();
        while hashes.len() > 1 {
            hashes = hashes
                .chunks(2)
                .map(|pair| node_hash(&pair[0], &pair[1]))
                .collect();
        }
        hashes[0]
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        let mut edge = RightEdge::new();
        for leaf in self.leaves.iter().take(usize::try_from(size).unwrap()) {
            edge.push(*leaf);
        }
        let origin = Origin::new(ORIGIN).unwrap();
        Checkpoint {
            origin,
            size: TreeSize(size),
            root: edge.root(),
        }
    }

    fn proof(&self, from: u64, to: u64) -> Vec<Hash> {
        let mut read = |level, number| Ok::<_, ()>(self.node(level, number));
        consistency_proof(TreeSize(from), TreeSize(to), &mut read).unwrap()
    }
}

struct Place {
    folder: tempfile::TempDir,
    store: Keystore,
    trust: TrustFile,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let origin = Origin::new(ORIGIN).unwrap();
        let store = Keystore::create(&folder.path().join("keys"), &origin, "main").unwrap();
        let keys = store.log_signing_keys(&origin).unwrap();
        let trust = TrustFile::parse(&trust_file_for(keys.public())).unwrap();
        Place {
            folder,
            store,
            trust,
        }
    }

    fn pair(&self) -> SigningPair {
        self.store
            .log_signing_keys(&Origin::new(ORIGIN).unwrap())
            .unwrap()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("last-note")
    }

    fn create(&self) -> LocalSigner {
        LocalSigner::create(
            self.pair(),
            &self.path(),
            &self.trust,
            Nanos(SECOND),
            agree(),
        )
        .unwrap()
    }

    fn open(&self) -> Result<LocalSigner, OpenSignerError> {
        LocalSigner::open(self.pair(), &self.path(), &self.trust, agree())
    }
}

fn agree() -> SecondOpinion {
    Box::new(|_| Ok(()))
}

/// What every signer promises, whatever holds its keys. `signer` has signed nothing but the empty
/// tree of [`ORIGIN`], at second 1.
fn signer_contract(signer: &mut dyn Signer) {
    let tree = Tree::new("true", 100);
    let other = Tree::new("false", 100);
    let keys = signer.keys();
    let time = |note: &Note| keys.verify(note).unwrap().pq_timestamp();

    // From the empty tree: no proof is needed, and none is taken.
    let refused = signer.sign(&tree.checkpoint(5), Nanos(7 * SECOND), &[leaf_hash(b"x")]);
    assert!(matches!(refused, Err(SignRefusal::NotAnExtension { .. })));
    let first = signer
        .sign(&tree.checkpoint(5), Nanos(7 * SECOND), &[])
        .unwrap();
    assert_eq!(
        keys.verify(&first).unwrap().checkpoint(),
        &tree.checkpoint(5)
    );
    assert_eq!(time(&first), 7);

    // Refusals, none of which moves the state.
    let mut foreign = tree.checkpoint(9);
    foreign.origin = Origin::new("log.example/other/2026").unwrap();
    let late = Nanos(9 * SECOND);
    assert!(matches!(
        signer.sign(&foreign, late, &tree.proof(5, 9)),
        Err(SignRefusal::OriginDiffers { .. })
    ));
    assert!(matches!(
        signer.sign(&tree.checkpoint(4), late, &[]),
        Err(SignRefusal::SizeShrank {
            last: TreeSize(5),
            next: TreeSize(4)
        })
    ));
    assert!(matches!(
        signer.sign(&other.checkpoint(5), late, &[]),
        Err(SignRefusal::RootDiffers { size: TreeSize(5) })
    ));
    let not_shown = [
        (other.checkpoint(9), other.proof(5, 9)), // a rewritten history with its own good proof
        (other.checkpoint(9), tree.proof(5, 9)),
        (tree.checkpoint(9), other.proof(5, 9)),
        (tree.checkpoint(9), vec![]),
        (tree.checkpoint(9), tree.proof(5, 10)),
        (tree.checkpoint(9), tree.proof(4, 9)),
    ];
    for (next, proof) in not_shown {
        assert!(matches!(
            signer.sign(&next, late, &proof),
            Err(SignRefusal::NotAnExtension {
                last: TreeSize(5),
                next: TreeSize(9),
                ..
            })
        ));
    }
    let mut longer = tree.proof(5, 9);
    longer.push(leaf_hash(b"x"));
    assert!(matches!(
        signer.sign(&tree.checkpoint(9), late, &longer),
        Err(SignRefusal::NotAnExtension {
            reason: ProofError::Length { .. },
            ..
        })
    ));
    for covered in [Nanos(0), Nanos(-SECOND), Nanos(i64::MIN)] {
        assert!(matches!(
            signer.sign(&tree.checkpoint(9), covered, &tree.proof(5, 9)),
            Err(SignRefusal::CoveredTime { .. })
        ));
    }
    assert_eq!(signer.last(), Some(&first));

    // The twin: the same request with the true proof. A second that is begun counts whole.
    let second = signer.sign(
        &tree.checkpoint(9),
        Nanos(9 * SECOND + 1),
        &tree.proof(5, 9),
    );
    let second = second.unwrap();
    assert_eq!(time(&second), 10);
    assert_eq!(signer.last(), Some(&second));

    // Time never goes back, and the same tree may be signed again at a later time.
    let third = signer
        .sign(&tree.checkpoint(12), Nanos(3 * SECOND), &tree.proof(9, 12))
        .unwrap();
    assert_eq!(time(&third), 10);
    let again = signer
        .sign(&tree.checkpoint(12), Nanos(20 * SECOND), &[])
        .unwrap();
    assert_eq!(time(&again), 20);

    // Every size up to 100 from where it stands, one step and several.
    for (from, to) in [
        (12, 13),
        (13, 16),
        (16, 17),
        (17, 32),
        (32, 64),
        (64, 99),
        (99, 100),
    ] {
        let proof = tree.proof(from, to);
        assert!(
            signer
                .sign(&tree.checkpoint(to), Nanos(20 * SECOND), &proof)
                .is_ok(),
            "{to}"
        );
    }
    // What a publisher has handed out parses and verifies from its bytes.
    let last = signer.last().unwrap().encode();
    let last = keys.verify(&Note::parse(&last).unwrap()).unwrap();
    assert_eq!(last.checkpoint(), &tree.checkpoint(100));
}

#[test]
fn the_local_signer_keeps_the_contract() {
    let place = Place::new();
    signer_contract(&mut place.create());
}

#[test]
fn the_state_is_the_last_note_across_restarts() {
    let place = Place::new();
    let tree = Tree::new("true", 20);
    let other = Tree::new("false", 20);
    let mut signer = place.create();
    assert_eq!(signer.last_signed().checkpoint().size, TreeSize(0));
    let note = signer
        .sign(&tree.checkpoint(8), Nanos(5 * SECOND), &[])
        .unwrap();
    assert_eq!(fs::read(place.path()).unwrap(), note.encode());
    drop(signer);

    let mut signer = place.open().unwrap();
    assert_eq!(signer.last(), Some(&note));
    assert!(matches!(
        signer.sign(&other.checkpoint(9), Nanos(SECOND), &other.proof(8, 9)),
        Err(SignRefusal::NotAnExtension { .. })
    ));
    let next = signer
        .sign(&tree.checkpoint(9), Nanos(SECOND), &tree.proof(8, 9))
        .unwrap();
    assert_eq!(signer.keys().verify(&next).unwrap().pq_timestamp(), 5);
}

#[test]
fn a_log_is_begun_once_and_its_state_is_never_made_up() {
    let place = Place::new();
    assert!(matches!(
        place.open(),
        Err(OpenSignerError::StateMissing { .. })
    ));
    drop(place.create());
    let again = LocalSigner::create(
        place.pair(),
        &place.path(),
        &place.trust,
        Nanos(SECOND),
        agree(),
    );
    assert!(matches!(again, Err(OpenSignerError::StateExists { .. })));
    assert!(place.open().is_ok());
    let early = Place::new();
    let timeless =
        LocalSigner::create(early.pair(), &early.path(), &early.trust, Nanos(0), agree());
    assert!(matches!(
        timeless,
        Err(OpenSignerError::First(SignRefusal::CoveredTime { .. }))
    ));
    assert!(!early.path().exists());
}

#[test]
fn a_state_that_is_not_this_logs_is_refused() {
    let place = Place::new();
    drop(place.create());
    let good = fs::read(place.path()).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let without_line = |index: usize| {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let kept = lines.iter().enumerate().filter(|(i, _)| *i != index);
        kept.map(|(_, line)| *line).collect::<String>().into_bytes()
    };
    let other = Place::new();
    drop(other.create());
    let foreign = fs::read(other.path()).unwrap();

    for (bytes, expected) in [
        (vec![], "no signed note"),
        (good[..good.len() - 1].to_vec(), "no signed note"),
        (
            text.replacen("\n0\n", "\n1\n", 1).into_bytes(),
            "classical half is wrong",
        ),
        (without_line(4), "classical half is missing"),
        (without_line(5), "post-quantum half is missing"),
        (foreign, "classical half is missing"), // same origin, other keys: unknown lines
        (
            text.replace("2026", "2027").into_bytes(),
            "the trusted log is",
        ),
    ] {
        fs::write(place.path(), &bytes).unwrap();
        let error = place.open().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    fs::remove_file(place.path()).unwrap();
    fs::write(place.folder.path().join("real"), &good).unwrap();
    symlink(place.folder.path().join("real"), place.path()).unwrap();
    assert!(matches!(
        place.open(),
        Err(OpenSignerError::State(LastNoteError::NotAFile { .. }))
    ));
    fs::remove_file(place.path()).unwrap();
    fs::write(place.path(), &good).unwrap();
    assert!(place.open().is_ok());
}

#[test]
fn keys_that_the_trust_file_does_not_name_sign_nothing() {
    let place = Place::new();
    drop(place.create());
    let other = Place::new();
    let opened = LocalSigner::open(other.pair(), &place.path(), &place.trust, agree());
    assert!(matches!(
        opened,
        Err(OpenSignerError::TrustNamesOtherKeys { .. })
    ));
    let created = LocalSigner::create(
        other.pair(),
        &other.path(),
        &place.trust,
        Nanos(SECOND),
        agree(),
    );
    assert!(matches!(
        created,
        Err(OpenSignerError::TrustNamesOtherKeys { .. })
    ));
    assert!(!other.path().exists());
    assert!(place.open().is_ok());
}

#[test]
fn two_signers_never_hold_one_log() {
    let place = Place::new();
    let first = place.create();
    assert!(matches!(
        place.open(),
        Err(OpenSignerError::State(LastNoteError::Locked { .. }))
    ));
    drop(first);
    assert!(place.open().is_ok());
}

#[test]
fn a_second_opinion_that_refuses_leaves_no_note() {
    let place = Place::new();
    drop(place.create());
    let before = fs::read(place.path()).unwrap();
    let doubt = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&doubt);
    let opinion: SecondOpinion = Box::new(move |note| {
        assert_eq!(note.signatures().len(), 2);
        if asked.load(Ordering::SeqCst) {
            return Err(SecondOpinionRefused {
                half: Half::Classical,
                by: "a test",
            });
        }
        Ok(())
    });
    let mut signer = LocalSigner::open(place.pair(), &place.path(), &place.trust, opinion).unwrap();
    let tree = Tree::new("true", 3);
    let refused = signer.sign(&tree.checkpoint(3), Nanos(SECOND), &[]);
    assert!(matches!(refused, Err(SignRefusal::SecondOpinion(_))));
    assert_eq!(fs::read(place.path()).unwrap(), before);
    assert_eq!(signer.last().unwrap().encode(), before);
    doubt.store(false, Ordering::SeqCst);
    assert!(signer.sign(&tree.checkpoint(3), Nanos(SECOND), &[]).is_ok());
}

#[test]
fn a_note_that_cannot_be_kept_is_not_handed_out_and_stops_the_signer() {
    let place = Place::new();
    let mut signer = place.create();
    let tree = Tree::new("true", 3);
    let note = fs::read(place.path()).unwrap();
    // A directory in the file's place: the rename fails.
    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    let refused = signer.sign(&tree.checkpoint(3), Nanos(SECOND), &[]);
    assert!(matches!(refused, Err(SignRefusal::StateNotKept { .. })));
    fs::remove_dir(place.path()).unwrap();
    fs::write(place.path(), note).unwrap();
    let refused = signer.sign(&tree.checkpoint(3), Nanos(SECOND), &[]);
    assert!(matches!(refused, Err(SignRefusal::Stopped)));
    drop(signer);
    let mut signer = place.open().unwrap();
    assert_eq!(
        fs::read_dir(place.folder.path()).unwrap().count(),
        2,
        "no rest is left"
    );
    assert!(signer.sign(&tree.checkpoint(3), Nanos(SECOND), &[]).is_ok());
}

/// Not a pass or fail of speed: prints what a signature costs, for the record.
#[test]
#[ignore = "a measurement: run with --ignored --nocapture"]
fn what_a_signature_costs() {
    let place = Place::new();
    let mut signer = place.create();
    let tree = Tree::new("true", 1001);
    signer
        .sign(&tree.checkpoint(1), Nanos(SECOND), &[])
        .unwrap();
    let steps: Vec<_> = (1..1001)
        .map(|n| (tree.checkpoint(n + 1), tree.proof(n, n + 1)))
        .collect();
    let cpu = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
    };
    let start = cpu();
    for (next, proof) in &steps {
        signer.sign(next, Nanos(SECOND), proof).unwrap();
    }
    println!(
        "{:.0} µs of CPU a signature, verified and durable",
        (cpu() - start) / 1000.0
    );
}
