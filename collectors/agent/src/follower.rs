//! One source: its files, its journal, its way to the log, step by step.
//!
//! A step binds what was read, then sends what is bound. Before the journal exists the log is
//! asked what it knows of the source, so that a lost journal is told from a first one. A journal
//! that was overtaken is sent to its end, then a new epoch begins and says so in its first
//! heartbeat. Not here: threads and waiting (`agent`), how a life begins and ends (`life`).

use std::path::PathBuf;
use std::thread;

use collectors_bus::{Acknowledged, Bus, Chain, ChainEnded, Credentials};
use ledger_core::state::Stream;
use ledger_core::two::sha256_each;
use ledger_core::{Flags, Message, Sequence};
use ledger_event::facts::AgentStatus;

use crate::clock::Moment;
use crate::journal::{Cursor, Journal, JournalBounds, Pressure, Room};
use crate::journal_error::JournalError;
use crate::position::NoPosition;
use crate::reading::{Budget, RecordKind};
use crate::segment::set_aside;
use crate::sending::{Found, Sending};
use crate::tailer::{Beginning, Poll, Tailer, Tailing};

#[path = "life.rs"]
mod life;

/// Records and bytes of events of one batch.
const BATCH: Budget = Budget {
    records: 4096,
    bytes: 2 << 20,
};
/// The same when the journal is nearly full.
const SMALL_BATCH: Budget = Budget {
    records: 128,
    bytes: 128 << 10,
};
/// What a follower is made from.
#[derive(Debug)]
pub struct Setup {
    /// The source's number and key.
    pub credentials: Credentials,
    /// The folder of its journal.
    pub dir: PathBuf,
    /// Its bounds on disk.
    pub bounds: JournalBounds,
    /// Ns from heartbeat to heartbeat.
    pub heartbeat_every_ns: i64,
}

/// Why a source cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The journal refuses.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal's positions are none.
    #[error(transparent)]
    Position(#[from] NoPosition),
    /// No number or epoch is left, or an event is too long.
    #[error(transparent)]
    Chain(#[from] ChainEnded),
    /// The log has seen an epoch after which there is none.
    #[error("source {0} has the last epoch that there is: register another source")]
    NoEpoch(ledger_core::SourceId),
}

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// At once.
    Busy,
    /// After a short pause.
    Idle,
}

/// Where a journal stands in its life.
#[derive(Debug)]
pub(super) enum Life {
    /// There is no journal, or its epoch has not said how it began.
    Opening,
    /// Records are bound.
    Bound,
}

/// Follows one source.
#[derive(Debug)]
pub struct Follower {
    pub(super) setup: Setup,
    pub(super) life: Life,
    pub(super) journal: Option<Journal>,
    /// The journal was there and could not be read.
    pub(super) damaged: bool,
    pub(super) tailing: Option<Tailing>,
    pub(super) tailer: Option<Tailer>,
    pub(super) sending: Sending,
    pub(super) status: AgentStatus,
    pub(super) backlog_bytes: u64,
    pub(super) beat_at: i64,
    pub(super) epoch_at: Option<i64>,
    pub(super) read_before: u64,
    /// It was said that unread files are about to be rotated away.
    pub(super) warned: bool,
    /// Much is to be read: this was, and is bound while more is read and what was bound before is
    /// sent.
    ahead: Option<Poll>,
    /// Batches that were bound.
    batches: u64,
    /// Bytes in use when a batch did not fit, and when a small one did not.
    narrow_at: Option<u64>,
    stuck_at: Option<u64>,
}

