//! Segments of the journal as files: made, listed, read through at the start, removed.
//!
//! Not here: what is appended when ([`crate::journal`]), the bytes ([`crate::stored`]).

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ledger_core::message::MessageMac;
use ledger_core::state::{Position, Stream};
use ledger_core::{Epoch, Sequence, SourceId};
use rustix::fs::{FlockOperation, flock};

use crate::journal_error::{Damage, JournalError};
use crate::stored::{
    FRAME_BYTES_MAX, FRAME_HEAD, FRAME_MARK, Frame, Last, SEGMENT_MARK, SegmentHeader, apply,
    follow,
};

/// What is known of one segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) epoch: Epoch,
    /// How the streams stand before and after it.
    pub(crate) before: [Last; 3],
    pub(crate) last: [Last; 3],
    /// Where its first frame begins.
    pub(crate) first: u64,
    /// Bytes of it that are durable.
    pub(crate) len: u64,
}

/// All segments of a folder.
pub(crate) struct ReadAll {
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) last: [Last; 3],
    pub(crate) positions: BTreeMap<String, Vec<u8>>,
    pub(crate) dropped_bytes: u64,
}

pub(crate) fn failed(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> JournalError + use<> {
    let path = path.to_owned();
    move |error| JournalError::Io { doing, path, error }
}

/// The lock of a journal. It is given back by name, not only by closing the file: a child that is
/// being started elsewhere in the process may hold a copy of the descriptor for a moment.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is what is left if this fails.
        let _closing_is_left = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Makes the folder if it is not there, and holds it against every other agent.
pub(crate) fn lock(dir: &Path) -> Result<Lock, JournalError> {
    fs::create_dir_all(dir).map_err(failed("make", dir))?;
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    let options = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let file = options.open(&path).map_err(failed("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::Held { path }),
        Err(errno) => Err(failed("lock", &path)(errno.into())),
    }
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), JournalError> {
    let synced = File::open(dir).and_then(|folder| folder.sync_all());
    synced.map_err(failed("sync", dir))
}

fn name(number: u64) -> String {
    format!("{number:010}.journal")
}

/// Moves the segments of a journal that cannot be read into a folder of their own.
pub(crate) fn set_aside(dir: &Path) -> Result<(), JournalError> {
    let lock = lock(dir)?;
    let numbers = list(dir)?;
    if numbers.is_empty() {
        return Ok(());
    }
    let mut number = 1;
    let aside = loop {
        let aside = dir.join(format!("damaged-{number}"));
        match fs::create_dir(&aside) {
            Ok(()) => break aside,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(failed("make", &aside)(error)),
        }
    };
    for number in numbers {
        let path = dir.join(name(number));
        fs::rename(&path, aside.join(name(number))).map_err(failed("move", &path))?;
    }
    sync_dir(&aside)?;
    sync_dir(dir)?;
    drop(lock);
    Ok(())
}

/// Whether a segment is there.
pub(crate) fn exists(dir: &Path, number: u64) -> bool {
    dir.join(name(number)).exists()
}

/// Removes a segment behind the last one, which making it left half done.
pub(crate) fn remove_next(dir: &Path, last: u64) -> Result<(), JournalError> {
    let path = dir.join(name(last.saturating_add(1)));
    match fs::remove_file(&path) {
        Ok(()) => sync_dir(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", &path)(error)),
    }
}

/// The numbers of the segments of a folder. What a crash left half made is removed.
pub(crate) fn list(dir: &Path) -> Result<Vec<u64>, JournalError> {
    let mut numbers = Vec::new();
    for item in fs::read_dir(dir).map_err(failed("read", dir))? {
        let item = item.map_err(failed("read", dir))?;
        let file = item.file_name();
        let Some(file) = file.to_str() else { continue };
        if file.ends_with(".journal.new") {
            fs::remove_file(item.path()).map_err(failed("remove", &item.path()))?;
        } else if let Some(number) = file.strip_suffix(".journal")
            && let Ok(number) = number.parse()
            && file == name(number)
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads every segment through, checks that each follows the one before, and cuts a torn tail.
pub(crate) fn read_all(
    dir: &Path,
    source: SourceId,
    numbers: &[u64],
) -> Result<ReadAll, JournalError> {
    let mut all = ReadAll {
        segments: VecDeque::new(),
        last: [Last::default(); 3],
        positions: BTreeMap::new(),
        dropped_bytes: 0,
    };
    for (at, number) in numbers.iter().enumerate() {
        let path = dir.join(name(*number));
        let damaged = |at, reason| JournalError::Damaged {
            path: path.clone(),
            at,
            reason,
        };
        let file = File::open(&path).map_err(failed("open", &path))?;
        let (header, first) = read_header(&file, &path)?;
        if header.source != source {
            return Err(damaged(0, Damage::OtherSource(header.source)));
        }
        if let Some(before) = all.segments.back() {
            if before.number + 1 != *number {
                return Err(damaged(0, Damage::Hole));
            }
            let goes_on = header.epoch == before.epoch && header.last == all.last;
            let begins = header.epoch > before.epoch
                && header.last.iter().all(|last| *last == Last::default());
            if !goes_on && !begins {
                return Err(damaged(0, Damage::Header));
            }
        }
        all.last = header.last;
        all.positions = (header.positions.into_iter())
            .map(|p| (p.key, p.value))
            .collect();
        let mut segment = Segment {
            number: *number,
            epoch: header.epoch,
            before: header.last,
            last: header.last,
            first,
            len: first,
        };
        let is_last = at + 1 == numbers.len();
        all.dropped_bytes += read_frames(&file, &path, &mut segment, &mut all, is_last)?;
        segment.last = all.last;
        all.segments.push_back(segment);
    }
    Ok(all)
}

fn read_header(file: &File, path: &Path) -> Result<(SegmentHeader, u64), JournalError> {
    let unreadable = || failed("read", path);
    let head = read_at(file, 0, SEGMENT_MARK.len() + 8).map_err(unreadable())?;
    let stated = head
        .get(SEGMENT_MARK.len()..)
        .and_then(|rest| rest.first_chunk::<4>());
    let stated = stated.map_or(0, |len| u32::from_be_bytes(*len) as usize);
    let len = head.len() + stated.min(FRAME_BYTES_MAX);
    let bytes = read_at(file, 0, len).map_err(unreadable())?;
    let (header, len) = SegmentHeader::decode(&bytes).map_err(|error| JournalError::Damaged {
        path: path.to_owned(),
        at: 0,
        reason: error.into(),
    })?;
    Ok((header, len as u64))
}

/// Reads the frames of a segment; returns how many bytes of a torn tail were cut off.
fn read_frames(
    file: &File,
    path: &Path,
    segment: &mut Segment,
    all: &mut ReadAll,
    is_last: bool,
) -> Result<u64, JournalError> {
    let size = file.metadata().map_err(failed("read", path))?.len();
    while segment.len < size {
        let at = segment.len;
        let damaged = |reason| JournalError::Damaged {
            path: path.to_owned(),
            at,
            reason,
        };
        let bytes = frame_bytes(file, at).map_err(failed("read", path))?;
        let (frame, len) = match Frame::decode(segment.epoch, &bytes) {
            Ok(decoded) => decoded,
            Err(error) => {
                let good = good_frame_after(file, at + 1, size, segment.epoch);
                if !is_last || good.map_err(failed("read", path))? {
                    return Err(damaged(error.into()));
                }
                cut(path, at)?;
                return Ok(size - at);
            }
        };
        follow(&mut all.last, segment.epoch, &frame.messages)
            .map_err(|(_, sequence)| damaged(Damage::Order(sequence)))?;
        apply(&mut all.positions, &frame.positions);
        segment.len += len as u64;
    }
    Ok(0)
}

fn cut(path: &Path, len: u64) -> Result<(), JournalError> {
    let file = OpenOptions::new().write(true).open(path);
    let file = file.map_err(failed("open", path))?;
    file.set_len(len)
        .map_err(failed("cut the torn tail of", path))?;
    file.sync_all().map_err(failed("sync", path))
}

/// The bytes of the frame at `at`, as far as they are there.
fn frame_bytes(file: &File, at: u64) -> io::Result<Vec<u8>> {
    let head = read_at(file, at, FRAME_HEAD)?;
    match Frame::stated_len(&head) {
        Some(len) => read_at(file, at, len),
        None => Ok(head),
    }
}

/// Whether any good frame begins at or after `from`.
fn good_frame_after(file: &File, from: u64, size: u64, epoch: Epoch) -> io::Result<bool> {
    const WINDOW: usize = 1 << 20;
    let mut at = from;
    while at < size {
        let window = read_at(file, at, WINDOW)?;
        let marks = window.windows(FRAME_MARK.len()).enumerate();
        for (offset, _) in marks.filter(|(_, bytes)| bytes == FRAME_MARK) {
            let bytes = frame_bytes(file, at + offset as u64)?;
            if Frame::decode(epoch, &bytes).is_ok() {
                return Ok(true);
            }
        }
        // The next window begins where a mark across the edge would.
        at += window.len().saturating_sub(FRAME_MARK.len() - 1).max(1) as u64;
    }
    Ok(false)
}

/// At most `len` bytes from `at` on, fewer at the end of the file.
pub(crate) fn read_at(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

impl Segment {
    /// Makes a segment: synced under another name, then renamed, so a crash leaves all or nothing.
    pub(crate) fn create(
        dir: &Path,
        number: u64,
        source: SourceId,
        epoch: Epoch,
        last: [Last; 3],
        positions: &[Position],
    ) -> Result<Segment, JournalError> {
        let header = SegmentHeader {
            source,
            epoch,
            last,
            positions: positions.to_vec(),
        };
        let bytes = header.encode();
        let path = dir.join(name(number));
        let new = dir.join(format!("{}.new", name(number)));
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let made = options.open(&new).and_then(|file| {
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        });
        made.map_err(failed("make", &path))?;
        sync_dir(dir)?;
        Ok(Segment {
            number,
            epoch,
            before: last,
            last,
            first: bytes.len() as u64,
            len: bytes.len() as u64,
        })
    }

    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(name(self.number))
    }

    /// The file, for appending.
    pub(crate) fn open(&self, dir: &Path) -> Result<File, JournalError> {
        let path = self.path(dir);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        file.map_err(failed("open", &path))
    }

    pub(crate) fn remove(&self, dir: &Path) -> Result<(), JournalError> {
        let path = self.path(dir);
        fs::remove_file(&path).map_err(failed("remove", &path))
    }

    /// The frame at `at` and its length.
    pub(crate) fn frame(&self, dir: &Path, at: u64) -> Result<(Frame, u64), JournalError> {
        let path = self.path(dir);
        let file = File::open(&path).map_err(failed("open", &path))?;
        let bytes = frame_bytes(&file, at).map_err(failed("read", &path))?;
        let (frame, len) =
            Frame::decode(self.epoch, &bytes).map_err(|error| JournalError::Damaged {
                path,
                at,
                reason: error.into(),
            })?;
        Ok((frame, len as u64))
    }

    /// The MAC of a message that lies in this segment.
    pub(crate) fn mac_of(
        &self,
        dir: &Path,
        stream: Stream,
        sequence: Sequence,
    ) -> Result<Option<MessageMac>, JournalError> {
        let mut at = self.first;
        while at < self.len {
            let (frame, len) = self.frame(dir, at)?;
            let wanted = (frame.messages.iter())
                .find(|message| message.stream == stream && message.sequence == sequence);
            if let Some(message) = wanted {
                return Ok(Some(message.mac));
            }
            at += len;
        }
        Ok(None)
    }
}

/// How one stream stands.
pub(crate) fn of(last: &[Last; 3], stream: Stream) -> Last {
    let at = usize::from(stream.number());
    last.get(at).copied().unwrap_or_default()
}

/// Writes at `at` and syncs; says what failed.
pub(crate) fn write(file: &File, bytes: &[u8], at: u64) -> Result<(), (&'static str, io::Error)> {
    file.write_all_at(bytes, at)
        .map_err(|error| ("write to", error))?;
    file.sync_data().map_err(|error| ("sync", error))
}

/// A failure that a test plants.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The disk is full after so many bytes of the write.
    FullAfter(usize),
    /// The write succeeds, the sync does not.
    Sync,
}

#[cfg(test)]
pub(crate) fn write_with_fault(
    file: &File,
    bytes: &[u8],
    at: u64,
    fault: Option<Fault>,
) -> Result<(), (&'static str, io::Error)> {
    match fault {
        None => write(file, bytes, at),
        Some(Fault::FullAfter(count)) => {
            file.write_all_at(&bytes[..count.min(bytes.len())], at)
                .unwrap();
            Err(("write to", rustix::io::Errno::NOSPC.into()))
        }
        Some(Fault::Sync) => {
            file.write_all_at(bytes, at).unwrap();
            Err(("sync", rustix::io::Errno::IO.into()))
        }
    }
}
