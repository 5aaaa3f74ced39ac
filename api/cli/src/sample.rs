//! What a sample of an audit trail, and the server's own settings, show to be missing, with the
//! statements that switch it on (docs/sources/ says why each matters).
//!
//! A sample shows what is there. That something is not there may only mean that nobody did it, so
//! it is called not seen; a setting decides. Not here: reading the sample.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What the events of a sample have shown.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    signs: BTreeSet<String>,
    /// Events of the sample.
    pub(crate) events: u64,
}

impl Seen {
    /// Takes one event into account.
    pub(crate) fn add(&mut self, event: &Value) {
        self.events += 1;
        let text = |path: &str| event.pointer(path).and_then(Value::as_str);
        let number = |path: &str| event.pointer(path).and_then(Value::as_u64);
        let mut sign = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                self.signs.insert(format!("{name}:{value}"));
            }
        };
        sign("form", text("/metadata/log_format"));
        sign("log", text("/metadata/log_name"));
        sign("class", text("/unmapped/audit_class"));
        sign("operation", text("/metadata/event_code"));
        let act = (number("/class_uid"), number("/activity_id"));
        match (act, number("/status_id")) {
            ((Some(3002), Some(1)), Some(1)) => sign("act", Some("login")),
            ((Some(3002), Some(1)), Some(2)) => sign("act", Some("failed login")),
            ((Some(3002), Some(2)), _) => sign("act", Some("logout")),
            _ => {}
        }
    }

    fn any(&self, signs: &[&str]) -> bool {
        signs.iter().any(|sign| self.signs.contains(*sign))
    }
}

/// Settings of a server by their names, in lower case.
pub(crate) type ServerSettings = BTreeMap<String, String>;

/// Most settings that are read; servers have some hundreds.
const SETTINGS_MAX: usize = 20_000;

/// Reads what `SELECT name, setting FROM pg_settings` or `SHOW VARIABLES` printed: aligned, boxed,
/// with tabs or as CSV.
pub(crate) fn parse_settings(text: &str) -> ServerSettings {
    let mut settings = ServerSettings::new();
    for line in text.lines().take(SETTINGS_MAX) {
        let line = line.trim().trim_start_matches('|').trim();
        let Some((name, value)) = line.split_once(['\t', '|', ',']) else {
            continue;
        };
        let plain = |part: &str| {
            let part = part.trim().trim_end_matches('|').trim();
            let quoted = part.strip_prefix('"').and_then(|p| p.strip_suffix('"'));
            quoted.map_or_else(|| part.to_owned(), |inner| inner.replace("\"\"", "\""))
        };
        let name = plain(name).to_ascii_lowercase();
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
        if !name.is_empty() && name.bytes().all(legal) {
            settings.insert(name, plain(value));
        }
    }
    settings
}

/// What is known of one thing that should be audited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The sample shows it, or the setting says so.
    On,
    /// The setting says that it is off.
    Off,
    /// The sample does not show it.
    NotSeen,
}

/// One thing that should be audited, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Advice {
    /// What.
    pub(crate) what: &'static str,
    /// Whether it is.
    pub(crate) verdict: Verdict,
    /// The setting and its value, if that decided.
    pub(crate) because: Option<String>,
    /// What switches it on.
    pub(crate) statement: &'static str,
}

/// One rule: what would show it in a sample, and which setting decides.
struct Check {
    what: &'static str,
    /// Any of these; empty if a sample never shows it.
    signs: &'static [&'static str],
    setting: &'static str,
    good: fn(&str) -> bool,
    statement: &'static str,
}

/// What the sample and the settings show; `None` for a platform without rules.
pub(crate) fn advice(
    platform: &str,
    seen: &Seen,
    settings: Option<&ServerSettings>,
) -> Option<Vec<Advice>> {
    let checks = match platform {
        "postgresql" => POSTGRESQL,
        "mariadb" => MARIADB,
        _ => return None,
    };
    let judge = |check: &Check| {
        let found = settings.map(|settings| settings.get(check.setting));
        let (verdict, because) = match found {
            Some(Some(value)) => {
                let on = (check.good)(&value.to_ascii_lowercase());
                let because = Some(format!("{} = {value:?}", check.setting));
                (if on { Verdict::On } else { Verdict::Off }, because)
            }
            // The sample knows better than a list that leaves something out.
            _ if seen.any(check.signs) => (Verdict::On, None),
            // A module that is not loaded has no settings at all.
            Some(None) if settings.is_some_and(|all| is_of_no_module(check.setting, all)) => {
                (Verdict::Off, Some(format!("{} is not set", check.setting)))
            }
            _ if check.signs.is_empty() => return None,
            _ => (Verdict::NotSeen, None),
        };
        Some(Advice {
            what: check.what,
            verdict,
            because,
            statement: check.statement,
        })
    };
    Some(checks.iter().filter_map(judge).collect())
}

