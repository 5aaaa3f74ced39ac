//! What a log can be caught at: one variant a misdeed, and the list that they are collected in.
//!
//! Not here: finding them (the other modules), or what a program does about them (api/cli).

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keys_public::{CheckpointRefusal, MalformedNote};
use ledger_core::bytes::FormatError;
use ledger_core::{Epoch, Flags, Index, Kind, Sequence, SourceId, TreeSize};

/// At most this many misdeeds are named in a report; the others are counted.
pub const MISDEEDS_MAX: usize = 20;

/// One thing that is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misdeed {
    /// The file, relative to the directory that was verified (or the path of a tile).
    pub file: String,
    /// The byte in the file, where one can be named.
    pub at: Option<u64>,
    /// What is wrong.
    pub what: MisdeedKind,
}

impl fmt::Display for Misdeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{} at byte {at}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MisdeedKind {
    /// A file or folder that no log has.
    #[error("no part of a log: remove it, or find out who put it there")]
    UnknownFile,
    /// What an interrupted replacement of a file left behind.
    #[error("left by an interrupted write: start the log once, it removes the file")]
    LeftBehind,
    /// A symbolic link, whose target is outside what is verified.
    #[error("a symbolic link: a log consists of regular files")]
    SymbolicLink,
    /// A folder, pipe or device where a regular file must be, or the other way round.
    #[error("not what must be there: {expected} is expected")]
    FileKind {
        /// `a regular file` or `a folder`.
        expected: &'static str,
    },
    /// A file that must be there is not.
    #[error("missing")]
    FileMissing,
    /// A file ends before what other files say that it holds.
    #[error("ends after {found} bytes, {expected} are stated")]
    FileShort {
        /// The length that it must have at least.
        expected: u64,
        /// Its length.
        found: u64,
    },
    /// Bytes after the end.
    #[error("{count} bytes too many")]
    SurplusBytes {
        /// How many.
        count: u64,
    },
    /// Bytes grown ahead of the last frame, block or hash that are not zero.
    #[error("bytes that were never written are not zero")]
    NotZero,

