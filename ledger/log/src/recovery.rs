//! What opening a log does before anything is written: find the end of what is durable, drop a
//! torn tail that nobody was promised, derive the arrays again, and meet the last signed root.
//!
//! A damaged last frame with nothing good behind it is a torn tail. A damaged frame with a good one
//! behind it is corruption: the log does not open.
//!
//! Not here: checking all segments from the first byte (ledger/verify), clocks ([`crate::clock`]).

use std::io;
use std::path::Path;

use ledger_core::bytes::FormatError;
use ledger_core::frame::{Frame, FrameHeader};
use ledger_core::layout::{HASHES, LogFile, entries_name, parse_name, payloads_name};
use ledger_core::payload::PayloadHeader;
use ledger_core::proof::root_from_nodes;
use ledger_core::segment::SegmentHeader;
use ledger_core::{Checkpoint, Entry, Flags, Index, Kind, Origin, RightEdge, TreeSize, leaf_hash};

use crate::arrays::{ArrayReader, ArrayWriter, cut_arrays, sync_arrays};
use crate::beats::Places;
use crate::error::{OpenError, ReadError};
use crate::files::{remove_if_there, sync_folder};
use crate::frames::{EntriesFile, Next, list_segments, stream_of};
use crate::paths::LogPaths;
use crate::recent::Recent;
use crate::shared::Durable;
use crate::writer::Segment;

/// A log ready to be written.
pub(crate) struct Recovery {
    pub(crate) durable: Durable,
    pub(crate) arrays: ArrayWriter,
    pub(crate) segment: Option<Segment>,
    pub(crate) recent: Recent,
    /// Set if the log was not closed as it should.
    pub(crate) unclean: Option<Unclean>,
    /// The last heartbeats that lie in the last segment.
    pub(crate) beats: Places,
}

/// What an interruption left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unclean {
    pub(crate) bytes_dropped: u64,
    pub(crate) payload_bytes_dropped: u64,
    pub(crate) rederived_from: Index,
}

/// The last segment, walked to its last good frame.
struct Tail {
    durable: Durable,
    recent: Recent,
    /// The size after the last good frame; the tree itself is derived later.
    size: TreeSize,
    arrays_durable: TreeSize,
    entries_end: u64,
    payloads_end: u64,
    finished: bool,
    beats: Places,
}

/// Recovers the log in `paths`, whose last signed checkpoint is `signed`. Nothing on the disk is
/// changed before it is known that the log holds what was signed.
pub(crate) fn recover(paths: &LogPaths, signed: &Checkpoint) -> Result<Recovery, OpenError> {
    let folder = paths.folder();
    let (segments, unborn) = born_segments(&folder)?;
    let tail = match segments.last().copied() {
        Some(last) => {
            let headers = check_headers(&folder, &segments, paths.origin())?;
            Some((last, walk_tail(&folder, last, headers)?))
        }
        None => None,
    };
    let size = tail.as_ref().map_or(TreeSize(0), |(_, tail)| tail.size);
    if signed.size > size {
        return Err(OpenError::ShorterThanSigned {
            signed: signed.size,
            size,
        });
    }
    drop_unborn(&folder, &segments, unborn, size)?;
    let Some((last, tail)) = tail else {
        return empty(paths);
    };
    let arrays = derive_arrays(&folder, &segments, &tail, signed)?;
    let (segment, dropped) = reopen(&folder, last, &tail)?;
    let unclean = (!tail.finished).then_some(Unclean {
        rederived_from: Index(tail.arrays_durable.min(signed.size).0),
        ..dropped
    });
    let mut durable = tail.durable;
    durable.edge = arrays.edge().clone();
    Ok(Recovery {
        durable,
        arrays,
        segment,
        recent: tail.recent,
        unclean,
        beats: tail.beats,
    })
}

