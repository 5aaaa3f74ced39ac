//! The journal: numbers, masked bytes and positions, bound before a record first leaves
//! (docs/formats/journal.md).
//!
//! Append-only segments, one sync a batch, a hard quota. What a published checkpoint covers is
//! forgotten by removing whole segments; the last segment stays and says where all stands. A failed
//! write is undone; if it cannot be, nothing is appended until it is. Not here: MACs and keys
//! (collectors/bus), reading (`tailer`), what is sent when (`follower`).

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};

use ledger_core::message::{Message, MessageMac};
use ledger_core::state::{Position, Stream};
use ledger_core::{Epoch, Sequence, SourceId};

use crate::journal_error::JournalError;
use crate::segment::{self, Lock, Segment};
use crate::stored::{
    FRAME_BYTES_MAX, FRAME_MESSAGES_MAX, Frame, Last, POSITIONS_MAX, apply, follow,
};

/// Bounds of a journal on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalBounds {
    /// Bytes that the folder's segments never exceed.
    pub quota_bytes: u64,
    /// A segment with this many bytes is followed by the next.
    pub segment_bytes: u64,
}

/// Least quota: room for the largest frame and for what the agent says about itself.
pub const QUOTA_MIN: u64 = 64 << 20;

impl JournalBounds {
    /// Bounds for a quota: segments of 64 MiB, smaller if the quota holds fewer than four.
    pub fn of_quota(quota_bytes: u64) -> JournalBounds {
        JournalBounds {
            quota_bytes,
            segment_bytes: (64 << 20).min(quota_bytes / 4).max(1),
        }
    }

    /// What is kept free of records, so that heartbeats can say that the journal is full.
    fn reserve(&self) -> u64 {
        (1 << 20).min(self.quota_bytes / 16)
    }
}

/// What an append is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// Records: they may use all but the reserve.
    Records,
    /// What the agent says about itself: it may use the reserve too.
    Own,
}

/// How full a journal is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pressure {
    /// Below 80 %.
    Free,
    /// From 80 % on: reading slows down.
    High,
    /// No record fits any more: reading pauses.
    Full,
}

/// What opening had to drop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Bytes of a torn tail, which was promised to nobody.
    pub dropped_bytes: u64,
}

/// A place in the journal, between two frames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Cursor {
    number: u64,
    offset: u64,
}

/// A journal that is open, and locked.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    bounds: JournalBounds,
    source: SourceId,
    segments: VecDeque<Segment>,
    /// The last segment's file.
    file: File,
    last: [Last; 3],
    positions: BTreeMap<String, Vec<u8>>,
    failed: bool,
    /// The bytes of a frame are written here first, again and again.
    scratch: Vec<u8>,
    #[cfg(test)]
    pub(crate) fault: Option<segment::Fault>,
    _lock: Lock,
}

impl Journal {
    /// Begins a journal in a folder that holds none.
    ///
    /// # Errors
    /// The folder cannot be made or written, or another agent holds it.
    pub fn create(
        dir: &Path,
        source: SourceId,
        epoch: Epoch,
        bounds: JournalBounds,
    ) -> Result<Journal, JournalError> {
        let lock = segment::lock(dir)?;
        let last = [Last::default(); 3];
        let first = Segment::create(dir, 1, source, epoch, last, &[])?;
        let file = first.open(dir)?;
        Ok(Journal {
            dir: dir.to_owned(),
            bounds,
            source,
            segments: VecDeque::from([first]),
            file,
            last,
            positions: BTreeMap::new(),
            failed: false,
            scratch: Vec::new(),
            #[cfg(test)]
            fault: None,
            _lock: lock,
        })
    }

    /// Opens the journal of a folder, or says that there is none. A torn tail is cut off.
    ///
    /// # Errors
    /// The folder cannot be read, another agent holds it, or its bytes are not what was written.
    pub fn open(
        dir: &Path,
        source: SourceId,
        bounds: JournalBounds,
    ) -> Result<Option<(Journal, Recovered)>, JournalError> {
        let lock = segment::lock(dir)?;
        let numbers = segment::list(dir)?;
        if numbers.is_empty() {
            return Ok(None);
        }
        let read = segment::read_all(dir, source, &numbers)?;
        let Some(active) = read.segments.back() else {
            return Ok(None);
        };
        let file = active.open(dir)?;
        let journal = Journal {
            dir: dir.to_owned(),
            bounds,
            source,
            file,
            last: read.last,
            positions: read.positions,
            segments: read.segments,
            failed: false,
            scratch: Vec::new(),
            #[cfg(test)]
            fault: None,
            _lock: lock,
        };
        journal.sync("sync")?;
        let recovered = Recovered {
            dropped_bytes: read.dropped_bytes,
        };
        Ok(Some((journal, recovered)))
    }

