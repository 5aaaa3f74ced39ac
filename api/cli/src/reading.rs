//! Reading one audit file record by record: from a byte on, to the end that it has now.
//!
//! What follows the last whole record is left: a server may be in the middle of writing it. Not
//! here: what a record says (collectors/formats), and where a log stands in a file (`position.rs`).

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use collectors_formats::{Format, Step};
use ledger_event::EventHead;
use thiserror::Error;

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
}

/// Why a file is not read.
#[derive(Debug, Error)]
pub enum FileRefused {
    /// The system refuses.
    #[error("{} cannot be read: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Not a regular file.
    #[error("{} is {what}: name a regular file", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
}

impl AuditFile {
    /// Opens a file without waiting, as a pipe would make one do.
    ///
    /// # Errors
    /// A file that cannot be read, or is none.
    pub fn open(path: &Path) -> Result<AuditFile, FileRefused> {
        let unreadable = |error| FileRefused::Io {
            path: path.to_owned(),
            error,
        };
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
        // A link is followed: logs are often reached through one.
        let before = std::fs::metadata(path).map_err(unreadable)?;
        check_kind(path, &before)?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open(path)
            .map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        check_kind(path, &metadata)?;
        Ok(AuditFile {
            path: path.to_owned(),
            file,
            metadata,
        })
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes when it was opened: reading ends there.
    pub fn size(&self) -> u64 {
        self.metadata.len()
    }

    /// Device and inode.
    pub fn identity(&self) -> (u64, u64) {
        (self.metadata.dev(), self.metadata.ino())
    }

    /// The bytes `[from, from + len)`, fewer if the file ends before.
    ///
    /// # Errors
    /// Those of the system.
    pub fn bytes(&self, from: u64, len: usize) -> Result<Vec<u8>, FileRefused> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = from.saturating_add(filled as u64);
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(FileRefused::Io {
                        path: self.path.clone(),
                        error,
                    });
                }
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

fn check_kind(path: &Path, metadata: &Metadata) -> Result<(), FileRefused> {
    let kind = metadata.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(FileRefused::NotAFile {
        path: path.to_owned(),
        what,
    })
}

/// One record of a file, as an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The event's JSON.
    pub value: Vec<u8>,
    /// Its numbers.
    pub head: EventHead,
    /// The byte after the record.
    pub end: u64,
    /// The line after the record, from 1.
    pub next_line: u64,
}

/// The records of a file from a byte on.
pub struct Records<'f> {
    file: &'f AuditFile,
    format: Box<dyn Format + Send>,
    buffer: Vec<u8>,
    start: usize,
    at: u64,
    line: u64,
    /// After the last record: the byte and the line.
    whole: (u64, u64),
    /// Whether something other than empty lines follows it.
    begun: bool,
}

/// Bytes that are read at once, at least: more than a format wants to see of one record.
const CHUNK_BYTES: usize = 512 << 10;

impl<'f> Records<'f> {
    /// From byte `at`, which is on line `line`.
    pub fn new(
        file: &'f AuditFile,
        mut format: Box<dyn Format + Send>,
        at: u64,
        line: u64,
    ) -> Records<'f> {
        format.resume(at);
        let whole = (at, line);
        Records {
            file,
            format,
            buffer: Vec::new(),
            start: 0,
            at,
            line,
            whole,
            begun: false,
        }
    }

    /// The next whole record, or `None` at the end that the file had when it was opened.
    ///
    /// # Errors
    /// Those of reading. A record that cannot be parsed is an event too, and no error.
    pub fn next_record(&mut self) -> Result<Option<Record>, FileRefused> {
        loop {
            let input = self.buffer.get(self.start..).unwrap_or_default();
            // More may always follow: whoever writes the file may be in the middle of a record.
            let (consumed, found) = match self.format.next(input, false) {
                Step::NeedMore => (0, None),
                Step::Skip { consumed } => (consumed, None),
                Step::Record { consumed, event } | Step::Unparsed { consumed, event } => {
                    (consumed, Some((event.to_json(), event.head())))
                }
            };
            if consumed == 0 {
                if self.read_more()? {
                    continue;
                }
                return Ok(None);
            }
            let blank = self.advance(consumed);
            match found {
                None => self.begun |= !blank,
                Some((value, head)) => {
                    (self.whole, self.begun) = ((self.at, self.line), false);
                    let (end, next_line) = self.whole;
                    return Ok(Some(Record {
                        value,
                        head,
                        end,
                        next_line,
                    }));
                }
            }
        }
    }

    /// Bytes of a record that is not whole yet, at the end.
    pub fn left(&self) -> u64 {
        let (end, _) = self.whole;
        if self.begun || self.at < self.file.size() {
            self.file.size().saturating_sub(end)
        } else {
            0
        }
    }

    /// The line after the last whole record, from 1.
    pub fn line(&self) -> u64 {
        self.whole.1
    }

    /// Passes over bytes; says whether they are nothing but line ends and a byte order mark.
    fn advance(&mut self, consumed: usize) -> bool {
        // INVARIANT: a format consumes no more than it was given.
        assert!(
            consumed <= self.buffer.len() - self.start,
            "a format consumed {consumed} of {} bytes",
            self.buffer.len() - self.start
        );
        let end = self.start + consumed;
        let record = self.buffer.get(self.start..end).unwrap_or_default();
        let lines = record.iter().filter(|byte| **byte == b'\n').count();
        let blank = record.iter().all(|byte| b"\r\n\xef\xbb\xbf".contains(byte));
        self.start = end;
        self.at = self.at.saturating_add(consumed as u64);
        self.line = self.line.saturating_add(lines as u64);
        blank
    }

    /// Reads at least as much as is buffered, so that a long record costs what it is long.
    fn read_more(&mut self) -> Result<bool, FileRefused> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let from = self.at.saturating_add(self.buffer.len() as u64);
        let there = self.file.size().saturating_sub(from);
        let wanted = CHUNK_BYTES
            .max(self.buffer.len())
            .min(usize::try_from(there).unwrap_or(usize::MAX));
        let bytes = self.file.bytes(from, wanted)?;
        self.buffer.extend_from_slice(&bytes);
        Ok(!bytes.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_with_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), b"abc").unwrap();
        let twin = AuditFile::open(&path("file")).unwrap();
        assert_eq!(
            (twin.size(), twin.bytes(1, 9).unwrap()),
            (3, b"bc".to_vec())
        );
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("pipe"),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (refused, word) in [
            (folder.path().to_owned(), "is a folder: name a regular file"),
            (path("pipe"), "is a named pipe"),
            (path("socket"), "is a socket"),
            (PathBuf::from("/dev/null"), "is a device"),
            (path("absent"), "cannot be read: No such file"),
        ] {
            let error = AuditFile::open(&refused).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
