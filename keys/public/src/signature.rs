//! What each kind of signature covers, and whether a note's signature by a given key holds
//! (C2SP signed-note for type 0x01, C2SP tlog-cosignature for types 0x04 and 0x06).
//!
//! Not here: which keys must sign together (see [`crate::checkpoint`] and [`crate::trust`]).

use ledger_core::{Checkpoint, CheckpointError};
use ml_dsa::MlDsa44;
use thiserror::Error;

use crate::key::{KeyKind, KeyName, Material, VerifierKey};
use crate::note::{Note, SignatureLine};

/// The 12 bytes that begin what ML-DSA-44 signs.
const SUBTREE_LABEL: &[u8; 12] = b"subtree/v1\n\0";
/// The latest time that a cosignature may state (C2SP tlog-cosignature, "Format").
pub const TIMESTAMP_MAX: u64 = 0x7fff_ffff_ffff_ffff;

/// What a type 0x06 signature covers: a checkpoint, its time and the name of the key.
///
/// 12 bytes `"subtree/v1\n\0"` ‖ u8 length ‖ cosigner name ‖ u64 timestamp ‖ u8 length ‖ origin ‖
/// u64 start (always 0 here) ‖ u64 end (the size) ‖ 32 bytes root; integers big-endian
/// (C2SP tlog-cosignature, "ML-DSA-44 signed message"). `timestamp` is in Unix seconds; 0 makes no
/// statement about time. The bytes are signed as they are, with an empty context (FIPS 204, 5.2).
pub fn ml_dsa_message(cosigner: &KeyName, timestamp: u64, checkpoint: &Checkpoint) -> Vec<u8> {
    let origin = checkpoint.origin.as_str();
    let mut message = Vec::with_capacity(12 + 2 + 8 * 3 + 32 + cosigner.as_str().len() + 255);
    message.extend_from_slice(SUBTREE_LABEL);
    message.push(cosigner.len_u8());
    message.extend_from_slice(cosigner.as_str().as_bytes());
    message.extend_from_slice(&timestamp.to_be_bytes());
    // INVARIANT: `Origin::new` refuses more than 255 bytes.
    message.push(u8::try_from(origin.len()).unwrap_or(u8::MAX));
    message.extend_from_slice(origin.as_bytes());
    message.extend_from_slice(&0u64.to_be_bytes());
    message.extend_from_slice(&checkpoint.size.0.to_be_bytes());
    message.extend_from_slice(&checkpoint.root.0);
    message
}

/// What a type 0x04 signature covers: two lines, then the whole text of the note
/// (C2SP tlog-cosignature, "Ed25519 signed message"). `timestamp` is in Unix seconds.
pub fn ed25519_cosignature_message(timestamp: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {timestamp}\n{text}").into_bytes()
}

/// A signature that holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerifiedSignature {
    /// The time that the signature states, in Unix seconds. `None` for type 0x01, which has none,
    /// and for a zero timestamp, which states none.
    pub timestamp: Option<u64>,
}

impl Note {
    /// Checks every signature line of `key`, and takes the latest time that they state.
    ///
    /// Lines of other keys are ignored, even if they share the name or the id (not both) with
    /// `key`.
    ///
    /// # Errors
    /// No line of `key`; a line of `key` that does not hold, whatever other lines say.
    pub fn verify(&self, key: &VerifierKey) -> Result<VerifiedSignature, NoteError> {
        let mut verified: Option<VerifiedSignature> = None;
        for line in self.signatures().iter().filter(|line| line.is_of(key)) {
            let timestamp = verify_line(self.text(), line, key)?;
            let latest = verified
                .and_then(|earlier| earlier.timestamp)
                .max(timestamp);
            verified = Some(VerifiedSignature { timestamp: latest });
        }
        verified.ok_or_else(|| NoteError::SignatureMissing {
            key: vkey_head(key),
        })
    }
}

/// Why a note is not shown to be signed by a key.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NoteError {
    /// No line carries the key's name and id.
    #[error("the note has no signature by {key}")]
    SignatureMissing {
        /// Name and id of the key.
        key: String,
    },
    /// A line of the key is too short or too long.
    #[error("the signature by {key} has {found} bytes, {expected} are expected")]
    SignatureLength {
        /// Name and id of the key.
        key: String,
        /// Timestamp and signature, in bytes.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// A timestamp above 2^63 − 1.
    #[error("the signature by {key} states the impossible time {timestamp}")]
    TimeOutOfRange {
        /// Name and id of the key.
        key: String,
        /// The time that the line states.
        timestamp: u64,
    },
    /// A type 0x06 key signs checkpoints only, and this text is none.
    #[error("the text signed by {key} is no checkpoint: {reason}")]
    NotACheckpoint {
        /// Name and id of the key.
        key: String,
        /// What the text lacks.
        reason: CheckpointError,
    },
    /// The key did not sign this text (and this time).
    #[error("the signature by {key} does not match the text of the note")]
    SignatureWrong {
        /// Name and id of the key.
        key: String,
    },
}

