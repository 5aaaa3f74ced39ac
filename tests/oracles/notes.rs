//! Notes and checkpoints against signed_note and tlog_tiles: theirs open our Ed25519 line and skip
//! our ML-DSA-44 line, ours opens theirs.
//!
//! Not here: the ML-DSA-44 line itself (keys/public has the vectors and a second implementation).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys_public::{Note, TrustFile, VerifierKey};
use ledger_core::{Checkpoint, Origin, TreeSize};
use ledger_log::{LogPaths, Reader, create_log};
use signed_note::{NoteError, StandardSigner, StandardVerifier, VerifierList, key_id};

/// Keys of RFC 8032 section 7.1, test 1: the secret seed and the public key.
const SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const NAME: &str = "theirs.example/log";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.as_bytes().chunks(2).map(digit).collect()
}

/// A key as the referee writes it: type 1 before the bytes.
fn typed(hex: &str) -> Vec<u8> {
    [vec![1], bytes(hex)].concat()
}

fn verifiers(vkey: &str) -> VerifierList {
    VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).unwrap())])
}

#[test]
fn theirs_opens_our_checkpoint_by_its_ed25519_line() {
    let root = tempfile::tempdir().unwrap();
    let paths = LogPaths::new(root.path(), "oracles.example", "main", "2026").unwrap();
    create_log(&paths).unwrap();
    let trust = TrustFile::parse(&std::fs::read_to_string(paths.trust()).unwrap()).unwrap();
    let (checkpoint, note) = Reader::open(&paths).unwrap().published().unwrap();
    trust.verify(&Note::parse(&note).unwrap()).unwrap();
    let known = verifiers(&trust.keys().ed25519().to_string());

    // Refused: another root under the same signatures.
    let text = String::from_utf8(note.clone()).unwrap();
    let altered = text.replacen("\n1\n", "\n2\n", 1);
    assert_ne!(altered, text);
    let altered = signed_note::Note::from_bytes(altered.as_bytes()).unwrap();
    let refused = altered.verify(&known);
    assert!(
        matches!(refused, Err(NoteError::InvalidSignature { .. })),
        "{refused:?}"
    );

    let theirs = signed_note::Note::from_bytes(&note).unwrap();
    assert_eq!(theirs.to_bytes(), note);
    let (verified, unverified) = theirs.verify(&known).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 1));
    assert_eq!(verified[0].id(), trust.keys().ed25519().id());
    assert_eq!(unverified[0].id(), trust.keys().ml_dsa().id());
    assert_eq!(unverified[0].signature().len(), 8 + 2420);
    let body = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!(body.origin(), paths.origin().as_str());
    assert_eq!(
        (body.size(), body.hash().0),
        (checkpoint.size.0, checkpoint.root.0)
    );
    assert_eq!(body.extension(), "");
    assert_eq!(body.to_bytes(), checkpoint.encode().as_bytes());
}

#[test]
fn ours_opens_their_note_and_refuses_it_altered() {
    let id = key_id(NAME, &typed(PUBLIC));
    let skey = format!(
        "PRIVATE+KEY+{NAME}+{id:08x}+{}",
        STANDARD.encode(typed(SECRET))
    );
    let signer = StandardSigner::new(&skey).unwrap();
    let vkey = format!("{NAME}+{id:08x}+{}", STANDARD.encode(typed(PUBLIC)));
    let key = VerifierKey::parse(&vkey).unwrap();
    assert_eq!(key.id(), id);
    assert_eq!(key.to_string(), vkey);
    let wrong_id = vkey.replacen(&format!("{id:08x}"), "00000001", 1);
    assert!(VerifierKey::parse(&wrong_id).is_err() && StandardVerifier::new(&wrong_id).is_err());

    for text in [
        "one line\n",
        "a\n\nb\n\n",
        "\u{e4}\u{4e2d}\n",
        "log.example\n7\nAAAA\n",
    ] {
        let mut theirs = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
        theirs.add_sigs(&[&signer]).unwrap();
        let bytes = theirs.to_bytes();
        let ours = Note::parse(&bytes).unwrap();
        assert_eq!(ours.encode(), bytes);
        assert_eq!(ours.text(), text);
        ours.verify(&key).unwrap();
        assert!(theirs.verify(&verifiers(&vkey)).is_ok());
        let altered = String::from_utf8(bytes)
            .unwrap()
            .replacen(text, "other\n", 1);
        let theirs = signed_note::Note::from_bytes(altered.as_bytes()).unwrap();
        assert!(
            Note::parse(altered.as_bytes())
                .unwrap()
                .verify(&key)
                .is_err()
        );
        assert!(theirs.verify(&verifiers(&vkey)).is_err());
    }
}

#[test]
fn checkpoint_bodies_are_read_alike() {
    let root = ledger_core::leaf_hash(b"root");
    for size in [0, 1, 600, u64::from(u32::MAX), 1 << 60] {
        let ours = Checkpoint {
            origin: Origin::new("oracles.example/main/2026").unwrap(),
            size: TreeSize(size),
            root,
        };
        let text = ours.encode();
        let theirs = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).unwrap();
        assert_eq!((theirs.size(), theirs.hash().0), (size, root.0));
        assert_eq!(theirs.to_bytes(), text.as_bytes());
        assert_eq!(Checkpoint::parse(&text).unwrap(), ours);
        for bad in [
            text.replacen(&format!("\n{size}\n"), &format!("\n0{size}\n"), 1),
            text.replacen(&format!("\n{size}\n"), &format!("\n-{size}\n"), 1),
            text.replacen(&root.to_base64(), &root.to_base64()[1..], 1),
            text.trim_end().to_owned(),
        ] {
            assert!(Checkpoint::parse(&bad).is_err(), "ours: {bad:?}");
            let theirs = tlog_tiles::Checkpoint::from_bytes(bad.as_bytes());
            assert!(theirs.is_err(), "theirs: {bad:?}");
        }
    }
}
