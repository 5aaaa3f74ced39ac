//! Making a log: keys, trust file, folders, the signed empty tree; entry 0 is written by the first
//! opening, so that an interrupted creation is finished by the next one.
//!
//! Not here: configuration files (api/cli).

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use keys_public::{LogKeys, Note, TrustFile, trust_file_for};
use keys_secret::{Keystore, LocalSigner};
use ledger_core::layout::{HASHES, LAST_NOTE};
use ledger_core::{Checkpoint, Hash};
use ledger_event::facts::{Facts, Opened};

use crate::clock;
use crate::config::LogOptions;
use crate::error::{CloseError, OpenError, WriteError};
use crate::files::{replace, sync_folder};
use crate::log::Log;
use crate::opinion::second_opinion;
use crate::paths::LogPaths;

/// A log that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The checkpoint over entry 0.
    pub checkpoint: Checkpoint,
    /// SHA-256 of the trust file: what an auditor compares.
    pub trust_fingerprint: Hash,
}

/// Why no log was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is something already.
    #[error(
        "{} is there already: choose another folder, or remove what an interrupted init left",
        path.display()
    )]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The keystore.
    #[error(transparent)]
    Keystore(#[from] keys_secret::KeystoreError),
    /// The signer's state.
    #[error(transparent)]
    Signer(#[from] keys_secret::OpenSignerError),
    /// The trust file is none.
    #[error("{}: {error}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: keys_public::TrustFileError,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The new log could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new log could not be closed.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// The new log could not be read.
    #[error(transparent)]
    Read(#[from] crate::error::ReadError),
}

/// Makes the log in `paths` and writes entry 0 and its checkpoint.
///
/// # Errors
/// See [`CreateError`]; nothing that was there is touched.
pub fn create_log(paths: &LogPaths) -> Result<Created, CreateError> {
    // The first note is what makes a log: without it an interrupted creation goes on.
    let note = paths.file(LAST_NOTE);
    if std::fs::symlink_metadata(&note).is_ok() {
        return Err(CreateError::Exists { path: note });
    }
    make_folder(paths.root())?;
    let store = match std::fs::symlink_metadata(paths.keys()) {
        Ok(_) => Keystore::open(&paths.keys()),
        Err(_) => Keystore::create(&paths.keys(), paths.origin(), paths.tenant()),
    };
    let store = store?;
    // Keys that were made for another log are refused here.
    let pair = store.log_signing_keys(paths.origin())?;
    let text = trust_file_for(pair.public());
    let path = paths.trust();
    let trust = TrustFile::parse(&text).map_err(|error| CreateError::Trust { path, error })?;
    if let Some(folder) = paths.trust().parent() {
        make_folder(folder)?;
    }
    refuse_other_trust(&paths.trust(), &text)?;
    replace(&paths.trust(), text.as_bytes())?;
    let folder = paths.folder();
    make_folder(&folder)?;
    refuse_strangers(&folder)?;
    make_folder(&folder.join(HASHES))?;
    let public = pair.public().clone();
    let opinion = Box::new(move |note: &Note| second_opinion(&public, note));
    let now = clock::system()().wall;
    LocalSigner::create(pair, &note, &trust, now, opinion)?;
    sync_folder(&folder)?;
    let (log, _) = Log::open(paths, &LogOptions::default())?;
    let reader = log.reader();
    log.close()?;
    let (checkpoint, _) = reader.published()?;
    Ok(Created {
        checkpoint,
        trust_fingerprint: trust.fingerprint(),
    })
}

/// A trust file of another log is somebody's: it is not replaced.
fn refuse_other_trust(path: &Path, text: &str) -> Result<(), CreateError> {
    match std::fs::read(path) {
        Ok(bytes) if bytes != text.as_bytes() => Err(CreateError::Exists {
            path: path.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// A folder without a first note holds nothing but what an interrupted creation left.
fn refuse_strangers(folder: &Path) -> Result<(), CreateError> {
    let failed = |error| CreateError::Io {
        doing: "list",
        path: folder.to_owned(),
        error,
    };
    for file in std::fs::read_dir(folder).map_err(failed)? {
        let file = file.map_err(failed)?;
        let name = file.file_name();
        let known = name
            .to_str()
            .is_some_and(|name| name == HASHES || name.starts_with(LAST_NOTE));
        if !known {
            return Err(CreateError::Exists { path: file.path() });
        }
    }
    Ok(())
}

/// Folders that an interrupted creation may lack.
pub(crate) fn finish_folders(paths: &LogPaths) -> Result<(), OpenError> {
    let folder = paths.folder();
    if !folder.is_dir() {
        return Err(OpenError::Read(crate::error::ReadError::NoLog {
            path: folder,
        }));
    }
    let hashes = folder.join(HASHES);
    if hashes.is_dir() {
        return Ok(());
    }
    std::fs::create_dir(&hashes).map_err(|error| OpenError::Io {
        doing: "create",
        path: hashes.clone(),
        error,
    })?;
    Ok(sync_folder(&folder)?)
}

/// The facts of entry 0.
pub(crate) fn opened(paths: &LogPaths) -> Result<Vec<u8>, OpenError> {
    let store = Keystore::open(&paths.keys())?;
    let log = store.log_signing_keys(paths.origin())?;
    let evidence = store.evidence_keys(paths.origin())?;
    let facts = Opened {
        origin: paths.origin().to_string(),
        keys: vkeys(log.public()),
        evidence_keys: vkeys(evidence.public()),
        founders: Vec::new(),
        previous: None,
        software: format!("custody {}", env!("CARGO_PKG_VERSION")),
    };
    Ok(facts.to_json())
}

fn vkeys(keys: &LogKeys) -> Vec<String> {
    vec![keys.ed25519().to_string(), keys.ml_dsa().to_string()]
}

/// Makes a folder (mode 0700) and those above it, durable.
fn make_folder(path: &Path) -> Result<(), CreateError> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|error| CreateError::Io {
        doing: "create",
        path: path.to_owned(),
        error,
    })?;
    for above in path
        .ancestors()
        .skip(1)
        .take(3)
        .filter(|above| above.is_dir())
    {
        sync_folder(above)?;
    }
    Ok(())
}
