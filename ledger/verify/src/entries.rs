//! The rules of single entries, in their order: version, meaning, ledger time, the first one
//! (docs/formats/entry.md).
//!
//! Not here: numbers of sources ([`crate::numbers`]).

use std::collections::BTreeMap;

use ledger_core::entry::{Entry, Flags, Kind};
use ledger_core::{Index, Nanos, SourceId};

use crate::misdeed::MisdeedKind;

/// Whether an entry registers a source.
pub(crate) fn registers(entry: &Entry) -> bool {
    entry.kind == Kind::SOURCE && entry.source == SourceId::LOG
}

/// What the entries so far lead to.
#[derive(Default)]
pub(crate) struct Rules {
    /// The ledger time of the last entry.
    pub(crate) ledger_time: Nanos,
    /// Entries that this version does not understand, by kind.
    pub(crate) not_understood: BTreeMap<Kind, u64>,
}

impl Rules {
    /// Checks one entry; `wrong` is told of each misdeed.
    pub(crate) fn take(
        &mut self,
        index: Index,
        bytes: &[u8],
        wrong: &mut dyn FnMut(MisdeedKind),
    ) -> Option<Entry> {
        let entry = match Entry::decode(bytes) {
            Ok(entry) => entry,
            Err(error) => {
                wrong(MisdeedKind::Entry { index, error });
                return None;
            }
        };
        let (kind, flags) = (entry.kind, entry.flags);
        if kind.name().is_none() || flags.unknown() != Flags::NONE {
            if flags.contains(Flags::CRITICAL) {
                wrong(MisdeedKind::CriticalNotUnderstood { index, kind, flags });
            }
            let count = self.not_understood.entry(kind).or_default();
            *count = count.saturating_add(1);
        }
        if entry.ledger_time < self.ledger_time {
            wrong(MisdeedKind::LedgerTimeWentBack { index });
        }
        self.ledger_time = self.ledger_time.max(entry.ledger_time);
        if (index.0 == 0) != (kind == Kind::OPENED) {
            wrong(MisdeedKind::Opened { index });
        }
        Some(entry)
    }
}
