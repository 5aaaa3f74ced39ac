//! From the journal to the log: sends what is bound, in its order, until it is acknowledged, sends
//! again what is missing or was lost on the way, and notices what acknowledgements say about other
//! lives of this source.
//!
//! **Invariant:** sending again changes nothing: the journal's bytes are sent as they were bound,
//! and what the log holds already is a repeat there.
//!
//! Not here: what is bound (`follower`), the way there (collectors/bus).

use std::collections::VecDeque;
use std::time::Duration;

use collectors_bus::{Acknowledged, Bus, BusError, Outcome, Sent};
use ledger_core::message::MessageMac;
use ledger_core::state::{ShortMac, Stream};
use ledger_core::{Epoch, Message, Sequence, SourceId, TreeSize};
use ledger_event::facts::Told;

use crate::clock::Moment;
use crate::flight::{Flight, Head, Parcel};
use crate::journal::{Cursor, Journal};
use crate::journal_error::JournalError;
use crate::resending::{Again, Holes, Losses, covers, differs};

#[path = "flying.rs"]
mod flying;

/// Least and greatest pause after the log could not be reached, in ns.
const PAUSE_MIN_NS: i64 = 250_000_000;
const PAUSE_MAX_NS: i64 = 30_000_000_000;
/// Pause after the log refused, in ns: a person must look, and may already have.
const REFUSED_NS: i64 = 60_000_000_000;
/// Why a source is refused if what is sent is lost again and again.
const NOT_TAKEN: &str = "the log read what was sent and did not take it";
/// Frames that are sent in one step at most, so that reading goes on in between.
const FRAMES_MAX: usize = 8;
/// Ends of frames that are remembered.
const ENDS_MAX: usize = 1024;

/// What a step of sending found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// All that is bound was sent.
    AllSent,
    /// More is to be sent at once.
    More,
    /// Nothing can be sent for now.
    Waiting,
}

/// Why the life of the journal is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overtaken {
    /// The log holds numbers that the journal never bound: the machine was restored or cloned.
    Ahead,
    /// The log holds another message under a number of ours.
    OtherContent,
    /// The log has a later epoch of this source.
    LaterEpoch,
    /// The log lacks numbers that it had acknowledged, and that were forgotten here: it was
    /// restored from an older copy.
    Restored,
}

/// How far messages of epochs that are over got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OldEpochs {
    /// None was sent, or none since something was lost.
    Unsent,
    /// A checkpoint of this size covers them.
    In(TreeSize),
    /// They were carried, and nothing of the current epoch after them.
    Carried,
    /// They are covered when this message of the current epoch is: it was carried after them.
    Before(Stream, Sequence),
}

/// The sender of one source.
pub(crate) struct Sending {
    source: SourceId,
    /// Not here while it is in flight.
    bus: Option<Box<dyn Bus>>,
    flight: Option<Flight>,
    /// When the log was asked last while something was in flight.
    asked_at: i64,
    /// What was let go ends here.
    launched: Cursor,
    /// What was sent, in its order, ends here.
    cursor: Cursor,
    /// What is covered by a checkpoint, as last heard.
    pub(crate) heard: Option<Acknowledged>,
    /// The farthest acknowledgement with the log's mark on it: what a restored log is told by.
    pub(crate) told: Option<Told>,
    pub(crate) overtaken: Option<Overtaken>,
    /// What the log refused, for people.
    pub(crate) refused: Option<String>,
    /// One message is sent until it is taken: every try may leave an entry. The next one not
    /// before this time.
    trying: Option<i64>,
    /// How to tell that messages of epochs that are over are in the log.
    old_epochs: OldEpochs,
    /// The same for what was sent last.
    last_sent: OldEpochs,
    /// What was sent at some time ends here, and all behind it was not.
    sent: Cursor,
    /// What is sent again before `sent`.
    again: Again,
    holes: Holes,
    losses: Losses,
    /// What was covered when something was last found lost.
    lost_at: Option<Acknowledged>,
    /// How the streams stood after frames that were sent of late: what is acknowledged is mostly
    /// one of these, and is not looked for on the disk.
    ends: VecDeque<(Stream, Sequence, MessageMac)>,
    /// The frame that was bound last, and the places before and behind it.
    recent: Option<(Cursor, Cursor, Vec<Message>)>,
    retry_at: i64,
    pause: i64,
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sending(source {}, {:?})", self.source, self.cursor)
    }
}

