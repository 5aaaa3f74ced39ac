//! Reading one open content record by record, and noticing when its bytes are not those that were
//! read before.
//!
//! Only the end of a record is a place to go on from; what follows it stays in memory, at most the
//! window of a format and one chunk. Not here: which content this is (`tailer`).

use std::io;

use collectors_formats::{Format, Step};

use crate::content::{Content, Stat};
use crate::position::{FilePosition, HASHED_BYTES, digest};

/// Bytes that are read at once, at least.
const CHUNK_BYTES: usize = 256 << 10;

/// A record on its way into the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The event, masked, as JSON.
    pub value: Vec<u8>,
    /// It may have been sent before, by a journal that is lost.
    pub reread: bool,
    /// What it counts as.
    pub kind: RecordKind,
    /// Something in it was masked.
    pub masked: bool,
}

/// What a record counts as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordKind {
    /// A native record that was understood.
    Parsed,
    /// Bytes that were not.
    Unparsed,
    /// What the agent says about a file.
    Notice,
}

/// How much is read in one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Records that may still be read.
    pub records: usize,
    /// Bytes of events that may still be made.
    pub bytes: usize,
}

impl Budget {
    /// Nothing is read: files are looked at and held open only.
    pub const NONE: Budget = Budget {
        records: 0,
        bytes: 0,
    };

    pub(crate) fn is_spent(&self) -> bool {
        self.records == 0 || self.bytes == 0
    }

    fn spend(&mut self, bytes: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What may follow the bytes that were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Follows {
    /// More of them, at any moment.
    Soon,
    /// Nothing for a while now.
    NotNow,
    /// Nothing any more.
    Never,
}

/// How reading ended for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The budget is spent.
    Budget,
    /// Nothing follows at present.
    End,
    /// The content is not the one that was read before.
    Cut,
}

/// An open content and where reading stands in it.
pub(crate) struct Reading {
    content: Content,
    format: Box<dyn Format + Send>,
    /// Bytes that were read; those before `start` are passed over.
    buffer: Vec<u8>,
    start: usize,
    /// The byte of the content that `buffer[start]` is.
    at: u64,
    /// The last bytes that were read, up to [`HASHED_BYTES`].
    window: Vec<u8>,
    /// Size and change when the window was last found in its place.
    checked: Option<(u64, i128)>,
    trail: Trail,
    /// Length of the last record's event.
    value_len: usize,
}

/// The bytes that a position is recognised by, as records pass.
#[derive(Clone, Debug, Default)]
struct Trail {
    whole: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// First and last bytes of a record that is not whole yet.
    open_head: Vec<u8>,
    open_tail: Vec<u8>,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reading(at {} of {:?})", self.at, self.content)
    }
}

impl Reading {
    /// Goes on in `content` at the position; `None` if it is not there.
    pub(crate) fn open(
        mut content: Content,
        mut format: Box<dyn Format + Send>,
        position: &FilePosition,
    ) -> io::Result<Option<Reading>> {
        let len = position.hashed();
        let head = content.read(0, len)?;
        let tail = content.read(position.offset - len as u64, len)?;
        if digest(&head) != position.head || digest(&tail) != position.tail {
            return Ok(None);
        }
        format.resume(position.offset);
        Ok(Some(Reading {
            content,
            format,
            buffer: Vec::new(),
            start: 0,
            at: position.offset,
            window: tail.clone(),
            checked: None,
            trail: Trail {
                whole: position.offset,
                head,
                tail,
                ..Trail::default()
            },
            value_len: 0,
        }))
    }

    pub(crate) fn content(&mut self) -> &mut Content {
        &mut self.content
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        self.content.stat()
    }

    /// Bytes that were read and are not part of a whole record.
    pub(crate) fn has_rest(&self) -> bool {
        self.end() > self.trail.whole
    }

    /// Reads records until the budget is spent or nothing follows. If the content turns out to
    /// have been replaced meanwhile, nothing of this call is in `out`.
    pub(crate) fn take(
        &mut self,
        budget: &mut Budget,
        reread: u64,
        out: &mut Vec<Record>,
    ) -> io::Result<Stop> {
        if self.is_cut()? {
            return Ok(Stop::Cut);
        }
        let (anchor_end, anchor) = (self.end(), self.window.clone());
        let first = out.len();
        let stop = loop {
            if budget.is_spent() {
                break Stop::Budget;
            }
            if !self.step(Follows::Soon, budget, reread, out) && !self.read_more()? {
                break Stop::End;
            }
        };
        if self.end() > anchor_end && !self.content.is_gzip() {
            let old = self.is_there(anchor_end, &anchor)?;
            // Both gone: it was cut after it was read, and what was read is good. Only the old
            // gone: what was read is of another content.
            if !old && self.is_there(self.end(), &self.window.clone())? {
                out.truncate(first);
                return Ok(Stop::Cut);
            }
        }
        Ok(stop)
    }

    /// Nothing will follow: what is left is a record, or is none. Says whether all was taken.
    pub(crate) fn finish(
        &mut self,
        budget: &mut Budget,
        reread: u64,
        out: &mut Vec<Record>,
    ) -> bool {
        self.take_rest(Follows::Never, budget, reread, out)
    }

    /// Nothing has followed for a while: a record that waits only for what may go on with it is
    /// taken. Says whether all such were taken.
    pub(crate) fn pause(
        &mut self,
        budget: &mut Budget,
        reread: u64,
        out: &mut Vec<Record>,
    ) -> bool {
        self.take_rest(Follows::NotNow, budget, reread, out)
    }

