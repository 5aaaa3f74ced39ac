//! The Unix socket of a log's folder: mode 0600, one server at a time, gone when the server is.
//!
//! It is bound inside a private folder and moved to its name, so nobody can reach it before its
//! mode is set. A socket that a dead server left is replaced only when nobody answers on it.
//!
//! Not here: what is answered on it.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket, in bytes (`sun_path` of Linux, less its final zero).
pub const SOCKET_PATH_MAX: usize = 107;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The system's bound for the path of a socket.
    #[error(
        "{} has more than {SOCKET_PATH_MAX} bytes, which is the longest path of a socket: \
         move the folder to a shorter path", path.display()
    )]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// Somebody answers.
    #[error("another server answers on {}: stop it first", path.display())]
    Answered {
        /// The socket's path.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{} is there and is no socket: move it away", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot listen on {}: {error}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// The socket of a running server. Its file is removed with it, if it is still the same file.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    path: PathBuf,
    inode: (u64, u64),
}

impl BoundSocket {
    /// Binds `path`. The caller holds the log's lock, so no two servers do this at once.
    pub(crate) fn bind(path: &Path) -> Result<(UnixListener, BoundSocket), SocketError> {
        let io = |error| SocketError::Io {
            path: path.to_owned(),
            error,
        };
        // A byte more than `DIR/.s/s` needs, as `custody.sock` is longer.
        if path.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(SocketError::PathTooLong {
                path: path.to_owned(),
            });
        }
        refuse_if_answered(path)?;
        let private = path.with_file_name(".s");
        let inner = private.join("s");
        // Left by a server that was killed between these lines.
        fine_if_missing(fs::remove_file(&inner)).map_err(io)?;
        fine_if_missing(fs::remove_dir(&private)).map_err(io)?;
        DirBuilder::new().mode(0o700).create(&private).map_err(io)?;
        let listener = UnixListener::bind(&inner).map_err(io)?;
        fs::set_permissions(&inner, Permissions::from_mode(0o600)).map_err(io)?;
        let inode = inode(&inner).map_err(io)?;
        fs::rename(&inner, path).map_err(io)?;
        fs::remove_dir(&private).map_err(io)?;
        Ok((
            listener,
            BoundSocket {
                path: path.to_owned(),
                inode,
            },
        ))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let ours = inode(&self.path).is_ok_and(|found| found == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, "socket not removed");
        }
    }
}

/// Whether a server answers on the socket at `path`.
pub fn answers(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

fn refuse_if_answered(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(SocketError::Io {
            path: path.to_owned(),
            error,
        }),
        Ok(found) if !found.file_type().is_socket() => Err(SocketError::NoSocket {
            path: path.to_owned(),
        }),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Ok(_) => Err(SocketError::Answered {
                path: path.to_owned(),
            }),
            // Somebody may well be there: a full backlog, or no right to connect.
            Err(error) => Err(SocketError::Io {
                path: path.to_owned(),
                error,
            }),
        },
    }
}

fn fine_if_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_answered_or_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("custody.sock");
        fs::write(&path, "a file").unwrap();
        assert!(matches!(
            BoundSocket::bind(&path),
            Err(SocketError::NoSocket { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"a file");
        fs::remove_file(&path).unwrap();

        let alive = UnixListener::bind(&path).unwrap();
        assert!(matches!(
            BoundSocket::bind(&path),
            Err(SocketError::Answered { .. })
        ));
        assert!(answers(&path));
        drop(alive);
        assert!(!answers(&path));
        let (_listener, bound) = BoundSocket::bind(&path).unwrap();
        assert!(answers(&path), "the socket of a dead server is replaced");
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_that_is_too_long_is_refused_and_one_that_fits_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let room = SOCKET_PATH_MAX - folder.path().as_os_str().len() - "//custody.sock".len();
        let long = folder.path().join("d".repeat(room + 1));
        fs::create_dir(&long).unwrap();
        let refused = BoundSocket::bind(&long.join("custody.sock"));
        assert!(matches!(refused, Err(SocketError::PathTooLong { .. })));
        let fits = folder.path().join("d".repeat(room));
        fs::create_dir(&fits).unwrap();
        assert!(BoundSocket::bind(&fits.join("custody.sock")).is_ok());
    }

    #[test]
    fn the_socket_is_private_and_what_replaced_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("custody.sock");
        fs::create_dir(folder.path().join(".s")).unwrap();
        fs::write(folder.path().join(".s/s"), "left by a killed server").unwrap();
        let (_listener, bound) = BoundSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!folder.path().join(".s").exists());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another").unwrap();
        drop(bound);
        assert_eq!(fs::read(&path).unwrap(), b"another");
    }
}
