//! The two halves that a log signs each checkpoint with, and what is known once they hold.
//!
//! A log's checkpoint needs both: an Ed25519 signature (type 0x01) and an ML-DSA-44 signature (type
//! 0x06) by keys named like its origin. Neither alone is accepted anywhere.
//!
//! Not here: the trust file that names the keys and the witnesses (see [`crate::trust`]).

use ledger_core::{Checkpoint, CheckpointError, Origin};
use thiserror::Error;

use crate::key::{KeyKind, VerifierKey};
use crate::note::Note;
use crate::signature::NoteError;

/// The two public keys of one log, both named like its origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogKeys {
    origin: Origin,
    ed25519: VerifierKey,
    ml_dsa: VerifierKey,
}

impl LogKeys {
    /// Pairs the two halves.
    ///
    /// # Errors
    /// A key of another kind, or two names.
    pub fn new(ed25519: VerifierKey, ml_dsa: VerifierKey) -> Result<LogKeys, LogKeysError> {
        if ed25519.kind() != KeyKind::Ed25519 {
            return Err(LogKeysError::ClassicalKind(ed25519.kind()));
        }
        if ml_dsa.kind() != KeyKind::MlDsa44 {
            return Err(LogKeysError::PostQuantumKind(ml_dsa.kind()));
        }
        if ed25519.name() != ml_dsa.name() {
            return Err(LogKeysError::NamesDiffer {
                ed25519: ed25519.name().to_string(),
                ml_dsa: ml_dsa.name().to_string(),
            });
        }
        let origin = Origin::new(ed25519.name().as_str())?;
        Ok(LogKeys {
            origin,
            ed25519,
            ml_dsa,
        })
    }

    /// The origin of the log: the name of both keys.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The classical half, type 0x01.
    pub fn ed25519(&self) -> &VerifierKey {
        &self.ed25519
    }

    /// The post-quantum half, type 0x06.
    pub fn ml_dsa(&self) -> &VerifierKey {
        &self.ml_dsa
    }

    /// Checks that `note` is a checkpoint of this log, signed by both halves. Witnesses are not
    /// asked for: that is [`crate::TrustFile::verify`].
    ///
    /// # Errors
    /// The misdeed, see [`CheckpointRefusal`].
    pub fn verify(&self, note: &Note) -> Result<LogSigned, CheckpointRefusal> {
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != self.origin {
            return Err(CheckpointRefusal::OriginDiffers {
                expected: self.origin.to_string(),
                found: checkpoint.origin.to_string(),
            });
        }
        note.verify(&self.ed25519).map_err(|error| match error {
            NoteError::SignatureMissing { .. } => CheckpointRefusal::ClassicalHalfMissing,
            other => CheckpointRefusal::ClassicalHalfWrong(other),
        })?;
        let ml_dsa = note.verify(&self.ml_dsa).map_err(|error| match error {
            NoteError::SignatureMissing { .. } => CheckpointRefusal::PostQuantumHalfMissing,
            other => CheckpointRefusal::PostQuantumHalfWrong(other),
        })?;
        let pq_timestamp = ml_dsa
            .timestamp
            .ok_or(CheckpointRefusal::PostQuantumTimeMissing)?;
        Ok(LogSigned {
            checkpoint,
            pq_timestamp,
        })
    }
}

/// Why two keys are no pair of log keys.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LogKeysError {
    /// The classical key has another type.
    #[error("a log's classical key is Ed25519 (type 0x01), this one is {0}")]
    ClassicalKind(KeyKind),
    /// The post-quantum key has another type.
    #[error("a log's post-quantum key is ML-DSA-44 (type 0x06), this one is {0}")]
    PostQuantumKind(KeyKind),
    /// One key belongs to another log.
    #[error("the log's keys have two names, {ed25519} and {ml_dsa}: both must be its origin")]
    NamesDiffer {
        /// The classical key's name.
        ed25519: String,
        /// The post-quantum key's name.
        ml_dsa: String,
    },
    /// The name is no origin.
    #[error("the name of the log's keys is no origin: {0}")]
    Origin(#[from] CheckpointError),
}

/// A checkpoint whose two log signatures hold. Whether witnesses saw it is not known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSigned {
    checkpoint: Checkpoint,
    pq_timestamp: u64,
}

impl LogSigned {
    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The time that the ML-DSA-44 signature states, in Unix seconds; never 0.
    pub fn pq_timestamp(&self) -> u64 {
        self.pq_timestamp
    }

    pub(crate) fn witnessed(self, cosigners: Vec<String>) -> VerifiedCheckpoint {
        let LogSigned {
            checkpoint,
            pq_timestamp,
        } = self;
        VerifiedCheckpoint {
            checkpoint,
            pq_timestamp,
            cosigners,
        }
    }
}

/// A checkpoint that holds against a trust file: both log signatures, and the quorum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    pq_timestamp: u64,
    cosigners: Vec<String>,
}

impl VerifiedCheckpoint {
    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The time that the ML-DSA-44 signature of the log states, in Unix seconds; never 0.
    pub fn pq_timestamp(&self) -> u64 {
        self.pq_timestamp
    }

    /// The witnesses that cosigned, by their names in the trust file and in its order; `pq`, the
    /// log's own half, is not among them.
    pub fn cosigners(&self) -> &[String] {
        &self.cosigners
    }
}

