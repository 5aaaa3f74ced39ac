//! The state of a log, as `custody status` and the API show it.
//!
//! Not here: what changes it.

use std::time::Instant;

use ledger_core::Nanos;
use ledger_core::state::{Gap, SourceState, Stream};
use ledger_event::facts::Heartbeat;
use serde::{Deserialize, Serialize};

use crate::beats::Beat;
use crate::shared::{Durable, Shared};

/// What status is made from besides the shared state.
#[derive(Debug)]
pub(crate) struct StatusParts {
    pub(crate) origin: String,
    pub(crate) opened: Instant,
    /// Until which time what the log said and does not hold is forgiven; 0 if it never was.
    pub(crate) forgiven: Nanos,
}

/// The state of a log, as `custody status` and the API show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatus {
    /// The log's origin.
    pub origin: String,
    /// Durable entries.
    pub size: u64,
    /// Entries that the newest checkpoint covers.
    pub published_size: u64,
    /// Root of the newest checkpoint, in base64.
    pub root: String,
    /// Age of the newest checkpoint in milliseconds, as far as this process knows.
    pub checkpoint_age_ms: u64,
    /// Ledger time of the last entry, nanoseconds since 1970.
    pub ledger_time: i64,
    /// Hashes of entries below are durable in the arrays.
    pub arrays_durable: u64,
    /// Milliseconds since this process opened the log.
    pub open_ms: u64,
    /// Why the log stopped, if it did.
    pub stopped: Option<String>,
    /// Entries appended since it was opened.
    pub appended: u64,
    /// Of these, late ones that filled a gap.
    pub late: u64,
    /// Messages that the log had already.
    pub repeats: u64,
    /// Messages that could not be placed.
    pub conflicts: u64,
    /// Messages with a wrong MAC.
    pub forged: u64,
    /// Every source.
    pub sources: Vec<SourceStatus>,
}

/// The state of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// Whether its messages carry MACs.
    pub keyed: bool,
    /// Its epoch.
    pub epoch: u32,
    /// The highest record number taken.
    pub records: u64,
    /// The highest heartbeat number taken.
    pub heartbeats: u64,
    /// Ranges of numbers that are missing.
    pub gaps: Vec<GapStatus>,
    /// Its last heartbeat, if it sent one that this process knows of.
    #[serde(default)]
    pub heartbeat: Option<BeatStatus>,
    /// Its messages that could not be placed since the log was opened.
    #[serde(default)]
    pub conflicts: u64,
    /// Messages in its name with a wrong MAC since the log was opened.
    #[serde(default)]
    pub forged: u64,
    /// How often its agent began another life since the log was opened, and how often without
    /// knowing of the one before.
    #[serde(default)]
    pub lives: u64,
    /// See `lives`.
    #[serde(default)]
    pub states_lost: u64,
}

/// The last heartbeat of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatStatus {
    /// Its entry.
    pub index: u64,
    /// Ledger time of its entry, nanoseconds since 1970.
    pub ledger_time: i64,
    /// What it says; its own clock is `at`.
    pub facts: Heartbeat,
}

/// A range of numbers that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapStatus {
    /// Which stream.
    pub stream: String,
    /// The first missing number.
    pub from: u64,
    /// The last missing number.
    pub to: u64,
}

impl StatusParts {
    pub(crate) fn status(&self, shared: &Shared) -> LogStatus {
        let published = shared.published();
        let durable = shared.durable().clone();
        let millis =
            |since: Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        LogStatus {
            origin: self.origin.clone(),
            size: durable.edge.size().0,
            published_size: published.checkpoint.size.0,
            root: published.checkpoint.root.to_base64(),
            checkpoint_age_ms: millis(published.at),
            ledger_time: durable.ledger_time.0,
            arrays_durable: shared.arrays_durable().0,
            open_ms: millis(self.opened),
            stopped: shared.stopped(),
            appended: durable.counters.appended,
            late: durable.counters.late,
            repeats: durable.counters.repeats,
            conflicts: durable.counters.conflicts,
            forged: durable.counters.forged,
            sources: sources(&durable),
        }
    }
}

/// Every source as far as it is durable.
pub(crate) fn sources(durable: &Durable) -> Vec<SourceStatus> {
    let one = |state| source_status(state, durable);
    durable.sources.values().map(one).collect()
}

fn source_status(state: &SourceState, durable: &Durable) -> SourceStatus {
    let beat = |beat: &Beat| BeatStatus {
        index: beat.index.0,
        ledger_time: beat.ledger_time.0,
        facts: beat.facts.clone(),
    };
    let wrongs = durable.wrongs.get(&state.id).copied().unwrap_or_default();
    let mark = |stream: Stream| {
        state
            .marks
            .get(usize::from(stream.number()))
            .map_or(0, |mark| mark.sequence.0)
    };
    let gap = |gap: &Gap| GapStatus {
        stream: gap.stream.name().to_owned(),
        from: gap.from.0,
        to: gap.to.0,
    };
    SourceStatus {
        id: state.id.0,
        name: state.name.clone(),
        platform: state.platform.clone(),
        keyed: state.keyed,
        epoch: state.epoch.0,
        records: mark(Stream::Record),
        heartbeats: mark(Stream::Heartbeat),
        gaps: state.gaps.iter().map(gap).collect(),
        heartbeat: durable.beats.get(&state.id).map(|one| beat(one)),
        conflicts: wrongs.conflicts,
        forged: wrongs.forged,
        lives: wrongs.lives,
        states_lost: wrongs.states_lost,
    }
}
