//! From the journal to the log: sends what is bound, in its order, until it is acknowledged, and
//! notices what acknowledgements say about other lives of this source.
//!
//! Not here: what is bound (`follower`), the way there (collectors/bus).

use std::collections::VecDeque;
use std::time::Duration;

use collectors_bus::{Acknowledged, Bus, BusError, Outcome};
use ledger_core::message::MessageMac;
use ledger_core::state::{ShortMac, Stream};
use ledger_core::{Epoch, Message, Sequence, SourceId, TreeSize};

use crate::clock::Moment;
use crate::journal::{Cursor, Journal};
use crate::journal_error::JournalError;

/// Least and greatest pause after the log could not be reached, in ns.
const PAUSE_MIN_NS: i64 = 250_000_000;
const PAUSE_MAX_NS: i64 = 30_000_000_000;
/// Pause after the log refused, in ns: a person must look, and may already have.
const REFUSED_NS: i64 = 60_000_000_000;
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
}

/// The sender of one source.
pub(crate) struct Sending {
    source: SourceId,
    bus: Box<dyn Bus>,
    cursor: Cursor,
    /// What is covered by a checkpoint, as last heard.
    pub(crate) heard: Option<Acknowledged>,
    pub(crate) overtaken: Option<Overtaken>,
    /// What the log refused, for people.
    pub(crate) refused: Option<String>,
    /// One message is sent until it is not forged: every try leaves an entry.
    forged: bool,
    /// The log's size after the last message of an epoch that is over.
    old_epochs_in: Option<TreeSize>,
    /// How the streams stood after frames that were sent of late: what is acknowledged is mostly
    /// one of these, and is not looked for on the disk.
    ends: VecDeque<(Stream, Sequence, MessageMac)>,
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
            bus,
            cursor: Cursor::default(),
            heard: None,
            overtaken: None,
            refused: None,
            forged: false,
            old_epochs_in: None,
            ends: VecDeque::new(),
            retry_at: i64::MIN,
            pause: PAUSE_MIN_NS,
        }
    }

    /// Asks what is acknowledged; `None` if the log cannot be asked now.
    pub(crate) fn ask(&mut self, now: Moment) -> Option<Acknowledged> {
        if now.monotonic.0 < self.retry_at {
            return None;
        }
        match self.bus.acknowledged(self.source, Duration::ZERO) {
            Ok(heard) => {
                self.heard = Some(heard.clone());
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
    ) -> Result<(), JournalError> {
        let epoch = journal.epoch();
        if heard.epoch > epoch {
            self.overtaken = Some(Overtaken::LaterEpoch);
            return Ok(());
        }
        let sent = self.old_epochs_in.is_some_and(|size| heard.size >= size);
        let epochs_before = if sent { epoch } else { Epoch(0) };
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
        }
        journal.forget(upto, epochs_before)
    }

    /// Sends what is bound and was not sent.
    pub(crate) fn send(&mut self, journal: &Journal, now: Moment) -> Result<Found, JournalError> {
        if now.monotonic.0 < self.retry_at {
            return Ok(Found::Waiting);
        }
        for _ in 0..FRAMES_MAX {
            let Some((frame, behind)) = journal.next(self.cursor)? else {
                return Ok(Found::AllSent);
            };
            let messages: Vec<Message> = (frame.messages.into_iter())
                .filter(|message| !self.is_covered(message))
                .collect();
            if !messages.is_empty() && !self.send_some(&messages, journal.epoch(), now) {
                return Ok(Found::Waiting);
            }
            self.cursor = behind;
            if let Some(last) = messages.last().filter(|last| last.epoch == journal.epoch()) {
                self.ends.push_back((last.stream, last.sequence, last.mac));
                let over = self.ends.len().saturating_sub(ENDS_MAX);
                self.ends.drain(..over);
            }
        }
        Ok(Found::More)
    }

    fn end(&self, stream: Stream, sequence: Sequence) -> Option<MessageMac> {
        let mut ends = self.ends.iter().rev();
        let end = ends.find(|end| (end.0, end.1) == (stream, sequence));
        end.map(|end| end.2)
    }

    /// A new epoch begins: its numbers begin again.
    pub(crate) fn begin_epoch(&mut self) {
        self.overtaken = None;
        self.ends.clear();
    }

    /// Whether a checkpoint covers it: after a restart it is not sent again.
    fn is_covered(&self, message: &Message) -> bool {
        self.heard.as_ref().is_some_and(|heard| {
            heard.epoch == message.epoch && message.sequence <= heard.through(message.stream)
        })
    }

    /// Sends messages of one frame; `false` if they have to be sent again.
    fn send_some(&mut self, messages: &[Message], epoch: Epoch, now: Moment) -> bool {
        let some = if self.forged {
            messages.get(..1).unwrap_or(messages)
        } else {
            messages
        };
        let sent = match self.bus.send(self.source, some) {
            Ok(sent) => sent,
            Err(error) => {
                self.failed(&error, now);
                return false;
            }
        };
        let outcomes = || sent.outcomes.iter().zip(some);
        if outcomes().any(|(outcome, _)| matches!(outcome, Outcome::Forged(_))) {
            self.forged = true;
            self.refuse("the log has another key for this source".to_owned(), now);
            return false;
        }
        let was_forged = std::mem::take(&mut self.forged);
        let conflict = |(outcome, message): (&Outcome, &Message)| {
            matches!(outcome, Outcome::Conflict(_)) && message.epoch == epoch
        };
        if outcomes().any(conflict) {
            self.overtaken.get_or_insert(Overtaken::OtherContent);
        }
        if some.iter().any(|message| message.epoch < epoch) {
            self.old_epochs_in = Some(sent.size);
        }
        (self.refused, self.pause) = (None, PAUSE_MIN_NS);
        // The one that was tried is a repeat when all are sent.
        !was_forged || some.len() == messages.len()
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
