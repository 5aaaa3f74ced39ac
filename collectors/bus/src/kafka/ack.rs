//! What the log says to agents on the acks topic: a record a source, proved with the source's own
//! key, and one record of the log itself (docs/formats/kafka.md).
//!
//! Not here: who writes them (`acks`) and who reads them (`link`).

use keys_secret::SecretKey32;
use ledger_core::{Hash, SourceId};
use ledger_log::Acknowledged;
use serde::{Deserialize, Serialize};

use crate::answer::AcknowledgedAnswer;

/// What the MAC of an acknowledgement begins with.
const ACK_LABEL: &[u8] = b"custody ack v1";
/// The key of the log's own record.
pub(crate) const LOG_KEY: &str = "log";
/// What the key of a source's record begins with.
const SOURCE_KEY: &str = "source/";
/// Longest record, in bytes: 64 gaps a stream, or a note.
pub(crate) const ACK_BYTES_MAX: usize = 256 << 10;

/// What a published checkpoint covers of a source, and where its messages go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceAck {
    /// The partition of the source's messages.
    pub partition: u32,
    /// What may be forgotten.
    pub acknowledged: Acknowledged,
}

/// What a published checkpoint covers of the partitions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogAck {
    /// The log's origin.
    pub origin: String,
    /// The size of its checkpoint.
    pub size: u64,
    /// How far each partition was read.
    pub partitions: Vec<Passed>,
    /// The signed note.
    pub checkpoint: String,
}

/// How far a partition was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Passed {
    /// Which.
    pub partition: u32,
    /// How often the topic was begun anew, from 1.
    pub generation: u32,
    /// The offset behind the last record that was read.
    pub next: u64,
}

/// Why a record is no acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is no acknowledgement of a source")]
pub struct NoAck;

#[derive(Serialize, Deserialize)]
struct Wire {
    partition: u32,
    acknowledged: AcknowledgedAnswer,
}

/// The key of a source's record.
pub fn source_key(source: SourceId) -> String {
    format!("{SOURCE_KEY}{source}")
}

/// The source that a key means.
pub fn source_of(key: &[u8]) -> Option<SourceId> {
    let text = std::str::from_utf8(key).ok()?.strip_prefix(SOURCE_KEY)?;
    text.parse().ok().map(SourceId)
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
            partition: self.partition,
            acknowledged: AcknowledgedAnswer::from(&self.acknowledged),
        };
        // Numbers and text: it has a form in JSON always.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads a value whose MAC was right.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn read(value: &[u8]) -> Result<SourceAck, NoAck> {
        let wire: Wire = serde_json::from_slice(value).map_err(|_| NoAck)?;
        Ok(SourceAck {
            partition: wire.partition,
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
