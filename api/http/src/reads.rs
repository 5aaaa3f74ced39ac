//! Reading a log the same way whether its server is up or not: one trait, here over the files and
//! in `client` over the socket. One contract test passes on both, so every command prints the same.
//!
//! Not here: who may read (the socket's mode says it), tables for people, and the form of an entry
//! (ledger/index).

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ledger_core::proof_file::ProofFile;
use ledger_core::{Index, Nanos, ProofError, TreeSize, verify_inclusion};
use ledger_index::{Query, QueryError, render};
use ledger_log::{Door as _, InProcessDoor, LogStatus, ReadError, Reader, StoredEntry};

use crate::proof::payload_json;

/// How often a tail that waits says so.
pub const IDLE_EVERY: Duration = Duration::from_secs(1);
/// Most entries that a tail takes at once.
const TAIL_ENTRIES_MAX: usize = 256;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'q> {
    /// The query; empty for every entry.
    pub query: &'q str,
    /// What `since:7d` counts from.
    pub now: Nanos,
    /// Most entries; all of them without it.
    pub limit: Option<u64>,
}

/// What a tail has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail<'l> {
    /// An entry, as one JSON object.
    Entry(&'l str),
    /// Nothing came for a moment: time to see whether anybody still wants to know.
    Idle,
}

/// A proof that travels by itself, and what it is a proof of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The `.tlog-proof` text (C2SP tlog-proof).
    pub proof: String,
    /// The entry, its parts and their salts as one JSON object (docs/formats/payload.md).
    pub payload: String,
}

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadsError {
    /// There is no such entry.
    #[error("the log has no entry {index}: it has {size}")]
    NotFound {
        /// The index asked for.
        index: Index,
        /// The log's size.
        size: TreeSize,
    },
    /// The query is none.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// No checkpoint covers the entry yet.
    #[error("no checkpoint covers entry {index} yet, the last one has {size}: try again")]
    NotPublished {
        /// The index asked for.
        index: Index,
        /// The published size.
        size: TreeSize,
    },
    /// The log's files cannot be read.
    #[error("{0}")]
    Log(Box<ReadError>),
    /// The log's own proof does not lead to the log's own checkpoint.
    #[error("the proof of entry {index} does not hold ({error}): run custody verify")]
    ProofWrong {
        /// The entry.
        index: Index,
        /// What is wrong.
        #[source]
        error: ProofError,
    },
    /// Only who has the log open knows its state.
    #[error("the state of a log is known to the process that has it open: open the log first")]
    NotOpen,
    /// The server refused.
    #[error("{detail}")]
    Refused {
        /// The problem's type.
        kind: crate::ProblemType,
        /// What the server said.
        detail: String,
    },
    /// The server does not answer, or stopped answering.
    #[error("the log's server does not answer: {reason}")]
    Unreachable {
        /// What happened.
        reason: String,
    },
    /// The server answered what it never answers.
    #[error("the log's server answered nonsense ({reason}): is it of another version?")]
    Nonsense {
        /// What was found.
        reason: String,
    },
}

/// Reading a log.
pub trait Reads {
    /// One entry, as one JSON object. It need not be published yet, but it is durable.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    fn entry(&mut self, index: Index) -> Result<String, ReadsError>;

    /// Shows the entries that match to `visit`, in the order of the log, and gives their number.
    /// Entries that come later than the call are not looked at.
    ///
    /// # Errors
    /// The query is none, or an entry cannot be read: then nothing after it was looked at.
    fn query(
        &mut self,
        ask: &Ask<'_>,
        visit: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<u64, ReadsError>;

    /// Shows the entries that match from `from` on (from the log's end if `None`), and goes on as
    /// they come, until `visit` breaks or `ask.limit` is reached.
    ///
    /// # Errors
    /// The query is none, an entry cannot be read, or the log's server stopped.
    fn tail(
        &mut self,
        ask: &Ask<'_>,
        from: Option<Index>,
        visit: &mut dyn FnMut(Tail<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadsError>;

    /// A proof of the entry under the published checkpoint.
    ///
    /// # Errors
    /// There is no such entry, or no checkpoint covers it yet.
    fn proof(&mut self, index: Index) -> Result<Proof, ReadsError>;

    /// The published checkpoint: a signed note.
    ///
    /// # Errors
    /// It cannot be read.
    fn checkpoint(&mut self) -> Result<Vec<u8>, ReadsError>;

    /// The state of the log.
    ///
    /// # Errors
    /// It cannot be read.
    fn status(&mut self) -> Result<LogStatus, ReadsError>;
}

impl From<ReadError> for ReadsError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotFound { index, size } => ReadsError::NotFound { index, size },
            other => ReadsError::Log(Box::new(other)),
        }
    }
}

