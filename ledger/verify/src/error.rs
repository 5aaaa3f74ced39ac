//! Why a verification could not be done at all, which is neither good nor bad news about the log.
//!
//! Not here: what is wrong with a log ([`crate::MisdeedKind`]).

use std::path::PathBuf;

use keys_public::{CheckpointRefusal, MalformedNote};

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory holds no log of the trust file's origin.
    #[error(
        "{} holds no log of the origin {origin}: give the directory and the trust file of the \
         same log", dir.display()
    )]
    NoLog {
        /// The directory.
        dir: PathBuf,
        /// The origin of the trust file.
        origin: String,
    },
    /// The origin has no tenant and label, so no folder can be told from it.
    #[error("the origin {origin} is not of the form <deployment>/<tenant>/<label>")]
    Origin {
        /// The origin of the trust file.
        origin: String,
    },
    /// The system refused to let a file be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// The kept checkpoint is no note.
    #[error("the checkpoint to compare with is no signed note: {0}")]
    SinceMalformed(#[source] MalformedNote),
    /// The kept checkpoint does not hold against the trust file.
    #[error("the checkpoint to compare with does not hold against the trust file: {0}")]
    SinceRefused(#[source] CheckpointRefusal),
    /// A tile could not be fetched.
    #[error("cannot fetch {path}: {error}")]
    Fetch {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        error: FetchError,
    },
}

/// Why something could not be fetched, as whoever fetches says. Not being there is no error.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct FetchError {
    /// One line.
    pub reason: String,
}
