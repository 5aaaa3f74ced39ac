//! The one door into the log, as senders see it: register, append, wait.
//!
//! [`Door`] has two implementations, in process here and over the socket in api/http, and one
//! contract test passes on both. Not here: the decision about a message (`rule`).

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use ledger_core::message::{Message, VALUE_MAX};
use ledger_core::state::{Position, SourceState};
use ledger_core::{Index, Nanos, SourceId, TreeSize};
use ledger_event::facts::Lost;

use crate::acknowledged::Acknowledged;
use crate::bounds::{check_batch, check_name};
use crate::later::Later;
use crate::receipt::Receipts;
use crate::run::{Run, RunAnswer};
use crate::shared::Shared;
use crate::status::{LogStatus, StatusParts};

/// What a sender asks for when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// Its unique name: 1 to 64 letters, digits, `.`, `_`, `-`, `:`, `/` or `@`.
    pub name: String,
    /// The platform whose records it sends, such as `postgresql`.
    pub platform: String,
}

/// Messages of one source. With positions they are durable together, after a crash all or none;
/// without, one part after the other, and all of them before the answer.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The source.
    pub source: SourceId,
    /// In the order of sending.
    pub messages: Vec<Message>,
    /// Positions that hold once the messages are durable.
    pub positions: Vec<Position>,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is the entry with this index.
    Appended(Index),
    /// It is the entry with this index, and filled a gap.
    Late(Index),
    /// The log had it already; nothing was appended.
    Repeat,
    /// It cannot be placed; the entry with this index keeps it.
    Conflict(Index),
    /// Its MAC is wrong; the entry with this index keeps it.
    Forged(Index),
}

/// A batch is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appended {
    /// What became of each message, in order.
    pub outcomes: Vec<Outcome>,
    /// The log's size after it: wait for a checkpoint of this size to have it published.
    pub size: TreeSize,
}

/// Why the door did not take something. Nothing of the batch was appended, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// Too much is waiting.
    #[error("the log is busy: try again in a moment")]
    Busy,
    /// The log stopped. What was not acknowledged may or may not be durable: send it again.
    #[error("the log stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// No source has this number.
    #[error("source {source_id} is not registered")]
    UnknownSource {
        /// The number.
        source_id: SourceId,
    },
    /// The source has as many open gaps as the table holds; what came before this message of the
    /// batch was appended.
    #[error(
        "source {name} has 64 open gaps and is stopped at its number {sequence}: send the missing \
         numbers first"
    )]
    SourceStopped {
        /// The source's name.
        name: String,
        /// The number that would open one more.
        sequence: u64,
    },
    /// A message or batch is larger than anything legal.
    #[error("message {number} of the batch has {len} bytes, at most {VALUE_MAX} are taken")]
    TooLarge {
        /// Which message of the batch, from 0.
        number: usize,
        /// Its length.
        len: usize,
    },
    /// More messages than a frame can hold.
    #[error("the batch has {count} messages or positions, at most {max} are taken at once")]
    TooMany {
        /// How many.
        count: usize,
        /// How many are legal.
        max: usize,
    },
    /// A position has an illegal key or value.
    #[error("the position {key:?} has an illegal key or more than 4,096 bytes")]
    BadPosition {
        /// Its key.
        key: String,
    },
    /// A name or platform of a source is not legal.
    #[error("{what} {value:?} is not legal: use 1 to 64 of letters, digits and . _ - : / @")]
    BadName {
        /// What it names.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// A source of this name sends another platform's records.
    #[error("source {name} sends {registered} records, not {asked}: use another name")]
    OtherPlatform {
        /// The source's name.
        name: String,
        /// What it was registered with.
        registered: String,
        /// What was asked for.
        asked: String,
    },
    /// The stream is not taken by this version.
    #[error("snapshots are not taken yet")]
    StreamNotTaken,
    /// As many sources are registered as a log can hold.
    #[error("the log has as many sources as it can hold (8,192): use another log")]
    TooManySources,
    /// As many positions are kept as a log can hold.
    #[error("the log keeps as many positions as it can hold (4,096): use fewer keys")]
    TooManyPositions,
    /// The key of a source could not be made or read.
    #[error("the key of the source cannot be kept: {reason}")]
    Key {
        /// What the keystore said.
        reason: String,
    },
    /// The other side of a socket failed or answered nonsense.
    #[error("no answer from the log's socket: {reason}")]
    Unreachable {
        /// What happened.
        reason: String,
    },
}

/// The way into the log.
pub trait Door {
    /// Registers a source, or finds it by its name.
    ///
    /// # Errors
    /// An illegal name, or another platform than it was registered with.
    fn register(&mut self, spec: &SourceSpec) -> Result<SourceState, DoorError>;

    /// Registers a source whose messages carry MACs, or finds a source by its name. Its key lies in
    /// the keystore before the registration is durable. A source that was registered without a key
    /// has none afterwards either: see [`SourceState::keyed`].
    ///
    /// # Errors
    /// As [`Door::register`]; a key that cannot be kept.
    fn register_keyed(&mut self, spec: &SourceSpec) -> Result<SourceState, DoorError>;

