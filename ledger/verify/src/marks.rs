//! The sizes at which the growing tree is compared with something signed: kept checkpoints, the
//! last note, and the checkpoint that an auditor brought along.
//!
//! Not here: growing the tree ([`crate::segments`]).

use keys_public::{CheckpointRefusal, MalformedNote, Note, TrustFile};
use ledger_core::layout::LAST_NOTE;
use ledger_core::{Checkpoint, Hash, Nanos, TreeSize};

use crate::error::VerifyError;
use crate::files::read_small;
use crate::folder::Folder;
use crate::history::{Head, History, signed_too_early};
use crate::misdeed::{MisdeedKind, Misdeeds};
use crate::work::Desk;

/// A checkpoint whose log signatures hold.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) pq_timestamp: u64,
    /// Set if the quorum of the trust file is met as well.
    pub(crate) head: Option<Head>,
}

/// Everything that the tree must meet.
pub(crate) struct Marks {
    pub(crate) history: Option<History>,
    /// The last note, if its signatures hold, and the name of its file.
    pub(crate) last: Option<Signed>,
    pub(crate) last_file: String,
    /// The auditor's own, if one was given.
    pub(crate) since: Option<Checkpoint>,
    /// The auditor's own was met.
    pub(crate) since_met: bool,
    next: u64,
}

impl Marks {
    pub(crate) fn new(
        history: Option<History>,
        last: Option<Signed>,
        last_file: String,
        since: Option<Checkpoint>,
    ) -> Marks {
        let mut marks = Marks {
            history,
            last,
            last_file,
            since,
            since_met: false,
            next: 0,
        };
        marks.next = marks.after(TreeSize(0), true);
        marks
    }

    /// The size of the last note, if its signatures hold.
    pub(crate) fn last_size(&self) -> Option<TreeSize> {
        self.last.as_ref().map(|last| last.checkpoint.size)
    }

    /// The next size at which [`Marks::meet`] wants to be told; `u64::MAX` for none.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The tree has `size` entries, the last one taken at `covered`.
    pub(crate) fn meet(
        &mut self,
        size: TreeSize,
        root: Hash,
        covered: Nanos,
        desk: &mut Desk<'_>,
    ) -> Result<(), VerifyError> {
        if let Some(history) = &mut self.history {
            while history.next_size() == Some(size.0) {
                history.meet(root, covered, desk)?;
            }
        }
        let misdeeds = &desk.shared.misdeeds;
        if let Some(last) = self.last.as_ref().filter(|l| l.checkpoint.size == size) {
            let too_early = signed_too_early(last.pq_timestamp, covered);
            let differs = last.checkpoint.root != root;
            let wrong_root = differs.then_some(MisdeedKind::RootMismatch { size });
            for what in [wrong_root, too_early].into_iter().flatten() {
                misdeeds.add(&self.last_file, None, what);
            }
        }
        if let Some(since) = self.since.as_ref().filter(|since| since.size == size) {
            self.since_met = since.root == root;
            if !self.since_met {
                let what = MisdeedKind::HistoryRewritten { size };
                misdeeds.add(&self.last_file, None, what);
            }
        }
        self.next = self.after(size, false);
        Ok(())
    }

    /// The smallest size to be met after `size` (or at it, if `inclusive`).
    fn after(&self, size: TreeSize, inclusive: bool) -> u64 {
        let last = self.last.as_ref().map(|last| last.checkpoint.size.0);
        let since = self.since.as_ref().map(|since| since.size.0);
        let fixed = [last, since].into_iter().flatten();
        let fixed = fixed.filter(|mark| *mark > size.0 || (inclusive && *mark == size.0));
        let kept = self.history.as_ref().and_then(History::next_size);
        fixed.chain(kept).min().unwrap_or(u64::MAX)
    }

