//! Claims of agents: a log that was restored from an older copy stops until an operator accepts the
//! loss; an agent that lies, or whose clock is wrong, harms nobody but itself.
//!
//! Not here: judging one claim (`receipt`), the rule (`rule`).

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use keys_secret::SecretKey32;
use ledger_core::message::Message;
use ledger_core::state::{SourceState, Stream};
use ledger_core::{Epoch, Hash, Index, Kind, Nanos, Sequence, SourceId, TreeSize};
use ledger_event::facts::{
    Conflict, ConflictReason, Facts as _, Heartbeat, Lost, LostCheckpoint, LostProof, LostReceipt,
    Recovery as RecoveryFacts, Told,
};

use crate::agent_tests::{WAIT, keyed, open, paths, sealed, send};
use crate::{
    Batch, Door as _, DoorError, InProcessDoor, Log, LogOptions, OpenError, Outcome, StoredEntry,
    create_log,
};

/// An agent with its chains.
struct Agent {
    state: SourceState,
    key: SecretKey32,
    epoch: u32,
    records: Vec<Message>,
    beats: Vec<Message>,
}

impl Agent {
    fn new(root: &Path, door: &mut InProcessDoor) -> Agent {
        let (state, key) = keyed(root, door);
        Agent {
            state,
            key,
            epoch: 5,
            records: Vec::new(),
            beats: Vec::new(),
        }
    }

    fn record(&mut self) -> Message {
        let prev = self.records.last().map_or([0; 32], |last| last.mac);
        let number = (self.epoch, self.records.len() as u64 + 1);
        let message = sealed(&self.key, Stream::Record, number, prev, b"{}");
        self.records.push(message.clone());
        message
    }

    fn beat(&mut self, acknowledged: u64, told: Option<Told>) -> Message {
        let facts = Heartbeat {
            source: self.state.id,
            epoch: Epoch(self.epoch),
            bound: Sequence(self.records.len() as u64),
            acknowledged: Sequence(acknowledged),
            backlog_bytes: None,
            dropped: None,
            opens: None,
            agent: None,
            every_ms: None,
            told,
            at: Nanos(1),
        };
        let prev = self.beats.last().map_or([0; 32], |last| last.mac);
        let number = (self.epoch, self.beats.len() as u64 + 1);
        let value = facts.to_json();
        let message = sealed(&self.key, Stream::Heartbeat, number, prev, &value);
        self.beats.push(message.clone());
        message
    }

    /// Sends a record and returns what the log said of it when it was published.
    fn told(&mut self, door: &mut InProcessDoor) -> Told {
        let record = self.record();
        let (outcome, size) = send(door, self.state.id, &record);
        assert!(matches!(outcome, Outcome::Appended(_)), "{outcome:?}");
        door.wait_published(size).unwrap();
        let found = door.acknowledged(self.state.id, None, WAIT).unwrap();
        found.told().unwrap()
    }
}

fn all(log: &Log, kind: Kind) -> Vec<StoredEntry> {
    let reader = log.reader();
    let mut found = Vec::new();
    let mut visit = |stored: StoredEntry| {
        found.extend((stored.entry.kind == kind).then_some(stored));
        ControlFlow::Continue(())
    };
    reader.scan(Index(0), reader.size(), &mut visit).unwrap();
    found
}

fn reasons(log: &Log) -> Vec<ConflictReason> {
    let reason = |stored: &StoredEntry| {
        Conflict::parse(stored.parts[0].bytes().unwrap())
            .unwrap()
            .reason
    };
    all(log, Kind::CONFLICT).iter().map(reason).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let to = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &to);
        } else {
            std::fs::copy(item.path(), to).unwrap();
        }
    }
}

fn accepting(root: &Path) -> Result<Log, OpenError> {
    let options = LogOptions {
        checkpoint_every: Duration::from_millis(20),
        accept_restored: true,
        ..LogOptions::default()
    };
    Log::open(&paths(root), &options).map(|(log, _)| log)
}

fn submit(door: &mut InProcessDoor, source: SourceId, message: &Message) -> DoorError {
    let batch = Batch {
        source,
        messages: vec![message.clone()],
        positions: Vec::new(),
    };
    door.append(batch).unwrap_err()
}

