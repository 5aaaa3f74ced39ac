//! From file, environment and flags to settings: a flag stands before `CUSTODY__A__B`, which
//! stands before the file, which stands before the default. Every key is known or an error that
//! names the nearest known one; every value remembers where it came from.
//!
//! Not here: reading the file or the environment (`place.rs`); bounds of values (`config.rs`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use thiserror::Error;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::bus::EMBEDDED;
use super::{BusSettings, Config, Illegal, Settings};

/// What begins the name of an environment variable that sets a key.
pub(crate) const ENV_PREFIX: &str = "CUSTODY__";

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A line of the file, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Env {
        /// Its name.
        name: String,
    },
    /// A flag of the command line.
    Flag {
        /// The flag, with its dashes.
        name: &'static str,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{}:{line}", path.display()),
            Source::Env { name } => write!(f, "environment {name}"),
            Source::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

/// A key that a flag of the command line sets.
#[derive(Clone, PartialEq, Debug)]
pub struct Flag {
    /// The flag, with its dashes.
    pub name: &'static str,
    /// The dotted key.
    pub key: &'static str,
    /// The value.
    pub value: Value,
}

/// Settings and where each of them comes from.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The checked settings.
    pub config: Config,
    /// For each dotted key its value and source, in the order of the keys.
    pub keys: BTreeMap<String, (Value, Source)>,
}

/// What is wrong with a configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// No file where one is needed.
    #[error(
        "there is no configuration {}: go to a folder made by `custody init`, or give \
         --config FILE",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("the configuration {} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// Not TOML.
    #[error("{}:{line}: not TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said, on one line.
        message: String,
    },
    /// A key that means nothing.
    #[error("{place}: unknown key {key:?}; the nearest known key is {nearest:?}")]
    UnknownKey {
        /// Where it stands.
        place: Source,
        /// The dotted key.
        key: String,
        /// The known key that is spelled most like it.
        nearest: String,
    },
    /// A value of another type.
    #[error("{place}: {key} must be {expected}, not {found}")]
    WrongType {
        /// Where it stands.
        place: Source,
        /// The dotted key.
        key: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A value outside its bounds.
    #[error("{place}: {key} {reason}")]
    Illegal {
        /// Where it stands.
        place: Source,
        /// The dotted key.
        key: String,
        /// What it is and what would be legal.
        reason: String,
    },
}

