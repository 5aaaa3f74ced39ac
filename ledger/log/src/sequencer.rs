//! The first thread: takes what has arrived, places every message by the rule, gives it an index
//! and a ledger time, prepares its payload, and hands frames to the writer.
//!
//! Placing one message is the child module [`placing`].
//!
//! Not here: the rule itself ([`crate::rule`]), disk ([`crate::writer`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use keys_secret::{Keystore, SecretKey32};
use ledger_core::frame::FRAME_ENTRIES_MAX;
use ledger_core::message::{MESSAGE_LABEL, Message};
use ledger_core::state::{
    Gap, POSITIONS_MAX, Position, SOURCES_MAX, ShortMac, SourceState, Stream,
};
use ledger_core::two::{Joined, sha256_two};
use ledger_core::{Entry, Epoch, Flags, Hash, Index, Kind, Nanos, Sequence, SourceId};
use ledger_event::facts::{
    ClockReason, ClockStep, Conflict, ConflictReason, EpochOpened, Facts, Forged, Heartbeat, Opens,
    SourceRegistered, Tick,
};
use ledger_event::{EventHead, JsonText};

use crate::beats::Beat;
use crate::clock::{self, Clock};
use crate::config::LogOptions;
use crate::door::{Appended, Batch, DoorError, Outcome, Registration, Request, SourceSpec};
use crate::error::WriteError;
use crate::frames::{Old, SENDER_FLAGS};
use crate::prepare::{self, Preparer, Randomness};
use crate::receipt::{self, Claim, Receipts};
use crate::recent::Recent;
use crate::rule::{self, Arrival, Place};
use crate::run::{Run, RunAnswer};
use crate::shared::Shared;
use crate::stops::Stops;

#[path = "placing.rs"]
mod placing;

/// A frame and who waits for it.
pub(crate) struct Work {
    pub(crate) batch: prepare::Batch,
    pub(crate) replies: Vec<Reply>,
}

/// An answer that is true once its frame is durable.
pub(crate) enum Reply {
    Append(
        Sender<Result<Appended, DoorError>>,
        Result<Appended, DoorError>,
    ),
    Run(Sender<RunAnswer>, RunAnswer),
    Register(Sender<Registration>, SourceState),
}

/// All that the thread owns.
pub(crate) struct Sequencer {
    pub(crate) requests: Receiver<Request>,
    pub(crate) writer: Sender<Work>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: LogOptions,
    pub(crate) clock: Clock,
    pub(crate) clock_rule: clock::Rule,
    pub(crate) sources: BTreeMap<SourceId, SourceState>,
    /// Keys of all positions, to bound them.
    pub(crate) positions: BTreeSet<String>,
    pub(crate) keys: HashMap<SourceId, SecretKey32>,
    pub(crate) keystore: Keystore,
    pub(crate) recent: Recent,
    pub(crate) next: Index,
    pub(crate) ledger_time: Nanos,
    pub(crate) preparer: Preparer,
    pub(crate) random: Randomness,
    pub(crate) folder: PathBuf,
    pub(crate) stops: Stops,
    pub(crate) receipts: Arc<Receipts>,
    /// What was acknowledged before and is missing stops the log no more: an operator went on.
    pub(crate) forgiven: Nanos,
    pub(crate) first_word: Vec<FirstWord>,
    /// A request that did not fit into the frame before.
    pub(crate) held: Option<Request>,
    /// MACs of old messages that were looked up.
    pub(crate) old: Old,
}

/// A frame of so many entries is handed over as soon as the writer can take one.
const HAND_OVER: usize = 512;
/// Sources that a frame touches at most, and positions that it changes.
const TOUCHED_MAX: usize = 2048;
/// Entries that a message can become: itself, a new epoch, a gap.
const ENTRIES_A_MESSAGE: usize = 3;
/// Bytes of values that a frame holds at most, whatever the settings say.
const FRAME_VALUES_MAX: usize = 256 << 20;

