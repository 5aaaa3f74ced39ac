//! The history of checkpoints: which are kept, and for how long.
//!
//! Kept for ever: the first of each hour, those that were put into proofs, the last one before a
//! stop (and later those that were sent away or made at rotations). Kept for a while: at most one a
//! second. The file is append-only; it is rewritten without what is too old when that is most of
//! it.
//!
//! Not here: the bytes of a record ([`ledger_core::history`]).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keys_public::Note;
use ledger_core::bytes::FormatError;
use ledger_core::history::{HISTORY_MAGIC, HistoryRecord, Keep, NOTE_MAX, check_mark};
use ledger_core::{Checkpoint, Nanos};

use crate::error::{OpenError, ReadError, WriteError};
use crate::files::{remove_if_there, sync_folder};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
/// A record's bytes besides its note.
const OVERHEAD: u64 = 20;
/// The name of a rewrite before it takes the file's place.
const REWRITE: &str = "checkpoints.new";
/// The file is not rewritten for less than this.
const REWRITE_MIN: u64 = 1 << 20;

/// The open history.
#[derive(Debug)]
pub(crate) struct History {
    file: File,
    path: PathBuf,
    len: u64,
    last: Option<Nanos>,
    /// The last record: where it lies, why it is kept, and its note.
    newest: Option<(u64, Keep, Vec<u8>)>,
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
    ///
    /// # Errors
    /// Another mark, damage that is no torn tail, and a checkpoint that is newer than the last
    /// note: the signer's state was rolled back.
    pub(crate) fn open(
        path: &Path,
        keep_for: Duration,
        last_note: &[u8],
        signed: &Checkpoint,
        now: Nanos,
    ) -> Result<History, OpenError> {
        // A rewrite that was interrupted before its rename.
        remove_if_there(&path.with_file_name(REWRITE))?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true);
        let options = options.create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(failed("open", path))?;
        let mut history = History {
            file,
            path: path.to_owned(),
            len: 0,
            last: None,
            newest: None,
            last_hour: None,
            keep_for,
            next_prune: now,
        };
        history.check_mark()?;
        let seen = history.scan(last_note)?;
        history.len = seen
            .last()
            .map_or(HISTORY_MAGIC.len() as u64, |last| last.at + last.len);
        history.check_tail()?;
        history.check_newest(seen.last(), signed)?;
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
        match seen.last().filter(|last| last.is_last_note) {
            Some(last) => history.newest = Some((last.at, last.keep, last_note.to_vec())),
            None => history.put(last_note, now, Keep::FOR_A_WHILE)?,
        }
        history.file.sync_all().map_err(failed("sync", path))?;
        if let Some(folder) = path.parent() {
            sync_folder(folder)?;
        }
        Ok(history)
    }

    fn damaged(&self, at: u64, error: FormatError) -> OpenError {
        let path = self.path.clone();
        OpenError::Read(ReadError::Damaged { path, at, error })
    }

    fn file_len(&self) -> Result<u64, WriteError> {
        Ok(self
            .file
            .metadata()
            .map_err(failed("inspect", &self.path))?
            .len())
    }

    /// The file begins as it must; one shorter than its mark was never made durable.
    fn check_mark(&self) -> Result<(), OpenError> {
        let mut mark = [0u8; HISTORY_MAGIC.len()];
        if !self.read_whole(&mut mark, 0)? {
            return Ok(());
        }
        check_mark(&mark).map_err(|error| self.damaged(0, error))
    }

    /// What follows the last good record is at most one record that was being appended.
    fn check_tail(&self) -> Result<(), OpenError> {
        let rest = self.file_len()?.saturating_sub(self.len);
        let torn = FormatError::Checksum {
            what: "a kept checkpoint",
        };
        if rest > NOTE_MAX as u64 {
            return Err(self.damaged(self.len, torn));
        }
        let mut bytes = vec![0; usize::try_from(rest).unwrap_or_default()];
        self.read_whole(&mut bytes, self.len)?;
        let good = (1..bytes.len())
            .filter_map(|at| bytes.get(at..))
            .any(|rest| HistoryRecord::decode(rest).is_ok());
        if good {
            Err(self.damaged(self.len, torn))
        } else {
            Ok(())
        }
    }

    /// Nothing was kept that the signer does not remember.
    fn check_newest(&self, newest: Option<&Seen>, signed: &Checkpoint) -> Result<(), OpenError> {
        let Some(newest) = newest else { return Ok(()) };
        let bytes = self.record_at(newest.at)?.unwrap_or_default();
        let kept = HistoryRecord::decode(&bytes)
            .ok()
            .and_then(|(record, _)| Note::parse(record.note).ok())
            .and_then(|note| Checkpoint::parse(note.text()).ok());
        let Some(kept) = kept else { return Ok(()) };
        if kept.size > signed.size || (kept.size == signed.size && kept.root != signed.root) {
            return Err(OpenError::RolledBack {
                kept: kept.size,
                signed: signed.size,
            });
        }
        Ok(())
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

    /// Marks `note` as the last one before a stop: the word that no frame was cut off the end of
    /// the log afterwards.
    pub(crate) fn stop(&mut self, note: &[u8], published: Nanos) -> Result<(), WriteError> {
        self.keep(note, published, Keep::STOPPED)
    }

    /// Keeps `note`, the newest that was published, for ever and for a reason, in its record if it
    /// has one.
    pub(crate) fn keep(
        &mut self,
        note: &[u8],
        published: Nanos,
        reason: Keep,
    ) -> Result<(), WriteError> {
        let newest = self.newest.as_ref();
        match newest.filter(|(_, _, known)| known == note) {
            Some((_, keep, _)) if keep.contains(reason) => return Ok(()),
            Some((at, keep, _)) => {
                // Rewritten in its place: should that be torn, the next start adds it again.
                let (at, keep) = (*at, keep.with(reason));
                self.len = at;
                let published = self.last.unwrap_or(published);
                self.put(note, published, keep)?;
            }
            None => self.put(note, published, reason)?,
        }
        self.file.sync_data().map_err(failed("sync", &self.path))
    }

    fn put(&mut self, note: &[u8], published: Nanos, keep: Keep) -> Result<(), WriteError> {
        let mut bytes = Vec::with_capacity(note.len() + 32);
        // Times in the file never go back, whatever a clock does between two starts.
        let published = self.last.map_or(published, |last| published.max(last));
        HistoryRecord {
            keep,
            published,
            note,
        }
        .encode(&mut bytes);
        self.file
            .write_all_at(&bytes, self.len)
            .map_err(failed("write", &self.path))?;
        self.newest = Some((self.len, keep, note.to_vec()));
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
        let fresh = self.path.with_file_name(REWRITE);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true);
        let options = options.create(true).truncate(true).mode(0o600);
        let file = options.open(&fresh).map_err(failed("create", &fresh))?;
        let mut at = HISTORY_MAGIC.len() as u64;
        file.write_all_at(HISTORY_MAGIC, 0)
            .map_err(failed("write", &fresh))?;
        // A record at a time, so that memory does not grow with the file.
        for seen in seen.iter().filter(stays) {
            if let Some(record) = self.record_at(seen.at)? {
                file.write_all_at(&record, at)
                    .map_err(failed("write", &fresh))?;
                at += record.len() as u64;
            }
        }
        file.sync_all().map_err(failed("sync", &fresh))?;
        std::fs::rename(&fresh, &self.path).map_err(failed("rename", &fresh))?;
        if let Some(folder) = self.path.parent() {
            sync_folder(folder)?;
        }
        self.file = file;
        // The last record is the newest, if it stayed.
        let last = seen.last().filter(stays);
        self.newest = self.newest.take().zip(last).map(|((_, keep, note), last)| {
            let begins = at.saturating_sub(last.len);
            (begins, keep, note)
        });
        self.len = at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn signed(size: u64) -> Checkpoint {
        Checkpoint {
            origin: ledger_core::Origin::new("example.org/main/2026").unwrap(),
            size: ledger_core::TreeSize(size),
            root: ledger_core::Hash([u8::try_from(size).unwrap(); 32]),
        }
    }

    fn open(path: &Path, last_note: &[u8], now: Nanos) -> Result<History, OpenError> {
        History::open(path, DAY, last_note, &signed(3), now)
    }

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
    fn what_is_kept_for_a_reason_stays_when_the_rest_is_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        let (one, big) = (b"one".as_slice(), vec![b'x'; 4096]);
        let mut history = open(&path, one, Nanos(0)).unwrap();
        history.add(one, Nanos(SECOND)).unwrap();
        let minutes = 60 * SECOND;
        // In its record, and without one: less than a second has passed.
        history.add(b"two", Nanos(minutes)).unwrap();
        history.keep(b"two", Nanos(minutes), Keep::PROOF).unwrap();
        history.add(b"three", Nanos(minutes + 1)).unwrap();
        history
            .keep(b"three", Nanos(minutes + 1), Keep::PROOF)
            .unwrap();
        let before = std::fs::read(&path).unwrap();
        history
            .keep(b"three", Nanos(minutes + 9), Keep::PROOF)
            .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), before, "once is enough");
        for n in 2..3000 {
            history.add(&big, Nanos(minutes + n * SECOND)).unwrap();
        }
        let later = Nanos(minutes + 3 * i64::try_from(DAY.as_nanos()).unwrap());
        history.add(b"new", later).unwrap();
        let kept = notes(&path);
        let reasons: Vec<u32> = kept.iter().map(|(keep, _)| *keep).collect();
        assert_eq!(
            reasons.iter().filter(|keep| **keep == 4).count(),
            2,
            "{reasons:?}"
        );
        assert!(kept.len() < 100, "the rest is gone");
        // The last record is still the one that is marked after the rewrite.
        history.keep(b"new", later, Keep::PROOF).unwrap();
        let again = notes(&path);
        assert_eq!(again.len(), kept.len());
        assert_eq!(again.last().unwrap().0 & 4, 4);
        drop(history);
        assert!(open(&path, b"new", later).is_ok());
    }

    #[test]
    fn a_torn_tail_is_dropped_and_the_last_note_is_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        let mut history = open(&path, b"zero", Nanos(0)).unwrap();
        history.add(b"one", Nanos(SECOND)).unwrap();
        drop(history);
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..20 {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            open(&path, b"one", Nanos(2 * SECOND)).unwrap();
            assert_eq!(notes(&path), [(0, 0), (0, 2)], "cut {cut}");
        }
        std::fs::write(&path, &whole).unwrap();
        open(&path, b"one", Nanos(2 * SECOND)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn a_stop_is_marked_once_in_the_last_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        let mut history = open(&path, b"zero", Nanos(0)).unwrap();
        for _ in 0..2 {
            history.stop(b"zero", Nanos(SECOND)).unwrap();
            assert_eq!(notes(&path), [(Keep::STOPPED.0, 0)]);
        }
        history.stop(b"one", Nanos(2 * SECOND)).unwrap();
        assert_eq!(notes(&path), [(Keep::STOPPED.0, 0), (Keep::STOPPED.0, 2)]);
    }

    #[test]
    fn damage_that_is_no_torn_tail_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        let mut history = open(&path, b"zero", Nanos(0)).unwrap();
        for second in 1..5 {
            history.add(b"note", Nanos(second * SECOND)).unwrap();
        }
        let good = std::fs::read(&path).unwrap();
        for at in [0, 7, 9, 30, 40] {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            std::fs::write(&path, &bad).unwrap();
            assert!(
                open(&path, b"note", Nanos(9 * SECOND)).is_err(),
                "byte {at}"
            );
            assert_eq!(std::fs::read(&path).unwrap(), bad);
        }
        std::fs::write(&path, &good).unwrap();
        open(&path, b"note", Nanos(9 * SECOND)).unwrap();
    }

    #[test]
    fn a_kept_checkpoint_newer_than_the_last_note_is_a_rollback() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        for (kept, refused) in [(2, false), (3, false), (4, true)] {
            let body = signed(kept).encode();
            let note = format!("{body}\n\u{2014} example.org/main/2026 AAAAAAA=\n");
            assert!(Note::parse(note.as_bytes()).is_ok());
            drop(std::fs::remove_file(&path));
            open(&path, note.as_bytes(), Nanos(0)).unwrap();
            let again = open(&path, note.as_bytes(), Nanos(0));
            let rolled_back = matches!(again, Err(OpenError::RolledBack { .. }));
            assert_eq!(rolled_back, refused, "{kept}");
        }
    }

    #[test]
    fn one_a_second_and_the_first_of_each_hour_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints");
        let mut history = open(&path, b"zero", Nanos(0)).unwrap();
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
        let mut history = open(&path, b"zero", Nanos(0)).unwrap();
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