    /// The durable positions of these keys.
    ///
    /// # Errors
    /// If the log cannot be asked.
    fn positions(&mut self, keys: &[String]) -> Result<Vec<Option<Position>>, DoorError>;

    /// Appends and returns when all is durable.
    ///
    /// # Errors
    /// See [`DoorError`].
    fn append(&mut self, batch: Batch) -> Result<Appended, DoorError>;

    /// Hands a batch over; the answer is given when it is durable. What is handed over later is
    /// taken later. A door that takes one batch at a time appends it at once.
    fn hand_over(&mut self, batch: Batch) -> Later<Result<Appended, DoorError>> {
        Later::Known(self.append(batch))
    }

    /// Returns when a published checkpoint covers `size`, with the published size.
    ///
    /// # Errors
    /// If the log stops first, or a minute passes without a publication.
    fn wait_published(&mut self, size: TreeSize) -> Result<TreeSize, DoorError>;

    /// What the published checkpoint covers of a source. With the size of the last answer as
    /// `after` it waits, `wait` at most ([`ACKNOWLEDGED_WAIT`] is the bound), until a checkpoint
    /// covers more of this source; without, it answers with what there is.
    ///
    /// # Errors
    /// No such source; [`DoorError::Busy`] if no checkpoint covers it yet; a log that stopped.
    fn acknowledged(
        &mut self,
        source: SourceId,
        after: Option<TreeSize>,
        wait: Duration,
    ) -> Result<Acknowledged, DoorError>;

    /// The state of the log.
    ///
    /// # Errors
    /// If the log cannot be asked.
    fn status(&mut self) -> Result<LogStatus, DoorError>;
}

/// What the sequencer is asked.
#[derive(Debug)]
pub(crate) enum Request {
    Append {
        batch: Batch,
        reply: Sender<Result<Appended, DoorError>>,
    },
    Register {
        spec: SourceSpec,
        keyed: bool,
        reply: Sender<Registration>,
    },
    Run {
        run: Run,
        reply: Sender<RunAnswer>,
    },
    /// What proves that the log was restored, and where it was found.
    Restored {
        lost: Lost,
        by: String,
    },
    Close,
}

/// The answer to a registration.
pub type Registration = Result<SourceState, DoorError>;

/// The door of a log in this process.
#[derive(Clone, Debug)]
pub struct InProcessDoor {
    pub(crate) requests: Sender<Request>,
    pub(crate) shared: std::sync::Arc<Shared>,
    pub(crate) log: std::sync::Arc<StatusParts>,
    pub(crate) receipts: std::sync::Arc<Receipts>,
}

/// An append on its way: wait for it, or let it go.
#[derive(Debug)]
pub struct Ticket {
    answer: Receiver<Result<Appended, DoorError>>,
    shared: std::sync::Arc<Shared>,
}

impl Ticket {
    /// Returns when the batch is durable.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub fn wait(self) -> Result<Appended, DoorError> {
        answered(&self.answer, &self.shared).unwrap_or_else(Err)
    }
}

pub(crate) fn gone(shared: &Shared) -> DoorError {
    if shared.stopped().is_none() && !shared.is_line_over() {
        // An answer is dropped a moment before the reason is known.
        shared.wait_longer_than(TreeSize(u64::MAX), ANSWER_LOOK);
    }
    let closed = || "it was closed".to_owned();
    DoorError::Stopped {
        reason: shared.stopped().unwrap_or_else(closed),
    }
}

