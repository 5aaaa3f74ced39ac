//! The history of checkpoints: which are kept, and for how long.
//!
//! Kept for ever: the first of each hour (and later those that were sent away, put into proofs or
//! made at rotations). Kept for a while: at most one a second. The file is append-only; it is
//! rewritten without what is too old when that is most of it.
//!
//! Not here: the bytes of a record ([`ledger_core::history`]).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ledger_core::Nanos;
use ledger_core::history::{HISTORY_MAGIC, HistoryRecord, Keep, NOTE_MAX};

use crate::error::WriteError;
use crate::files::{remove_if_there, replace, sync_folder};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
/// A record's bytes besides its note.
const OVERHEAD: u64 = 20;
/// The file is not rewritten for less than this.
const REWRITE_MIN: u64 = 1 << 20;

/// The open history.
#[derive(Debug)]
pub(crate) struct History {
    file: File,
    path: PathBuf,
    len: u64,
    last: Option<Nanos>,
    last_hour: Option<i64>,
    keep_for: Duration,
    next_prune: Nanos,
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> WriteError {
    let path = path.to_owned();
    move |error| WriteError::Io {
        doing,
        path: path.clone(),
        error,
    }
}

/// One record's place and what decides about it.
struct Seen {
    at: u64,
    len: u64,
    keep: Keep,
    published: Nanos,
    is_last_note: bool,
}

impl History {
    /// Opens the history, drops a torn tail, and adds `last_note` if a crash kept it out.
    pub(crate) fn open(
        path: &Path,
        keep_for: Duration,
        last_note: &[u8],
        now: Nanos,
    ) -> Result<History, WriteError> {
        // A rewrite that was interrupted before its rename.
        let leftover = path.with_file_name("checkpoints.new");
        remove_if_there(&leftover)?;
        let mut options = OpenOptions::new();
        let options = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(path).map_err(failed("open", path))?;
        let mut history = History {
            file,
            path: path.to_owned(),
            len: 0,
            last: None,
            last_hour: None,
            keep_for,
            next_prune: now,
        };
        let seen = history.scan(last_note)?;
        history.len = seen
            .last()
            .map_or(HISTORY_MAGIC.len() as u64, |last| last.at + last.len);
        history
            .file
            .write_all_at(HISTORY_MAGIC, 0)
            .map_err(failed("write", path))?;
        history
            .file
            .set_len(history.len)
            .map_err(failed("cut the torn tail of", path))?;
        history.last = seen.last().map(|last| last.published);
        let hourly = seen.iter().rfind(|seen| seen.keep.contains(Keep::HOURLY));
        history.last_hour = hourly.map(|seen| seen.published.0.div_euclid(HOUR));
        if !seen.last().is_some_and(|last| last.is_last_note) {
            history.put(last_note, now, Keep::FOR_A_WHILE)?;
        }
        history.file.sync_all().map_err(failed("sync", path))?;
        if let Some(folder) = path.parent() {
            sync_folder(folder)?;
        }
        Ok(history)
    }

    /// Walks the records up to the first that is not whole.
    fn scan(&self, last_note: &[u8]) -> Result<Vec<Seen>, WriteError> {
        let mut seen = Vec::new();
        let mut at = HISTORY_MAGIC.len() as u64;
        while let Some(bytes) = self.record_at(at)? {
            let Ok((record, len)) = HistoryRecord::decode(&bytes) else {
                break;
            };
            seen.push(Seen {
                at,
                len: len as u64,
                keep: record.keep,
                published: record.published,
                is_last_note: record.note == last_note,
            });
            at += len as u64;
        }
        Ok(seen)
    }

    fn record_at(&self, at: u64) -> Result<Option<Vec<u8>>, WriteError> {
        let mut prefix = [0u8; 4];
        if !self.read_whole(&mut prefix, at)? {
            return Ok(None);
        }
        let len = u32::from_be_bytes(prefix) as usize;
        if len > NOTE_MAX {
            return Ok(None);
        }
        let mut bytes = vec![0; len + usize::try_from(OVERHEAD).unwrap_or_default()];
        Ok(self.read_whole(&mut bytes, at)?.then_some(bytes))
    }

    fn read_whole(&self, bytes: &mut [u8], at: u64) -> Result<bool, WriteError> {
        match self.file.read_exact_at(bytes, at) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(failed("read", &self.path)(error)),
        }
    }

    /// Keeps a published note if it is the first of an hour or a second has passed.
    pub(crate) fn add(&mut self, note: &[u8], published: Nanos) -> Result<(), WriteError> {
        let hour = published.0.div_euclid(HOUR);
        if self.last_hour != Some(hour) {
            self.put(note, published, Keep::HOURLY)?;
            self.last_hour = Some(hour);
            self.file.sync_data().map_err(failed("sync", &self.path))?;
        } else if self.last.is_none_or(|last| published.0 - last.0 >= SECOND) {
            self.put(note, published, Keep::FOR_A_WHILE)?;
        }
        if published >= self.next_prune {
            self.next_prune = Nanos(published.0.saturating_add(HOUR));
            self.prune(published)?;
        }
        Ok(())
    }

