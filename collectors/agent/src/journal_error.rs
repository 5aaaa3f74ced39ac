//! Why the journal refuses, and what can be wrong with its bytes.
//!
//! Not here: what a caller does about it.

use std::io;
use std::path::PathBuf;

use ledger_core::bytes::FormatError;
use ledger_core::state::Stream;
use ledger_core::{Sequence, SourceId};

/// Why the journal refuses.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refuses; what was begun is undone.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Another agent has this journal.
    #[error("{} is held by another agent: two agents cannot follow one source", path.display())]
    Held {
        /// The lock.
        path: PathBuf,
    },
    /// The bytes are not what was written.
    #[error("{} is damaged at byte {at}: {reason}", path.display())]
    Damaged {
        /// Which segment.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong.
        reason: Damage,
    },
    /// The quota leaves no room.
    #[error("the journal is full: {used} of {quota} bytes are used, {needed} more are needed")]
    Full {
        /// Bytes in use.
        used: u64,
        /// The bound.
        quota: u64,
        /// What was to be written.
        needed: u64,
    },
    /// A batch that no frame holds.
    #[error("a batch of {messages} messages and {bytes} bytes does not fit into a frame")]
    TooLarge {
        /// Messages of the batch.
        messages: usize,
        /// Bytes of the batch.
        bytes: usize,
    },
    /// A batch that does not follow what was bound last.
    #[error("message {sequence} of stream {} does not follow the last one bound", stream.name())]
    OutOfOrder {
        /// The stream.
        stream: Stream,
        /// The number.
        sequence: Sequence,
    },
}

/// What is wrong with stored bytes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// They do not decode.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A number or MAC that does not follow.
    #[error("message {0} does not follow the one before")]
    Order(Sequence),
    /// A segment does not begin where the one before ended.
    #[error("its header does not say what the segment before ended with")]
    Header,
    /// A segment between two others is missing.
    #[error("the segment before it is missing")]
    Hole,
    /// The folder belongs to another source.
    #[error("it belongs to source {0}")]
    OtherSource(SourceId),
}