/// A log whose first entry was never made durable.
fn empty(paths: &LogPaths) -> Result<Recovery, OpenError> {
    let hashes = paths.file(HASHES);
    cut_arrays(&hashes, TreeSize(0))?;
    Ok(Recovery {
        durable: Durable::default(),
        arrays: ArrayWriter::new(hashes, RightEdge::new()),
        segment: None,
        recent: Recent::default(),
        unclean: None,
        beats: Places::new(),
    })
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Io { doing, path, error }
}

/// The segments that have a good header, and the last one if its birth was interrupted: it has no
/// good header and no good frame.
fn born_segments(folder: &Path) -> Result<(Vec<Index>, Option<Index>), OpenError> {
    let mut segments = list_segments(folder)?;
    let Some(last) = segments.last().copied() else {
        return Ok((segments, None));
    };
    let entries = EntriesFile::open(folder, last)?;
    let unborn = match entries.header() {
        Ok(_)
        | Err(ReadError::Damaged {
            error: FormatError::Version { .. },
            ..
        }) => false,
        Err(ReadError::Damaged { .. }) => entries.good_frame_after(0)?.is_none(),
        Err(other) => return Err(other.into()),
    };
    if unborn {
        segments.pop();
    }
    Ok((segments, unborn.then_some(last)))
}

/// Removes the files of a segment whose birth was interrupted: it would begin where the log ends.
/// Files of any other place are evidence that something was removed: nothing is touched.
fn drop_unborn(
    folder: &Path,
    segments: &[Index],
    unborn: Option<Index>,
    size: TreeSize,
) -> Result<(), OpenError> {
    let mut orphans = Vec::new();
    for file in std::fs::read_dir(folder).map_err(failed("list", folder))? {
        let file = file.map_err(failed("list", folder))?;
        let name = file.file_name();
        if let Some(LogFile::Payloads(first, _)) = name.to_str().and_then(parse_name)
            && segments.binary_search(&first).is_err()
        {
            orphans.push((first, file.path()));
        }
    }
    if let Some(first) = unborn {
        orphans.push((first, folder.join(entries_name(first))));
    }
    let stray = orphans.iter().find(|(first, _)| first.0 != size.0);
    if let Some((_, path)) = stray {
        let (path, expected) = (path.clone(), Index(size.0));
        return Err(OpenError::SegmentMissing { path, expected });
    }
    for (_, path) in &orphans {
        remove_if_there(path)?;
    }
    if !orphans.is_empty() {
        sync_folder(folder)?;
    }
    Ok(())
}

/// Reads every segment's header: each belongs to this log and begins where the one before ended.
/// Gives the last one and where its frames begin.
fn check_headers(
    folder: &Path,
    segments: &[Index],
    origin: &Origin,
) -> Result<(SegmentHeader, u64), OpenError> {
    let mut last = None;
    let mut expected = Index(0);
    for (number, first) in segments.iter().enumerate() {
        let entries = EntriesFile::open(folder, *first)?;
        let (header, at) = entries.header()?;
        if header.origin != *origin {
            return Err(OpenError::OtherOrigin {
                path: entries.path().to_owned(),
                found: header.origin.to_string(),
                expected: origin.to_string(),
            });
        }
        if header.first() != *first || *first != expected {
            let path = entries.path().to_owned();
            return Err(OpenError::SegmentMissing { path, expected });
        }
        if number + 1 < segments.len() {
            expected = finished_size(&entries)?;
        }
        last = Some((header, at));
    }
    last.ok_or_else(|| OpenError::SegmentMissing {
        path: folder.to_owned(),
        expected,
    })
}

/// The size after a finished segment, from the frame at its end.
fn finished_size(entries: &EntriesFile) -> Result<Index, OpenError> {
    let len = entries.len()?;
    let at = len.saturating_sub(FINISH_LEN);
    match entries.next(at)? {
        Next::Frame(header) if header.finished => Ok(Index(header.size_after().0)),
        Next::Frame(_) | Next::End | Next::Damaged(_) => {
            let error = FormatError::Magic {
                what: "the frame that finishes a segment",
            };
            Err(entries.damaged(at, error).into())
        }
    }
}

