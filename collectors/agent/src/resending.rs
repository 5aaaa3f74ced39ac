//! What is sent again of what was sent before, and when.
//!
//! Not here: sending (`sending`).

use collectors_bus::{Acknowledged, Missing};
use ledger_core::state::Stream;
use ledger_core::{Epoch, Message, Sequence};

use crate::clock::Moment;

/// Least and greatest time from one filling of the same holes to the next, in ns.
const FILL_MIN_NS: i64 = 5_000_000_000;
const FILL_MAX_NS: i64 = 600_000_000_000;

/// Greatest time from one sending of what was lost to the next, in ns.
const LOST_MAX_NS: i64 = 30_000_000_000;

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

/// When what was lost is sent again: at once the first time. A message that the log keeps as a
/// conflict looks lost each time, and leaves an entry each time.
#[derive(Clone, Debug)]
pub(crate) struct Losses {
    waiting: bool,
    next_at: i64,
    pause: i64,
}

impl Default for Losses {
    fn default() -> Losses {
        Losses {
            waiting: false,
            next_at: i64::MIN,
            pause: FILL_MIN_NS,
        }
    }
}

impl Losses {
    /// Something is lost and not sent again yet. Until then order on the way proves nothing.
    pub(crate) fn are_waiting(&self) -> bool {
        self.waiting
    }

    /// Whether it is to be sent again now, `lost` or what was lost before: at most each 5 s, more
    /// seldom if it is lost again and again.
    pub(crate) fn are_due(&mut self, lost: bool, now: Moment) -> bool {
        self.waiting |= lost;
        let now = now.monotonic.0;
        if !self.waiting || now < self.next_at {
            return false;
        }
        self.waiting = false;
        let quiet = now.saturating_sub(self.next_at) >= self.pause;
        self.pause = if quiet {
            FILL_MIN_NS
        } else {
            self.pause.saturating_mul(2).min(LOST_MAX_NS)
        };
        self.next_at = now.saturating_add(self.pause);
        true
    }
}

/// Whether a checkpoint covers this message of the epoch that it speaks of.
pub(crate) fn covers(heard: &Acknowledged, stream: Stream, sequence: Sequence) -> bool {
    let of = |hole: &&Missing| hole.stream == stream;
    let within = |hole: &Missing| (hole.from..=hole.to).contains(&sequence);
    sequence <= heard.mark(stream).sequence && !heard.missing.iter().filter(of).any(within)
}

/// Whether more, or something else, is covered.
pub(crate) fn differs(one: &Acknowledged, other: &Acknowledged) -> bool {
    (one.epoch, &one.marks, &one.missing) != (other.epoch, &other.marks, &other.missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger_core::Nanos;

    #[test]
    fn what_is_lost_again_and_again_is_sent_at_once_and_then_more_and_more_seldom() {
        let mut losses = Losses::default();
        let mut due = Vec::new();
        for second in 0..200_i64 {
            let now = Moment {
                monotonic: Nanos(second * 1_000_000_000),
                wall: Nanos(0),
            };
            if losses.are_due(second != 0 && second < 160, now) {
                due.push(second);
            }
        }
        assert_eq!(due, [1, 6, 16, 36, 66, 96, 126, 156, 186]);
    }
}
