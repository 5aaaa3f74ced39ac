//! The hash arrays: tree levels 0, 8, 16, … in fixed-width files, so that tiles are slices.
//!
//! They are derived: written after the frame that holds the entries is durable, synced now and then
//! ([`crate::shared::Shared::arrays_durable`]), and derived again by recovery from there on.
//!
//! Not here: which hashes are right (the writer and recovery push leaves), or serving tiles.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ledger_core::layout::{ARRAY_CHUNK, array_name, parse_array_name};
use ledger_core::tile::{TILE_LEVELS_USED, fold_perfect, hashes_at, stored_under};
use ledger_core::{Hash, RightEdge, TreeSize};

use crate::error::{ReadError, WriteError};
use crate::files::sync_folder;

const HASH: u64 = Hash::LEN as u64;

/// A run of finished hashes of one tile level, not yet written.
#[derive(Debug, Default)]
struct Run {
    first: u64,
    bytes: Vec<u8>,
}

/// Grows the tree and the arrays together.
#[derive(Debug)]
pub(crate) struct ArrayWriter {
    folder: PathBuf,
    edge: RightEdge,
    runs: Vec<Run>,
    open: HashMap<(u8, u64), File>,
}

impl ArrayWriter {
    /// Goes on from `edge` with the arrays in `folder`.
    pub(crate) fn new(folder: PathBuf, edge: RightEdge) -> ArrayWriter {
        let runs = (0..TILE_LEVELS_USED).map(|_| Run::default()).collect();
        ArrayWriter {
            folder,
            edge,
            runs,
            open: HashMap::new(),
        }
    }

    /// The tree so far.
    pub(crate) fn edge(&self) -> &RightEdge {
        &self.edge
    }

    /// Adds a leaf; its hashes are written by [`ArrayWriter::flush`].
    pub(crate) fn push(&mut self, leaf: Hash) {
        let runs = &mut self.runs;
        self.edge.push_observed(leaf, &mut |level, number, hash| {
            if level % 8 != 0 {
                return;
            }
            let Some(run) = runs.get_mut(usize::from(level / 8)) else {
                return;
            };
            if run.bytes.is_empty() {
                run.first = number;
            }
            run.bytes.extend_from_slice(&hash.0);
        });
    }

    /// Writes what was pushed. Not durable before a sync.
    pub(crate) fn flush(&mut self) -> Result<(), WriteError> {
        for level in 0..TILE_LEVELS_USED {
            let Some(run) = self.runs.get_mut(usize::from(level)) else {
                continue;
            };
            if run.bytes.is_empty() {
                continue;
            }
            let bytes = std::mem::take(&mut run.bytes);
            let mut number = run.first;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let room = (ARRAY_CHUNK - number % ARRAY_CHUNK) * HASH;
                let fits = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
                let (now, later) = rest.split_at(fits);
                self.write(level, number, now)?;
                number += now.len() as u64 / HASH;
                rest = later;
            }
            if let Some(run) = self.runs.get_mut(usize::from(level)) {
                run.bytes = bytes;
                run.bytes.clear();
            }
        }
        Ok(())
    }

    fn write(&mut self, level: u8, number: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let chunk = number / ARRAY_CHUNK;
        let path = self.folder.join(array_name(level, chunk));
        let failed = |doing| {
            let path = path.clone();
            move |error| WriteError::Io { doing, path, error }
        };
        if !self.open.contains_key(&(level, chunk)) {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(&path).map_err(failed("open"))?;
            // Only the newest chunk of a level is written again.
            self.open.retain(|(open, _), _| *open != level);
            self.open.insert((level, chunk), file);
        }
        let Some(file) = self.open.get(&(level, chunk)) else {
            return Ok(());
        };
        file.write_all_at(bytes, number % ARRAY_CHUNK * HASH)
            .map_err(failed("write"))
    }
}

/// Makes every hash written so far durable, with handles of its own.
pub(crate) fn sync_arrays(folder: &Path) -> Result<(), WriteError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |error| WriteError::Io { doing, path, error }
    };
    for file in std::fs::read_dir(folder).map_err(failed("list", folder))? {
        let path = file.map_err(failed("list", folder))?.path();
        let handle = File::open(&path).map_err(failed("open", &path))?;
        handle.sync_data().map_err(failed("sync", &path))?;
    }
    sync_folder(folder)
}

/// Cuts the arrays to a tree of `size` leaves and removes files that it does not need.
pub(crate) fn cut_arrays(folder: &Path, size: TreeSize) -> Result<(), WriteError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |error| WriteError::Io { doing, path, error }
    };
    for file in std::fs::read_dir(folder).map_err(failed("list", folder))? {
        let file = file.map_err(failed("list", folder))?;
        let path = file.path();
        let name = file.file_name();
        let Some((level, chunk)) = name.to_str().and_then(parse_array_name) else {
            continue;
        };
        let total = hashes_at(level, size);
        let needed = total
            .saturating_sub(chunk.saturating_mul(ARRAY_CHUNK))
            .min(ARRAY_CHUNK);
        if needed == 0 {
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
            continue;
        }
        let handle = OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        let len = handle.metadata().map_err(failed("inspect", &path))?.len();
        if len > needed * HASH {
            handle
                .set_len(needed * HASH)
                .map_err(failed("cut", &path))?;
        }
    }
    Ok(())
}