impl Sending {
    pub(crate) fn new(source: SourceId, bus: Box<dyn Bus>) -> Sending {
        Sending {
            source,
            bus: Some(bus),
            flight: None,
            asked_at: i64::MIN,
            launched: Cursor::default(),
            cursor: Cursor::default(),
            heard: None,
            told: None,
            overtaken: None,
            refused: None,
            trying: None,
            old_epochs: OldEpochs::Unsent,
            last_sent: OldEpochs::In(TreeSize(0)),
            sent: Cursor::default(),
            again: Again::All,
            holes: Holes::default(),
            losses: Losses::default(),
            lost_at: None,
            ends: VecDeque::new(),
            recent: None,
            retry_at: i64::MIN,
            pause: PAUSE_MIN_NS,
        }
    }

    /// Asks what is acknowledged; `None` if the log cannot be asked now.
    pub(crate) fn ask(&mut self, now: Moment) -> Option<Acknowledged> {
        if now.monotonic.0 < self.retry_at || self.is_aloft(now) {
            return None;
        }
        self.land(now);
        let bus = self.bus.as_mut()?;
        match bus.acknowledged(self.source, Duration::ZERO) {
            Ok(heard) => {
                let lost = bus.lost(self.source);
                if self.trying.is_some()
                    && self.lost_at.as_ref().is_some_and(|at| differs(at, &heard))
                {
                    // What was tried is covered now.
                    (self.trying, self.refused) = (None, None);
                }
                self.heard = Some(heard.clone());
                if self.losses.are_due(lost, now) {
                    self.was_lost(&heard, now);
                }
                Some(heard)
            }
            Err(error) => {
                self.failed(&error, now);
                None
            }
        }
    }

    /// Takes note of an acknowledgement: what it covers is forgotten, what it contradicts ends the
    /// life of the journal.
    pub(crate) fn heard(
        &mut self,
        heard: &Acknowledged,
        journal: &mut Journal,
        now: Moment,
    ) -> Result<(), JournalError> {
        let epoch = journal.epoch();
        if heard.epoch > epoch {
            self.overtaken = Some(Overtaken::LaterEpoch);
            return Ok(());
        }
        if self.is_behind_what_it_told(heard, epoch) {
            self.overtaken = Some(Overtaken::Restored);
            return Ok(());
        }
        let covered = match self.old_epochs {
            OldEpochs::Unsent | OldEpochs::Carried => false,
            OldEpochs::In(size) => heard.size >= size,
            OldEpochs::Before(stream, sequence) => {
                let bus = self.bus.as_deref();
                !self.losses.are_waiting()
                    && bus.is_some_and(|bus| !bus.carries_before(epoch))
                    && heard.epoch == epoch
                    && covers(heard, stream, sequence)
            }
        };
        let epochs_before = if covered { epoch } else { Epoch(0) };
        let mut upto = [Sequence(0); 3];
        if heard.epoch == epoch {
            for (through, stream) in upto.iter_mut().zip(Stream::ALL) {
                let mark = heard.mark(stream);
                if mark.sequence > journal.last(stream).sequence {
                    self.overtaken = Some(Overtaken::Ahead);
                    return Ok(());
                }
                let ours = match self.end(stream, mark.sequence) {
                    Some(mac) => Some(mac),
                    None => journal.mac_of(stream, mark.sequence)?,
                };
                if ours.is_some_and(|mac| ShortMac::of(&mac) != mark.mac) {
                    self.overtaken = Some(Overtaken::OtherContent);
                    return Ok(());
                }
                *through = heard.through(stream);
            }
            if self.cursor >= self.sent && self.holes.are_due(&heard.missing, now) {
                let count = heard.missing.len();
                tracing::info!(
                    source = self.source.0,
                    count,
                    "missing numbers are sent again"
                );
                self.again = Again::Missing(epoch, heard.missing.clone());
                self.cursor = Cursor::default();
            }
        }
        journal.forget(upto, epochs_before)
    }

    /// Keeps the farthest acknowledgement. One that says less of the current epoch shows that the
    /// log was restored: nothing can fill what it lacks, so the life of the journal is over, and
    /// heartbeats go on to show what was said.
    fn is_behind_what_it_told(&mut self, heard: &Acknowledged, epoch: Epoch) -> bool {
        let through = (heard.epoch, heard.through(Stream::Record));
        let told = self.told.as_ref();
        let behind = told.is_some_and(|told| through < (told.epoch, told.sequence));
        if !behind && told.is_none_or(|told| told.size <= heard.size) {
            self.told = heard.told().or(self.told.take());
        }
        let current = |told: &Told| told.epoch == epoch;
        behind && self.told.as_ref().is_some_and(current)
    }

