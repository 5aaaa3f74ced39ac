//! What the log says to agents on the acks topic: a record a source, proved with the source's own
//! key, and one record of the log itself (docs/formats/kafka.md).
//!
//! Not here: who writes them (`acks`) and who reads them (`link`).

use keys_secret::SecretKey32;
use ledger_core::{Hash, Nanos, Origin, SourceId, TreeSize};
use ledger_log::Acknowledged;
use serde::{Deserialize, Serialize};

use crate::answer::AcknowledgedAnswer;

/// What the MAC of an acknowledgement begins with.
const ACK_LABEL: &[u8] = b"custody ack v1";
/// What the key of a log's own record begins with; its origin follows.
const LOG_KEY: &str = "log/";
/// What the key of a source's record begins with.
const SOURCE_KEY: &str = "source/";
/// Longest record, in bytes: 64 gaps a stream, or a note.
pub(crate) const ACK_BYTES_MAX: usize = 256 << 10;

/// What a published checkpoint covers of a source, and of the partition that it sends to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceAck {
    /// Where the source's messages go, and how far that was read.
    pub passed: Passed,
    /// Until which time an operator forgave that the log lacks what it had said; 0 if never.
    pub restored: Nanos,
    /// What may be forgotten.
    pub acknowledged: Acknowledged,
}

/// How far a partition was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passed {
    /// Which.
    pub partition: u32,
    /// How often the topic was begun anew, from 1.
    pub generation: u32,
    /// The offset behind the last record that was read.
    pub next: u64,
    /// Below this offset something of this generation was gone before it was read.
    pub lost_to: u64,
}

/// The checkpoint that the records of the sources are about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogAck {
    /// The log's origin.
    pub origin: String,
    /// The size of its checkpoint.
    pub size: u64,
    /// The signed note.
    pub checkpoint: String,
}

/// Why a record is no acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is no acknowledgement of a source")]
pub struct NoAck;

#[derive(Serialize, Deserialize)]
struct Wire {
    partition: u32,
    generation: u32,
    next: u64,
    #[serde(default, skip_serializing_if = "is_none")]
    lost_to: u64,
    #[serde(default, skip_serializing_if = "is_never")]
    restored: i64,
    acknowledged: AcknowledgedAnswer,
}

fn is_none(offset: &u64) -> bool {
    *offset == 0
}

fn is_never(time: &i64) -> bool {
    *time == 0
}

/// The key of the record of the log `origin`.
pub fn log_key(origin: &str) -> String {
    format!("{LOG_KEY}{origin}")
}

/// The origin of the log that a key means.
pub fn origin_of(key: &[u8]) -> Option<Origin> {
    let text = std::str::from_utf8(key).ok()?.strip_prefix(LOG_KEY)?;
    Origin::new(text).ok()
}

/// The key of a source's record.
pub fn source_key(source: SourceId) -> String {
    format!("{SOURCE_KEY}{source}")
}

/// The source that a key means.
pub fn source_of(key: &[u8]) -> Option<SourceId> {
    let text = std::str::from_utf8(key).ok()?.strip_prefix(SOURCE_KEY)?;
    let source = SourceId(text.parse().ok()?);
    // One spelling, so that no two keys mean one source.
    (source_key(source).as_bytes() == key).then_some(source)
}

/// The MAC of a source's record: it proves that the log wrote it, for nobody else but the agent has
/// the key.
pub fn ack_mac(key: &SecretKey32, source: SourceId, value: &[u8]) -> [u8; 32] {
    let digest = Hash::sha256(value);
    key.hmac(ACK_LABEL, &[&source.0.to_be_bytes(), &digest.0])
}

impl SourceAck {
    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        let wire = Wire {
            partition: self.passed.partition,
            generation: self.passed.generation,
            next: self.passed.next,
            lost_to: self.passed.lost_to,
            restored: self.restored.0,
            acknowledged: AcknowledgedAnswer::from(&self.acknowledged),
        };
        // Numbers and text: it has a form in JSON always.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// What orders the words about a source. A log that was restored says less than it did, and an
    /// old record that somebody brings again says less too: the first one counts.
    pub fn age(&self) -> (Nanos, TreeSize) {
        (self.restored, self.acknowledged.size)
    }

