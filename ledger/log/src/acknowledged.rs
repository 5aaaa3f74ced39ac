//! What a published checkpoint covers of a source, and how a heartbeat says it again.
//!
//! Not here: waiting for it ([`crate::door`]), the log's mark on it (`receipt`).

use ledger_core::state::{Mark, SourceState, Stream};
use ledger_core::{Epoch, Sequence, TreeSize};
use ledger_event::facts::Told;

use crate::receipt::Receipt;

/// What a published checkpoint covers of a source: a sender may forget it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acknowledged {
    /// Entries that the checkpoint covers.
    pub size: TreeSize,
    /// The source's epoch at that size; 0 before its first message.
    pub epoch: Epoch,
    /// The marks of the three streams in that epoch, in their order.
    pub marks: [Mark; 3],
    /// What is missing below the marks, in the order of the numbers of each stream.
    pub missing: Vec<Missing>,
    /// The log's mark on this, for who was told to show again.
    pub receipt: Option<Receipt>,
}

/// Numbers of a stream that the log does not hold though it holds a higher one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing {
    /// Which stream.
    pub stream: Stream,
    /// The first missing number.
    pub from: Sequence,
    /// The last missing number.
    pub to: Sequence,
}

impl Acknowledged {
    /// What `state` says at `size`.
    pub(crate) fn of(size: TreeSize, state: &SourceState) -> Acknowledged {
        let mut missing: Vec<Missing> = (state.gaps.iter())
            .map(|gap| Missing {
                stream: gap.stream,
                from: gap.from,
                to: gap.to,
            })
            .collect();
        missing.sort_unstable_by_key(|missing| (missing.stream, missing.from));
        Acknowledged {
            size,
            epoch: state.epoch,
            marks: state.marks,
            missing,
            receipt: None,
        }
    }

    /// The highest number of `stream` that is covered, with its MAC; 0 for none.
    pub fn mark(&self, stream: Stream) -> Mark {
        let mark = self.marks.get(usize::from(stream.number()));
        mark.copied().unwrap_or_default()
    }

    /// The number of `stream` up to which nothing is missing; 0 for none.
    pub fn through(&self, stream: Stream) -> Sequence {
        let hole = self.missing.iter().find(|hole| hole.stream == stream);
        hole.map_or(self.mark(stream).sequence, |hole| {
            Sequence(hole.from.0.saturating_sub(1))
        })
    }

    /// This as a heartbeat repeats it; `None` without the log's mark.
    pub fn told(&self) -> Option<Told> {
        self.receipt.map(|receipt| Told {
            size: self.size,
            epoch: self.epoch,
            sequence: self.through(Stream::Record),
            at: receipt.at,
            receipt: receipt.mac.to_string(),
        })
    }
}

/// The number of `stream` up to which `state` lacks nothing.
pub(crate) fn through(state: &SourceState, stream: Stream) -> Sequence {
    Acknowledged::of(TreeSize(0), state).through(stream)
}
