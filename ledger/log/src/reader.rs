//! Reading the log: entries with their payloads, tiles and proofs, by position and without a lock.
//!
//! A reader never sees beyond what is durable. A payload is handed out only if it matches what its
//! entry commits to. Not here: signatures ([`keys_public::TrustFile`]), queries (ledger/index).

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keys_public::Note;
use ledger_core::frame::{Frame, FrameHeader};
use ledger_core::layout::{HASHES, LAST_NOTE};
use ledger_core::payload::{SALTS_LEN, payloads_of, read_block, stored_commitment};
use ledger_core::state::ShortMac;
use ledger_core::tile::{TILE_WIDTH, Tile, TileKind};
use ledger_core::{
    Checkpoint, Entry, Hash, Index, PART_COUNT, Salt, TreeSize, consistency_proof, inclusion_proof,
};

use crate::arrays::ArrayReader;
use crate::error::ReadError;
use crate::frames::{EntriesFile, Next, list_segments};
use crate::paths::LogPaths;
use crate::payloads::{OwnedPart, Payloads, owned};
use crate::shared::Shared;

/// An entry as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its place.
    pub index: Index,
    /// The fixed record.
    pub entry: Entry,
    /// The first 16 bytes of its message's MAC.
    pub mac: ShortMac,
    /// The salts of the three parts; zero where a part is not present.
    pub salts: [Salt; PART_COUNT],
    /// The three parts.
    pub parts: [OwnedPart; PART_COUNT],
}

/// How far a reader may see.
#[derive(Clone, Debug)]
enum Limit {
    /// What the log in this process has made durable.
    Live(Arc<Shared>),
    /// What was on disk when the reader was made.
    Fixed(TreeSize),
}

/// A reader of one log; clones share their caches.
#[derive(Clone, Debug)]
pub struct Reader {
    folder: PathBuf,
    limit: Limit,
    arrays: ArrayReader,
    maps: Arc<Mutex<HashMap<Index, SegmentMap>>>,
}

/// What stands before an entry in a bundle: its length of 80 bytes, big-endian.
const ENTRY_LENGTH: [u8; 2] = [0, 80];
const _: () = assert!(Entry::LEN == 80);

/// Every so many frames the place of one is remembered.
const MARK_EVERY: usize = 32;
/// At most this many segments' maps are remembered.
const MAPS_MAX: usize = 64;

/// Where frames of a segment lie: some of them.
#[derive(Clone, Debug, Default)]
struct SegmentMap {
    marks: Vec<(u64, u64)>,
}

/// A frame's place and header.
struct Place {
    segment: Index,
    at: u64,
    header: FrameHeader,
}

impl Reader {
    /// A reader of a log that no process may be writing: it sees what is on disk now.
    ///
    /// # Errors
    /// No log, or a file that cannot be read.
    pub fn open(paths: &LogPaths) -> Result<Reader, ReadError> {
        let folder = paths.folder();
        let size = size_on_disk(&folder)?;
        Ok(Reader::new(folder, Limit::Fixed(size)))
    }

    /// A reader of the first `size` entries, which are durable.
    pub(crate) fn upto(paths: &LogPaths, size: TreeSize) -> Reader {
        Reader::new(paths.folder(), Limit::Fixed(size))
    }

    pub(crate) fn live(paths: &LogPaths, shared: Arc<Shared>) -> Reader {
        Reader::new(paths.folder(), Limit::Live(shared))
    }

    fn new(folder: PathBuf, limit: Limit) -> Reader {
        let arrays = ArrayReader::new(folder.join(HASHES));
        Reader {
            folder,
            limit,
            arrays,
            maps: Arc::default(),
        }
    }

    /// How many entries are durable.
    pub fn size(&self) -> TreeSize {
        match &self.limit {
            Limit::Live(shared) => shared.size(),
            Limit::Fixed(size) => *size,
        }
    }

    /// The newest checkpoint and its signed note. Its signatures are not verified here.
    ///
    /// # Errors
    /// If the note cannot be read, or is none.
    pub fn published(&self) -> Result<(Checkpoint, Vec<u8>), ReadError> {
        if let Limit::Live(shared) = &self.limit {
            let published = shared.published();
            return Ok((published.checkpoint, published.note.to_vec()));
        }
        last_note(&self.folder)
    }

    /// The same, for a proof that leads to it: where the log is open it is then kept for ever.
    ///
    /// # Errors
    /// As [`Reader::published`].
    pub fn published_for_proof(&self) -> Result<(Checkpoint, Vec<u8>), ReadError> {
        if let Limit::Live(shared) = &self.limit {
            let published = shared.published_for_proof();
            return Ok((published.checkpoint, published.note.to_vec()));
        }
        last_note(&self.folder)
    }

    /// One entry with its payload.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] beyond the end; damage.
    pub fn entry(&self, index: Index) -> Result<StoredEntry, ReadError> {
        let size = self.size();
        let missing = ReadError::NotFound { index, size };
        if index.0 >= size.0 {
            return Err(missing);
        }
        let place = self.locate(index)?;
        let mut found = None;
        let _stopped = self.visit(&place, index, TreeSize(index.0 + 1), &mut |entry| {
            found = Some(entry);
            ControlFlow::Break(())
        })?;
        found.ok_or(missing)
    }

