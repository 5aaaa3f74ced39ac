//! What frames and headers state of sources against the entries that registered them: the tables
//! are signed by nobody, and the facts of `source` entries are (docs/formats/entry.md).
//!
//! Not here: marks and gaps ([`crate::numbers`]); that tables agree with each other
//! ([`crate::states`]).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ledger_core::state::SourceState;
use ledger_core::{Index, SourceId};
use ledger_event::facts::{Facts as _, SourceRegistered};

use crate::misdeed::{MisdeedKind, Misdeeds};
use crate::report::NotChecked;

/// Sources as they were first stated, seen by both threads.
#[derive(Default)]
pub(crate) struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    stated: BTreeMap<SourceId, Stated>,
    /// `source` entries that frames hold.
    entries: u64,
    /// Those of them whose facts were read.
    read: u64,
}

/// What never changes of a source, and where it was first stated.
struct Stated {
    name: String,
    platform: String,
    keyed: bool,
    /// The first entry of the frame that states it first.
    from: Index,
    file: String,
    at: u64,
    registered: bool,
}

impl Registry {
    /// Takes the sources that the frame at `at` of `file` states, with its first entry and how
    /// many `source` entries it has. Before its payloads are checked.
    pub(crate) fn state(
        &self,
        sources: &[SourceState],
        entries: usize,
        from: Index,
        (file, at): (&str, u64),
    ) {
        let mut inner = self.lock();
        inner.entries = inner.entries.saturating_add(entries as u64);
        for state in sources {
            inner.stated.entry(state.id).or_insert_with(|| Stated {
                name: state.name.clone(),
                platform: state.platform.clone(),
                keyed: state.keyed,
                from,
                file: file.to_owned(),
                at,
                registered: false,
            });
        }
    }

    /// Compares with the committed facts of a `source` entry, which lie at `at` of `file`.
    pub(crate) fn register(
        &self,
        facts: &[u8],
        index: Index,
        (file, at): (&str, u64),
        misdeeds: &Misdeeds,
    ) {
        let mut inner = self.lock();
        inner.read = inner.read.saturating_add(1);
        let Ok(facts) = SourceRegistered::parse(facts) else {
            return misdeeds.add(file, Some(at), MisdeedKind::Registration { index });
        };
        let source_id = facts.id;
        // A frame states the sources that it registers; later frames do not make up for it.
        let stated = inner.stated.get_mut(&source_id);
        let Some(stated) = stated.filter(|stated| stated.from <= index) else {
            let field = "state (none is stated)";
            let what = MisdeedKind::RegistrationDiffers { source_id, field };
            return misdeeds.add(file, Some(at), what);
        };
        stated.registered = true;
        let keyed = facts.key_fingerprint.is_some();
        for (differs, field) in [
            (facts.name != stated.name, "name"),
            (facts.platform != stated.platform, "platform"),
            (keyed != stated.keyed, "way of signing"),
        ] {
            if differs {
                let what = MisdeedKind::RegistrationDiffers { source_id, field };
                misdeeds.add(&stated.file, Some(stated.at), what);
            }
        }
    }

    /// Once all payloads were checked: sources that nothing registered. Entries whose facts are
    /// erased, or were not there to be read, may have registered as many.
    pub(crate) fn finish(&self, misdeeds: &Misdeeds) -> Option<NotChecked> {
        let inner = self.lock();
        let without = inner.stated.iter().filter(|(_, stated)| !stated.registered);
        let count = without.clone().count() as u64;
        if count <= inner.entries.saturating_sub(inner.read) {
            return (count > 0).then_some(NotChecked::Registrations { count });
        }
        for (source_id, stated) in without {
            let source_id = *source_id;
            let what = MisdeedKind::SourceUnregistered { source_id };
            misdeeds.add(&stated.file, Some(stated.at), what);
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
