//! What the agent's clocks showed, as one value: the wall clock says when, the clock that runs on
//! through sleep and never goes back says how long.
//!
//! Not here: any rule about time.

use std::time::{SystemTime, UNIX_EPOCH};

use ledger_core::Nanos;
use rustix::time::{ClockId, clock_gettime};

/// Both clocks at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The wall clock.
    pub wall: Nanos,
    /// Ns since the machine started.
    pub monotonic: Nanos,
}

/// Where the time comes from.
pub type Clock = Box<dyn Fn() -> Moment + Send + Sync>;

/// The system's clocks.
pub fn system() -> Clock {
    Box::new(|| {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = boot.tv_sec.saturating_mul(1_000_000_000);
        Moment {
            wall: Nanos(i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX)),
            monotonic: Nanos(seconds.saturating_add(boot.tv_nsec)),
        }
    })
}

impl Moment {
    /// The wall clock in Unix seconds, as an epoch; at least 1.
    pub(crate) fn epoch(&self) -> u32 {
        u32::try_from(self.wall.0 / 1_000_000_000)
            .unwrap_or(u32::MAX)
            .max(1)
    }
}
