//! PostgreSQL with pgaudit. A module a form: `csvlog`, `jsonlog`, `stderr`, `audit_file`
//! (pgauditlogtofile); which one it is, `detect` finds out.
//!
//! Reading order: `detect` · `csvlog` · `jsonlog` · `stderr` with its `prefix` · `audit_file` ·
//! `row` (one record, checked) · `audit` (pgaudit's own text) · `event` (a row as an event) ·
//! `kinds` (what kind of row) · `classify` and `statement` (which OCSF class). Deliberately not
//! here: syslog, other platforms, masking rules.

mod audit;
mod audit_file;
mod classify;
mod csvlog;
mod detect;
mod event;
mod jsonlog;
mod kinds;
mod prefix;
mod row;
mod statement;
mod stderr;

use crate::draft::{About, Source};
use crate::format::{Format, FormatKeys, SettingsError};
use crate::mask::{Dialect, MaskOptions};
use crate::stream::Stream;
use crate::text::Digests;
use crate::zone::Zone;

use std::sync::Arc;

use audit_file::AuditFile;
use csvlog::Csvlog;
use event::Reader;
use jsonlog::Jsonlog;
use prefix::Prefix;
use stderr::Stderr;

pub(crate) use jsonlog::is_row;
pub(crate) use row::Row;
pub(crate) use stderr::Lines;

const SETTINGS: &str = "form=csvlog|jsonlog|stderr|pgauditlogtofile, \
     log_line_prefix=<the server's setting>, timezone=<IANA name>, keep_first6=true|false";

/// The server's own `log_line_prefix`.
const LOG_LINE_PREFIX: &str = "%m [%p] ";

/// What the settings say, checked.
#[derive(Clone)]
struct Settings {
    zone: Option<Zone>,
    mask: MaskOptions,
    keys: FormatKeys,
    prefix: Arc<Prefix>,
}

/// The forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Csvlog,
    Jsonlog,
    Stderr,
    AuditFile,
}

impl Settings {
    fn reader(&self, which: Which) -> Reader {
        let (log_format, grade) = match which {
            Which::Csvlog => ("csvlog", "A"),
            Which::Jsonlog => ("jsonlog", "A"),
            Which::Stderr => ("stderr", "C"),
            Which::AuditFile => ("pgauditlogtofile", "A"),
        };
        let about = About {
            product: "PostgreSQL",
            log_format,
            grade,
        };
        let source = Source {
            about,
            dialect: Dialect::PostgreSql,
            mask: self.mask,
            digests: Digests::new(&self.keys),
        };
        let zone = self.zone.clone();
        Reader { source, zone }
    }

    fn stderr(&self) -> Stderr {
        Stderr {
            reader: self.reader(Which::Stderr),
            prefix: Arc::clone(&self.prefix),
        }
    }

    /// The reader of a form.
    fn open(&self, which: Which) -> Box<dyn Format + Send> {
        let reader = self.reader(which);
        match which {
            Which::Csvlog => Box::new(Stream::new(Csvlog { reader })),
            Which::Jsonlog => Box::new(Stream::new(Jsonlog { reader })),
            Which::Stderr => Box::new(Stream::new(self.stderr())),
            Which::AuditFile => Box::new(Stream::new(AuditFile { reader })),
        }
    }
}

/// The format that the settings mean.
pub(crate) fn format(
    settings: &[(String, String)],
    keys: &FormatKeys,
) -> Result<Box<dyn Format + Send>, SettingsError> {
    const FORMS: &str = "csvlog, jsonlog, stderr or pgauditlogtofile";
    let mut zone = None;
    let mut which = None;
    let mut prefix = None;
    let mut mask = MaskOptions::default();
    for (name, value) in settings {
        let bad = |name, expected| SettingsError::BadValue {
            name,
            value: value.clone(),
            expected,
        };
        match (name.as_str(), value.as_str()) {
            ("form", "csvlog") => which = Some(Which::Csvlog),
            ("form", "jsonlog") => which = Some(Which::Jsonlog),
            ("form", "stderr") => which = Some(Which::Stderr),
            ("form", "pgauditlogtofile") => which = Some(Which::AuditFile),
            ("form", _) => return Err(bad("form", FORMS)),
            ("log_line_prefix", setting) => {
                let known = "the server's own, with %m, %t or %n in it";
                prefix = Some(Prefix::new(setting).ok_or_else(|| bad("log_line_prefix", known))?);
            }
            ("timezone", name) => {
                let named = Zone::named(name);
                zone = Some(named.ok_or_else(|| bad("timezone", "a name like America/New_York"))?);
            }
            ("keep_first6", "true") => mask.keep_first6 = true,
            ("keep_first6", "false") => mask.keep_first6 = false,
            ("keep_first6", _) => return Err(bad("keep_first6", "true or false")),
            _ => {
                return Err(SettingsError::UnknownSetting {
                    platform: "postgresql",
                    name: name.clone(),
                    known: SETTINGS,
                });
            }
        }
    }
    let prefix = match prefix.or_else(|| Prefix::new(LOG_LINE_PREFIX)) {
        Some(prefix) => Arc::new(prefix),
        None => {
            return Err(SettingsError::BadValue {
                name: "log_line_prefix",
                value: LOG_LINE_PREFIX.to_owned(),
                expected: "a prefix with a time",
            });
        }
    };
    let settings = Settings {
        zone,
        mask,
        keys: keys.clone(),
        prefix,
    };
    Ok(match which {
        Some(which) => settings.open(which),
        None => Box::new(detect::Detect::new(settings)),
    })
}

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod forms_tests;
#[cfg(test)]
mod own_tests;
#[cfg(test)]
mod pause_tests;
#[cfg(test)]
mod tests;
