//! The signer with local keys. Its state is the note it signed last; every note that it hands out
//! was shown to extend that one, was checked by other implementations, and is durable.
//!
//! The order of one signature: refuse what does not extend the last note; sign both halves; verify
//! them with the log's public keys; ask the second opinion; replace the last note and sync; hand
//! out. After a crash before the replacement the note was promised to nobody; after a crash behind
//! it, the note is the last one, and the publisher finds it there.
//!
//! Not here: whether frames are synced (the publisher's promise), and publishing.

use std::fmt;
use std::path::{Path, PathBuf};

use keys_public::{
    CheckpointRefusal, LogKeys, LogSigned, MalformedNote, Note, SecondOpinionRefused, SignRefusal,
    Signer, TrustFile,
};
use ledger_core::{Checkpoint, Hash, Nanos, TreeSize, empty_root, verify_consistency};
use thiserror::Error;

use crate::last_note::{LastNoteError, LastNoteFile};
use crate::secret::SigningPair;

/// Verifies a fresh note with implementations other than the signing ones. The signer itself
/// verifies ML-DSA-44 with another implementation than the signing one; for Ed25519 only the second
/// opinion does.
pub type SecondOpinion = Box<dyn Fn(&Note) -> Result<(), SecondOpinionRefused> + Send>;

/// Signs with keys from the local keystore.
pub struct LocalSigner {
    pair: SigningPair,
    state: LastNoteFile,
    last: Note,
    signed: LogSigned,
    second_opinion: SecondOpinion,
    stopped: bool,
}

impl LocalSigner {
    /// Begins a new log: signs its empty tree and makes that note the first state at
    /// `last_note_path`. `covered` is the time of the creation.
    ///
    /// # Errors
    /// [`OpenSignerError::StateExists`] if there is a last note: a log is begun once.
    pub fn create(
        pair: SigningPair,
        last_note_path: &Path,
        trust: &TrustFile,
        covered: Nanos,
        second_opinion: SecondOpinion,
    ) -> Result<LocalSigner, OpenSignerError> {
        refuse_other_keys(&pair, trust)?;
        let state = LastNoteFile::lock(last_note_path)?;
        if state.read()?.is_some() {
            return Err(OpenSignerError::StateExists {
                path: last_note_path.to_owned(),
            });
        }
        let origin = pair.public().origin().clone();
        let empty = Checkpoint {
            origin,
            size: TreeSize(0),
            root: empty_root(),
        };
        let time = seconds(covered)?;
        let (last, signed) = sign_and_check(&pair, &empty, time, &second_opinion)?;
        keep(&state, &last)?;
        Ok(LocalSigner {
            pair,
            state,
            last,
            signed,
            second_opinion,
            stopped: false,
        })
    }

    /// Takes up the signer of a log that was begun before.
    ///
    /// # Errors
    /// Keys other than those in the trust file, a missing last note (without it any history would
    /// be signed), and one that the log's keys did not both sign.
    pub fn open(
        pair: SigningPair,
        last_note_path: &Path,
        trust: &TrustFile,
        second_opinion: SecondOpinion,
    ) -> Result<LocalSigner, OpenSignerError> {
        refuse_other_keys(&pair, trust)?;
        let state = LastNoteFile::lock(last_note_path)?;
        let path = || last_note_path.to_owned();
        let bytes = state
            .read()?
            .ok_or_else(|| OpenSignerError::StateMissing { path: path() })?;
        let last = Note::parse(&bytes).map_err(|reason| OpenSignerError::StateMalformed {
            path: path(),
            reason,
        })?;
        let signed =
            (pair.public().verify(&last)).map_err(|reason| OpenSignerError::StateNotOurs {
                path: path(),
                reason,
            })?;
        Ok(LocalSigner {
            pair,
            state,
            last,
            signed,
            second_opinion,
            stopped: false,
        })
    }

    /// The last signed checkpoint and the time that it states.
    pub fn last_signed(&self) -> &LogSigned {
        &self.signed
    }
}

impl Signer for LocalSigner {
    fn sign(
        &mut self,
        next: &Checkpoint,
        covered: Nanos,
        consistency: &[Hash],
    ) -> Result<Note, SignRefusal> {
        if self.stopped {
            return Err(SignRefusal::Stopped);
        }
        refuse_unless_extends(self.signed.checkpoint(), next, consistency)?;
        let time = seconds(covered)?.max(self.signed.pq_timestamp());
        let (note, signed) = sign_and_check(&self.pair, next, time, &self.second_opinion)?;
        if let Err(refusal) = keep(&self.state, &note) {
            self.stopped = true;
            return Err(refusal);
        }
        self.last = note.clone();
        self.signed = signed;
        Ok(note)
    }

