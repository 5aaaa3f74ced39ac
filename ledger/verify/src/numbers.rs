//! Numbers of sources: that none is in the log twice, and that frames state what their entries lead
//! to (docs/formats/entry.md, "Numbers").
//!
//! Not here: MACs of whole messages, whose key is the source's own.

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::entry::{Entry, Flags, Kind};
use ledger_core::state::{GAPS_MAX, Mark, ShortMac, SourceState, Stream};
use ledger_core::{Epoch, Index, SourceId};

use crate::entries::registers;
use crate::misdeed::MisdeedKind;

/// What the entries so far say of every source that sent one.
#[derive(Default)]
pub(crate) struct Numbers {
    /// How many entries registered one: the sources 1 to this number may be there.
    registered: u32,
    sources: BTreeMap<SourceId, Derived>,
    touched: Vec<SourceId>,
}

#[derive(Default)]
struct Derived {
    epoch: Epoch,
    marks: [Mark; 3],
    /// Stream, first and last missing number.
    gaps: Vec<(Stream, u64, u64)>,
    touched: bool,
}

/// The stream that a message came by.
fn stream_of(kind: Kind) -> Stream {
    match kind {
        Kind::HEARTBEAT => Stream::Heartbeat,
        Kind::SNAPSHOT => Stream::Snapshot,
        _ => Stream::Record,
    }
}

/// Whether a misdeed of numbers leaves nothing to go on from.
pub(crate) fn ends_the_walk(what: &MisdeedKind) -> bool {
    matches!(
        what,
        MisdeedKind::SourceUnknown { .. } | MisdeedKind::GapsTooMany { .. }
    )
}

impl Numbers {
    /// Takes the number of an entry.
    ///
    /// # Errors
    /// The misdeed. After [`ends_the_walk`] nothing more can be taken: what is kept of sources and
    /// gaps would grow without bound.
    pub(crate) fn take(
        &mut self,
        index: Index,
        entry: &Entry,
        mac: ShortMac,
    ) -> Result<(), MisdeedKind> {
        let source_id = entry.source;
        if registers(entry) {
            self.registered = self.registered.saturating_add(1);
        }
        self.check_registered(source_id)?;
        if source_id == SourceId::LOG || [Kind::CONFLICT, Kind::FORGED].contains(&entry.kind) {
            return Ok(());
        }
        let source = self.sources.entry(source_id).or_default();
        if !std::mem::replace(&mut source.touched, true) {
            self.touched.push(source_id);
        }
        if entry.epoch < source.epoch {
            return Err(MisdeedKind::EpochWentBack { index, source_id });
        }
        if entry.epoch > source.epoch {
            source.begin(entry.epoch);
        }
        if !source.place(entry, mac) {
            return Err(MisdeedKind::NumberTwice {
                index,
                source_id,
                epoch: entry.epoch,
                sequence: entry.sequence,
            });
        }
        if source.gaps.len() > GAPS_MAX {
            return Err(MisdeedKind::GapsTooMany { index, source_id });
        }
        Ok(())
    }

    /// Whether a source may be registered by now.
    fn check_registered(&self, source_id: SourceId) -> Result<(), MisdeedKind> {
        if source_id.0 > self.registered {
            return Err(MisdeedKind::SourceUnknown { source_id });
        }
        Ok(())
    }

    /// Compares what a frame states of sources with what its entries lead to.
    ///
    /// # Errors
    /// A state of a source that was not registered by then, with which the walk ends.
    pub(crate) fn compare(
        &mut self,
        stated: &[SourceState],
        wrong: &mut dyn FnMut(MisdeedKind),
    ) -> Result<(), MisdeedKind> {
        let ids: BTreeSet<SourceId> = stated.iter().map(|state| state.id).collect();
        for source_id in std::mem::take(&mut self.touched) {
            if let Some(source) = self.sources.get_mut(&source_id) {
                source.touched = false;
            }
            if !ids.contains(&source_id) {
                wrong(MisdeedKind::SourceDiffers {
                    source_id,
                    field: "state (it states none)",
                });
            }
        }
        for state in stated {
            self.check_registered(state.id)?;
            let source = self.sources.entry(state.id).or_default();
            // A source may open an epoch before it sends anything in it.
            let fresh = state.marks == [Mark::default(); 3] && state.gaps.is_empty();
            if fresh && state.epoch > source.epoch {
                source.begin(state.epoch);
            }
            if let Some(field) = source.differs(state) {
                wrong(MisdeedKind::SourceDiffers {
                    source_id: state.id,
                    field,
                });
            }
        }
        Ok(())
    }
}

impl Derived {
    fn begin(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.marks = [Mark::default(); 3];
        self.gaps.clear();
    }

    /// Gives a message its place; `false` if its number was taken before.
    fn place(&mut self, entry: &Entry, mac: ShortMac) -> bool {
        let stream = stream_of(entry.kind);
        let sequence = entry.sequence.0;
        if entry.flags.contains(Flags::LATE) {
            return self.fill(stream, sequence);
        }
        let Some(mark) = self.marks.get_mut(usize::from(stream.number())) else {
            return false;
        };
        if sequence <= mark.sequence.0 {
            return false;
        }
        let expected = mark.sequence.0.saturating_add(1);
        if sequence > expected {
            self.gaps.push((stream, expected, sequence - 1));
        }
        *mark = Mark {
            sequence: entry.sequence,
            mac,
        };
        true
    }

    /// Takes a number out of the gap that it lies in.
    fn fill(&mut self, stream: Stream, sequence: u64) -> bool {
        let holds =
            |gap: &(Stream, u64, u64)| gap.0 == stream && (gap.1..=gap.2).contains(&sequence);
        let Some(place) = self.gaps.iter().position(holds) else {
            return false;
        };
        let (_, from, to) = self.gaps.swap_remove(place);
        if from < sequence {
            self.gaps.push((stream, from, sequence - 1));
        }
        if sequence < to {
            self.gaps.push((stream, sequence + 1, to));
        }
        true
    }

    fn differs(&self, state: &SourceState) -> Option<&'static str> {
        if state.epoch != self.epoch {
            return Some("epoch");
        }
        if state.marks != self.marks {
            return Some("mark");
        }
        let mut stated: Vec<_> = state
            .gaps
            .iter()
            .map(|gap| (gap.stream, gap.from.0, gap.to.0))
            .collect();
        let mut derived = self.gaps.clone();
        stated.sort_unstable();
        derived.sort_unstable();
        (stated != derived).then_some("gap")
    }
}
