//! The directory of keys (`DIR/keys`): made once and whole, read with every check, never written
//! over.
//!
//! Not here: a remote keystore, rotation, and people's keys.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use keys_public::{KeyKind, KeyName, VerifierKey};
use ledger_core::{Origin, SourceId};
use zeroize::Zeroizing;

use crate::agents::AgentsAuthority;
use crate::key_file::{Algorithm, KEY_FILE_BYTES_MAX, KeyFile, KeyFileError, Purpose};
use crate::private_file::{self, PrivateFileError, sync_directory};
use crate::secret::{SecretKey32, SigningPair};
pub use crate::store_error::KeystoreError;

/// The most key files that [`Keystore::list`] reads.
pub const KEY_FILES_MAX: usize = 100_000;
/// The key of the authority of agents' certificates.
const AGENTS_FILE: &str = "agents.ed25519.key";
/// The longest tenant name, in bytes.
const TENANT_LEN_MAX: usize = 64;

/// The keys of one custody directory.
#[derive(Clone, Debug)]
pub struct Keystore {
    dir: PathBuf,
}

impl Keystore {
    /// Makes the directory `dir` (mode 0700) with the keys of the log `origin`, the evidence keys
    /// and the pseudonym key of `tenant`. Either the whole directory is there afterwards, synced,
    /// or nothing.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`] if `dir` holds anything; it is not touched.
    pub fn create(dir: &Path, origin: &Origin, tenant: &str) -> Result<Keystore, KeystoreError> {
        check_tenant(tenant)?;
        let evidence = evidence_name(origin)?;
        if std::fs::symlink_metadata(dir).is_ok() {
            return Err(KeystoreError::Exists {
                path: dir.to_owned(),
            });
        }
        let (parent, staging) = staging_for(dir)?;
        make_directory(&staging)?;
        let made = fill(&staging, origin, &evidence, tenant).and_then(|()| {
            std::fs::rename(&staging, dir).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::NotADirectory => KeystoreError::Exists {
                    path: dir.to_owned(),
                },
                _ => PrivateFileError::io(dir, "renamed", error).into(),
            })
        });
        if let Err(error) = made {
            // Made by this call and used by nobody. If it cannot be removed, the next call says so.
            let _ = std::fs::remove_dir_all(&staging);
            return Err(error);
        }
        sync_directory(&parent)?;
        Ok(Keystore {
            dir: dir.to_owned(),
        })
    }

    /// Opens the directory `dir`. Keys are read when they are asked for.
    ///
    /// # Errors
    /// A directory that is missing, a link, or writable for others.
    pub fn open(dir: &Path) -> Result<Keystore, KeystoreError> {
        let metadata = std::fs::symlink_metadata(dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => KeystoreError::File(PrivateFileError::Missing {
                path: dir.to_owned(),
            }),
            _ => PrivateFileError::io(dir, "opened", error).into(),
        })?;
        if metadata.is_symlink() {
            return Err(PrivateFileError::Link {
                path: dir.to_owned(),
            }
            .into());
        }
        if !metadata.is_dir() {
            return Err(KeystoreError::NotADirectory {
                path: dir.to_owned(),
            });
        }
        if metadata.mode() & 0o022 != 0 {
            let mode = metadata.mode() & 0o7777;
            return Err(KeystoreError::WritableForOthers {
                path: dir.to_owned(),
                mode,
            });
        }
        Ok(Keystore {
            dir: dir.to_owned(),
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The two keys that sign the checkpoints of the log `origin`.
    ///
    /// # Errors
    /// See [`KeystoreError`]; keys of another origin are refused.
    pub fn log_signing_keys(&self, origin: &Origin) -> Result<SigningPair, KeystoreError> {
        self.pair("log", Purpose::Log, origin.as_str())
    }

    /// The two keys that sign evidence bundles of the log `origin`; their name is
    /// `<origin>/evidence`.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn evidence_keys(&self, origin: &Origin) -> Result<SigningPair, KeystoreError> {
        self.pair("evidence", Purpose::Evidence, &evidence_name(origin)?)
    }

    /// The key that turns account names of `tenant` into pseudonyms.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn pseudonym_key(&self, tenant: &str) -> Result<SecretKey32, KeystoreError> {
        check_tenant(tenant)?;
        let path = self.dir.join(pseudonym_file(tenant));
        hmac_key(&path, Purpose::Pseudonym, tenant)
    }

    /// The key that chains the messages of `source`.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn source_key(&self, source: SourceId) -> Result<SecretKey32, KeystoreError> {
        let path = self.dir.join(source_file(source));
        hmac_key(&path, Purpose::Source, &source.to_string())
    }

    /// Makes the key of `source`, durable when this returns.
    ///
    /// # Errors
    /// [`PrivateFileError::Exists`] if there is one.
    pub fn create_source_key(&self, source: SourceId) -> Result<SecretKey32, KeystoreError> {
        let path = self.dir.join(source_file(source));
        let file = fresh_hmac(Purpose::Source, source.to_string())
            .map_err(|error| no_randomness(&path, error))?;
        write(&path, &file)?;
        sync_directory(&self.dir)?;
        secret32(&path, &file)
    }

    /// The bytes of the key of `source`, to be handed to its agent and to nobody else.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn source_key_bytes(&self, source: SourceId) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
        let path = self.dir.join(source_file(source));
        let name = source.to_string();
        let file = load(&path, Algorithm::HmacSha256, Purpose::Source, &name)?;
        let mut bytes = Zeroizing::new([0; 32]);
        bytes
            .iter_mut()
            .zip(&*file.secret)
            .for_each(|(to, from)| *to = *from);
        Ok(bytes)
    }

    /// The authority of the certificates of `deployment`'s agents; its key is made when it is
    /// asked for the first time, and durable when this returns.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn agents_authority(&self, deployment: &str) -> Result<AgentsAuthority, KeystoreError> {
        let path = self.dir.join(AGENTS_FILE);
        if std::fs::symlink_metadata(&path).is_err() {
            self.create_agents_key(&path, deployment)?;
        }
        let file = load(&path, Algorithm::Ed25519, Purpose::Agents, deployment)?;
        let mut seed = Zeroizing::new([0; 32]);
        seed.iter_mut()
            .zip(&*file.secret)
            .for_each(|(to, from)| *to = *from);
        Ok(AgentsAuthority::of_seed(deployment, &seed)?)
    }

    fn create_agents_key(&self, path: &Path, deployment: &str) -> Result<(), KeystoreError> {
        let fresh = SigningPair::ed25519_file(Purpose::Agents, deployment);
        let file = fresh.map_err(|error| no_randomness(path, error))?;
        match write(path, &file) {
            // Another process was faster: its key is the one.
            Err(KeystoreError::File(PrivateFileError::Exists { .. })) => Ok(()),
            other => other,
        }?;
        Ok(sync_directory(&self.dir)?)
    }

    /// What lies in the directory, sorted by file name; no secret part is kept.
    ///
    /// # Errors
    /// The first file that is no key file of ours, or is refused for another reason: nothing else
    /// belongs into this directory.
    pub fn list(&self) -> Result<Vec<StoredKey>, KeystoreError> {
        let unread = |error| KeystoreError::from(PrivateFileError::io(&self.dir, "read", error));
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(unread)? {
            if paths.len() >= KEY_FILES_MAX {
                return Err(KeystoreError::TooMany {
                    path: self.dir.clone(),
                });
            }
            paths.push(entry.map_err(unread)?.path());
        }
        paths.sort();
        paths.iter().map(|path| stored(path)).collect()
    }

    fn pair(&self, stem: &str, purpose: Purpose, name: &str) -> Result<SigningPair, KeystoreError> {
        let path = self.dir.join(format!("{stem}.ed25519.key"));
        let ed25519 = load(&path, Algorithm::Ed25519, purpose, name)?;
        let path = self.dir.join(format!("{stem}.ml-dsa-44.key"));
        let ml_dsa = load(&path, Algorithm::MlDsa44, purpose, name)?;
        SigningPair::load(&ed25519, &ml_dsa).map_err(|error| {
            let stem = self.dir.join(stem);
            KeystoreError::NoPair { stem, error }
        })
    }
}

