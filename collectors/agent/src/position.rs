//! Where reading stands in one content of a file, as the journal keeps it
//! (docs/formats/journal.md).
//!
//! A content is recognised by what it begins with and by what stands before the place where
//! reading ended; device, inode and birth time say where to look first. Not here: finding files
//! (`sight`), reading them (`content`).

use std::path::{Path, PathBuf};

use ledger_core::Hash;
use ledger_core::state::Position;
use serde::{Deserialize, Serialize};

/// Bytes at the beginning, and before the offset, that recognise a content.
pub const HASHED_BYTES: usize = 4096;
/// Longest path that is remembered, in bytes of its JSON form; a longer one is kept empty.
const PATH_BYTES_MAX: usize = 2048;
const KEY_PREFIX: &str = "file:";

/// The number that a content of a file gets once in the life of a source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Generation(pub u64);

/// A file as the file system knows it.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct FileId {
    /// The device; 0 with inode 0 for a content that is in no file any more.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// When the inode was made, in ns since 1970; absent where the file system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<i64>,
}

impl FileId {
    /// In no file.
    pub const NONE: FileId = FileId {
        device: 0,
        inode: 0,
        born: None,
    };

    /// Whether both name the same inode, at whatever time.
    pub fn same_inode(&self, other: &FileId) -> bool {
        self.inode != 0 && (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether both can be the same file: the inode was not made anew in between.
    pub fn may_be(&self, other: &FileId) -> bool {
        let reborn = matches!((self.born, other.born), (Some(a), Some(b)) if a != b);
        self.same_inode(other) && !reborn
    }
}

/// What is to be done with a content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is read.
    Reading,
    /// It was read to its end, and nobody wrote to it any more.
    Finished,
    /// It was there when the source was first read, and was not asked for.
    Before,
}

/// Where reading stands in one content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilePosition {
    /// The last name, for people.
    pub path: PathBuf,
    /// Where it was last found.
    pub id: FileId,
    /// Bytes that the file was seen to have.
    pub size: u64,
    /// The byte after the last record that was bound; in a gzip file counted uncompressed.
    pub offset: u64,
    /// SHA-256 of the first bytes before `offset`, at most [`HASHED_BYTES`], in hexadecimal.
    pub head: String,
    /// SHA-256 of the last bytes before `offset`, at most [`HASHED_BYTES`], in hexadecimal.
    pub tail: String,
    /// Records that end at or before this byte are flagged as read again.
    pub reread: u64,
    /// What is to be done with it.
    pub state: State,
}

/// A position that this program cannot read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the journal holds a position {key:?} that is none of a file")]
pub struct NoPosition {
    /// Its key.
    pub key: String,
}

impl FilePosition {
    /// The beginning of a content.
    pub fn start(path: &Path, id: FileId, size: u64) -> FilePosition {
        // Counted as JSON writes it: a control character takes six bytes there.
        let fits = path.to_str().is_some_and(|text| {
            serde_json::to_string(text).is_ok_and(|json| json.len() <= PATH_BYTES_MAX)
        });
        let nothing = digest(b"");
        FilePosition {
            path: if fits {
                path.to_owned()
            } else {
                PathBuf::new()
            },
            id,
            size,
            offset: 0,
            head: nothing.clone(),
            tail: nothing,
            reread: 0,
            state: State::Reading,
        }
    }

    /// How many bytes the head and the tail cover.
    pub fn hashed(&self) -> usize {
        usize::try_from(self.offset).map_or(HASHED_BYTES, |offset| offset.min(HASHED_BYTES))
    }

    /// As the journal keeps it.
    pub fn stored(&self, generation: Generation) -> Position {
        Position {
            key: key(generation),
            value: serde_json::to_vec(self).unwrap_or_default(),
        }
    }

    /// What the journal kept.
    ///
    /// # Errors
    /// A key or value that is none of ours.
    pub fn read(key: &str, value: &[u8]) -> Result<(Generation, FilePosition), NoPosition> {
        let number = key.strip_prefix(KEY_PREFIX).and_then(|n| n.parse().ok());
        let position = serde_json::from_slice(value).ok();
        match (number, position) {
            (Some(number), Some(position)) => Ok((Generation(number), position)),
            _ => Err(NoPosition {
                key: key.to_owned(),
            }),
        }
    }
}

/// A position that is given up.
pub fn given_up(generation: Generation) -> Position {
    Position {
        key: key(generation),
        value: Vec::new(),
    }
}

fn key(generation: Generation) -> String {
    format!("{KEY_PREFIX}{}", generation.0)
}

/// The SHA-256 of bytes, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Hash::sha256(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_and_a_foreign_one_is_refused() {
        let id = FileId {
            device: u64::MAX,
            inode: u64::MAX,
            born: Some(i64::MIN),
        };
        let long = "\u{1}".repeat((PATH_BYTES_MAX - 2) / 6);
        let mut position = FilePosition::start(Path::new(&long), id, u64::MAX);
        (position.offset, position.reread) = (u64::MAX, u64::MAX);
        let stored = position.stored(Generation(u64::MAX));
        assert!(stored.value.len() <= Position::VALUE_MAX);
        for (key, value) in [
            ("file:x", stored.value.as_slice()),
            ("7", &stored.value),
            ("file:7", b"{}"),
        ] {
            assert!(FilePosition::read(key, value).is_err(), "{key}");
        }
        let read = FilePosition::read(&stored.key, &stored.value).unwrap();
        assert_eq!(read, (Generation(u64::MAX), position));
        let too_long = "x".repeat(PATH_BYTES_MAX);
        let cut = FilePosition::start(Path::new(&too_long), id, 0);
        assert_eq!(cut.path, Path::new(""));
    }

    #[test]
    fn an_inode_that_was_made_anew_is_another_file() {
        let id = |inode, born| FileId {
            device: 1,
            inode,
            born,
        };
        assert!(!id(5, Some(1)).may_be(&id(5, Some(2))));
        assert!(!id(5, None).may_be(&id(6, None)));
        assert!(!FileId::NONE.may_be(&FileId::NONE));
        assert!(id(5, Some(1)).may_be(&id(5, None)));
        assert!(id(5, Some(1)).may_be(&id(5, Some(1))));
    }
}
