//! What the ledger itself says about a topic: events of a source of its own, so that nothing that
//! happened to records on their way goes unsaid, and a record that is no message is still kept.
//!
//! Not here: when that is (`session`, `gather`).

use std::borrow::Cow;

use collectors_formats::mask::{Dialect, MaskOptions, mask_record, note};
use ledger_core::{Hash, Nanos};
use ledger_event::{Event, Fingerprint, OCSF_VERSION, Text};

use super::form::NotOurs;
use super::place::Counted;

/// Most bytes that are kept of a record that is no message.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// Bytes that are masked beyond them, so that nothing that is masked is cut in two.
const MARGIN: usize = 4 << 10;
/// Most bytes that are looked at of a record that is larger than any message.
pub(crate) const LOOKED_AT_MAX: usize = KEPT_BYTES_MAX + MARGIN;

/// Something happened to a topic or partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    /// The log reads the topic for the first time.
    Began {
        /// The cluster's id.
        cluster: String,
        /// How many partitions the topic has.
        partitions: u32,
    },
    /// Offsets are gone that were never read.
    Lost {
        /// The first.
        from: u64,
        /// How many.
        count: u64,
    },
    /// Offsets whose records no reader can decompress.
    Unreadable {
        /// The first.
        from: u64,
        /// How many.
        count: u64,
    },
    /// The partition does not hold what was read from it: it was made anew.
    Anew {
        /// The offset that was to come next.
        next: u64,
        /// What shows it.
        why: &'static str,
    },
    /// More records that are no messages than are kept.
    Junk(Counted),
    /// The brokers are those of another cluster, as the settings say.
    Moved {
        /// The cluster before.
        from: String,
        /// The cluster now.
        to: String,
    },
}

impl Notice {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Notice::Began { .. } => "topic.began",
            Notice::Lost { .. } => "topic.lost",
            Notice::Unreadable { .. } => "topic.unreadable",
            Notice::Anew { .. } => "topic.anew",
            Notice::Junk(_) => "topic.junk",
            Notice::Moved { .. } => "topic.moved",
        }
    }

    fn severity(&self) -> u8 {
        match self {
            Notice::Began { .. } => 1,
            Notice::Lost { .. } | Notice::Unreadable { .. } | Notice::Anew { .. } => 4,
            Notice::Junk(_) | Notice::Moved { .. } => 3,
        }
    }

    pub(super) fn message(&self, place: &str) -> String {
        match self {
            Notice::Began {
                cluster,
                partitions,
            } => format!("{place} is read from now on: {partitions} partitions, cluster {cluster}"),
            Notice::Lost { from, count } => format!(
                "{place}: {count} offsets from {from} were deleted before they were read; agents \
                 send again what their journals hold"
            ),
            Notice::Unreadable { from, count } => format!(
                "{place}: {count} offsets from {from} are compressed in a way that no reader \
                 takes: they are passed over; whoever wrote them is no agent"
            ),
            Notice::Anew { next, why } => format!(
                "{place} was made anew ({why}): it was read up to offset {next}, and is read again \
                 from its beginning; agents send again what their journals hold"
            ),
            Notice::Junk(counted) => format!(
                "{place}: {} more records between the offsets {} and {} were no messages of this \
                 log, {} bytes: they are counted and not kept; see who may write to the topic",
                counted.records, counted.from, counted.to, counted.bytes
            ),
            Notice::Moved { from, to } => format!(
                "{place} is read from the cluster {to} now, as the settings say; it was {from}"
            ),
        }
    }

    /// The event, as JSON; `place` names topic and partition.
    pub(crate) fn value(&self, place: &str, at: Nanos) -> Vec<u8> {
        let mut event = head(6002, 99, self.severity(), at);
        event.activity_name = Some(Text::from(self.name()));
        event.status_id = Some(0);
        event.app.name = Some(Text::from("Custody"));
        event.message = Some(Text::from(self.message(place)));
        event.to_json()
    }
}

fn head(class: u32, activity: u16, severity: u8, at: Nanos) -> Event<'static> {
    let mut event = Event::default();
    event.classify(class, activity);
    event.set_time(at);
    event.severity_id = Some(severity);
    event.metadata.version = Some(Text::from(OCSF_VERSION));
    event.metadata.product.name = Some(Text::from("Custody"));
    event.metadata.product.vendor_name = Some(Text::from("Custody"));
    event
}

/// The event of a record that is no message of a source of this log: why, where, and its masked
/// bytes unless they are another tenant's.
pub(crate) fn stray(reason: &Stray, place: &str, whole: &Whole<'_>, at: Nanos) -> Vec<u8> {
    kept(reason.to_string(), place, (whole, reason.is_kept()), at)
}

/// The value of a record.
pub(crate) struct Whole<'v> {
    /// Its bytes, at least the first [`LOOKED_AT_MAX`].
    pub(crate) bytes: &'v [u8],
    /// How many there are.
    pub(crate) len: usize,
    /// A keyed digest of all of them.
    pub(crate) digest: [u8; 32],
}

