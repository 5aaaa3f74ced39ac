//! The signer's durable state: one file that holds the note signed last, under an exclusive lock on
//! its directory (docs/formats/checkpoint.md, "Last note").
//!
//! Not here: whether the note verifies and what may follow it (see [`crate::local_signer`]).

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use keys_public::Note;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

/// The file that holds a log's last note, with its directory locked until this is dropped.
///
/// All names are resolved in the locked directory itself, so a directory that is moved or replaced
/// does not part the lock from the file.
#[derive(Debug)]
pub(crate) struct LastNoteFile {
    directory: OwnedFd,
    name: OsString,
    temporary: OsString,
    path: PathBuf,
}

impl Drop for LastNoteFile {
    fn drop(&mut self) {
        // By name, since a child that is being started may hold a copy of the descriptor for a
        // moment; closing it is what is left if this fails.
        let _closing_is_left = rustix::fs::flock(&self.directory, FlockOperation::Unlock);
    }
}

impl LastNoteFile {
    /// Locks the directory of `path`, and removes the rest of an interrupted replacement.
    pub(crate) fn lock(path: &Path) -> Result<LastNoteFile, LastNoteError> {
        let Some(name) = path.file_name() else {
            return Err(LastNoteError::NotAFile {
                path: path.to_owned(),
            });
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let io = |act, errno: Errno| LastNoteError::Io {
            path: parent.to_owned(),
            act,
            error: errno.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(parent, flags, Mode::empty()).map_err(|errno| io("opened", errno))?;
        let lock = FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&directory, lock).map_err(|errno| match errno {
            Errno::WOULDBLOCK => LastNoteError::Locked {
                path: parent.to_owned(),
            },
            other => io("locked", other),
        })?;
        let mut temporary = name.to_owned();
        temporary.push(".tmp");
        match rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(io("cleaned", errno)),
        }
        Ok(LastNoteFile {
            directory,
            name: name.to_owned(),
            temporary,
            path: path.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's bytes, or `None` if there is no file.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>, LastNoteError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = match rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(LastNoteError::NotAFile {
                    path: self.path.clone(),
                });
            }
            Err(errno) => return Err(self.io("opened", errno.into())),
        };
        let file = File::from(opened);
        let metadata = file.metadata().map_err(|error| self.io("read", error))?;
        if !metadata.is_file() {
            return Err(LastNoteError::NotAFile {
                path: self.path.clone(),
            });
        }
        let most = u64::try_from(Note::BYTES_MAX).unwrap_or(u64::MAX);
        if metadata.len() > most {
            return Err(LastNoteError::TooLong {
                path: self.path.clone(),
                bytes: metadata.len(),
            });
        }
        let mut bytes = Vec::new();
        file.take(most)
            .read_to_end(&mut bytes)
            .map_err(|error| self.io("read", error))?;
        Ok(Some(bytes))
    }

    /// Replaces the file. When this returns, `bytes` are what a power cut leaves; when it fails,
    /// either the old or the new bytes are there, whole.
    pub(crate) fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let replaced = self.write_and_rename(bytes);
        if replaced.is_err() {
            // The rest of the attempt; if it cannot be removed now, the next `lock` does it.
            let _ = rustix::fs::unlinkat(&self.directory, &self.temporary, AtFlags::empty());
        }
        replaced
    }

    fn write_and_rename(&self, bytes: &[u8]) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let opened = rustix::fs::openat(&self.directory, &self.temporary, flags, mode)?;
        let mut file = File::from(opened);
        file.write_all(bytes)?;
        file.sync_all()?;
        rustix::fs::renameat(
            &self.directory,
            &self.temporary,
            &self.directory,
            &self.name,
        )?;
        rustix::fs::fsync(&self.directory)?;
        Ok(())
    }

    fn io(&self, act: &'static str, error: io::Error) -> LastNoteError {
        LastNoteError::Io {
            path: self.path.clone(),
            act,
            error,
        }
    }

    #[cfg(test)]
    pub(crate) fn temporary(&self) -> &OsString {
        &self.temporary
    }
}

/// Why the signer's state cannot be read.
#[derive(Debug, Error)]
pub enum LastNoteError {
    /// Another signer holds the directory.
    #[error("{} is held by another signer: stop it first", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A link, a directory, a pipe.
    #[error(
        "{} is not a regular file: restore the last note from the log's backup",
        path.display()
    )]
    NotAFile {
        /// What lies there.
        path: PathBuf,
    },
    /// Larger than any note.
    #[error("{} has {bytes} bytes, a note has at most 1048576", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// The system refused.
    #[error("{} cannot be {act}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        act: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last-note");
        let first = LastNoteFile::lock(&path).unwrap();
        assert!(matches!(
            LastNoteFile::lock(&path),
            Err(LastNoteError::Locked { .. })
        ));
        drop(first);
        assert!(LastNoteFile::lock(&path).is_ok());
    }

    #[test]
    fn what_is_replaced_is_read_and_an_interrupted_rest_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last-note");
        let file = LastNoteFile::lock(&path).unwrap();
        assert_eq!(file.read().unwrap(), None);
        file.replace(b"one").unwrap();
        file.replace(b"two").unwrap();
        assert_eq!(file.read().unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let rest = folder.path().join(file.temporary());
        drop(file);
        fs::write(&rest, b"half").unwrap();
        let file = LastNoteFile::lock(&path).unwrap();
        assert!(!rest.exists());
        assert_eq!(file.read().unwrap().as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn links_directories_and_long_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last-note");
        let file = LastNoteFile::lock(&path).unwrap();
        symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(file.read(), Err(LastNoteError::NotAFile { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(file.read(), Err(LastNoteError::NotAFile { .. })));
        assert!(file.replace(b"x").is_err());
        fs::remove_dir(&path).unwrap();
        fs::write(&path, vec![b'x'; Note::BYTES_MAX + 1]).unwrap();
        assert!(matches!(file.read(), Err(LastNoteError::TooLong { .. })));
        // The temporary name is not followed either.
        let target = folder.path().join("target");
        symlink(&target, folder.path().join(file.temporary())).unwrap();
        assert!(file.replace(b"x").is_err());
        assert!(!target.exists());
        file.replace(b"x").unwrap();
        assert_eq!(file.read().unwrap().as_deref(), Some(&b"x"[..]));
    }
}
