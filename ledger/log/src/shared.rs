//! What the log's threads and its readers share: how far the log is durable and published, and why
//! it stopped if it did.
//!
//! Not here: any file.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ledger_core::state::{Position, SourceState};
use ledger_core::{Checkpoint, Nanos, RightEdge, SourceId, TreeSize};

use crate::beats::Beats;

/// The log up to its last durable frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durable {
    pub(crate) edge: RightEdge,
    pub(crate) ledger_time: Nanos,
    pub(crate) sources: BTreeMap<SourceId, SourceState>,
    pub(crate) positions: BTreeMap<String, Position>,
    pub(crate) counters: Counters,
    pub(crate) beats: Beats,
    pub(crate) wrongs: BTreeMap<SourceId, Wrongs>,
}

/// What came from a source since the log was opened and could not be placed, and how often its
/// agent began anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrongs {
    pub(crate) conflicts: u64,
    pub(crate) forged: u64,
    pub(crate) lives: u64,
    pub(crate) states_lost: u64,
}

/// What happened at the door since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) appended: u64,
    pub(crate) late: u64,
    pub(crate) repeats: u64,
    pub(crate) conflicts: u64,
    pub(crate) forged: u64,
    pub(crate) frames: u64,
}

impl Counters {
    /// Adds what one frame did.
    pub(crate) fn add(&mut self, frame: &Counters) {
        self.appended += frame.appended;
        self.late += frame.late;
        self.repeats += frame.repeats;
        self.conflicts += frame.conflicts;
        self.forged += frame.forged;
        self.frames += 1;
    }
}

/// The newest published checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: Arc<Vec<u8>>,
    /// Somebody was given a proof that leads to it: it is kept for ever.
    pub(crate) proved: Arc<AtomicBool>,
    pub(crate) at: Instant,
    /// The sources as the checkpoint covers them; `None` until this process knows.
    pub(crate) sources: Option<Arc<PublishedSources>>,
    /// All positions as the checkpoint covers them, known when the sources are.
    pub(crate) positions: Option<Arc<BTreeMap<String, Position>>>,
}

/// Every source, as of a checkpoint.
pub(crate) type PublishedSources = BTreeMap<SourceId, PublishedSource>;

/// A source as of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishedSource {
    /// Size of the first checkpoint that covers it as it is.
    pub(crate) since: TreeSize,
    pub(crate) state: SourceState,
}

/// The sources at a checkpoint of `size` entries, after those of the checkpoint before it.
pub(crate) fn sources_at(
    size: TreeSize,
    states: &BTreeMap<SourceId, SourceState>,
    before: Option<&PublishedSources>,
) -> Arc<PublishedSources> {
    let at = |(id, state): (&SourceId, &SourceState)| {
        let same = before
            .and_then(|before| before.get(id))
            .filter(|known| known.state == *state);
        let since = same.map_or(size, |known| known.since);
        let state = state.clone();
        (*id, PublishedSource { since, state })
    };
    Arc::new(states.iter().map(at).collect())
}

/// Everything the threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    durable: Mutex<Durable>,
    durable_moved: Condvar,
    published: Mutex<Published>,
    published_moved: Condvar,
    stopped: Mutex<Option<String>>,
    arrays_durable: AtomicU64,
    /// Of sequencer and writer, how many have ended.
    left_line: AtomicU8,
}