/// A frame without entries: header and two empty tables.
const FINISH_LEN: u64 = FrameHeader::LEN as u64 + 8;

fn walk_tail(
    folder: &Path,
    first: Index,
    (header, start): (SegmentHeader, u64),
) -> Result<Tail, OpenError> {
    let entries = EntriesFile::open(folder, first)?;
    let mut tail = Tail {
        size: header.edge.size(),
        arrays_durable: header.arrays_durable,
        entries_end: start,
        payloads_end: PayloadHeader::LEN as u64,
        finished: false,
        beats: Places::new(),
        recent: Recent::default(),
        durable: Durable {
            edge: header.edge,
            ledger_time: header.ledger_time,
            sources: header
                .sources
                .into_iter()
                .map(|state| (state.id, state))
                .collect(),
            positions: header
                .positions
                .into_iter()
                .map(|p| (p.key.clone(), p))
                .collect(),
            ..Durable::default()
        },
    };
    loop {
        let at = tail.entries_end;
        let damaged = match entries.next(at)? {
            Next::End => return Ok(tail),
            Next::Damaged(error) => error,
            Next::Frame(header) => match entries.body(at, &header) {
                Ok(body) => match Frame::decode(header, &body) {
                    Ok(frame) => {
                        tail.take(&entries, at, &frame)?;
                        continue;
                    }
                    Err(error) => error,
                },
                Err(error) => return Err(error.into()),
            },
        };
        // What has good checksums was written so: by a newer program, or by another log.
        if matches!(
            damaged,
            FormatError::Version { .. } | FormatError::Field { .. }
        ) {
            return Err(entries.damaged(at, damaged).into());
        }
        if let Some(good) = entries.good_frame_after(at)? {
            return Err(OpenError::Corrupt {
                path: entries.path().to_owned(),
                at,
                good,
            });
        }
        if tail.finished {
            return Err(entries.damaged(at, damaged).into());
        }
        return Ok(tail);
    }
}

impl Tail {
    fn take(&mut self, entries: &EntriesFile, at: u64, frame: &Frame<'_>) -> Result<(), OpenError> {
        let header = &frame.header;
        let follows = header.first.0 == self.size.0
            && header.payload_start == self.payloads_end
            && header.payload_end - header.payload_start == frame.payload_len()
            && !self.finished;
        if !follows {
            let value = header.first.0;
            let error = FormatError::Field {
                what: "frame",
                field: "place in its segment",
                value,
            };
            return Err(entries.damaged(at, error).into());
        }
        let rows = frame.entry_bytes().zip(frame.macs());
        for ((bytes, mac), index) in rows.zip(header.first.0..) {
            let entry = Entry::decode(bytes).map_err(|error| entries.damaged(at, error))?;
            self.durable.ledger_time = entry.ledger_time;
            if entry.kind == Kind::HEARTBEAT && !entry.flags.contains(Flags::LATE) {
                self.beats.insert(entry.source, Index(index));
            }
            if let Some(stream) = stream_of(entry.kind) {
                self.recent
                    .put(entry.source, stream, entry.epoch, entry.sequence, mac);
            }
        }
        for state in &frame.sources {
            self.durable.sources.insert(state.id, state.clone());
        }
        for position in &frame.positions {
            self.durable
                .positions
                .insert(position.key.clone(), position.clone());
        }
        self.size = header.size_after();
        self.arrays_durable = header.arrays_durable;
        self.payloads_end = header.payload_end;
        self.entries_end = at + (FrameHeader::LEN as u64) + u64::from(header.body_len);
        self.finished = header.finished;
        Ok(())
    }
}

