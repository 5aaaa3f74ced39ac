//! An idle log grows by its ticks and nothing else, however hard it is asked (DESIGN section 2).
//! The minute between two ticks is shortened; what is counted is the same.
//!
//! It is asked by all that reads. Not here: requests in the door's queue that append nothing, the
//! clock's other rules (both ledger/log), and followers, which have rooms of their own.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ledger_core::state::Stream;
use ledger_core::tile::Tile;
use ledger_core::{Epoch, Flags, Index, Kind, Message, Nanos, Sequence, TreeSize};
use ledger_event::Event;
use ledger_log::{
    Batch, Door as _, Log, LogOptions, LogPaths, Reader, SourceSpec, StoredEntry, create_log,
};

const TICK_AFTER: Duration = Duration::from_millis(40);
/// Ticks waited for.
const TICKS: usize = 20;
/// Threads that ask without a pause.
const ASKING: usize = 3;

fn open(root: &Path) -> Log {
    let paths = LogPaths::new(root, "idle.example", "main", "2026").unwrap();
    create_log(&paths).unwrap();
    let options = LogOptions {
        checkpoint_every: Duration::from_millis(20),
        tick_after: TICK_AFTER,
        ..LogOptions::default()
    };
    Log::open(&paths, &options).unwrap().0
}

fn spec() -> SourceSpec {
    SourceSpec {
        name: "pg".to_owned(),
        platform: "postgresql".to_owned(),
    }
}

/// Everything that can be read of a log, once.
fn ask(log: &Log, reader: &Reader) {
    let mut door = log.door();
    door.positions(&["file:pg".to_owned()]).unwrap();
    door.status().unwrap();
    let size = log.status().published_size;
    door.wait_published(TreeSize(size)).unwrap();
    let (checkpoint, _) = reader.published().unwrap();
    reader.next(Index(0), 5, Duration::ZERO).unwrap();
    reader.entry(Index(reader.size().0 - 1)).unwrap();
    reader.entry(Index(u64::MAX)).unwrap_err();
    reader.inclusion(Index(0), checkpoint.size).unwrap();
    reader.consistency(TreeSize(1), checkpoint.size).unwrap();
    reader
        .tile(&Tile::parse("tile/0/000.p/1").unwrap())
        .unwrap();
    reader
        .tile(&Tile::parse("tile/entries/000.p/1").unwrap())
        .unwrap();
}

/// The first entries of an idle log, and how often it was asked while they came.
fn entries_while_asked(asking: usize, meanwhile: &dyn Fn(&Log)) -> (Vec<StoredEntry>, u64) {
    let root = tempfile::tempdir().unwrap();
    let log = open(root.path());
    log.door().register(&spec()).unwrap();
    let reader = log.reader();
    let (over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut entries = Vec::new();
    std::thread::scope(|threads| {
        for _ in 0..asking {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    ask(&log, &reader);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        meanwhile(&log);
        let begun = Instant::now();
        while entries.len() < TICKS + 2 && begun.elapsed() < Duration::from_secs(60) {
            let from = Index(entries.len() as u64);
            entries.extend(reader.next(from, 10, Duration::from_secs(10)).unwrap());
        }
        over.store(true, Ordering::Relaxed);
    });
    log.close().unwrap();
    (entries, asked.load(Ordering::Relaxed))
}

/// What is there besides the two first entries and ticks, each a whole interval after the entry
/// before it.
fn beyond_ticks(entries: &[StoredEntry]) -> Vec<String> {
    let mut beyond = Vec::new();
    for (at, pair) in entries.windows(2).enumerate() {
        let (before, entry) = (&pair[0].entry, &pair[1].entry);
        let expected = if at == 0 { Kind::SOURCE } else { Kind::TICK };
        let waited = entry.ledger_time.0 - before.ledger_time.0;
        if entry.kind != expected {
            beyond.push(format!(
                "entry {} is of kind {:?}",
                pair[1].index, entry.kind
            ));
        } else if at > 0 && waited < i64::try_from(TICK_AFTER.as_nanos()).unwrap() {
            beyond.push(format!("entry {} came after {waited} ns", pair[1].index));
        }
    }
    beyond
}

#[test]
fn an_idle_log_grows_by_its_ticks_whatever_it_is_asked() {
    let begun = Instant::now();
    let (entries, asked) = entries_while_asked(ASKING, &|_| ());
    assert_eq!(beyond_ticks(&entries), [] as [String; 0]);
    assert!(entries.len() >= TICKS + 2);
    // A fixed number: one an interval at most, so no more than the time that passed allows.
    let intervals = begun.elapsed().as_millis() / TICK_AFTER.as_millis();
    assert!(
        (entries.len() - 2) as u128 <= intervals,
        "{} in {intervals}",
        entries.len()
    );
    assert!(asked > TICKS as u64, "it was asked only {asked} times");
}

#[test]
fn an_idle_log_that_nobody_asks_grows_by_the_same() {
    let (entries, asked) = entries_while_asked(0, &|_| ());
    assert_eq!(asked, 0);
    assert_eq!(beyond_ticks(&entries), [] as [String; 0]);
    assert!(entries.len() >= TICKS + 2);
}

#[test]
fn an_entry_that_is_no_tick_is_counted() {
    let append = |log: &Log| {
        let mut event = Event::default();
        event.classify(6005, 1);
        event.set_time(Nanos(1_790_000_000_000_000_000));
        event.metadata.version = Some("1.8.0".into());
        event.metadata.product.name = Some("PostgreSQL".into());
        let message = Message {
            stream: Stream::Record,
            epoch: Epoch(1),
            sequence: Sequence(1),
            prev: [0; 32],
            mac: [0; 32],
            flags: Flags::NONE,
            value: event.to_json(),
        };
        let mut door = log.door();
        let batch = Batch {
            source: door.register(&spec()).unwrap().id,
            messages: vec![message],
            positions: Vec::new(),
        };
        door.append(batch).unwrap();
    };
    let (entries, _) = entries_while_asked(1, &append);
    assert_eq!(
        beyond_ticks(&entries).len(),
        1,
        "{:?}",
        beyond_ticks(&entries)
    );
}