/// Returns the time that the line states.
fn verify_line(
    text: &str,
    line: &SignatureLine,
    key: &VerifierKey,
) -> Result<Option<u64>, NoteError> {
    let expected = key.kind().signature_len();
    if line.bytes.len() != expected {
        let found = line.bytes.len();
        return Err(NoteError::SignatureLength {
            key: vkey_head(key),
            expected,
            found,
        });
    }
    let (timestamp, signature) = match key.kind() {
        KeyKind::Ed25519 => (None, line.bytes.as_slice()),
        KeyKind::Ed25519Cosignature | KeyKind::MlDsa44 => {
            let Some((time, signature)) = line.bytes.split_first_chunk::<8>() else {
                let found = line.bytes.len();
                return Err(NoteError::SignatureLength {
                    key: vkey_head(key),
                    expected,
                    found,
                });
            };
            let timestamp = u64::from_be_bytes(*time);
            if timestamp > TIMESTAMP_MAX {
                return Err(NoteError::TimeOutOfRange {
                    key: vkey_head(key),
                    timestamp,
                });
            }
            (Some(timestamp), signature)
        }
    };
    let stated = timestamp.unwrap_or(0);
    let holds = match (key.kind(), key.material()) {
        (KeyKind::Ed25519, Material::Ed25519(public)) => {
            ed25519_holds(public, text.as_bytes(), signature)
        }
        (KeyKind::Ed25519Cosignature, Material::Ed25519(public)) => ed25519_holds(
            public,
            &ed25519_cosignature_message(stated, text),
            signature,
        ),
        (KeyKind::MlDsa44, Material::MlDsa44(public)) => {
            let checkpoint =
                Checkpoint::parse(text).map_err(|reason| NoteError::NotACheckpoint {
                    key: vkey_head(key),
                    reason,
                })?;
            ml_dsa_holds(
                public,
                &ml_dsa_message(key.name(), stated, &checkpoint),
                signature,
            )
        }
        // INVARIANT: `VerifierKey::new` pairs kind and material; another pair verifies nothing.
        (KeyKind::Ed25519 | KeyKind::Ed25519Cosignature, Material::MlDsa44(_))
        | (KeyKind::MlDsa44, Material::Ed25519(_)) => false,
    };
    if !holds {
        return Err(NoteError::SignatureWrong {
            key: vkey_head(key),
        });
    }
    Ok(timestamp.filter(|time| *time != 0))
}

/// Strict: RFC 8032 with canonical encodings and no point of small order.
fn ed25519_holds(key: &ed25519_dalek::VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    ed25519_dalek::Signature::from_slice(signature)
        .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
}

/// FIPS 204, algorithm 3, with an empty context.
fn ml_dsa_holds(key: &ml_dsa::VerifyingKey<MlDsa44>, message: &[u8], signature: &[u8]) -> bool {
    ml_dsa::Signature::<MlDsa44>::try_from(signature)
        .is_ok_and(|signature| key.verify_with_context(message, &[], &signature))
}

