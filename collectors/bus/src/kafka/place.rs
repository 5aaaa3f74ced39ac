//! Where the ledger stands in a topic: kept by the log itself, as positions in the same frame as
//! the records, so that none is taken twice and none is left out (docs/formats/kafka.md).
//!
//! Not here: reading it back from the broker (`session`).

use ledger_core::state::Position;
use serde::{Deserialize, Serialize};

/// What a topic was when the log first read it: key `kafka:<topic>`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TopicPlace {
    /// The cluster's id.
    pub(crate) cluster: String,
    /// The topic's id; absent if the brokers give none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// Its partitions then: a source's messages go to the partition of this remainder, for ever.
    pub(crate) partitions: u32,
}

/// How far a partition was taken: key `kafka:<topic>/<partition>`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct PartitionPlace {
    /// How often the topic was begun anew, from 1.
    pub(crate) generation: u32,
    /// The offset to go on from.
    pub(crate) next: u64,
    /// The last record that was taken, to know the topic by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<LastRecord>,
    /// Below this offset something of this generation was gone before it was read; 0 if nothing.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) lost_to: u64,
    /// Numbers given in this generation by the ledger itself: to notices, and to records that are
    /// no messages of ours.
    pub(crate) numbered: u64,
    /// Records that were no messages and are not kept, since the last notice of such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) counted: Option<Counted>,
}

/// Records that were counted and not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Offset of the first.
    pub(crate) from: u64,
    /// Offset of the last.
    pub(crate) to: u64,
    /// How many.
    pub(crate) records: u64,
    /// Bytes of their values.
    pub(crate) bytes: u64,
}

/// A record, as it is known again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct LastRecord {
    /// Where it is.
    pub(crate) offset: u64,
    /// Of a message the MAC that it names, of anything else a keyed digest of its bytes.
    #[serde(with = "digest")]
    pub(crate) digest: [u8; 32],
}

impl PartitionPlace {
    /// The first place of a generation.
    pub(crate) fn begin(generation: u32, next: u64) -> PartitionPlace {
        PartitionPlace {
            generation,
            next,
            last: None,
            lost_to: 0,
            numbered: 0,
            counted: None,
        }
    }

    /// The first place of the generation behind this one; what is to be told yet stays to be told.
    pub(crate) fn anew(&self, next: u64) -> PartitionPlace {
        PartitionPlace {
            counted: self.counted,
            ..PartitionPlace::begin(self.generation.saturating_add(1), next)
        }
    }
}

fn is_none(offset: &u64) -> bool {
    *offset == 0
}

/// The position's key of a topic.
pub(crate) fn topic_key(topic: &str) -> String {
    format!("kafka:{topic}")
}

/// The position's key of a partition.
pub(crate) fn partition_key(topic: &str, partition: u32) -> String {
    format!("kafka:{topic}/{partition}")
}

/// A position with this value.
pub(crate) fn stored(key: String, value: &impl Serialize) -> Position {
    Position {
        key,
        // Numbers and short texts: it has a form in JSON always.
        value: serde_json::to_vec(value).unwrap_or_default(),
    }
}

/// A digest as base64.
mod digest {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(digest))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        <[u8; 32]>::try_from(bytes).map_err(|_| D::Error::custom("a digest has 32 bytes"))
    }
}

/// The value of a position; `None` for bytes that are none.
pub(crate) fn read<'p, V: Deserialize<'p>>(position: &'p Position) -> Option<V> {
    serde_json::from_slice(&position.value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/formats/kafka.md");

    fn example(key: &str) -> Position {
        let row = format!("| `{key}` | `");
        let line = PAGE.lines().find_map(|line| line.strip_prefix(&row));
        let value = line.unwrap().split('`').next().unwrap();
        Position {
            key: key.to_owned(),
            value: value.as_bytes().to_vec(),
        }
    }

    #[test]
    fn positions_have_the_form_of_the_documentation() {
        let topic = example("kafka:custody.events.main");
        let place: TopicPlace = read(&topic).unwrap();
        assert_eq!(place.id.as_deref(), Some("r1JQvSqVQ0mzd0Y5Zi8VdA"));
        assert_eq!(stored(topic_key("custody.events.main"), &place), topic);
        let partition = example("kafka:custody.events.main/3");
        let place: PartitionPlace = read(&partition).unwrap();
        let last = place.last.unwrap();
        assert_eq!(
            (place.next, last.offset, last.digest),
            (1000, 998, [0x11; 32])
        );
        assert_eq!(place.lost_to, 900);
        let counted = place.counted.unwrap();
        assert_eq!((counted.from, counted.to), (700, 740));
        assert_eq!((counted.records, counted.bytes), (40, 8000));
        assert_eq!(
            stored(partition_key("custody.events.main", 3), &place),
            partition
        );

        let mut short = partition.clone();
        short.value = String::from_utf8(short.value)
            .unwrap()
            .replace("ERER", "")
            .into_bytes();
        assert_eq!(read::<PartitionPlace>(&short), None);
        assert_eq!(read::<PartitionPlace>(&topic), None);
        let begin = stored(String::new(), &PartitionPlace::begin(1, 0));
        assert_eq!(begin.value, br#"{"generation":1,"next":0,"numbered":0}"#);
    }
}
