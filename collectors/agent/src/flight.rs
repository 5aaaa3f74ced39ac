//! A thread that sends frames in their order, so that reading and binding go on meanwhile.
//!
//! One frame may be handed over while the one before is made durable. The thread stops at the
//! first frame that is not taken, and gives everything back. Not here: what an answer means
//! (`sending`).

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use collectors_bus::{Bus, BusError, Later, Outcome, Sent};
use ledger_core::message::MessageMac;
use ledger_core::state::Stream;
use ledger_core::{Epoch, Message, Sequence, SourceId};

use crate::journal::Cursor;

/// Frames that are aloft at most: some are sent, the others wait for them.
pub(crate) const ALOFT_MAX: usize = 3;
/// Frames that are sent at once, as soon as the log has taken one: one that it refuses for its key
/// leaves an entry for each message. If the key is replaced while frames are aloft, two such frames
/// are left in the log, not one.
const SENT_MAX: usize = 2;

/// One frame on its way to the log.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) messages: Vec<Message>,
    pub(crate) behind: Cursor,
    /// The journal's.
    pub(crate) epoch: Epoch,
}

/// What an answer is understood by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) stream: Stream,
    pub(crate) epoch: Epoch,
    pub(crate) sequence: Sequence,
    pub(crate) mac: MessageMac,
}

impl Head {
    pub(crate) fn of(message: &Message) -> Head {
        Head {
            stream: message.stream,
            epoch: message.epoch,
            sequence: message.sequence,
            mac: message.mac,
        }
    }
}

/// A frame, and the answer; none if nothing of it had to be sent.
#[derive(Debug)]
pub(crate) struct Landed {
    pub(crate) heads: Vec<Head>,
    pub(crate) behind: Cursor,
    pub(crate) epoch: Epoch,
    pub(crate) sent: Option<Result<Sent, BusError>>,
}

