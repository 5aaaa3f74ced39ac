//! Settings: what `custody.toml` may hold, in one documented struct, and the checked form that
//! commands use. The file lies in the installation's folder and every key has a default.
//!
//! Not here: merging file, environment and flags (`resolve.rs`) and finding the file (`place.rs`).

use std::path::{Path, PathBuf};

use ledger_core::Origin;
use serde::{Deserialize, Serialize};

mod place;
mod resolve;

pub use place::{FILE_NAME, Place, load};
pub use resolve::{ConfigError, Flag, Resolved, Source, resolve};

/// Everything that can be set. Keys are written as in the file: `[log] checkpoint_every_ms = 20`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The installation's folder; empty: the folder of the file.
    pub dir: String,
    /// The first part of the log's origin, as given to `custody init`.
    pub deployment: String,
    /// The second part: whose log it is.
    pub tenant: String,
    /// The third part: which log of the tenant's series.
    pub label: String,
    /// The writer and the publisher.
    pub log: LogSettings,
    /// What is masked, and how much of it stays.
    pub mask: MaskSettings,
    /// The server.
    pub http: HttpSettings,
    /// What the program says about itself.
    pub messages: MessageSettings,
}

/// `[log]`: the writer and the publisher.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// Milliseconds between two checkpoints when there is something new: 20 to 60,000.
    pub checkpoint_every_ms: u64,
    /// Most entries that are made durable together: 1 to 100,000.
    pub batch_entries_max: u64,
    /// Most bytes of payloads that are made durable together: 1 MiB to 1 GiB.
    pub batch_bytes_max: u64,
    /// Longest that the first message of a batch waits for others, in milliseconds: 0 to 1,000.
    pub batch_wait_ms: u64,
    /// Entries of a segment: 256 to 2^22.
    pub segment_entries_max: u64,
    /// Bytes of payloads of a segment: 1 MiB to 4 GiB.
    pub segment_payload_bytes_max: u64,
}

/// `[mask]`: card numbers are always masked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskSettings {
    /// Keep the first six digits of a card number beside the last four.
    pub keep_first6: bool,
}

/// `[http]`: the server listens on a Unix socket; a TCP port is opened only if it is set here.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Address and port, such as `127.0.0.1:7410`; empty: none.
    pub listen: String,
    /// Serve the checkpoint and the hash tiles to everybody who reaches the port.
    pub publish: bool,
    /// Serve entry bundles to everybody as well. They hold no personal data.
    pub entries_public: bool,
}

/// `[messages]`: what the program says about itself, on stderr.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MessageSettings {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// `text` or `json`.
    pub form: String,
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings {
            checkpoint_every_ms: 1_000,
            batch_entries_max: 10_000,
            batch_bytes_max: 16 << 20,
            batch_wait_ms: 2,
            segment_entries_max: 1 << 22,
            segment_payload_bytes_max: 4 << 30,
        }
    }
}

impl Default for MessageSettings {
    fn default() -> MessageSettings {
        MessageSettings {
            level: "info".to_owned(),
            form: "text".to_owned(),
        }
    }
}

/// Settings whose values are all legal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The installation's folder.
    pub dir: PathBuf,
    /// Whose log.
    pub tenant: String,
    /// Which log of the series.
    pub label: String,
    /// `<deployment>/<tenant>/<label>`.
    pub origin: Origin,
    /// The other settings, each within its bounds.
    pub settings: Settings,
}