/// A log read from its files.
#[derive(Clone, Debug)]
pub struct DirectReads {
    reader: Reader,
    /// The door of the process that has the log open; it alone knows the log's state.
    door: Option<InProcessDoor>,
}

impl DirectReads {
    /// Reads a log that this process has open, up to what is durable at each moment.
    pub fn of_log(reader: Reader, door: InProcessDoor) -> DirectReads {
        DirectReads {
            reader,
            door: Some(door),
        }
    }

    /// Reads files that nobody writes, up to the last good frame. They have no state to show.
    pub fn of_files(reader: Reader) -> DirectReads {
        DirectReads { reader, door: None }
    }
}

impl Reads for DirectReads {
    fn entry(&mut self, index: Index) -> Result<String, ReadsError> {
        Ok(render(&self.reader.entry(index)?))
    }

    fn query(
        &mut self,
        ask: &Ask<'_>,
        visit: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<u64, ReadsError> {
        let query = Query::parse(ask.query, ask.now)?;
        let mut left = ask.limit.unwrap_or(u64::MAX);
        let mut found = 0;
        if left == 0 {
            return Ok(0);
        }
        let mut each = |stored: StoredEntry| {
            if !query.matches(&stored) {
                return ControlFlow::Continue(());
            }
            found += 1;
            left -= 1;
            visit(&render(&stored))?;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        self.reader.scan(Index(0), self.reader.size(), &mut each)?;
        Ok(found)
    }

    fn tail(
        &mut self,
        ask: &Ask<'_>,
        from: Option<Index>,
        visit: &mut dyn FnMut(Tail<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadsError> {
        let query = Query::parse(ask.query, ask.now)?;
        let mut left = ask.limit.unwrap_or(u64::MAX);
        let mut cursor = from.unwrap_or(Index(self.reader.size().0));
        let mut said = Instant::now();
        while left > 0 {
            let stored = self.reader.next(cursor, TAIL_ENTRIES_MAX, IDLE_EVERY)?;
            // Also when others' entries come all the time: nobody may want to know any more.
            if stored.is_empty() || said.elapsed() >= IDLE_EVERY {
                said = Instant::now();
                if visit(Tail::Idle).is_break() {
                    return Ok(());
                }
            }
            for entry in stored {
                cursor = Index(entry.index.0.saturating_add(1));
                if left == 0 || !query.matches(&entry) {
                    continue;
                }
                left -= 1;
                if visit(Tail::Entry(&render(&entry))).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn proof(&mut self, index: Index) -> Result<Proof, ReadsError> {
        let stored = self.reader.entry(index)?;
        let (checkpoint, note) = self.reader.published_for_proof()?;
        if index.0 >= checkpoint.size.0 {
            return Err(ReadsError::NotPublished {
                index,
                size: checkpoint.size,
            });
        }
        let hashes = self.reader.inclusion(index, checkpoint.size)?;
        // What does not hold is never handed out.
        verify_inclusion(
            index,
            checkpoint.size,
            &stored.entry.leaf(),
            &hashes,
            &checkpoint.root,
        )
        .map_err(|error| ReadsError::ProofWrong { index, error })?;
        let checkpoint = String::from_utf8_lossy(&note).into_owned();
        let proof = ProofFile {
            extra: None,
            index,
            hashes,
            checkpoint,
        }
        .encode();
        Ok(Proof {
            proof,
            payload: payload_json(&stored),
        })
    }

    fn checkpoint(&mut self) -> Result<Vec<u8>, ReadsError> {
        Ok(self.reader.published()?.1)
    }

    fn status(&mut self) -> Result<LogStatus, ReadsError> {
        let door = self.door.as_mut().ok_or(ReadsError::NotOpen)?;
        door.status().map_err(|error| ReadsError::Unreachable {
            reason: error.to_string(),
        })
    }
}
