//! A log that is verified while it is being written: the verifier takes the writer for a writer, and
//! never for a misdeed.
//!
//! Not here: what the verifier then leaves out, which its report says and its own tests count.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keys_public::TrustFile;
use ledger_core::layout::LAST_NOTE;
use ledger_core::state::Stream;
use ledger_core::{Epoch, Flags, Sequence};
use ledger_event::Event;
use ledger_log::{Batch, Door as _, Log, LogOptions, LogPaths, SourceSpec, create_log};
use ledger_verify::{Tail, VerifyOptions, verify_dir};

/// Verifications while the writer appends.
const ROUNDS: usize = 40;

fn paths(root: &Path) -> LogPaths {
    LogPaths::new(root, "live.example", "main", "2026").unwrap()
}

fn message(number: u64) -> ledger_core::Message {
    let mut event = Event::default();
    event.classify(6005, 1);
    event.severity_id = Some(1);
    event.metadata.version = Some("1.8.0".into());
    event.metadata.product.name = Some("PostgreSQL".into());
    event.query_info.query_string = Some(format!("SELECT {number}").into());
    ledger_core::Message {
        stream: Stream::Record,
        epoch: Epoch(5),
        sequence: Sequence(number),
        prev: [0; 32],
        mac: [0; 32],
        flags: Flags::NONE,
        value: event.to_json(),
    }
}

/// Appends until told to stop, over many segments, and closes the log.
fn write(log: Log, stop: &AtomicBool) {
    let mut door = log.door();
    let spec = SourceSpec {
        name: "pg".to_owned(),
        platform: "postgresql".to_owned(),
    };
    let source = door.register(&spec).unwrap().id;
    let mut next = 1;
    while !stop.load(Ordering::Relaxed) {
        let messages = (next..next + 50).map(message).collect();
        next += 50;
        let batch = Batch {
            source,
            messages,
            positions: Vec::new(),
        };
        door.append(batch).unwrap();
    }
    log.close().unwrap();
}

#[test]
fn a_log_that_is_being_written_verifies_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    create_log(&paths).unwrap();
    let trust = TrustFile::parse(&std::fs::read_to_string(paths.trust()).unwrap()).unwrap();
    let options = LogOptions {
        checkpoint_every: Duration::from_millis(20),
        arrays_every: Duration::from_millis(30),
        segment_entries_max: 700,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(&paths, &options).unwrap();
    let stop = AtomicBool::new(false);
    let mut sizes = Vec::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(log, &stop));
        let mut since = None;
        for round in 0..ROUNDS {
            let seen = std::fs::read(paths.folder().join(LAST_NOTE)).unwrap();
            let options = VerifyOptions {
                since,
                tail: Tail::BeingWritten,
            };
            let report = verify_dir(dir.path(), &trust, &options, &|_| ()).unwrap();
            if !report.verified() {
                stop.store(true, Ordering::Relaxed);
            }
            assert_eq!(report.misdeeds, [], "round {round}");
            sizes.push(report.entries);
            since = Some(seen);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    assert!(
        sizes.first() < sizes.last(),
        "the writer did not write: {sizes:?}"
    );
    // And at rest nothing is left out.
    let report = verify_dir(dir.path(), &trust, &VerifyOptions::default(), &|_| ()).unwrap();
    assert_eq!(report.misdeeds, []);
    assert_eq!(report.not_yet_signed, 0);
}
