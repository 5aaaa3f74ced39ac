//! The log as a whole, in one process: what is appended is read back, every place of the rule
//! becomes its entry, an interruption loses nothing that was acknowledged.

use std::path::Path;
use std::time::Duration;

use keys_public::{Note, TrustFile};
use keys_secret::Keystore;
use ledger_core::message::{MESSAGE_LABEL, Message};
use ledger_core::state::{Position, ShortMac, SourceState, Stream};
use ledger_core::{
    Epoch, Flags, Index, Kind, Nanos, Sequence, TreeSize, verify_consistency, verify_inclusion,
};
use ledger_event::Event;

use crate::door::{Batch, Door as _, DoorError, InProcessDoor, Outcome, SourceSpec};
use crate::{Log, LogOptions, LogPaths, OpenError, Reader, create_log, rebuild};

pub(crate) fn event(number: u64, statement: &str) -> Vec<u8> {
    let mut event = Event::default();
    event.classify(6005, 1);
    event.set_time(Nanos(
        1_790_000_000_000_000_000 + i64::try_from(number).unwrap(),
    ));
    event.severity_id = Some(1);
    event.status_id = Some(1);
    event.metadata.version = Some("1.8.0".into());
    event.metadata.product.name = Some("PostgreSQL".into());
    event.actor.user.name = Some("dba_root".to_owned().into());
    event.query_info.query_string = Some(statement.to_owned().into());
    event.to_json()
}

pub(crate) fn paths(root: &Path) -> LogPaths {
    LogPaths::new(root, "example.org", "main", "2026").unwrap()
}

pub(crate) fn options() -> LogOptions {
    LogOptions {
        checkpoint_every: Duration::from_millis(20),
        ..LogOptions::default()
    }
}

pub(crate) fn open(root: &Path) -> Log {
    Log::open(&paths(root), &options()).unwrap().0
}

pub(crate) fn message(number: u64, epoch: u32, statement: &str) -> Message {
    Message {
        stream: Stream::Record,
        epoch: Epoch(epoch),
        sequence: Sequence(number),
        prev: [0; 32],
        mac: [0; 32],
        flags: Flags::NONE,
        value: event(number, statement),
    }
}

pub(crate) fn register(door: &mut InProcessDoor) -> SourceState {
    let spec = SourceSpec {
        name: "pg".to_owned(),
        platform: "postgresql".to_owned(),
    };
    door.register(&spec).unwrap()
}

pub(crate) fn batch(source: &SourceState, messages: Vec<Message>) -> Batch {
    Batch {
        source: source.id,
        messages,
        positions: Vec::new(),
    }
}

pub(crate) fn kinds(reader: &Reader) -> Vec<String> {
    let entries = reader.next(Index(0), 1000, Duration::ZERO).unwrap();
    let name = |kind: Kind| kind.name().unwrap().to_owned();
    entries
        .iter()
        .map(|stored| name(stored.entry.kind))
        .collect()
}

#[test]
fn what_is_appended_is_read_back_and_proved() {
    let root = tempfile::tempdir().unwrap();
    let created = create_log(&paths(root.path())).unwrap();
    assert_eq!(created.checkpoint.size, TreeSize(1));
    assert!(create_log(&paths(root.path())).is_err());
    let log = open(root.path());
    let mut door = log.door();
    let source = register(&mut door);
    let messages = (1..=700)
        .map(|n| message(n, 5, &format!("SELECT {n}")))
        .collect();
    let mut sent = batch(&source, messages);
    sent.positions = vec![Position {
        key: "file:pg".to_owned(),
        value: b"here".to_vec(),
    }];
    let appended = door.append(sent.clone()).unwrap();
    assert_eq!(appended.outcomes[0], Outcome::Appended(Index(2)));
    assert_eq!(appended.size, TreeSize(702));
    let published = door.wait_published(appended.size).unwrap();
    assert_eq!(published, TreeSize(702));
    let reader = log.reader();
    check_proofs(root.path(), &reader, &created);
    // The same again: nothing is appended.
    let again = door.append(sent).unwrap();
    assert!(
        again
            .outcomes
            .iter()
            .all(|outcome| *outcome == Outcome::Repeat)
    );
    assert_eq!(again.size, TreeSize(702));
    assert_eq!(log.status().repeats, 700);
    log.close().unwrap();
    let waited = door.wait_published(TreeSize(703));
    assert!(
        matches!(waited, Err(DoorError::Stopped { .. })),
        "{waited:?}"
    );
    let offline = Reader::open(&paths(root.path())).unwrap();
    assert_eq!(offline.size(), TreeSize(702));
    check_proofs(root.path(), &offline, &created);
    let mut door = open(root.path()).door();
    assert!(matches!(
        door.append(batch(&source, vec![])),
        Err(DoorError::Stopped { .. })
    ));
    let log = open(root.path());
    let known = log
        .door()
        .positions(&["file:pg".to_owned(), "none".to_owned()])
        .unwrap();
    assert_eq!(known[0].as_ref().unwrap().value, b"here");
    assert_eq!(known[1], None);
}

