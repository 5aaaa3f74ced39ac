//! What an operator sets about an agent, checked once. Secrets are in the file that the log's
//! operator hands out for each source; here stands only where it lies.
//!
//! Not here: reading the configuration's own file (api/cli).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use collectors_bus::kafka::BrokersConfig;
use collectors_bus::{AgentFile, AgentFileError};
use collectors_formats::{FormatKeys, SettingsError, format_for};
use serde::{Deserialize, Serialize};

use crate::follower::Setup;
use crate::journal::{JournalBounds, QUOTA_MIN};
use crate::notice::Allowed;
use crate::sight::{Files, FilesError};
use crate::tailer::{Rotated, Tailing};

/// The configuration of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The folder of the journals: one folder a source, named by its number.
    pub dir: PathBuf,
    /// How records travel: to each source's own address, unless a bus is named.
    #[serde(default)]
    pub bus: BusConfig,
    /// What is followed, at least one.
    pub sources: Vec<SourceConfig>,
}

/// The bus of all sources of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BusConfig {
    /// `[bus.kafka]`: the brokers to send to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<BrokersConfig>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The file that `custody sources add` wrote: number, key and where the log is.
    pub credentials: PathBuf,
    /// The file that the server writes; its rotated siblings are found by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// In its place: files with names that change, such as `/var/log/postgresql/*.csv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glob: Option<PathBuf>,
    /// Settings of the platform's form, such as `form` or `time_zone`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// The file may be cut in place after it was copied. What is written between copy and cut is
    /// lost, so what is read is graded as lossy. Rotating by renaming loses nothing.
    #[serde(default)]
    pub allow_copytruncate: bool,
    /// Rotated files that are there when the source is first read are left, and the log says which.
    /// Unless set they are read too, oldest first.
    #[serde(default)]
    pub leave_rotated: bool,
    /// Bytes that the journal may take on the disk; at 80 % reading slows down, when it is full it
    /// pauses. At least 64 MiB.
    #[serde(default = "quota_bytes")]
    pub quota_bytes: u64,
    /// Seconds from heartbeat to heartbeat: 1 to 3600.
    #[serde(default = "heartbeat_s")]
    pub heartbeat_s: u32,
}

fn quota_bytes() -> u64 {
    1 << 30
}

fn heartbeat_s() -> u32 {
    60
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is nothing to follow.
    #[error("no source is configured: add one with its credentials and a path")]
    NoSource,
    /// Neither path nor glob, or both.
    #[error("source {name} needs either a path or a glob")]
    PathOrGlob {
        /// Which.
        name: String,
    },
    /// Files that cannot be followed.
    #[error("source {name}: {error}")]
    Files {
        /// Which.
        name: String,
        /// What is wrong.
        #[source]
        error: FilesError,
    },
    /// A setting outside its bounds.
    #[error("source {name}: {key} is {value}; it must be {low} to {high}")]
    OutOfBounds {
        /// Which.
        name: String,
        /// The key.
        key: &'static str,
        /// What was set.
        value: u64,
        /// The least legal value.
        low: u64,
        /// The greatest legal value.
        high: u64,
    },
    /// The platform or its settings name no form.
    #[error("source {name}: {error}")]
    Settings {
        /// Which.
        name: String,
        /// What is wrong.
        #[source]
        error: SettingsError,
    },
    /// The credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] AgentFileError),
    /// One source twice: its journal can be followed once.
    #[error("source {name} is configured twice")]
    Twice {
        /// Which.
        name: String,
    },
}

/// A source that can be followed: all but the bus to its log.
#[derive(Debug)]
pub struct Assignment {
    /// Its name.
    pub name: String,
    /// The log's origin.
    pub origin: String,
    /// Where its log is.
    pub address: String,
    /// For the connection to it.
    pub tls: collectors_bus::TlsIdentity,
    /// Its key and journal.
    pub setup: Setup,
    /// Its files.
    pub tailing: Tailing,
}

impl AgentConfig {
    /// The checked form; reads the credentials.
    ///
    /// # Errors
    /// The first thing that cannot be used.
    pub fn check(&self) -> Result<Vec<Assignment>, ConfigError> {
        if self.sources.is_empty() {
            return Err(ConfigError::NoSource);
        }
        let mut assignments: Vec<Assignment> = Vec::new();
        for source in &self.sources {
            let file = AgentFile::read(&source.credentials)?;
            let name = file.name.clone();
            let number = file.credentials.source;
            let twice = |other: &Assignment| other.setup.credentials.source == number;
            if assignments.iter().any(twice) {
                return Err(ConfigError::Twice { name });
            }
            assignments.push(source.assign(&self.dir, file)?);
        }
        Ok(assignments)
    }
}

impl SourceConfig {
    fn assign(&self, dir: &Path, file: AgentFile) -> Result<Assignment, ConfigError> {
        let name = file.name.clone();
        self.check_bounds(&name)?;
        let files = match (&self.path, &self.glob) {
            (Some(path), None) => Files::named(path),
            (None, Some(glob)) => Files::pattern(glob),
            (Some(_), Some(_)) | (None, None) => return Err(ConfigError::PathOrGlob { name }),
        };
        let files = files.map_err(|error| ConfigError::Files {
            name: name.clone(),
            error,
        })?;
        let digest_key = file.credentials.digest_key();
        let settings: Vec<_> = self.settings.clone().into_iter().collect();
        let platform = file.platform.clone();
        let make = move || format_for(&platform, &settings, &FormatKeys { digest_key });
        if let Err(error) = make() {
            return Err(ConfigError::Settings { name, error });
        }
        let copytruncate = if self.allow_copytruncate {
            Allowed::Yes
        } else {
            Allowed::No
        };
        let rotated = if self.leave_rotated {
            Rotated::Leave
        } else {
            Rotated::Read
        };
        Ok(Assignment {
            name,
            origin: file.origin,
            address: file.address,
            tls: file.tls,
            setup: Setup {
                dir: dir.join(file.credentials.source.to_string()),
                credentials: file.credentials,
                bounds: JournalBounds::of_quota(self.quota_bytes),
                heartbeat_every_ns: i64::from(self.heartbeat_s) * 1_000_000_000,
            },
            tailing: Tailing {
                files,
                format: Box::new(move || make().ok()),
                copytruncate,
                rotated,
            },
        })
    }

    fn check_bounds(&self, name: &str) -> Result<(), ConfigError> {
        let within = |key, value: u64, low, high| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(ConfigError::OutOfBounds {
                name: name.to_owned(),
                key,
                value,
                low,
                high,
            })
        };
        within("quota_bytes", self.quota_bytes, QUOTA_MIN, 1 << 50)?;
        within("heartbeat_s", u64::from(self.heartbeat_s), 1, 3600)
    }
}
