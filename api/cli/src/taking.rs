//! Taking one file into the log: one thread reads and parses, the other appends, so that a batch
//! is parsed while the one before becomes durable.
//!
//! Not here: numbers and repeats, which the door decides, and which file it is (`position.rs`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use indicatif::ProgressBar;
use ledger_core::message::Message;
use ledger_core::state::{SourceState, Stream};
use ledger_core::{Epoch, Flags, Sequence, TreeSize};
use ledger_log::{Appended, Batch, Outcome, SourceSpec};
use serde::Serialize;

use crate::access::{Access, Pending};
use crate::commands::ingest::SourceArg;
use crate::error::CommandError;
use crate::position::FilePosition;
use crate::reading::{AuditFile, FileRefused, Records};

/// Most records of a batch.
const BATCH_RECORDS_MAX: usize = 1_000;
/// Most bytes of a batch, unless one record alone has more.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Batches that are parsed ahead.
const AHEAD_MAX: usize = 2;
/// Batches that are on their way to the disk at once.
const PENDING_MAX: usize = 8;
/// What was taken of one source in this run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Taken {
    pub(crate) name: String,
    pub(crate) platform: String,
    pub(crate) path: String,
    pub(crate) records: u64,
    pub(crate) unparsed: u64,
    pub(crate) masked: u64,
    pub(crate) truncated: u64,
    pub(crate) first_index: Option<u64>,
    pub(crate) last_index: Option<u64>,
    pub(crate) records_total: u64,
    pub(crate) offset: u64,
    pub(crate) line: u64,
    pub(crate) left_bytes: u64,
}

/// Records on their way to the door, and where reading stands after them.
struct Draft {
    values: Vec<Vec<u8>>,
    tally: Tally,
    position: FilePosition,
}

/// What is counted of a batch.
#[derive(Clone, Copy, Default)]
struct Tally {
    records: u64,
    unparsed: u64,
    masked: u64,
    truncated: u64,
    records_total: u64,
    offset: u64,
    line: u64,
}