/// The event of a record of a foreign topic that gives no native record.
pub(crate) fn stray_of(reason: &Unread, place: &str, whole: &Whole<'_>, at: Nanos) -> Vec<u8> {
    kept(reason.to_string(), place, (whole, true), at)
}

fn kept(reason: String, place: &str, (whole, is_kept): (&Whole<'_>, bool), at: Nanos) -> Vec<u8> {
    let mut event = head(0, 0, 3, at);
    event.status_id = Some(2);
    event.metadata.original_event_uid = Some(Text::from(place.to_owned()));
    event.unmapped.unparsed = Some(Text::from(reason));
    event.raw_data_size = Some(whole.len as u64);
    if is_kept {
        // However large it is, so much of it is masked.
        let looked_at = whole.bytes.len().min(LOOKED_AT_MAX);
        let text = escaped(whole.bytes.get(..looked_at).unwrap_or_default());
        let masked = mask_record(&text, Dialect::default(), MaskOptions::default());
        let mut end = masked.text.len().min(KEPT_BYTES_MAX);
        if looked_at < whole.len {
            // At the end of what was looked at, half a card number may stand unmasked.
            end = end.min(masked.text.len().saturating_sub(MARGIN));
        }
        let end = masked.text.floor_char_boundary(end);
        if end < masked.text.len() || looked_at < whole.len {
            event.metadata.is_truncated = Some(true);
            event.metadata.untruncated_size = Some(whole.len as u64);
            event.raw_data_hash = Fingerprint {
                algorithm_id: Some(99),
                algorithm: Some(Text::from("HMAC-SHA-256")),
                value: Some(Text::from(Hash(whole.digest).to_string())),
            };
        }
        let kept = masked.text.get(..end).unwrap_or_default().to_owned();
        event.raw_data = Some(Text::from(kept));
        for redaction in &masked.redactions {
            note(&mut event, "raw_data", *redaction);
        }
    }
    event.to_json()
}

/// Bytes as text: what is not UTF-8 becomes `\\xNN`, byte by byte.
fn escaped(value: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(value) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Cow::Owned(text)
}

/// Why a record of the events topic is no message that the door may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Stray {
    /// Its headers are not those of a message.
    #[error(transparent)]
    Headers(#[from] NotOurs),
    /// No such source.
    #[error("no source of this log has the number that it names")]
    UnknownSource,
    /// A source without a key: anybody could send in its name.
    #[error("the source that it names has no key, so it sends nothing by Kafka")]
    NoKey,
    /// The value is larger than any message.
    #[error("it is larger than any message")]
    TooLarge,
    /// A stream that is not taken.
    #[error("snapshots are not taken yet")]
    Snapshot,
}

impl Stray {
    /// Nothing of another tenant's record is kept.
    fn is_kept(&self) -> bool {
        *self != Stray::Headers(NotOurs::OtherTenant)
    }
}

/// Why a record of a foreign topic gives no native record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// It is no JSON, or has no text in the field.
    #[error("the record has no line in the field that bus.kafka.foreign.field names")]
    NoField,
    /// More than one native record.
    #[error("the record holds more than one native record")]
    MoreThanOne,
    /// More bytes than a record of a shipper has.
    #[error("the record is larger than any that is read of a foreign topic")]
    TooLarge,
    /// An empty line.
    #[error("the record holds no native record")]
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "4111111111111111";

    fn of(value: &[u8], read: usize) -> String {
        let whole = Whole {
            bytes: &value[..value.len().min(read)],
            len: value.len(),
            digest: [0xab; 32],
        };
        String::from_utf8(stray(&Stray::TooLarge, "t/0/1", &whole, Nanos(1))).unwrap()
    }

    #[test]
    fn what_is_cut_says_its_size_and_digest_and_shows_no_half_of_a_card_number() {
        let small = of(format!("pin {CARD}").as_bytes(), LOOKED_AT_MAX);
        assert!(
            small.contains("pin ") && !small.contains("raw_data_hash"),
            "{small}"
        );
        assert!(!small.contains(CARD));
        // Wherever the end of what is looked at lies within the number, and what is masked before
        // it makes the text shorter.
        for at in 0..CARD.len() {
            let before = LOOKED_AT_MAX - at;
            let secrets = format!("{CARD} ").repeat(40);
            let filler = "x".repeat(before - secrets.len() - 1);
            let value = format!("{secrets}{filler} {CARD}{}", "y".repeat(1 << 20));
            let event = of(value.as_bytes(), LOOKED_AT_MAX);
            let digits = event.split("raw_data\":").nth(1).unwrap();
            assert!(!digits.contains(CARD.get(..8).unwrap()), "{at}");
            assert!(event.contains(&"ab".repeat(32)), "{event:.300}");
            let size = format!("\"raw_data_size\":{}", value.len());
            assert!(event.contains(&size), "{event:.300}");
            assert!(event.len() < KEPT_BYTES_MAX + 2048);
        }
        // Bytes that are not text take four characters each.
        assert!(of(&vec![0xff; 1 << 20], LOOKED_AT_MAX).len() < KEPT_BYTES_MAX * 2 + 2048);
    }
}
