//! What an operator sets about Kafka, checked once: the same table for an agent and for the ledger,
//! and what only the ledger has.
//!
//! Passwords and keys are files of their own (mode 0600), never values. Not here: reading the
//! configuration's own file (api/cli), what the client is told beside it (`client`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How to reach the brokers: `[bus.kafka]` of an agent, and a part of the ledger's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokersConfig {
    /// Hosts and ports, separated by commas: `kafka1.example.org:9093,kafka2.example.org:9093`.
    pub brokers: String,
    /// TLS; without it the connection is in clear text, which is for loopback and tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// A user name and a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslConfig>,
}

/// `[bus.kafka.tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The authority of the brokers' certificates (PEM).
    pub ca: PathBuf,
    /// This side's certificate (PEM), where brokers ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its key (PEM, not encrypted, mode 0600).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// `[bus.kafka.sasl]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SaslConfig {
    /// `SCRAM-SHA-512`, `SCRAM-SHA-256`, or `PLAIN` (with TLS only).
    pub mechanism: String,
    /// The user.
    pub username: String,
    /// The file with the password: its first line (mode 0600).
    pub password_file: PathBuf,
}

/// The ledger's `[bus.kafka]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerConfig {
    /// See [`BrokersConfig`].
    pub brokers: String,
    /// See [`BrokersConfig`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// See [`BrokersConfig`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslConfig>,
    /// Partitions of the events topic when it is created: 1 to 1024. The count that the topic had
    /// at the log's first start decides from then on where each source's messages lie.
    pub partitions: u32,
    /// Replicas of topics that are created; 0: 3, or as many as there are brokers.
    pub replication: u32,
    /// Topics that are missing are created.
    pub create_topics: bool,
    /// Set to the id of another cluster when `brokers` was moved there on purpose.
    pub cluster: String,
    /// Topics of other shippers, read as sources of their own.
    pub foreign: Vec<ForeignConfig>,
}

impl Default for LedgerConfig {
    fn default() -> LedgerConfig {
        LedgerConfig {
            brokers: String::new(),
            tls: None,
            sasl: None,
            partitions: 12,
            replication: 0,
            create_topics: true,
            cluster: String::new(),
            foreign: Vec::new(),
        }
    }
}

/// `[[bus.kafka.foreign]]`: a topic that others write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForeignConfig {
    /// The topic.
    pub topic: String,
    /// The source's name; each partition is one, `<source>/<partition>`.
    pub source: String,
    /// The platform whose native lines are in it.
    pub platform: String,
    /// Where the line stands in a record's JSON: a key, or a pointer that begins with `/`. Not set:
    /// the whole value is the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Settings of the platform's form, such as `form` or `time_zone`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// Why a setting cannot be used: which key, and what would be legal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {reason}")]
pub struct KafkaConfigError {
    /// The key, such as `bus.kafka.brokers`.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How to reach the brokers, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers(BrokersConfig);

/// What the ledger does with Kafka, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSettings {
    pub(crate) brokers: Brokers,
    pub(crate) partitions: u32,
    pub(crate) replication: u32,
    pub(crate) create_topics: bool,
    pub(crate) cluster: String,
    pub(crate) foreign: Vec<ForeignConfig>,
}

/// Ways to log in that are offered.
const MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];
/// Most partitions: each has a position, and the log keeps 4,096.
const PARTITIONS_MAX: u32 = 1024;
/// Longest name of a topic: with a partition's number behind it, it must be the key of a position.
const TOPIC_BYTES_MAX: usize = 240;

fn refused<T>(key: &str, reason: impl Into<String>) -> Result<T, KafkaConfigError> {
    Err(KafkaConfigError {
        key: format!("bus.kafka.{key}"),
        reason: reason.into(),
    })
}

impl BrokersConfig {
    /// Paths are meant from `folder`, that of the configuration's file.
    pub fn based_on(&mut self, folder: &Path) {
        rebase(self.tls.as_mut(), self.sasl.as_mut(), folder);
    }

