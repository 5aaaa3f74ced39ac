//! The third thread: has checkpoints signed and publishes them; and the fourth, which syncs the
//! arrays.
//!
//! One publication at a time, at most one an interval, none without something new: right edge →
//! consistency proof → sign, checked by other implementations → note durable → published.
//!
//! Not here: keys and the signer's own fence (keys/secret).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keys_public::Signer;
use ledger_core::history::Keep;
use ledger_core::{Checkpoint, Nanos, Origin, RightEdge, TreeSize, consistency_proof};

use crate::arrays::{ArrayReader, sync_arrays};
use crate::error::WriteError;
use crate::history::History;
use crate::shared::{Published, Shared, sources_at};

/// All that the publishing thread owns.
pub(crate) struct Publisher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) signer: Box<dyn Signer + Send>,
    pub(crate) arrays: ArrayReader,
    pub(crate) history: History,
    pub(crate) origin: Origin,
    pub(crate) every: Duration,
    pub(crate) closing: Arc<AtomicBool>,
}

impl Publisher {
    /// Runs until the log closes, then publishes what is left; stops the log at an error.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.publish_all() {
            self.shared.stop(error.to_string());
        }
    }

    fn publish_all(&mut self) -> Result<(), WriteError> {
        let mut started: Option<Instant> = None;
        loop {
            let size = self.shared.published().checkpoint.size;
            // Read before waiting: what became durable before the flag is seen after it.
            let closing = self.closing.load(Ordering::Acquire);
            let wait = if closing {
                Duration::ZERO
            } else {
                Duration::from_millis(500)
            };
            let reached = self.shared.wait_longer_than(size, wait);
            if self.shared.stopped().is_some() {
                return Ok(());
            }
            if reached <= size {
                self.keep_if_proved(&self.shared.published())?;
                if closing {
                    let last = self.shared.published();
                    return self
                        .history
                        .stop(&last.note, self.shared.durable().ledger_time);
                }
                continue;
            }
            if let Some(started) = started {
                self.rest(started);
            }
            started = Some(Instant::now());
            self.publish()?;
        }
    }

    /// Waits for the interval to pass, a little at a time so that closing is noticed.
    fn rest(&self, started: Instant) {
        while !self.closing.load(Ordering::Acquire) && self.shared.stopped().is_none() {
            let left = self.every.saturating_sub(started.elapsed());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    fn publish(&mut self) -> Result<(), WriteError> {
        let before = self.shared.published();
        let old = before.checkpoint.size;
        let (edge, covered, sources, positions) = {
            let durable = self.shared.durable();
            let sources = before.sources.as_deref();
            let sources = sources_at(durable.edge.size(), &durable.sources, sources);
            let known = before.positions.clone();
            let same = known.filter(|known| **known == durable.positions);
            let positions = same.unwrap_or_else(|| Arc::new(durable.positions.clone()));
            (
                durable.edge.clone(),
                durable.ledger_time,
                sources,
                positions,
            )
        };
        let note = sign_edge(
            &mut *self.signer,
            &self.arrays,
            &self.origin,
            old,
            &edge,
            covered,
        )?;
        let text = Arc::new(note.1);
        self.shared.set_published(Published {
            checkpoint: note.0,
            note: text.clone(),
            proved: Arc::default(),
            at: Instant::now(),
            sources: Some(sources),
            positions: Some(positions),
        });
        // From here on nobody is given a proof to the one before. The note is durable as the
        // signer's state, and a start adds it to the history if a crash keeps it out.
        self.keep_if_proved(&before)?;
        self.history.add(&text, covered)
    }

    fn keep_if_proved(&mut self, published: &Published) -> Result<(), WriteError> {
        if !published.proved.load(Ordering::Acquire) {
            return Ok(());
        }
        let now = self.shared.durable().ledger_time;
        self.history.keep(&published.note, now, Keep::PROOF)
    }
}

/// Has the tree of `edge` signed as an extension of the tree of `old` leaves.
pub(crate) fn sign_edge(
    signer: &mut dyn Signer,
    arrays: &ArrayReader,
    origin: &Origin,
    old: TreeSize,
    edge: &RightEdge,
    covered: Nanos,
) -> Result<(Checkpoint, Vec<u8>), WriteError> {
    let read = &mut |level, number| arrays.node(level, number);
    let proof = consistency_proof(old, edge.size(), read)?;
    let checkpoint = Checkpoint {
        origin: origin.clone(),
        size: edge.size(),
        root: edge.root(),
    };
    let note = signer.sign(&checkpoint, covered, &proof)?;
    Ok((checkpoint, note.encode()))
}

/// The thread that syncs the arrays, so that recovery has little to derive again.
pub(crate) struct ArraySync {
    pub(crate) shared: Arc<Shared>,
    pub(crate) hashes: PathBuf,
    pub(crate) every: Duration,
    pub(crate) closing: Arc<AtomicBool>,
}

impl ArraySync {
    pub(crate) fn run(self) {
        let mut last = Instant::now();
        while !self.closing.load(Ordering::Acquire) && self.shared.stopped().is_none() {
            std::thread::sleep(Duration::from_millis(100).min(self.every));
            if last.elapsed() < self.every {
                continue;
            }
            last = Instant::now();
            // Durable entries' hashes are written before the size is announced.
            let size = self.shared.size();
            if size == self.shared.arrays_durable() {
                continue;
            }
            match sync_arrays(&self.hashes) {
                Ok(()) => self.shared.raise_arrays_durable(size),
                Err(error) => self.shared.stop(error.to_string()),
            }
        }
    }
}
