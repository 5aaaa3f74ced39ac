//! An open log: the threads, their lock, and the state that status shows.
//!
//! Not here: what the threads do; making a log ([`crate::create`]).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use keys_public::{Note, Signer, TrustFile};
use keys_secret::{Keystore, LocalSigner};
use ledger_core::layout::{CHECKPOINTS, LAST_NOTE};
use ledger_core::{Checkpoint, TreeSize};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use crate::beats;
use crate::clock::{self, Clock};
use crate::config::LogOptions;
use crate::create;
use crate::door::{InProcessDoor, Request};
use crate::error::{CloseError, OpenError, WriteError};
use crate::first_word::{first_word, forgiven};
use crate::history::History;
use crate::opinion::second_opinion;
use crate::paths::LogPaths;
use crate::reader::Reader;
use crate::receipt::Receipts;
use crate::recovery;
use crate::shared::{Published, Shared, sources_at};
use crate::status::{LogStatus, StatusParts};
use crate::threads::{Parts, Running, start};

/// A log that this process writes. Dropping it ends it as [`Log::close`] does, without a word about
/// what went wrong.
#[derive(Debug)]
pub struct Log {
    paths: LogPaths,
    running: Running,
    status: Arc<StatusParts>,
    receipts: Arc<Receipts>,
    _lock: Lock,
}

/// What opening a log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// Entries in the log.
    pub size: u64,
    /// The log had not been closed as it should.
    pub unclean: bool,
    /// Bytes of a torn tail that were dropped, of entries and payloads; nobody was promised them.
    pub bytes_dropped: u64,
    /// The first entry whose hashes were derived again.
    pub rederived_from: u64,
}

/// What closing left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Entries in the log, all of them covered by the last checkpoint.
    pub size: TreeSize,
}

impl Log {
    /// Takes the lock, recovers, and starts the threads.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(paths: &LogPaths, options: &LogOptions) -> Result<(Log, Recovered), OpenError> {
        Log::open_with_clock(paths, options, clock::system())
    }

    pub(crate) fn open_with_clock(
        paths: &LogPaths,
        options: &LogOptions,
        clock: Clock,
    ) -> Result<(Log, Recovered), OpenError> {
        let lock = take_lock(paths)?;
        create::finish_folders(paths)?;
        let signer = open_signer(paths)?;
        let (signed, note) = last_signed(&signer)?;
        let mut recovery = recovery::recover(paths, &signed)?;
        let known = std::mem::take(&mut recovery.beats);
        let (sources, size) = (&recovery.durable.sources, recovery.durable.edge.size());
        recovery.durable.beats = beats::at_opening(paths, sources, size, known);
        let reading = clock();
        let first_word = first_word(paths, options, &recovery, reading.wall)?;
        let recovered = Recovered {
            size: recovery.durable.edge.size().0,
            unclean: recovery.unclean.is_some(),
            bytes_dropped: recovery.unclean.map_or(0, |unclean| {
                unclean.bytes_dropped + unclean.payload_bytes_dropped
            }),
            rederived_from: recovery
                .unclean
                .map_or(0, |unclean| unclean.rederived_from.0),
        };
        let history_path = paths.file(CHECKPOINTS);
        let now = recovery.durable.ledger_time.max(reading.wall);
        let history = History::open(&history_path, options.history, &note, &signed, now)?;
        // What the last checkpoint covers is known if it covers all; else the next one says it.
        let (durable, size) = (&recovery.durable, signed.size);
        let whole = durable.edge.size() == size;
        let published = Published {
            sources: whole.then(|| sources_at(size, &durable.sources, None)),
            positions: whole.then(|| Arc::new(durable.positions.clone())),
            checkpoint: signed,
            note: Arc::new(note),
            proved: Arc::default(),
            at: Instant::now(),
        };
        let receipts = Arc::new(receipts(paths)?);
        let forgiven = forgiven(&recovery.durable, &first_word);
        let parts = Parts {
            forgiven,
            receipts: receipts.clone(),
            recovery,
            first_word,
            history,
            published,
            signer,
            reading,
            clock,
        };
        let running = start(paths, options, parts)?;
        let status = Arc::new(StatusParts {
            origin: paths.origin().to_string(),
            opened: Instant::now(),
            forgiven,
        });
        let log = Log {
            paths: paths.clone(),
            running,
            status,
            receipts,
            _lock: lock,
        };
        Ok((log, recovered))
    }

    /// The way in.
    pub fn door(&self) -> InProcessDoor {
        InProcessDoor {
            requests: self.running.requests.clone(),
            shared: self.running.shared.clone(),
            log: self.status.clone(),
            receipts: self.receipts.clone(),
        }
    }

    /// The way to read, up to what is durable at each moment.
    pub fn reader(&self) -> Reader {
        Reader::live(&self.paths, self.running.shared.clone())
    }

    /// The state of the log.
    pub fn status(&self) -> LogStatus {
        self.status.status(&self.running.shared)
    }

    /// Drains what was handed over, finishes the segment and publishes what is left.
    ///
    /// # Errors
    /// If the log had stopped; all that was acknowledged is durable nevertheless.
    pub fn close(mut self) -> Result<Closed, CloseError> {
        self.join();
        let shared = &self.running.shared;
        let result = match shared.stopped() {
            Some(reason) => Err(CloseError::Stopped { reason }),
            None => Ok(Closed {
                size: shared.size(),
            }),
        };
        // Doors and readers that outlive the log learn that nothing more comes.
        shared.end("it was closed".to_owned());
        result
    }

    fn join(&mut self) {
        // A sequencer that is gone has nothing to drain.
        drop(self.running.requests.send(Request::Close));
        let gone = |shared: &Shared| shared.stop(WriteError::ThreadGone.to_string());
        for thread in self.running.line.drain(..) {
            if thread.join().is_err() {
                gone(&self.running.shared);
            }
        }
        self.running.closing.store(true, Ordering::Release);
        self.running.shared.nudge();
        for thread in self.running.followers.drain(..) {
            if thread.join().is_err() {
                gone(&self.running.shared);
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.join();
    }
}

/// The one writer's lock. It is given back by name, not only by closing the file: a child that is
/// being started elsewhere in the process may hold a copy of the descriptor for a moment.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is what is left if this fails.
        let _closing_is_left = flock(&self.0, FlockOperation::Unlock);
    }
}

