//! Reading entries files frame by frame: for recovery, the reader and the look-up of old MACs.
//!
//! Not here: what a damaged frame means (recovery decides), or payloads.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ledger_core::bytes::FormatError;
use ledger_core::frame::{Frame, FrameHeader};
use ledger_core::layout::{LogFile, entries_name, parse_name};
use ledger_core::segment::SegmentHeader;
use ledger_core::state::{ShortMac, Stream};
use ledger_core::{Entry, Epoch, Flags, Index, Kind, Sequence, SourceId, TreeSize};

use crate::error::ReadError;

/// The first indexes of the segments in `folder`, in order.
pub(crate) fn list_segments(folder: &Path) -> Result<Vec<Index>, ReadError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::NoLog {
            path: folder.to_owned(),
        },
        _ => ReadError::Io {
            path: folder.to_owned(),
            error,
        },
    };
    let mut firsts = Vec::new();
    for file in std::fs::read_dir(folder).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        if let Some(LogFile::Entries(first)) = name.to_str().and_then(parse_name) {
            firsts.push(first);
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// An entries file, read by position.
#[derive(Debug)]
pub(crate) struct EntriesFile {
    file: File,
    path: PathBuf,
}

/// What stands where a frame could begin.
#[derive(Debug)]
pub(crate) enum Next {
    /// A frame whose header is good.
    Frame(FrameHeader),
    /// The file ends here, or only zeros follow.
    End,
    /// Something else.
    Damaged(FormatError),
}

impl EntriesFile {
    pub(crate) fn open(folder: &Path, first: Index) -> Result<EntriesFile, ReadError> {
        let path = folder.join(entries_name(first));
        let file = File::open(&path).map_err(|error| ReadError::Io {
            path: path.clone(),
            error,
        })?;
        Ok(EntriesFile { file, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> Result<u64, ReadError> {
        Ok(self
            .file
            .metadata()
            .map_err(|error| self.failed(error))?
            .len())
    }

    fn failed(&self, error: io::Error) -> ReadError {
        ReadError::Io {
            path: self.path.clone(),
            error,
        }
    }

    pub(crate) fn damaged(&self, at: u64, error: FormatError) -> ReadError {
        ReadError::Damaged {
            path: self.path.clone(),
            at,
            error,
        }
    }

    /// Up to `len` bytes at `at`; fewer where the file ends.
    fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            let Some(rest) = bytes.get_mut(done..) else {
                break;
            };
            match self.file.read_at(rest, at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    /// The segment header and where the first frame begins.
    pub(crate) fn header(&self) -> Result<(SegmentHeader, u64), ReadError> {
        let prefix = self.read(0, 12)?;
        let len = SegmentHeader::length(&prefix).map_err(|error| self.damaged(0, error))?;
        let bytes = self.read(0, len)?;
        let header = SegmentHeader::decode(&bytes).map_err(|error| self.damaged(0, error))?;
        Ok((header, len as u64))
    }

    /// What stands at `at`.
    pub(crate) fn next(&self, at: u64) -> Result<Next, ReadError> {
        let bytes = self.read(at, FrameHeader::LEN)?;
        if bytes.iter().all(|byte| *byte == 0) && self.zeros_from(at)? {
            return Ok(Next::End);
        }
        Ok(match FrameHeader::decode(&bytes) {
            Ok(header) => Next::Frame(header),
            Err(error) => Next::Damaged(error),
        })
    }

    /// The body behind a header at `at`.
    pub(crate) fn body(&self, at: u64, header: &FrameHeader) -> Result<Vec<u8>, ReadError> {
        self.read(at + FrameHeader::LEN as u64, header.body_len as usize)
    }

    fn zeros_from(&self, at: u64) -> Result<bool, ReadError> {
        let mut at = at;
        loop {
            let bytes = self.read(at, WINDOW)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
    }

    /// Whether a frame with good checksums begins anywhere after `at`: where.
    pub(crate) fn good_frame_after(&self, at: u64) -> Result<Option<u64>, ReadError> {
        let mark = FrameHeader::MAGIC;
        let mut at = at + 1;
        loop {
            let bytes = self.read(at, WINDOW)?;
            if bytes.len() < FrameHeader::LEN {
                return Ok(None);
            }
            for (offset, _) in bytes
                .windows(mark.len())
                .enumerate()
                .filter(|(_, w)| w == mark)
            {
                let candidate = at + offset as u64;
                if let Next::Frame(header) = self.next(candidate)? {
                    let body = self.body(candidate, &header)?;
                    if Frame::decode(header, &body).is_ok() {
                        return Ok(Some(candidate));
                    }
                }
            }
            // Windows overlap so that no mark is cut in two.
            at += (bytes.len() - mark.len() + 1) as u64;
        }
    }
}

const WINDOW: usize = 1 << 20;

/// The stream whose numbers an entry of this kind carries.
pub(crate) fn stream_of(kind: Kind) -> Option<Stream> {
    match kind {
        Kind::EVENT => Some(Stream::Record),
        Kind::HEARTBEAT => Some(Stream::Heartbeat),
        Kind::SNAPSHOT => Some(Stream::Snapshot),
        _ => None,
    }
}

/// Where a message belongs: source, stream, epoch, number.
pub(crate) type Number = (SourceId, Stream, Epoch, Sequence);

/// A message that was found: its entry and its MAC.
pub(crate) type Found = (Index, ShortMac);

/// MACs of old messages that were looked up, so that a sender that repeats many costs one look-up a
/// frame.
#[derive(Debug, Default)]
pub(crate) struct Old {
    known: HashMap<Number, Found>,
}

/// MACs of old messages remembered before the memory is emptied.
const OLD_MAX: usize = 1 << 16;

impl Old {
    /// The entry and MAC of a message, if the log holds it below `durable`.
    pub(crate) fn find(
        &mut self,
        folder: &Path,
        number: Number,
        durable: TreeSize,
    ) -> Result<Option<Found>, ReadError> {
        // Numbers begin at 1.
        if number.3 == Sequence(0) {
            return Ok(None);
        }
        if let Some(known) = self.known.get(&number) {
            return Ok(Some(*known));
        }
        if self.known.len() > OLD_MAX {
            self.known.clear();
        }
        find_message(folder, number, durable, &mut self.known)
    }
}

/// Looks an old message up in the log, and notes its neighbours in the frame that holds it.
///
/// The segment headers tell in which segment the number was the mark; a late one lies behind.
fn find_message(
    folder: &Path,
    number: Number,
    durable: TreeSize,
    known: &mut HashMap<Number, Found>,
) -> Result<Option<Found>, ReadError> {
    let segments = list_segments(folder)?;
    let start = first_segment(folder, &segments, number, durable)?;
    for first in segments.get(start..).unwrap_or_default() {
        if first.0 >= durable.0 {
            break;
        }
        let entries = EntriesFile::open(folder, *first)?;
        let (_, mut at) = entries.header()?;
        while let Next::Frame(header) = entries.next(at)? {
            // What lies behind is being written.
            if header.size_after() > durable {
                return Ok(None);
            }
            let body = entries.body(at, &header)?;
            let frame = Frame::decode(header, &body).map_err(|error| entries.damaged(at, error))?;
            let messages = messages_of(&entries, at, &frame)?;
            let found = messages.iter().find(|(found, _)| *found == number);
            if let Some((_, found)) = found.copied() {
                known.extend(messages);
                return Ok(Some(found));
            }
            at += (FrameHeader::LEN + body.len()) as u64;
            if header.size_after() == durable {
                break;
            }
        }
    }
    Ok(None)
}

/// Where in `segments` to begin looking.
fn first_segment(
    folder: &Path,
    segments: &[Index],
    (source, stream, epoch, sequence): Number,
    durable: TreeSize,
) -> Result<usize, ReadError> {
    let mut start = 0;
    for (at, first) in segments.iter().enumerate() {
        // A segment that is being begun has nothing to say yet.
        if first.0 >= durable.0 {
            break;
        }
        let (header, _) = EntriesFile::open(folder, *first)?.header()?;
        let state = header.sources.iter().find(|state| state.id == source);
        let before = state.is_none_or(|state| {
            let mark = state.marks.get(usize::from(stream.number()));
            (state.epoch, mark.map_or(0, |mark| mark.sequence.0)) < (epoch, sequence.0)
        });
        if before {
            start = at;
        }
    }
    Ok(start)
}

/// The numbered messages of a frame.
fn messages_of(
    entries: &EntriesFile,
    at: u64,
    frame: &Frame<'_>,
) -> Result<Vec<(Number, Found)>, ReadError> {
    let mut messages = Vec::new();
    let rows = frame.entry_bytes().zip(frame.macs());
    for ((bytes, mac), index) in rows.zip(frame.header.first.0..) {
        let entry = Entry::decode(bytes).map_err(|error| entries.damaged(at, error))?;
        if let Some(stream) = stream_of(entry.kind) {
            let number = (entry.source, stream, entry.epoch, entry.sequence);
            messages.push((number, (Index(index), mac)));
        }
    }
    Ok(messages)
}

/// What [`Flags`] a sender may set.
pub(crate) const SENDER_FLAGS: Flags = Flags::REREAD;
