//! How the intake is doing, as `custody status`, the API and metrics show it.
//!
//! Not here: what changes it (`session`, `acks`).

use serde::{Deserialize, Serialize};

/// The state of the intake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusState {
    /// It looks for the brokers and its place.
    #[default]
    Starting,
    /// It reads.
    Reading,
    /// Something is in the way; it tries again by itself.
    Waiting,
    /// It ended and does not try again.
    Stopped,
}

/// How the intake is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BusStatus {
    /// The events topic.
    pub topic: String,
    /// The cluster's id; empty before it was heard.
    pub cluster: String,
    /// What it does.
    pub state: BusState,
    /// What is in the way.
    pub error: Option<String>,
    /// What a careful operator would change about the topics.
    pub warnings: Vec<String>,
    /// Records that were no messages of ours, since the start.
    pub strays: u64,
    /// The partition of a source is its number modulo this.
    pub source_partitions: u32,
    /// Each partition, of foreign topics too.
    pub partitions: Vec<PartitionStatus>,
}

/// How far a partition is read.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: u32,
    /// How often the topic was begun anew, from 1.
    pub generation: u32,
    /// The offset that comes next.
    pub next: u64,
    /// The offset behind its last record, when it was last asked for.
    pub high: u64,
    /// Records that wait in it, as far as offsets tell.
    pub lag_records: u64,
    /// How old the record was that was read last, if more are waiting.
    pub lag_ms: u64,
}

impl BusStatus {
    /// The partition of a source's messages.
    pub fn of_source(&self, source: u32) -> Option<&PartitionStatus> {
        let partition = source.checked_rem(self.source_partitions)?;
        self.partitions
            .iter()
            .find(|one| one.topic == self.topic && one.partition == partition)
    }
}
