//! Verifying a log given as tlog-tiles, static files or served ones (docs/formats/tiles.md): the
//! checkpoint, every hash tile that its size implies, and the entry bundles if they are given.
//!
//! Not here: payloads, which tiles do not hold; fetching, which is the caller's function; what else
//! a static folder holds, since it is asked for names and not listed.

use std::ops::ControlFlow;

use keys_public::TrustFile;
use ledger_core::state::ShortMac;
use ledger_core::tile::{TILE_LEVELS_USED, TILE_WIDTH, Tile, TileKind};
use ledger_core::{Hash, Index, RightEdge, TreeSize, leaf_hash};

use crate::entries::Rules;
use crate::error::{FetchError, VerifyError};
use crate::history::{Head, signed_too_early};
use crate::marks::{Signed, read_note, read_since};
use crate::misdeed::{MisdeedKind, Misdeeds};
use crate::numbers::{Numbers, ends_the_walk};
use crate::report::{NotChecked, Progress, Report, VerifyOptions};

const CHECKPOINT: &str = "checkpoint";

/// Whoever fetches: a path such as `checkpoint` or `tile/0/000`, and its bytes if it exists.
pub type Fetch<'f> = dyn FnMut(&str) -> Result<Option<Vec<u8>>, FetchError> + 'f;

