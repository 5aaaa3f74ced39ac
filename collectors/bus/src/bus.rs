//! The seam: [`Bus`], what it promises, its bounds and why it fails.
//!
//! Not here: trying again. A bus says whether that makes sense; its caller holds the journal, so
//! its caller decides when, and never gives up.

use std::time::Duration;

use ledger_core::message::{Message, VALUE_MAX};
use ledger_core::{Epoch, SourceId, TreeSize};
use ledger_log::door::{ACKNOWLEDGED_WAIT, BATCH_MESSAGES_MAX};
use ledger_log::{Acknowledged, Appended, DoorError, Later, Outcome};

use crate::form::message_len;

/// Most bytes of messages that travel at once; more go one after the other.
pub const SEND_BYTES_MAX: usize = 4 << 20;
/// Longest wait for an acknowledgement; longer ones are cut to it.
pub const WAIT_MAX: Duration = ACKNOWLEDGED_WAIT;

/// Messages are durable: nothing has to be kept for the way there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sent {
    /// In the log.
    Taken {
        /// What became of each, in their order.
        outcomes: Vec<Outcome>,
        /// The log's size after them: a checkpoint of that size covers them.
        size: TreeSize,
    },
    /// At a broker, in their order. What the log makes of them shows in what it acknowledges.
    Carried,
}

/// Why nothing is known to be durable. Messages before the failure may be; sending all of them
/// again is always safe.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BusError {
    /// Nobody answers, or the log stopped: try again for ever.
    #[error("the log cannot be reached: {reason}; it is tried again")]
    Away {
        /// What happened.
        reason: String,
    },
    /// As much is waiting as the log takes: try again after that time.
    #[error("the log is busy: it is tried again in {} ms", retry_after.as_millis())]
    Busy {
        /// When.
        retry_after: Duration,
    },
    /// The log does not take this sender: its certificate or the server's, an unknown source, a
    /// stopped source. Nothing is lost as long as the journal is kept; a person must look.
    #[error("the log refuses this source: {reason}; the journal is kept")]
    Refused {
        /// Why.
        reason: String,
    },
    /// These messages can never be taken as they are.
    #[error("the log cannot read what was sent: {reason}; the journal is kept")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
}

impl BusError {
    /// Whether the same request may succeed later without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        match self {
            BusError::Away { .. } | BusError::Busy { .. } => true,
            BusError::Refused { .. } | BusError::Malformed { .. } => false,
        }
    }
}

impl From<DoorError> for BusError {
    fn from(error: DoorError) -> BusError {
        let reason = error.to_string();
        match error {
            DoorError::Busy => BusError::Busy {
                retry_after: BUSY_PAUSE,
            },
            DoorError::Stopped { .. } | DoorError::Unreachable { .. } => BusError::Away { reason },
            DoorError::UnknownSource { .. }
            | DoorError::SourceStopped { .. }
            | DoorError::OtherPlatform { .. }
            | DoorError::TooManySources
            | DoorError::Key { .. } => BusError::Refused { reason },
            DoorError::TooLarge { .. }
            | DoorError::TooMany { .. }
            | DoorError::BadPosition { .. }
            | DoorError::BadName { .. }
            | DoorError::TooManyPositions
            | DoorError::StreamNotTaken => BusError::Malformed { reason },
        }
    }
}

/// When a busy log that says no time is asked again.
pub(crate) const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// Carries messages of sources to one log. Implementations: [`crate::InProcess`] and
/// [`crate::HttpBus`]; one contract test passes on both.
pub trait Bus: Send {
    /// Sends messages of `source` in their order and returns when all of them are durable. Any
    /// number may be given; they travel in pieces of at most [`SEND_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// See [`BusError`].
    fn send(&mut self, source: SourceId, messages: &[Message]) -> Result<Sent, BusError>;

    /// Hands messages of `source` over as [`Bus::send`] sends them; the answer may be awaited while
    /// the next are handed over. Nothing overtakes. A bus that carries one batch at a time sends
    /// them at once.
    fn hand_over(
        &mut self,
        source: SourceId,
        messages: Vec<Message>,
    ) -> Later<Result<Sent, BusError>> {
        Later::Known(self.send(source, &messages))
    }

    /// What the published checkpoint covers of `source`. The first call answers with what there is,
    /// each further one waits, `wait` at most, until a checkpoint covers more of this source.
    ///
    /// # Errors
    /// See [`BusError`].
    fn acknowledged(&mut self, source: SourceId, wait: Duration) -> Result<Acknowledged, BusError>;

    /// Whether what was sent of `source`, and the last answer of [`Bus::acknowledged`] does not
    /// cover, will never be covered unless it is sent again: the carrier lost it, or the log read
    /// it and did not take it. Said once; then what is sent counts anew.
    fn lost(&mut self, source: SourceId) -> bool;

    /// Whether messages of an epoch before `epoch` are on their way, carried and not known to be in
    /// the log. Where an answer says what the log made of messages there are none.
    fn carries_before(&self, epoch: Epoch) -> bool {
        let _ = epoch;
        false
    }
}

