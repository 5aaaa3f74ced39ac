//! Test keys from fixed seeds, and notes signed with them. They are deterministic, so the format
//! pages can show them.
//!
//! Not here: anything that ships.

use base64::Engine as _;
use ed25519_dalek::Signer as _;
use ledger_core::{Checkpoint, Origin, TreeSize, leaf_hash};
use ml_dsa::{MlDsa44, SigningKey};

use crate::key::{KeyKind, KeyName, VerifierKey};
use crate::note::{Note, SignatureLine};
use crate::signature::{ed25519_cosignature_message, ml_dsa_message};
use crate::{LogKeys, TrustFile, trust_file_for};

pub(crate) const ORIGIN: &str = "example.org/main/2026";

pub(crate) struct Ed25519Key(ed25519_dalek::SigningKey);

pub(crate) fn ed25519_key(seed: u8) -> Ed25519Key {
    Ed25519Key(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
}

impl Ed25519Key {
    pub(crate) fn public(&self, name: &str, kind: KeyKind) -> VerifierKey {
        let public = self.0.verifying_key().to_bytes();
        VerifierKey::new(KeyName::new(name).unwrap(), kind, &public).unwrap()
    }

    pub(crate) fn sign_note(&self, text: &str, name: &str) -> SignatureLine {
        let signature = self.0.sign(text.as_bytes()).to_bytes().to_vec();
        SignatureLine::of(&self.public(name, KeyKind::Ed25519), signature)
    }

    pub(crate) fn cosign(&self, text: &str, name: &str, time: u64) -> SignatureLine {
        let signature = self
            .0
            .sign(&ed25519_cosignature_message(time, text))
            .to_bytes();
        let bytes = [&time.to_be_bytes()[..], &signature].concat();
        SignatureLine::of(&self.public(name, KeyKind::Ed25519Cosignature), bytes)
    }
}

pub(crate) struct MlDsaKey(SigningKey<MlDsa44>);

pub(crate) fn ml_dsa_key(seed: u8) -> MlDsaKey {
    MlDsaKey(SigningKey::from_seed(&[seed; 32].into()))
}

impl MlDsaKey {
    pub(crate) fn public(&self, name: &str) -> VerifierKey {
        use ml_dsa::Keypair as _;
        let public = self.0.verifying_key().encode();
        VerifierKey::new(KeyName::new(name).unwrap(), KeyKind::MlDsa44, &public).unwrap()
    }

    pub(crate) fn sign(&self, checkpoint: &Checkpoint, time: u64) -> SignatureLine {
        self.sign_as(checkpoint.origin.as_str(), checkpoint, time)
    }

    pub(crate) fn sign_as(&self, name: &str, checkpoint: &Checkpoint, time: u64) -> SignatureLine {
        let message = ml_dsa_message(&KeyName::new(name).unwrap(), time, checkpoint);
        let signature = self
            .0
            .expanded_key()
            .sign_deterministic(&message, &[])
            .unwrap()
            .encode();
        let bytes = [&time.to_be_bytes()[..], &signature].concat();
        SignatureLine::of(&self.public(name), bytes)
    }
}

/// A checkpoint of [`ORIGIN`]; its root is a hash, not that of a real tree.
pub(crate) fn checkpoint(size: u64) -> Checkpoint {
    let root = leaf_hash(&size.to_be_bytes());
    Checkpoint {
        origin: Origin::new(ORIGIN).unwrap(),
        size: TreeSize(size),
        root,
    }
}

pub(crate) fn log_keys() -> LogKeys {
    LogKeys::new(
        ed25519_key(1).public(ORIGIN, KeyKind::Ed25519),
        ml_dsa_key(2).public(ORIGIN),
    )
    .unwrap()
}

/// `checkpoint(size)` signed by both halves of [`log_keys`] at `time`.
pub(crate) fn signed_note(size: u64, time: u64) -> Note {
    let checkpoint = checkpoint(size);
    let mut note = Note::new(checkpoint.encode()).unwrap();
    note.add(ed25519_key(1).sign_note(note.text(), ORIGIN))
        .unwrap();
    note.add(ml_dsa_key(2).sign(&checkpoint, time)).unwrap();
    note
}

const PAGE: &str = include_str!("../../../docs/formats/checkpoint.md");

/// The fenced block of the format page that begins with "```text <name>".
fn block(name: &str) -> &'static str {
    let start = format!("```text {name}\n");
    let (_, rest) = PAGE
        .split_once(&start)
        .unwrap_or_else(|| panic!("no block {name}"));
    rest.split_once("```").unwrap().0
}

/// The cosigned note that the page shows.
fn cosigned() -> Note {
    let mut note = signed_note(20_852, 1_767_225_601);
    note.add(ed25519_key(3).cosign(note.text(), "witness.example/w1", 1_767_225_602))
        .unwrap();
    note
}

#[test]
fn the_format_page_shows_what_is_read_and_written() {
    let trust_text = trust_file_for(&log_keys());
    let message = ml_dsa_message(
        log_keys().ml_dsa().name(),
        1_767_225_601,
        &checkpoint(20_852),
    );
    let hex: String = message
        .chunks(16)
        .map(|row| {
            row.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<Vec<_>>()
                .join(" ")
                + "\n"
        })
        .collect();
    let blocks = [
        ("vkey", format!("{}\n", log_keys().ed25519())),
        ("trust file", trust_text.clone()),
        ("note", cosigned().to_string()),
        ("ml-dsa message", hex),
        (
            "fingerprint",
            format!("{}\n", TrustFile::parse(&trust_text).unwrap().fingerprint()),
        ),
    ];
    for (name, expected) in &blocks {
        assert_eq!(
            block(name),
            expected,
            "the block {name} must read:\n{expected}"
        );
    }
    // And the page's own text, read back, verifies; one changed digit of its size does not.
    let trust = TrustFile::parse(block("trust file")).unwrap();
    let note = Note::parse(block("note").as_bytes()).unwrap();
    let verified = trust.verify(&note).unwrap();
    assert_eq!(verified.checkpoint().size, TreeSize(20_852));
    assert_eq!(verified.pq_timestamp(), 1_767_225_601);
    let changed = block("note").replacen("20852", "20853", 1);
    assert!(
        trust
            .verify(&Note::parse(changed.as_bytes()).unwrap())
            .is_err()
    );
    let vkey = block("vkey").trim_end();
    assert_eq!(VerifierKey::parse(vkey).unwrap().to_string(), vkey);
    // The layout table of the page, followed by hand on the ML-DSA line.
    let line = note.signatures().get(1).unwrap();
    assert_eq!(line.bytes.len(), 8 + 2420);
    let base64 = base64::engine::general_purpose::STANDARD.encode(&line.bytes);
    assert!(base64.starts_with("AAAAAG"));
}
