//! What the newest published checkpoint covers: the note, the sources, and where readers of outside
//! streams stood, all of the same moment.
//!
//! Not here: who is told (collectors/bus).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ledger_core::state::{Position, SourceState};
use ledger_core::{Nanos, SourceId, TreeSize};

use crate::acknowledged::Acknowledged;
use crate::door::{DoorError, InProcessDoor};
use crate::receipt::{RESTORED_KEY, restored_at};
use crate::shared::PublishedSources;

/// A published checkpoint and the state of the log that it covers.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Entries that the checkpoint covers.
    pub size: TreeSize,
    /// The signed note.
    pub note: Arc<Vec<u8>>,
    pub(crate) sources: Arc<PublishedSources>,
    pub(crate) positions: Arc<BTreeMap<String, Position>>,
    pub(crate) at: Nanos,
}

impl Coverage {
    /// The sources whose state a checkpoint of `size` entries did not cover yet as it is now, in
    /// the order of their numbers.
    pub fn changed_since(&self, size: TreeSize) -> impl Iterator<Item = &SourceState> {
        let changed = (self.sources.values()).filter(move |source| source.since > size);
        changed.map(|source| &source.state)
    }

    /// Until which time an operator forgave that the log lacks what it had said; 0 if never.
    pub fn restored(&self) -> Nanos {
        restored_at(self.position(RESTORED_KEY))
    }

    /// The position of a key.
    pub fn position(&self, key: &str) -> Option<&Position> {
        self.positions.get(key)
    }
}

impl InProcessDoor {
    /// What the newest published checkpoint covers. With `after` it waits, `wait` at most, for one
    /// of more entries; `None` if there is none.
    ///
    /// # Errors
    /// A log that stopped.
    pub fn coverage(
        &self,
        after: Option<TreeSize>,
        wait: Duration,
    ) -> Result<Option<Coverage>, DoorError> {
        let next = after.map_or(TreeSize(0), |size| TreeSize(size.0.saturating_add(1)));
        self.shared
            .wait_published(next, wait)
            .map_err(|reason| DoorError::Stopped { reason })?;
        let mut now = self.shared.published();
        if now.sources.is_none() {
            // What the last checkpoint before this process covered is not known; the next one is.
            let next = TreeSize(now.checkpoint.size.0.saturating_add(1));
            self.shared
                .wait_published(next, wait)
                .map_err(|reason| DoorError::Stopped { reason })?;
            now = self.shared.published();
        }
        if now.checkpoint.size < next {
            return Ok(None);
        }
        let at = self.shared.durable().ledger_time;
        Ok(now.sources.zip(now.positions).map(|(sources, positions)| {
            let (size, note) = (now.checkpoint.size, now.note);
            Coverage {
                size,
                note,
                sources,
                positions,
                at,
            }
        }))
    }

    /// What `coverage` says to a source, with the log's mark; `None` for a source that it lacks.
    pub fn acknowledged_in(&self, coverage: &Coverage, source: SourceId) -> Option<Acknowledged> {
        let known = coverage.sources.get(&source)?;
        let mut found = Acknowledged::of(coverage.size, &known.state);
        self.receipts.mark(source, &mut found, coverage.at);
        Some(found)
    }

    /// The durable state of a source.
    pub fn source(&self, source: SourceId) -> Option<SourceState> {
        self.shared.durable().sources.get(&source).cloned()
    }

    /// The number of durable entries.
    pub fn size(&self) -> TreeSize {
        self.shared.size()
    }

    /// The log's origin.
    pub fn origin(&self) -> &str {
        &self.log.origin
    }
}

#[cfg(test)]
mod tests {
    use ledger_core::state::Stream;
    use ledger_core::{Epoch, Flags, Message, Sequence};

    use super::*;
    use crate::agent_tests::{WAIT, open, paths};
    use crate::{Batch, Door as _, SourceSpec, create_log};

    #[test]
    fn positions_and_sources_are_of_the_same_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        create_log(&paths(folder.path())).unwrap();
        let log = open(folder.path());
        let mut door = log.door();
        let spec = SourceSpec {
            name: "kafka:t/0".to_owned(),
            platform: "kafka".to_owned(),
        };
        let source = door.register(&spec).unwrap();
        let position = |value: &[u8]| Position {
            key: "kafka:t/0".to_owned(),
            value: value.to_vec(),
        };
        let message = Message {
            stream: Stream::Record,
            epoch: Epoch(1),
            sequence: Sequence(1),
            prev: [0; 32],
            mac: [0; 32],
            flags: Flags::NONE,
            value: b"{}".to_vec(),
        };
        let mut append = |messages: &[Message], value: &[u8]| {
            let batch = Batch {
                source: source.id,
                messages: messages.to_vec(),
                positions: vec![position(value)],
            };
            door.append(batch).unwrap()
        };
        append(std::slice::from_ref(&message), b"1");
        // Only repeats: the position of the batch is old. One by itself is never.
        append(&[message], b"2");
        let size = append(&[], b"3").size;
        let before = TreeSize(size.0 - 1);
        let found = door.coverage(Some(before), WAIT).unwrap().unwrap();
        assert_eq!(found.changed_since(TreeSize(0)).count(), 1);
        assert_eq!(found.changed_since(found.size).count(), 0);
        let acknowledged = door.acknowledged_in(&found, source.id).unwrap();
        assert_eq!(acknowledged.through(Stream::Record), Sequence(1));
        assert_eq!(door.acknowledged_in(&found, SourceId(9)), None);
        assert!(
            door.coverage(Some(TreeSize(u64::MAX)), Duration::ZERO)
                .unwrap()
                .is_none()
        );
        let durable = door.positions(&["kafka:t/0".to_owned()]).unwrap();
        assert_eq!(durable, [Some(position(b"3"))]);
        drop(log);
        let log = open(folder.path());
        let mut door = log.door();
        let again = door.positions(&["kafka:t/0".to_owned()]).unwrap();
        assert_eq!(again, [Some(position(b"3"))], "a position alone is durable");
        let found = door.coverage(None, WAIT).unwrap();
        let covered = found.and_then(|found| found.position("kafka:t/0").cloned());
        assert_eq!(covered, Some(position(b"3")));
    }
}