#[test]
fn a_log_that_lacks_what_it_acknowledged_stops_until_an_operator_accepts_it() {
    let base = tempfile::tempdir().unwrap();
    let (root, backup) = (base.path().join("log"), base.path().join("copy"));
    create_log(&paths(&root)).unwrap();
    let log = open(&root);
    let mut door = log.door();
    let mut agent = Agent::new(&root, &mut door);
    let id = agent.state.id;
    let early = agent.told(&mut door);
    // What the log holds stops nothing.
    let beat = agent.beat(1, Some(early));
    assert!(matches!(send(&mut door, id, &beat).0, Outcome::Appended(_)));
    log.close().unwrap();
    copy(&root, &backup);

    let log = open(&root);
    let mut door = log.door();
    let told = agent.told(&mut door);
    assert_eq!(told.sequence, Sequence(2));
    log.close().unwrap();

    // The older copy goes on, and is soon as long as the log that is lost.
    std::fs::remove_dir_all(&root).unwrap();
    copy(&backup, &root);
    let log = open(&root);
    let mut door = log.door();
    let mut grown = TreeSize(0);
    agent.records.clear();
    agent.epoch = 6;
    while grown <= told.size {
        let record = agent.record();
        grown = send(&mut door, id, &record).1;
    }
    let beat_of_life = agent.beats.clone();
    agent.beats.clear();
    let before = log.status().size;
    // An epoch that is over says nothing: only the size could.
    let harmless = agent.beat(0, Some(told.clone()));
    assert!(matches!(
        send(&mut door, id, &harmless).0,
        Outcome::Appended(_)
    ));
    assert_eq!(log.status().size, before + 1);
    log.close().unwrap();

    std::fs::remove_dir_all(&root).unwrap();
    copy(&backup, &root);
    let log = open(&root);
    let mut door = log.door();
    (agent.epoch, agent.beats) = (5, beat_of_life);
    let beat = agent.beat(2, Some(told.clone()));
    let stopped = submit(&mut door, id, &beat);
    let DoorError::Stopped { reason } = &stopped else {
        panic!("{stopped:?}");
    };
    assert!(reason.contains("--accept-restored"), "{reason}");
    assert_eq!(all(&log, Kind::HEARTBEAT).len(), 1, "nothing was appended");
    assert!(log.close().is_err());
    let refused = Log::open(&paths(&root), &LogOptions::default()).map(|_| ());
    assert!(
        matches!(refused, Err(OpenError::Restored { .. })),
        "{refused:?}"
    );

    let log = accepting(&root).unwrap();
    let mut door = log.door();
    assert!(matches!(send(&mut door, id, &beat).0, Outcome::Appended(_)));
    let recovery = all(&log, Kind::RECOVERY);
    let facts = recovery.last().unwrap().parts[0].bytes().unwrap().to_vec();
    let lost = RecoveryFacts::parse(&facts).unwrap().lost.unwrap();
    let LostProof::Receipt(shown) = lost.proof else {
        panic!("{lost:?}");
    };
    assert_eq!((shown.acknowledged.0, shown.held.0), (2, 1));
    assert_eq!(lost.published, told.size);
    log.close().unwrap();

    // Accepted once, it is accepted for every receipt of the life that is lost.
    let log = open(&root);
    let mut door = log.door();
    let beat = agent.beat(2, Some(told));
    assert!(matches!(send(&mut door, id, &beat).0, Outcome::Appended(_)));
    // One of the new life is believed again.
    agent.records.truncate(0);
    agent.epoch = 7;
    agent.beats.clear();
    let new = agent.told(&mut door);
    log.close().unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    copy(&backup, &root);
    let log = open(&root);
    let beat = agent.beat(0, Some(new));
    // Whoever waits behind it is told as well.
    let batch = |messages| Batch {
        source: id,
        messages,
        positions: Vec::new(),
    };
    let behind = (0..20).map(|_| batch(Vec::new()));
    let tickets = std::iter::once(batch(vec![beat]))
        .chain(behind)
        .map_while(|batch| log.door().submit(batch).ok());
    let tickets: Vec<_> = tickets.collect();
    for ticket in tickets {
        let stopped = ticket.wait().unwrap_err();
        assert!(matches!(stopped, DoorError::Stopped { .. }), "{stopped}");
    }
}

