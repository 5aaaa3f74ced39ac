//! The second thread: compresses payloads, makes them durable, then the frame, whose sync is the
//! commit; then grows the arrays and answers.
//!
//! Not here: what is in a frame ([`crate::sequencer`]), checkpoints ([`crate::publisher`]).

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use ledger_core::frame::{FrameBody, FrameHeader};
use ledger_core::layout::{entries_name, payloads_name};
use ledger_core::payload::{BlockWriter, PayloadHeader};
use ledger_core::segment::SegmentHeader;
use ledger_core::{Entry, Hash, Origin, TreeSize, leaf_hash};

use crate::arrays::{ArrayWriter, sync_arrays};
use crate::error::WriteError;
use crate::files::{GrownFile, sync_folder};
use crate::prepare::Batch;
use crate::sequencer::{Reply, Work};
use crate::shared::Shared;

/// Bytes grown ahead of an entries file's end.
const ENTRIES_AHEAD: u64 = 8 << 20;
/// Bytes grown ahead of a payload file's end.
const PAYLOADS_AHEAD: u64 = 32 << 20;

/// The two files of the segment that is being written.
#[derive(Debug)]
pub(crate) struct Segment {
    first: u64,
    entries: GrownFile,
    payloads: GrownFile,
}

impl Segment {
    /// Goes on with a segment that a crash left unfinished, cutting what is no good.
    pub(crate) fn reopen(
        folder: &std::path::Path,
        first: ledger_core::Index,
        entries_len: u64,
        payloads_len: u64,
    ) -> Result<Segment, WriteError> {
        let entries = folder.join(entries_name(first));
        let payloads = folder.join(payloads_name(first, 0));
        Ok(Segment {
            first: first.0,
            payloads: GrownFile::reopen(&payloads, payloads_len, PAYLOADS_AHEAD)?,
            entries: GrownFile::reopen(&entries, entries_len, ENTRIES_AHEAD)?,
        })
    }

    /// Begins a segment: both files durable with their headers, then their names.
    fn create(folder: &std::path::Path, header: &SegmentHeader) -> Result<Segment, WriteError> {
        let first = header.first();
        let origin = Hash::sha256(header.origin.as_str().as_bytes());
        let path = folder.join(payloads_name(first, 0));
        let mut payloads = GrownFile::create(&path, PAYLOADS_AHEAD)?;
        payloads.append(
            &PayloadHeader {
                first,
                generation: 0,
                origin,
            }
            .encode(),
        )?;
        payloads.sync()?;
        let path = folder.join(entries_name(first));
        let mut entries = GrownFile::create(&path, ENTRIES_AHEAD)?;
        entries.append(&header.encode())?;
        entries.sync()?;
        sync_folder(folder)?;
        Ok(Segment {
            first: first.0,
            entries,
            payloads,
        })
    }

    /// Ends a segment for ever: a frame without entries, then the true lengths.
    fn finish(mut self, size: TreeSize, arrays_durable: TreeSize) -> Result<(), WriteError> {
        let header = frame_header(
            size.0,
            arrays_durable,
            &self.payloads,
            self.payloads.len(),
            true,
        );
        self.payloads.finish()?;
        self.entries.append(&FrameBody::default().encode(header))?;
        self.entries.finish()
    }
}

fn frame_header(
    first: u64,
    arrays_durable: TreeSize,
    payloads: &GrownFile,
    payload_end: u64,
    finished: bool,
) -> FrameHeader {
    FrameHeader {
        first: ledger_core::Index(first),
        entry_count: 0,
        body_len: 0,
        arrays_durable,
        payload_start: payloads.len(),
        payload_end,
        block_count: 0,
        finished,
        body_crc: 0,
    }
}

/// All that the thread owns.
pub(crate) struct Writer {
    pub(crate) work: Receiver<Work>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) folder: PathBuf,
    pub(crate) hashes: PathBuf,
    pub(crate) origin: Origin,
    pub(crate) segment: Option<Segment>,
    pub(crate) arrays: ArrayWriter,
    pub(crate) blocks: BlockWriter,
    pub(crate) entries_max: u64,
    pub(crate) payloads_max: u64,
    pub(crate) chunk: Vec<u8>,
}

