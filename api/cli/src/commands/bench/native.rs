//! Native records to measure with: about 600 bytes each, all different, as the servers write them
//! for clean statements of pgAudit and of MariaDB's audit plugin.
//!
//! Made from a counter, so that two runs measure the same bytes. Not real: every name is made up.

use std::fmt::Write as _;

use clap::ValueEnum;

/// A form of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum NativeForm {
    /// PostgreSQL's csvlog
    Csvlog,
    /// PostgreSQL's jsonlog
    Jsonlog,
    /// MariaDB's server_audit
    ServerAudit,
}

impl NativeForm {
    pub(super) const ALL: [NativeForm; 3] = [
        NativeForm::Csvlog,
        NativeForm::Jsonlog,
        NativeForm::ServerAudit,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            NativeForm::Csvlog => "csvlog",
            NativeForm::Jsonlog => "jsonlog",
            NativeForm::ServerAudit => "server_audit",
        }
    }

    pub(super) fn platform(self) -> &'static str {
        match self {
            NativeForm::Csvlog | NativeForm::Jsonlog => "postgresql",
            NativeForm::ServerAudit => "mariadb",
        }
    }

    /// Appends the record of a number.
    pub(super) fn put(self, number: u64, out: &mut String) {
        let second = number / 1000 % 60;
        let (minute, milli) = (number / 60_000 % 60, number % 1000);
        let (session, line) = (0x2683 + number / 40, number % 40 + 1);
        let repeats = match self {
            NativeForm::Csvlog => 6,
            NativeForm::Jsonlog => 3,
            NativeForm::ServerAudit => 9,
        };
        let mut statement = format!("SELECT id, amount FROM payment_{} WHERE", number % 64);
        for part in 0..repeats {
            let _ = write!(
                statement,
                " holder <> 'A. Test {number}' AND note <> 'part {part}'"
            );
            if part + 1 < repeats {
                statement.push_str(" OR");
            }
        }
        // Writing to a text cannot fail.
        let _ = match self {
            NativeForm::Csvlog => writeln!(
                out,
                "2026-11-23 09:{minute:02}:{second:02}.{milli:03} UTC,\"dba\",\"cards\",9859,\
                 \"127.0.0.1:48042\",6b040a6b.{session:x},{line},\"SELECT\",\
                 2026-11-23 09:00:03 UTC,3/20,0,LOG,00000,\
                 \"AUDIT: SESSION,{line},1,READ,SELECT,,,\"\"{statement}\"\",<none>\",\
                 ,,,,,,,,\"psql\",\"client backend\",,{}",
                5_800_417_817_748_300_163_u64 + number
            ),
            NativeForm::Jsonlog => writeln!(
                out,
                "{{\"timestamp\":\"2026-11-23 09:{minute:02}:{second:02}.{milli:03} UTC\",\
                 \"user\":\"dba\",\"dbname\":\"cards\",\"pid\":9859,\
                 \"remote_host\":\"127.0.0.1\",\"remote_port\":48042,\
                 \"session_id\":\"6b040a6b.{session:x}\",\"line_num\":{line},\"ps\":\"SELECT\",\
                 \"session_start\":\"2026-11-23 09:00:03 UTC\",\"vxid\":\"3/20\",\"txid\":0,\
                 \"error_severity\":\"LOG\",\
                 \"message\":\"AUDIT: SESSION,{line},1,READ,SELECT,,,\\\"{statement}\\\",<none>\",\
                 \"application_name\":\"psql\",\"backend_type\":\"client backend\",\
                 \"query_id\":{}}}",
                5_800_417_817_748_300_163_u64 + number
            ),
            NativeForm::ServerAudit => writeln!(
                out,
                "20261123 09:{minute:02}:{second:02},vm,dba,localhost,{},{number},QUERY,cards,\
                 '{}',0",
                number / 40 + 7,
                statement.replace('\'', "\\'")
            ),
        };
    }

    /// Records of numbers from `first` on.
    pub(super) fn text(self, first: u64, count: u64) -> String {
        let mut text = String::new();
        for number in first..first + count {
            self.put(number, &mut text);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_of_about_600_bytes() {
        for form in NativeForm::ALL {
            let text = form.text(100_000, 100);
            assert_eq!(text.lines().count(), 100);
            let mean = text.len() / 100;
            assert!((560..640).contains(&mean), "{form:?}: {mean}");
        }
    }
}