    /// The epoch that new messages belong to.
    pub fn epoch(&self) -> Epoch {
        self.segments.back().map_or(Epoch(0), |last| last.epoch)
    }

    /// The last message bound in a stream of the current epoch.
    pub fn last(&self, stream: Stream) -> Last {
        let [record, heartbeat, snapshot] = self.last;
        match stream {
            Stream::Record => record,
            Stream::Heartbeat => heartbeat,
            Stream::Snapshot => snapshot,
        }
    }

    /// Where reading stands.
    pub fn positions(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.positions
    }

    /// Bytes on disk.
    pub fn used_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// How full it is for records.
    pub fn pressure(&self) -> Pressure {
        let limit = self.bounds.quota_bytes - self.bounds.reserve();
        let used = self.used_bytes();
        // A batch of records is not tried in room that may be too small for one.
        if used.saturating_add(limit / 64) > limit {
            Pressure::Full
        } else if used >= limit / 5 * 4 {
            Pressure::High
        } else {
            Pressure::Free
        }
    }

    /// Binds a batch: when this returns, its numbers, bytes and positions are durable together.
    /// `positions` are those that changed; one with an empty value is given up.
    ///
    /// # Errors
    /// Nothing of the batch is bound: see [`JournalError`].
    pub fn append(
        &mut self,
        room: Room,
        messages: &[Message],
        positions: &[Position],
    ) -> Result<(), JournalError> {
        self.mend()?;
        let mut last = self.last;
        follow(&mut last, self.epoch(), messages)
            .map_err(|(stream, sequence)| JournalError::OutOfOrder { stream, sequence })?;
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        Frame::encode(positions, messages, &mut bytes);
        let bound = self.append_frame(room, &bytes, messages.len(), positions);
        self.scratch = bytes;
        bound?;
        self.last = last;
        apply(&mut self.positions, positions);
        if let Some(active) = self.segments.back_mut() {
            active.last = last;
        }
        Ok(())
    }

    fn append_frame(
        &mut self,
        room: Room,
        bytes: &[u8],
        messages: usize,
        positions: &[Position],
    ) -> Result<(), JournalError> {
        if bytes.len() > FRAME_BYTES_MAX
            || messages > FRAME_MESSAGES_MAX
            || positions.len() + self.positions.len() > POSITIONS_MAX
        {
            let bytes = bytes.len();
            return Err(JournalError::TooLarge { messages, bytes });
        }
        self.check_room(room, bytes.len() as u64)?;
        if self
            .segments
            .back()
            .is_some_and(|active| active.len >= self.bounds.segment_bytes)
        {
            self.roll(self.epoch())?;
        }
        self.write(bytes)
    }

    /// The place behind the last frame.
    pub(crate) fn end(&self) -> Cursor {
        let last = self.segments.back();
        last.map_or(Cursor::default(), |last| Cursor {
            number: last.number,
            offset: last.len,
        })
    }

    /// The frame after `cursor` and the place behind it; `None` after the last one. A cursor
    /// before the oldest segment begins there.
    ///
    /// # Errors
    /// A segment cannot be read, or is not what was written.
    pub fn next(&self, cursor: Cursor) -> Result<Option<(Frame, Cursor)>, JournalError> {
        for segment in &self.segments {
            if segment.number < cursor.number {
                continue;
            }
            let within = segment.number == cursor.number;
            let at = if within { cursor.offset } else { segment.first };
            let at = at.max(segment.first);
            if at >= segment.len {
                continue;
            }
            let (frame, len) = segment.frame(&self.dir, at)?;
            let behind = Cursor {
                number: segment.number,
                offset: at + len,
            };
            return Ok(Some((frame, behind)));
        }
        Ok(None)
    }

    /// The MAC of a message of the current epoch that the journal still holds.
    ///
    /// # Errors
    /// As [`Journal::next`].
    pub fn mac_of(
        &self,
        stream: Stream,
        sequence: Sequence,
    ) -> Result<Option<MessageMac>, JournalError> {
        let of = |last: &[Last; 3]| segment::of(last, stream);
        for segment in self.segments.iter().filter(|s| s.epoch == self.epoch()) {
            if of(&segment.before).sequence == sequence && sequence.0 > 0 {
                return Ok(Some(of(&segment.before).mac));
            }
            if of(&segment.last).sequence == sequence {
                return Ok((sequence.0 > 0).then_some(of(&segment.last).mac));
            }
            if sequence > of(&segment.before).sequence && sequence < of(&segment.last).sequence {
                return segment.mac_of(&self.dir, stream, sequence);
            }
        }
        Ok(None)
    }

