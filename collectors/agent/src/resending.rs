//! What is sent again of what was sent before, and when.
//!
//! Not here: sending (`sending`).

use collectors_bus::Missing;
use ledger_core::{Epoch, Message};

use crate::clock::Moment;

/// Least and greatest time from one filling of the same holes to the next, in ns.
const FILL_MIN_NS: i64 = 5_000_000_000;
const FILL_MAX_NS: i64 = 600_000_000_000;

/// Which messages are sent again; never one that a checkpoint covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Again {
    /// Each.
    All,
    /// Those of this epoch that the log says are missing.
    Missing(Epoch, Vec<Missing>),
}

impl Again {
    pub(crate) fn wants(&self, message: &Message) -> bool {
        match self {
            Again::All => true,
            Again::Missing(epoch, holes) => {
                let has = |hole: &Missing| {
                    hole.stream == message.stream
                        && (hole.from..=hole.to).contains(&message.sequence)
                };
                message.epoch == *epoch && holes.iter().any(has)
            }
        }
    }
}

/// The holes that were filled last: what the log says lags behind what is sent.
#[derive(Clone, Debug)]
pub(crate) struct Holes {
    filled: Vec<Missing>,
    next_at: i64,
    pause: i64,
}

impl Default for Holes {
    fn default() -> Holes {
        Holes {
            filled: Vec::new(),
            next_at: i64::MIN,
            pause: FILL_MIN_NS,
        }
    }
}

impl Holes {
    /// Whether these holes are to be filled now: at most each 5 s, more seldom if they stay.
    pub(crate) fn are_due(&mut self, missing: &[Missing], now: Moment) -> bool {
        if missing.is_empty() || now.monotonic.0 < self.next_at {
            return false;
        }
        self.pause = if self.filled == missing {
            self.pause.saturating_mul(2).min(FILL_MAX_NS)
        } else {
            FILL_MIN_NS
        };
        self.filled = missing.to_vec();
        self.next_at = now.monotonic.0.saturating_add(self.pause);
        true
    }
}
