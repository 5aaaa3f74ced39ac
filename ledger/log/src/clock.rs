//! The rule about clocks (DESIGN section 5): ledger time never goes back, a step over 2 s is an
//! entry, a forward step over 5 minutes stops the log until an operator confirms it.
//!
//! The reference is CLOCK_BOOTTIME, which counts while a machine is suspended, so that waking up is
//! no step. Not here: what is done about a verdict (the sequencer, recovery).

use ledger_core::Nanos;

/// A step of more than this is recorded.
const STEP: i64 = 2_000_000_000;
/// A step forward of more than this stops the log; so does a start this long before the last entry.
pub(crate) const STOP: i64 = 300_000_000_000;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The wall clock.
    pub(crate) wall: Nanos,
    /// Since boot, suspension included.
    pub(crate) boot: Nanos,
}

/// Where readings come from: the system's clocks, or a test's.
pub(crate) type Clock = Box<dyn Fn() -> Reading + Send>;

/// The system's clocks.
pub(crate) fn system() -> Clock {
    use rustix::time::{ClockId, clock_gettime};
    let read = |id| {
        let time = clock_gettime(id);
        Nanos(
            time.tv_sec
                .saturating_mul(1_000_000_000)
                .saturating_add(time.tv_nsec),
        )
    };
    Box::new(move || Reading {
        wall: read(ClockId::Realtime),
        boot: read(ClockId::Boottime),
    })
}

/// What the clocks did since the last reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They agree.
    Steady,
    /// The wall clock stepped from where it should be to where it is.
    Stepped { old: Nanos, new: Nanos },
    /// It stepped so far forward that nothing may be stamped with it.
    Stopped { old: Nanos, new: Nanos },
}

/// Compares each reading with a first one, so that small steps add up; a step that was told is the
/// new beginning. (Both clocks are slewed alike, so that a slew is no step.)
#[derive(Debug)]
pub(crate) struct Rule {
    base: Reading,
}

impl Rule {
    /// Starts from a reading that is believed.
    pub(crate) fn new(first: Reading) -> Rule {
        Rule { base: first }
    }

    /// Judges a reading.
    pub(crate) fn judge(&mut self, now: Reading) -> Verdict {
        let passed = now.boot.0.saturating_sub(self.base.boot.0);
        let old = Nanos(self.base.wall.0.saturating_add(passed));
        let step = now.wall.0.saturating_sub(old.0);
        if step.abs() <= STEP {
            return Verdict::Steady;
        }
        self.base = now;
        if step > STOP {
            Verdict::Stopped { old, new: now.wall }
        } else {
            Verdict::Stepped { old, new: now.wall }
        }
    }
}

/// By how much a start at `now` lies before the last entry, if that is too much.
pub(crate) fn behind(last_entry: Nanos, now: Nanos) -> Option<i64> {
    let behind = last_entry.0.saturating_sub(now.0);
    (behind > STOP).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn steps_are_judged_against_the_time_since_boot() {
        for (wall, boot, expected) in [
            (10 * S, 10 * S, "steady"),
            (12 * S, 10 * S, "steady"),
            (12 * S + 1, 10 * S, "stepped"),
            (8 * S - 1, 10 * S, "stepped"),
            (-3600 * S, 10 * S, "stepped"),
            (310 * S, 10 * S, "stepped"),
            (310 * S + 1, 10 * S, "stopped"),
            // A machine that slept for a day.
            (86_400 * S, 86_400 * S, "steady"),
        ] {
            let mut rule = Rule::new(Reading {
                wall: Nanos(0),
                boot: Nanos(0),
            });
            let verdict = rule.judge(Reading {
                wall: Nanos(wall),
                boot: Nanos(boot),
            });
            let found = match verdict {
                Verdict::Steady => "steady",
                Verdict::Stepped { old, new } => {
                    assert_eq!((old, new), (Nanos(boot), Nanos(wall)));
                    "stepped"
                }
                Verdict::Stopped { .. } => "stopped",
            };
            assert_eq!(found, expected, "wall {wall} boot {boot}");
        }
    }

    #[test]
    fn small_steps_add_up() {
        let mut rule = Rule::new(Reading {
            wall: Nanos(0),
            boot: Nanos(0),
        });
        let mut told = 0;
        for n in 1..=100 {
            let (wall, boot) = (Nanos(n * 2 * S), Nanos(n * S));
            told += i32::from(rule.judge(Reading { wall, boot }) != Verdict::Steady);
        }
        assert_eq!(told, 33);
    }

    #[test]
    fn a_start_before_the_last_entry_is_judged() {
        assert_eq!(behind(Nanos(301 * S), Nanos(0)), Some(301 * S));
        assert_eq!(behind(Nanos(300 * S), Nanos(0)), None);
        assert_eq!(behind(Nanos(0), Nanos(301 * S)), None);
    }
}