    /// The checked form. The files are read when the connection is made.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn check(self) -> Result<Brokers, KafkaConfigError> {
        let mut hosts = self.brokers.split(',').map(str::trim);
        if self.brokers.trim().is_empty() {
            return refused(
                "brokers",
                "is not set: give hosts and ports, HOST:PORT,HOST:PORT",
            );
        }
        if let Some(bad) = hosts.find(|host| !is_address(host)) {
            return refused("brokers", format!("has {bad:?}: give HOST:PORT,HOST:PORT"));
        }
        if let Some(tls) = &self.tls {
            if tls.ca.as_os_str().is_empty() {
                return refused(
                    "tls.ca",
                    "is not set: give the file of the brokers' authority",
                );
            }
            if tls.certificate.is_some() != tls.key.is_some() {
                return refused("tls.certificate", "and tls.key belong together: give both");
            }
        }
        if let Some(sasl) = &self.sasl {
            if !MECHANISMS.contains(&sasl.mechanism.as_str()) {
                let known = MECHANISMS.join(", ");
                let reason = format!("is {:?}, give one of {known}", sasl.mechanism);
                return refused("sasl.mechanism", reason);
            }
            if sasl.mechanism == "PLAIN" && self.tls.is_none() {
                let reason = "is PLAIN, which shows the password to whoever listens: set \
                              bus.kafka.tls, or use SCRAM-SHA-512";
                return refused("sasl.mechanism", reason);
            }
            if sasl.username.is_empty() {
                return refused("sasl.username", "is not set");
            }
            if sasl.password_file.as_os_str().is_empty() {
                return refused("sasl.password_file", "is not set: give a file of mode 0600");
            }
        }
        Ok(Brokers(self))
    }
}

impl LedgerConfig {
    /// Paths are meant from `folder`, that of the configuration's file.
    pub fn based_on(&mut self, folder: &Path) {
        rebase(self.tls.as_mut(), self.sasl.as_mut(), folder);
    }

    /// The checked form. The files are read when the connection is made.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn check(self) -> Result<LedgerSettings, KafkaConfigError> {
        let brokers = BrokersConfig {
            brokers: self.brokers,
            tls: self.tls,
            sasl: self.sasl,
        };
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            let reason = format!("is {}; it must be 1 to {PARTITIONS_MAX}", self.partitions);
            return refused("partitions", reason);
        }
        if self.replication > 16 {
            let reason = format!("is {}; it must be 0 to 16", self.replication);
            return refused("replication", reason);
        }
        let mut topics = BTreeSet::new();
        let mut sources = BTreeSet::new();
        for foreign in &self.foreign {
            foreign.check()?;
            if !topics.insert(&foreign.topic) {
                return refused("foreign.topic", format!("names {} twice", foreign.topic));
            }
            if !sources.insert(&foreign.source) {
                return refused("foreign.source", format!("names {} twice", foreign.source));
            }
        }
        Ok(LedgerSettings {
            brokers: brokers.check()?,
            partitions: self.partitions,
            replication: self.replication,
            create_topics: self.create_topics,
            cluster: self.cluster,
            foreign: self.foreign,
        })
    }
}

impl ForeignConfig {
    fn check(&self) -> Result<(), KafkaConfigError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let len = self.topic.len();
        if !(1..=TOPIC_BYTES_MAX).contains(&len) || !self.topic.chars().all(legal) {
            let reason = format!("is {:?}, which is no name of a topic", self.topic);
            return refused("foreign.topic", reason);
        }
        if self.topic.starts_with("custody.") {
            let reason = format!("is {}: topics of Custody are not foreign", self.topic);
            return refused("foreign.topic", reason);
        }
        // The rest of its name is the partition's number.
        if !(1..=58).contains(&self.source.len()) {
            return refused("foreign.source", "has 1 to 58 characters");
        }
        let no_keys = collectors_formats::FormatKeys {
            digest_key: [0; 32],
        };
        let settings: Vec<_> = self.settings.clone().into_iter().collect();
        match collectors_formats::format_for(&self.platform, &settings, &no_keys) {
            Ok(_) => Ok(()),
            Err(error) => refused("foreign.platform", format!("cannot be used: {error}")),
        }
    }
}

impl LedgerSettings {
    /// How to reach the brokers.
    pub fn brokers(&self) -> &Brokers {
        &self.brokers
    }
}

impl Brokers {
    /// Hosts and ports, as set.
    pub fn addresses(&self) -> &str {
        &self.0.brokers
    }