    fn last(&self) -> Option<&Note> {
        Some(&self.last)
    }

    fn keys(&self) -> LogKeys {
        self.pair.public().clone()
    }
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checkpoint = self.signed.checkpoint();
        write!(
            f,
            "LocalSigner({} at {})",
            checkpoint.origin, checkpoint.size
        )
    }
}

/// Why a signer cannot be had.
#[derive(Debug, Error)]
pub enum OpenSignerError {
    /// The keystore and the trust file belong to different logs, or the keys were replaced.
    #[error(
        "the keys in the keystore are not those that the trust file of {origin} names: put back \
         the keys or the trust file"
    )]
    TrustNamesOtherKeys {
        /// The trusted origin.
        origin: String,
    },
    /// The state's file.
    #[error(transparent)]
    State(#[from] LastNoteError),
    /// A log is begun once.
    #[error("{} exists already: this log was begun before", path.display())]
    StateExists {
        /// The last note.
        path: PathBuf,
    },
    /// Without the last note the signer would sign any history.
    #[error(
        "{} is missing: restore the newest signed checkpoint of this log there; without it nothing \
         is signed", path.display()
    )]
    StateMissing {
        /// The last note.
        path: PathBuf,
    },
    /// No note.
    #[error("{} is no signed note: {reason}", path.display())]
    StateMalformed {
        /// The last note.
        path: PathBuf,
        /// What is wrong.
        reason: MalformedNote,
    },
    /// A note that these keys did not both sign.
    #[error("{} is not a checkpoint that this log signed: {reason}", path.display())]
    StateNotOurs {
        /// The last note.
        path: PathBuf,
        /// The misdeed.
        reason: CheckpointRefusal,
    },
    /// The first note of a new log.
    #[error("the first checkpoint cannot be signed: {0}")]
    First(#[from] SignRefusal),
}

fn refuse_other_keys(pair: &SigningPair, trust: &TrustFile) -> Result<(), OpenSignerError> {
    if pair.public() == trust.keys() {
        return Ok(());
    }
    Err(OpenSignerError::TrustNamesOtherKeys {
        origin: trust.origin().to_string(),
    })
}

fn refuse_unless_extends(
    last: &Checkpoint,
    next: &Checkpoint,
    consistency: &[Hash],
) -> Result<(), SignRefusal> {
    if next.origin != last.origin {
        let (signs, asked) = (last.origin.to_string(), next.origin.to_string());
        return Err(SignRefusal::OriginDiffers { signs, asked });
    }
    if next.size < last.size {
        return Err(SignRefusal::SizeShrank {
            last: last.size,
            next: next.size,
        });
    }
    if next.size == last.size && next.root != last.root {
        return Err(SignRefusal::RootDiffers { size: last.size });
    }
    verify_consistency(last.size, next.size, consistency, &last.root, &next.root).map_err(
        |reason| SignRefusal::NotAnExtension {
            last: last.size,
            next: next.size,
            reason,
        },
    )
}

/// The time that a signature states: whole seconds, not before the covered time, never 0.
fn seconds(covered: Nanos) -> Result<u64, SignRefusal> {
    u64::try_from(covered.seconds_up())
        .ok()
        .filter(|time| *time > 0)
        .ok_or(SignRefusal::CoveredTime { covered })
}

fn sign_and_check(
    pair: &SigningPair,
    checkpoint: &Checkpoint,
    time: u64,
    second_opinion: &SecondOpinion,
) -> Result<(Note, LogSigned), SignRefusal> {
    let note = pair.sign(checkpoint, time)?;
    // Also what `open` will ask of this note: a state that does not open again is never written.
    let signed = pair
        .public()
        .verify(&note)
        .map_err(SignRefusal::FreshNote)?;
    second_opinion(&note)?;
    Ok((note, signed))
}

fn keep(state: &LastNoteFile, note: &Note) -> Result<(), SignRefusal> {
    state
        .replace(&note.encode())
        .map_err(|error| SignRefusal::StateNotKept {
            path: state.path().display().to_string(),
            error,
        })
}

#[cfg(test)]
#[path = "local_signer_tests.rs"]
mod tests;
