//! What an operator can set about the log: the section `[log]` of custody.toml.
//!
//! Not here: reading the file (api/cli).

use std::time::Duration;

use collectors_formats::mask::MaskOptions;
use ledger_core::segment::{SEGMENT_ENTRIES_MAX, SEGMENT_PAYLOADS_MAX};
use serde::{Deserialize, Serialize};

use crate::door::BATCH_MESSAGES_MAX;

/// The section `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A checkpoint is signed at most this often while there is something new: 20 to 3,600,000
    /// milliseconds.
    pub checkpoint_every_ms: u64,
    /// At most about this many entries are made durable together: 1 to 16,384. More at a time is
    /// faster under load and takes more memory.
    pub batch_entries_max: usize,
    /// At most this many bytes of events are made durable together: 1 to 64 MiB.
    pub batch_bytes_max: usize,
    /// Batches waiting at the door before senders are told to wait: 1 to 1,024.
    pub queue_batches_max: usize,
    /// Keep the first six digits of a card number besides the last four (PCI DSS 3.4.1 allows it).
    pub card_first6: bool,
    /// Days that a checkpoint of no special reason stays in the history: 1 to 3,650.
    pub checkpoint_days: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            checkpoint_every_ms: 1000,
            batch_entries_max: 4096,
            batch_bytes_max: 4 << 20,
            queue_batches_max: 16,
            card_first6: false,
            checkpoint_days: 2,
        }
    }
}

/// A setting outside its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log.{key} is {value}; it must be {low} to {high}")]
pub struct OutOfBounds {
    /// The key.
    pub key: &'static str,
    /// What was set.
    pub value: u64,
    /// The least legal value.
    pub low: u64,
    /// The greatest legal value.
    pub high: u64,
}

impl LogConfig {
    /// The checked form.
    ///
    /// # Errors
    /// The first setting outside its bounds.
    pub fn check(&self) -> Result<LogOptions, OutOfBounds> {
        let within = |key, value: u64, low, high| {
            let inside = (low..=high).contains(&value);
            if inside {
                Ok(())
            } else {
                Err(OutOfBounds {
                    key,
                    value,
                    low,
                    high,
                })
            }
        };
        within(
            "checkpoint_every_ms",
            self.checkpoint_every_ms,
            20,
            3_600_000,
        )?;
        let entries = self.batch_entries_max as u64;
        within("batch_entries_max", entries, 1, BATCH_MESSAGES_MAX as u64)?;
        within("batch_bytes_max", self.batch_bytes_max as u64, 1, 64 << 20)?;
        within("queue_batches_max", self.queue_batches_max as u64, 1, 1024)?;
        within("checkpoint_days", u64::from(self.checkpoint_days), 1, 3650)?;
        Ok(LogOptions {
            checkpoint_every: Duration::from_millis(self.checkpoint_every_ms),
            batch_entries_max: self.batch_entries_max,
            batch_bytes_max: self.batch_bytes_max,
            queue_batches_max: self.queue_batches_max,
            mask: MaskOptions {
                keep_first6: self.card_first6,
            },
            history: Duration::from_secs(u64::from(self.checkpoint_days) * 86_400),
            ..LogOptions::default()
        })
    }
}

/// Checked settings, and those that only tests and repairs change.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Shortest time between two checkpoints.
    pub checkpoint_every: Duration,
    /// Most entries of a frame, besides those that the log itself adds.
    pub batch_entries_max: usize,
    /// Most bytes of values of a frame, unless one message alone has more.
    pub batch_bytes_max: usize,
    /// Batches waiting at the door.
    pub queue_batches_max: usize,
    /// What masking keeps.
    pub mask: MaskOptions,
    /// How long a checkpoint of no special reason is kept.
    pub history: Duration,
    /// An operator confirms a clock that had stopped the log.
    pub accept_clock: bool,
    /// An operator goes on with a log that lacks what it had acknowledged.
    pub accept_restored: bool,
    /// A segment is finished at this many entries.
    pub segment_entries_max: u64,
    /// A segment is finished at this many bytes of payloads.
    pub segment_payloads_max: u64,
    /// A tick is written when the last entry is this old.
    pub tick_after: Duration,
    /// The arrays are synced at least this often.
    pub arrays_every: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            checkpoint_every: Duration::from_secs(1),
            batch_entries_max: 4096,
            batch_bytes_max: 4 << 20,
            queue_batches_max: 16,
            mask: MaskOptions { keep_first6: false },
            history: Duration::from_secs(2 * 86_400),
            accept_clock: false,
            accept_restored: false,
            segment_entries_max: SEGMENT_ENTRIES_MAX,
            segment_payloads_max: SEGMENT_PAYLOADS_MAX,
            tick_after: Duration::from_secs(60),
            arrays_every: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_their_bounds_are_named_and_the_defaults_hold() {
        let refused = |change: &dyn Fn(&mut LogConfig), key: &str| {
            let mut config = LogConfig::default();
            change(&mut config);
            assert_eq!(config.check().unwrap_err().key, key);
        };
        refused(&|c| c.checkpoint_every_ms = 19, "checkpoint_every_ms");
        refused(&|c| c.batch_entries_max = 0, "batch_entries_max");
        refused(&|c| c.batch_entries_max = 16_385, "batch_entries_max");
        refused(&|c| c.batch_bytes_max = 0, "batch_bytes_max");
        refused(&|c| c.queue_batches_max = 0, "queue_batches_max");
        refused(&|c| c.checkpoint_days = 0, "checkpoint_days");
        assert!(LogConfig::default().check().is_ok());
    }
}
