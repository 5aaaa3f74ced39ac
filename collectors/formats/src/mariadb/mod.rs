//! MariaDB with server_audit.
//!
//! Reading order: `line` (one line, checked) · `event` (a line as an event) · `classify` and
//! `statement` (which OCSF class it is). Deliberately not here: the error log, the general log,
//! masking rules.

mod classify;
mod event;
mod line;
mod statement;

use crate::draft::{About, Source};
use crate::format::{Format, FormatKeys, SettingsError};
use crate::mask::{Dialect, MaskOptions};
use crate::stream::Stream;
use crate::text::Digests;
use crate::zone::Zone;

use event::ServerAudit;

const SETTINGS: &str = "form=server_audit, timezone=<IANA name>, \
     query_log_limit=<server_audit_query_log_limit>, keep_first6=true|false";

/// `server_audit_query_log_limit` when it is not set.
const QUERY_LOG_LIMIT: usize = 1024;

/// The format that the settings mean.
pub(crate) fn format(
    settings: &[(String, String)],
    keys: &FormatKeys,
) -> Result<Box<dyn Format + Send>, SettingsError> {
    let mut zone = None;
    let mut limit = QUERY_LOG_LIMIT;
    let mut mask = MaskOptions::default();
    for (name, value) in settings {
        let bad = |name, expected| SettingsError::BadValue {
            name,
            value: value.clone(),
            expected,
        };
        match (name.as_str(), value.as_str()) {
            ("form", "server_audit") => {}
            ("form", _) => return Err(bad("form", "server_audit")),
            ("timezone", name) => {
                let named = Zone::named(name);
                zone = Some(named.ok_or_else(|| bad("timezone", "a name like America/New_York"))?);
            }
            ("query_log_limit", value) => {
                let number = value.parse().ok();
                limit = number.ok_or_else(|| bad("query_log_limit", "a number of bytes"))?;
            }
            ("keep_first6", "true") => mask.keep_first6 = true,
            ("keep_first6", "false") => mask.keep_first6 = false,
            ("keep_first6", _) => return Err(bad("keep_first6", "true or false")),
            _ => {
                return Err(SettingsError::UnknownSetting {
                    platform: "mariadb",
                    name: name.clone(),
                    known: SETTINGS,
                });
            }
        }
    }
    let about = About {
        product: "MariaDB",
        log_format: "server_audit",
        grade: "C",
    };
    let source = Source {
        about,
        dialect: Dialect::MariaDb,
        mask,
        digests: Digests::new(keys),
    };
    Ok(Box::new(Stream::new(ServerAudit::new(source, zone, limit))))
}

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod tests;