pub(crate) fn take_lock(paths: &LogPaths) -> Result<Lock, OpenError> {
    let path = paths.lock();
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(|error| OpenError::Io {
        doing: "open",
        path: path.clone(),
        error,
    })?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Held { lock: path }),
        Err(error) => Err(OpenError::Io {
            doing: "lock",
            path,
            error: error.into(),
        }),
    }
}

fn open_signer(paths: &LogPaths) -> Result<LocalSigner, OpenError> {
    let path = paths.trust();
    let text = std::fs::read_to_string(&path).map_err(|error| OpenError::Io {
        doing: "read",
        path: path.clone(),
        error,
    })?;
    let trust = TrustFile::parse(&text).map_err(|error| OpenError::Trust {
        path: path.clone(),
        error,
    })?;
    if trust.origin() != paths.origin() {
        return Err(OpenError::OtherOrigin {
            path,
            found: trust.origin().to_string(),
            expected: paths.origin().to_string(),
        });
    }
    let store = Keystore::open(&paths.keys())?;
    let pair = store.log_signing_keys(paths.origin())?;
    let public = pair.public().clone();
    let opinion = Box::new(move |note: &Note| second_opinion(&public, note));
    Ok(LocalSigner::open(
        pair,
        &paths.file(LAST_NOTE),
        &trust,
        opinion,
    )?)
}

fn receipts(paths: &LogPaths) -> Result<Receipts, OpenError> {
    let key = Keystore::open(&paths.keys())?.pseudonym_key(paths.tenant())?;
    Ok(Receipts::new(key, paths.origin()))
}

fn last_signed(signer: &LocalSigner) -> Result<(Checkpoint, Vec<u8>), OpenError> {
    let note = signer.last().map(Note::encode).unwrap_or_default();
    Ok((signer.last_signed().checkpoint().clone(), note))
}
