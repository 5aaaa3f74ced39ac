//! Where a log stands in a file: kept by the log itself, as the position `file:<source>`, in the
//! same frame as the records, so that one is never taken twice and none is left out.
//!
//! A file is the same one if what it begins with, and what stands before the place where reading
//! ended, are as they were; its path and inode are remembered for messages. Not here: reading
//! records (`reading.rs`).

use ledger_core::Hash;
use ledger_core::state::Position;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::reading::{AuditFile, FileRefused};

/// A place in a file. Stored as JSON in the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilePosition {
    /// The path as it was given.
    pub path: String,
    /// Device and inode.
    pub device: u64,
    /// Device and inode.
    pub inode: u64,
    /// Bytes that the file had.
    pub size: u64,
    /// The byte after the last record that was taken.
    pub offset: u64,
    /// The line after that record, from 1.
    pub line: u64,
    /// How many records were taken.
    pub records: u64,
    /// SHA-256 of the first bytes before `offset`, at most [`HASHED_BYTES`], in hexadecimal.
    pub head_sha256: String,
    /// SHA-256 of the last bytes before `offset`, at most [`HASHED_BYTES`], in hexadecimal.
    pub tail_sha256: String,
}

/// Bytes at the beginning, and before the offset, that are compared.
pub const HASHED_BYTES: u64 = 4096;
/// Longest path that fits beside the rest into a position of the log.
pub const PATH_BYTES_MAX: usize = 2048;

/// Why a source does not go on in a file.
#[derive(Debug, Error)]
pub enum PositionRefused {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileRefused),
    /// The file is shorter than what was taken of it.
    #[error(
        "source {name}: {path} has {size} bytes, but the log holds its records up to byte \
         {offset}: it was cut or replaced; take it under a new source name"
    )]
    Shorter {
        /// The source.
        name: String,
        /// The file.
        path: String,
        /// Its size now.
        size: u64,
        /// What was taken.
        offset: u64,
    },
    /// The file begins with other bytes.
    #[error(
        "source {name}: {path} begins otherwise than {known}, which the log read before: it is \
         another file or was rewritten; take it under a new source name"
    )]
    BeginsOtherwise {
        /// The source.
        name: String,
        /// The file.
        path: String,
        /// The path that was read before.
        known: String,
    },
    /// What was read last is not there any more.
    #[error(
        "source {name}: {path} differs before byte {offset} (line {line}) from {known}, which the \
         log read before: it was rewritten; take it under a new source name"
    )]
    EndsOtherwise {
        /// The source.
        name: String,
        /// The file.
        path: String,
        /// Where reading ended.
        offset: u64,
        /// Where reading ended.
        line: u64,
        /// The path that was read before.
        known: String,
    },
    /// A path that is too long for a position, or not UTF-8.
    #[error(
        "the path of source {name} is not UTF-8 or has more than 2048 bytes: use a shorter one"
    )]
    Path {
        /// The source.
        name: String,
    },
    /// What the log holds for this source is no position in a file.
    #[error("source {name} is not read from a file: use another source name")]
    NoFile {
        /// The source.
        name: String,
    },
}

impl FilePosition {
    /// The beginning of a file.
    ///
    /// # Errors
    /// A path that no position can hold.
    pub fn start(name: &str, file: &AuditFile) -> Result<FilePosition, PositionRefused> {
        // Counted as JSON writes it: a control character takes six bytes there.
        let fits = |path: &&str| {
            serde_json::to_string(path).is_ok_and(|json| json.len() <= PATH_BYTES_MAX)
        };
        let path = file.path().to_str().filter(fits);
        let path = path.ok_or_else(|| PositionRefused::Path {
            name: name.to_owned(),
        })?;
        let (device, inode) = file.identity();
        let nothing = Hash::sha256(b"").to_string();
        Ok(FilePosition {
            path: path.to_owned(),
            device,
            inode,
            size: file.size(),
            offset: 0,
            line: 1,
            records: 0,
            head_sha256: nothing.clone(),
            tail_sha256: nothing,
        })
    }

    /// The position after another `records` records that end at `offset`, before line `line`.
    ///
    /// # Errors
    /// Those of reading.
    pub fn after(
        &self,
        file: &AuditFile,
        offset: u64,
        line: u64,
        records: u64,
    ) -> Result<FilePosition, FileRefused> {
        let (head_sha256, tail_sha256) = hashes(file, offset)?;
        Ok(FilePosition {
            size: file.size(),
            offset,
            line,
            records: self.records.saturating_add(records),
            head_sha256,
            tail_sha256,
            ..self.clone()
        })
    }

