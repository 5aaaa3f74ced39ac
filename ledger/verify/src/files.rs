//! Reading files front to back in large steps.
//!
//! Not here: which files there are ([`crate::folder`]) and what they mean.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::VerifyError;

/// Bytes that are read at once.
const STEP: usize = 1 << 20;
/// Bytes that are compared with zero at once.
const PAGE: usize = 4096;

/// A regular file, with the length that it had when it was opened.
pub(crate) struct Opened {
    file: File,
    path: PathBuf,
    /// Length in bytes.
    pub(crate) len: u64,
}

impl Opened {
    /// Opens a file for reading.
    pub(crate) fn open(path: &Path) -> Result<Opened, VerifyError> {
        let file = File::open(path).map_err(failed(path))?;
        let len = file.metadata().map_err(failed(path))?.len();
        Ok(Opened {
            file,
            path: path.to_owned(),
            len,
        })
    }

    /// Opens the same path again, with the length that it has now.
    pub(crate) fn again(&self) -> Result<Opened, VerifyError> {
        Opened::open(&self.path)
    }

    /// Takes the length again, of a file that a writer makes longer.
    pub(crate) fn refresh(&mut self) -> Result<(), VerifyError> {
        self.len = self.file.metadata().map_err(failed(&self.path))?.len();
        Ok(())
    }

    /// Reads what there is at `at`: less than asked for only if the file became shorter.
    pub(crate) fn fill(&self, buffer: &mut [u8], at: u64) -> Result<usize, VerifyError> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, at.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&self.path)(error)),
            }
        }
        Ok(done)
    }
}

/// A buffer that is moved over files.
#[derive(Default)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
}

impl Window {
    /// Forgets what was read, before the window is moved to another file.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// `len` bytes of `file` at `at`; `None` if it ends before. Memory grows with the longest `len`
    /// asked for, so callers bound it first.
    pub(crate) fn bytes(
        &mut self,
        file: &Opened,
        at: u64,
        len: usize,
    ) -> Result<Option<&[u8]>, VerifyError> {
        let end = at.checked_add(len as u64);
        if end.is_none_or(|end| end > file.len) {
            return Ok(None);
        }
        if !self.holds(at, len) {
            let rest = usize::try_from(file.len - at).unwrap_or(usize::MAX);
            let step = len.max(STEP).min(rest);
            if self.buffer.len() < step {
                self.buffer.resize(step, 0);
            }
            self.filled = 0;
            let Some(target) = self.buffer.get_mut(..step) else {
                return Ok(None);
            };
            let read = file.fill(target, at)?;
            (self.start, self.filled) = (at, read);
            if read < len {
                return Ok(None);
            }
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..from.saturating_add(len)))
    }

    fn holds(&self, at: u64, len: usize) -> bool {
        let end = self.start.saturating_add(self.filled as u64);
        at >= self.start && at.saturating_add(len as u64) <= end && self.filled > 0
    }

    /// The offset of the first byte of `file` from `at` on that is not zero.
    pub(crate) fn first_not_zero(
        &mut self,
        file: &Opened,
        at: u64,
    ) -> Result<Option<u64>, VerifyError> {
        let mut from = at;
        while from < file.len {
            let len = usize::try_from(file.len - from).unwrap_or(STEP).min(STEP);
            let bytes = self.bytes(file, from, len)?.unwrap_or_default();
            // Whole pages first: their OR is computed many bytes at a time.
            let page = bytes
                .chunks(PAGE)
                .position(|page| page.iter().fold(0, |all, byte| all | byte) != 0);
            if let Some(page) = page {
                let rest = bytes.get(page * PAGE..).unwrap_or_default();
                let place = rest.iter().position(|byte| *byte != 0).unwrap_or_default();
                return Ok(Some(from + (page * PAGE + place) as u64));
            }
            from += len as u64;
        }
        Ok(None)
    }
}

/// A whole file of at most `max` bytes; `None` if it is larger.
pub(crate) fn read_small(path: &Path, max: usize) -> Result<Option<Vec<u8>>, VerifyError> {
    let opened = Opened::open(path)?;
    let len = usize::try_from(opened.len).ok().filter(|len| *len <= max);
    let Some(len) = len else { return Ok(None) };
    let mut bytes = vec![0; len];
    let read = opened.fill(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// What the system said about a path, as an error of ours.
pub(crate) fn failed(path: &Path) -> impl FnOnce(io::Error) -> VerifyError {
    let path = path.to_owned();
    move |error| VerifyError::Read { path, error }
}
