//! Why a command ended without doing what it was asked: one line that says what to do, and an exit
//! code.
//!
//! Not here: findings of `verify` and `doctor`; those are results, and are printed as data.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::ConfigError;
use crate::exit::Exit;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The configuration is wrong.
    #[error("{first}{}", and_more(*more))]
    Config {
        /// The first fault.
        first: ConfigError,
        /// How many others there are.
        more: usize,
    },
    /// A value on the command line that only the command itself can judge.
    #[error("{0}")]
    Usage(String),
    /// Stdout cannot be written.
    #[error("stdout cannot be written: {0}")]
    Stdout(#[source] io::Error),
    /// A file or folder cannot be read or written.
    #[error("{verb} {} failed: {error}", path.display())]
    File {
        /// `reading`, `writing`, `creating`.
        verb: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl CommandError {
    /// A failed operation on a file; for `map_err`.
    pub fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CommandError {
        let path = path.to_owned();
        move |error| CommandError::File { verb, path, error }
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        match self {
            CommandError::Config { .. } | CommandError::Usage(_) => Exit::Usage,
            CommandError::Stdout(_) => Exit::Unavailable,
            CommandError::File { error, .. } => Exit::of_io(error),
        }
    }

    /// Whether whoever read stdout went away, as `head` does: no failure of ours.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, CommandError::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<Vec<ConfigError>> for CommandError {
    fn from(errors: Vec<ConfigError>) -> CommandError {
        let more = errors.len().saturating_sub(1);
        match errors.into_iter().next() {
            Some(first) => CommandError::Config { first, more },
            // An empty list of faults is no fault; nothing builds one.
            None => CommandError::Usage("the configuration is wrong".to_owned()),
        }
    }
}

fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" (and {more} more: see `custody config check`)"),
    }
}

/// The error and its causes on one line; a cause that its error already quotes is not repeated.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = next.source();
    }
    crate::output::printable(&line.replace('\n', "; "))
}
