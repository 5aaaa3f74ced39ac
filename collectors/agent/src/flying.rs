//! Sending while reading and binding go on: what is bound is let go, answers are taken as they
//! come.
//!
//! Not here: the thread (`flight`), and when there is so much to do (`follower`).

use super::Sending;
use crate::clock::Moment;
use crate::flight::{ALOFT_MAX, Flight, Landed};
use crate::journal::Journal;
use crate::journal_error::JournalError;

/// From question to question about what is acknowledged, while much is sent, in ns.
const ASK_NS: i64 = 1_000_000_000;

impl Sending {
    /// Lets go what is bound, some frames at a time; waits only while [`ALOFT_MAX`] are aloft.
    pub(crate) fn fly(&mut self, journal: &Journal, now: Moment) -> Result<(), JournalError> {
        if self.trying.is_some() || self.is_waiting(now) {
            self.land(now);
            return Ok(());
        }
        for _ in 0..super::FRAMES_MAX {
            while let Some(landed) = self.flight.as_mut().and_then(Flight::landed) {
                if !self.has_landed(landed, now) {
                    return Ok(());
                }
            }
            if self
                .flight
                .as_ref()
                .is_some_and(|flight| flight.aloft >= ALOFT_MAX)
            {
                let landed = self.flight.as_mut().and_then(Flight::wait);
                if landed.is_none_or(|landed| !self.has_landed(landed, now)) {
                    self.land(now);
                    return Ok(());
                }
            }
            if self.flight.is_none() {
                self.launched = self.cursor;
            }
            let Some(parcel) = self.pack_from(self.launched, journal)? else {
                return Ok(());
            };
            if let Some(bus) = self.bus.take() {
                self.flight = Some(Flight::begin(self.source, bus));
                self.asked_at = now.monotonic.0;
            }
            self.launched = parcel.behind;
            if let Some(flight) = &mut self.flight {
                flight.send(parcel);
            }
        }
        Ok(())
    }

    /// The journal begins anew: what is aloft is let go.
    pub(crate) fn start_over(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.bus = Some(flight.end().0);
        }
        (self.cursor, self.launched, self.sent) = Default::default();
        (self.recent, self.heard, self.overtaken, self.lost_at) = (None, None, None, None);
        self.ends.clear();
        self.old_epochs = super::OldEpochs::Unsent;
    }

    /// Whether so much is on its way that nothing else is asked yet.
    pub(super) fn is_aloft(&self, now: Moment) -> bool {
        self.flight.is_some() && now.monotonic.0.saturating_sub(self.asked_at) < ASK_NS
    }

    /// Waits for all that is aloft.
    pub(super) fn land(&mut self, now: Moment) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        let (bus, landed) = flight.end();
        self.bus = Some(bus);
        let mut goes_on = true;
        for one in landed {
            goes_on = goes_on && self.arrives(one, now);
        }
        self.launched = self.cursor;
    }

    fn has_landed(&mut self, landed: Landed, now: Moment) -> bool {
        if self.arrives(landed, now) {
            return true;
        }
        // What was let go after it is not looked at: it is sent again.
        if let Some(flight) = self.flight.take() {
            self.bus = Some(flight.end().0);
        }
        self.launched = self.cursor;
        false
    }

    /// Takes the answer to a frame; `false` if it has to be sent again.
    fn arrives(&mut self, landed: Landed, now: Moment) -> bool {
        let Landed {
            heads,
            behind,
            epoch,
            sent,
        } = landed;
        let taken = sent.is_none_or(|sent| self.answered(&heads, sent, epoch, now));
        if taken {
            self.passed(heads.last(), behind, epoch);
        }
        taken
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            // What it was still sending is sent again by the next start, as a repeat.
            drop(flight.end());
        }
    }
}
