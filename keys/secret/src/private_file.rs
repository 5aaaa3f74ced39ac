//! Files that nobody but their owner may read: opening them without following links, refusing what
//! others could have read or put there, and creating them without ever writing over one.
//!
//! Not here: what the bytes mean (see [`crate::key_file`]).

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;
use zeroize::Zeroizing;

/// Why a private file was not read or not created. Each message is one line that says what to do.
#[derive(Debug, Error)]
pub enum PrivateFileError {
    /// No such file.
    #[error("{} is missing: restore it from the backup of the keys", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link: whoever may change it chooses which key is used.
    #[error("{} is a symbolic link: put the file itself in its place", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A directory, a pipe or a device.
    #[error("{} is not a regular file: remove it and restore the key", path.display())]
    NotAFile {
        /// What lies there.
        path: PathBuf,
    },
    /// Group or others have some right on it.
    #[error(
        "{} has the mode {mode:04o}: others may have read it; replace the key, or run chmod 600 on \
         the file if nobody has", path.display()
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Larger than any key file.
    #[error("{} has {bytes} bytes, a key file has at most {most}: restore it", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The longest length.
        most: usize,
    },
    /// Something lies where a new file was to be created.
    #[error(
        "{} exists already and keys are never written over: move it away first",
        path.display()
    )]
    Exists {
        /// What lies there.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{} cannot be {act}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried: opened, read, written, synced, created, renamed.
        act: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl PrivateFileError {
    pub(crate) fn io(path: &Path, act: &'static str, error: impl Into<io::Error>) -> Self {
        PrivateFileError::Io {
            path: path.to_owned(),
            act,
            error: error.into(),
        }
    }
}

/// Reads the whole file at `path`. The bytes are wiped when they are dropped.
///
/// # Errors
/// See [`PrivateFileError`]. The checks are made on the opened file, not on the path before.
pub fn read(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    // NONBLOCK: a pipe in the file's place must not hold the program.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => PrivateFileError::Missing {
            path: path.to_owned(),
        },
        Errno::LOOP => PrivateFileError::Link {
            path: path.to_owned(),
        },
        other => PrivateFileError::io(path, "opened", other),
    })?;
    let mut file = File::from(opened);
    let metadata = file
        .metadata()
        .map_err(|error| PrivateFileError::io(path, "read", error))?;
    if !metadata.is_file() {
        return Err(PrivateFileError::NotAFile {
            path: path.to_owned(),
        });
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(PrivateFileError::OpenToOthers {
            path: path.to_owned(),
            mode,
        });
    }
    let bytes = metadata.len();
    let len = usize::try_from(bytes).ok().filter(|len| *len <= most);
    let Some(len) = len else {
        return Err(PrivateFileError::TooLong {
            path: path.to_owned(),
            bytes,
            most,
        });
    };
    // Filled in place: a vector that grows would leave copies of the secret behind.
    let mut content = Zeroizing::new(vec![0; len]);
    file.read_exact(&mut content)
        .map_err(|error| PrivateFileError::io(path, "read", error))?;
    Ok(content)
}

/// Creates the file at `path` with mode 0600, writes `bytes` and syncs it. The caller syncs the
/// directory. After a failure no file is left.
///
/// # Errors
/// [`PrivateFileError::Exists`] if anything lies there, even a broken link.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), PrivateFileError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let created = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let created = created.map_err(|errno| match errno {
        Errno::EXIST => PrivateFileError::Exists {
            path: path.to_owned(),
        },
        other => PrivateFileError::io(path, "created", other),
    })?;
    let mut file = File::from(created);
    let written = (file.write_all(bytes).map_err(|error| ("written", error)))
        .and_then(|()| file.sync_all().map_err(|error| ("synced", error)));
    written.map_err(|(act, error)| {
        // Ours and unfinished: nothing can have used it.
        let _ = std::fs::remove_file(path);
        PrivateFileError::io(path, act, error)
    })
}

/// Makes the names in `directory` durable.
///
/// # Errors
/// What the system says.
pub fn sync_directory(directory: &Path) -> Result<(), PrivateFileError> {
    let opened =
        File::open(directory).map_err(|error| PrivateFileError::io(directory, "opened", error))?;
    opened
        .sync_all()
        .map_err(|error| PrivateFileError::io(directory, "synced", error))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_others_could_have_read_or_placed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        assert!(matches!(
            read(&path, 10),
            Err(PrivateFileError::Missing { .. })
        ));
        create(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(read(&path, 6).unwrap().as_slice(), b"secret");

        for open in [0o640, 0o604, 0o620, 0o601, 0o666] {
            mode(&path, open);
            assert!(
                matches!(read(&path, 10), Err(PrivateFileError::OpenToOthers { mode, .. })
                    if mode == open),
                "{open:o}"
            );
        }
        for private in [0o600, 0o400, 0o700] {
            mode(&path, private);
            assert!(read(&path, 10).is_ok(), "{private:o}");
        }
        assert!(matches!(
            read(&path, 5),
            Err(PrivateFileError::TooLong { bytes: 6, .. })
        ));

        let link = folder.path().join("link.key");
        symlink(&path, &link).unwrap();
        assert!(matches!(
            read(&link, 10),
            Err(PrivateFileError::Link { .. })
        ));
        assert!(matches!(
            read(folder.path(), 10),
            Err(PrivateFileError::NotAFile { .. })
        ));
        assert!(matches!(
            read(&path.join("x"), 10),
            Err(PrivateFileError::Io { .. })
        ));
    }

    #[test]
    fn a_pipe_is_refused_and_does_not_hold_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe.key");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(matches!(
            read(&path, 10),
            Err(PrivateFileError::NotAFile { .. })
        ));
    }

    #[test]
    fn nothing_is_ever_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        create(&path, b"first").unwrap();
        assert!(matches!(
            create(&path, b"second"),
            Err(PrivateFileError::Exists { .. })
        ));
        assert_eq!(read(&path, 10).unwrap().as_slice(), b"first");
        let link = folder.path().join("broken.key");
        let target = folder.path().join("elsewhere");
        symlink(&target, &link).unwrap();
        assert!(matches!(
            create(&link, b"x"),
            Err(PrivateFileError::Exists { .. })
        ));
        assert!(!target.exists());
    }

    #[test]
    fn messages_are_one_line_with_the_path() {
        let path = PathBuf::from("DIR/keys/log.ed25519.key");
        let io = io::Error::other("no");
        for error in [
            PrivateFileError::Missing { path: path.clone() },
            PrivateFileError::Link { path: path.clone() },
            PrivateFileError::NotAFile { path: path.clone() },
            PrivateFileError::OpenToOthers {
                path: path.clone(),
                mode: 0o644,
            },
            PrivateFileError::TooLong {
                path: path.clone(),
                bytes: 9,
                most: 8,
            },
            PrivateFileError::Exists { path: path.clone() },
            PrivateFileError::io(&path, "read", io),
        ] {
            let text = error.to_string();
            assert!(
                text.contains("log.ed25519.key") && !text.contains('\n'),
                "{text}"
            );
        }
    }
}