/// Derives all hashes from the last durable one on, and meets the last signed root.
fn derive_arrays(
    folder: &Path,
    segments: &[Index],
    tail: &Tail,
    signed: &Checkpoint,
) -> Result<ArrayWriter, OpenError> {
    let hashes = folder.join(HASHES);
    let reader = ArrayReader::new(hashes.clone());
    // Hashes beyond the last signed root are believed by nobody: they are derived from the entries.
    let from = tail.arrays_durable.min(signed.size);
    let mismatch = OpenError::RootMismatch { size: signed.size };
    let edge = match reader.edge(from) {
        Ok(edge) => edge,
        Err(error) if ArrayReader::is_missing(&error) => return Err(mismatch),
        Err(error) => return Err(error.into()),
    };
    let mut arrays = ArrayWriter::new(hashes.clone(), edge);
    push_leaves(folder, segments, from, tail, &mut arrays)?;
    arrays.flush()?;
    let root = root_from_nodes(signed.size, &mut |level, number| reader.node(level, number))?;
    let continues = tail.durable.edge.size() < from || {
        let size = tail.durable.edge.size();
        reader.edge(size)? == tail.durable.edge
    };
    if root != signed.root || !continues || arrays.edge().size() != tail.size {
        return Err(mismatch);
    }
    cut_arrays(&hashes, tail.size)?;
    sync_arrays(&hashes)?;
    Ok(arrays)
}

/// Pushes the leaves from `from` to the end, a few thousand at a time.
fn push_leaves(
    folder: &Path,
    segments: &[Index],
    from: TreeSize,
    tail: &Tail,
    arrays: &mut ArrayWriter,
) -> Result<(), OpenError> {
    // The segment that holds the leaf, and all behind it.
    let start = segments
        .partition_point(|first| first.0 <= from.0)
        .saturating_sub(1);
    for first in segments.get(start..).unwrap_or_default() {
        let entries = EntriesFile::open(folder, *first)?;
        let (_, mut at) = entries.header()?;
        while let Next::Frame(header) = entries.next(at)? {
            let next = at + FrameHeader::LEN as u64 + u64::from(header.body_len);
            if header.size_after() > from && header.size_after() <= tail.size {
                let body = entries.body(at, &header)?;
                let frame =
                    Frame::decode(header, &body).map_err(|error| entries.damaged(at, error))?;
                let skip = usize::try_from(from.0.saturating_sub(header.first.0)).unwrap_or(0);
                frame
                    .entry_bytes()
                    .skip(skip)
                    .for_each(|entry| arrays.push(leaf_hash(entry)));
                arrays.flush()?;
            }
            at = next;
            if header.size_after() >= tail.size {
                break;
            }
        }
    }
    Ok(())
}

/// Cuts what is no good off the last segment and goes on with it, unless it is finished.
fn reopen(
    folder: &Path,
    first: Index,
    tail: &Tail,
) -> Result<(Option<Segment>, Unclean), OpenError> {
    let payloads = folder.join(payloads_name(first, 0));
    let found = std::fs::metadata(&payloads)
        .map_err(failed("inspect", &payloads))?
        .len();
    if found < tail.payloads_end {
        let needed = tail.payloads_end;
        return Err(OpenError::PayloadsShort {
            path: payloads,
            found,
            needed,
        });
    }
    let entries = folder.join(entries_name(first));
    let dropped = Unclean {
        bytes_dropped: written_after(&entries, tail.entries_end)?,
        payload_bytes_dropped: written_after(&payloads, tail.payloads_end)?,
        rederived_from: Index(0),
    };
    let segment = Segment::reopen(folder, first, tail.entries_end, tail.payloads_end)?;
    // Cutting a finished segment to its own length is what an interrupted finish left to do.
    Ok(((!tail.finished).then_some(segment), dropped))
}

/// How many bytes were written from `at` on: up to the last that is not zero.
fn written_after(path: &Path, at: u64) -> Result<u64, OpenError> {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::open(path).map_err(failed("open", path))?;
    let mut window = vec![0u8; 1 << 20];
    let (mut offset, mut written) = (at, 0);
    loop {
        let read = file
            .read_at(&mut window, offset)
            .map_err(failed("read", path))?;
        if read == 0 {
            return Ok(written);
        }
        let bytes = window.get(..read).unwrap_or_default();
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            written = offset + last as u64 + 1 - at;
        }
        offset += read as u64;
    }
}