/// How the settings of modules begin, which a server has only once they are loaded.
const MODULES: &[&str] = &["pgaudit.", "server_audit_"];

/// Whether a setting is one of a module of which `settings` has none.
fn is_of_no_module(setting: &str, settings: &ServerSettings) -> bool {
    let mut modules = MODULES.iter().filter(|name| setting.starts_with(*name));
    modules.any(|module| !settings.keys().any(|name| name.starts_with(module)))
}

/// What to try when a sample of `platform` is not understood.
pub(crate) fn not_understood(platform: &str, settings: Option<&ServerSettings>) -> String {
    match platform {
        "postgresql" => {
            let prefix = settings.and_then(|settings| settings.get("log_line_prefix"));
            let prefix = prefix.map_or("%m [%p] ", String::as_str);
            format!(
                "if the sample is of the stderr form, give the server's own log_line_prefix with \
                 all its spaces, as in --set 'log_line_prefix={prefix}'; else begin it at a record \
                 of csvlog, jsonlog or pgauditlogtofile"
            )
        }
        "mariadb" => {
            "the sample must be a part of the file that server_audit_file_path names, and \
                      begin at a record; the general and the error log are none"
                .to_owned()
        }
        _ => "begin it at a record, and see whether the platform is right".to_owned(),
    }
}

fn is_on(value: &str) -> bool {
    !matches!(value, "off" | "false" | "no" | "0" | "")
}

fn is_off(value: &str) -> bool {
    !is_on(value)
}

fn is_utc(value: &str) -> bool {
    matches!(
        value,
        "utc" | "etc/utc" | "gmt" | "etc/gmt" | "uct" | "zulu"
    )
}

fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split([',', ' ']).filter(|word| !word.is_empty())
}

/// Whether `pgaudit.log` takes a class: the later word wins.
fn audits(value: &str, class: &str) -> bool {
    let mut on = false;
    for word in words(value) {
        let (named, takes) = match word.strip_prefix('-') {
            Some(named) => (named, false),
            None => (word, true),
        };
        if named == class || named == "all" {
            on = takes;
        } else if named == "none" {
            on = false;
        }
    }
    on
}

/// Whether `server_audit_events` takes a kind; empty takes all.
fn records(value: &str, kind: &str) -> bool {
    value.trim().is_empty() || words(value).any(|word| word == kind)
}

const PGAUDIT_LOG: &str = "ALTER SYSTEM SET pgaudit.log = 'all'; SELECT pg_reload_conf();";

