//! The seam between the publisher and whatever holds a log's keys: the local keystore, or a remote
//! one. Both keep the same promise, and one contract test checks it on both.
//!
//! **Invariant:** a signer never signs a root that a consistency proof does not show to extend the
//! last root it signed, and it never returns a note before that note is its own durable state.
//!
//! Not here: any secret key or file (keys/secret); whether the frames behind a size are synced,
//! which the publisher alone knows and answers for (ledger/log).

use std::fmt;

use ledger_core::{Checkpoint, Hash, Nanos, ProofError, TreeSize};
use thiserror::Error;

use crate::checkpoint::{CheckpointRefusal, LogKeys};
use crate::note::{MalformedNote, Note};

/// Signs one log's checkpoints with both halves, each one an extension of the last.
pub trait Signer {
    /// Signs `next`.
    ///
    /// `covered` is the ledger time of the last entry below `next.size`: the signature states it
    /// in seconds, rounded up, or the time that the last note stated if that is later.
    /// `consistency` is the proof from the last note's size to `next.size` (empty if they are equal
    /// or the last is 0).
    ///
    /// Signing the same size and root again is allowed: it may state a later time.
    ///
    /// # Errors
    /// See [`SignRefusal`]. After a refusal the signer's state is what it was, except
    /// [`SignRefusal::StateNotKept`], after which it refuses everything.
    fn sign(
        &mut self,
        next: &Checkpoint,
        covered: Nanos,
        consistency: &[Hash],
    ) -> Result<Note, SignRefusal>;

    /// The last note that was signed: the signer's whole state.
    fn last(&self) -> Option<&Note>;

    /// The public keys of the two halves.
    fn keys(&self) -> LogKeys;
}

/// Which of the two signatures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// Ed25519, type 0x01.
    Classical,
    /// ML-DSA-44, type 0x06.
    PostQuantum,
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Half::Classical => "classical half",
            Half::PostQuantum => "post-quantum half",
        })
    }
}

/// An implementation other than the signing one does not accept the fresh signature: one of the two
/// is faulty, and nothing may be published until it is known which.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{by} does not verify the {half}")]
pub struct SecondOpinionRefused {
    /// The signature that it refused.
    pub half: Half,
    /// The implementation that refused, for instance `aws-lc-rs`.
    pub by: &'static str,
}

/// Why a checkpoint was not signed.
#[derive(Debug, Error)]
pub enum SignRefusal {
    /// A checkpoint of another log.
    #[error("the signer signs for {signs}, not for {asked}")]
    OriginDiffers {
        /// The signer's log.
        signs: String,
        /// The log that was asked for.
        asked: String,
    },
    /// The log was cut, or restored from an old copy.
    #[error("the last signed checkpoint has {last} entries, this one only {next}")]
    SizeShrank {
        /// The last signed size.
        last: TreeSize,
        /// The size that was asked for.
        next: TreeSize,
    },
    /// Two histories of one length.
    #[error("a checkpoint of {size} entries was signed with another root")]
    RootDiffers {
        /// The size of both.
        size: TreeSize,
    },
    /// The proof does not lead from the last root to this one.
    #[error("the root of size {next} is not shown to extend that of size {last}: {reason}")]
    NotAnExtension {
        /// The last signed size.
        last: TreeSize,
        /// The size that was asked for.
        next: TreeSize,
        /// What the proof lacks.
        reason: ProofError,
    },
    /// A covered time that no signature can state.
    #[error("the covered time {covered} ns is not after 1970: the clock of the log is wrong")]
    CoveredTime {
        /// Nanoseconds since 1970.
        covered: Nanos,
    },
    /// The fresh note cannot be put together.
    #[error("the note cannot be written: {0}")]
    Malformed(#[from] MalformedNote),
    /// The fresh note does not verify with the log's own public keys.
    #[error("the fresh signatures do not verify: {0}")]
    FreshNote(#[source] CheckpointRefusal),
    /// The fresh note does not verify with another implementation.
    #[error("the fresh signatures are doubted: {0}")]
    SecondOpinion(#[from] SecondOpinionRefused),
    /// The note was signed but could not be made durable, so it is not handed out. Which of the two
    /// notes the disk holds is not known: the signer must be opened again.
    #[error("the signed note could not be kept in {path}: {error}; check the disk and start again")]
    StateNotKept {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// An earlier [`SignRefusal::StateNotKept`].
    #[error("the signer stopped when its note could not be kept; start again")]
    Stopped,
    /// The keys cannot be reached (a remote signer that is sealed, or away).
    #[error("the signing keys cannot be reached now: {error}; try again")]
    Unreachable {
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
}
