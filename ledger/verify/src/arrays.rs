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
    /// Wrong hashes that a running writer may just have been writing: number and true hash.
    doubtful: Vec<(u64, Hash)>,
}

/// How the arrays must end.
pub(crate) struct End {
    pub(crate) size: TreeSize,
    pub(crate) durable: TreeSize,
    /// The last segment is finished, so that nothing may be missing.
    pub(crate) finished: bool,
}

/// At most this many hashes are looked at again after a writer moved on.
const DOUBTFUL_MAX: usize = 1 << 16;

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
            state.refresh(self.folder, level)?;
            stored = state.read(at)?;
        }
        match stored {
            Some(stored) if stored == *hash => {}
            Some(stored) if stored != Hash::ZERO => {
                if self.tail == Tail::BeingWritten && state.doubtful.len() < DOUBTFUL_MAX {
                    state.doubtful.push((number, *hash));
                } else if !std::mem::replace(&mut state.named, true) {
                    let what = MisdeedKind::HashWrong { level, number };
                    let file = self.folder.relative(&array_file(level, chunk));
                    self.misdeeds.add(&file, Some(at), what);
                }
            }
            Some(_) | None => {
                state.missing.get_or_insert(number);
                state.missing_count = state.missing_count.saturating_add(1);
            }
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
        for &(level, chunk) in &self.folder.arrays {
            self.check_end(level, chunk, end)?;
        }
        if behind > 0 {
            not_checked.push(NotChecked::HashesBehind { count: behind });
        }
        Ok(())
    }

    /// Looks again at hashes that were wrong while a writer was at work.
    fn recheck(&mut self, level: u8) -> Result<(), VerifyError> {
        let Some(state) = self.levels.get_mut(usize::from(level)) else {
            return Ok(());
        };
        for (number, hash) in std::mem::take(&mut state.doubtful) {
            let chunk = number / ARRAY_CHUNK;
            state.open(self.folder, level, chunk, self.tail)?;
            let at = number % ARRAY_CHUNK * Hash::LEN as u64;
            if state.read(at)? != Some(hash) {
                let file = self.folder.relative(&array_file(level, chunk));
                let what = MisdeedKind::HashWrong { level, number };
                self.misdeeds.add(&file, Some(at), what);
                break;
            }
        }
        Ok(())
    }

    /// What lies behind the hashes that a size implies, in one file.
    fn check_end(&self, level: u8, chunk: u64, end: &End) -> Result<(), VerifyError> {
        if self.tail == Tail::BeingWritten {
            return Ok(());
        }
        let name = array_file(level, chunk);
        let file = Opened::open(&self.folder.path(&name))?;
        let first = chunk.saturating_mul(ARRAY_CHUNK);
        let hashes = hashes_at(level, end.size)
            .saturating_sub(first)
            .min(ARRAY_CHUNK);
        let name = self.folder.relative(&name);
        if hashes == 0 {
            self.misdeeds.add(&name, None, MisdeedKind::UnknownFile);
            return Ok(());
        }
        let needed = hashes * Hash::LEN as u64;
        if end.finished && file.len > needed {
            let count = file.len - needed;
            let what = MisdeedKind::SurplusBytes { count };
            self.misdeeds.add(&name, Some(needed), what);
        } else if let Some(at) = Window::default().first_not_zero(&file, needed)? {
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
        let listed = folder.arrays.contains(&(level, chunk));
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

    /// Forgets what was read of the open chunk: a writer has gone on.
    fn refresh(&mut self, folder: &Folder, level: u8) -> Result<(), VerifyError> {
        self.window.clear();
        match &mut self.chunk {
            Some((_, Some(file))) => file.refresh(),
            Some((chunk, None)) => {
                let chunk = *chunk;
                self.open(folder, level, chunk, Tail::BeingWritten)
            }
            None => Ok(()),
        }
    }
}