    /// Sends what is bound and was not sent.
    pub(crate) fn send(&mut self, journal: &Journal, now: Moment) -> Result<Found, JournalError> {
        self.land(now);
        for _ in 0..FRAMES_MAX {
            if self.is_waiting(now) {
                return Ok(Found::Waiting);
            }
            let Some(parcel) = self.pack_from(self.cursor, journal)? else {
                return Ok(Found::AllSent);
            };
            let Parcel {
                messages,
                behind,
                epoch,
            } = parcel;
            if !messages.is_empty() && !self.send_some(&messages, epoch, now) {
                return Ok(Found::Waiting);
            }
            let last = messages.last().map(Head::of);
            self.passed(last.as_ref(), behind, epoch);
        }
        Ok(Found::More)
    }

    /// What is to be sent of the frame behind `from`; `None` behind the last one.
    fn pack_from(
        &mut self,
        from: Cursor,
        journal: &Journal,
    ) -> Result<Option<Parcel>, JournalError> {
        let epoch = journal.epoch();
        let recent = (self.recent.take()).filter(|(before, ..)| *before == from);
        let (messages, behind) = match recent {
            Some((_, behind, messages)) => (messages, behind),
            None => match journal.next(from)? {
                Some((frame, behind)) => (frame.messages, behind),
                None => return Ok(None),
            },
        };
        let resent = behind <= self.sent;
        let messages = (messages.into_iter())
            .filter(|message| !self.is_covered(message))
            .filter(|message| !resent || self.again.wants(message))
            .collect();
        Ok(Some(Parcel {
            messages,
            behind,
            epoch,
        }))
    }

    /// A frame was sent.
    fn passed(&mut self, last: Option<&Head>, behind: Cursor, epoch: Epoch) {
        self.cursor = behind;
        self.sent = self.sent.max(behind);
        if let Some(last) = last.filter(|last| last.epoch == epoch) {
            self.ends.push_back((last.stream, last.sequence, last.mac));
            let over = self.ends.len().saturating_sub(ENDS_MAX);
            self.ends.drain(..over);
        }
    }

    /// A frame that was just bound: it need not be read from the disk if it is sent next.
    pub(crate) fn remember(&mut self, before: Cursor, behind: Cursor, messages: Vec<Message>) {
        self.recent = Some((before, behind, messages));
    }

    fn is_waiting(&self, now: Moment) -> bool {
        now.monotonic.0 < self.retry_at.max(self.trying.unwrap_or(i64::MIN))
    }

    /// What was sent and is not covered has to be sent again. If that brought nothing, the log
    /// does not take it, and a person must look.
    fn was_lost(&mut self, heard: &Acknowledged, now: Moment) {
        let in_vain = (self.lost_at.as_ref()).is_some_and(|before| !differs(before, heard));
        tracing::warn!(
            source = self.source.0,
            in_vain,
            "what was sent is lost: it is sent again"
        );
        self.lost_at = Some(heard.clone());
        (self.cursor, self.again) = (Cursor::default(), Again::All);
        self.old_epochs = OldEpochs::Unsent;
        self.trying = in_vain.then_some(i64::MIN);
        if in_vain {
            self.refuse(NOT_TAKEN.to_owned(), now);
        }
    }

    fn end(&self, stream: Stream, sequence: Sequence) -> Option<MessageMac> {
        let mut ends = self.ends.iter().rev();
        let end = ends.find(|end| (end.0, end.1) == (stream, sequence));
        end.map(|end| end.2)
    }

    /// A new epoch begins, and all before it was sent: its numbers begin again.
    pub(crate) fn begin_epoch(&mut self) {
        self.overtaken = None;
        self.ends.clear();
        self.lost_at = None;
        self.old_epochs = self.last_sent;
    }

    /// Whether a checkpoint covers it: after a restart it is not sent again. Where the log has
    /// other content under these numbers nothing of ours is covered: all goes there, as conflicts.
    fn is_covered(&self, message: &Message) -> bool {
        let contradicted = matches!(
            self.overtaken,
            Some(Overtaken::Ahead | Overtaken::OtherContent)
        );
        !contradicted
            && self.heard.as_ref().is_some_and(|heard| {
                heard.epoch == message.epoch && covers(heard, message.stream, message.sequence)
            })
    }