/// A value outside its bounds: which key, and what would be legal.
pub(crate) type Illegal = (&'static str, String);

impl Config {
    /// Checks every value; `file_folder` is where the file lies.
    pub(crate) fn check(settings: Settings, file_folder: &Path) -> Result<Config, Vec<Illegal>> {
        let mut illegal = Vec::new();
        for (key, value) in [
            ("deployment", &settings.deployment),
            ("tenant", &settings.tenant),
            ("label", &settings.label),
        ] {
            illegal.extend(check_name(value).err().map(|reason| (key, reason)));
        }
        let log = &settings.log;
        for (key, value, least, most) in [
            (
                "log.checkpoint_every_ms",
                log.checkpoint_every_ms,
                20,
                60_000,
            ),
            ("log.batch_entries_max", log.batch_entries_max, 1, 100_000),
            ("log.batch_bytes_max", log.batch_bytes_max, 1 << 20, 1 << 30),
            ("log.batch_wait_ms", log.batch_wait_ms, 0, 1_000),
            (
                "log.segment_entries_max",
                log.segment_entries_max,
                256,
                1 << 22,
            ),
            (
                "log.segment_payload_bytes_max",
                log.segment_payload_bytes_max,
                1 << 20,
                4 << 30,
            ),
        ] {
            if !(least..=most).contains(&value) {
                illegal.push((key, format!("is {value}, give {least} to {most}")));
            }
        }
        let messages = &settings.messages;
        for (key, value, words) in [
            ("messages.level", &messages.level, LEVELS),
            ("messages.form", &messages.form, FORMS),
        ] {
            if !words.contains(&value.as_str()) {
                illegal.push((
                    key,
                    format!("is {value:?}, give one of {}", words.join(", ")),
                ));
            }
        }
        let listen = &settings.http.listen;
        if !listen.is_empty() && listen.parse::<std::net::SocketAddr>().is_err() {
            let reason = format!("is {listen:?}, give an address and a port: \"127.0.0.1:7410\"");
            illegal.push(("http.listen", reason));
        }
        let origin = origin_of(&settings.deployment, &settings.tenant, &settings.label);
        match origin {
            Some(origin) if illegal.is_empty() => Ok(Config {
                dir: folder(&settings.dir, file_folder),
                tenant: settings.tenant.clone(),
                label: settings.label.clone(),
                origin,
                settings,
            }),
            Some(_) => Err(illegal),
            None => {
                let reason = "makes an origin that is too long: 255 bytes at most".to_owned();
                illegal.push(("deployment", reason));
                Err(illegal)
            }
        }
    }
}

/// A relative `dir` is meant from the file, so that a folder can be moved as a whole.
fn folder(dir: &str, file_folder: &Path) -> PathBuf {
    if dir.is_empty() {
        file_folder.to_owned()
    } else {
        file_folder.join(dir)
    }
}

/// The origin of a log.
pub fn origin_of(deployment: &str, tenant: &str, label: &str) -> Option<Origin> {
    Origin::new(&format!("{deployment}/{tenant}/{label}")).ok()
}

/// Deployment, tenant and label are parts of a URL and of paths.
///
/// # Errors
/// What a name may be.
pub fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && name.len() <= NAME_MAX && name.chars().all(legal) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_MAX).collect();
    Err(format!(
        "is {shown:?}, give 1 to {NAME_MAX} of the characters a-z A-Z 0-9 . _ - that begin with a \
         letter or digit"
    ))
}

const NAME_MAX: usize = 63;
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
const FORMS: &[&str] = &["text", "json"];

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> Settings {
        Settings {
            deployment: "db.example.org".to_owned(),
            tenant: "main".to_owned(),
            label: "2026".to_owned(),
            ..Settings::default()
        }
    }

    #[test]
    fn values_outside_their_bounds_are_named_with_the_legal_ones() {
        let good = named();
        let twin = Config::check(good.clone(), Path::new("d")).unwrap();
        assert_eq!(twin.origin.as_str(), "db.example.org/main/2026");
        assert_eq!(twin.dir, Path::new("d"));
        let refused = |change: &dyn Fn(&mut Settings), key: &str, word: &str| {
            let mut bad = good.clone();
            change(&mut bad);
            let illegal = Config::check(bad, Path::new("d")).unwrap_err();
            assert_eq!(illegal.len(), 1, "{illegal:?}");
            assert_eq!(illegal[0].0, key);
            assert!(illegal[0].1.contains(word), "{illegal:?}");
        };
        refused(
            &|s| s.log.checkpoint_every_ms = 19,
            "log.checkpoint_every_ms",
            "20 to 60000",
        );
        refused(
            &|s| s.log.batch_entries_max = 0,
            "log.batch_entries_max",
            "1 to",
        );
        refused(&|s| s.tenant = "..".to_owned(), "tenant", "letter or digit");
        refused(&|s| s.label = String::new(), "label", "1 to 63");
        refused(
            &|s| s.deployment = "a/b".to_owned(),
            "deployment",
            "characters",
        );
        refused(
            &|s| s.http.listen = "7410".to_owned(),
            "http.listen",
            "a port",
        );
        refused(
            &|s| s.messages.level = "loud".to_owned(),
            "messages.level",
            "trace",
        );
    }

    #[test]
    fn a_relative_folder_is_meant_from_the_file() {
        for (dir, expected) in [("", "etc"), ("ledger", "etc/ledger"), ("/var/c", "/var/c")] {
            let settings = Settings {
                dir: dir.to_owned(),
                ..named()
            };
            let config = Config::check(settings, Path::new("etc")).unwrap();
            assert_eq!(config.dir, Path::new(expected));
        }
    }
}