/// Waits for an answer as long as somebody is left who can give one. A request that was handed over
/// while the log stopped lies in a channel that nobody reads, and is never dropped.
pub(crate) fn answered<T>(answer: &Receiver<T>, shared: &Shared) -> Result<T, DoorError> {
    loop {
        match answer.recv_timeout(ANSWER_LOOK) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => return Err(gone(shared)),
            // The last answers were given before the threads ended.
            Err(RecvTimeoutError::Timeout) if shared.is_line_over() => {
                return answer.try_recv().map_err(|_| gone(shared));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// How often who waits looks whether anybody is left to answer.
const ANSWER_LOOK: Duration = Duration::from_millis(200);

/// How long [`Door::wait_published`] waits at most.
pub const PUBLISHED_WAIT: Duration = Duration::from_secs(60);
/// How long [`Door::acknowledged`] waits at most.
pub const ACKNOWLEDGED_WAIT: Duration = Duration::from_secs(20);

impl InProcessDoor {
    /// Hands a batch over and returns at once; [`DoorError::Busy`] if too many wait.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub fn try_submit(&self, batch: Batch) -> Result<Ticket, DoorError> {
        check_batch(&batch.messages, &batch.positions)?;
        let (reply, answer) = bounded(1);
        match self.requests.try_send(Request::Append { batch, reply }) {
            Ok(()) => Ok(Ticket {
                answer,
                shared: self.shared.clone(),
            }),
            Err(TrySendError::Full(_)) => Err(DoorError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(gone(&self.shared)),
        }
    }

    /// Hands a batch over, waiting while too many wait before it.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub fn submit(&self, batch: Batch) -> Result<Ticket, DoorError> {
        check_batch(&batch.messages, &batch.positions)?;
        let (reply, answer) = bounded(1);
        self.requests
            .send(Request::Append { batch, reply })
            .map_err(|_| gone(&self.shared))?;
        Ok(Ticket {
            answer,
            shared: self.shared.clone(),
        })
    }

    /// What the published checkpoint covers of a source now, and whether it is more than the one of
    /// size `after` did: [`Door::acknowledged`] for who waits by other means.
    ///
    /// # Errors
    /// As [`Door::acknowledged`].
    pub fn acknowledged_now(
        &self,
        source: SourceId,
        after: Option<TreeSize>,
    ) -> Result<(Acknowledged, bool), DoorError> {
        self.covered(source, after, Duration::ZERO)
    }

    fn covered(
        &self,
        source: SourceId,
        after: Option<TreeSize>,
        wait: Duration,
    ) -> Result<(Acknowledged, bool), DoorError> {
        if !self.shared.durable().sources.contains_key(&source) {
            return Err(DoorError::UnknownSource { source_id: source });
        }
        match self.shared.wait_source(source, after, wait) {
            Err(reason) => Err(DoorError::Stopped { reason }),
            Ok(None) => Err(DoorError::Busy),
            Ok(Some((size, state, news))) => {
                let mut found = Acknowledged::of(size, &state);
                let at = self.shared.durable().ledger_time;
                self.receipts.mark(source, &mut found, at);
                Ok((found, news))
            }
        }
    }

    /// Hands over the proof that the log signed entries which it does not hold, found at `by`. The
    /// log stops as if a source had shown a receipt, and starts again only when an operator has
    /// accepted the loss. Returns when it has stopped, with the reason.
    pub fn restored(&self, lost: Lost, by: &str) -> DoorError {
        let by = by.to_owned();
        // A log that takes no requests has stopped already.
        let sent = self.requests.send(Request::Restored { lost, by });
        while sent.is_ok() && self.shared.stopped().is_none() && !self.shared.is_line_over() {
            self.shared
                .wait_longer_than(TreeSize(u64::MAX), ANSWER_LOOK);
        }
        gone(&self.shared)
    }

    /// Until which time, if ever, an operator forgives the log that it lacks what it said.
    pub fn forgiven(&self) -> Nanos {
        self.log.forgiven
    }

    fn registration(&self, spec: &SourceSpec, keyed: bool) -> Registration {
        check_name("the name", &spec.name)?;
        check_name("the platform", &spec.platform)?;
        let (reply, answer) = bounded(1);
        self.requests
            .send(Request::Register {
                spec: spec.clone(),
                keyed,
                reply,
            })
            .map_err(|_| gone(&self.shared))?;
        answered(&answer, &self.shared).unwrap_or_else(Err)
    }
}

impl Door for InProcessDoor {
    fn register(&mut self, spec: &SourceSpec) -> Registration {
        self.registration(spec, false)
    }

    fn register_keyed(&mut self, spec: &SourceSpec) -> Registration {
        self.registration(spec, true)
    }

    fn positions(&mut self, keys: &[String]) -> Result<Vec<Option<Position>>, DoorError> {
        let durable = self.shared.durable();
        Ok(keys
            .iter()
            .map(|key| durable.positions.get(key).cloned())
            .collect())
    }

    fn append(&mut self, batch: Batch) -> Result<Appended, DoorError> {
        self.submit(batch)?.wait()
    }

    fn hand_over(&mut self, batch: Batch) -> Later<Result<Appended, DoorError>> {
        match self.submit(batch) {
            Ok(ticket) => Later::Awaited(Box::new(|| ticket.wait())),
            Err(error) => Later::Known(Err(error)),
        }
    }

    fn wait_published(&mut self, size: TreeSize) -> Result<TreeSize, DoorError> {
        match self.shared.wait_published(size, PUBLISHED_WAIT) {
            Err(reason) => Err(DoorError::Stopped { reason }),
            Ok(reached) if reached < size => Err(DoorError::Busy),
            Ok(reached) => Ok(reached),
        }
    }

    fn acknowledged(
        &mut self,
        source: SourceId,
        after: Option<TreeSize>,
        wait: Duration,
    ) -> Result<Acknowledged, DoorError> {
        self.covered(source, after, wait.min(ACKNOWLEDGED_WAIT))
            .map(|(found, _)| found)
    }

    fn status(&mut self) -> Result<LogStatus, DoorError> {
        Ok(self.log.status(&self.shared))
    }
}

/// Most messages of a batch: a frame must hold them with what the log adds to each.
pub const BATCH_MESSAGES_MAX: usize = ledger_core::frame::FRAME_ENTRIES_MAX / 4;

/// Most positions of a batch.
pub const BATCH_POSITIONS_MAX: usize = 64;
