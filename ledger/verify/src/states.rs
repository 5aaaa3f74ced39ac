//! The tables that frames change and headers repeat: sources and positions.
//!
//! Not here: whether a source's marks follow from its entries ([`crate::numbers`]).

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::SourceId;
use ledger_core::segment::SegmentHeader;
use ledger_core::state::{Position, SourceState};

use crate::misdeed::MisdeedKind;

/// The tables after the last frame.
#[derive(Default)]
pub(crate) struct Tables {
    sources: BTreeMap<SourceId, SourceState>,
    names: BTreeSet<String>,
    positions: BTreeMap<String, Vec<u8>>,
}

impl Tables {
    /// Takes what a frame states.
    pub(crate) fn take(
        &mut self,
        sources: Vec<SourceState>,
        positions: Vec<Position>,
        wrong: &mut dyn FnMut(MisdeedKind),
    ) {
        for state in sources {
            if let Some(field) = self.illegal(&state) {
                let source_id = state.id;
                wrong(MisdeedKind::SourceDiffers { source_id, field });
            }
            if !self.sources.contains_key(&state.id) {
                self.names.insert(state.name.clone());
            }
            self.sources.insert(state.id, state);
        }
        for Position { key, value } in positions {
            self.positions.insert(key, value);
        }
    }

    /// The first table that a header states otherwise.
    pub(crate) fn differs(&self, header: &SegmentHeader) -> Option<&'static str> {
        let positions = header.positions.iter();
        let positions = positions.map(|position| (&position.key, &position.value));
        if !self.sources.values().eq(&header.sources) {
            Some("table of sources")
        } else if !self.positions.iter().eq(positions) {
            Some("table of positions")
        } else {
            None
        }
    }

    fn illegal(&self, state: &SourceState) -> Option<&'static str> {
        match self.sources.get(&state.id) {
            Some(before) if before.name != state.name => Some("name"),
            Some(before) if before.platform != state.platform => Some("platform"),
            Some(before) if before.keyed != state.keyed => Some("way of signing"),
            Some(before) if before.epoch > state.epoch => Some("epoch"),
            Some(_) => None,
            None => {
                let next = self.sources.len().saturating_add(1);
                let in_order = u32::try_from(next).is_ok_and(|next| state.id.0 == next);
                let taken = self.names.contains(&state.name);
                match (in_order, taken) {
                    (false, _) => Some("number"),
                    (true, true) => Some("name"),
                    (true, false) => None,
                }
            }
        }
    }
}