fn check_proofs(root: &Path, reader: &Reader, created: &crate::Created) {
    let text = std::fs::read_to_string(paths(root).trust()).unwrap();
    let trust = TrustFile::parse(&text).unwrap();
    assert_eq!(trust.fingerprint(), created.trust_fingerprint);
    let (checkpoint, note) = reader.published().unwrap();
    let verified = trust.verify(&Note::parse(&note).unwrap()).unwrap();
    assert_eq!(*verified.checkpoint(), checkpoint);
    for index in [0, 1, 2, 255, 256, 701] {
        let stored = reader.entry(Index(index)).unwrap();
        let proof = reader.inclusion(Index(index), checkpoint.size).unwrap();
        let leaf = stored.entry.leaf();
        let root = &checkpoint.root;
        verify_inclusion(Index(index), checkpoint.size, &leaf, &proof, root).unwrap();
    }
    let stored = reader.entry(Index(2)).unwrap();
    let [facts, who, text] = &stored.parts;
    let event = Event::merge(facts.bytes(), who.bytes(), text.bytes()).unwrap();
    assert_eq!(
        event.query_info.query_string.as_ref().unwrap().as_str(),
        "SELECT 1"
    );
    assert_eq!(event.actor.user.name.as_ref().unwrap().as_str(), "dba_root");
    assert_eq!(event.actor.user.uid.as_ref().unwrap().as_str().len(), 32);
    assert!(!String::from_utf8_lossy(facts.bytes().unwrap()).contains("dba_root"));
    let proof = reader
        .consistency(created.checkpoint.size, checkpoint.size)
        .unwrap();
    let (old, new) = (&created.checkpoint, &checkpoint);
    verify_consistency(old.size, new.size, &proof, &old.root, &new.root).unwrap();
    assert!(reader.entry(Index(702)).is_err());
}

#[test]
fn every_place_of_the_rule_becomes_its_entry() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let spec = SourceSpec {
        name: "pg".to_owned(),
        platform: "postgresql".to_owned(),
    };
    let source = door.register_keyed(&spec).unwrap();
    let key = Keystore::open(&paths(root.path()).keys())
        .unwrap()
        .source_key(source.id)
        .unwrap();
    let mut chain: Vec<Message> = Vec::new();
    for n in 1..=6 {
        let mut message = message(n, 5, &format!("SELECT {n}"));
        message.prev = chain.last().map_or([0; 32], |before| before.mac);
        message.mac = key.hmac(MESSAGE_LABEL, &[&message.mac_input()]);
        chain.push(message);
    }
    let mut send = |message: &Message| {
        let appended = door.append(batch(&source, vec![message.clone()])).unwrap();
        appended.outcomes[0]
    };
    assert_eq!(send(&chain[0]), Outcome::Appended(Index(2)));
    assert_eq!(send(&chain[3]), Outcome::Appended(Index(4)));
    let mut forged = chain[1].clone();
    forged.value = event(2, "SELECT 'forged'");
    assert_eq!(send(&forged), Outcome::Forged(Index(5)));
    assert_eq!(send(&chain[1]), Outcome::Late(Index(6)));
    assert_eq!(send(&chain[2]), Outcome::Late(Index(7)));
    assert_eq!(send(&chain[3]), Outcome::Repeat);
    let mut other = chain[3].clone();
    other.value = event(4, "SELECT 'other'");
    other.mac = key.hmac(MESSAGE_LABEL, &[&other.mac_input()]);
    assert_eq!(send(&other), Outcome::Conflict(Index(9)));
    let mut broken = chain[4].clone();
    broken.prev = [9; 32];
    broken.mac = key.hmac(MESSAGE_LABEL, &[&broken.mac_input()]);
    assert_eq!(send(&broken), Outcome::Conflict(Index(10)));
    let mut next_life = message(1, 6, "SELECT 'again'");
    next_life.mac = key.hmac(MESSAGE_LABEL, &[&next_life.mac_input()]);
    assert_eq!(send(&next_life), Outcome::Appended(Index(12)));
    assert_eq!(send(&chain[5]), Outcome::Conflict(Index(13)));
    assert_eq!(send(&chain[0]), Outcome::Repeat);
    let expected = [
        "opened", "source", "event", "gap", "event", "forged", "event", "event", "gap", "conflict",
        "conflict", "epoch", "event", "conflict",
    ];
    assert_eq!(kinds(&log.reader()), expected);
    assert_eq!(
        log.reader().entry(Index(6)).unwrap().entry.flags,
        Flags::LATE
    );
}