    /// Forgets what is acknowledged: numbers up to these of the current epoch, and every epoch
    /// before `epochs_before`. Whole segments are removed, oldest first; the last one stays.
    ///
    /// # Errors
    /// A segment cannot be removed or the next one begun; nothing that counts is lost.
    pub fn forget(
        &mut self,
        acknowledged: [Sequence; 3],
        epochs_before: Epoch,
    ) -> Result<(), JournalError> {
        self.mend()?;
        let current = self.epoch();
        let covered = |segment: &Segment| {
            let all = segment.last.iter().zip(&acknowledged);
            let acknowledged = all.clone().all(|(last, upto)| last.sequence <= *upto);
            segment.epoch < epochs_before || (segment.epoch == current && acknowledged)
        };
        let worth = self.bounds.segment_bytes / 8;
        if self
            .segments
            .back()
            .is_some_and(|active| active.len > worth && covered(active))
        {
            self.roll(current)?;
        }
        let mut removed = false;
        while self.segments.len() > 1 && self.segments.front().is_some_and(covered) {
            if let Some(segment) = self.segments.front() {
                segment.remove(&self.dir)?;
            }
            self.segments.pop_front();
            removed = true;
        }
        if removed {
            segment::sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Begins a new life: streams start again at 1. `positions` replace all that were.
    ///
    /// # Errors
    /// The segment cannot be made; the epoch stays as it was.
    ///
    /// # Panics
    /// If the epoch is not greater: an epoch is never used twice.
    pub fn begin_epoch(
        &mut self,
        epoch: Epoch,
        positions: Vec<Position>,
    ) -> Result<(), JournalError> {
        // INVARIANT: epochs only grow.
        assert!(epoch > self.epoch(), "a new epoch is greater than the last");
        let before = (self.last, self.positions.clone());
        self.last = [Last::default(); 3];
        self.positions = positions.into_iter().map(|p| (p.key, p.value)).collect();
        let rolled = self.mend().and_then(|()| self.roll(epoch));
        if rolled.is_err() {
            (self.last, self.positions) = before;
        }
        rolled
    }

    fn check_room(&self, room: Room, needed: u64) -> Result<(), JournalError> {
        let quota = match room {
            Room::Records => self.bounds.quota_bytes - self.bounds.reserve(),
            Room::Own => self.bounds.quota_bytes,
        };
        let used = self.used_bytes();
        // The header of one more segment may be needed too.
        let header = self
            .positions
            .iter()
            .map(|(k, v)| k.len() + v.len() + 5)
            .sum::<usize>()
            + 256;
        if used.saturating_add(needed).saturating_add(header as u64) > quota {
            return Err(JournalError::Full {
                used,
                quota,
                needed,
            });
        }
        Ok(())
    }

    /// Begins the next segment.
    fn roll(&mut self, epoch: Epoch) -> Result<(), JournalError> {
        let number = self.segments.back().map_or(1, |last| last.number + 1);
        let positions: Vec<Position> = (self.positions.iter())
            .map(|(key, value)| Position {
                key: key.clone(),
                value: value.clone(),
            })
            .collect();
        let made = Segment::create(&self.dir, number, self.source, epoch, self.last, &positions)
            .and_then(|next| Ok((next.open(&self.dir)?, next)));
        let (file, next) = made.inspect_err(|_| {
            // A segment that is there although making it failed must be followed, not passed over.
            self.failed |= segment::exists(&self.dir, number);
        })?;
        self.file = file;
        self.segments.push_back(next);
        Ok(())
    }

    /// Writes and syncs at the end of the last segment; undoes what failed.
    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let Some(active) = self.segments.back() else {
            return Ok(());
        };
        let end = active.len;
        #[cfg(test)]
        let written = segment::write_with_fault(&self.file, bytes, end, self.fault);
        #[cfg(not(test))]
        let written = segment::write(&self.file, bytes, end);
        if let Err((doing, error)) = written {
            // What is there may or may not be durable: it is cut off, so that neither a later
            // append nor a later start takes it for bound.
            let undone = self.file.set_len(end).and_then(|()| self.file.sync_all());
            self.failed = undone.is_err();
            let path = active.path(&self.dir);
            return Err(JournalError::Io { doing, path, error });
        }
        if let Some(active) = self.segments.back_mut() {
            active.len = end + bytes.len() as u64;
        }
        Ok(())
    }

    /// Undoes what a failed write left and could not undo itself.
    fn mend(&mut self) -> Result<(), JournalError> {
        let Some(active) = self.segments.back().filter(|_| self.failed) else {
            return Ok(());
        };
        let path = active.path(&self.dir);
        let undone = self
            .file
            .set_len(active.len)
            .and_then(|()| self.file.sync_all());
        undone.map_err(segment::failed("mend", &path))?;
        segment::remove_next(&self.dir, active.number)?;
        self.failed = false;
        Ok(())
    }

    fn sync(&self, doing: &'static str) -> Result<(), JournalError> {
        let synced = self.file.sync_all();
        synced.map_err(segment::failed(doing, &self.dir))
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
