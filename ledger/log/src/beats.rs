//! The last heartbeat of each source: kept in memory as they are appended, and found again when a
//! log is opened.
//!
//! A source's state holds the number of its last heartbeat, so its entry is found exactly: the
//! headers of the segments say in which one that number became the mark. At most [`SCANNED_MAX`]
//! segments before the last are read for it; who was last heard before them is shown as not heard
//! since. Not here: judging silence.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ledger_core::frame::{Frame, FrameHeader};
use ledger_core::state::{SourceState, Stream};
use ledger_core::{Entry, Epoch, Index, Kind, Nanos, Sequence, SourceId, TreeSize};
use ledger_event::facts::{Facts as _, Heartbeat};

use crate::error::ReadError;
use crate::frames::{EntriesFile, Next, list_segments};
use crate::paths::LogPaths;
use crate::reader::Reader;

/// A heartbeat in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) index: Index,
    pub(crate) ledger_time: Nanos,
    pub(crate) facts: Heartbeat,
}

/// The last heartbeat of each source that is known to have sent one.
pub(crate) type Beats = BTreeMap<SourceId, Arc<Beat>>;

/// Where the last heartbeats lie.
pub(crate) type Places = BTreeMap<SourceId, Index>;

/// Segments before the last that are read at opening, at most.
pub(crate) const SCANNED_MAX: usize = 4;

type Number = (Epoch, Sequence);

fn number(state: &SourceState) -> Number {
    let mark = state.marks.get(usize::from(Stream::Heartbeat.number()));
    (state.epoch, mark.copied().unwrap_or_default().sequence)
}

/// The last heartbeats of a log of `size` entries that is being opened. They are news for people:
/// one that cannot be read stops nothing here, and `custody verify` names the damage.
pub(crate) fn at_opening(
    paths: &LogPaths,
    sources: &BTreeMap<SourceId, SourceState>,
    size: TreeSize,
    known: Places,
) -> Beats {
    let places = find(&paths.folder(), sources, size, known);
    let beats = places.and_then(|places| read(&Reader::upto(paths, size), &places));
    beats.unwrap_or_else(|error| {
        tracing::warn!(error = %error, "the last heartbeats cannot be read");
        Beats::new()
    })
}

/// Finds the last heartbeat of each of `sources`, which are those of a log of `size` entries.
/// `known` are the places that are known already.
pub(crate) fn find(
    folder: &Path,
    sources: &BTreeMap<SourceId, SourceState>,
    size: TreeSize,
    known: Places,
) -> Result<Places, ReadError> {
    let mut places = known;
    let wanted = sources.values().map(|state| (state.id, number(state)));
    let mut wanted: BTreeMap<SourceId, Number> = wanted
        .filter(|(id, number)| number.1 > Sequence(0) && !places.contains_key(id))
        .collect();
    // The last segment is one of those that are scanned, if it is not known already.
    let mut left = SCANNED_MAX.saturating_add(1);
    for first in list_segments(folder)?.into_iter().rev() {
        if wanted.is_empty() || left == 0 {
            break;
        }
        if first.0 >= size.0 {
            continue;
        }
        let entries = EntriesFile::open(folder, first)?;
        let (header, at) = entries.header()?;
        let before = |id: &SourceId, wanted: &Number| {
            let state = header.sources.iter().find(|state| state.id == *id);
            state.is_some_and(|state| number(state) == *wanted)
        };
        let mut here = wanted.clone();
        here.retain(|id, number| !before(id, number));
        if here.is_empty() {
            continue;
        }
        left -= 1;
        wanted.retain(|id, _| !here.contains_key(id));
        scan(&entries, at, size, &mut here, &mut places)?;
    }
    Ok(places)
}

/// Looks for heartbeats with the numbers `wanted` in a segment, up to a log of `size` entries.
fn scan(
    entries: &EntriesFile,
    start: u64,
    size: TreeSize,
    wanted: &mut BTreeMap<SourceId, Number>,
    places: &mut Places,
) -> Result<(), ReadError> {
    let mut at = start;
    while let Next::Frame(header) = entries.next(at)? {
        if wanted.is_empty() || header.size_after() > size {
            return Ok(());
        }
        let body = entries.body(at, &header)?;
        let frame = Frame::decode(header, &body).map_err(|error| entries.damaged(at, error))?;
        // A frame states every source that it moved.
        if frame
            .sources
            .iter()
            .any(|state| wanted.contains_key(&state.id))
        {
            for (index, bytes) in (frame.header.first.0..).zip(frame.entry_bytes()) {
                let entry = Entry::decode(bytes).map_err(|error| entries.damaged(at, error))?;
                let number = (entry.epoch, entry.sequence);
                if entry.kind == Kind::HEARTBEAT && wanted.get(&entry.source) == Some(&number) {
                    wanted.remove(&entry.source);
                    places.insert(entry.source, Index(index));
                }
            }
        }
        at += FrameHeader::LEN as u64 + u64::from(header.body_len);
    }
    Ok(())
}

/// Reads the heartbeats at `places`; one that says nothing readable is left out.
pub(crate) fn read(reader: &Reader, places: &Places) -> Result<Beats, ReadError> {
    let mut beats = Beats::new();
    for (source, index) in places {
        let stored = reader.entry(*index)?;
        let facts = stored.parts.first().and_then(|part| part.bytes());
        if let Some(facts) = facts.and_then(|facts| Heartbeat::parse(facts).ok()) {
            let beat = Beat {
                index: *index,
                ledger_time: stored.entry.ledger_time,
                facts,
            };
            beats.insert(*source, Arc::new(beat));
        }
    }
    Ok(beats)
}
