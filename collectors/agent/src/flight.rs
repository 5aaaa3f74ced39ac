//! A thread that sends frames in their order, so that reading and binding go on meanwhile.
//!
//! It stops at the first frame that is not taken, and gives everything back. Not here: what an
//! answer means (`sending`).

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use collectors_bus::{Bus, BusError, Outcome, Sent};
use ledger_core::{Epoch, Message, SourceId};

use crate::journal::Cursor;

/// Frames that are aloft at most: one is sent, the others wait for it.
pub(crate) const ALOFT_MAX: usize = 3;

/// One frame on its way to the log.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) messages: Vec<Message>,
    pub(crate) behind: Cursor,
    /// The journal's.
    pub(crate) epoch: Epoch,
}

/// A frame, and the answer; none if nothing of it had to be sent.
#[derive(Debug)]
pub(crate) struct Landed {
    pub(crate) parcel: Parcel,
    pub(crate) sent: Option<Result<Sent, BusError>>,
}

/// The thread, and what is aloft.
pub(crate) struct Flight {
    parcels: SyncSender<Parcel>,
    landed: Receiver<Landed>,
    thread: JoinHandle<Box<dyn Bus>>,
    pub(crate) aloft: usize,
}

impl Flight {
    pub(crate) fn begin(source: SourceId, bus: Box<dyn Bus>) -> Flight {
        let (parcels, taken) = sync_channel(ALOFT_MAX);
        let (given, landed) = sync_channel(ALOFT_MAX);
        let thread = thread::spawn(move || fly(source, bus, &taken, &given));
        Flight {
            parcels,
            landed,
            thread,
            aloft: 0,
        }
    }

    /// Lets a frame go. One that comes too late, as one before it failed, is read again later.
    pub(crate) fn send(&mut self, parcel: Parcel) {
        self.aloft += usize::from(self.parcels.send(parcel).is_ok());
    }

    /// The next answer, if it is there.
    pub(crate) fn landed(&mut self) -> Option<Landed> {
        match self.landed.try_recv() {
            Ok(landed) => {
                self.aloft -= 1;
                Some(landed)
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }

    /// Waits for the next answer; `None` if the thread stopped.
    pub(crate) fn wait(&mut self) -> Option<Landed> {
        let landed = self.landed.recv().ok()?;
        self.aloft -= 1;
        Some(landed)
    }

    /// Waits for all that is aloft, and gives the bus back.
    pub(crate) fn end(self) -> (Box<dyn Bus>, Vec<Landed>) {
        drop(self.parcels);
        // No more than the channel holds, so the thread never waits for a reader.
        match self.thread.join() {
            Ok(bus) => (bus, self.landed.try_iter().collect()),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn fly(
    source: SourceId,
    mut bus: Box<dyn Bus>,
    parcels: &Receiver<Parcel>,
    landed: &SyncSender<Landed>,
) -> Box<dyn Bus> {
    for parcel in parcels {
        let sent = (!parcel.messages.is_empty()).then(|| bus.send(source, &parcel.messages));
        let stops = sent.as_ref().is_some_and(|sent| !is_taken(sent));
        if landed.send(Landed { parcel, sent }).is_err() || stops {
            break;
        }
    }
    bus
}

/// A forged message is one too many: the next would leave an entry too.
fn is_taken(sent: &Result<Sent, BusError>) -> bool {
    match sent {
        Ok(Sent::Taken { outcomes, .. }) => {
            !outcomes.iter().any(|one| matches!(one, Outcome::Forged(_)))
        }
        Ok(Sent::Carried) => true,
        Err(_) => false,
    }
}