const POSTGRESQL: &[Check] = &[
    Check {
        what: "statements, by pgaudit",
        signs: &["log:pgaudit"],
        setting: "shared_preload_libraries",
        good: |value| words(value).any(|word| word.trim_matches('\'') == "pgaudit"),
        statement: "add pgaudit to the list, as in ALTER SYSTEM SET shared_preload_libraries = \
                    'pgaudit'; restart; then CREATE EXTENSION pgaudit; in each database",
    },
    Check {
        what: "reading of data",
        signs: &["class:READ"],
        setting: "pgaudit.log",
        good: |value| audits(value, "read"),
        statement: PGAUDIT_LOG,
    },
    Check {
        what: "changes of data",
        signs: &["class:WRITE"],
        setting: "pgaudit.log",
        good: |value| audits(value, "write"),
        statement: PGAUDIT_LOG,
    },
    Check {
        what: "roles and privileges",
        signs: &["class:ROLE"],
        setting: "pgaudit.log",
        good: |value| audits(value, "role"),
        statement: PGAUDIT_LOG,
    },
    Check {
        what: "changes of structure",
        signs: &["class:DDL"],
        setting: "pgaudit.log",
        good: |value| audits(value, "ddl"),
        statement: PGAUDIT_LOG,
    },
    Check {
        what: "logins",
        signs: &["act:login"],
        setting: "log_connections",
        good: is_on,
        statement: "ALTER SYSTEM SET log_connections = on; SELECT pg_reload_conf();",
    },
    Check {
        what: "logouts",
        signs: &["act:logout"],
        setting: "log_disconnections",
        good: is_on,
        statement: "ALTER SYSTEM SET log_disconnections = on; SELECT pg_reload_conf();",
    },
    Check {
        what: "a form that cannot be forged (csvlog or jsonlog)",
        signs: &["form:csvlog", "form:jsonlog"],
        setting: "log_destination",
        good: |value| words(value).any(|word| word == "csvlog" || word == "jsonlog"),
        statement: "ALTER SYSTEM SET log_destination = 'csvlog'; SELECT pg_reload_conf();",
    },
    Check {
        what: "files, by the logging collector",
        signs: &[],
        setting: "logging_collector",
        good: is_on,
        statement: "ALTER SYSTEM SET logging_collector = on; restart",
    },
    Check {
        what: "times that mean one moment",
        signs: &[],
        setting: "log_timezone",
        good: is_utc,
        statement: "ALTER SYSTEM SET log_timezone = 'UTC'; SELECT pg_reload_conf();",
    },
    Check {
        what: "files that are not written over",
        signs: &[],
        setting: "log_truncate_on_rotation",
        good: is_off,
        statement: "ALTER SYSTEM SET log_truncate_on_rotation = off; SELECT pg_reload_conf();",
    },
    Check {
        what: "statements that failed",
        signs: &[],
        setting: "log_min_error_statement",
        good: |value| !matches!(value, "fatal" | "panic" | "log"),
        statement: "ALTER SYSTEM SET log_min_error_statement = error; SELECT pg_reload_conf();",
    },
];

const ALL_EVENTS: &str =
    "SET GLOBAL server_audit_events = ''; and the same in the server's option file";

