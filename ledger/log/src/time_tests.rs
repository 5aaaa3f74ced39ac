//! Clocks and ticks: a jump stops the log, an idle log ticks.
//!
//! Not here: the rule itself (`clock`).

use std::time::Duration;

use ledger_core::{Index, Kind, Nanos};

use crate::clock::{Clock, Reading};
use crate::door::{Door as _, DoorError, Outcome};
use crate::log_tests::{batch, kinds, message, options, paths, register};
use crate::{Log, LogOptions, OpenError, create_log};

/// A clock that reads from two numbers of seconds.
fn fake(
    wall: &std::sync::Arc<std::sync::atomic::AtomicI64>,
    boot: &std::sync::Arc<std::sync::atomic::AtomicI64>,
) -> Clock {
    let (wall, boot) = (wall.clone(), boot.clone());
    let read = |n: &std::sync::atomic::AtomicI64| {
        Nanos(n.load(std::sync::atomic::Ordering::SeqCst) * 1_000_000_000)
    };
    Box::new(move || Reading {
        wall: read(&wall),
        boot: read(&boot),
    })
}

#[test]
fn a_clock_that_jumps_forward_stops_the_log_until_it_is_accepted() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let start = crate::clock::system()().wall.0 / 1_000_000_000 + 1;
    let (wall, boot) = (Arc::new(AtomicI64::new(start)), Arc::new(AtomicI64::new(0)));
    let opened = |accept_clock| {
        let options = LogOptions {
            accept_clock,
            ..options()
        };
        Log::open_with_clock(&paths(root.path()), &options, fake(&wall, &boot))
    };
    let log = opened(false).unwrap().0;
    let mut door = log.door();
    let source = register(&mut door);
    wall.fetch_add(60, Ordering::SeqCst);
    door.append(batch(&source, vec![message(1, 5, "SELECT 1")]))
        .unwrap();
    wall.fetch_sub(3600, Ordering::SeqCst);
    door.append(batch(&source, vec![message(2, 5, "SELECT 1")]))
        .unwrap();
    assert_eq!(
        kinds(&log.reader()),
        ["opened", "source", "clock", "event", "clock", "event"]
    );
    let times: Vec<_> = (2..6)
        .map(|n| log.reader().entry(Index(n)).unwrap().entry.ledger_time)
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    wall.fetch_add(86_400, Ordering::SeqCst);
    let stopped = door.append(batch(&source, vec![message(3, 5, "SELECT 1")]));
    assert!(
        matches!(stopped, Err(DoorError::Stopped { .. })),
        "{stopped:?}"
    );
    assert!(log.close().is_err());
    assert!(matches!(opened(false), Err(OpenError::ClockStopped { .. })));
    let log = opened(true).unwrap().0;
    door = log.door();
    door.append(batch(&source, vec![message(3, 5, "SELECT 1")]))
        .unwrap();
    log.close().unwrap();
    opened(false).unwrap().0.close().unwrap();
    wall.fetch_sub(86_400, Ordering::SeqCst);
    assert!(matches!(opened(false), Err(OpenError::ClockBehind { .. })));
    opened(true).unwrap().0.close().unwrap();
}

#[test]
fn an_idle_log_ticks_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let options = LogOptions {
        tick_after: Duration::from_millis(30),
        ..options()
    };
    let log = Log::open(&paths(root.path()), &options).unwrap().0;
    let reader = log.reader();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.extend(
            reader
                .next(Index(seen.len() as u64), 10, Duration::from_secs(10))
                .unwrap(),
        );
    }
    log.close().unwrap();
    assert!(
        seen[1..]
            .iter()
            .all(|stored| stored.entry.kind == Kind::TICK)
    );
    let times: Vec<_> = seen[1..]
        .iter()
        .map(|stored| stored.entry.ledger_time.0)
        .collect();
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] >= 30_000_000),
        "{times:?}"
    );
}

#[test]
fn requests_that_append_nothing_hold_no_tick_back() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let options = LogOptions {
        tick_after: Duration::from_millis(30),
        ..options()
    };
    let log = Log::open(&paths(root.path()), &options).unwrap().0;
    let mut door = log.door();
    let source = register(&mut door);
    let sent = batch(&source, vec![message(1, 5, "SELECT 1")]);
    door.append(sent.clone()).unwrap();
    let begun = std::time::Instant::now();
    while log.status().size < 6 && begun.elapsed() < Duration::from_secs(5) {
        let again = door.append(sent.clone()).unwrap();
        assert_eq!(again.outcomes, [Outcome::Repeat]);
    }
    let expected = ["opened", "source", "event", "tick", "tick", "tick"];
    assert_eq!(kinds(&log.reader())[..6], expected);
    log.close().unwrap();
}
