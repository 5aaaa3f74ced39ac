//! How the program ends: the seven numbers that scripts may rely on.
//!
//! Not here: the line that is printed before (`error.rs`).

use std::process::ExitCode;

/// The exit codes of every command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Verification failed, or something was found.
    Found = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// What was asked for is not there.
    NotFound = 3,
    /// The system, or the log, does not allow it.
    NotAllowed = 4,
    /// Not available now: try again.
    Unavailable = 5,
    /// Done in part.
    Partial = 6,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Found => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::NotAllowed => 4,
            Exit::Unavailable => 5,
            Exit::Partial => 6,
        }
    }

    /// What a failed operation on a file means: absent, there already, not allowed, or try again.
    pub fn of_io(error: &std::io::Error) -> Exit {
        match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            std::io::ErrorKind::AlreadyExists => Exit::Usage,
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Exit::NotAllowed
            }
            _ => Exit::Unavailable,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
