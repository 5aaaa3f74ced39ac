//! What an agent needs of the log: to be told what a published checkpoint covers, and to have the
//! opening of a new life recorded with what it says of the life before.
//!
//! Not here: the rule ([`crate::rule`]) and the wire (api/http).

use std::path::Path;
use std::time::Duration;

use keys_secret::{Keystore, SecretKey32};
use ledger_core::message::{MESSAGE_LABEL, Message};
use ledger_core::state::{ShortMac, SourceState, Stream};
use ledger_core::{Epoch, Flags, Kind, Nanos, Sequence, SourceId, TreeSize};
use ledger_event::facts::{EpochOpened, Facts as _, Heartbeat, Opens};

use crate::{
    Acknowledged, Batch, Door, DoorError, InProcessDoor, Log, LogOptions, LogPaths, Outcome,
    SourceSpec, create_log,
};

pub(crate) const WAIT: Duration = Duration::from_secs(30);

pub(crate) fn paths(root: &Path) -> LogPaths {
    LogPaths::new(root, "example.org", "main", "2026").unwrap()
}

pub(crate) fn open(root: &Path) -> Log {
    let options = LogOptions {
        checkpoint_every: Duration::from_millis(20),
        ..LogOptions::default()
    };
    Log::open(&paths(root), &options).unwrap().0
}

/// A keyed source with its key.
pub(crate) fn keyed(root: &Path, door: &mut InProcessDoor) -> (SourceState, SecretKey32) {
    let spec = SourceSpec {
        name: "pg".to_owned(),
        platform: "postgresql".to_owned(),
    };
    let state = door.register_keyed(&spec).unwrap();
    let store = Keystore::open(&paths(root).keys()).unwrap();
    let key = store.source_key(state.id).unwrap();
    (state, key)
}

pub(crate) fn sealed(
    key: &SecretKey32,
    stream: Stream,
    (epoch, sequence): (u32, u64),
    prev: [u8; 32],
    value: &[u8],
) -> Message {
    let mut message = Message {
        stream,
        epoch: Epoch(epoch),
        sequence: Sequence(sequence),
        prev,
        mac: [0; 32],
        flags: Flags::NONE,
        value: value.to_vec(),
    };
    message.mac = key.hmac(MESSAGE_LABEL, &[&message.mac_input()]);
    message
}

pub(crate) fn send(
    door: &mut InProcessDoor,
    source: SourceId,
    message: &Message,
) -> (Outcome, TreeSize) {
    let batch = Batch {
        source,
        messages: vec![message.clone()],
        positions: Vec::new(),
    };
    let appended = door.append(batch).unwrap();
    (appended.outcomes[0], appended.size)
}

#[test]
fn only_what_a_checkpoint_covers_is_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let nobody = SourceId(9);
    let error = door.acknowledged(nobody, None, WAIT).unwrap_err();
    assert_eq!(error, DoorError::UnknownSource { source_id: nobody });

    let (state, key) = keyed(root.path(), &mut door);
    let first = door.acknowledged(state.id, None, WAIT).unwrap();
    assert_eq!(first.epoch, Epoch(0));
    assert_eq!(first.through(Stream::Record), Sequence(0));
    // Nothing moves, so the wait ends with the same answer.
    let still = door.acknowledged(state.id, Some(first.size), Duration::ZERO);
    assert_eq!(still.unwrap().marks, first.marks);
    let now = door.acknowledged_now(state.id, Some(first.size)).unwrap();
    assert!(!now.1, "nothing moved");

    let chain: Vec<Message> = (1..=4).fold(Vec::new(), |mut chain, n| {
        let prev = chain.last().map_or([0; 32], |last: &Message| last.mac);
        chain.push(sealed(&key, Stream::Record, (5, n), prev, b"{}"));
        chain
    });
    let (_, size) = send(&mut door, state.id, &chain[0]);
    let second = door.acknowledged(state.id, Some(first.size), WAIT).unwrap();
    assert!(second.size >= size, "the checkpoint covers the message");
    assert_eq!(second.epoch, Epoch(5));
    assert_eq!(second.mark(Stream::Record).mac, ShortMac::of(&chain[0].mac));
    assert_eq!(second.through(Stream::Record), Sequence(1));
    assert_eq!(second.through(Stream::Heartbeat), Sequence(0));

    // A hole holds back what may be forgotten, and says what to send again.
    send(&mut door, state.id, &chain[3]);
    let third = door
        .acknowledged(state.id, Some(second.size), WAIT)
        .unwrap();
    assert_eq!(third.mark(Stream::Record).sequence, Sequence(4));
    assert_eq!(third.through(Stream::Record), Sequence(1));
    let holes: Vec<_> = third.missing.iter().map(|m| (m.from.0, m.to.0)).collect();
    assert_eq!(holes, [(2, 3)]);
    for message in &chain[1..3] {
        send(&mut door, state.id, message);
    }
    let mut last: Acknowledged = third;
    while last.through(Stream::Record) < Sequence(4) {
        last = door.acknowledged(state.id, Some(last.size), WAIT).unwrap();
    }
    assert_eq!(last.missing, []);

    drop(door);
    log.close().unwrap();
    let log = open(root.path());
    let again = log.door().acknowledged(state.id, None, WAIT).unwrap();
    assert_eq!(again.marks, last.marks, "a restart forgets nothing");
}

#[test]
fn a_new_life_is_recorded_with_what_its_first_heartbeat_says() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let (state, key) = keyed(root.path(), &mut door);
    let heartbeat = |epoch: u32, opens: Option<Opens>| {
        let facts = Heartbeat {
            source: state.id,
            epoch: Epoch(epoch),
            bound: Sequence(0),
            acknowledged: Sequence(0),
            backlog_bytes: None,
            dropped: None,
            opens,
            agent: None,
            every_ms: None,
            told: None,
            at: Nanos(1),
        };
        let value = facts.to_json();
        sealed(&key, Stream::Heartbeat, (epoch, 1), [0; 32], &value)
    };
    let opens = |acknowledged, state_lost| {
        Some(Opens {
            previous: Some(Epoch(5)),
            acknowledged,
            state_lost,
        })
    };
    let record = |epoch| sealed(&key, Stream::Record, (epoch, 1), [0; 32], b"{}");
    send(&mut door, state.id, &heartbeat(5, None));
    send(&mut door, state.id, &record(5));
    send(
        &mut door,
        state.id,
        &heartbeat(6, opens(Some(Sequence(1)), false)),
    );
    send(&mut door, state.id, &heartbeat(7, opens(None, true)));
    // A record that comes first says nothing of the life before, and neither does this heartbeat.
    send(&mut door, state.id, &record(8));
    send(&mut door, state.id, &heartbeat(9, None));
    let mut opened = Vec::new();
    let reader = log.reader();
    let mut visit = |stored: crate::StoredEntry| {
        if stored.entry.kind == Kind::EPOCH {
            let facts = EpochOpened::parse(stored.parts[0].bytes().unwrap()).unwrap();
            let acknowledged = facts.acknowledged.map(|number| number.0);
            opened.push((facts.epoch.0, acknowledged, facts.state_lost));
        }
        std::ops::ControlFlow::Continue(())
    };
    reader
        .scan(ledger_core::Index(0), reader.size(), &mut visit)
        .unwrap();
    let expected = [
        (6, Some(1), false),
        (7, None, true),
        (8, None, false),
        (9, None, false),
    ];
    assert_eq!(opened, expected);
}