/// Takes what is new in the file. Returns with the log's size after the last record.
pub(crate) fn take(
    source: &SourceArg,
    file: &AuditFile,
    access: &mut Access,
    bar: &ProgressBar,
    stop: &AtomicBool,
) -> Result<(Taken, TreeSize), CommandError> {
    let format = access.format(&source.name, &source.platform)?;
    let spec = SourceSpec {
        name: source.name.clone(),
        platform: source.platform.clone(),
    };
    let known = access
        .door()
        .positions(&[FilePosition::key(&source.name)])?;
    let from = match known.into_iter().next().flatten() {
        Some(position) => {
            FilePosition::read(&source.name, &position)?.resume(&source.name, file)?
        }
        None => FilePosition::start(&source.name, file)?,
    };
    let state = access.door().register(&spec)?;
    bar.inc(from.offset);
    let mut appender = Appender::new(source, state, &from);
    let records = Records::new(file, format, from.offset, from.line);
    let (sender, drafts) = sync_channel(AHEAD_MAX);
    thread::scope(|scope| {
        let reading = scope.spawn(move || read(records, file, from, sender, stop));
        let appended = appender.append_all(&drafts, access, bar);
        // A failed append ends the reader: its channel is closed.
        drop(drafts);
        let read = reading.join();
        appended?;
        match read {
            Ok(read) => read.map_err(CommandError::from),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
    .map(|left| appender.finish(left))
}

/// Reads batch after batch; returns the bytes that are left at the end.
fn read(
    mut records: Records<'_>,
    file: &AuditFile,
    from: FilePosition,
    sender: SyncSender<Draft>,
    stop: &AtomicBool,
) -> Result<u64, FileRefused> {
    let mut position = from;
    while !stop.load(Ordering::Relaxed) {
        let Some(draft) = read_batch(&mut records, file, &position)? else {
            return Ok(records.left());
        };
        position = draft.position.clone();
        if sender.send(draft).is_err() {
            break;
        }
    }
    Ok(0)
}

fn read_batch(
    records: &mut Records<'_>,
    file: &AuditFile,
    before: &FilePosition,
) -> Result<Option<Draft>, FileRefused> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    let mut tally = Tally::default();
    let mut bytes = 0;
    while values.len() < BATCH_RECORDS_MAX && bytes < BATCH_BYTES_MAX {
        let Some(record) = records.next_record()? else {
            break;
        };
        bytes += record.value.len();
        tally.records += 1;
        tally.unparsed += u64::from(record.head.unparsed);
        tally.masked += u64::from(record.head.masked);
        tally.truncated += u64::from(record.head.truncated);
        (tally.offset, tally.line) = (record.end, record.next_line);
        values.push(record.value);
    }
    if values.is_empty() {
        return Ok(None);
    }
    let position = before.after(file, tally.offset, tally.line, tally.records)?;
    tally.records_total = position.records;
    Ok(Some(Draft {
        values,
        tally,
        position,
    }))
}

/// Numbers records and appends them.
struct Appender {
    state: SourceState,
    epoch: Epoch,
    sequence: u64,
    taken: Taken,
    size: TreeSize,
}

impl Appender {
    fn new(source: &SourceArg, state: SourceState, from: &FilePosition) -> Appender {
        // Numbers follow the position, not the source's mark: whoever takes the same records again
        // gives them the same numbers, and the log drops them as repeats.
        let epoch = state.epoch.max(FILE_EPOCH);
        Appender {
            epoch,
            sequence: from.records,
            taken: Taken {
                name: source.name.clone(),
                platform: source.platform.clone(),
                path: source.path.to_string_lossy().into_owned(),
                records: 0,
                unparsed: 0,
                masked: 0,
                truncated: 0,
                first_index: None,
                last_index: None,
                records_total: from.records,
                offset: from.offset,
                line: from.line,
                left_bytes: 0,
            },
            size: TreeSize(0),
            state,
        }
    }

    /// Appends batches in their order, a few of them on their way at once.
    fn append_all(
        &mut self,
        drafts: &Receiver<Draft>,
        access: &mut Access,
        bar: &ProgressBar,
    ) -> Result<(), CommandError> {
        let mut pending: VecDeque<(Pending, Tally)> = VecDeque::new();
        loop {
            let draft = drafts.recv().ok();
            let room = if draft.is_some() { PENDING_MAX } else { 1 };
            while pending.len() >= room {
                let Some((batch, tally)) = pending.pop_front() else {
                    break;
                };
                let before = self.taken.offset;
                self.count(&batch.wait()?, tally)?;
                bar.inc(tally.offset.saturating_sub(before));
            }
            let Some(draft) = draft else { return Ok(()) };
            let tally = draft.tally;
            let batch = self.batch(draft);
            pending.push_back((access.submit(batch)?, tally));
        }
    }

    fn batch(&mut self, draft: Draft) -> Batch {
        Batch {
            source: self.state.id,
            positions: vec![draft.position.stored(&self.taken.name)],
            messages: (draft.values.into_iter())
                .map(|value| self.message(value))
                .collect(),
        }
    }

    /// Notes what became of a batch that is durable.
    fn count(&mut self, appended: &Appended, tally: Tally) -> Result<(), CommandError> {
        for outcome in &appended.outcomes {
            match outcome {
                Outcome::Appended(index) | Outcome::Late(index) => {
                    self.taken.first_index.get_or_insert(index.0);
                    self.taken.last_index = Some(index.0);
                    self.taken.records += 1;
                }
                // Taken before, by a run that was killed or that goes on beside this one.
                Outcome::Repeat => {}
                // Somebody gave this source's next numbers to other records.
                Outcome::Conflict(_) | Outcome::Forged(_) => {
                    return Err(CommandError::TakenByAnother {
                        name: self.taken.name.clone(),
                    });
                }
            }
        }
        self.size = self.size.max(appended.size);
        let taken = &mut self.taken;
        taken.unparsed += tally.unparsed;
        taken.masked += tally.masked;
        taken.truncated += tally.truncated;
        taken.records_total = tally.records_total;
        (taken.offset, taken.line) = (tally.offset, tally.line);
        Ok(())
    }

    fn message(&mut self, value: Vec<u8>) -> Message {
        self.sequence += 1;
        Message {
            stream: Stream::Record,
            epoch: self.epoch,
            sequence: Sequence(self.sequence),
            prev: [0; 32],
            mac: [0; 32],
            flags: Flags::NONE,
            value,
        }
    }

    fn finish(self, left_bytes: u64) -> (Taken, TreeSize) {
        (
            Taken {
                left_bytes,
                ..self.taken
            },
            self.size,
        )
    }
}

/// The one epoch of a source that is read from a file: it has no journal whose life could end.
const FILE_EPOCH: Epoch = Epoch(1);