/// Why a note is refused as a checkpoint. Each variant names the misdeed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CheckpointRefusal {
    /// The text is no checkpoint of ours.
    #[error("the note is no checkpoint: {0}")]
    NotACheckpoint(#[from] CheckpointError),
    /// A checkpoint of another log.
    #[error("the checkpoint is of the log {found}, the trusted log is {expected}")]
    OriginDiffers {
        /// The trusted log.
        expected: String,
        /// The log that the checkpoint names.
        found: String,
    },
    /// The Ed25519 half is not there.
    #[error("the classical half is missing: no Ed25519 signature by the log's key")]
    ClassicalHalfMissing,
    /// The Ed25519 half is there and false.
    #[error("the classical half is wrong: {0}")]
    ClassicalHalfWrong(#[source] NoteError),
    /// The ML-DSA-44 half is not there.
    #[error("the post-quantum half is missing: no ML-DSA-44 signature by the log's key")]
    PostQuantumHalfMissing,
    /// The ML-DSA-44 half is there and false.
    #[error("the post-quantum half is wrong: {0}")]
    PostQuantumHalfWrong(#[source] NoteError),
    /// The ML-DSA-44 half has the timestamp 0, which says nothing about the largest tree seen.
    #[error("the post-quantum half states no time: its timestamp is 0")]
    PostQuantumTimeMissing,
    /// A line of a trusted witness is false.
    #[error("the cosignature of the witness {witness} is wrong: {error}")]
    WitnessWrong {
        /// The witness's name in the trust file.
        witness: String,
        /// What is wrong with its line.
        #[source]
        error: NoteError,
    },
    /// Too few witnesses.
    #[error("the quorum {quorum} is not met: cosigned by [{}]", cosigners.join(", "))]
    QuorumNotMet {
        /// The name that the trust file's quorum line gives.
        quorum: String,
        /// The witnesses that did cosign, `pq` not counted.
        cosigners: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{checkpoint, ed25519_key, log_keys, ml_dsa_key, signed_note};
    use crate::note::Note;

    fn without(note: &Note, index: usize) -> Note {
        let mut rest = Note::new(note.text().to_owned()).unwrap();
        for (_, line) in note
            .signatures()
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != index)
        {
            rest.add(line.clone()).unwrap();
        }
        rest
    }

    fn flipped(note: &Note, index: usize) -> Note {
        let mut changed = Note::new(note.text().to_owned()).unwrap();
        for (i, line) in note.signatures().iter().enumerate() {
            let mut line = line.clone();
            if i == index {
                line.bytes[40] ^= 1;
            }
            changed.add(line).unwrap();
        }
        changed
    }

    #[test]
    fn each_half_alone_is_refused_and_both_are_taken() {
        let keys = log_keys();
        let note = signed_note(12, 99);
        assert_eq!(
            keys.verify(&without(&note, 0)),
            Err(CheckpointRefusal::ClassicalHalfMissing)
        );
        assert_eq!(
            keys.verify(&without(&note, 1)),
            Err(CheckpointRefusal::PostQuantumHalfMissing)
        );
        assert!(matches!(
            keys.verify(&flipped(&note, 0)),
            Err(CheckpointRefusal::ClassicalHalfWrong(_))
        ));
        assert!(matches!(
            keys.verify(&flipped(&note, 1)),
            Err(CheckpointRefusal::PostQuantumHalfWrong(_))
        ));
        let verified = keys.verify(&note).unwrap();
        assert_eq!(verified.checkpoint(), &checkpoint(12));
        assert_eq!(verified.pq_timestamp(), 99);
    }

    #[test]
    fn other_logs_other_texts_and_no_time_are_refused() {
        let keys = log_keys();
        assert_eq!(
            keys.verify(&signed_note(12, 0)),
            Err(CheckpointRefusal::PostQuantumTimeMissing)
        );
        let text = Note::new("hello\n".into()).unwrap();
        assert!(matches!(
            keys.verify(&text),
            Err(CheckpointRefusal::NotACheckpoint(_))
        ));
        let mut other = checkpoint(12);
        other.origin = Origin::new("log.example/other/2026").unwrap();
        let other = Note::new(other.encode()).unwrap();
        assert!(matches!(
            keys.verify(&other),
            Err(CheckpointRefusal::OriginDiffers { .. })
        ));
        assert!(keys.verify(&signed_note(12, 1)).is_ok());
    }

    #[test]
    fn keys_of_two_logs_or_other_kinds_are_no_pair() {
        let (classical, pq) = (ed25519_key(1), ml_dsa_key(2));
        let log = |name| classical.public(name, KeyKind::Ed25519);
        assert!(matches!(
            LogKeys::new(log("a"), pq.public("b")),
            Err(LogKeysError::NamesDiffer { .. })
        ));
        assert_eq!(
            LogKeys::new(
                classical.public("a", KeyKind::Ed25519Cosignature),
                pq.public("a")
            ),
            Err(LogKeysError::ClassicalKind(KeyKind::Ed25519Cosignature))
        );
        assert_eq!(
            LogKeys::new(log("a"), log("a")),
            Err(LogKeysError::PostQuantumKind(KeyKind::Ed25519))
        );
        assert_eq!(
            LogKeys::new(log("a"), pq.public("a"))
                .unwrap()
                .origin()
                .as_str(),
            "a"
        );
    }
}
