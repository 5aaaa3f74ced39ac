//! Records to measure with: the shipped samples' statements, lengthened to about
//! [`RECORD_BYTES`], as many as one likes.
//!
//! One record in twenty is one of the sample in which something is masked. Not here: clocks, and
//! what is measured.

use crate::format::{FormatKeys, SettingsError, Step, format_for};

/// About how many bytes a record has.
pub const RECORD_BYTES: usize = 600;

/// One record in so many holds something to mask.
const MASKED_EVERY: usize = 20;

/// What the samples of stderr were written with.
const LOG_LINE_PREFIX: &str = "%m [%p] \
     %q[user=%u,db=%d,app=%a,host=%h,sess=%c,line=%l,vxid=%v,xid=%x,qid=%Q] ";

/// What lengthens a statement, in every quoting alike.
const CLAUSES: &[&str] = &[
    " AND id IN (17, 42, 1003)",
    " AND p.holder_name = {q}A. Test{q}",
    " OR amount BETWEEN 10.00 AND 2500.75",
    " AND created_at >= {q}2026-11-23 09:42:03{q}",
    " AND (status = {q}open{q} OR reviewed IS NULL)",
    " AND branch_id = 5521",
];

/// A form of the shipped samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Such as `postgresql`.
    pub platform: &'static str,
    /// Such as `csvlog`.
    pub form: &'static str,
    bytes: &'static [u8],
    /// How a quote of pgaudit's own text is written in this form.
    quote: &'static str,
}

/// One sample of every form.
pub const SAMPLES: [Sample; 5] = [
    Sample {
        platform: "postgresql",
        form: "csvlog",
        bytes: include_bytes!("../samples/pg15-pgaudit17-rows-off-utc.csv"),
        quote: "\"\"",
    },
    Sample {
        platform: "postgresql",
        form: "jsonlog",
        bytes: include_bytes!("../samples/pg15-pgaudit17-rows-off-utc.json"),
        quote: "\\\"",
    },
    Sample {
        platform: "postgresql",
        form: "stderr",
        bytes: include_bytes!("../samples/pg15-pgaudit17-rows-off-utc.log"),
        quote: "\"",
    },
    Sample {
        platform: "postgresql",
        form: "pgauditlogtofile",
        bytes: include_bytes!("../samples/pgauditlogtofile.csv"),
        quote: "\"",
    },
    Sample {
        platform: "mariadb",
        form: "server_audit",
        bytes: include_bytes!("../samples/mariadb1011-server_audit.log.1"),
        quote: "",
    },
];