    /// Marks `note` as the last one before a stop, in its record if it has one: the word that no
    /// frame was cut off the end of the log afterwards.
    pub(crate) fn stop(&mut self, note: &[u8], published: Nanos) -> Result<(), WriteError> {
        match self.scan(note)?.last().filter(|last| last.is_last_note) {
            Some(last) if last.keep.contains(Keep::STOPPED) => return Ok(()),
            Some(last) => {
                // Rewritten in its place: should that be torn, the next start adds it again.
                let (at, published) = (last.at, last.published);
                let keep = last.keep.with(Keep::STOPPED);
                self.len = at;
                self.put(note, published, keep)?;
            }
            None => self.put(note, published, Keep::STOPPED)?,
        }
        self.file.sync_data().map_err(failed("sync", &self.path))
    }

    fn put(&mut self, note: &[u8], published: Nanos, keep: Keep) -> Result<(), WriteError> {
        let mut bytes = Vec::with_capacity(note.len() + 32);
        HistoryRecord {
            keep,
            published,
            note,
        }
        .encode(&mut bytes);
        self.file
            .write_all_at(&bytes, self.len)
            .map_err(failed("write", &self.path))?;
        self.len += bytes.len() as u64;
        self.last = Some(published);
        Ok(())
    }

    /// Rewrites the file without what is too old, if that is most of it.
    fn prune(&mut self, now: Nanos) -> Result<(), WriteError> {
        let keep_ns = i64::try_from(self.keep_for.as_nanos()).unwrap_or(i64::MAX);
        let oldest = now.0.saturating_sub(keep_ns);
        let seen = self.scan(&[])?;
        let stays = |seen: &&Seen| seen.keep != Keep::FOR_A_WHILE || seen.published.0 >= oldest;
        let kept: u64 = seen.iter().filter(stays).map(|seen| seen.len).sum();
        let dropped = self.len.saturating_sub(kept);
        if dropped < REWRITE_MIN || dropped < kept {
            return Ok(());
        }
        let mut bytes = HISTORY_MAGIC.to_vec();
        for seen in seen.iter().filter(stays) {
            if let Some(record) = self.record_at(seen.at)? {
                bytes.extend_from_slice(&record);
            }
        }
        replace(&self.path, &bytes)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true);
        self.file = options
            .open(&self.path)
            .map_err(failed("open", &self.path))?;
        self.len = bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn notes(path: &Path) -> Vec<(u32, i64)> {
        let bytes = std::fs::read(path).unwrap();
        let records = ledger_core::history::records(&bytes).unwrap();
        let read = |record: Result<(usize, HistoryRecord<'_>), _>| {
            let (_, record) = record.unwrap();
            (record.keep.0, record.published.0 / SECOND)
        };
        records.map(read).collect()
    }

    #[test]
    fn a_torn_tail_is_dropped_and_the_last_note_is_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        let mut history = History::open(&path, DAY, b"zero", Nanos(0)).unwrap();
        history.add(b"one", Nanos(SECOND)).unwrap();
        drop(history);
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..20 {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            History::open(&path, DAY, b"one", Nanos(2 * SECOND)).unwrap();
            assert_eq!(notes(&path), [(0, 0), (0, 2)], "cut {cut}");
        }
        std::fs::write(&path, &whole).unwrap();
        History::open(&path, DAY, b"one", Nanos(2 * SECOND)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn a_stop_is_marked_once_in_the_last_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        let mut history = History::open(&path, DAY, b"zero", Nanos(0)).unwrap();
        for _ in 0..2 {
            history.stop(b"zero", Nanos(SECOND)).unwrap();
            assert_eq!(notes(&path), [(Keep::STOPPED.0, 0)]);
        }
        history.stop(b"one", Nanos(2 * SECOND)).unwrap();
        assert_eq!(notes(&path), [(Keep::STOPPED.0, 0), (Keep::STOPPED.0, 2)]);
    }

    #[test]
    fn one_a_second_and_the_first_of_each_hour_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        let mut history = History::open(&path, DAY, b"zero", Nanos(0)).unwrap();
        for tenth in 1..=30 {
            history.add(b"note", Nanos(tenth * SECOND / 10)).unwrap();
        }
        history.add(b"note", Nanos(HOUR)).unwrap();
        assert_eq!(notes(&path).len(), 1 + 3 + 1);
        assert_eq!(notes(&path).last(), Some(&(Keep::HOURLY.0, 3600)));
    }

    #[test]
    fn what_is_too_old_goes_when_it_is_most_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        let mut history = History::open(&path, DAY, b"zero", Nanos(0)).unwrap();
        let note = vec![b'x'; 4000];
        for second in 1..=600 {
            history.add(&note, Nanos(second * SECOND)).unwrap();
        }
        assert!(notes(&path).len() > 590);
        history.add(&note, Nanos(100_000 * SECOND)).unwrap();
        let left = notes(&path);
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.iter().all(|(keep, _)| *keep == Keep::HOURLY.0));
        history.add(&note, Nanos(100_001 * SECOND)).unwrap();
        assert_eq!(notes(&path).len(), 3);
    }
}
