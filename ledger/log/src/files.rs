//! Files that only grow: written at their end, grown ahead so that a sync has no size to record,
//! cut to their true length when finished. And the few durable acts on folders.
//!
//! Every result of the system is checked; after a failure the caller stops the log.
//! Not here: what the bytes are.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::error::WriteError;

/// An append-only file with space allocated ahead of its end.
#[derive(Debug)]
pub(crate) struct GrownFile {
    file: File,
    path: PathBuf,
    len: u64,
    allocated: u64,
    ahead: u64,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |error| WriteError::Io { doing, path, error }
}

impl GrownFile {
    /// Creates a file that must not exist, readable by its owner only.
    pub(crate) fn create(path: &Path, ahead: u64) -> Result<GrownFile, WriteError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(path).map_err(failed("create", path))?;
        Ok(GrownFile {
            file,
            path: path.to_owned(),
            len: 0,
            allocated: 0,
            ahead,
        })
    }

    /// Opens a file whose first `len` bytes are good and cuts off the rest.
    pub(crate) fn reopen(path: &Path, len: u64, ahead: u64) -> Result<GrownFile, WriteError> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed("open", path))?;
        file.set_len(len)
            .map_err(failed("cut the torn tail of", path))?;
        file.sync_all().map_err(failed("sync", path))?;
        Ok(GrownFile {
            file,
            path: path.to_owned(),
            len,
            allocated: len,
            ahead,
        })
    }

    /// Where the next byte goes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Writes at the end. Not durable before [`GrownFile::sync`].
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let end = self.len + bytes.len() as u64;
        if end > self.allocated {
            self.grow(end)?;
        }
        self.file
            .write_all_at(bytes, self.len)
            .map_err(failed("write", &self.path))?;
        self.len = end;
        Ok(())
    }

    fn grow(&mut self, end: u64) -> Result<(), WriteError> {
        let target = end + self.ahead;
        let more = target - self.allocated;
        match fallocate(&self.file, FallocateFlags::empty(), self.allocated, more) {
            Ok(()) => self.allocated = target,
            // No room ahead, or a file system that cannot: the write itself decides.
            Err(Errno::NOSPC | Errno::OPNOTSUPP | Errno::NOSYS | Errno::DQUOT | Errno::FBIG) => {
                self.allocated = end;
            }
            Err(error) => return Err(failed("grow", &self.path)(error.into())),
        }
        Ok(())
    }

    /// Makes all that was appended durable.
    pub(crate) fn sync(&self) -> Result<(), WriteError> {
        self.file.sync_data().map_err(failed("sync", &self.path))
    }

    /// Cuts off what was grown ahead and makes the true length durable.
    pub(crate) fn finish(self) -> Result<(), WriteError> {
        self.file
            .set_len(self.len)
            .map_err(failed("finish", &self.path))?;
        self.file.sync_all().map_err(failed("sync", &self.path))
    }
}

/// Makes names created, renamed or removed in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), WriteError> {
    let handle = File::open(folder).map_err(failed("open", folder))?;
    handle.sync_all().map_err(failed("sync", folder))
}

/// Replaces `path` by `bytes` so that after a crash it is the old or the new one, whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&fresh).map_err(failed("create", &fresh))?;
    file.write_all_at(bytes, 0)
        .map_err(failed("write", &fresh))?;
    file.sync_all().map_err(failed("sync", &fresh))?;
    std::fs::rename(&fresh, path).map_err(failed("rename", &fresh))?;
    match path.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Removes a file if it is there.
pub(crate) fn remove_if_there(path: &Path) -> Result<bool, WriteError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("remove", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_file_has_zeros_ahead_and_its_true_length_when_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut file = GrownFile::create(&path, 4096).unwrap();
        assert!(GrownFile::create(&path, 4096).is_err());
        file.append(b"hello").unwrap();
        file.sync().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"hello") && bytes[5..].iter().all(|byte| *byte == 0));
        file.append(b" world").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"hello world");
        let mut file = GrownFile::reopen(&path, 5, 0).unwrap();
        file.append(b"!").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"hello!");
    }

    #[test]
    fn replacing_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(remove_if_there(&path).unwrap());
        assert!(!remove_if_there(&path).unwrap());
    }
}