impl Landed {
    fn is_refused(&self) -> bool {
        self.sent.as_ref().is_some_and(|sent| !is_taken(sent))
    }
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

/// A frame that was handed over, and its answer.
type Launched = (Landed, Option<Later<Result<Sent, BusError>>>);

/// Hands frames over. Another thread waits for their answers, so that a frame goes as soon as it is
/// there.
fn fly(
    source: SourceId,
    mut bus: Box<dyn Bus>,
    parcels: &Receiver<Parcel>,
    landed: &SyncSender<Landed>,
) -> Box<dyn Bus> {
    let (awaited, launched) = sync_channel(SENT_MAX - 2);
    thread::scope(|scope| {
        scope.spawn(move || land(&launched, landed));
        let mut key_is_good = false;
        for parcel in parcels {
            let (mut one, answer) = launch(source, bus.as_mut(), parcel);
            let answer = match answer {
                Some(Later::Awaited(wait)) if key_is_good => Some(Later::Awaited(wait)),
                answer => {
                    one.sent = answer.map(Later::wait);
                    None
                }
            };
            let stops = one.is_refused();
            key_is_good = key_is_good || one.sent.is_some();
            // It is not taken any more once an answer was a refusal.
            if awaited.send((one, answer)).is_err() || stops {
                break;
            }
        }
        drop(awaited);
    });
    bus
}

fn launch(source: SourceId, bus: &mut dyn Bus, parcel: Parcel) -> Launched {
    let Parcel {
        messages,
        behind,
        epoch,
    } = parcel;
    let landed = Landed {
        heads: messages.iter().map(Head::of).collect(),
        behind,
        epoch,
        sent: None,
    };
    let answer = (!messages.is_empty()).then(|| bus.hand_over(source, messages));
    (landed, answer)
}

/// Waits for answers, in their order, until one is a refusal.
fn land(launched: &Receiver<Launched>, landed: &SyncSender<Landed>) {
    for (mut one, answer) in launched {
        if let Some(answer) = answer {
            one.sent = Some(answer.wait());
        }
        let stops = one.is_refused();
        if landed.send(one).is_err() || stops {
            return;
        }
    }
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use collectors_bus::Acknowledged;
    use ledger_core::{Flags, Index, TreeSize};

    use super::*;

    type Answer = Later<Result<Sent, BusError>>;

    /// A bus whose answers are written down before.
    struct Script {
        handed: Arc<Mutex<Vec<u64>>>,
        answers: VecDeque<Answer>,
    }

    impl Bus for Script {
        fn send(&mut self, _: SourceId, _: &[Message]) -> Result<Sent, BusError> {
            panic!("a flight hands over");
        }

        fn hand_over(&mut self, _: SourceId, messages: Vec<Message>) -> Answer {
            self.handed.lock().unwrap().push(messages[0].sequence.0);
            self.answers.pop_front().unwrap()
        }

        fn acknowledged(&mut self, _: SourceId, _: Duration) -> Result<Acknowledged, BusError> {
            panic!("a flight does not ask");
        }

        fn lost(&mut self, _: SourceId) -> bool {
            false
        }
    }

    fn taken(outcome: Outcome) -> Result<Sent, BusError> {
        Ok(Sent::Taken {
            outcomes: vec![outcome],
            size: TreeSize(9),
        })
    }

    fn away() -> Result<Sent, BusError> {
        let reason = "no".to_owned();
        Err(BusError::Away { reason })
    }

    fn awaited(answer: Result<Sent, BusError>) -> Answer {
        Later::Awaited(Box::new(|| answer))
    }

    /// Lets three frames go; gives those that were handed over, and whether each that came back
    /// was taken.
    fn fly_three(answers: Vec<Answer>) -> (Vec<u64>, Vec<bool>) {
        let handed = Arc::new(Mutex::new(Vec::new()));
        let script = Script {
            handed: handed.clone(),
            answers: answers.into(),
        };
        let mut flight = Flight::begin(SourceId(1), Box::new(script));
        for n in 1..=3 {
            flight.send(Parcel {
                messages: vec![Message {
                    stream: Stream::Record,
                    epoch: Epoch(1),
                    sequence: Sequence(n),
                    prev: [0; 32],
                    mac: [0; 32],
                    flags: Flags::NONE,
                    value: b"{}".to_vec(),
                }],
                behind: Cursor::default(),
                epoch: Epoch(1),
            });
        }
        let (_, landed) = flight.end();
        let numbers = landed.iter().map(|one| one.heads[0].sequence.0);
        assert!(numbers.eq(1..=landed.len() as u64), "in their order");
        let handed = handed.lock().unwrap().clone();
        let taken = landed.iter().map(|one| !one.is_refused()).collect();
        (handed, taken)
    }

    #[test]
    fn a_first_frame_with_a_wrong_key_is_the_only_one() {
        let forged = || taken(Outcome::Forged(Index(1)));
        let good = || taken(Outcome::Appended(Index(1)));
        let answers = vec![awaited(forged()), awaited(good()), awaited(good())];
        assert_eq!(fly_three(answers), (vec![1], vec![false]));
        let answers = vec![awaited(good()), awaited(good()), awaited(good())];
        assert_eq!(fly_three(answers), (vec![1, 2, 3], vec![true; 3]));
    }

    #[test]
    fn nothing_goes_after_a_refusal_that_is_known() {
        let good = || taken(Outcome::Appended(Index(1)));
        let answers = vec![Later::Known(good()), Later::Known(away()), awaited(good())];
        assert_eq!(fly_three(answers), (vec![1, 2], vec![true, false]));
    }

    #[test]
    fn what_was_handed_over_before_a_refusal_was_known_is_not_said_to_be_taken() {
        let good = || taken(Outcome::Appended(Index(1)));
        let answers = vec![awaited(good()), awaited(away()), awaited(good())];
        let (_, taken) = fly_three(answers);
        assert_eq!(taken, [true, false]);
    }
}