/// One key file, without its secret part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredKey {
    /// The file's name in the directory.
    pub file: String,
    /// What the key computes.
    pub algorithm: Algorithm,
    /// What it may be used for.
    pub purpose: Purpose,
    /// Whose it is: origin, `<origin>/evidence`, tenant or source number.
    pub name: String,
    /// The public half, for keys that sign.
    pub verifier: Option<VerifierKey>,
}

fn fill(
    staging: &Path,
    origin: &Origin,
    evidence: &str,
    tenant: &str,
) -> Result<(), KeystoreError> {
    let random = |error| no_randomness(staging, error);
    for (stem, purpose, name) in [
        ("log", Purpose::Log, origin.as_str()),
        ("evidence", Purpose::Evidence, evidence),
    ] {
        let [ed25519, ml_dsa] = SigningPair::generate(purpose, name).map_err(random)?;
        write(&staging.join(format!("{stem}.ed25519.key")), &ed25519)?;
        write(&staging.join(format!("{stem}.ml-dsa-44.key")), &ml_dsa)?;
    }
    let pseudonym = fresh_hmac(Purpose::Pseudonym, tenant.to_owned()).map_err(random)?;
    write(&staging.join(pseudonym_file(tenant)), &pseudonym)?;
    sync_directory(staging)?;
    // What was written is read once as it will be read for years.
    let written = Keystore::open(staging)?;
    written.log_signing_keys(origin)?;
    written.evidence_keys(origin)?;
    written.pseudonym_key(tenant)?;
    Ok(())
}