    /// Sends messages of one frame; `false` if they have to be sent again.
    fn send_some(&mut self, messages: &[Message], epoch: Epoch, now: Moment) -> bool {
        let some = if self.trying.is_some() {
            messages.get(..1).unwrap_or(messages)
        } else {
            messages
        };
        let Some(bus) = &mut self.bus else {
            return false;
        };
        let sent = bus.send(self.source, some);
        let heads: Vec<Head> = some.iter().map(Head::of).collect();
        // The one that was tried is a repeat when all are sent.
        self.answered(&heads, sent, epoch, now) && some.len() == messages.len()
    }

    /// Takes an answer; `false` if the messages have to be sent again.
    fn answered(
        &mut self,
        some: &[Head],
        sent: Result<Sent, BusError>,
        epoch: Epoch,
        now: Moment,
    ) -> bool {
        match sent {
            Ok(Sent::Taken { outcomes, size }) => {
                if !self.taken(some, &outcomes, size, epoch, now) {
                    return false;
                }
                self.refused = None;
                self.last_sent = OldEpochs::In(size);
            }
            Ok(Sent::Carried) => {
                self.last_sent = OldEpochs::Carried;
                self.carried(some, epoch);
                if let Some(next_at) = &mut self.trying {
                    // What becomes of it shows in what is acknowledged, or lost.
                    *next_at = now.monotonic.0.saturating_add(REFUSED_NS);
                    return false;
                }
                self.refused = None;
            }
            Err(error) => {
                self.failed(&error, now);
                return false;
            }
        }
        self.pause = PAUSE_MIN_NS;
        true
    }

    /// What the log made of messages; `false` if it takes none.
    fn taken(
        &mut self,
        messages: &[Head],
        outcomes: &[Outcome],
        size: TreeSize,
        epoch: Epoch,
        now: Moment,
    ) -> bool {
        if outcomes.iter().any(|one| matches!(one, Outcome::Forged(_))) {
            self.trying = Some(i64::MIN);
            self.refuse("the log has another key for this source".to_owned(), now);
            return false;
        }
        self.trying = None;
        let conflict = |(outcome, message): (&Outcome, &Head)| {
            matches!(outcome, Outcome::Conflict(_)) && message.epoch == epoch
        };
        if outcomes.iter().zip(messages).any(conflict) {
            self.overtaken.get_or_insert(Overtaken::OtherContent);
        }
        if messages.iter().any(|message| message.epoch < epoch) {
            self.old_epochs = OldEpochs::In(size);
        }
        true
    }

    /// Order is kept on the way: what is covered says the same of all that was carried before.
    fn carried(&mut self, messages: &[Head], epoch: Epoch) {
        for message in messages {
            if message.epoch < epoch {
                self.old_epochs = OldEpochs::Carried;
            } else if self.old_epochs == OldEpochs::Carried {
                self.old_epochs = OldEpochs::Before(message.stream, message.sequence);
            }
        }
    }

    fn failed(&mut self, error: &BusError, now: Moment) {
        match error {
            BusError::Away { reason } => {
                if self.pause == PAUSE_MIN_NS {
                    tracing::warn!(source = self.source.0, reason, "the log cannot be reached");
                }
                self.retry_at = now.monotonic.0.saturating_add(self.pause);
                self.pause = self.pause.saturating_mul(2).min(PAUSE_MAX_NS);
            }
            BusError::Busy { retry_after } => {
                let pause = i64::try_from(retry_after.as_nanos()).unwrap_or(PAUSE_MAX_NS);
                let pause = pause.clamp(PAUSE_MIN_NS, PAUSE_MAX_NS);
                self.retry_at = now.monotonic.0.saturating_add(pause);
            }
            BusError::Refused { reason } | BusError::Malformed { reason } => {
                self.refuse(reason.clone(), now);
            }
        }
    }

    fn refuse(&mut self, reason: String, now: Moment) {
        if self.refused.as_ref() != Some(&reason) {
            tracing::error!(
                source = self.source.0,
                reason,
                "the log refuses this source"
            );
        }
        self.refused = Some(reason);
        self.retry_at = now.monotonic.0.saturating_add(REFUSED_NS);
    }
}