    /// The header of an entries file.
    #[error("{0}")]
    SegmentHeader(FormatError),
    /// A header that states another state than the entries before it lead to.
    #[error("the header states another {field} than the segments before it lead to")]
    HeaderDiffers {
        /// What differs.
        field: &'static str,
    },
    /// A file that says that it belongs to another log.
    #[error("belongs to another log than {expected}")]
    OtherLog {
        /// The origin of the trust file.
        expected: String,
    },
    /// The next segment does not begin where the one before ends.
    #[error("the log goes on at entry {found}, but {expected} comes next: a segment is missing")]
    SegmentMissing {
        /// The size of the log before.
        expected: TreeSize,
        /// Where the file begins.
        found: Index,
    },
    /// A segment with another one after it that does not end with a finish frame.
    #[error("the segment was not finished, though another follows it: frames are missing")]
    SegmentUnfinished,
    /// The history says that the log was stopped here, but the segment has no end.
    #[error("the log was stopped at size {size}, but the frame that ends its segment is missing")]
    FinishMissing {
        /// Where it was stopped.
        size: TreeSize,
    },
    /// A frame that is damaged, with good ones after it or another segment.
    #[error("corruption, not a torn tail: {error}")]
    FrameDamaged {
        /// What is wrong with it.
        error: FormatError,
    },
    /// A damaged place with more headers of frames behind it than are looked at.
    #[error(
        "damage, with many headers of frames behind it and no good frame among the first of them"
    )]
    DamageFollowed,
    /// What follows the last frame of the log is no frame: a write was interrupted, or it was cut.
    #[error(
        "a torn tail after entry count {size}: if the log was interrupted, start it once; \
         recovery drops what nobody was promised, and says so in an entry"
    )]
    TornTail {
        /// The log's size before it.
        size: TreeSize,
    },
    /// A frame that does not continue the one before.
    #[error("the frame begins at entry {found}, but {expected} comes next")]
    FrameOutOfPlace {
        /// The log's size before.
        expected: TreeSize,
        /// What the frame says.
        found: Index,
    },
    /// A frame whose payloads do not lie where those of the frame before end.
    #[error("the frame's payloads do not lie where they must: at {expected}, not {found}")]
    PayloadOutOfPlace {
        /// The only possible offset.
        expected: u64,
        /// The offset stated.
        found: u64,
    },
    /// The durable size of the arrays is smaller than stated before, or larger than the log.
    #[error("the durable size of the arrays is stated as {found}, after {before}")]
    ArraysDurable {
        /// The value in force before.
        before: TreeSize,
        /// The value stated.
        found: TreeSize,
    },
    /// A finish frame with something in it, or a frame with nothing in it.
    #[error("a frame that is both empty and unfinished, or both finished and full")]
    FrameShape,

    /// 80 bytes that are no entry.
    #[error("entry {index}: {error}")]
    Entry {
        /// Which.
        index: Index,
        /// Why.
        error: FormatError,
    },
    /// A critical entry of a later version.
    #[error(
        "entry {index} is critical, and its kind {} or flags {:#06x} are not understood: use a \
         newer program", kind.0, flags.0
    )]
    CriticalNotUnderstood {
        /// Which.
        index: Index,
        /// Its kind.
        kind: Kind,
        /// Its flags.
        flags: Flags,
    },
    /// The ledger time is smaller than the entry's before.
    #[error("the ledger time goes back at entry {index}")]
    LedgerTimeWentBack {
        /// Which.
        index: Index,
    },
    /// Entry 0 is of another kind than `opened`, or another entry is.
    #[error("entry {index} is of the wrong kind: the first entry and no other is `opened`")]
    Opened {
        /// Which.
        index: Index,
    },
    /// What the first entry says of the log is not what the trust file says.
    #[error("the first entry states another {field} than the trust file")]
    OpenedDiffers {
        /// What differs.
        field: &'static str,
    },
    /// A message whose number was taken before.
    #[error(
        "entry {index} has number {sequence} of source {source_id}, epoch {epoch}, which was \
         taken before"
    )]
    NumberTwice {
        /// Which.
        index: Index,
        /// Its source.
        source_id: SourceId,
        /// Its epoch.
        epoch: Epoch,
        /// Its number.
        sequence: Sequence,
    },
    /// A message of an epoch that is over, not marked as a conflict.
    #[error("entry {index} is of an epoch of source {source_id} that was over")]
    EpochWentBack {
        /// Which.
        index: Index,
        /// Its source.
        source_id: SourceId,
    },
    /// More gaps than a source may have open. The log is not read on.
    #[error("source {source_id} has too many open gaps at entry {index}")]
    GapsTooMany {
        /// Which.
        index: Index,
        /// Its source.
        source_id: SourceId,
    },
    /// A message or a state of a source before any entry that could have registered it. The log is
    /// not read on.
    #[error("source {source_id} was not registered before it sends or is stated")]
    SourceUnknown {
        /// The source.
        source_id: SourceId,
    },
    /// A `source` entry whose facts register no source.
    #[error("entry {index} is of kind `source`, but what it commits to registers none")]
    Registration {
        /// Which.
        index: Index,
    },
    /// What the tables say of a source is not what the entry that registered it commits to.
    #[error("source {source_id} is stated with another {field} than its `source` entry commits to")]
    RegistrationDiffers {
        /// The source.
        source_id: SourceId,
        /// What differs.
        field: &'static str,
    },
    /// A source that is stated without an entry that registered it.
    #[error("source {source_id} is stated, but no `source` entry registered it")]
    SourceUnregistered {
        /// The source.
        source_id: SourceId,
    },
    /// A frame states another state of a source than its entries lead to.
    #[error("the frame states another {field} of source {source_id} than its entries lead to")]
    SourceDiffers {
        /// The source.
        source_id: SourceId,
        /// What differs.
        field: &'static str,
    },

    /// The header of a payload file.
    #[error("{0}")]
    PayloadHeader(FormatError),
    /// A payload file that belongs elsewhere.
    #[error("the header states another {field} than its name and log")]
    PayloadHeaderDiffers {
        /// What differs.
        field: &'static str,
    },
    /// A payload file that was rewritten by a later version.
    #[error("generation {generation} of a payload file is not understood: use a newer program")]
    LaterGeneration {
        /// Which.
        generation: u32,
    },
    /// A payload block that cannot be read.
    #[error("the payloads of entry {first} and on: {error}")]
    Block {
        /// The block's first entry.
        first: Index,
        /// Why.
        error: FormatError,
    },
    /// A payload that is not what its entry commits to.
    #[error("the payload of entry {index} is not what the entry commits to")]
    CommitmentMismatch {
        /// Which.
        index: Index,
    },
    /// A salt beside a part that is absent or erased.
    #[error("entry {index} has a salt for a part that is absent or erased")]
    SaltNotZero {
        /// Which.
        index: Index,
    },

    /// A stored hash that is not the recomputed one.
    #[error("hash {number} of tile level {level} is not that of the entries: run custody rebuild")]
    HashWrong {
        /// The tile level.
        level: u8,
        /// The hash's number within the level.
        number: u64,
    },
    /// A stored hash that must be there is not.
    #[error("hash {number} of tile level {level} is missing: run custody rebuild")]
    HashMissing {
        /// The tile level.
        level: u8,
        /// The hash's number within the level.
        number: u64,
    },

    /// Bytes that are no signed note.
    #[error("{0}")]
    NoteMalformed(MalformedNote),
    /// A note that does not hold against the trust file.
    #[error("{0}")]
    NoteRefused(CheckpointRefusal),
    /// The file of kept checkpoints.
    #[error("{0}")]
    History(FormatError),
    /// The entries lead to another root than the signed one.
    #[error("the entries lead to another root than the one signed at size {size}")]
    RootMismatch {
        /// The size of the checkpoint.
        size: TreeSize,
    },
    /// Entries that a checkpoint covers are not there.
    #[error("a checkpoint of {signed} entries was signed, the log has {entries}: it was cut")]
    LogShorterThanSigned {
        /// The size signed.
        signed: TreeSize,
        /// Entries there.
        entries: TreeSize,
    },
    /// The trust file asks for witnesses, and no checkpoint here has them.
    #[error("neither the last note nor a kept checkpoint meets the trust file's quorum")]
    NeverWitnessed,
    /// Kept checkpoints that are not in the order of their sizes.
    #[error("a checkpoint of {found} entries comes after one of {before}")]
    SizeShrank {
        /// The size before.
        before: TreeSize,
        /// The size found.
        found: TreeSize,
    },
    /// The time in ML-DSA-44 signatures, or the time of publication, goes back.
    #[error("the {clock} goes back from {before} to {found}")]
    TimeWentBack {
        /// `signed time` (seconds) or `time of publication` (nanoseconds).
        clock: &'static str,
        /// The time before.
        before: i128,
        /// The time found.
        found: i128,
    },
    /// A signature that states a time before the entries that it covers.
    #[error("signed at {stated} s, before its last entry was taken at {covered} s")]
    SignedTooEarly {
        /// The time in the signature.
        stated: u64,
        /// The ledger time of the last covered entry, rounded up.
        covered: i64,
    },
    /// The last note is older than another checkpoint of this log.
    #[error("the last note has {last} entries, a checkpoint of {newer} was signed before")]
    LastNoteOlder {
        /// The last note's size.
        last: TreeSize,
        /// The size of the other.
        newer: TreeSize,
    },
    /// A log that was stopped, whose last note was not kept in the history.
    #[error(
        "the newest kept checkpoint has {newest} entries, the last note {last}: if the log was \
         interrupted, start it once"
    )]
    HistoryEndsEarly {
        /// The size of the newest record.
        newest: TreeSize,
        /// The last note's size.
        last: TreeSize,
    },

    /// The root at the size of the checkpoint that the auditor kept is another one.
    #[error("history was rewritten: the kept checkpoint of {size} entries has another root")]
    HistoryRewritten {
        /// The size of the kept checkpoint.
        size: TreeSize,
    },
    /// The checkpoint that the auditor kept is larger than the log.
    #[error("the kept checkpoint has {seen} entries, the log has {entries}: it was cut")]
    LogShorterThanSeen {
        /// The size of the kept checkpoint.
        seen: TreeSize,
        /// Entries there.
        entries: TreeSize,
    },

    /// A tile or bundle has another length than its width implies.
    #[error("has {found} bytes, {expected} are expected")]
    TileLength {
        /// What its width implies.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// A bundle that is not made of entries of 80 bytes.
    #[error("no bundle of entries: record {number} of it is malformed")]
    Bundle {
        /// Which record, from 0.
        number: u64,
    },
}

