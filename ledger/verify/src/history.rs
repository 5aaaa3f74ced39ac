//! Kept checkpoints: both signatures of each, its root at its size, and times that never go back
//! (docs/formats/checkpoint.md).
//!
//! The file is read along with the entries: records are in the order of their sizes, so that each
//! meets the tree when it has grown to its size, and memory does not grow with the file.
//!
//! Not here: the last note ([`crate::marks`]).

use std::collections::BTreeMap;
use std::sync::PoisonError;

use keys_public::{CheckpointRefusal, Note};
use ledger_core::bytes::FormatError;
use ledger_core::history::{HISTORY_MAGIC, HistoryRecord, Keep, NOTE_MAX, records};
use ledger_core::layout::CHECKPOINTS;
use ledger_core::{Checkpoint, Hash, Nanos, TreeSize};

use crate::error::VerifyError;
use crate::files::{Opened, Window};
use crate::folder::Folder;
use crate::misdeed::MisdeedKind;
use crate::report::Tail;
use crate::work::{Desk, Job, Shared};

/// A record copied out of the window: why it is kept, its time of publication, its note.
type Record = (Keep, Nanos, Vec<u8>);

/// Bytes of a record around its note.
const AROUND: usize = 20;

/// The file of kept checkpoints, at one of its records.
pub(crate) struct History {
    file: Opened,
    name: String,
    window: Window,
    at: u64,
    tail: Tail,
    next: Option<Kept>,
    /// Size and time of publication of the record before.
    before: (TreeSize, Nanos),
    /// The newest record's size.
    pub(crate) newest: Option<TreeSize>,
    /// The newest record's size, if it says that the log was stopped there.
    pub(crate) stopped_at: Option<TreeSize>,
    notes: u64,
    /// A writer is in the middle of a record.
    half: bool,
}

/// A record whose checkpoint was read and whose signatures were not checked yet.
struct Kept {
    at: u64,
    checkpoint: Checkpoint,
    note: Note,
}

impl History {
    /// Opens the file and reads its first record.
    pub(crate) fn open(
        folder: &Folder,
        tail: Tail,
        desk: &mut Desk<'_>,
    ) -> Result<History, VerifyError> {
        let mut history = History {
            file: Opened::open(&folder.path(CHECKPOINTS))?,
            name: folder.relative(CHECKPOINTS),
            window: Window::default(),
            at: HISTORY_MAGIC.len() as u64,
            tail,
            next: None,
            before: (TreeSize(0), Nanos(i64::MIN)),
            newest: None,
            stopped_at: None,
            notes: 0,
            half: false,
        };
        let len = HISTORY_MAGIC.len().min(history.length());
        let mark = history.window.bytes(&history.file, 0, len)?;
        let damage = records(mark.unwrap_or_default()).err();
        match damage {
            Some(error) => history.refuse(0, MisdeedKind::History(error), desk.shared),
            None => history.advance(desk)?,
        }
        Ok(history)
    }

    /// The size that the next record speaks of.
    pub(crate) fn next_size(&self) -> Option<u64> {
        self.next.as_ref().map(|kept| kept.checkpoint.size.0)
    }

    /// The tree has grown to the next record's size: compares, and goes on to the record after.
    pub(crate) fn meet(
        &mut self,
        root: Hash,
        covered: Nanos,
        desk: &mut Desk<'_>,
    ) -> Result<(), VerifyError> {
        if let Some(kept) = self.next.take() {
            let size = kept.checkpoint.size;
            if kept.checkpoint.root != root {
                let what = MisdeedKind::RootMismatch { size };
                desk.shared.misdeeds.add(&self.name, Some(kept.at), what);
            }
            self.give(kept, Some(covered), desk)?;
            self.advance(desk)?;
        }
        Ok(())
    }

