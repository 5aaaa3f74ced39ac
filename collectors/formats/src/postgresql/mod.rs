//! PostgreSQL with pgaudit. A module a form: `csvlog`; jsonlog, stderr and syslog come with their
//! issue.
//!
//! Reading order: `csvlog` (the stream) · `row` (one record, checked) · `audit` (pgaudit's own
//! text) · `event` (a row as an event) · `kinds` (what kind of row) · `classify` and `statement`
//! (which OCSF class) · `zone` (times). Deliberately not here: other platforms, masking rules.

mod audit;
mod classify;
mod csvlog;
mod event;
mod kinds;
mod row;
mod statement;

use crate::draft::{About, Source};
use crate::format::{Format, FormatKeys, SettingsError};
use crate::mask::{Dialect, MaskOptions};
use crate::stream::Stream;
use crate::text::Digests;
use crate::zone::Zone;

use csvlog::Csvlog;
use event::Reader;

const SETTINGS: &str = "form=csvlog, timezone=<IANA name>, keep_first6=true|false";

/// The format that the settings mean.
pub(crate) fn format(
    settings: &[(String, String)],
    keys: &FormatKeys,
) -> Result<Box<dyn Format + Send>, SettingsError> {
    let mut zone = None;
    let mut mask = MaskOptions::default();
    for (name, value) in settings {
        let bad = |name, expected| SettingsError::BadValue {
            name,
            value: value.clone(),
            expected,
        };
        match (name.as_str(), value.as_str()) {
            ("form", "csvlog") => {}
            ("form", _) => return Err(bad("form", "csvlog")),
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
    let about = About {
        product: "PostgreSQL",
        log_format: "csvlog",
        grade: "A",
    };
    let source = Source {
        about,
        dialect: Dialect::PostgreSql,
        mask,
        digests: Digests::new(keys),
    };
    let reader = Reader { source, zone };
    Ok(Box::new(Stream::new(Csvlog { reader })))
}

#[cfg(test)]
mod tests;