/// Whether a request can join a frame without breaking its bounds.
fn fits(turn: &Turn, request: &Request) -> bool {
    let (batches, positions) = match request {
        Request::Append { batch, .. } => (std::slice::from_ref(batch), &batch.positions),
        Request::Run { run, .. } => (run.batches.as_slice(), &run.positions),
        Request::Register { .. } | Request::Restored { .. } | Request::Close => return true,
    };
    let messages = || batches.iter().flat_map(|batch| &batch.messages);
    let entries = turn.batch.len() + ENTRIES_A_MESSAGE * messages().count();
    let bytes: usize = messages().map(|message| message.value.len()).sum();
    entries < FRAME_ENTRIES_MAX
        && turn.batch.positions.len() + positions.len() <= TOUCHED_MAX
        && turn.touched.len() + batches.len() <= TOUCHED_MAX
        && turn.bytes + bytes <= FRAME_VALUES_MAX
}

/// Two messages, or the last one, each with the SHA-256 of its value.
fn digested(two: &[Message]) -> impl Iterator<Item = (&Message, Hash)> {
    let digests = match two {
        [one, other] => sha256_two(Joined::whole(&one.value), Joined::whole(&other.value)),
        one => {
            [one.first()
                .map_or(Hash::ZERO, |one| Hash::sha256(&one.value)); 2]
        }
    };
    two.iter().zip(digests)
}

/// An entry that opening the log demands before anything else.
pub(crate) struct FirstWord {
    pub(crate) kind: Kind,
    pub(crate) facts: Vec<u8>,
    /// A position of the log's own that comes with it.
    pub(crate) position: Option<Position>,
}

/// How many frames a batch may lie in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Frames {
    /// After a crash all of it is there, or nothing.
    One,
    /// Each part is durable by itself: sent again, it is a repeat.
    Several,
}

/// What was said after the batch's own bounds: the frame under construction.
#[derive(Default)]
struct Turn {
    batch: prepare::Batch,
    replies: Vec<Reply>,
    touched: Vec<SourceId>,
    now: Nanos,
    bytes: usize,
}