    /// Reads a value whose MAC was right.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn read(value: &[u8]) -> Result<SourceAck, NoAck> {
        let wire: Wire = serde_json::from_slice(value).map_err(|_| NoAck)?;
        Ok(SourceAck {
            passed: Passed {
                partition: wire.partition,
                generation: wire.generation,
                next: wire.next,
                lost_to: wire.lost_to,
            },
            restored: Nanos(wire.restored),
            acknowledged: Acknowledged::try_from(wire.acknowledged).map_err(|_| NoAck)?,
        })
    }
}

impl LogAck {
    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a value. Nothing in it is believed by that: the checkpoint's signatures are.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn read(value: &[u8]) -> Result<LogAck, NoAck> {
        serde_json::from_slice(value).map_err(|_| NoAck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/formats/kafka.md");

    fn example(behind: &str) -> String {
        let page = PAGE.split(behind).nth(1).unwrap();
        let block = page.split("```json\n").nth(1).unwrap();
        let block = block.split("```").next().unwrap();
        block.lines().map(str::trim).collect()
    }

    #[test]
    fn values_that_are_no_word_of_the_log_are_refused_and_the_examples_come_back() {
        let source = example("Key `source/7`:");
        let log = example("Key `log/<origin>`:");
        for bad in [
            "",
            "{}",
            "[1",
            "null",
            &source.replace("\"partition\":7", "\"partition\":-1"),
            &source.replace("\"next\":1000,", ""),
            &source.replace("\"generation\":2,", ""),
            &source.replace("\"lost_to\":900", "\"lost_to\":-900"),
            &source.replace("acknowledged", "acknowledge"),
            &source.replace("[[4,5]]", "[[4,9]]"),
        ] {
            assert_eq!(SourceAck::read(bad.as_bytes()), Err(NoAck), "{bad}");
        }
        for bad in [
            "{}",
            &log.replace("\"size\":12", "\"size\":-1"),
            &log.replace("\"size\":12,", ""),
        ] {
            assert_eq!(LogAck::read(bad.as_bytes()), Err(NoAck), "{bad}");
        }
        let ack = SourceAck::read(source.as_bytes()).unwrap();
        let passed = Passed {
            partition: 7,
            generation: 2,
            next: 1000,
            lost_to: 900,
        };
        assert_eq!(ack.passed, passed);
        assert_eq!(ack.age(), (Nanos(1_795_000_000_000_000_000), TreeSize(12)));
        assert_eq!(String::from_utf8(ack.to_json()).unwrap(), source);
        let word = LogAck::read(log.as_bytes()).unwrap();
        assert_eq!(word.size, 12);
        let plain = source
            .replace(",\"lost_to\":900", "")
            .replace(",\"restored\":1795000000000000000", "");
        let ack = SourceAck::read(plain.as_bytes()).unwrap();
        assert_eq!((ack.passed.lost_to, ack.restored), (0, Nanos(0)));
        assert_eq!(String::from_utf8(ack.to_json()).unwrap(), plain);
        assert_eq!(String::from_utf8(word.to_json()).unwrap(), log);
    }

    #[test]
    fn the_mac_is_that_of_the_documentation_and_binds_source_and_value() {
        let key = SecretKey32::from_bytes(&[7; 32]);
        let mac = ack_mac(&key, SourceId(7), b"{}");
        let digest = Hash::sha256(b"{}").0;
        assert_eq!(mac, key.hmac(b"custody ack v1", &[&[0, 0, 0, 7], &digest]));
        assert_ne!(mac, ack_mac(&key, SourceId(8), b"{}"));
        assert_ne!(mac, ack_mac(&key, SourceId(7), b"[]"));
        let other = SecretKey32::from_bytes(&[8; 32]);
        assert_ne!(mac, ack_mac(&other, SourceId(7), b"{}"));
        assert!(PAGE.contains("`custody ack v1` ‖ source ‖ SHA-256(value)"));
    }

    #[test]
    fn keys_name_a_source_or_nothing() {
        assert_eq!(
            source_of(source_key(SourceId(7)).as_bytes()),
            Some(SourceId(7))
        );
        for bad in [
            "log",
            "source/",
            "source/x",
            "source/4294967296",
            "source/07",
            "source/+7",
        ] {
            assert_eq!(source_of(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(source_of(b"source/\xff"), None);
        let origin = "db.example.org/main/2026";
        let found = origin_of(log_key(origin).as_bytes());
        assert_eq!(found.unwrap().as_str(), origin);
        for bad in ["log", "log/", "log/a b", "source/7", "log/a\nb"] {
            assert_eq!(origin_of(bad.as_bytes()), None, "{bad}");
        }
    }
}