/// The parent of `dir`, and the directory beside it in which the keys are made.
fn staging_for(dir: &Path) -> Result<(PathBuf, PathBuf), KeystoreError> {
    let Some(name) = dir.file_name() else {
        return Err(KeystoreError::NotADirectory {
            path: dir.to_owned(),
        });
    };
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut staging = name.to_owned();
    staging.push(".new");
    let staging = parent.join(staging);
    Ok((parent, staging))
}

fn make_directory(path: &Path) -> Result<(), KeystoreError> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeystoreError::Unfinished {
                path: path.to_owned(),
            },
            _ => PrivateFileError::io(path, "created", error).into(),
        })
}

fn fresh_hmac(purpose: Purpose, name: String) -> Result<KeyFile, getrandom::Error> {
    let mut secret = Zeroizing::new(vec![0; 32]);
    getrandom::fill(&mut secret)?;
    Ok(KeyFile {
        algorithm: Algorithm::HmacSha256,
        purpose,
        name,
        public: Vec::new(),
        secret,
    })
}

fn no_randomness(path: &Path, error: getrandom::Error) -> KeystoreError {
    let error = io::Error::other(error.to_string());
    PrivateFileError::io(path, "given random bytes", error).into()
}

fn write(path: &Path, file: &KeyFile) -> Result<(), KeystoreError> {
    let content = |error| KeystoreError::Content {
        path: path.to_owned(),
        error,
    };
    let bytes = file.encode().map_err(content)?;
    Ok(private_file::create(path, &bytes)?)
}

fn read(path: &Path) -> Result<KeyFile, KeystoreError> {
    let bytes = private_file::read(path, KEY_FILE_BYTES_MAX)?;
    KeyFile::decode(&bytes).map_err(|error| KeystoreError::Content {
        path: path.to_owned(),
        error,
    })
}

/// Reads the file at `path` and refuses it unless it is what its name promises.
fn load(
    path: &Path,
    algorithm: Algorithm,
    purpose: Purpose,
    name: &str,
) -> Result<KeyFile, KeystoreError> {
    let file = read(path)?;
    if (file.algorithm, file.purpose, file.name.as_str()) != (algorithm, purpose, name) {
        let says = |algorithm, purpose, name: &str| format!("{algorithm} {purpose} key of {name}");
        return Err(KeystoreError::WrongKey {
            path: path.to_owned(),
            expected: says(algorithm, purpose, name),
            found: says(file.algorithm, file.purpose, &file.name),
        });
    }
    Ok(file)
}

fn hmac_key(path: &Path, purpose: Purpose, name: &str) -> Result<SecretKey32, KeystoreError> {
    secret32(path, &load(path, Algorithm::HmacSha256, purpose, name)?)
}

fn secret32(path: &Path, file: &KeyFile) -> Result<SecretKey32, KeystoreError> {
    let found = file.secret.len();
    let bytes = <&[u8; 32]>::try_from(file.secret.as_slice()).map_err(|_| {
        let error = KeyFileError::Length {
            expected: 32,
            found,
        };
        KeystoreError::Content {
            path: path.to_owned(),
            error,
        }
    })?;
    Ok(SecretKey32::from_bytes(bytes))
}

fn stored(path: &Path) -> Result<StoredKey, KeystoreError> {
    let key = read(path)?;
    let kind = match key.algorithm {
        Algorithm::Ed25519 => Some(KeyKind::Ed25519),
        Algorithm::MlDsa44 => Some(KeyKind::MlDsa44),
        Algorithm::HmacSha256 => None,
    };
    let verifier = kind.map(|kind| {
        let name = KeyName::new(&key.name).map_err(|_| KeyFileError::Name)?;
        VerifierKey::new(name, kind, &key.public).map_err(|_| KeyFileError::Checksum)
    });
    let verifier = verifier
        .transpose()
        .map_err(|error| KeystoreError::Content {
            path: path.to_owned(),
            error,
        })?;
    let file = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let KeyFile {
        algorithm,
        purpose,
        name,
        ..
    } = key;
    Ok(StoredKey {
        file,
        algorithm,
        purpose,
        name,
        verifier,
    })
}

fn evidence_name(origin: &Origin) -> Result<String, KeystoreError> {
    let name = format!("{origin}/evidence");
    if name.len() > KeyName::BYTES_MAX {
        return Err(KeystoreError::OriginTooLong {
            origin: origin.to_string(),
        });
    }
    Ok(name)
}

fn check_tenant(tenant: &str) -> Result<(), KeystoreError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if tenant.is_empty() || tenant.len() > TENANT_LEN_MAX || !tenant.bytes().all(allowed) {
        return Err(KeystoreError::Tenant {
            tenant: tenant.chars().take(80).collect(),
        });
    }
    Ok(())
}

fn pseudonym_file(tenant: &str) -> String {
    format!("pseudonym.{tenant}.key")
}

fn source_file(source: SourceId) -> String {
    format!("source.{source}.key")
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