impl Sequencer {
    /// Runs until it is told to close or something stops the log.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.turns() {
            self.shared.stop(error.to_string());
        }
    }

    fn turns(&mut self) -> Result<(), WriteError> {
        if !self.first_word.is_empty() {
            let mut turn = self.begin()?;
            for word in std::mem::take(&mut self.first_word) {
                self.own_entry(&mut turn, word.kind, &word.facts)?;
                let keys = word.position.iter().map(|position| position.key.clone());
                self.positions.extend(keys);
                turn.batch.positions.extend(word.position);
            }
            self.send(turn)?;
            let size = ledger_core::TreeSize(self.next.0);
            while self.shared.size() < size && self.shared.stopped().is_none() {
                let before = ledger_core::TreeSize(size.0.saturating_sub(1));
                self.shared.wait_longer_than(before, Duration::from_secs(1));
            }
            if self.shared.stopped().is_some() {
                return Ok(());
            }
            // What an operator accepted is durable.
            self.stops.clear()?;
        }
        loop {
            let wait = self.until_tick();
            let request = match self.held.take() {
                Some(held) => Ok(held),
                None => self.requests.recv_timeout(wait),
            };
            let request = match request {
                Ok(Request::Close) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
            };
            if self.shared.stopped().is_some() {
                return Ok(());
            }
            let mut turn = self.begin()?;
            let closing = match request {
                Some(request) => self.take_all(&mut turn, request)?,
                None => false,
            };
            // Requests that append nothing, such as repeats, hold no tick back.
            if turn.batch.len() == 0 && !closing {
                self.tick(&mut turn)?;
            }
            self.send(turn)?;
            if closing {
                return Ok(());
            }
        }
    }

    /// Takes `request` and whatever else waits, within the bounds of a frame.
    fn take_all(&mut self, turn: &mut Turn, request: Request) -> Result<bool, WriteError> {
        let mut next = Some(request);
        while let Some(request) = next {
            match request {
                Request::Close => return Ok(true),
                Request::Restored { lost, by } => {
                    self.stops.mark_restored(&lost)?;
                    return Err(WriteError::Restored { by, lost });
                }
                Request::Append { batch, reply } => {
                    // What its positions say holds with the whole of it.
                    let frames = if batch.positions.is_empty() {
                        Frames::Several
                    } else {
                        Frames::One
                    };
                    let answer = self.append(turn, batch, frames)?;
                    turn.replies.push(Reply::Append(reply, answer));
                }
                Request::Run { run, reply } => {
                    let answer = self.run_of(turn, run)?;
                    turn.replies.push(Reply::Run(reply, answer));
                }
                Request::Register { spec, keyed, reply } => {
                    match self.register(turn, spec, keyed)? {
                        Ok(state) => turn.replies.push(Reply::Register(reply, state)),
                        // Nothing to make durable: whoever asked may have gone, which is fine.
                        Err(error) => drop(reply.send(Err(error))),
                    }
                }
            }
            next = if self.is_full(turn) {
                None
            } else {
                self.requests.try_recv().ok()
            };
            if next.as_ref().is_some_and(|next| !fits(turn, next)) {
                // It waits for the next frame: what is written must be readable.
                self.held = next.take();
            }
        }
        Ok(false)
    }

    fn is_full(&self, turn: &Turn) -> bool {
        turn.batch.len() >= self.options.batch_entries_max
            || turn.bytes >= self.options.batch_bytes_max
            || turn.touched.len() >= TOUCHED_MAX
            || self.is_worth_writing(turn)
    }

    /// The writer has nothing waiting: it is given work now, and both go on side by side.
    fn is_worth_writing(&self, turn: &Turn) -> bool {
        turn.batch.len() >= HAND_OVER && self.writer.is_empty()
    }

    fn begin(&mut self) -> Result<Turn, WriteError> {
        let reading = (self.clock)();
        let verdict = self.clock_rule.judge(reading);
        let now = self.ledger_time.max(reading.wall);
        let mut turn = Turn {
            batch: prepare::Batch {
                first: self.next,
                ledger_time: self.ledger_time,
                ..Default::default()
            },
            replies: Vec::new(),
            touched: Vec::new(),
            now,
            bytes: 0,
        };
        match verdict {
            clock::Verdict::Steady => {}
            clock::Verdict::Stepped { old, new } => {
                let facts = ClockStep {
                    old,
                    new,
                    reason: ClockReason::Step,
                }
                .to_json();
                self.own_entry(&mut turn, Kind::CLOCK, &facts)?;
            }
            clock::Verdict::Stopped { old, new } => {
                self.stops.mark_clock(old, new)?;
                return Err(WriteError::ClockStopped { old, new });
            }
        }
        Ok(turn)
    }

    fn send(&mut self, mut turn: Turn) -> Result<(), WriteError> {
        if turn.batch.len() == 0 && turn.replies.is_empty() && turn.batch.positions.is_empty() {
            return Ok(());
        }
        turn.touched.sort_unstable();
        turn.touched.dedup();
        let states = turn
            .touched
            .iter()
            .filter_map(|id| self.sources.get(id).cloned());
        turn.batch.sources = states.collect();
        self.next = turn.batch.next();
        self.ledger_time = turn.batch.ledger_time;
        let work = Work {
            batch: turn.batch,
            replies: turn.replies,
        };
        self.writer.send(work).map_err(|_| WriteError::ThreadGone)
    }

    /// How long until a tick is due.
    fn until_tick(&self) -> Duration {
        let wall = (self.clock)().wall;
        let age = u64::try_from(wall.0.saturating_sub(self.ledger_time.0)).unwrap_or(0);
        let left = self
            .options
            .tick_after
            .saturating_sub(Duration::from_nanos(age));
        // Not too long, so that a stop is noticed; not zero, so that nothing spins.
        left.clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    fn tick(&mut self, turn: &mut Turn) -> Result<(), WriteError> {
        let age = turn.now.0.saturating_sub(self.ledger_time.0);
        if u128::try_from(age).unwrap_or(0) < self.options.tick_after.as_nanos() {
            return Ok(());
        }
        let size = ledger_core::TreeSize(turn.batch.next().0);
        self.own_entry(turn, Kind::TICK, &Tick { size }.to_json())
    }

    /// Appends an entry of the log's own.
    fn own_entry(&mut self, turn: &mut Turn, kind: Kind, facts: &[u8]) -> Result<(), WriteError> {
        let entry = Entry {
            kind,
            flags: Flags::NONE,
            class_uid: 0,
            activity: 0,
            status: 0,
            severity: 0,
            source: SourceId::LOG,
            epoch: Epoch(0),
            sequence: Sequence(0),
            event_time: turn.now,
            ledger_time: turn.now,
            commitment: Hash::ZERO,
        };
        let parts = [Some(facts), None, None];
        turn.batch
            .push(&entry, ShortMac::ZERO, parts, &mut self.random)?;
        turn.batch.counters.appended += 1;
        Ok(())
    }

    fn register(
        &mut self,
        turn: &mut Turn,
        spec: SourceSpec,
        keyed: bool,
    ) -> Result<Registration, WriteError> {
        let known = self.sources.values().find(|state| state.name == spec.name);
        if let Some(state) = known {
            if state.platform != spec.platform {
                return Ok(Err(DoorError::OtherPlatform {
                    name: spec.name,
                    registered: state.platform.clone(),
                    asked: spec.platform,
                }));
            }
            return Ok(Ok(state.clone()));
        }
        if self.sources.len() >= SOURCES_MAX {
            return Ok(Err(DoorError::TooManySources));
        }
        let last = self.sources.keys().next_back().map_or(0, |id| id.0);
        let id = SourceId(last + 1);
        let mut key_fingerprint = None;
        if keyed {
            // The key is durable before the entry that says it exists; one that a crash left
            // without its entry is used.
            let made = self.keystore.create_source_key(id);
            let key = match made.or_else(|_| self.keystore.source_key(id)) {
                Ok(key) => key,
                Err(error) => {
                    return Ok(Err(DoorError::Key {
                        reason: error.to_string(),
                    }));
                }
            };
            key_fingerprint = Some(Hash(key.hmac(b"custody key fingerprint v1", &[])).to_string());
            self.keys.insert(id, key);
        }
        let state = SourceState {
            id,
            name: spec.name,
            platform: spec.platform,
            keyed,
            epoch: Epoch(0),
            marks: Default::default(),
            gaps: Vec::new(),
        };
        let facts = SourceRegistered {
            id,
            name: state.name.clone(),
            platform: state.platform.clone(),
            key_fingerprint,
            settings: Vec::new(),
        };
        self.own_entry(turn, Kind::SOURCE, &facts.to_json())?;
        self.sources.insert(id, state.clone());
        turn.touched.push(id);
        Ok(Ok(state))
    }

    fn append(
        &mut self,
        turn: &mut Turn,
        batch: Batch,
        frames: Frames,
    ) -> Result<Result<Appended, DoorError>, WriteError> {
        let Some(mut state) = self.sources.get(&batch.source).cloned() else {
            return Ok(Err(DoorError::UnknownSource {
                source_id: batch.source,
            }));
        };
        if let Err(error) = self.know(&batch.positions) {
            return Ok(Err(error));
        }
        let mut outcomes = Vec::with_capacity(batch.messages.len());
        let mut refused = None;
        for (message, digest) in batch.messages.chunks(2).flat_map(digested) {
            if frames == Frames::Several && self.is_worth_writing(turn) {
                turn.touched.push(batch.source);
                self.sources.insert(batch.source, state.clone());
                self.send(std::mem::take(turn))?;
                *turn = self.begin()?;
            }
            match self.message(turn, &mut state, (message, digest))? {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        turn.touched.push(batch.source);
        self.sources.insert(batch.source, state);
        let size = ledger_core::TreeSize(turn.batch.next().0);
        if let Some(error) = refused {
            tracing::error!(source = batch.source.0, error = %error, "a source is stopped");
            return Ok(Err(error));
        }
        // A sender that only repeats is behind: its positions are old ones.
        let news = outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Appended(_) | Outcome::Late(_)));
        if news || batch.messages.is_empty() {
            turn.batch.positions.extend(batch.positions);
        }
        Ok(Ok(Appended { outcomes, size }))
    }

    /// Takes note of the keys of positions, unless there are too many.
    fn know(&mut self, positions: &[Position]) -> Result<(), DoorError> {
        let fresh = (positions.iter()).filter(|one| !self.positions.contains(&one.key));
        if self.positions.len() + fresh.count() > POSITIONS_MAX {
            return Err(DoorError::TooManyPositions);
        }
        self.positions
            .extend(positions.iter().map(|one| one.key.clone()));
        Ok(())
    }

    /// A run is one request, so all of it goes into one frame.
    fn run_of(&mut self, turn: &mut Turn, run: Run) -> Result<RunAnswer, WriteError> {
        if let Err(error) = self.know(&run.positions) {
            return Ok(Err(error));
        }
        let batches = run.batches.into_iter();
        let answers = batches.map(|batch| self.append(turn, batch, Frames::One));
        let answers = answers.collect::<Result<_, WriteError>>()?;
        turn.batch.positions.extend(run.positions);
        Ok(Ok(answers))
    }
}
