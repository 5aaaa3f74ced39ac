//! Why the log could not be opened, written, read or closed: one enum a verb.
//!
//! Not here: what the door answers to a sender ([`crate::door::DoorError`]).

use std::path::PathBuf;

use keys_public::SignRefusal;
use ledger_core::bytes::FormatError;
use ledger_core::{Index, Nanos, TreeSize};
use ledger_event::facts::{Lost, LostProof};

/// Why a write stopped the log. After it the log must be opened again.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system refused.
    #[error(
        "cannot {doing} {}: {error}; mend it and start again, nothing acknowledged is lost",
        path.display()
    )]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// zstd failed.
    #[error("cannot compress payloads: {0}")]
    Compress(#[from] ledger_core::payload::CompressError),
    /// The signer refused.
    #[error("the checkpoint was not signed: {0}")]
    Sign(#[from] SignRefusal),
    /// The clock jumped forward while the log was running.
    #[error(
        "the clock jumped forward by {} s; check it, then start with --accept-clock",
        (new.0 - old.0) / 1_000_000_000
    )]
    ClockStopped {
        /// What the clock should have shown.
        old: Nanos,
        /// What it shows.
        new: Nanos,
    },
    /// Something showed that the log had said what it does not hold.
    #[error(
        "the log was restored from an old copy: {}; restore the newer copy, or accept the loss \
         with --accept-restored",
        shown(by, lost)
    )]
    Restored {
        /// The name of the source, or where the checkpoint was found.
        by: String,
        /// What is lost.
        lost: Lost,
    },
    /// Reading back what is needed for a proof or a repeat failed.
    #[error("cannot read back: {0}")]
    Read(#[from] ReadError),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A thread panicked or was told to end by another that failed.
    #[error("a thread of the log ended without a word")]
    ThreadGone,
}

/// What shows that a log lacks what it had said, in words.
fn shown(by: &str, lost: &Lost) -> String {
    let (published, size) = (lost.published, lost.size);
    match lost.proof {
        LostProof::Receipt(told) => format!(
            "it told source {by} that it holds record {} of epoch {} in a checkpoint of \
             {published} entries, and lacks it ({} held, {size} entries)",
            told.acknowledged, told.epoch, told.held
        ),
        LostProof::Checkpoint(_) => format!(
            "{by} holds a checkpoint of {published} entries that its own keys signed, and this \
             log does not have them ({size} entries, fewer or others)"
        ),
    }
}

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// Stored bytes are not as they were written.
    #[error("{} is damaged at byte {at}: {error}; run custody verify", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, in bytes.
        at: u64,
        /// What is wrong.
        #[source]
        error: FormatError,
    },
    /// A payload does not match what its entry commits to.
    #[error("the payload of entry {index} does not match its commitment; run custody verify")]
    Commitment {
        /// The entry.
        index: Index,
    },
    /// There is no such entry.
    #[error("the log has no entry {index}: it has {size}")]
    NotFound {
        /// The index asked for.
        index: Index,
        /// The log's size.
        size: TreeSize,
    },
    /// There is no log.
    #[error("{} holds no log: create one with custody init", path.display())]
    NoLog {
        /// The folder.
        path: PathBuf,
    },
    /// The last note is no checkpoint of this log.
    #[error("{} is no checkpoint of this log: {reason}", path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Why a log could not be opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error("{} is held by another process: stop it, or use its socket", lock.display())]
    Held {
        /// The lock file.
        lock: PathBuf,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing what recovery must append failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The folder holds another log.
    #[error("{} holds the log {found}, not {expected}", path.display())]
    OtherOrigin {
        /// The file that says so.
        path: PathBuf,
        /// The origin found.
        found: String,
        /// The origin expected.
        expected: String,
    },
    /// A damaged frame has good ones after it.
    #[error(
        "{} is damaged at byte {at} and goes on at byte {good}: this is no torn tail but \
         corruption; keep the disk as it is and run custody verify",
        path.display()
    )]
    Corrupt {
        /// The entries file.
        path: PathBuf,
        /// The damaged byte.
        at: u64,
        /// The next good frame.
        good: u64,
    },
    /// Payloads of durable entries are missing.
    #[error(
        "{} has {found} bytes, the entries need {needed}: payloads were cut off",
        path.display()
    )]
    PayloadsShort {
        /// The payload file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// What the last frame needs.
        needed: u64,
    },
    /// Segments do not follow each other.
    #[error(
        "no segment begins at entry {expected}: {} was removed or belongs elsewhere",
        path.display()
    )]
    SegmentMissing {
        /// The folder or file.
        path: PathBuf,
        /// The index that must follow.
        expected: Index,
    },
    /// The signer signed more than the log holds.
    #[error(
        "the last checkpoint has {signed} entries, the log only {size}: it was cut or restored \
         from an old copy; keep it as it is and run custody verify"
    )]
    ShorterThanSigned {
        /// The last signed size.
        signed: TreeSize,
        /// What the log holds.
        size: TreeSize,
    },
    /// A checkpoint that was published is newer than the signer's last note.
    #[error(
        "a checkpoint of {kept} entries is kept, but the signer's last note has only {signed}: it \
         was rolled back; keep it as it is and run custody verify"
    )]
    RolledBack {
        /// The size of the kept checkpoint.
        kept: TreeSize,
        /// The size of the last note.
        signed: TreeSize,
    },
    /// The derived hashes do not lead to the last signed root.
    #[error(
        "the entries do not lead to the last signed root at size {size}: run custody verify; if \
         only hashes/ is damaged, custody rebuild mends it"
    )]
    RootMismatch {
        /// The last signed size.
        size: TreeSize,
    },
    /// The clock shows a time long before the last entry.
    #[error(
        "the clock shows a time {} s before the last entry: check it, then start with \
         --accept-clock",
        behind_s
    )]
    ClockBehind {
        /// By how many seconds.
        behind_s: i64,
    },
    /// The clock jumped forward when the log was last open.
    #[error(
        "the clock jumped forward while the log was open ({} says when): check it, then start with \
         --accept-clock",
        mark.display()
    )]
    ClockStopped {
        /// The mark that was left.
        mark: PathBuf,
    },
    /// Something showed, when the log was last open, that it had said what it does not hold.
    #[error(
        "the log was restored from an old copy: it had published {} entries, which this one with \
         {} lacks ({} holds the proof); restore the newer copy, or accept the loss with \
         --accept-restored",
        lost.published, lost.size, mark.display()
    )]
    Restored {
        /// The mark that was left.
        mark: PathBuf,
        /// What is lost.
        lost: Lost,
    },
    /// A mark that a stop left cannot be read.
    #[error("{} cannot be read: delete it, what stopped the log shows again", mark.display())]
    MarkDamaged {
        /// The mark.
        mark: PathBuf,
    },
    /// The keystore.
    #[error(transparent)]
    Keystore(#[from] keys_secret::KeystoreError),
    /// The signer's state.
    #[error(transparent)]
    Signer(#[from] keys_secret::OpenSignerError),
    /// The trust file is none.
    #[error("{}: {error}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: keys_public::TrustFileError,
    },
}

/// Why a log did not close as it should. All that was acknowledged is durable nevertheless.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The log had stopped before, or stopped while closing.
    #[error("the log had stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}
