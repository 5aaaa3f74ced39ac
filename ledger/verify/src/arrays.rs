//! Hash arrays: every stored hash of every stored level against the recomputed one
//! (docs/formats/tiles.md).
//!
//! Not here: recomputing them, which the tree does as it grows ([`crate::segments`]).

use ledger_core::layout::ARRAY_CHUNK;
use ledger_core::tile::{TILE_LEVELS_USED, hashes_at};
use ledger_core::{Hash, TreeSize};

use crate::error::VerifyError;
use crate::files::{Opened, Window};
use crate::folder::{Folder, array_file};
use crate::misdeed::{MisdeedKind, Misdeeds};
use crate::report::{NotChecked, Tail};

/// The arrays of all levels, read along with the tree.
pub(crate) struct Arrays<'a> {
    folder: &'a Folder,
    misdeeds: &'a Misdeeds,
    levels: Vec<Level>,
    failed: Option<VerifyError>,
    tail: Tail,
}

#[derive(Default)]
struct Level {
    /// The open chunk: its number, and its file if it is there.
    chunk: Option<(u64, Option<Opened>)>,
    window: Window,
    /// The first hash that is not on disk.
    missing: Option<u64>,
    missing_count: u64,
    /// A wrong hash of the open chunk was named: one misdeed a file.
    named: bool,
    /// Hashes that a running writer may just have been writing: number and true hash.
    doubtful: Vec<(u64, Hash)>,
}

/// How the arrays must end.
pub(crate) struct End {
    pub(crate) size: TreeSize,
    /// Hashes of leaves below this are there, whatever was interrupted.
    pub(crate) durable: TreeSize,
    /// The last segment is finished, so that nothing may be missing.
    pub(crate) finished: bool,
}

/// At most this many hashes of a level are looked at again after a writer moved on: more than a
/// frame has entries.
const DOUBTFUL_MAX: usize = 1 << 17;

impl<'a> Arrays<'a> {
    pub(crate) fn new(folder: &'a Folder, misdeeds: &'a Misdeeds, tail: Tail) -> Arrays<'a> {
        Arrays {
            folder,
            misdeeds,
            levels: (0..TILE_LEVELS_USED).map(|_| Level::default()).collect(),
            failed: None,
            tail,
        }
    }

    /// Compares one hash; hashes of a level come in the order of their numbers. An error is kept
    /// for [`Arrays::failure`].
    pub(crate) fn take(&mut self, level: u8, number: u64, hash: &Hash) {
        if self.failed.is_none() {
            self.failed = self.compare(level, number, hash).err();
        }
    }

    /// The first error so far, once.
    pub(crate) fn failure(&mut self) -> Result<(), VerifyError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn compare(&mut self, level: u8, number: u64, hash: &Hash) -> Result<(), VerifyError> {
        let Some(state) = self.levels.get_mut(usize::from(level)) else {
            return Ok(());
        };
        let chunk = number / ARRAY_CHUNK;
        if state.chunk.as_ref().map(|(open, _)| *open) != Some(chunk) {
            state.open(self.folder, level, chunk, self.tail)?;
        }
        let at = number % ARRAY_CHUNK * Hash::LEN as u64;
        let mut stored = state.read(at)?;
        if stored != Some(*hash) && self.tail == Tail::BeingWritten {
            // A writer grows arrays after the entries: what is not there yet is looked at again.
            stored = state.read_now(self.folder, level, at)?;
            if stored != Some(*hash) && state.doubtful.len() < DOUBTFUL_MAX {
                state.doubtful.push((number, *hash));
                return Ok(());
            }
        }
        if stored != Some(*hash) {
            state.blame(stored, (level, number), (self.folder, self.misdeeds));
        }
        Ok(())
    }

    /// Checks what must be there and what may not, once all hashes were compared.
    pub(crate) fn finish(
        mut self,
        end: &End,
        not_checked: &mut Vec<NotChecked>,
    ) -> Result<(), VerifyError> {
        self.failure()?;
        let mut behind = 0u64;
        for level in 0..TILE_LEVELS_USED {
            self.recheck(level)?;
            let Some(state) = self.levels.get_mut(usize::from(level)) else {
                continue;
            };
            let durable = hashes_at(level, end.durable);
            let illegal = |number: &u64| end.finished || *number < durable;
            if let Some(number) = state.missing.filter(illegal) {
                let (chunk, place) = (number / ARRAY_CHUNK, number % ARRAY_CHUNK);
                let file = self.folder.relative(&array_file(level, chunk));
                let what = MisdeedKind::HashMissing { level, number };
                self.misdeeds.add(&file, Some(place * 32), what);
            } else {
                behind = behind.saturating_add(state.missing_count);
            }
        }
        for (&array, listed) in &self.folder.arrays {
            self.check_end(array, *listed, end)?;
        }
        if behind > 0 {
            not_checked.push(NotChecked::HashesBehind { count: behind });
        }
        Ok(())
    }

    /// Looks again at hashes that were wrong or missing while a writer was at work.
    fn recheck(&mut self, level: u8) -> Result<(), VerifyError> {
        let Some(state) = self.levels.get_mut(usize::from(level)) else {
            return Ok(());
        };
        for (number, hash) in std::mem::take(&mut state.doubtful) {
            let chunk = number / ARRAY_CHUNK;
            if state.chunk.as_ref().map(|(open, _)| *open) != Some(chunk) {
                state.open(self.folder, level, chunk, self.tail)?;
            }
            let at = number % ARRAY_CHUNK * Hash::LEN as u64;
            let stored = state.read_now(self.folder, level, at)?;
            if stored != Some(hash) {
                state.blame(stored, (level, number), (self.folder, self.misdeeds));
            }
        }
        Ok(())
    }

    /// What lies behind the hashes that a size implies, in one file that was `listed` so long.
    fn check_end(
        &self,
        (level, chunk): (u8, u64),
        listed: u64,
        end: &End,
    ) -> Result<(), VerifyError> {
        let name = array_file(level, chunk);
        let path = self.folder.path(&name);
        let name = self.folder.relative(&name);
        let first = chunk.saturating_mul(ARRAY_CHUNK);
        let hashes = hashes_at(level, end.size)
            .saturating_sub(first)
            .min(ARRAY_CHUNK);
        if hashes == 0 {
            self.misdeeds.add(&name, None, MisdeedKind::UnknownFile);
            return Ok(());
        }
        let needed = hashes * Hash::LEN as u64;
        let file = Opened::open(&path)?;
        // A writer writes hashes of entries that are durable, and entries were read after the files
        // were listed: what was there by then is covered, and is never grown ahead.
        let (exact, len) = match self.tail {
            Tail::AtRest => (end.finished, file.len),
            Tail::BeingWritten => (true, listed),
        };
        if exact && len > needed {
            let count = len - needed;
            let what = MisdeedKind::SurplusBytes { count };
            self.misdeeds.add(&name, Some(needed), what);
        } else if self.tail == Tail::AtRest
            && let Some(at) = Window::default().first_not_zero(&file, needed)?
        {
            self.misdeeds.add(&name, Some(at), MisdeedKind::NotZero);
        }
        Ok(())
    }
}