const MARIADB: &[Check] = &[
    Check {
        what: "auditing, by server_audit",
        signs: &[
            "form:server_audit",
            "operation:CONNECT",
            "operation:QUERY",
            "operation:READ",
        ],
        setting: "server_audit_logging",
        good: is_on,
        statement: "INSTALL SONAME 'server_audit'; SET GLOBAL server_audit_logging = ON; and both \
                    in the server's option file",
    },
    Check {
        what: "logins",
        signs: &["act:login"],
        setting: "server_audit_events",
        good: |value| records(value, "connect"),
        statement: ALL_EVENTS,
    },
    Check {
        what: "statements",
        signs: &["operation:QUERY"],
        setting: "server_audit_events",
        good: |value| records(value, "query"),
        statement: ALL_EVENTS,
    },
    Check {
        what: "the tables that a statement reads and writes",
        signs: &["operation:READ", "operation:WRITE"],
        setting: "server_audit_events",
        good: |value| records(value, "table"),
        statement: ALL_EVENTS,
    },
    Check {
        what: "every account",
        signs: &[],
        setting: "server_audit_excl_users",
        good: |value| value.trim().is_empty(),
        statement: "SET GLOBAL server_audit_excl_users = ''; and the same in the option file",
    },
    Check {
        what: "accounts that nobody listed",
        signs: &[],
        setting: "server_audit_incl_users",
        good: |value| value.trim().is_empty(),
        statement: "SET GLOBAL server_audit_incl_users = ''; and the same in the option file",
    },
    Check {
        what: "a file of its own",
        signs: &[],
        setting: "server_audit_output_type",
        good: |value| value == "file",
        statement: "SET GLOBAL server_audit_output_type = 'file'; and the same in the option file",
    },
    Check {
        what: "long statements in whole",
        signs: &[],
        setting: "server_audit_query_log_limit",
        good: |value| value.parse::<u64>().is_ok_and(|limit| limit > 1024),
        statement: "SET GLOBAL server_audit_query_log_limit = 65536; and the same in the option \
                    file",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(platform: &str, seen: &Seen, settings: Option<&str>) -> Vec<(String, Verdict)> {
        let settings = settings.map(parse_settings);
        let advice = advice(platform, seen, settings.as_ref()).unwrap();
        let short = |advice: Advice| {
            let name = advice.what.split([',', '(']).next().unwrap_or_default();
            (name.trim().to_owned(), advice.verdict)
        };
        advice.into_iter().map(short).collect()
    }

    fn of(found: &[(String, Verdict)], what: &str) -> Option<Verdict> {
        let found = found.iter().find(|(name, _)| name == what);
        found.map(|(_, verdict)| *verdict)
    }

    #[test]
    fn an_empty_sample_shows_nothing_and_a_setting_decides() {
        let none = Seen::default();
        let found = verdicts("postgresql", &none, None);
        assert!(
            found
                .iter()
                .all(|(_, verdict)| *verdict == Verdict::NotSeen)
        );
        assert_eq!(of(&found, "times that mean one moment"), None);

        let settings = "        name        | setting \n\
                        --------------------+---------\n \
                        shared_preload_libraries | pg_stat_statements,pgaudit\n \
                        pgaudit.log | all, -read\n log_connections | off\n \
                        log_timezone | Europe/Berlin\n log_destination | csvlog\n(5 rows)\n";
        let found = verdicts("postgresql", &none, Some(settings));
        for (what, verdict) in [
            ("statements", Verdict::On),
            ("reading of data", Verdict::Off),
            ("changes of data", Verdict::On),
            ("logins", Verdict::Off),
            ("logouts", Verdict::NotSeen),
            ("times that mean one moment", Verdict::Off),
            ("a form that cannot be forged", Verdict::On),
        ] {
            assert_eq!(of(&found, what), Some(verdict), "{what}: {found:?}");
        }
        assert!(advice("redis", &none, None).is_none());
        let other = verdicts("postgresql", &none, Some("log_timezone | UTC\n"));
        assert_eq!(
            of(&other, "reading of data"),
            Some(Verdict::Off),
            "no pgaudit"
        );
        assert_eq!(
            of(&other, "logins"),
            Some(Verdict::NotSeen),
            "a list in part"
        );
        assert_eq!(of(&other, "times that mean one moment"), Some(Verdict::On));
    }

    #[test]
    fn what_a_sample_shows_is_on() {
        let mut seen = Seen::default();
        let login = r#"{"class_uid":3002,"activity_id":1,"status_id":1,
            "metadata":{"log_format":"csvlog"}}"#;
        let read = r#"{"class_uid":6005,"activity_id":1,"metadata":{"log_name":"pgaudit"},
            "unmapped":{"audit_class":"READ"}}"#;
        for event in [login, read] {
            seen.add(&serde_json::from_str(event).unwrap());
        }
        let found = verdicts("postgresql", &seen, None);
        for (what, verdict) in [
            ("statements", Verdict::On),
            ("reading of data", Verdict::On),
            ("logins", Verdict::On),
            ("roles and privileges", Verdict::NotSeen),
            ("logouts", Verdict::NotSeen),
        ] {
            assert_eq!(of(&found, what), Some(verdict), "{what}");
        }
    }

    #[test]
    fn settings_are_read_in_every_form_that_clients_print() {
        for text in [
            "name,setting\nlog_connections,on\n",
            "\"log_connections\",\"on\"\n",
            "log_connections\ton\n",
            "| log_connections | on |\n+---+---+\n",
            " log_connections | on\n",
        ] {
            let settings = parse_settings(text);
            assert_eq!(settings.get("log_connections").unwrap(), "on", "{text}");
        }
        let list = parse_settings("server_audit_events\tCONNECT,TABLE\n");
        let found = advice("mariadb", &Seen::default(), Some(&list)).unwrap();
        let of = |what: &str| found.iter().find(|one| one.what == what).unwrap().verdict;
        assert_eq!(of("logins"), Verdict::On);
        assert_eq!(of("statements"), Verdict::Off);
        // The module is loaded, and the list leaves this out.
        assert_eq!(of("auditing, by server_audit"), Verdict::NotSeen);
        let list = parse_settings("max_connections\t100\n");
        let found = advice("mariadb", &Seen::default(), Some(&list)).unwrap();
        assert!(found.iter().all(|one| one.verdict == Verdict::Off));
    }

    #[test]
    fn the_later_word_of_pgaudit_log_wins() {
        for (value, reads) in [
            ("", false),
            ("none", false),
            ("all", true),
            ("all, -read", false),
            ("-read, all", true),
            ("write,read", true),
            ("write", false),
        ] {
            assert_eq!(audits(value, "read"), reads, "{value}");
        }
    }
}