impl Writer {
    /// Runs until the sequencer ends, then finishes the segment; stops the log at an error.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.frames() {
            self.shared.stop(error.to_string());
        }
        // Whoever still waits for an answer learns from the closed channel that there is none.
    }

    fn frames(&mut self) -> Result<(), WriteError> {
        while let Ok(work) = self.work.recv() {
            if self.shared.stopped().is_some() {
                return Ok(());
            }
            self.frame(work)?;
        }
        if self.shared.stopped().is_none() {
            self.finish_segment()?;
        }
        Ok(())
    }

    fn frame(&mut self, work: Work) -> Result<(), WriteError> {
        let Work { mut batch, replies } = work;
        if batch.len() > 0 || !batch.positions.is_empty() {
            self.write(&mut batch)?;
            self.grow_tree(&batch)?;
        }
        self.announce(batch);
        for reply in replies {
            // Whoever asked may have gone; what is durable stays.
            match reply {
                Reply::Append(to, answer) => drop(to.send(answer)),
                Reply::Run(to, answer) => drop(to.send(answer)),
                Reply::Register(to, state) => drop(to.send(Ok(state))),
            }
        }
        self.rotate()
    }

    /// Payloads, sync; frame, sync: after that the entries exist.
    fn write(&mut self, batch: &mut Batch) -> Result<(), WriteError> {
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => Segment::create(&self.folder, &self.segment_header())?,
        };
        batch.commit();
        let mut body = FrameBody {
            entries: std::mem::take(&mut batch.entries),
            macs: std::mem::take(&mut batch.macs),
            blocks: Vec::with_capacity(batch.blocks.len()),
            sources: std::mem::take(&mut batch.sources),
            positions: std::mem::take(&mut batch.positions),
        };
        self.chunk.clear();
        self.chunk.extend_from_slice(&batch.salts);
        for block in &batch.blocks {
            body.blocks.push(
                self.blocks
                    .put(&block.bytes, block.entry_count, &mut self.chunk)?,
            );
        }
        let arrays = self.shared.arrays_durable();
        let end = segment.payloads.len() + self.chunk.len() as u64;
        let header = frame_header(batch.first.0, arrays, &segment.payloads, end, false);
        if !self.chunk.is_empty() {
            segment.payloads.append(&self.chunk)?;
            segment.payloads.sync()?;
        }
        segment.entries.append(&body.encode(header))?;
        segment.entries.sync()?;
        self.segment = Some(segment);
        batch.entries = body.entries;
        batch.sources = body.sources;
        batch.positions = body.positions;
        Ok(())
    }

    fn grow_tree(&mut self, batch: &Batch) -> Result<(), WriteError> {
        for entry in batch.entries.chunks_exact(Entry::LEN) {
            self.arrays.push(leaf_hash(entry));
        }
        self.arrays.flush()
    }

    fn announce(&mut self, batch: Batch) {
        let edge = self.arrays.edge().clone();
        self.shared.set_durable(|durable| {
            for source in batch.sources {
                durable.sources.insert(source.id, source);
            }
            for position in batch.positions {
                durable.positions.insert(position.key.clone(), position);
            }
            durable.counters.add(&batch.counters);
            durable.beats.extend(batch.beats);
            for (source, more) in batch.wrongs {
                let wrongs = durable.wrongs.entry(source).or_default();
                wrongs.conflicts += more.conflicts;
                wrongs.forged += more.forged;
                wrongs.lives += more.lives;
                wrongs.states_lost += more.states_lost;
            }
            durable.ledger_time = batch.ledger_time;
            durable.edge = edge;
        });
    }

    fn segment_header(&self) -> SegmentHeader {
        let durable = self.shared.durable();
        SegmentHeader {
            origin: self.origin.clone(),
            edge: self.arrays.edge().clone(),
            arrays_durable: self.shared.arrays_durable(),
            ledger_time: durable.ledger_time,
            sources: durable.sources.values().cloned().collect(),
            positions: durable.positions.values().cloned().collect(),
        }
    }

    fn rotate(&mut self) -> Result<(), WriteError> {
        let size = self.arrays.edge().size().0;
        let full = self.segment.as_ref().is_some_and(|segment| {
            size - segment.first >= self.entries_max || segment.payloads.len() >= self.payloads_max
        });
        if full { self.finish_segment() } else { Ok(()) }
    }

    /// The arrays are synced first, so that a finished segment's hashes are all durable.
    fn finish_segment(&mut self) -> Result<(), WriteError> {
        let Some(segment) = self.segment.take() else {
            return Ok(());
        };
        let size = self.arrays.edge().size();
        sync_arrays(&self.hashes)?;
        self.shared.raise_arrays_durable(size);
        segment.finish(size, self.shared.arrays_durable())
    }
}