#[test]
fn a_value_that_is_no_event_is_kept_masked_and_takes_its_number() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let source = register(&mut door);
    let mut bad = message(1, 5, "");
    bad.value = b"not JSON \xff PASSWORD 'hunter2' 4111111111111111".to_vec();
    let raw_value = bad.value.clone();
    let sent = batch(
        &source,
        vec![bad, message(2, 5, "SELECT '4111 1111 1111 1111'")],
    );
    let appended = door.append(sent).unwrap();
    assert_eq!(appended.outcomes[0], Outcome::Appended(Index(2)));
    let stored = log.reader().entry(Index(2)).unwrap();
    assert!(
        stored
            .entry
            .flags
            .contains(Flags::UNPARSED.with(Flags::MASKED))
    );
    let text = String::from_utf8(stored.parts[2].bytes().unwrap().to_vec()).unwrap();
    assert!(
        !text.contains("hunter2") && !text.contains("411111111111"),
        "{text}"
    );
    assert!(text.contains("not JSON \\\\xff"), "{text}");
    // No digest of what was masked: the digest is that of the masked text.
    let raw = ledger_core::Hash::sha256(&raw_value);
    assert_ne!(stored.mac, ShortMac::of(&raw.0));
    let masked = log.reader().entry(Index(3)).unwrap();
    let raw = ledger_core::Hash::sha256(&event(2, "SELECT '4111 1111 1111 1111'"));
    assert_ne!(masked.mac, ShortMac::of(&raw.0));
    assert!(masked.entry.flags.contains(Flags::DOOR_MASKED));
    let text = String::from_utf8(masked.parts[2].bytes().unwrap().to_vec()).unwrap();
    assert!(
        !text.contains("4111 1111") && text.contains("1111"),
        "{text}"
    );
}

#[test]
fn a_copy_taken_under_load_is_recovered_with_all_that_was_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let source = register(&mut door);
    for n in 0..20u64 {
        let messages = (1..=30)
            .map(|k| message(30 * n + k, 5, "SELECT 1"))
            .collect();
        door.append(batch(&source, messages)).unwrap();
    }
    // No file is renamed while it is copied.
    door.wait_published(TreeSize(602)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    // As a kill -9 would leave it: grown files, an unfinished segment.
    copy_tree(root.path(), copy.path());
    log.close().unwrap();
    let (log, recovered) = Log::open(&paths(copy.path()), &options()).unwrap();
    assert!(recovered.unclean);
    assert_eq!((recovered.size, recovered.bytes_dropped), (602, 0));
    assert_eq!(
        log.reader().entry(Index(601)).unwrap().entry.sequence,
        Sequence(600)
    );
    let mut door = log.door();
    let again = door
        .append(batch(&source, vec![message(600, 5, "SELECT 1")]))
        .unwrap();
    assert_eq!(again.outcomes, [Outcome::Repeat]);
    let next = door
        .append(batch(&source, vec![message(601, 5, "SELECT 1")]))
        .unwrap();
    assert_eq!(next.outcomes, [Outcome::Appended(Index(603))]);
    log.close().unwrap();
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_tree(&file.path(), &target);
        } else {
            std::fs::copy(file.path(), &target).unwrap();
        }
    }
    let mode = std::fs::metadata(from).unwrap().permissions();
    std::fs::set_permissions(to, mode).unwrap();
}

#[test]
fn segments_rotate_and_old_repeats_are_found_in_them() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let small = LogOptions {
        segment_entries_max: 3000,
        ..options()
    };
    let log = Log::open(&paths(root.path()), &small).unwrap().0;
    let mut door = log.door();
    let source = register(&mut door);
    for n in 0..12u64 {
        let messages = (1..=1000)
            .map(|k| message(1000 * n + k, 5, "SELECT 1"))
            .collect();
        door.append(batch(&source, messages)).unwrap();
    }
    let old = door
        .append(batch(&source, vec![message(2500, 5, "SELECT 1")]))
        .unwrap();
    assert_eq!(old.outcomes, [Outcome::Repeat]);
    let other = door
        .append(batch(&source, vec![message(2500, 5, "SELECT 2")]))
        .unwrap();
    assert_eq!(other.outcomes, [Outcome::Conflict(Index(12_002))]);
    let names = std::fs::read_dir(paths(root.path()).folder()).unwrap();
    let entries = names.filter(|file| {
        file.as_ref()
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .ends_with(".entries")
    });
    assert_eq!(entries.count(), 6);
    let (checkpoint, _) = log.reader().published().unwrap();
    log.close().unwrap();
    let offline = Reader::open(&paths(root.path())).unwrap();
    let mut seen = 0;
    offline
        .scan(Index(0), offline.size(), &mut |stored| {
            assert_eq!(stored.index, Index(seen));
            seen += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 12_003);
    assert!(checkpoint.size.0 <= seen);
    let before = all_hashes(root.path());
    let rebuilt = rebuild(&paths(root.path()), &mut |_| ()).unwrap();
    assert_eq!(rebuilt.entries, 12_003);
    assert_eq!(all_hashes(root.path()), before);
}

