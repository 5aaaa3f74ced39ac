//! Marks of what stopped the log and needs an operator: a clock that jumped, and a proof that the
//! log was restored from an older copy. A restart does not step over them.
//!
//! They lie in `state/` and can be deleted: what stopped the log shows again. Not here: judging.

use std::path::{Path, PathBuf};

use ledger_core::Nanos;
use ledger_event::facts::Lost;

use crate::error::{OpenError, WriteError};
use crate::files::{remove_if_there, replace};
use crate::paths::LogPaths;

/// Where the marks lie.
#[derive(Clone, Debug)]
pub(crate) struct Stops {
    pub(crate) clock: PathBuf,
    pub(crate) restored: PathBuf,
}

impl Stops {
    pub(crate) fn of(paths: &LogPaths) -> Stops {
        let state = paths.root().join("state");
        Stops {
            clock: state.join("clock-stopped"),
            restored: state.join("log-restored"),
        }
    }

    /// Leaves a mark that the clock stopped the log.
    pub(crate) fn mark_clock(&self, old: Nanos, new: Nanos) -> Result<(), WriteError> {
        mark(&self.clock, format!("{old} {new}\n").as_bytes())
    }

    /// Leaves a mark of what the log had acknowledged and lacks.
    pub(crate) fn mark_restored(&self, lost: &Lost) -> Result<(), WriteError> {
        // Numbers always have a JSON form.
        mark(
            &self.restored,
            &serde_json::to_vec(lost).unwrap_or_default(),
        )
    }

    /// What proved that the log was restored, if it was stopped by it.
    pub(crate) fn restored(&self) -> Result<Option<Lost>, OpenError> {
        match std::fs::read(&self.restored) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(lost) => Ok(Some(lost)),
                Err(_) => Err(OpenError::MarkDamaged {
                    mark: self.restored.clone(),
                }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::Io {
                doing: "read",
                path: self.restored.clone(),
                error,
            }),
        }
    }

    /// Removes the marks once the entries that accept them are durable.
    pub(crate) fn clear(&self) -> Result<(), WriteError> {
        remove_if_there(&self.clock)?;
        remove_if_there(&self.restored)?;
        Ok(())
    }
}

fn mark(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| WriteError::Io {
            doing: "create",
            path: folder.to_owned(),
            error,
        })?;
    }
    replace(path, bytes)
}