/// How errors name a key: `name+id`, without the long public part.
pub(crate) fn vkey_head(key: &VerifierKey) -> String {
    format!("{}+{:08x}", key.name(), key.id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{checkpoint, ed25519_key, ml_dsa_key};
    use crate::note::SignatureLine;

    const TIME: u64 = 1_767_225_600;

    /// A note with one line by each kind of key, and the keys.
    fn signed() -> (Note, [VerifierKey; 3]) {
        let checkpoint = checkpoint(7);
        let (log, pq, witness) = (ed25519_key(1), ml_dsa_key(2), ed25519_key(3));
        let mut note = Note::new(checkpoint.encode()).unwrap();
        note.add(log.sign_note(note.text(), checkpoint.origin.as_str()))
            .unwrap();
        note.add(pq.sign(&checkpoint, TIME)).unwrap();
        note.add(witness.cosign(note.text(), "witness.example/w", TIME + 1))
            .unwrap();
        let keys = [
            log.public(checkpoint.origin.as_str(), KeyKind::Ed25519),
            pq.public(checkpoint.origin.as_str()),
            witness.public("witness.example/w", KeyKind::Ed25519Cosignature),
        ];
        (note, keys)
    }

    fn with_lines(note: &Note, change: impl Fn(usize, &mut SignatureLine)) -> Note {
        let mut changed = Note::new(note.text().to_owned()).unwrap();
        for (index, line) in note.signatures().iter().enumerate() {
            let mut line = line.clone();
            change(index, &mut line);
            changed.add(line).unwrap();
        }
        changed
    }

    #[test]
    fn the_untouched_note_verifies_with_each_key() {
        let (note, keys) = signed();
        for (key, timestamp) in keys.iter().zip([None, Some(TIME), Some(TIME + 1)]) {
            assert_eq!(note.verify(key), Ok(VerifiedSignature { timestamp }));
        }
    }

    #[test]
    fn every_changed_byte_of_a_signature_is_refused() {
        let (note, keys) = signed();
        for (index, key) in keys.iter().enumerate() {
            let len = note.signatures()[index].bytes.len();
            // ML-DSA's line is long: a prime step visits every part of it.
            for at in (0..len).step_by(if len > 100 { 37 } else { 1 }) {
                let changed = with_lines(&note, |i, line| {
                    if i == index {
                        line.bytes[at] ^= 0x10;
                    }
                });
                assert!(
                    matches!(changed.verify(key), Err(NoteError::SignatureWrong { .. })),
                    "line {index} byte {at}"
                );
            }
        }
    }

    #[test]
    fn lengths_times_and_other_keys_are_refused() {
        let (note, keys) = signed();
        for (index, key) in keys.iter().enumerate() {
            let short = with_lines(&note, |_, line| {
                line.bytes.pop();
            });
            assert!(matches!(
                short.verify(key),
                Err(NoteError::SignatureLength { .. })
            ));
            let long = with_lines(&note, |_, line| line.bytes.push(0));
            assert!(matches!(
                long.verify(key),
                Err(NoteError::SignatureLength { .. })
            ));
            // The same name with another id, and the same id with another name, are unknown keys.
            let other_id = with_lines(&note, |_, line| line.key_id ^= 1);
            assert!(matches!(
                other_id.verify(key),
                Err(NoteError::SignatureMissing { .. })
            ));
            let other_name = with_lines(&note, |_, line| line.name.push('x'));
            assert!(matches!(
                other_name.verify(key),
                Err(NoteError::SignatureMissing { .. })
            ));
            let late = with_lines(&note, |_, line| line.bytes[0] |= 0x80);
            if index > 0 {
                assert!(matches!(
                    late.verify(key),
                    Err(NoteError::TimeOutOfRange { .. })
                ));
            }
        }
    }

    #[test]
    fn one_bad_line_of_a_key_refuses_the_note_beside_a_good_one() {
        let (note, keys) = signed();
        for (index, key) in keys.iter().enumerate() {
            let mut doubled = note.clone();
            let mut bad = note.signatures()[index].clone();
            bad.bytes[20] ^= 1;
            doubled.add(bad).unwrap();
            assert!(matches!(
                doubled.verify(key),
                Err(NoteError::SignatureWrong { .. })
            ));
        }
    }

    #[test]
    fn the_latest_of_several_times_counts_and_zero_states_none() {
        let checkpoint = checkpoint(7);
        let pq = ml_dsa_key(2);
        let key = pq.public(checkpoint.origin.as_str());
        let verify = |times: &[u64]| {
            let mut note = Note::new(checkpoint.encode()).unwrap();
            for time in times {
                note.add(pq.sign(&checkpoint, *time)).unwrap();
            }
            note.verify(&key).unwrap().timestamp
        };
        assert_eq!(verify(&[0]), None);
        assert_eq!(verify(&[5, 9, 7]), Some(9));
        assert_eq!(verify(&[5, 0]), Some(5));
    }

    #[test]
    fn ml_dsa_signs_checkpoints_without_extension_lines_only() {
        let (note, keys) = signed();
        let [_, pq, witness] = &keys;
        let mut extended = Note::new(format!("{}extension\n", note.text())).unwrap();
        for line in note.signatures() {
            extended.add(line.clone()).unwrap();
        }
        assert!(matches!(
            extended.verify(pq),
            Err(NoteError::NotACheckpoint { .. })
        ));
        assert!(matches!(
            extended.verify(witness),
            Err(NoteError::SignatureWrong { .. })
        ));
    }

    #[test]
    fn the_ml_dsa_message_is_laid_out_as_specified() {
        let checkpoint = checkpoint(0x0102);
        let name = KeyName::new("w.example").unwrap();
        let message = ml_dsa_message(&name, 3, &checkpoint);
        let origin = checkpoint.origin.as_str();
        let mut expected = b"subtree/v1\n\0\x09w.example".to_vec();
        expected.extend([0, 0, 0, 0, 0, 0, 0, 3]);
        expected.push(u8::try_from(origin.len()).unwrap());
        expected.extend(origin.as_bytes());
        expected.extend([0; 8]);
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
        expected.extend(checkpoint.root.0);
        assert_eq!(message, expected);
    }
}
