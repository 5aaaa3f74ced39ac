//! Starting the four threads of an open log and wiring them in their row.
//!
//! Not here: what they do ([`crate::sequencer`], [`crate::writer`], [`crate::publisher`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use keys_secret::{Keystore, LocalSigner};
use ledger_core::layout::HASHES;
use ledger_core::payload::BlockWriter;
use ledger_core::{Index, Nanos};

use crate::arrays::{ArrayReader, ArrayWriter};
use crate::clock::{self, Clock};
use crate::config::LogOptions;
use crate::door::Request;
use crate::error::{OpenError, WriteError};
use crate::frames::Old;
use crate::history::History;
use crate::paths::LogPaths;
use crate::prepare::{Preparer, Pseudonyms, Randomness};
use crate::publisher::{ArraySync, Publisher};
use crate::receipt::Receipts;
use crate::recent::Recent;
use crate::recovery::Recovery;
use crate::sequencer::{FirstWord, Sequencer, Work};
use crate::shared::{Durable, Published, Shared};
use crate::stops::Stops;
use crate::writer::{Segment, Writer};

/// What the threads start from.
pub(crate) struct Parts {
    pub(crate) recovery: Recovery,
    pub(crate) first_word: Vec<FirstWord>,
    pub(crate) history: History,
    pub(crate) published: Published,
    pub(crate) signer: LocalSigner,
    pub(crate) reading: clock::Reading,
    pub(crate) clock: Clock,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) forgiven: Nanos,
}

/// The threads of an open log.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: Sender<Request>,
    pub(crate) closing: Arc<AtomicBool>,
    /// They end one after the other once told to close: sequencer, writer.
    pub(crate) line: Vec<JoinHandle<()>>,
    /// They end when `closing` is set: publisher, array sync.
    pub(crate) followers: Vec<JoinHandle<()>>,
}

/// Starts everything.
pub(crate) fn start(
    paths: &LogPaths,
    options: &LogOptions,
    parts: Parts,
) -> Result<Running, OpenError> {
    let Recovery {
        durable,
        arrays,
        segment,
        recent,
        ..
    } = parts.recovery;
    let size = arrays.edge().size();
    let shared = Arc::new(Shared::new(durable.clone(), parts.published, size));
    let closing = Arc::new(AtomicBool::new(false));
    let (requests, waiting) = bounded(options.queue_batches_max);
    let (to_writer, work) = bounded(1);
    let words = (parts.receipts, parts.forgiven);
    let mut sequencer = sequencer(
        paths,
        options,
        &shared,
        durable,
        (waiting, to_writer),
        words,
    )?;
    sequencer.clock = parts.clock;
    sequencer.clock_rule = clock::Rule::new(parts.reading);
    sequencer.first_word = parts.first_word;
    sequencer.recent = recent;
    let writer = writer(paths, options, &shared, work, (segment, arrays))?;
    let publisher = Publisher {
        shared: shared.clone(),
        signer: Box::new(parts.signer),
        arrays: ArrayReader::new(paths.file(HASHES)),
        history: parts.history,
        origin: paths.origin().clone(),
        every: options.checkpoint_every,
        closing: closing.clone(),
    };
    let sync = ArraySync {
        shared: shared.clone(),
        hashes: paths.file(HASHES),
        every: options.arrays_every,
        closing: closing.clone(),
    };
    let (first, second) = (Leaving(shared.clone()), Leaving(shared.clone()));
    let line = vec![
        spawn("sequencer", &shared, move || {
            let _leaving = first;
            sequencer.run();
        })?,
        spawn("writer", &shared, move || {
            let _leaving = second;
            writer.run();
        })?,
    ];
    let followers = vec![
        spawn("publisher", &shared, move || publisher.run())?,
        spawn("arrays", &shared, move || sync.run())?,
    ];
    Ok(Running {
        shared,
        requests,
        closing,
        line,
        followers,
    })
}

fn sequencer(
    paths: &LogPaths,
    options: &LogOptions,
    shared: &Arc<Shared>,
    durable: Durable,
    (requests, writer): (Receiver<Request>, Sender<Work>),
    (receipts, forgiven): (Arc<Receipts>, Nanos),
) -> Result<Sequencer, OpenError> {
    let keystore = Keystore::open(&paths.keys())?;
    let mut source_keys = HashMap::new();
    for state in durable.sources.values().filter(|state| state.keyed) {
        source_keys.insert(state.id, keystore.source_key(state.id)?);
    }
    let pseudonyms = Pseudonyms::new(keystore.pseudonym_key(paths.tenant())?);
    let clock = clock::system();
    Ok(Sequencer {
        requests,
        writer,
        shared: shared.clone(),
        options: options.clone(),
        clock_rule: clock::Rule::new(clock()),
        clock,
        next: Index(durable.edge.size().0),
        ledger_time: durable.ledger_time,
        positions: durable.positions.keys().cloned().collect(),
        sources: durable.sources,
        keys: source_keys,
        keystore,
        recent: Recent::default(),
        preparer: Preparer::new(options.mask, pseudonyms),
        random: Randomness::new(),
        folder: paths.folder(),
        stops: Stops::of(paths),
        receipts,
        forgiven,
        first_word: Vec::new(),
        held: None,
        old: Old::default(),
    })
}

fn writer(
    paths: &LogPaths,
    options: &LogOptions,
    shared: &Arc<Shared>,
    work: Receiver<Work>,
    (segment, arrays): (Option<Segment>, ArrayWriter),
) -> Result<Writer, OpenError> {
    Ok(Writer {
        work,
        shared: shared.clone(),
        folder: paths.folder(),
        hashes: paths.file(HASHES),
        origin: paths.origin().clone(),
        segment,
        arrays,
        blocks: BlockWriter::new().map_err(WriteError::from)?,
        entries_max: options.segment_entries_max,
        payloads_max: options.segment_payloads_max,
        chunk: Vec::new(),
    })
}

/// Starts a thread that stops the log should it panic: an assertion of ours did not hold, and what
/// is in memory is not to be trusted. Linux shows 15 bytes of a thread's name.
fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let halt = Halt(shared.clone());
    let builder = std::thread::Builder::new().name(format!("cst-{name}"));
    let guarded = move || {
        let _halt = halt;
        run();
    };
    builder.spawn(guarded).map_err(|error| OpenError::Io {
        doing: "start the thread of",
        path: name.into(),
        error,
    })
}

/// Says that one of the two threads that answer has ended: what still waits in their channels is
/// answered by nobody.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.leave_line();
    }
}

struct Halt(Arc<Shared>);

impl Drop for Halt {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(WriteError::ThreadGone.to_string());
        }
    }
}