    /// The records that the tree never grew to: their signatures are checked all the same.
    pub(crate) fn finish(
        &mut self,
        entries: TreeSize,
        cut: bool,
        desk: &mut Desk<'_>,
    ) -> Result<(), VerifyError> {
        while let Some(kept) = self.next.take() {
            // A log that was not read to its end says nothing about later sizes.
            if !cut {
                let signed = kept.checkpoint.size;
                let what = MisdeedKind::LogShorterThanSigned { signed, entries };
                desk.shared.misdeeds.add(&self.name, Some(kept.at), what);
            }
            self.give(kept, None, desk)?;
            self.advance(desk)?;
        }
        Ok(())
    }

    /// The file, relative to the directory.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The file, if its last record is only begun.
    pub(crate) fn half(&self) -> Option<String> {
        self.half.then(|| self.name.clone())
    }

    /// How many records were given to be checked.
    pub(crate) fn notes(&self) -> u64 {
        self.notes
    }

    fn give(
        &mut self,
        kept: Kept,
        covered: Option<Nanos>,
        desk: &mut Desk<'_>,
    ) -> Result<(), VerifyError> {
        let job = NoteJob {
            number: self.notes,
            file: self.name.clone(),
            at: kept.at,
            note: kept.note,
            covered,
        };
        self.notes += 1;
        desk.give(Job::Note(Box::new(job)))
    }

    /// Reads records until one can be met.
    fn advance(&mut self, desk: &mut Desk<'_>) -> Result<(), VerifyError> {
        while self.next.is_none() && self.at < self.file.len {
            let at = self.at;
            match self.read()? {
                Ok((keep, published, bytes)) => self.take(at, (keep, published), &bytes, desk)?,
                // A writer may be in the middle of a record.
                Err(FormatError::Short { .. }) if self.tail == Tail::BeingWritten => {
                    self.at = self.file.len;
                    self.half = true;
                }
                Err(error) => self.refuse(at, MisdeedKind::History(error), desk.shared),
            }
        }
        Ok(())
    }

    /// The next record's time and note, copied out of the window.
    fn read(&mut self) -> Result<Result<Record, FormatError>, VerifyError> {
        let rest = usize::try_from(self.file.len - self.at).unwrap_or(usize::MAX);
        let head = self.window.bytes(&self.file, self.at, rest.min(4))?;
        let stated = head.and_then(|head| head.first_chunk().copied());
        let stated = stated.map_or(0, u32::from_be_bytes) as usize;
        let whole = rest.min(stated.min(NOTE_MAX) + AROUND);
        let bytes = self.window.bytes(&self.file, self.at, whole)?;
        let read = HistoryRecord::decode(bytes.unwrap_or_default());
        Ok(read.map(|(record, len)| {
            self.at = self.at.saturating_add(len as u64);
            (record.keep, record.published, record.note.to_vec())
        }))
    }

    fn take(
        &mut self,
        at: u64,
        (keep, published): (Keep, Nanos),
        bytes: &[u8],
        desk: &mut Desk<'_>,
    ) -> Result<(), VerifyError> {
        let add = |what| desk.shared.misdeeds.add(&self.name, Some(at), what);
        let note = match Note::parse(bytes) {
            Ok(note) => note,
            Err(error) => {
                add(MisdeedKind::NoteMalformed(error));
                return Ok(());
            }
        };
        let checkpoint = match Checkpoint::parse(note.text()) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                add(MisdeedKind::NoteRefused(CheckpointRefusal::NotACheckpoint(
                    error,
                )));
                return Ok(());
            }
        };
        let (size_before, published_before) = self.before;
        if published < published_before {
            add(MisdeedKind::TimeWentBack {
                clock: "time of publication",
                before: i128::from(published_before.0),
                found: i128::from(published.0),
            });
        }
        self.stopped_at = keep.contains(Keep::STOPPED).then_some(checkpoint.size);
        let size = checkpoint.size;
        let kept = Kept {
            at,
            checkpoint,
            note,
        };
        if size < size_before {
            add(MisdeedKind::SizeShrank {
                before: size_before,
                found: size,
            });
            // The tree has outgrown it: only its signatures can be checked.
            return self.give(kept, None, desk);
        }
        self.before = (size, published);
        self.newest = Some(size);
        self.next = Some(kept);
        Ok(())
    }

    fn refuse(&mut self, at: u64, what: MisdeedKind, shared: &Shared<'_>) {
        shared.misdeeds.add(&self.name, Some(at), what);
        // Where the next record would begin is not known.
        self.at = self.file.len;
    }

    fn length(&self) -> usize {
        usize::try_from(self.file.len).unwrap_or(usize::MAX)
    }
}