impl Sample {
    /// The settings that its records are read with.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![("form".to_owned(), self.form.to_owned())];
        if self.form == "stderr" {
            settings.push(("log_line_prefix".to_owned(), LOG_LINE_PREFIX.to_owned()));
        }
        settings
    }

    /// So many records, one after the other.
    ///
    /// # Errors
    /// None for the samples as they are: the settings are this module's own.
    pub fn workload(&self, records: usize, keys: &FormatKeys) -> Result<Vec<u8>, SettingsError> {
        let (clean, masked) = self.statements(keys)?;
        let mut out = Vec::with_capacity(records.saturating_mul(RECORD_BYTES + 100));
        let mut clean = clean.iter().cycle();
        let mut masked = masked.iter().cycle();
        for n in 1..=records {
            let next = if n % MASKED_EVERY == 0 {
                masked.next()
            } else {
                None
            };
            out.extend_from_slice(next.or_else(|| clean.next()).map_or(b"", |r| r.as_bytes()));
        }
        Ok(out)
    }

    /// The lengthened statements without and with something to mask.
    fn statements(&self, keys: &FormatKeys) -> Result<(Vec<String>, Vec<String>), SettingsError> {
        let mut format = format_for(self.platform, &self.settings(), keys)?;
        let (mut clean, mut masked) = (Vec::new(), Vec::new());
        let mut rest = self.bytes;
        loop {
            let (consumed, event) = match format.next(rest, true) {
                Step::Record { consumed, event } => (consumed, Some(event)),
                Step::Unparsed { consumed, .. } | Step::Skip { consumed } => (consumed, None),
                Step::NeedMore => return Ok((clean, masked)),
            };
            let (record, behind) = rest.split_at(consumed.min(rest.len()));
            rest = behind;
            let Some(event) = event else { continue };
            let text = std::str::from_utf8(record).ok();
            let Some(longer) = text.and_then(|text| self.lengthened(text)) else {
                continue;
            };
            if event.head().masked {
                masked.push(longer);
            } else {
                clean.push(longer);
            }
        }
    }

    /// The record with a longer statement; `None` when it has none.
    fn lengthened(&self, record: &str) -> Option<String> {
        let (head, tail) = if self.platform == "mariadb" {
            record.contains(",QUERY,").then_some(())?;
            let (head, _) = record.rsplit_once("',")?;
            (head.to_owned(), record.get(head.len()..)?.to_owned())
        } else {
            self.split_audit(record)?
        };
        let apostrophe = if self.platform == "mariadb" {
            "\\'"
        } else {
            "'"
        };
        let mut longer = head;
        for clause in CLAUSES.iter().cycle() {
            if longer.len() + tail.len() >= RECORD_BYTES {
                break;
            }
            longer.push_str(&clause.replace("{q}", apostrophe));
        }
        longer.push_str(&tail);
        Some(longer)
    }

    /// A record of pgaudit in two at the end of its statement, which stands in quotes then.
    fn split_audit(&self, record: &str) -> Option<(String, String)> {
        const TYPE: &str = "SESSION,";
        let (head, rest) = record.split_once(TYPE)?;
        let (fields, tail) = rest.rsplit_once(",<none>")?;
        // Two numbers, class, command, type and name of the object; then the statement.
        let (last, _) = fields.match_indices(',').nth(5)?;
        let (fields, statement) = fields.split_at_checked(last + 1)?;
        let quote = self.quote;
        let inside = statement.strip_prefix(quote);
        let inside = inside.and_then(|inside| inside.strip_suffix(quote));
        let inside = inside.unwrap_or(statement);
        let head = format!("{head}{TYPE}{fields}{quote}{inside}");
        Some((head, format!("{quote},<none>{tail}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: FormatKeys = FormatKeys {
        digest_key: [7; 32],
    };

    /// Reads a workload; how many records, how many of them masked, and how many bytes of JSON.
    fn read(sample: &Sample, input: &[u8], out: &mut Vec<u8>) -> (usize, usize, usize) {
        let mut format = format_for(sample.platform, &sample.settings(), &KEYS).unwrap();
        let (mut records, mut masked, mut bytes) = (0, 0, 0);
        let mut rest = input;
        while let Step::Record { consumed, event } = format.next(rest, true) {
            out.clear();
            event.write_json(out);
            bytes += out.len();
            records += 1;
            masked += usize::from(event.head().masked);
            rest = &rest[consumed..];
        }
        assert!(rest.is_empty(), "{} reads all of it", sample.form);
        (records, masked, bytes)
    }

    #[test]
    fn every_record_is_read_and_one_in_twenty_masked() {
        for sample in SAMPLES {
            let input = sample.workload(400, &KEYS).unwrap();
            let (records, masked, _) = read(&sample, &input, &mut Vec::new());
            assert_eq!((records, masked), (400, 20), "{}", sample.form);
            let mean = input.len() / records;
            let about = RECORD_BYTES - 100..=RECORD_BYTES + 100;
            assert!(about.contains(&mean), "{} has {mean} bytes", sample.form);
        }
    }

    /// What a collector pays for a record, from its bytes to masked JSON: `cargo test --release -p
    /// collectors-formats -- --ignored --nocapture cost_of_a_record`.
    #[test]
    #[ignore = "prints figures"]
    #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
    fn cost_of_a_record() {
        // Nanoseconds that this thread has run: what others do on the machine counts less.
        let cpu = || {
            let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            stat.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        for sample in SAMPLES {
            let workload = sample.workload(20_000, &KEYS).unwrap();
            let (clean, masked) = sample.statements(&KEYS).unwrap();
            let of = |records: &[String]| {
                records
                    .iter()
                    .map(String::as_str)
                    .cycle()
                    .take(5000)
                    .collect::<String>()
            };
            let inputs = [
                ("one in 20 masked", workload),
                ("clean", of(&clean).into_bytes()),
                ("all masked", of(&masked).into_bytes()),
            ];
            let mut out = Vec::new();
            for (name, input) in inputs {
                let mut best = u64::MAX;
                let mut seen = (1, 0, 0);
                for _ in 0..7 {
                    let start = cpu();
                    seen = read(&sample, &input, &mut out);
                    best = best.min(cpu() - start);
                }
                let (records, _, json) = seen;
                println!(
                    "{:16} {name:16} {} bytes a record, {} of JSON: {:.2} µs of CPU, {} records/s",
                    sample.form,
                    input.len() / records,
                    json / records,
                    best as f64 / records as f64 / 1e3,
                    records as u64 * 1_000_000_000 / best,
                );
            }
        }
    }
}