    /// At most `max` entries from `cursor` on; waits up to `wait` for the first.
    ///
    /// # Errors
    /// Damage.
    pub fn next(
        &self,
        cursor: Index,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        let size = match &self.limit {
            Limit::Live(shared) => shared.wait_longer_than(TreeSize(cursor.0), wait),
            Limit::Fixed(size) => *size,
        };
        let end = size.0.min(cursor.0.saturating_add(max as u64));
        let mut entries = Vec::new();
        if cursor.0 < end {
            self.scan(cursor, TreeSize(end), &mut |entry| {
                entries.push(entry);
                ControlFlow::Continue(())
            })?;
        }
        Ok(entries)
    }

    /// Visits the entries `[from, to)` in order, a frame at a time in memory.
    ///
    /// # Errors
    /// Damage; [`ReadError::NotFound`] if `to` is beyond the end.
    pub fn scan(
        &self,
        from: Index,
        to: TreeSize,
        visit: &mut dyn FnMut(StoredEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let size = self.size();
        if to > size {
            return Err(ReadError::NotFound {
                index: Index(to.0 - 1),
                size,
            });
        }
        let mut cursor = from;
        while cursor.0 < to.0 {
            let mut place = self.locate(cursor)?;
            loop {
                if self.visit(&place, cursor, to, visit)?.is_break() {
                    return Ok(());
                }
                cursor = Index(place.header.size_after().0);
                if cursor.0 >= to.0 {
                    return Ok(());
                }
                let entries = EntriesFile::open(&self.folder, place.segment)?;
                let at = place.at + FrameHeader::LEN as u64 + u64::from(place.header.body_len);
                match entries.next(at)? {
                    Next::Frame(header) if !header.finished => {
                        place = Place {
                            segment: place.segment,
                            at,
                            header,
                        };
                    }
                    // The next segment goes on.
                    Next::Frame(_) | Next::End => break,
                    Next::Damaged(error) => return Err(entries.damaged(at, error)),
                }
            }
        }
        Ok(())
    }

    /// A hash tile or an entry bundle of the published tree; `None` if it has no such tile.
    ///
    /// # Errors
    /// Damage.
    pub fn tile(&self, tile: &Tile) -> Result<Option<Vec<u8>>, ReadError> {
        let (checkpoint, _) = self.published()?;
        if !tile.exists_at(checkpoint.size) {
            return Ok(None);
        }
        let first = tile.number * TILE_WIDTH;
        match tile.kind {
            TileKind::Hashes(level) => self
                .arrays
                .bytes(level, first, u64::from(tile.width))
                .map(Some),
            TileKind::Entries => self.bundle(first, first + u64::from(tile.width)).map(Some),
        }
    }

    /// Entries `[from, to)`, each behind its length in two bytes (C2SP tlog-tiles).
    fn bundle(&self, from: u64, to: u64) -> Result<Vec<u8>, ReadError> {
        let mut out = Vec::new();
        let mut cursor = from;
        while cursor < to {
            let place = self.locate(Index(cursor))?;
            let entries = EntriesFile::open(&self.folder, place.segment)?;
            let body = entries.body(place.at, &place.header)?;
            let frame = Frame::decode(place.header, &body)
                .map_err(|error| entries.damaged(place.at, error))?;
            let skip = usize::try_from(cursor - place.header.first.0).unwrap_or(usize::MAX);
            for bytes in frame.entry_bytes().skip(skip) {
                if cursor == to {
                    break;
                }
                out.extend_from_slice(&ENTRY_LENGTH);
                out.extend_from_slice(bytes);
                cursor += 1;
            }
        }
        Ok(out)
    }

    /// The inclusion proof of `index` in the tree of `size` entries.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] if the tree or the entry is beyond the end; damage.
    pub fn inclusion(&self, index: Index, size: TreeSize) -> Result<Vec<Hash>, ReadError> {
        self.check_inside(size)?;
        if index.0 >= size.0 {
            return Err(ReadError::NotFound { index, size });
        }
        inclusion_proof(index, size, &mut |level, number| {
            self.arrays.node(level, number)
        })
    }

    /// The consistency proof between two trees.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] if a tree is beyond the end or they are the wrong way round; damage.
    pub fn consistency(&self, old: TreeSize, new: TreeSize) -> Result<Vec<Hash>, ReadError> {
        self.check_inside(new)?;
        if old > new {
            return Err(ReadError::NotFound {
                index: Index(old.0),
                size: new,
            });
        }
        consistency_proof(old, new, &mut |level, number| {
            self.arrays.node(level, number)
        })
    }

    fn check_inside(&self, size: TreeSize) -> Result<(), ReadError> {
        let own = self.size();
        if size > own {
            return Err(ReadError::NotFound {
                index: Index(size.0 - 1),
                size: own,
            });
        }
        Ok(())
    }

    /// The frame that holds `index`.
    fn locate(&self, index: Index) -> Result<Place, ReadError> {
        let segments = list_segments(&self.folder)?;
        let at = segments
            .partition_point(|first| *first <= index)
            .saturating_sub(1);
        let missing = || ReadError::NotFound {
            index,
            size: self.size(),
        };
        let segment = segments.get(at).copied().ok_or_else(missing)?;
        let entries = EntriesFile::open(&self.folder, segment)?;
        let mut map = self.map_of(segment);
        let known = map
            .marks
            .iter()
            .rev()
            .find(|(first, _)| *first <= index.0)
            .copied();
        let start = match known {
            Some((_, at)) => at,
            None => entries.header()?.1,
        };
        let mut at = start;
        let mut walked = 0usize;
        let mut found = None;
        while let Next::Frame(header) = entries.next(at)? {
            let newest = map
                .marks
                .last()
                .is_none_or(|(first, _)| *first < header.first.0);
            if walked.is_multiple_of(MARK_EVERY) && newest {
                map.marks.push((header.first.0, at));
            }
            if header.first <= index && index.0 < header.size_after().0 {
                found = Some(Place {
                    segment,
                    at,
                    header,
                });
                break;
            }
            if header.finished {
                break;
            }
            walked += 1;
            at += FrameHeader::LEN as u64 + u64::from(header.body_len);
        }
        self.keep_map(segment, map);
        found.ok_or_else(missing)
    }

    fn map_of(&self, segment: Index) -> SegmentMap {
        let maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        maps.get(&segment).cloned().unwrap_or_default()
    }

    fn keep_map(&self, segment: Index, map: SegmentMap) {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        if maps.len() >= MAPS_MAX && !maps.contains_key(&segment) {
            maps.clear();
        }
        let kept = maps.entry(segment).or_default();
        if kept.marks.len() < map.marks.len() {
            *kept = map;
        }
    }

    /// Visits the entries of one frame that lie in `[from, to)`.
    fn visit(
        &self,
        place: &Place,
        from: Index,
        to: TreeSize,
        visit: &mut dyn FnMut(StoredEntry) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let entries = EntriesFile::open(&self.folder, place.segment)?;
        let body = entries.body(place.at, &place.header)?;
        let frame =
            Frame::decode(place.header, &body).map_err(|error| entries.damaged(place.at, error))?;
        let payloads = Payloads::open(&self.folder, place.segment, place.header)?;
        let mut rows = frame.entry_bytes().zip(frame.macs());
        let mut index = place.header.first.0;
        let salts_len = u64::from(place.header.entry_count) * SALTS_LEN as u64;
        let mut block_at = place.header.payload_start + salts_len;
        for block in &frame.blocks {
            let end = index + u64::from(block.entry_count);
            let rows_of_block: Vec<_> = rows.by_ref().take(block.entry_count as usize).collect();
            let stored_at = block_at;
            block_at += u64::from(block.stored_len);
            if end <= from.0 || index >= to.0 {
                index = end;
                continue;
            }
            let stored = payloads.read(stored_at, block.stored_len as usize)?;
            let raw =
                read_block(block, &stored).map_err(|error| payloads.damaged(stored_at, error))?;
            let parts = payloads_of(&raw, block.entry_count)
                .map_err(|error| payloads.damaged(stored_at, error))?;
            for ((bytes, mac), parts) in rows_of_block.into_iter().zip(parts) {
                let here = Index(index);
                index += 1;
                if here < from || here.0 >= to.0 {
                    continue;
                }
                let entry =
                    Entry::decode(bytes).map_err(|error| entries.damaged(place.at, error))?;
                let salts = payloads.salts(here)?;
                if stored_commitment(&parts, &salts) != Some(entry.commitment) {
                    return Err(ReadError::Commitment { index: here });
                }
                let parts = parts.map(owned);
                if visit(StoredEntry {
                    index: here,
                    entry,
                    mac,
                    salts,
                    parts,
                })
                .is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The signer's last note in `folder`: its checkpoint and its bytes. Signatures are not verified.
pub(crate) fn last_note(folder: &std::path::Path) -> Result<(Checkpoint, Vec<u8>), ReadError> {
    let path = folder.join(LAST_NOTE);
    let bytes = std::fs::read(&path).map_err(|error| ReadError::Io {
        path: path.clone(),
        error,
    })?;
    let wrong = |reason: String| ReadError::Note {
        path: path.clone(),
        reason,
    };
    let note = Note::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| wrong(error.to_string()))?;
    Ok((checkpoint, bytes))
}

/// The size of the log that lies in `folder`: after its last good frame.
fn size_on_disk(folder: &std::path::Path) -> Result<TreeSize, ReadError> {
    let segments = list_segments(folder)?;
    let Some(last) = segments.last() else {
        return Ok(TreeSize(0));
    };
    let entries = EntriesFile::open(folder, *last)?;
    let (header, mut at) = entries.header()?;
    let mut size = header.edge.size();
    while let Next::Frame(header) = entries.next(at)? {
        let body = entries.body(at, &header)?;
        if Frame::decode(header, &body).is_err() {
            break;
        }
        size = header.size_after();
        at += (FrameHeader::LEN + body.len()) as u64;
    }
    Ok(size)
}