impl Level {
    fn open(
        &mut self,
        folder: &Folder,
        level: u8,
        chunk: u64,
        tail: Tail,
    ) -> Result<(), VerifyError> {
        let path = folder.path(&array_file(level, chunk));
        let listed = folder.arrays.contains_key(&(level, chunk));
        // A writer may have begun it since.
        let there = listed || (tail == Tail::BeingWritten && path.is_file());
        let file = there.then(|| Opened::open(&path)).transpose()?;
        self.window.clear();
        self.named = false;
        self.chunk = Some((chunk, file));
        Ok(())
    }

    /// The hash at a byte of the open chunk, if the file has one.
    fn read(&mut self, at: u64) -> Result<Option<Hash>, VerifyError> {
        let Some((_, Some(file))) = &self.chunk else {
            return Ok(None);
        };
        let stored = self.window.bytes(file, at, Hash::LEN)?;
        Ok(stored.and_then(Hash::from_slice))
    }

    /// The hash at a byte of the open chunk as it is now: a writer has gone on since.
    fn read_now(
        &mut self,
        folder: &Folder,
        level: u8,
        at: u64,
    ) -> Result<Option<Hash>, VerifyError> {
        if let Some((chunk, None)) = self.chunk {
            self.open(folder, level, chunk, Tail::BeingWritten)?;
        }
        let Some((_, Some(file))) = &mut self.chunk else {
            return Ok(None);
        };
        file.refresh()?;
        let mut hash = Hash::ZERO;
        let read = file.fill(&mut hash.0, at)?;
        Ok((read == Hash::LEN).then_some(hash))
    }

    /// Notes a hash that is not what it must be: wrong, or (if zero) not there.
    fn blame(
        &mut self,
        stored: Option<Hash>,
        (level, number): (u8, u64),
        (folder, misdeeds): (&Folder, &Misdeeds),
    ) {
        if stored.is_none_or(|stored| stored == Hash::ZERO) {
            let first = self.missing.map_or(number, |first| first.min(number));
            self.missing = Some(first);
            self.missing_count = self.missing_count.saturating_add(1);
        } else if !std::mem::replace(&mut self.named, true) {
            let (chunk, place) = (number / ARRAY_CHUNK, number % ARRAY_CHUNK);
            let what = MisdeedKind::HashWrong { level, number };
            let file = folder.relative(&array_file(level, chunk));
            misdeeds.add(&file, Some(place * Hash::LEN as u64), what);
        }
    }
}