/// How many threads answer who waits at the door: sequencer and writer.
const LINE: u8 = 2;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(durable: Durable, published: Published, arrays: TreeSize) -> Shared {
        Shared {
            durable: Mutex::new(durable),
            durable_moved: Condvar::new(),
            published: Mutex::new(published),
            published_moved: Condvar::new(),
            stopped: Mutex::new(None),
            arrays_durable: AtomicU64::new(arrays.0),
            left_line: AtomicU8::new(0),
        }
    }

    /// One of the threads that answer has ended.
    pub(crate) fn leave_line(&self) {
        self.left_line.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether nobody is left who could answer.
    pub(crate) fn is_line_over(&self) -> bool {
        self.left_line.load(Ordering::SeqCst) >= LINE
    }

    pub(crate) fn durable(&self) -> MutexGuard<'_, Durable> {
        lock(&self.durable)
    }

    pub(crate) fn size(&self) -> TreeSize {
        lock(&self.durable).edge.size()
    }

    /// Changes the durable state and wakes who waits for it.
    pub(crate) fn set_durable(&self, change: impl FnOnce(&mut Durable)) {
        change(&mut lock(&self.durable));
        self.durable_moved.notify_all();
    }

    /// Waits until the log is longer than `size`, has stopped, or `wait` is over; gives the size.
    pub(crate) fn wait_longer_than(&self, size: TreeSize, wait: Duration) -> TreeSize {
        let guard = lock(&self.durable);
        let waiting =
            |durable: &mut Durable| durable.edge.size() <= size && self.stopped().is_none();
        let result = self.durable_moved.wait_timeout_while(guard, wait, waiting);
        result.unwrap_or_else(PoisonError::into_inner).0.edge.size()
    }

    /// Wakes who waits for durable entries without a change (at closing).
    pub(crate) fn nudge(&self) {
        drop(lock(&self.durable));
        self.durable_moved.notify_all();
    }

    pub(crate) fn published(&self) -> Published {
        lock(&self.published).clone()
    }

    /// The newest checkpoint, for a proof. Who publishes the next one sees that this was asked.
    pub(crate) fn published_for_proof(&self) -> Published {
        let published = lock(&self.published);
        published.proved.store(true, Ordering::Release);
        published.clone()
    }

    pub(crate) fn set_published(&self, published: Published) {
        *lock(&self.published) = published;
        self.published_moved.notify_all();
    }

    /// Waits until a checkpoint covers `size`. `Err` is why the log stopped; `Ok` is the published
    /// size, smaller than asked if `wait` is over.
    pub(crate) fn wait_published(
        &self,
        size: TreeSize,
        wait: Duration,
    ) -> Result<TreeSize, String> {
        let guard = lock(&self.published);
        let waiting = |now: &mut Published| now.checkpoint.size < size && self.stopped().is_none();
        let result = self
            .published_moved
            .wait_timeout_while(guard, wait, waiting);
        let reached = result
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .checkpoint
            .size;
        match self.stopped() {
            Some(reason) if reached < size => Err(reason),
            _ => Ok(reached),
        }
    }

    /// Waits until a checkpoint covers a state of `source` that began after the checkpoint of size
    /// `after` (any state, if `None`). Gives what the last checkpoint covers when that is so or
    /// `wait` is over, and whether it is so: `None` if it does not cover the source at all. `Err`
    /// is why the log stopped.
    pub(crate) fn wait_source(
        &self,
        source: SourceId,
        after: Option<TreeSize>,
        wait: Duration,
    ) -> Result<Option<(TreeSize, SourceState, bool)>, String> {
        let found = |now: &Published| {
            let sources = now.sources.as_ref()?;
            sources.get(&source).cloned()
        };
        let news = |now: &Published| {
            found(now).is_some_and(|found| after.is_none_or(|after| found.since > after))
        };
        let waiting = |now: &mut Published| !news(now) && self.stopped().is_none();
        let guard = lock(&self.published);
        let result = self
            .published_moved
            .wait_timeout_while(guard, wait, waiting);
        let now = result.unwrap_or_else(PoisonError::into_inner).0;
        match self.stopped() {
            Some(reason) if !news(&now) => Err(reason),
            _ => {
                let news = news(&now);
                Ok(found(&now).map(|found| (now.checkpoint.size, found.state, news)))
            }
        }
    }

    /// Stops the log after a failure: the first reason stays.
    pub(crate) fn stop(&self, reason: String) {
        if self.stopped().is_none() {
            tracing::error!(reason = %reason, "the log stopped");
        }
        self.end(reason);
    }

    /// Ends the log: whoever waits is told the reason; the first one stays.
    pub(crate) fn end(&self, reason: String) {
        lock(&self.stopped).get_or_insert(reason);
        // Locked in turn so that no waiter misses the news between its check and its wait.
        self.nudge();
        drop(lock(&self.published));
        self.published_moved.notify_all();
    }

    pub(crate) fn stopped(&self) -> Option<String> {
        lock(&self.stopped).clone()
    }

    pub(crate) fn arrays_durable(&self) -> TreeSize {
        TreeSize(self.arrays_durable.load(Ordering::Acquire))
    }

    pub(crate) fn raise_arrays_durable(&self, size: TreeSize) {
        self.arrays_durable.fetch_max(size.0, Ordering::AcqRel);
    }
}