/// Open array files by level and chunk.
type OpenArrays = HashMap<(u8, u64), Arc<File>>;

/// Reads hashes from the arrays.
#[derive(Debug, Clone)]
pub(crate) struct ArrayReader {
    folder: Arc<PathBuf>,
    open: Arc<Mutex<OpenArrays>>,
}

/// At most this many array files stay open in a reader.
const OPEN_MAX: usize = 32;

impl ArrayReader {
    pub(crate) fn new(folder: PathBuf) -> ArrayReader {
        ArrayReader {
            folder: Arc::new(folder),
            open: Arc::default(),
        }
    }

    fn file(&self, level: u8, chunk: u64) -> Result<Arc<File>, ReadError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&(level, chunk)) {
            return Ok(file.clone());
        }
        let path = self.folder.join(array_name(level, chunk));
        let file = File::open(&path).map_err(|error| ReadError::Io { path, error })?;
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        let file = Arc::new(file);
        open.insert((level, chunk), file.clone());
        Ok(file)
    }

    /// `count` hashes of tile level `level` from number `first` on, as bytes.
    pub(crate) fn bytes(&self, level: u8, first: u64, count: u64) -> Result<Vec<u8>, ReadError> {
        let len = usize::try_from(count * HASH).unwrap_or(usize::MAX);
        let mut out = vec![0u8; len];
        let mut number = first;
        let mut rest = out.as_mut_slice();
        while !rest.is_empty() {
            let chunk = number / ARRAY_CHUNK;
            let room = (ARRAY_CHUNK - number % ARRAY_CHUNK) * HASH;
            let fits = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(fits);
            let file = self.file(level, chunk)?;
            file.read_exact_at(now, number % ARRAY_CHUNK * HASH)
                .map_err(|error| ReadError::Io {
                    path: self.folder.join(array_name(level, chunk)),
                    error,
                })?;
            number += fits as u64 / HASH;
            rest = later;
        }
        Ok(out)
    }

    /// The perfect node (`level`, `number`) of the tree.
    pub(crate) fn node(&self, level: u8, number: u64) -> Result<Hash, ReadError> {
        let (tile_level, first, count) = stored_under(level, number);
        let bytes = self.bytes(tile_level, first, count)?;
        let hashes: Vec<Hash> = bytes
            .chunks_exact(Hash::LEN)
            .filter_map(Hash::from_slice)
            .collect();
        Ok(fold_perfect(&hashes))
    }

    /// The right edge of the tree of `size` leaves.
    pub(crate) fn edge(&self, size: TreeSize) -> Result<RightEdge, ReadError> {
        let mut peaks = Vec::new();
        for (level, number) in ledger_core::tree::perfect_nodes(0, size.0) {
            peaks.push(self.node(level, number)?);
        }
        RightEdge::from_parts(size, peaks).map_err(|error| ReadError::Damaged {
            path: self.folder.to_path_buf(),
            at: 0,
            error,
        })
    }

    /// Whether an error means that hashes are missing, not that they cannot be read.
    pub(crate) fn is_missing(error: &ReadError) -> bool {
        use io::ErrorKind::{NotFound, UnexpectedEof};
        matches!(error, ReadError::Io { error, .. }
            if matches!(error.kind(), NotFound | UnexpectedEof))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger_core::leaf_hash;
    use ledger_core::proof::root_from_nodes;

    #[test]
    fn arrays_give_back_every_root_that_was_pushed() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ArrayWriter::new(folder.path().to_owned(), RightEdge::new());
        let reader = ArrayReader::new(folder.path().to_owned());
        for n in 0u32..700 {
            writer.push(leaf_hash(&n.to_be_bytes()));
            if n % 37 == 0 {
                writer.flush().unwrap();
            }
        }
        writer.flush().unwrap();
        let mut edge = RightEdge::new();
        for n in 0u32..700 {
            edge.push(leaf_hash(&n.to_be_bytes()));
            let size = edge.size();
            let root = root_from_nodes(size, &mut |level, number| reader.node(level, number));
            assert_eq!(root.unwrap(), edge.root(), "size {size}");
            assert_eq!(reader.edge(size).unwrap(), edge);
        }
        cut_arrays(folder.path(), TreeSize(255)).unwrap();
        let reader = ArrayReader::new(folder.path().to_owned());
        assert!(ArrayReader::is_missing(&reader.bytes(1, 0, 1).unwrap_err()));
        assert!(ArrayReader::is_missing(
            &reader.bytes(0, 255, 1).unwrap_err()
        ));
        assert!(reader.bytes(0, 254, 1).is_ok());
        sync_arrays(folder.path()).unwrap();
    }
}