/// Merges and checks.
///
/// # Errors
/// Everything that is wrong, in the order of the file, the environment, the flags and the bounds.
pub fn resolve(
    file: Option<(&Path, &str)>,
    folder: &Path,
    env: &[(String, String)],
    flags: &[Flag],
) -> Result<Resolved, Vec<ConfigError>> {
    let known = Known::new();
    let mut errors = Vec::new();
    let mut keys = defaults(&Settings::default());
    let mut set = |found: Result<(String, Value, Source), ConfigError>| match found {
        Ok((key, value, source)) => {
            // A value and a table of one name exclude each other: what is set later stands.
            keys.retain(|other, _| !is_below(other, &key) && !is_below(&key, other));
            keys.insert(key, (value, source));
        }
        Err(error) => errors.push(error),
    };
    if let Some((path, text)) = file {
        known.read_file(path, text, &mut set);
    }
    for (name, value) in env {
        if let Some(name_of_key) = name.strip_prefix(ENV_PREFIX) {
            set(known.read_env(name, name_of_key, value));
        }
    }
    for flag in flags {
        let source = Source::Flag { name: flag.name };
        set(Ok((flag.key.to_owned(), flag.value.clone(), source)));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if !keys.contains_key(BUS) {
        let kafka = Settings {
            bus: BusSettings::least(),
            ..Settings::default()
        };
        let mut all = defaults(&kafka);
        all.append(&mut keys);
        keys = all;
    }
    let place = |key: &str| {
        keys.get(key)
            .map_or(Source::Default, |(_, source)| source.clone())
    };
    let settings = Settings::deserialize(nested(&keys)).map_err(|error| {
        // Types were checked key by key: what is left is a key that a table of Kafka must have.
        vec![ConfigError::Illegal {
            place: place(BROKERS),
            key: KAFKA.to_owned(),
            reason: format!("is refused: {}", one_line(error.message())),
        }]
    })?;
    let config = Config::check(settings, folder).map_err(|illegal| {
        let error = |(key, reason): Illegal| ConfigError::Illegal {
            place: place(&key),
            key,
            reason,
        };
        illegal.into_iter().map(error).collect::<Vec<_>>()
    })?;
    Ok(Resolved { config, keys })
}

/// The one key that is a value or a table, its table, and the key that the table must have.
const BUS: &str = "bus";
const KAFKA: &str = "bus.kafka";
const BROKERS: &str = "bus.kafka.brokers";
/// What may stand there.
const BUS_WORDS: &str = "\"embedded\" or a table [bus.kafka]";

/// Whether the key `lower` stands in the table `upper`.
fn is_below(lower: &str, upper: &str) -> bool {
    let rest = lower.strip_prefix(upper);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

/// Settings key by key, set by nobody.
fn defaults(settings: &Settings) -> BTreeMap<String, (Value, Source)> {
    let mut known = Known::default();
    known.add("", Table::try_from(settings).unwrap_or_default());
    let leaves = known.leaves.into_iter();
    leaves
        .map(|(key, value)| (key, (value, Source::Default)))
        .collect()
}

/// The keys that mean something, with their defaults.
#[derive(Default)]
struct Known {
    leaves: BTreeMap<String, Value>,
    tables: Vec<String>,
    /// The keys of the tables of a list, such as `[[bus.kafka.foreign]]`.
    items: BTreeMap<String, Vec<String>>,
}

impl Known {
    /// Taken from the serialised defaults, so that no list can fall behind the struct.
    fn new() -> Known {
        let mut known = Known::default();
        let kafka = Settings {
            bus: BusSettings::every_key(),
            ..Settings::default()
        };
        for settings in [kafka, Settings::default()] {
            known.add("", Table::try_from(settings).unwrap_or_default());
        }
        known
    }

    fn add(&mut self, prefix: &str, table: Table) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            match value {
                Value::Table(inner) => {
                    self.add(&format!("{key}."), inner);
                    if !self.tables.contains(&key) {
                        self.tables.push(key);
                    }
                }
                Value::Array(items) => {
                    let tables = items.into_iter().filter_map(|item| match item {
                        Value::Table(table) => Some(table),
                        _ => None,
                    });
                    let names = tables.flatten().map(|(name, _)| name);
                    self.items.insert(key.clone(), names.collect());
                    self.leaves.insert(key, Value::Array(Vec::new()));
                }
                leaf => {
                    self.leaves.insert(key, leaf);
                }
            }
        }
    }

    fn read_file(
        &self,
        path: &Path,
        text: &str,
        set: &mut dyn FnMut(Result<(String, Value, Source), ConfigError>),
    ) {
        let syntax = |error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            message: one_line(error.message()),
        };
        let tree = match DeTable::parse(text) {
            Ok(tree) => tree,
            Err(error) => return set(Err(syntax(error))),
        };
        let values: Table = match text.parse() {
            Ok(values) => values,
            Err(error) => return set(Err(syntax(error))),
        };
        self.read_table(path, text, "", tree.get_ref(), &values, set);
    }

    fn read_table(
        &self,
        path: &Path,
        text: &str,
        prefix: &str,
        tree: &DeTable<'_>,
        values: &Table,
        set: &mut dyn FnMut(Result<(String, Value, Source), ConfigError>),
    ) {
        // In the order of the file, so that the first error is the first line.
        let mut items: Vec<_> = tree.iter().collect();
        items.sort_by_key(|(name, _)| name.span().start);
        for (name, spanned) in items {
            let key = format!("{prefix}{}", name.get_ref());
            let line = line_of(text, name.span().start);
            let place = Source::File {
                path: path.to_owned(),
                line,
            };
            let value = values.get(name.get_ref().as_ref());
            match (spanned.get_ref(), value) {
                (DeValue::Table(inner), Some(Value::Table(inner_values)))
                    if self.tables.contains(&key) && !(key == BUS && inner_values.is_empty()) =>
                {
                    if key == KAFKA {
                        // The table is meant even if it is empty: this says what it lacks.
                        set(Ok((
                            BROKERS.to_owned(),
                            Value::String(String::new()),
                            place,
                        )));
                    }
                    self.read_table(path, text, &format!("{key}."), inner, inner_values, set);
                }
                (_, Some(value)) => {
                    let checked = self.check(&key, value, &place);
                    set(checked.map(|()| (key, value.clone(), place)));
                }
                (_, None) => {}
            }
        }
    }

    fn read_env(
        &self,
        name: &str,
        name_of_key: &str,
        text: &str,
    ) -> Result<(String, Value, Source), ConfigError> {
        let key = name_of_key.to_lowercase().replace("__", ".");
        let place = Source::Env {
            name: name.to_owned(),
        };
        let value = match self.leaves.get(&key) {
            Some(Value::Integer(_)) => text.parse().ok().map(Value::Integer),
            Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
            _ => None,
        };
        let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
        self.check(&key, &value, &place)?;
        Ok((key, value, place))
    }

    fn check(&self, key: &str, value: &Value, place: &Source) -> Result<(), ConfigError> {
        let wrong = |expected| ConfigError::WrongType {
            place: place.clone(),
            key: key.to_owned(),
            expected,
            found: shown(value),
        };
        match (self.leaves.get(key), value) {
            (_, Value::String(text)) if key == BUS && text == EMBEDDED => Ok(()),
            _ if key == BUS => Err(wrong(BUS_WORDS)),
            (Some(Value::Array(_)), Value::Array(items)) => self.check_items(key, items, place),
            (Some(Value::Array(_)), _) => Err(wrong("a list of tables [[…]]")),
            (Some(Value::Integer(_)), Value::Integer(number)) if *number >= 0 => Ok(()),
            (Some(Value::Boolean(_)), Value::Boolean(_)) => Ok(()),
            (Some(Value::String(_)), Value::String(_)) => Ok(()),
            (Some(Value::Integer(_)), _) => Err(wrong("a whole number from 0")),
            (Some(Value::Boolean(_)), _) => Err(wrong("true or false")),
            (Some(_), _) => Err(wrong("text in quotes")),
            (None, _) if self.tables.iter().any(|table| table == key) => {
                Err(wrong("a table of keys"))
            }
            (None, _) => Err(ConfigError::UnknownKey {
                place: place.clone(),
                key: key.to_owned(),
                nearest: self.nearest(key),
            }),
        }
    }

    /// The keys of each table of a list; their values are looked at when all is read.
    fn check_items(&self, key: &str, items: &[Value], place: &Source) -> Result<(), ConfigError> {
        let known = self.items.get(key).map(Vec::as_slice).unwrap_or_default();
        for item in items {
            let mut names = item.as_table().into_iter().flatten().map(|(name, _)| name);
            if let Some(name) = names.find(|name| !known.contains(name)) {
                let nearest = known
                    .iter()
                    .min_by_key(|known| strsim::damerau_levenshtein(name, known));
                return Err(ConfigError::UnknownKey {
                    place: place.clone(),
                    key: format!("{key}.{name}"),
                    nearest: format!("{key}.{}", nearest.map_or("", String::as_str)),
                });
            }
        }
        Ok(())
    }

    /// The known key (or table) that is spelled most like `key`. A key in the wrong table is meant
    /// more often than another key of the same table.
    fn nearest(&self, key: &str) -> String {
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let distance = |known: &str| {
            let whole = strsim::damerau_levenshtein(key, known);
            let name = strsim::damerau_levenshtein(&last(key), &last(known));
            whole.min(name.saturating_add(1))
        };
        let known = self.leaves.keys().chain(&self.tables);
        known
            // Of two that are as near, the one in fewer tables.
            .min_by_key(|known| (distance(known), known.matches('.').count()))
            .cloned()
            .unwrap_or_default()
    }
}

/// A value in an error: its type, and its text if that is short and no secret can be meant.
fn shown(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
        other => format!("a value of type {}", other.type_str()),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    before
        .filter(|byte| **byte == b'\n')
        .count()
        .saturating_add(1)
}

fn one_line(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The dotted keys as the tables of a file.
fn nested(keys: &BTreeMap<String, (Value, Source)>) -> Table {
    let mut root = Table::new();
    for (key, (value, _)) in keys {
        let mut table = &mut root;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                table.insert(part.to_owned(), value.clone());
                break;
            }
            let inner = table
                .entry(part)
                .or_insert_with(|| Value::Table(Table::new()));
            match inner {
                Value::Table(inner) => table = inner,
                _ => break,
            }
        }
    }
    root
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
