//! Deleting and deriving again all that is derived: the hash arrays. Entries, payloads, keys, the
//! last note and the history of checkpoints cannot be derived and are not touched.
//!
//! Not here: deciding that a rebuild is needed (custody verify says so).

use ledger_core::layout::{HASHES, parse_array_name};
use ledger_core::{Checkpoint, RightEdge, TreeSize, leaf_hash};

use crate::arrays::{ArrayWriter, cut_arrays, sync_arrays};
use crate::error::{OpenError, ReadError, WriteError};
use crate::files::sync_folder;
use crate::frames::{EntriesFile, Next, list_segments};
use crate::log::take_lock;
use crate::paths::LogPaths;
use crate::reader::last_note;

/// Hashes are written after so many leaves.
const FLUSH_EVERY: u64 = 1 << 16;

/// What a rebuild did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Rebuilt {
    /// Entries whose hashes were derived.
    pub entries: u64,
    /// Array files that were removed first.
    pub files_removed: u64,
}

/// Why nothing could be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log could not be had.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The entries do not lead to the signed root: the damage is not in what is derived.
    #[error(
        "the entries do not lead to the last signed root at size {size}: this is no damage that a \
         rebuild mends; run custody verify"
    )]
    RootMismatch {
        /// The signed size.
        size: TreeSize,
    },
}

/// Derives the arrays again from the entries, while no other process writes the log. `progress` is
/// told how many entries are done.
///
/// # Errors
/// See [`RebuildError`].
pub fn rebuild(paths: &LogPaths, progress: &mut dyn FnMut(u64)) -> Result<Rebuilt, RebuildError> {
    let _lock = take_lock(paths)?;
    let folder = paths.folder();
    let (signed, _) = last_note(&folder)?;
    // Entries are read and checked against the signed root before anything is removed.
    walk(&folder, &mut |_| Ok(()), Some(&signed), progress)?;
    let hashes = folder.join(HASHES);
    let files_removed = clear(&hashes)?;
    let mut arrays = ArrayWriter::new(hashes.clone(), RightEdge::new());
    let mut add = |leaf| {
        arrays.push(leaf);
        if arrays.edge().size().0.is_multiple_of(FLUSH_EVERY) {
            arrays.flush()
        } else {
            Ok(())
        }
    };
    walk(&folder, &mut add, None, &mut |_| ())?;
    arrays.flush()?;
    cut_arrays(&hashes, arrays.edge().size())?;
    sync_arrays(&hashes)?;
    Ok(Rebuilt {
        entries: arrays.edge().size().0,
        files_removed,
    })
}

/// Tells `push` of every leaf; checks the root at the signed size on the way if there is one.
fn walk(
    folder: &std::path::Path,
    push: &mut dyn FnMut(ledger_core::Hash) -> Result<(), WriteError>,
    signed: Option<&Checkpoint>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), RebuildError> {
    let mut edge = RightEdge::new();
    let mut met = signed.is_none_or(|signed| signed.size.0 == 0);
    for first in list_segments(folder)? {
        let entries = EntriesFile::open(folder, first)?;
        let (_, mut at) = entries.header()?;
        while let Next::Frame(header) = entries.next(at)? {
            let body = entries.body(at, &header)?;
            let frame = ledger_core::frame::Frame::decode(header, &body)
                .map_err(|error| entries.damaged(at, error))?;
            for bytes in frame.entry_bytes() {
                let leaf = leaf_hash(bytes);
                push(leaf)?;
                if let Some(signed) = signed {
                    edge.push(leaf);
                    if edge.size() == signed.size {
                        met = edge.root() == signed.root;
                    }
                }
            }
            at += (ledger_core::frame::FrameHeader::LEN + body.len()) as u64;
            progress(header.size_after().0);
        }
    }
    match signed {
        Some(signed) if !met => Err(RebuildError::RootMismatch { size: signed.size }),
        _ => Ok(()),
    }
}

fn clear(hashes: &std::path::Path) -> Result<u64, WriteError> {
    let failed = |error| WriteError::Io {
        doing: "clear",
        path: hashes.to_owned(),
        error,
    };
    // A copy of a log may have been made without them.
    std::fs::create_dir_all(hashes).map_err(failed)?;
    let mut removed = 0;
    for file in std::fs::read_dir(hashes).map_err(failed)? {
        let file = file.map_err(failed)?;
        if file
            .file_name()
            .to_str()
            .and_then(parse_array_name)
            .is_some()
        {
            std::fs::remove_file(file.path()).map_err(failed)?;
            removed += 1;
        }
    }
    sync_folder(hashes)?;
    Ok(removed)
}