#[test]
fn a_checkpoint_that_the_log_lacks_stops_it_until_an_operator_accepts_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    create_log(&paths(root)).unwrap();
    let log = open(root);
    let mut door = log.door();
    let mut agent = Agent::new(root, &mut door);
    agent.told(&mut door);
    let size = log.status().size;
    assert_eq!(door.forgiven(), Nanos(0));
    let later = Nanos(crate::clock::system()().wall.0 + 3_600_000_000_000);
    let lost = Lost {
        published: TreeSize(100),
        size: TreeSize(size),
        proof: LostProof::Checkpoint(LostCheckpoint {
            root: Hash([7; 32]),
            signed: later,
        }),
    };
    let stopped = door.restored(lost, "the topic acks").to_string();
    for word in [
        "the topic acks",
        "100",
        &size.to_string(),
        "--accept-restored",
    ] {
        assert!(stopped.contains(word), "{word}: {stopped}");
    }
    // Whoever comes later hears the same, and nothing more is signed.
    let record = agent.record();
    assert!(matches!(
        submit(&mut door, agent.state.id, &record),
        DoorError::Stopped { .. }
    ));
    assert_eq!(log.status().size, size);
    assert!(log.close().is_err());
    let refused = Log::open(&paths(root), &LogOptions::default()).map(|_| ());
    let error = refused.unwrap_err();
    assert!(matches!(error, OpenError::Restored { .. }), "{error}");
    for word in ["100", &size.to_string(), "--accept-restored"] {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }

    let log = accepting(root).unwrap();
    let mut door = log.door();
    let (outcome, size) = send(&mut door, agent.state.id, &record);
    assert!(matches!(outcome, Outcome::Appended(_)));
    door.wait_published(size).unwrap();
    let recovery = all(&log, Kind::RECOVERY);
    let facts = recovery.last().unwrap().parts[0].bytes().unwrap().to_vec();
    assert_eq!(RecoveryFacts::parse(&facts).unwrap().lost, Some(lost));
    // A clock that was ahead when it was signed does not stop the log again.
    assert_eq!(door.forgiven(), later);
    let covered = door.coverage(None, WAIT).unwrap().unwrap();
    assert_eq!(covered.restored(), later);
    log.close().unwrap();
    let log = open(root);
    assert_eq!(log.door().forgiven(), later);
    drop((door, log));

    // Nor does it when a receipt was said; and the time never goes back.
    let latest = Nanos(later.0 + 3_600_000_000_000);
    for (at, expected) in [(latest, latest), (Nanos(1), latest)] {
        let log = open(root);
        let proof = LostProof::Receipt(LostReceipt {
            source: agent.state.id,
            epoch: Epoch(5),
            acknowledged: Sequence(9),
            held: Sequence(1),
            at,
        });
        log.door().restored(Lost { proof, ..lost }, "a receipt");
        assert!(log.close().is_err());
        let log = accepting(root).unwrap();
        assert_eq!(log.door().forgiven(), expected);
        log.close().unwrap();
    }
}

#[test]
fn an_agent_that_lies_stops_nobody_but_itself() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let mut agent = Agent::new(root.path(), &mut door);
    let id = agent.state.id;
    let told = agent.told(&mut door);
    let mut lie = told.clone();
    lie.sequence = Sequence(1_000_000);
    lie.size = TreeSize(u64::MAX);
    for (acknowledged, told) in [(1_000_000, None), (0, Some(lie))] {
        let beat = agent.beat(acknowledged, told);
        let (outcome, _) = send(&mut door, id, &beat);
        assert!(matches!(outcome, Outcome::Conflict(_)), "{outcome:?}");
        agent.beats.pop();
    }
    assert_eq!(reasons(&log), [ConflictReason::AcknowledgedAhead; 2]);
    // It moved nothing, and the truth is taken.
    let beat = agent.beat(1, Some(told));
    assert!(matches!(send(&mut door, id, &beat).0, Outcome::Appended(_)));
    assert_eq!(log.status().stopped, None);
    log.close().unwrap();
}

#[test]
fn an_epoch_far_in_the_future_does_not_lock_its_source() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let mut agent = Agent::new(root.path(), &mut door);
    let id = agent.state.id;
    let now = u32::try_from(crate::clock::system()().wall.0 / 1_000_000_000).unwrap();
    for epoch in [u32::MAX, now + 90_000] {
        agent.epoch = epoch;
        let (record, beat) = (agent.record(), agent.beat(0, None));
        for message in [record, beat] {
            let (outcome, _) = send(&mut door, id, &message);
            assert!(matches!(outcome, Outcome::Conflict(_)), "{outcome:?}");
        }
        agent.records.clear();
        agent.beats.clear();
    }
    assert_eq!(reasons(&log), [ConflictReason::EpochInFuture; 4]);
    assert_eq!(log.status().sources[0].epoch, 0);
    for epoch in [now, now + 80_000] {
        agent.epoch = epoch;
        let record = agent.record();
        let (outcome, _) = send(&mut door, id, &record);
        assert!(matches!(outcome, Outcome::Appended(_)), "{outcome:?}");
        agent.records.clear();
    }
    log.close().unwrap();
}

#[test]
fn the_logs_own_positions_are_written_by_nobody_else() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let (state, _) = keyed(root.path(), &mut door);
    let with = |key: &str| Batch {
        source: state.id,
        messages: Vec::new(),
        positions: vec![ledger_core::state::Position {
            key: key.to_owned(),
            value: i64::MAX.to_be_bytes().to_vec(),
        }],
    };
    let refused = door.append(with("custody:restored"));
    assert!(matches!(refused, Err(DoorError::BadPosition { .. })));
    assert!(door.append(with("file:restored")).is_ok());
    log.close().unwrap();
}
