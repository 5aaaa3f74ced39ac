//! The state of a log that no process has open, from its files: what the last checkpoint covers,
//! and the sources as the last segment's header and frames lead to them.
//!
//! Not here: recovery. Nothing is written, and nothing behind the last good frame is looked at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use keys_public::{Note, TrustFile};
use ledger_core::frame::{Frame, FrameHeader};
use ledger_core::layout::{LogFile, parse_name};
use ledger_core::segment::SegmentHeader;
use ledger_core::state::{SourceState, Stream};
use ledger_core::{Index, SourceId, TreeSize};
use ledger_log::{GapStatus, LogPaths, LogStatus, ReadError, Reader, SourceStatus};

use crate::access::now;

/// The state, as a server would tell it, but for what only a running process knows: how long it
/// runs and what it counted.
pub(crate) fn status(paths: &LogPaths) -> Result<LogStatus, ReadError> {
    let reader = Reader::open(paths)?;
    let (checkpoint, note) = reader.published()?;
    let size = reader.size();
    let last = size
        .0
        .checked_sub(1)
        .map(|last| reader.entry(Index(last)))
        .transpose()?;
    let table = match last_segment(&paths.folder())? {
        Some(path) => walk(&path)?,
        None => Table::default(),
    };
    Ok(LogStatus {
        origin: paths.origin().to_string(),
        size: size.0,
        published_size: checkpoint.size.0,
        root: checkpoint.root.to_base64(),
        checkpoint_age_ms: age_ms(paths, &note),
        ledger_time: last.map_or(0, |last| last.entry.ledger_time.0),
        arrays_durable: table.arrays_durable.0,
        open_ms: 0,
        stopped: None,
        appended: 0,
        late: 0,
        repeats: 0,
        conflicts: 0,
        forged: 0,
        sources: table.sources.values().map(shown).collect(),
    })
}

/// Since the time that the checkpoint's ML-DSA-44 signature states.
fn age_ms(paths: &LogPaths, note: &[u8]) -> u64 {
    let signed = || {
        let trust = TrustFile::parse(&std::fs::read_to_string(paths.trust()).ok()?).ok()?;
        let verified = trust.keys().verify(&Note::parse(note).ok()?).ok()?;
        Some(verified.pq_timestamp())
    };
    let now_ms = u64::try_from(now().0 / 1_000_000).unwrap_or_default();
    signed().map_or(0, |seconds| {
        now_ms.saturating_sub(seconds.saturating_mul(1_000))
    })
}

#[derive(Default)]
struct Table {
    sources: BTreeMap<SourceId, SourceState>,
    arrays_durable: TreeSize,
}

impl Table {
    fn add(&mut self, changed: Vec<SourceState>) {
        self.sources
            .extend(changed.into_iter().map(|state| (state.id, state)));
    }
}

fn last_segment(folder: &Path) -> Result<Option<PathBuf>, ReadError> {
    let failed = |error| ReadError::Io {
        path: folder.to_owned(),
        error,
    };
    let mut last: Option<(Index, PathBuf)> = None;
    for item in std::fs::read_dir(folder).map_err(failed)? {
        let path = item.map_err(failed)?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(parse_name);
        if let Some(LogFile::Entries(first)) = name
            && last.as_ref().is_none_or(|(index, _)| *index < first)
        {
            last = Some((first, path));
        }
    }
    Ok(last.map(|(_, path)| path))
}

/// Longest header of a segment that is read at once, before its length is known.
const HEADER_PREFIX: usize = 64;

fn walk(path: &Path) -> Result<Table, ReadError> {
    let failed = |error| ReadError::Io {
        path: path.to_owned(),
        error,
    };
    let damaged = |at, error| ReadError::Damaged {
        path: path.to_owned(),
        at,
        error,
    };
    let file = File::open(path).map_err(failed)?;
    let prefix = read(&file, 0, HEADER_PREFIX).map_err(failed)?;
    let length = SegmentHeader::length(&prefix).map_err(|error| damaged(0, error))?;
    let bytes = read(&file, 0, length).map_err(failed)?;
    let header = SegmentHeader::decode(&bytes).map_err(|error| damaged(0, error))?;
    let mut table = Table {
        arrays_durable: header.arrays_durable,
        ..Table::default()
    };
    table.add(header.sources);
    let mut at = length as u64;
    loop {
        let bytes = read(&file, at, FrameHeader::LEN).map_err(failed)?;
        // The end, or a torn tail that the next start drops.
        let Ok(header) = FrameHeader::decode(&bytes) else {
            break;
        };
        let body_at = at.saturating_add(FrameHeader::LEN as u64);
        let body = read(&file, body_at, header.body_len as usize).map_err(failed)?;
        let Ok(frame) = Frame::decode(header, &body) else {
            break;
        };
        table.add(frame.sources);
        table.arrays_durable = header.arrays_durable;
        at = body_at.saturating_add(u64::from(header.body_len));
    }
    Ok(table)
}

/// `len` bytes, fewer at the end of the file.
fn read(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn shown(state: &SourceState) -> SourceStatus {
    let mark = |stream: Stream| {
        let mark = state.marks.get(usize::from(stream.number()));
        mark.map_or(0, |mark| mark.sequence.0)
    };
    SourceStatus {
        id: state.id.0,
        name: state.name.clone(),
        platform: state.platform.clone(),
        keyed: state.keyed,
        epoch: state.epoch.0,
        records: mark(Stream::Record),
        heartbeats: mark(Stream::Heartbeat),
        gaps: (state.gaps.iter())
            .map(|gap| GapStatus {
                stream: gap.stream.name().to_owned(),
                from: gap.from.0,
                to: gap.to.0,
            })
            .collect(),
    }
}
