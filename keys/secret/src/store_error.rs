//! Why the directory of keys gives no key.
//!
//! Not here: what is checked ([`crate::store`]).

use std::path::PathBuf;

use thiserror::Error;

use crate::agents::CertificateError;
use crate::key_file::KeyFileError;
use crate::private_file::PrivateFileError;
use crate::secret::PairError;

/// Why a key was not made or not given out. Each message is one line that says what to do.
#[derive(Debug, Error)]
pub enum KeystoreError {
    /// The file or its surroundings.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The directory of keys is there already.
    #[error(
        "{} exists already and keys are never written over: choose another directory",
        path.display()
    )]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// A creation was cut off before its keys were used.
    #[error(
        "{} was left by an interrupted creation, its keys were never used: remove it",
        path.display()
    )]
    Unfinished {
        /// The directory in which keys were being made.
        path: PathBuf,
    },
    /// A file in the place of the directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// What lies there.
        path: PathBuf,
    },
    /// Whoever may write the directory may swap its keys.
    #[error(
        "{} has the mode {mode:04o}: others may swap its keys, run chmod 700 on it",
        path.display()
    )]
    WritableForOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// More files than a keystore may have.
    #[error("{} holds more than 100000 files", path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
    },
    /// Bytes that are no key file.
    #[error("{} is refused: {error}; restore it from the backup of the keys", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        error: KeyFileError,
    },
    /// A good key file in the place of another one.
    #[error(
        "{} holds the {found}, not the {expected}: a key was swapped or copied, restore it",
        path.display()
    )]
    WrongKey {
        /// The file.
        path: PathBuf,
        /// What its name promises.
        expected: String,
        /// What it says it is.
        found: String,
    },
    /// Parts that do not belong together.
    #[error("{}.*.key is refused: {error}; restore both files from the backup", stem.display())]
    NoPair {
        /// The path of the two files up to their algorithm.
        stem: PathBuf,
        /// What is wrong.
        #[source]
        error: PairError,
    },
    /// A certificate that cannot be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A tenant that cannot be part of a file name.
    #[error("the tenant {tenant:?} is not 1 to 64 of a-z, 0-9, '-' and '_'")]
    Tenant {
        /// The name.
        tenant: String,
    },
    /// An origin that leaves no room for the name of its evidence keys.
    #[error("the origin {origin} is too long: use at most 246 bytes")]
    OriginTooLong {
        /// The origin.
        origin: String,
    },
}