/// Verifies a log given as tiles: signatures, every hash of every level, and entries if bundles are
/// given. Payloads are not in tiles; the report counts them as not checked.
///
/// Memory is bounded whatever the log's size.
///
/// # Errors
/// If nothing can be said: a kept checkpoint that does not hold, or a fetch that failed.
pub fn verify_tiles(
    fetch: &mut Fetch<'_>,
    trust: &TrustFile,
    options: &VerifyOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, VerifyError> {
    let since = options.since.as_deref();
    let since = since.map(|note| read_since(note, trust)).transpose()?;
    let mut walk = TileWalk::new(fetch, progress);
    if let Some(head) = walk.checkpoint(trust)? {
        walk.run(&head, since.as_ref())?;
    }
    Ok(walk.report())
}

struct TileWalk<'f, 'a> {
    fetch: &'a mut Fetch<'f>,
    progress: &'a (dyn Fn(Progress) + Sync),
    misdeeds: Misdeeds,
    edge: RightEdge,
    /// Hashes of the levels above 0 that wait to fill a tile.
    above: Vec<Vec<Hash>>,
    rules: Rules,
    numbers: Numbers,
    /// Whether entry bundles are given, once that is known.
    bundles: Option<bool>,
    report: Report,
}

impl<'f, 'a> TileWalk<'f, 'a> {
    fn new(fetch: &'a mut Fetch<'f>, progress: &'a (dyn Fn(Progress) + Sync)) -> Self {
        TileWalk {
            fetch,
            progress,
            misdeeds: Misdeeds::default(),
            edge: RightEdge::new(),
            above: (1..TILE_LEVELS_USED).map(|_| Vec::new()).collect(),
            rules: Rules::default(),
            numbers: Numbers::default(),
            bundles: None,
            report: Report::default(),
        }
    }

    fn checkpoint(&mut self, trust: &TrustFile) -> Result<Option<Head>, VerifyError> {
        let Some(note) = self.get(CHECKPOINT)? else {
            self.misdeed(CHECKPOINT, MisdeedKind::FileMissing);
            return Ok(None);
        };
        match read_note(&note, trust) {
            Ok(Signed {
                head: Some(head), ..
            }) => Ok(Some(head)),
            Ok(Signed { head: None, .. }) => {
                self.misdeed(CHECKPOINT, MisdeedKind::NeverWitnessed);
                Ok(None)
            }
            Err(fault) => {
                self.misdeed(CHECKPOINT, fault.into());
                Ok(None)
            }
        }
    }

    fn run(&mut self, head: &Head, since: Option<&Signed>) -> Result<(), VerifyError> {
        let size = head.checkpoint.size;
        let mut read_all = true;
        self.meet_since(since);
        for number in 0..size.0.div_ceil(TILE_WIDTH) {
            let width = (size.0 - number * TILE_WIDTH).min(TILE_WIDTH);
            read_all = self.leaves(number, width, since)?;
            if !read_all {
                let size = self.edge.size();
                let what = NotChecked::AfterDamage { size };
                self.report.not_checked.push(what);
                break;
            }
            (self.progress)(Progress {
                entries: self.edge.size().0,
                bytes: self.report.bytes,
                bytes_total: 0,
            });
        }
        if read_all {
            self.partial_tiles(size)?;
            self.finish(head, since);
        }
        self.report.checkpoint = Some(head.checkpoint.clone());
        self.report.pq_timestamp = head.pq_timestamp;
        self.report.cosigners.clone_from(&head.cosigners);
        Ok(())
    }

    /// One tile of level 0 with the bundle beside it; `false` if nothing can be read behind it.
    fn leaves(
        &mut self,
        number: u64,
        width: u64,
        since: Option<&Signed>,
    ) -> Result<bool, VerifyError> {
        let tile = tile_of(TileKind::Hashes(0), number, width);
        let Some(hashes) = self.hashes(&tile)? else {
            return Ok(false);
        };
        let entries = self.bundle(number, width)?;
        let mut entries = entries.iter().map(Vec::as_slice);
        for (hash, place) in hashes.iter().zip(0u64..) {
            let entry = entries.next();
            let taken = entry.map(|entry| self.entry(entry, hash, &tile, number, width, place));
            if taken.is_some_and(|flow| flow.is_break()) {
                return Ok(false);
            }
            let mut full: Vec<(u8, u64)> = Vec::new();
            let above = &mut self.above;
            self.edge.push_observed(*hash, &mut |level, node, hash| {
                let tile_level = level / 8;
                if level % 8 == 0
                    && let Some(row) = above.get_mut(usize::from(tile_level).wrapping_sub(1))
                {
                    row.push(hash);
                    if row.len() as u64 == TILE_WIDTH {
                        full.push((tile_level, node / TILE_WIDTH));
                    }
                }
            });
            for (level, number) in full {
                self.compare(level, number)?;
            }
            self.meet_since(since);
        }
        Ok(true)
    }

    /// The entries of a bundle, or none if bundles are not given.
    fn bundle(&mut self, number: u64, width: u64) -> Result<Vec<Vec<u8>>, VerifyError> {
        if self.bundles == Some(false) {
            return Ok(Vec::new());
        }
        let tile = tile_of(TileKind::Entries, number, width);
        let path = tile.to_string();
        let bytes = self.get_or_full(&tile)?;
        let given = *self.bundles.get_or_insert(bytes.is_some());
        let Some(bytes) = bytes else {
            if given {
                self.misdeed(&path, MisdeedKind::FileMissing);
            }
            return Ok(Vec::new());
        };
        let mut rest = bytes.as_slice();
        let mut entries = Vec::new();
        for number in 0..width {
            let split = rest.split_first_chunk::<2>().and_then(|(len, rest)| {
                let len = usize::from(u16::from_be_bytes(*len));
                rest.split_at_checked(len)
            });
            let Some((entry, after)) = split else {
                self.misdeed(&path, MisdeedKind::Bundle { number });
                return Ok(entries);
            };
            entries.push(entry.to_vec());
            rest = after;
        }
        let found = bytes.len();
        let expected = found - rest.len();
        // A full bundle may stand in for a partial one; a bundle that is too long may not.
        if expected < found && !self.is_full_instead(&tile, found) {
            let what = MisdeedKind::TileLength { expected, found };
            self.misdeed(&path, what);
        }
        Ok(entries)
    }

    fn is_full_instead(&self, tile: &Tile, found: usize) -> bool {
        let entry = 2 + ledger_core::Entry::LEN;
        u64::from(tile.width) < TILE_WIDTH && found == entry * 256
    }

    /// One entry beside its hash; `Break` after a misdeed that nothing can be read behind.
    fn entry(
        &mut self,
        bytes: &[u8],
        hash: &Hash,
        tile: &Tile,
        number: u64,
        width: u64,
        place: u64,
    ) -> ControlFlow<()> {
        let index = Index(self.edge.size().0);
        let path = tile_of(TileKind::Entries, number, width).to_string();
        let misdeeds = &self.misdeeds;
        let mut wrong = |what| misdeeds.add(&path, None, what);
        // Frames, which hold MACs, are not here: numbers alone are checked.
        if let Some(entry) = self.rules.take(index, bytes, &mut wrong)
            && let Err(what) = self.numbers.take(index, &entry, ShortMac::ZERO)
        {
            let ends = ends_the_walk(&what);
            wrong(what);
            if ends {
                return ControlFlow::Break(());
            }
        }
        if leaf_hash(bytes) != *hash {
            let number = number * TILE_WIDTH + place;
            let what = MisdeedKind::HashWrong { level: 0, number };
            misdeeds.add(&tile.to_string(), Some(place * 32), what);
        }
        self.report.entries = self.report.entries.saturating_add(1);
        ControlFlow::Continue(())
    }

    /// Compares the waiting hashes of a level with their tile.
    fn compare(&mut self, level: u8, number: u64) -> Result<(), VerifyError> {
        let row = self.above.get_mut(usize::from(level).wrapping_sub(1));
        let expected = row.map(std::mem::take).unwrap_or_default();
        let tile = tile_of(TileKind::Hashes(level), number, expected.len() as u64);
        let Some(stored) = self.hashes(&tile)? else {
            return Ok(());
        };
        let differs = expected.iter().zip(&stored).position(|(a, b)| a != b);
        if let Some(place) = differs {
            let number = number * TILE_WIDTH + place as u64;
            let what = MisdeedKind::HashWrong { level, number };
            let at = Some(place as u64 * 32);
            self.misdeeds.add(&tile.to_string(), at, what);
        }
        Ok(())
    }

    fn partial_tiles(&mut self, size: TreeSize) -> Result<(), VerifyError> {
        for level in 1..TILE_LEVELS_USED {
            let total = ledger_core::tile::hashes_at(level, size);
            if !total.is_multiple_of(TILE_WIDTH) {
                self.compare(level, total / TILE_WIDTH)?;
            }
        }
        Ok(())
    }

    /// The hashes of a tile; `None`, with a misdeed noted, if it is missing or of another length.
    fn hashes(&mut self, tile: &Tile) -> Result<Option<Vec<Hash>>, VerifyError> {
        let path = tile.to_string();
        let Some(bytes) = self.get_or_full(tile)? else {
            self.misdeed(&path, MisdeedKind::FileMissing);
            return Ok(None);
        };
        let expected = usize::from(tile.width) * Hash::LEN;
        let full = 256 * Hash::LEN;
        if bytes.len() != expected && bytes.len() != full {
            let found = bytes.len();
            self.misdeed(&path, MisdeedKind::TileLength { expected, found });
            return Ok(None);
        }
        let hashes = bytes.chunks_exact(Hash::LEN).filter_map(Hash::from_slice);
        Ok(Some(hashes.take(usize::from(tile.width)).collect()))
    }

    /// A tile, or the full one in the place of a partial one that is gone.
    fn get_or_full(&mut self, tile: &Tile) -> Result<Option<Vec<u8>>, VerifyError> {
        let found = self.get(&tile.to_string())?;
        if found.is_some() || u64::from(tile.width) == TILE_WIDTH {
            return Ok(found);
        }
        let full = tile_of(tile.kind, tile.number, TILE_WIDTH);
        self.get(&full.to_string())
    }

    fn get(&mut self, path: &str) -> Result<Option<Vec<u8>>, VerifyError> {
        let bytes = (self.fetch)(path).map_err(|error| VerifyError::Fetch {
            path: path.to_owned(),
            error,
        })?;
        if let Some(bytes) = &bytes {
            self.report.files = self.report.files.saturating_add(1);
            self.report.bytes = self.report.bytes.saturating_add(bytes.len() as u64);
        }
        Ok(bytes)
    }

    fn meet_since(&mut self, since: Option<&Signed>) {
        let size = self.edge.size();
        let Some(since) = since.filter(|since| since.checkpoint.size == size) else {
            return;
        };
        if since.checkpoint.root == self.edge.root() {
            self.report.since = Some(size);
        } else {
            self.misdeed(CHECKPOINT, MisdeedKind::HistoryRewritten { size });
        }
    }

    fn finish(&mut self, head: &Head, since: Option<&Signed>) {
        let size = head.checkpoint.size;
        if self.edge.root() != head.checkpoint.root {
            self.misdeed(CHECKPOINT, MisdeedKind::RootMismatch { size });
        }
        let covered = self.rules.ledger_time;
        if let Some(what) = signed_too_early(head.pq_timestamp, covered) {
            self.misdeed(CHECKPOINT, what);
        }
        let Some(since) = since else { return };
        if since.checkpoint.size > size {
            let (seen, entries) = (since.checkpoint.size, size);
            self.misdeed(
                CHECKPOINT,
                MisdeedKind::LogShorterThanSeen { seen, entries },
            );
        } else if since.pq_timestamp > head.pq_timestamp {
            let what = MisdeedKind::TimeWentBack {
                clock: "signed time",
                before: i128::from(since.pq_timestamp),
                found: i128::from(head.pq_timestamp),
            };
            self.misdeed(CHECKPOINT, what);
        }
    }

    fn report(mut self) -> Report {
        let size = self.edge.size().0;
        let without = size.saturating_sub(self.report.entries);
        if without > 0 {
            let what = NotChecked::Entries { count: without };
            self.report.not_checked.push(what);
        }
        self.report.entries = size;
        self.report.root = self.edge.root();
        self.report.payloads_not_checked = size;
        self.report.not_understood = self.rules.not_understood;
        self.report.checkpoints_checked = u64::from(self.report.checkpoint.is_some());
        let (misdeeds, beyond) = self.misdeeds.take();
        self.report.misdeeds = misdeeds;
        self.report.misdeeds_beyond = beyond;
        self.report.close(false);
        self.report
    }

    fn misdeed(&self, file: &str, what: MisdeedKind) {
        self.misdeeds.add(file, None, what);
    }
}

fn tile_of(kind: TileKind, number: u64, width: u64) -> Tile {
    let width = u16::try_from(width.min(TILE_WIDTH)).unwrap_or(u16::MAX);
    Tile {
        kind,
        number,
        width,
    }
}