/// The misdeeds found so far, shared by both threads.
#[derive(Default)]
pub(crate) struct Misdeeds {
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    named: Vec<Misdeed>,
    beyond: u64,
}

impl Misdeeds {
    /// Adds one.
    pub(crate) fn add(&self, file: &str, at: Option<u64>, what: MisdeedKind) {
        let mut found = self.lock();
        if found.named.len() < MISDEEDS_MAX {
            let file = file.to_owned();
            found.named.push(Misdeed { file, at, what });
        } else {
            found.beyond = found.beyond.saturating_add(1);
        }
    }

    /// The misdeeds, and how many more there were.
    pub(crate) fn take(&self) -> (Vec<Misdeed>, u64) {
        let mut found = self.lock();
        (std::mem::take(&mut found.named), found.beyond)
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_bound_are_counted_and_not_kept() {
        let misdeeds = Misdeeds::default();
        for _ in 0..MISDEEDS_MAX + 3 {
            misdeeds.add("a", None, MisdeedKind::NotZero);
        }
        let (named, beyond) = misdeeds.take();
        assert_eq!((named.len(), beyond), (MISDEEDS_MAX, 3));
    }

    #[test]
    fn a_misdeed_says_where() {
        let misdeed = |at| Misdeed {
            file: "logs/main/2026/last-note".to_owned(),
            at,
            what: MisdeedKind::FileMissing,
        };
        assert_eq!(
            misdeed(None).to_string(),
            "logs/main/2026/last-note: missing"
        );
        assert_eq!(
            misdeed(Some(7)).to_string(),
            "logs/main/2026/last-note at byte 7: missing"
        );
    }
}