    fn take_rest(
        &mut self,
        follows: Follows,
        budget: &mut Budget,
        reread: u64,
        out: &mut Vec<Record>,
    ) -> bool {
        while !budget.is_spent() {
            if !self.step(follows, budget, reread, out) {
                return true;
            }
        }
        false
    }

    /// Whether the file is shorter than what was read, or holds other bytes before its end.
    pub(crate) fn is_cut(&mut self) -> io::Result<bool> {
        if self.content.is_gzip() {
            return Ok(false);
        }
        let stat = self.content.stat()?;
        if stat.size < self.end() {
            return Ok(true);
        }
        if self.checked == Some((stat.size, stat.changed)) {
            return Ok(false);
        }
        let window = std::mem::take(&mut self.window);
        let there = self.is_there(self.end(), &window);
        self.window = window;
        if there? {
            self.checked = Some((stat.size, stat.changed));
            return Ok(false);
        }
        Ok(true)
    }

    /// Writes down where reading stands.
    pub(crate) fn mark(&self, position: &mut FilePosition) {
        position.offset = self.trail.whole;
        position.head = digest(&self.trail.head);
        let tail = self.trail.tail.len().saturating_sub(HASHED_BYTES);
        position.tail = digest(self.trail.tail.get(tail..).unwrap_or_default());
    }

    /// Goes back to a position in the same content.
    ///
    /// # Errors
    /// It is not there any more.
    pub(crate) fn rewind(&mut self, position: &FilePosition) -> io::Result<()> {
        let len = position.hashed();
        let head = self.content.read(0, len)?;
        let tail = self.content.read(position.offset - len as u64, len)?;
        self.format.resume(position.offset);
        self.buffer.clear();
        (self.start, self.at, self.checked) = (0, position.offset, None);
        self.window.clone_from(&tail);
        self.trail = Trail {
            whole: position.offset,
            head,
            tail,
            ..Trail::default()
        };
        Ok(())
    }

    fn end(&self) -> u64 {
        self.at + (self.buffer.len() - self.start) as u64
    }

    fn is_there(&mut self, end: u64, bytes: &[u8]) -> io::Result<bool> {
        let from = end.saturating_sub(bytes.len() as u64);
        Ok(self.content.read(from, bytes.len())? == bytes)
    }

    /// One step of the format; `false` if it needs more.
    fn step(
        &mut self,
        follows: Follows,
        budget: &mut Budget,
        reread: u64,
        out: &mut Vec<Record>,
    ) -> bool {
        let input = self.buffer.get(self.start..).unwrap_or_default();
        let step = match follows {
            Follows::Soon => self.format.next(input, false),
            Follows::NotNow => self.format.pause(input),
            Follows::Never => self.format.next(input, true),
        };
        let (consumed, event, kind) = match step {
            Step::NeedMore => return false,
            Step::Skip { consumed } => (consumed, None, RecordKind::Parsed),
            Step::Record { consumed, event } => (consumed, Some(event), RecordKind::Parsed),
            Step::Unparsed { consumed, event } => (consumed, Some(event), RecordKind::Unparsed),
        };
        // INVARIANT: a format consumes no more than it was given.
        assert!(consumed <= input.len(), "a format consumed {consumed}");
        let at = self.at + consumed as u64;
        let found = event.map(|event| {
            // Records of one file are of about the same length.
            let mut value = Vec::with_capacity(self.value_len + self.value_len / 8);
            event.write_json(&mut value);
            (value, event.head().masked)
        });
        let bytes = input.get(..consumed).unwrap_or_default();
        self.trail.pass(bytes);
        self.start += consumed;
        self.at = at;
        let Some((value, masked)) = found else {
            return consumed > 0;
        };
        self.value_len = value.len();
        self.trail.end_record(at);
        budget.spend(value.len());
        out.push(Record {
            value,
            reread: at <= reread,
            kind,
            masked,
        });
        true
    }

    /// Reads at least as much as is buffered, so that a long record costs what it is long.
    fn read_more(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let wanted = CHUNK_BYTES.max(self.buffer.len());
        let bytes = self.content.read(self.end(), wanted)?;
        if bytes.is_empty() {
            // Many files may be open at their end.
            self.buffer.shrink_to_fit();
            return Ok(false);
        }
        keep_last(&mut self.window, &bytes);
        self.buffer.extend_from_slice(&bytes);
        Ok(true)
    }
}

impl Trail {
    fn pass(&mut self, bytes: &[u8]) {
        let room = HASHED_BYTES.saturating_sub(self.head.len() + self.open_head.len());
        let first = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.open_head.extend_from_slice(first);
        keep_last(&mut self.open_tail, bytes);
    }

    fn end_record(&mut self, whole: u64) {
        self.whole = whole;
        self.head.append(&mut self.open_head);
        self.tail.append(&mut self.open_tail);
        // Cut now and then, so that a record costs no move of 4 KiB.
        if self.tail.len() > 16 * HASHED_BYTES {
            self.tail.drain(..self.tail.len() - HASHED_BYTES);
        }
    }
}

fn keep_last(kept: &mut Vec<u8>, bytes: &[u8]) {
    let from = bytes.len().saturating_sub(HASHED_BYTES);
    let last = bytes.get(from..).unwrap_or_default();
    let over = (kept.len() + last.len()).saturating_sub(HASHED_BYTES);
    kept.drain(..over);
    kept.extend_from_slice(last);
}