    /// What was not met because the log is too short, and how notes stand to each other. `cut` says
    /// that the log was not read to its end.
    pub(crate) fn finish(
        &mut self,
        entries: TreeSize,
        cut: bool,
        desk: &mut Desk<'_>,
    ) -> Result<(), VerifyError> {
        if let Some(history) = &mut self.history {
            history.finish(entries, cut, desk)?;
        }
        let misdeeds = &desk.shared.misdeeds;
        let file = &self.last_file;
        let last = self.last.as_ref().map(|last| last.checkpoint.size);
        if let Some(signed) = last.filter(|signed| *signed > entries && !cut) {
            let what = MisdeedKind::LogShorterThanSigned { signed, entries };
            misdeeds.add(file, None, what);
        }
        let since = self.since.as_ref().map(|since| since.size);
        if let Some(seen) = since.filter(|seen| *seen > entries && !cut) {
            let what = MisdeedKind::LogShorterThanSeen { seen, entries };
            misdeeds.add(file, None, what);
        }
        let kept = self.history.as_ref().and_then(|history| history.newest);
        let others = [since.filter(|seen| *seen <= entries), kept];
        if let (Some(last), Some(newer)) = (last, others.into_iter().flatten().max())
            && newer > last
        {
            let what = MisdeedKind::LastNoteOlder { last, newer };
            misdeeds.add(file, None, what);
        }
        Ok(())
    }
}

/// Why bytes are not a checkpoint of the trusted log.
pub(crate) enum NoteFault {
    Malformed(MalformedNote),
    Refused(CheckpointRefusal),
}

impl From<NoteFault> for MisdeedKind {
    fn from(fault: NoteFault) -> MisdeedKind {
        match fault {
            NoteFault::Malformed(error) => MisdeedKind::NoteMalformed(error),
            NoteFault::Refused(error) => MisdeedKind::NoteRefused(error),
        }
    }
}

/// Reads and checks the last note; `None`, with a misdeed noted, if it does not hold.
pub(crate) fn read_last(
    folder: &Folder,
    trust: &TrustFile,
    misdeeds: &Misdeeds,
) -> Result<Option<Signed>, VerifyError> {
    let read = match read_small(&folder.path(LAST_NOTE), Note::BYTES_MAX)? {
        Some(bytes) => read_note(&bytes, trust),
        None => Err(NoteFault::Malformed(MalformedNote::TooLarge {
            bytes: Note::BYTES_MAX.saturating_add(1),
        })),
    };
    let name = folder.relative(LAST_NOTE);
    let refused = |fault: NoteFault| misdeeds.add(&name, None, fault.into());
    Ok(read.map_err(refused).ok())
}

/// Reads a note and checks both halves of the log's signature.
pub(crate) fn read_note(bytes: &[u8], trust: &TrustFile) -> Result<Signed, NoteFault> {
    let note = Note::parse(bytes).map_err(NoteFault::Malformed)?;
    match trust.verify(&note) {
        Ok(verified) => Ok(Signed {
            checkpoint: verified.checkpoint().clone(),
            pq_timestamp: verified.pq_timestamp(),
            head: Some(Head::of(&verified)),
        }),
        // Both halves hold, and a quorum was not there in time.
        Err(CheckpointRefusal::QuorumNotMet { .. }) => {
            let signed = trust.keys().verify(&note).map_err(NoteFault::Refused)?;
            Ok(Signed {
                checkpoint: signed.checkpoint().clone(),
                pq_timestamp: signed.pq_timestamp(),
                head: None,
            })
        }
        Err(error) => Err(NoteFault::Refused(error)),
    }
}

/// Reads the checkpoint that an auditor kept.
///
/// # Errors
/// It is the auditor's own file: if it does not hold, nothing is said about the log.
pub(crate) fn read_since(bytes: &[u8], trust: &TrustFile) -> Result<Signed, VerifyError> {
    read_note(bytes, trust).map_err(|fault| match fault {
        NoteFault::Malformed(error) => VerifyError::SinceMalformed(error),
        NoteFault::Refused(error) => VerifyError::SinceRefused(error),
    })
}