impl Follower {
    /// Opens the journal, if there is one. A damaged one is set aside: its epoch is over, and the
    /// next one says that its state is lost.
    ///
    /// # Errors
    /// Another agent has the journal, or the disk cannot be read.
    pub fn open(
        setup: Setup,
        tailing: Tailing,
        bus: Box<dyn Bus>,
    ) -> Result<Follower, FollowError> {
        let source = setup.credentials.source;
        let mut damaged = false;
        let opened = match Journal::open(&setup.dir, source, setup.bounds) {
            Err(JournalError::Damaged { path, at, reason }) => {
                tracing::error!(source = source.0, path = %path.display(), at, %reason,
                    "the journal is damaged and set aside");
                set_aside(&setup.dir)?;
                damaged = true;
                None
            }
            opened => opened?,
        };
        let journal = opened.map(|(journal, recovered)| {
            if recovered.dropped_bytes > 0 {
                tracing::info!(
                    source = source.0,
                    bytes = recovered.dropped_bytes,
                    "a torn batch was dropped: it is read again"
                );
            }
            journal
        });
        let begun = |journal: &Journal| journal.last(Stream::Heartbeat).sequence > Sequence(0);
        let mut follower = Follower {
            sending: Sending::new(source, bus),
            setup,
            life: Life::Opening,
            damaged,
            tailing: Some(tailing),
            tailer: None,
            status: AgentStatus {
                read_bytes: 0,
                parsed: 0,
                unparsed: 0,
                masked: 0,
                notices: 0,
                journal_bytes: 0,
                paused: false,
                free_bytes: None,
                growth_bytes: None,
                rotated_bytes: None,
            },
            backlog_bytes: 0,
            beat_at: i64::MIN,
            epoch_at: None,
            read_before: 0,
            warned: false,
            ahead: None,
            batches: 0,
            narrow_at: None,
            stuck_at: None,
            journal: None,
        };
        if let Some(journal) = journal {
            if begun(&journal) {
                follower.tail(Beginning::GoesOn, &journal)?;
                follower.life = Life::Bound;
            }
            follower.journal = Some(journal);
        }
        Ok(follower)
    }

    /// One step: what was read is bound, what is bound is sent, what is acknowledged is forgotten.
    ///
    /// # Errors
    /// The journal failed. Nothing is lost: what was not bound is read again, and the next step
    /// tries again.
    pub fn step(&mut self, now: Moment) -> Result<Step, FollowError> {
        let heard = self.sending.ask(now);
        match self.life {
            Life::Opening => {
                // Without the log's word a lost journal cannot be told from a first one.
                let Some(heard) = heard else {
                    return Ok(Step::Idle);
                };
                let begun = self.begin(&heard, now)?;
                Ok(if begun { Step::Busy } else { Step::Idle })
            }
            Life::Bound => match self.go_on(heard.as_ref(), now) {
                Err(FollowError::Journal(JournalError::Damaged { path, at, reason })) => {
                    self.start_over(&path, at, &reason)?;
                    Ok(Step::Busy)
                }
                stepped => stepped,
            },
        }
    }

    /// How the agent is doing.
    pub fn status(&self) -> &AgentStatus {
        &self.status
    }

    /// How many batches of records were bound.
    pub(crate) fn batches(&self) -> u64 {
        self.batches
    }

    /// Why the log refuses this source, if it does.
    pub fn refused(&self) -> Option<&str> {
        self.sending.refused.as_deref()
    }

    #[cfg(test)]
    pub(crate) fn journal_mut(&mut self) -> Option<&mut Journal> {
        self.journal.as_mut()
    }

    /// Whether a published checkpoint covers all that was read.
    pub fn is_acknowledged(&self) -> bool {
        let (Some(journal), Some(heard)) = (&self.journal, &self.sending.heard) else {
            return false;
        };
        let all = |stream| heard.through(stream) >= journal.last(stream).sequence;
        heard.epoch == journal.epoch() && Stream::ALL.into_iter().all(all)
    }

    fn go_on(&mut self, heard: Option<&Acknowledged>, now: Moment) -> Result<Step, FollowError> {
        let Some(mut journal) = self.journal.take() else {
            self.life = Life::Opening;
            return Ok(Step::Busy);
        };
        let stepped = self.go_on_with(&mut journal, heard, now);
        self.journal = Some(journal);
        stepped
    }