/// Sends `messages` piece by piece; `append` carries one piece.
pub(crate) fn in_pieces(
    messages: &[Message],
    mut append: impl FnMut(&[Message]) -> Result<Appended, BusError>,
) -> Result<Sent, BusError> {
    let long = messages.iter().find(|one| one.value.len() > VALUE_MAX);
    if let Some(message) = long {
        let reason = format!(
            "message {} has {} bytes, at most {VALUE_MAX} are taken",
            message.sequence,
            message.value.len()
        );
        return Err(BusError::Malformed { reason });
    }
    let mut outcomes = Vec::with_capacity(messages.len());
    let mut rest = messages;
    loop {
        let (now, later) = split(rest);
        let part = append(now)?;
        check_count(&part, now.len())?;
        outcomes.extend(part.outcomes);
        let size = part.size;
        if later.is_empty() {
            return Ok(Sent::Taken { outcomes, size });
        }
        rest = later;
    }
}

/// Refuses an answer that is none to so many messages.
pub(crate) fn check_count(answer: &Appended, count: usize) -> Result<(), BusError> {
    if answer.outcomes.len() == count {
        return Ok(());
    }
    let reason = "the answer has another number of outcomes".to_owned();
    Err(BusError::Away { reason })
}

/// Whether messages travel at once.
pub(crate) fn is_one_piece(messages: &[Message]) -> bool {
    let (_, later) = split(messages);
    later.is_empty()
}

/// As many messages as travel at once, one at least, and the rest.
fn split(messages: &[Message]) -> (&[Message], &[Message]) {
    let mut length = 0_usize;
    let fits = messages.iter().take_while(|message| {
        length = length.saturating_add(message_len(message));
        length <= SEND_BYTES_MAX
    });
    let count = fits.take(BATCH_MESSAGES_MAX).count();
    let count = count.max(1).min(messages.len());
    messages.split_at_checked(count).unwrap_or((messages, &[]))
}

#[cfg(test)]
mod tests {
    use ledger_core::state::Stream;
    use ledger_core::{Epoch, Flags, Sequence};

    use super::*;

    fn message(len: usize) -> Message {
        Message {
            stream: Stream::Record,
            epoch: Epoch(1),
            sequence: Sequence(1),
            prev: [0; 32],
            mac: [0; 32],
            flags: Flags::NONE,
            value: vec![b' '; len],
        }
    }

    fn pieces(messages: &[Message]) -> Result<Vec<usize>, BusError> {
        let mut pieces = Vec::new();
        in_pieces(messages, |piece| {
            pieces.push(piece.len());
            Ok(Appended {
                outcomes: vec![Outcome::Repeat; piece.len()],
                size: TreeSize(1),
            })
        })
        .map(|sent| match sent {
            Sent::Taken { outcomes, .. } => assert_eq!(outcomes.len(), messages.len()),
            Sent::Carried => panic!("a door takes"),
        })?;
        Ok(pieces)
    }

    #[test]
    fn a_value_over_its_bound_is_refused_before_anything_is_sent() {
        let mut sent = 0;
        let error = in_pieces(&[message(1), message(VALUE_MAX + 1)], |_| {
            sent += 1;
            Err(BusError::Busy {
                retry_after: BUSY_PAUSE,
            })
        });
        assert!(
            matches!(error, Err(BusError::Malformed { .. })),
            "{error:?}"
        );
        assert_eq!(sent, 0);
        assert_eq!(pieces(&[message(1), message(VALUE_MAX)]).unwrap(), [2]);
    }

    #[test]
    fn pieces_keep_both_bounds_and_an_answer_of_another_length_is_none() {
        assert_eq!(pieces(&[]).unwrap(), [0]);
        let large = vec![message(VALUE_MAX); 9];
        assert_eq!(pieces(&large).unwrap(), [4, 4, 1]);
        let many = vec![message(0); BATCH_MESSAGES_MAX + 1];
        assert_eq!(pieces(&many).unwrap(), [BATCH_MESSAGES_MAX, 1]);
        let answer = |_: &[Message]| {
            Ok(Appended {
                outcomes: Vec::new(),
                size: TreeSize(1),
            })
        };
        let error = in_pieces(&[message(1)], answer).unwrap_err();
        assert!(error.is_passing(), "{error}");
    }

    #[test]
    fn every_refusal_of_the_door_says_whether_to_try_again() {
        let reason = || "x".to_owned();
        for (error, passing) in [
            (DoorError::Busy, true),
            (DoorError::Stopped { reason: reason() }, true),
            (DoorError::Unreachable { reason: reason() }, true),
            (
                DoorError::UnknownSource {
                    source_id: SourceId(1),
                },
                false,
            ),
            (
                DoorError::SourceStopped {
                    name: reason(),
                    sequence: 1,
                },
                false,
            ),
            (DoorError::TooMany { count: 2, max: 1 }, false),
            (DoorError::StreamNotTaken, false),
        ] {
            let text = error.to_string();
            let error = BusError::from(error);
            assert_eq!(error.is_passing(), passing, "{text}");
        }
    }
}
