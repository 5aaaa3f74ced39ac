//! What the ledger itself says about a topic: events of a source of its own, so that nothing that
//! happened to records on their way goes unsaid, and a record that is no message is still kept.
//!
//! Not here: when that is (`session`, `gather`).

use std::borrow::Cow;

use collectors_formats::mask::{Dialect, MaskOptions, mask_record, note};
use ledger_core::Nanos;
use ledger_event::{Event, OCSF_VERSION, Text};

use super::form::NotOurs;

/// Most bytes that are kept of a record that is no message.
pub(crate) const KEPT_BYTES_MAX: usize = 64 << 10;

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
            Notice::Moved { .. } => "topic.moved",
        }
    }

    fn severity(&self) -> u8 {
        match self {
            Notice::Began { .. } => 1,
            Notice::Lost { .. } | Notice::Unreadable { .. } | Notice::Anew { .. } => 4,
            Notice::Moved { .. } => 3,
        }
    }

    fn message(&self, place: &str) -> String {
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
pub(crate) fn stray(reason: &Stray, place: &str, value: &[u8], at: Nanos) -> Vec<u8> {
    kept(
        reason.to_string(),
        place,
        reason.is_kept().then_some(value),
        value.len(),
        at,
    )
}

/// The event of a record of a foreign topic that gives no native record.
pub(crate) fn stray_of(reason: &Unread, place: &str, value: &[u8], at: Nanos) -> Vec<u8> {
    kept(reason.to_string(), place, Some(value), value.len(), at)
}

fn kept(reason: String, place: &str, value: Option<&[u8]>, len: usize, at: Nanos) -> Vec<u8> {
    let mut event = head(0, 0, 3, at);
    event.status_id = Some(2);
    event.metadata.original_event_uid = Some(Text::from(place.to_owned()));
    event.unmapped.unparsed = Some(Text::from(reason));
    event.raw_data_size = Some(len as u64);
    if let Some(value) = value {
        let text = escaped(value);
        // Masked before it is cut, so that no card number is cut in two.
        let masked = mask_record(&text, Dialect::default(), MaskOptions::default());
        let end = masked.text.floor_char_boundary(KEPT_BYTES_MAX);
        if end < masked.text.len() {
            event.metadata.is_truncated = Some(true);
            event.metadata.untruncated_size = Some(value.len() as u64);
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
    /// An empty line.
    #[error("the record holds no native record")]
    Nothing,
}