    fn go_on_with(
        &mut self,
        journal: &mut Journal,
        heard: Option<&Acknowledged>,
        now: Moment,
    ) -> Result<Step, FollowError> {
        if let Some(heard) = heard {
            self.sending.heard(heard, journal, now)?;
        }
        // A life that is over binds nothing more; what it bound is sent first.
        let read = match self.sending.overtaken {
            None => self.read(journal, now)?,
            Some(_) => {
                self.not_bound();
                self.poll(now, Budget::NONE);
                self.not_bound();
                false
            }
        };
        if self.sending.overtaken.is_none() && now.monotonic.0 >= self.beat_at {
            self.beat(journal, now)?;
        }
        let found = if self.ahead.is_some() {
            Found::More
        } else {
            self.sending.send(journal, now)?
        };
        if let (Some(why), Found::AllSent) = (self.sending.overtaken, found)
            && self.may_begin(now)
        {
            self.end_life(why, journal, now)?;
            return Ok(Step::Busy);
        }
        let busy = read || found == Found::More;
        Ok(if busy { Step::Busy } else { Step::Idle })
    }

    /// Reads a batch and binds it. Says whether there may be more at once.
    fn read(&mut self, journal: &mut Journal, now: Moment) -> Result<bool, FollowError> {
        let used = journal.used_bytes();
        let holds = |at: Option<u64>| at.is_some_and(|at| used >= at);
        let pressure = if holds(self.stuck_at) {
            Pressure::Full
        } else {
            journal.pressure()
        };
        let budget = match pressure {
            Pressure::Free if !holds(self.narrow_at) => BATCH,
            Pressure::Free | Pressure::High => SMALL_BATCH,
            Pressure::Full => Budget::NONE,
        };
        let was_paused = std::mem::replace(&mut self.status.paused, pressure == Pressure::Full);
        if self.status.paused != was_paused {
            let source = self.setup.credentials.source.0;
            tracing::warn!(
                source,
                paused = self.status.paused,
                "reading pauses or goes on"
            );
            // Said in the log as soon as it hears.
            self.beat_at = i64::MIN;
        }
        let poll = match self.ahead.take() {
            Some(ahead) if budget != Budget::NONE => {
                self.poll_while_binding(journal, ahead, now, budget)?
            }
            Some(_) => {
                self.not_bound();
                self.poll(now, budget)
            }
            None => self.poll(now, budget),
        };
        let Some(poll) = poll else {
            return Ok(false);
        };
        if self.status.paused {
            self.not_bound();
            return Ok(false);
        }
        let more = poll.more && pressure == Pressure::Free;
        if poll.records.is_empty() && poll.positions.is_empty() {
            return Ok(more);
        }
        if more && poll.plain {
            if let Some(tailer) = &mut self.tailer {
                tailer.hand_over();
            }
            self.ahead = Some(poll);
            return Ok(true);
        }
        let bound = bind(journal, &self.setup.credentials, poll);
        let bound = self.is_bound(bound, budget, Tailer::bound)?;
        Ok(if bound { more } else { budget != SMALL_BATCH })
    }