/// A kept checkpoint whose signatures are to be checked.
pub(crate) struct NoteJob {
    number: u64,
    file: String,
    at: u64,
    note: Note,
    /// The ledger time of the last entry below its size, if the log has so many.
    covered: Option<Nanos>,
}

impl NoteJob {
    /// Checks both halves and the stated time.
    pub(crate) fn check(&self, shared: &Shared<'_>) {
        let trust = shared.trust;
        let add = |what| shared.misdeeds.add(&self.file, Some(self.at), what);
        // A checkpoint is published without witnesses when they are late: it is kept, and both
        // halves must hold.
        let whole = trust.verify(&self.note);
        let (head, time) = match whole {
            Ok(verified) => {
                let time = verified.pq_timestamp();
                (Some(verified), Some(time))
            }
            Err(CheckpointRefusal::QuorumNotMet { .. }) => {
                let signed = trust.keys().verify(&self.note).ok();
                (None, signed.map(|signed| signed.pq_timestamp()))
            }
            Err(error) => {
                add(MisdeedKind::NoteRefused(error));
                (None, None)
            }
        };
        if let (Some(time), Some(covered)) = (time, self.covered)
            && let Some(what) = signed_too_early(time, covered)
        {
            add(what);
        }
        let mut timeline = shared
            .timeline
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(head) = head {
            timeline.offer(Head::of(&head));
        }
        if let Some(what) = timeline.put(self.number, time) {
            add(what);
        }
    }
}

/// Whether a signature states a time before the last entry that it covers.
pub(crate) fn signed_too_early(stated: u64, covered: Nanos) -> Option<MisdeedKind> {
    let covered = covered.seconds_up();
    let early = i128::from(stated) < i128::from(covered);
    early.then_some(MisdeedKind::SignedTooEarly { stated, covered })
}

/// A checkpoint that holds against the whole trust file.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) pq_timestamp: u64,
    pub(crate) cosigners: Vec<String>,
}

impl Head {
    pub(crate) fn of(verified: &keys_public::VerifiedCheckpoint) -> Head {
        Head {
            checkpoint: verified.checkpoint().clone(),
            pq_timestamp: verified.pq_timestamp(),
            cosigners: verified.cosigners().to_vec(),
        }
    }
}

/// The signing times of kept checkpoints, put in order again: two threads check signatures.
#[derive(Default)]
pub(crate) struct Timeline {
    next: u64,
    waiting: BTreeMap<u64, Option<u64>>,
    /// The latest time so far.
    pub(crate) latest: u64,
    /// The newest checkpoint that the quorum signed.
    pub(crate) head: Option<Head>,
}

impl Timeline {
    fn offer(&mut self, head: Head) {
        let newer = |best: &Head| best.checkpoint.size <= head.checkpoint.size;
        if self.head.as_ref().is_none_or(newer) {
            self.head = Some(head);
        }
    }

    /// Adds the time of record `number`; `None` if its signature does not hold.
    fn put(&mut self, number: u64, time: Option<u64>) -> Option<MisdeedKind> {
        self.waiting.insert(number, time);
        let mut wrong = None;
        while let Some(time) = self.waiting.remove(&self.next) {
            self.next += 1;
            let Some(time) = time else { continue };
            if time < self.latest {
                wrong = Some(MisdeedKind::TimeWentBack {
                    clock: "signed time",
                    before: i128::from(self.latest),
                    found: i128::from(time),
                });
            }
            self.latest = self.latest.max(time);
        }
        wrong
    }
}
