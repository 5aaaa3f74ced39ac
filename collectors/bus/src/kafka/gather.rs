//! What was read of one partition and is to be appended next: messages by source, and the place
//! behind them.
//!
//! Order is kept within a source, which is all that its numbers need. The place and all that stands
//! before it are one run: durable together or not at all. Not here: the broker (`session`) and the
//! door.

use ledger_core::message::Message;
use ledger_core::state::{Position, Stream};
use ledger_core::{Epoch, Flags, Sequence, SourceId};
use ledger_log::door::BATCH_MESSAGES_MAX;
use ledger_log::{Batch, RUN_BATCHES_MAX, Run};

use super::form::Head;
use super::place::{Counted, LastRecord, PartitionPlace};

/// Most messages that are gathered before they are handed over.
pub(crate) const GATHERED_MAX: usize = 4096;
/// Most bytes of their values, unless one alone has more.
pub(crate) const GATHERED_BYTES_MAX: usize = 3 << 20;
/// Sources after which it is handed over.
const SOURCES_MAX: usize = 512;
const _: () = assert!(GATHERED_MAX <= BATCH_MESSAGES_MAX && SOURCES_MAX < RUN_BATCHES_MAX);

/// What was read of one partition since the last hand-over.
#[derive(Debug)]
pub(crate) struct Gathered {
    place: PartitionPlace,
    groups: Vec<(SourceId, Vec<Message>)>,
    /// Records were counted since the last hand-over, so that the place alone is news.
    counts: bool,
}

impl Gathered {
    pub(crate) fn new(place: PartitionPlace) -> Gathered {
        Gathered {
            place,
            groups: Vec::new(),
            counts: false,
        }
    }

    /// The place behind what was gathered.
    pub(crate) fn place(&self) -> &PartitionPlace {
        &self.place
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty() && !self.counts
    }

    /// Whether it has as many sources as a run should.
    pub(crate) fn is_full(&self) -> bool {
        self.groups.len() >= SOURCES_MAX
    }

    /// A message of a source, which is the record `last`.
    pub(crate) fn message(&mut self, head: Head, value: Vec<u8>, last: LastRecord) {
        self.pass(last);
        self.push(head.source, head.message(value));
    }

    /// An event that the ledger made of the record `last`, as the next one of `source`.
    pub(crate) fn own(&mut self, source: SourceId, value: Vec<u8>, last: LastRecord) {
        self.pass(last);
        let message = self.numbered(value);
        self.push(source, message);
    }

    /// A record of so many bytes that is no message and not kept.
    pub(crate) fn count(&mut self, last: LastRecord, bytes: u64) {
        self.pass(last);
        self.counts = true;
        let at = last.offset;
        let counted = self.place.counted.get_or_insert(Counted {
            from: at,
            to: at,
            records: 0,
            bytes: 0,
        });
        counted.to = at;
        counted.records = counted.records.saturating_add(1);
        counted.bytes = counted.bytes.saturating_add(bytes);
    }

    /// The notice of what was counted until now.
    pub(crate) fn told(&mut self, source: SourceId, value: Vec<u8>) {
        self.place.counted = None;
        let message = self.numbered(value);
        self.push(source, message);
    }

    /// An event of the ledger that no record stands behind; afterwards reading goes on at `place`.
    pub(crate) fn notice(&mut self, source: SourceId, value: Vec<u8>, place: PartitionPlace) {
        self.place = place;
        let message = self.numbered(value);
        self.push(source, message);
    }

    fn pass(&mut self, last: LastRecord) {
        self.place.next = last.offset.saturating_add(1);
        self.place.last = Some(last);
    }

    /// Numbers follow the place, so who reads the same records again gives them the same numbers.
    fn numbered(&mut self, value: Vec<u8>) -> Message {
        self.place.numbered = self.place.numbered.saturating_add(1);
        Message {
            stream: Stream::Record,
            epoch: Epoch(self.place.generation),
            sequence: Sequence(self.place.numbered),
            prev: [0; 32],
            mac: [0; 32],
            flags: Flags::NONE,
            value,
        }
    }

    fn push(&mut self, source: SourceId, message: Message) {
        // Few sources take turns in a partition: the last one is mostly it.
        let mut groups = self.groups.iter_mut().rev();
        if let Some((_, messages)) = groups.find(|group| group.0 == source) {
            messages.push(message);
            return;
        }
        self.groups.push((source, vec![message]));
    }

    /// Takes what was gathered as a run that carries `positions`.
    pub(crate) fn take(&mut self, positions: Vec<Position>) -> Run {
        self.counts = false;
        let groups = std::mem::take(&mut self.groups).into_iter();
        let batches = groups.map(|(source, messages)| Batch {
            source,
            messages,
            positions: Vec::new(),
        });
        Run {
            batches: batches.collect(),
            positions,
        }
    }
}