    /// Reads the next batch while the one before is bound, and those before that are sent. `None`
    /// if nothing was bound, so that nothing behind it can be.
    fn poll_while_binding(
        &mut self,
        journal: &mut Journal,
        ahead: Poll,
        now: Moment,
        budget: Budget,
    ) -> Result<Option<Poll>, FollowError> {
        if let Err(error) = self.sending.fly(journal, now) {
            self.not_bound();
            return Err(error.into());
        }
        let (tailer, credentials) = (&mut self.tailer, &self.setup.credentials);
        let (bound, poll) = thread::scope(|scope| {
            let bound = scope.spawn(move || bind(journal, credentials, ahead));
            let poll = (tailer.as_mut()).map(|t| t.poll(now.monotonic, now.wall, budget));
            match bound.join() {
                Ok(bound) => (bound, poll),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        self.backlog_bytes = poll.as_ref().map_or(0, |poll| poll.lag_bytes);
        let bound = self.is_bound(bound, budget, Tailer::handed_is_bound)?;
        Ok(poll.filter(|_| bound))
    }

    /// Takes note of what became of a batch: `false` if it did not fit.
    fn is_bound(
        &mut self,
        bound: Result<Bound, FollowError>,
        budget: Budget,
        tell: fn(&mut Tailer),
    ) -> Result<bool, FollowError> {
        let bound = match bound {
            Ok(bound) => bound,
            Err(error) => {
                self.not_bound();
                return match error {
                    // Less may fit; else reading pauses until something is forgotten.
                    FollowError::Journal(JournalError::Full { used, .. }) => {
                        let small = budget == SMALL_BATCH;
                        let at = if small {
                            &mut self.stuck_at
                        } else {
                            &mut self.narrow_at
                        };
                        *at = Some(used);
                        Ok(false)
                    }
                    error => Err(error),
                };
            }
        };
        let [parsed, unparsed, notices, masked] = bound.counts;
        self.status.parsed += parsed;
        self.status.unparsed += unparsed;
        self.status.notices += notices;
        self.status.masked += masked;
        self.status.read_bytes += bound.read_bytes;
        self.batches += 1;
        if let Some(tailer) = &mut self.tailer {
            tell(tailer);
        }
        (self.sending).remember(bound.before, bound.behind, bound.messages);
        Ok(true)
    }

    pub(super) fn poll(&mut self, now: Moment, budget: Budget) -> Option<Poll> {
        let poll = self.tailer.as_mut()?.poll(now.monotonic, now.wall, budget);
        self.backlog_bytes = poll.lag_bytes;
        Some(poll)
    }

    /// Nothing that is read and not bound is kept: it is read again.
    pub(super) fn not_bound(&mut self) {
        self.ahead = None;
        if let Some(tailer) = &mut self.tailer {
            tailer.rewind();
        }
    }

    pub(super) fn tail(
        &mut self,
        beginning: Beginning,
        journal: &Journal,
    ) -> Result<(), FollowError> {
        if let Some(tailing) = self.tailing.take() {
            self.tailer = Some(Tailer::new(tailing, beginning, journal.positions())?);
        }
        Ok(())
    }
}

/// A batch that is bound.
struct Bound {
    messages: Vec<Message>,
    /// Where it begins and ends in the journal.
    before: Cursor,
    behind: Cursor,
    /// Parsed, unparsed, notices, masked.
    counts: [u64; 4],
    read_bytes: u64,
}

/// Numbers and seals what was read, and binds it.
fn bind(
    journal: &mut Journal,
    credentials: &Credentials,
    poll: Poll,
) -> Result<Bound, FollowError> {
    let before = journal.end();
    let mut chain = chain(journal, Stream::Record);
    let mut messages = Vec::with_capacity(poll.records.len());
    let mut counts = [0; 4];
    let [parsed, unparsed, notices, masked] = &mut counts;
    let digests = sha256_each(poll.records.iter().map(|record| record.value.as_slice()));
    for (record, digest) in poll.records.into_iter().zip(digests) {
        let flags = if record.reread {
            Flags::REREAD
        } else {
            Flags::NONE
        };
        match record.kind {
            RecordKind::Parsed => *parsed += 1,
            RecordKind::Unparsed => *unparsed += 1,
            RecordKind::Notice => *notices += 1,
        }
        *masked += u64::from(record.masked);
        messages.push(chain.seal_digested(&credentials.key, (record.value, digest), flags)?);
    }
    journal.append(Room::Records, &messages, &poll.positions)?;
    Ok(Bound {
        messages,
        before,
        behind: journal.end(),
        counts,
        read_bytes: poll.read_bytes,
    })
}

/// The chain of a stream behind what the journal has.
pub(super) fn chain(journal: &Journal, stream: Stream) -> Chain {
    let last = journal.last(stream);
    let last = (last.sequence > Sequence(0)).then_some((last.sequence, last.mac));
    Chain::new(stream, journal.epoch(), last)
}
