//! Settings: what `custody.toml` may hold, in one documented struct, and the checked form that
//! commands use. The file lies in the installation's folder and every key has a default.
//!
//! Not here: merging file, environment and flags (`resolve.rs`) and finding the file (`place.rs`).

use std::path::{Path, PathBuf};

use api_http::{HttpConfig, HttpConfigError, HttpOptions};
use collectors_bus::kafka::LedgerSettings;
use ledger_log::config::OutOfBounds;
use ledger_log::{LogConfig, LogOptions, LogPaths, PathError};
use serde::{Deserialize, Serialize};

mod bus;
mod place;
mod resolve;

pub use bus::BusSettings;
pub use place::{FILE_NAME, Place, load};
pub use resolve::{ConfigError, Flag, Resolved, Source, resolve};

/// Everything that can be set. Keys are written as in the file: `[log] checkpoint_every_ms = 20`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
    pub log: LogConfig,
    /// The server. It always has the Unix socket; a TCP port is opened only if one is set here.
    pub http: HttpConfig,
    /// Where agents' messages come from: `"embedded"`, or a table `[bus.kafka]`.
    pub bus: BusSettings,
    /// What the program says about itself.
    pub messages: MessageSettings,
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

impl Default for Settings {
    fn default() -> Settings {
        let http = HttpConfig {
            listen: String::new(),
            ..HttpConfig::default()
        };
        Settings {
            dir: String::new(),
            deployment: String::new(),
            tenant: "main".to_owned(),
            label: String::new(),
            log: LogConfig::default(),
            http,
            bus: BusSettings::default(),
            messages: MessageSettings::default(),
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
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything lies, and the log's origin.
    pub paths: LogPaths,
    /// The writer and the publisher.
    pub log: LogOptions,
    /// The server.
    pub http: HttpOptions,
    /// The topics that agents' messages come by; `None` if they come by none.
    pub kafka: Option<LedgerSettings>,
    /// What the program says about itself.
    pub messages: MessageSettings,
}

/// A value outside its bounds: which key, and what would be legal.
pub(crate) type Illegal = (String, String);

impl Config {
    /// Checks every value; `file_folder` is where the file lies.
    pub(crate) fn check(settings: Settings, file_folder: &Path) -> Result<Config, Vec<Illegal>> {
        let Settings {
            dir,
            deployment,
            tenant,
            label,
            log,
            http,
            bus,
            messages,
        } = settings;
        let mut illegal = Vec::new();
        let root = folder(&dir, file_folder);
        let paths = LogPaths::new(&root, &deployment, &tenant, &label);
        for (key, value) in [("deployment", &deployment), ("label", &label)] {
            if value.is_empty() {
                let reason = "is not set: `custody init` writes it into custody.toml".to_owned();
                illegal.push((key.to_owned(), reason));
            }
        }
        if let (Err(error), true) = (&paths, illegal.is_empty()) {
            let key = match error {
                PathError::Name { what, .. } => *what,
                PathError::Origin { .. } => "deployment",
            };
            illegal.push((key.to_owned(), format!("is not legal: {error}")));
        }
        let log = log.check();
        if let Err(OutOfBounds {
            key,
            value,
            low,
            high,
        }) = &log
        {
            let reason = format!("is {value}; it must be {low} to {high}");
            illegal.push((format!("log.{key}"), reason));
        }
        for (key, value, words) in [
            ("messages.level", &messages.level, LEVELS),
            ("messages.form", &messages.form, FORMS),
        ] {
            if !words.contains(&value.as_str()) {
                let reason = format!("is {value:?}, give one of {}", words.join(", "));
                illegal.push((key.to_owned(), reason));
            }
        }
        let kafka = bus.check(file_folder).unwrap_or_else(|error| {
            illegal.push((error.key, error.reason));
            None
        });
        let http = http.check();
        if let Err(error) = &http {
            illegal.push(illegal_http(error));
        }
        match (paths, log, http) {
            (Ok(paths), Ok(log), Ok(http)) if illegal.is_empty() => Ok(Config {
                paths,
                log,
                http,
                kafka,
                messages,
            }),
            _ => Err(illegal),
        }
    }
}

/// The room's own words name the key first, as ours do.
fn illegal_http(error: &HttpConfigError) -> Illegal {
    let key = match error {
        HttpConfigError::Listen { .. } => "http.listen".to_owned(),
        HttpConfigError::AgentsListen { .. } => "http.agents.listen".to_owned(),
        HttpConfigError::AgentsAddress { .. } => "http.agents.address".to_owned(),
        HttpConfigError::EntriesWithoutTiles => "http.entries_public".to_owned(),
        HttpConfigError::OutOfBounds { key, .. } => format!("http.{key}"),
    };
    let text = error.to_string();
    let reason = text.strip_prefix(&format!("{key} ")).unwrap_or(&text);
    (key, reason.to_owned())
}

/// A relative `dir` is meant from the file, so that a folder can be moved as a whole.
fn folder(dir: &str, file_folder: &Path) -> PathBuf {
    if dir.is_empty() {
        file_folder.to_owned()
    } else {
        file_folder.join(dir)
    }
}

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
        assert_eq!(twin.paths.origin().as_str(), "db.example.org/main/2026");
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
            "20 to",
        );
        refused(
            &|s| s.log.batch_entries_max = 0,
            "log.batch_entries_max",
            "1 to",
        );
        refused(&|s| s.tenant = "..".to_owned(), "tenant", "letters");
        refused(&|s| s.label = String::new(), "label", "not set");
        refused(
            &|s| s.deployment = "a b".to_owned(),
            "deployment",
            "letters",
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
            assert_eq!(config.paths.root(), Path::new(expected));
        }
    }
}