fn all_hashes(root: &Path) -> Vec<(String, Vec<u8>)> {
    let folder = paths(root).folder().join("hashes");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            let name = file.file_name().to_str().unwrap().to_owned();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_second_writer_is_refused_while_the_first_lives() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let second = Log::open(&paths(root.path()), &options());
    assert!(matches!(second, Err(OpenError::Held { .. })));
    log.close().unwrap();
    open(root.path()).close().unwrap();
}

#[test]
fn a_checkpoint_that_a_proof_leads_to_is_kept_for_ever_and_another_is_not() {
    use ledger_core::history::{Keep, records};
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = Log::open(&paths(root.path()), &options()).unwrap().0;
    let mut door = log.door();
    let source = register(&mut door);
    let publish = |door: &mut InProcessDoor, number: u64| {
        let sent = batch(&source, vec![message(number, 5, "SELECT 1")]);
        let size = door.append(sent).unwrap().size;
        door.wait_published(size).unwrap();
    };
    publish(&mut door, 1);
    let (_, looked_at) = log.reader().published().unwrap();
    publish(&mut door, 2);
    let (_, proved) = log.reader().published_for_proof().unwrap();
    publish(&mut door, 3);
    // While nothing new comes, too.
    let (_, last) = log.reader().published_for_proof().unwrap();
    let kept = || {
        let bytes = std::fs::read(paths(root.path()).file("checkpoints")).unwrap();
        let of = |note: &[u8]| {
            let mut all = records(&bytes).unwrap().flatten();
            let found = all.find(|(_, record)| record.note == note);
            found.is_some_and(|(_, record)| record.keep.contains(Keep::PROOF))
        };
        (of(&looked_at), of(&proved), of(&last))
    };
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while kept() != (false, true, true) {
        assert!(std::time::Instant::now() < until, "{:?}", kept());
        std::thread::sleep(Duration::from_millis(10));
    }
    log.close().unwrap();
    assert_eq!(kept(), (false, true, true));
    let log = Log::open(&paths(root.path()), &options()).unwrap().0;
    assert_eq!(kept(), (false, true, true));
    log.close().unwrap();
}

#[test]
fn a_repeat_of_what_is_not_durable_yet_is_a_repeat() {
    let folder = tempfile::tempdir().unwrap();
    create_log(&paths(folder.path())).unwrap();
    let options = LogOptions {
        batch_entries_max: 16_384,
        ..options()
    };
    let (log, _) = Log::open(&paths(folder.path()), &options).unwrap();
    let mut door = log.door();
    let spec = SourceSpec {
        name: "a".to_owned(),
        platform: "postgresql".to_owned(),
    };
    let source = door.register(&spec).unwrap().id;
    let batch = |number: u64| {
        let message = |at: u64| Message {
            stream: Stream::Record,
            epoch: Epoch(1),
            sequence: Sequence(8192 * number + at),
            prev: [0; 32],
            mac: [0; 32],
            flags: Flags::NONE,
            value: b"{}".to_vec(),
        };
        let messages = (1..=8192).map(message).collect();
        let positions = Vec::new();
        Batch {
            source,
            messages,
            positions,
        }
    };
    // More is on its way than is remembered, and then it comes again.
    let tickets = (0..6).chain(0..6).map(|n| door.submit(batch(n)).unwrap());
    let tickets: Vec<_> = tickets.collect();
    for (at, ticket) in tickets.into_iter().enumerate() {
        let outcomes = ticket.wait().unwrap().outcomes;
        let repeats = outcomes.iter().filter(|one| **one == Outcome::Repeat);
        assert_eq!(repeats.count(), if at < 6 { 0 } else { 8192 }, "batch {at}");
    }
    assert_eq!(log.status().conflicts, 0);
}