    /// Where to go on in `file`, which must be the one that this position lies in.
    ///
    /// # Errors
    /// What differs.
    pub fn resume(self, name: &str, file: &AuditFile) -> Result<FilePosition, PositionRefused> {
        let here = FilePosition::start(name, file)?;
        let name = name.to_owned();
        let (path, known) = (here.path.clone(), self.path.clone());
        if here.size < self.offset {
            let (size, offset) = (here.size, self.offset);
            return Err(PositionRefused::Shorter {
                name,
                path,
                size,
                offset,
            });
        }
        let (head_sha256, tail_sha256) = hashes(file, self.offset)?;
        if head_sha256 != self.head_sha256 {
            return Err(PositionRefused::BeginsOtherwise { name, path, known });
        }
        if tail_sha256 != self.tail_sha256 {
            let (offset, line) = (self.offset, self.line);
            return Err(PositionRefused::EndsOtherwise {
                name,
                path,
                offset,
                line,
                known,
            });
        }
        Ok(FilePosition {
            offset: self.offset,
            line: self.line,
            records: self.records,
            head_sha256,
            tail_sha256,
            ..here
        })
    }

    /// The key under which the log keeps it.
    pub fn key(name: &str) -> String {
        format!("file:{name}")
    }

    /// As the log stores it.
    pub fn stored(&self, name: &str) -> Position {
        Position {
            key: FilePosition::key(name),
            value: serde_json::to_vec(self).unwrap_or_default(),
        }
    }

    /// What the log stored.
    ///
    /// # Errors
    /// A value that is no position in a file.
    pub fn read(name: &str, position: &Position) -> Result<FilePosition, PositionRefused> {
        serde_json::from_slice(&position.value).map_err(|_| PositionRefused::NoFile {
            name: name.to_owned(),
        })
    }
}

/// The hashes of the beginning and of what stands before `offset`.
fn hashes(file: &AuditFile, offset: u64) -> Result<(String, String), FileRefused> {
    let len = offset.min(HASHED_BYTES);
    let bytes = usize::try_from(len).unwrap_or_default();
    let head = file.bytes(0, bytes)?;
    let tail = file.bytes(offset - len, bytes)?;
    Ok((
        Hash::sha256(&head).to_string(),
        Hash::sha256(&tail).to_string(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resumed(before: &[u8], offset: u64, now: &[u8]) -> Result<FilePosition, String> {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("old.csv");
        std::fs::write(&old, before).unwrap();
        let file = AuditFile::open(&old).unwrap();
        let start = FilePosition::start("pg", &file).unwrap();
        let position = start.after(&file, offset, 7, 6).unwrap();
        let stored = FilePosition::read("pg", &position.stored("pg")).unwrap();
        assert_eq!(stored, position);
        let new = folder.path().join("new.csv");
        std::fs::write(&new, now).unwrap();
        let file = AuditFile::open(&new).unwrap();
        stored
            .resume("pg", &file)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn another_a_cut_and_a_rewritten_file_are_told_apart_and_a_grown_one_goes_on() {
        let before: Vec<u8> = (0..20_000u32).map(|n| (n % 251) as u8).collect();
        let offset = 15_000;
        let changed = |at: usize| {
            let mut now = before.clone();
            now[at] ^= 1;
            resumed(&before, offset, &now)
        };
        for (result, word) in [
            (
                resumed(&before, offset, &before[..14_999]),
                "has 14999 bytes",
            ),
            (changed(0), "begins otherwise than"),
            (changed(4_095), "begins otherwise"),
            (changed(14_999), "differs before byte 15000 (line 7)"),
            (changed(15_000 - 4_096), "differs before byte"),
        ] {
            let error = result.unwrap_err();
            assert!(error.contains(word), "{error}");
            assert!(error.starts_with("source pg: "), "{error}");
            assert!(
                error.ends_with("take it under a new source name"),
                "{error}"
            );
        }
        let twin = resumed(&before, offset, &before).unwrap();
        assert_eq!((twin.offset, twin.line, twin.records), (15_000, 7, 6));
        assert!(twin.path.ends_with("new.csv"));
        assert!(changed(15_000).is_ok(), "what was not taken yet may change");
        let mut grown = before.clone();
        grown.extend_from_slice(b"more");
        assert_eq!(resumed(&before, offset, &grown).unwrap().size, 20_004);
    }

    #[test]
    fn a_foreign_position_is_no_place_in_a_file() {
        let foreign = Position {
            key: "file:pg".to_owned(),
            value: b"{}".to_vec(),
        };
        let error = FilePosition::read("pg", &foreign).unwrap_err().to_string();
        assert!(error.contains("not read from a file"), "{error}");
    }

    #[test]
    fn the_longest_path_fits_into_a_position_of_the_log() {
        let position = FilePosition {
            path: "\u{1}".repeat(PATH_BYTES_MAX / 6),
            device: u64::MAX,
            inode: u64::MAX,
            size: u64::MAX,
            offset: u64::MAX,
            line: u64::MAX,
            records: u64::MAX,
            head_sha256: "0".repeat(64),
            tail_sha256: "0".repeat(64),
        };
        assert!(position.stored("pg").value.len() <= Position::VALUE_MAX);
    }
}