    pub(crate) fn config(&self) -> &BrokersConfig {
        &self.0
    }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let legal = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | '@');
    !host.is_empty() && host.chars().all(legal) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn rebase(tls: Option<&mut TlsConfig>, sasl: Option<&mut SaslConfig>, folder: &Path) {
    let mut paths: Vec<&mut PathBuf> = Vec::new();
    if let Some(tls) = tls {
        paths.push(&mut tls.ca);
        paths.extend(tls.certificate.as_mut());
        paths.extend(tls.key.as_mut());
    }
    paths.extend(sasl.map(|sasl| &mut sasl.password_file));
    for path in paths {
        if !path.as_os_str().is_empty() {
            *path = folder.join(&*path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::client::settings;
    use super::*;

    const FULL: &str = "\
        brokers = \"a:1,b:2\"\n\
        partitions = 3\n\
        [tls]\n\
        ca = \"ca.pem\"\n\
        [sasl]\n\
        mechanism = \"SCRAM-SHA-512\"\n\
        username = \"u\"\n\
        password_file = \"p.key\"\n";
    const PASSWORD: &str = "marker-of-the-password";

    fn folder(mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.key");
        fs::write(&path, format!("{PASSWORD}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(folder.path().join("ca.pem"), "x").unwrap();
        folder
    }

    fn check(text: &str, folder: &Path) -> Result<LedgerSettings, String> {
        let mut config: LedgerConfig = toml::from_str(text).map_err(|e| e.to_string())?;
        config.based_on(folder);
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn settings_that_cannot_be_used_are_refused_by_their_key() {
        let folder = folder(0o600);
        for (from, to, word) in [
            ("a:1,b:2", "", "brokers is not set"),
            ("a:1,b:2", "a", "HOST:PORT"),
            ("a:1,b:2", "a:1,", "HOST:PORT"),
            ("a:1,b:2", "u@a:1", "HOST:PORT"),
            ("a:1,b:2", "a:0", "HOST:PORT"),
            ("partitions = 3", "partitions = 0", "1 to 1024"),
            ("partitions = 3", "replication = 17", "0 to 16"),
            ("partitions = 3", "partition = 3", "unknown field"),
            ("SCRAM-SHA-512", "GSSAPI", "SCRAM-SHA-512"),
            ("\"u\"", "\"\"", "username is not set"),
            ("\"p.key\"", "\"\"", "password_file is not set"),
            ("\"ca.pem\"", "\"\"", "tls.ca is not set"),
            ("\"ca.pem\"", "\"ca.pem\"\nkey = \"k\"", "belong together"),
            (
                "[tls]\nca = \"ca.pem\"\n[sasl]\nmechanism = \"SCRAM-SHA-512\"",
                "[sasl]\nmechanism = \"PLAIN\"",
                "shows the password",
            ),
        ] {
            assert!(FULL.contains(from), "{from}");
            let error = check(&FULL.replace(from, to), folder.path()).unwrap_err();
            assert!(error.contains(word), "{to}: {error}");
        }
        let foreign = |text: &str| format!("brokers = \"a:1\"\n[[foreign]]\n{text}");
        let good = "topic = \"t\"\nsource = \"s\"\nplatform = \"postgresql\"\n";
        for (from, to, word) in [
            ("\"t\"", "\"custody.events.x\"", "not foreign"),
            ("\"t\"", "\"a b\"", "no name of a topic"),
            ("\"s\"", "\"\"", "1 to 58"),
            ("postgresql", "nosuch", "nosuch"),
        ] {
            let error = check(&foreign(&good.replace(from, to)), folder.path()).unwrap_err();
            assert!(error.contains(word), "{to}: {error}");
        }
        let twice = format!("{}[[foreign]]\n{good}", foreign(good));
        assert!(check(&twice, folder.path()).unwrap_err().contains("twice"));
        assert!(check(&foreign(good), folder.path()).is_ok());
        assert_eq!(
            check("brokers = \"a:1\"", folder.path())
                .unwrap()
                .partitions,
            12
        );
    }

    #[test]
    fn a_password_is_in_no_error_and_no_other_eyes() {
        let open = folder(0o644);
        let settings_of = |folder: &Path| {
            let checked = check(FULL, folder).unwrap();
            assert!(!format!("{checked:?}").contains(PASSWORD));
            settings(checked.brokers())
        };
        let error = settings_of(open.path()).unwrap_err().to_string();
        assert!(
            error.contains("0644") && !error.contains(PASSWORD),
            "{error}"
        );
        let closed = folder(0o600);
        let client = settings_of(closed.path()).unwrap();
        assert_eq!(client.get("sasl.password"), Some(PASSWORD));
        assert_eq!(client.get("security.protocol"), Some("sasl_ssl"));
    }
}
