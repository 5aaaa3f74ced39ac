//! The last heartbeat of each source in the log's state: while it is open, opened again, at rest.
//!
//! Not here: what people are told of it (api/cli).

use std::path::Path;
use std::time::Duration;

use keys_secret::{Keystore, SecretKey32};
use ledger_core::message::Message;
use ledger_core::state::Stream;
use ledger_core::{Epoch, Nanos, Sequence, SourceId};
use ledger_event::facts::{Facts as _, Heartbeat};

use crate::agent_tests::{paths, sealed, send};
use crate::beats::SCANNED_MAX;
use crate::{Door as _, InProcessDoor, Log, LogOptions, Outcome, SourceSpec, create_log};
use crate::{LogStatus, status_at_rest};

fn open(root: &Path) -> Log {
    let options = LogOptions {
        checkpoint_every: Duration::from_millis(20),
        segment_entries_max: 4,
        ..LogOptions::default()
    };
    Log::open(&paths(root), &options).unwrap().0
}

fn source(root: &Path, door: &mut InProcessDoor, name: &str) -> (SourceId, SecretKey32) {
    let spec = SourceSpec {
        name: name.to_owned(),
        platform: "postgresql".to_owned(),
    };
    let id = door.register_keyed(&spec).unwrap().id;
    let store = Keystore::open(&paths(root).keys()).unwrap();
    (id, store.source_key(id).unwrap())
}

fn beat((id, key): &(SourceId, SecretKey32), sequence: u64, prev: [u8; 32]) -> Message {
    let facts = Heartbeat {
        source: *id,
        epoch: Epoch(5),
        bound: Sequence(sequence * 100),
        acknowledged: Sequence(0),
        backlog_bytes: Some(7),
        dropped: None,
        opens: None,
        agent: None,
        every_ms: None,
        told: None,
        at: Nanos(1),
    };
    let value = facts.to_json();
    sealed(key, Stream::Heartbeat, (5, sequence), prev, &value)
}

/// What the last heartbeat of each source says is bound.
fn bound(status: &LogStatus) -> Vec<Option<u64>> {
    let beats = status
        .sources
        .iter()
        .map(|source| source.heartbeat.as_ref());
    beats
        .map(|beat| beat.map(|beat| beat.facts.bound.0))
        .collect()
}

#[test]
fn the_last_heartbeat_is_known_while_open_after_a_restart_and_at_rest() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let (one, two) = (
        source(root.path(), &mut door, "one"),
        source(root.path(), &mut door, "two"),
    );
    assert_eq!(bound(&log.status()), [None, None]);
    let first = beat(&one, 1, [0; 32]);
    send(&mut door, one.0, &first);
    // A later heartbeat that arrives first stays the last one when its gap is filled.
    let (second, third) = (beat(&one, 2, first.mac), beat(&one, 3, [0; 32]));
    let third = {
        let mut third = third;
        third.prev = second.mac;
        third.mac = one
            .1
            .hmac(ledger_core::message::MESSAGE_LABEL, &[&third.mac_input()]);
        third
    };
    send(&mut door, one.0, &third);
    assert!(matches!(
        send(&mut door, one.0, &second).0,
        Outcome::Late(_)
    ));
    assert_eq!(bound(&log.status()), [Some(300), None]);
    // Neither a forged one nor one that has no place is believed.
    let mut forged = beat(&two, 1, [0; 32]);
    forged.mac[0] ^= 1;
    send(&mut door, two.0, &forged);
    send(&mut door, two.0, &beat(&two, 1, [9; 32]));
    let status = log.status();
    assert_eq!(bound(&status), [Some(300), None]);
    let wrongs = |status: &LogStatus| (status.sources[1].conflicts, status.sources[1].forged);
    assert_eq!(wrongs(&status), (1, 1));
    for n in 1..=20 {
        let record = sealed(&two.1, Stream::Record, (5, n), [0; 32], b"{}");
        send(&mut door, two.0, &record);
    }
    let open_beat = log.status().sources[0].heartbeat.clone().unwrap();
    log.close().unwrap();

    let at_rest = status_at_rest(&paths(root.path()), Nanos(i64::MAX)).unwrap();
    assert_eq!(at_rest.sources[0].heartbeat.as_ref(), Some(&open_beat));
    let log = open(root.path());
    let status = log.status();
    assert_eq!(status.sources[0].heartbeat.as_ref(), Some(&open_beat));
    assert_eq!(status.sources[1].heartbeat, None);
    assert_eq!(at_rest.ledger_time, status.ledger_time);
    log.close().unwrap();
}

#[test]
fn a_bound_of_segments_is_read_for_heartbeats_at_opening() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let names = (0..SCANNED_MAX + 3).map(|n| format!("s{n}"));
    let sources: Vec<_> = names
        .map(|name| source(root.path(), &mut door, &name))
        .collect();
    // Each heartbeat in a segment of its own, with an unkeyed neighbour that fills it.
    let spec = SourceSpec {
        name: "file".to_owned(),
        platform: "postgresql".to_owned(),
    };
    let file = door.register(&spec).unwrap().id;
    let mut n = 0;
    for source in &sources {
        send(&mut door, source.0, &beat(source, 1, [0; 32]));
        for _ in 0..4 {
            n += 1;
            let record = sealed(&source.1, Stream::Record, (1, n), [0; 32], b"{}");
            send(&mut door, file, &record);
        }
    }
    let all = vec![Some(100); sources.len()];
    assert_eq!(bound(&log.status())[..sources.len()], all[..]);
    log.close().unwrap();
    let log = open(root.path());
    let found = bound(&log.status());
    let known = found.iter().flatten().count();
    assert_eq!(
        found[..sources.len() - known],
        vec![None; sources.len() - known][..]
    );
    assert!(
        (SCANNED_MAX..=SCANNED_MAX + 2).contains(&known),
        "{found:?}"
    );
    log.close().unwrap();
}
