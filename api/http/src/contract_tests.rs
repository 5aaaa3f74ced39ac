//! The contracts of `Door` and `Reads`: one test each, passed by the log's own process and by the
//! socket alike.

use std::ops::ControlFlow;

use ledger_core::message::VALUE_MAX;
use ledger_core::proof_file::ProofFile;
use ledger_core::state::{Position, Stream};
use ledger_core::{Checkpoint, Entry, Index, Nanos, SourceId, TreeSize, verify_inclusion};
use ledger_log::door::BATCH_MESSAGES_MAX;
use ledger_log::{Appended, Batch, Door, DoorError, Outcome, Reader, SourceSpec};

use crate::fixture_tests::{EVENT_TIME, Fixture, event, message, register};
use crate::{Ask, DirectReads, Reads, ReadsError, SocketDoor, SocketReads, Tail};

fn batch(source: SourceId, messages: Vec<ledger_core::message::Message>) -> Batch {
    Batch {
        source,
        messages,
        positions: Vec::new(),
    }
}

/// Everything the door refuses, with a twin that it takes.
fn refusals(door: &mut dyn Door, name: &str) {
    let source = register(door, name).unwrap();
    let spec = |name: &str, platform: &str| SourceSpec {
        name: name.to_owned(),
        platform: platform.to_owned(),
    };
    let long = "n".repeat(65);
    for (spec, what) in [(spec("", "p"), "the name"), (spec(&long, "p"), "the name")] {
        let error = door.register(&spec).unwrap_err();
        assert!(matches!(error, DoorError::BadName { what: found, .. } if found == what));
    }
    let error = door.register(&spec(name, "no platform")).unwrap_err();
    assert!(
        matches!(
            error,
            DoorError::BadName {
                what: "the platform",
                ..
            }
        ),
        "{error}"
    );
    let error = door.register(&spec(name, "mysql")).unwrap_err();
    assert_eq!(
        error,
        DoorError::OtherPlatform {
            name: name.to_owned(),
            registered: "postgresql".to_owned(),
            asked: "mysql".to_owned(),
        }
    );

    let good = || message(1, &event("alice", "GRANT"));
    let mut refused = |batch: Batch| door.append(batch).unwrap_err();
    let unknown = SourceId(999);
    let error = refused(batch(unknown, vec![good()]));
    assert_eq!(error, DoorError::UnknownSource { source_id: unknown });
    let mut long = good();
    long.value = vec![b' '; VALUE_MAX + 1];
    let error = refused(batch(source, vec![good(), long]));
    assert_eq!(
        error,
        DoorError::TooLarge {
            number: 1,
            len: VALUE_MAX + 1
        }
    );
    let many = vec![message(1, b""); BATCH_MESSAGES_MAX + 1];
    let count = many.len();
    let error = refused(batch(source, many));
    assert_eq!(
        error,
        DoorError::TooMany {
            count,
            max: BATCH_MESSAGES_MAX
        }
    );
    let mut snapshot = good();
    snapshot.stream = Stream::Snapshot;
    assert_eq!(
        refused(batch(source, vec![snapshot])),
        DoorError::StreamNotTaken
    );
    for (key, value) in [
        ("", 1),
        (&*"k".repeat(256), 1),
        ("k", Position::VALUE_MAX + 1),
    ] {
        let position = Position {
            key: key.to_owned(),
            value: vec![0; value],
        };
        let error = refused(Batch {
            positions: vec![position],
            ..batch(source, vec![good()])
        });
        assert!(matches!(error, DoorError::BadPosition { .. }), "{error}");
    }
    let appended = door.append(batch(source, vec![good()])).unwrap();
    assert!(
        matches!(appended.outcomes[..], [Outcome::Appended(_)]),
        "{appended:?}"
    );
}

/// What becomes of messages, and what is known afterwards.
fn outcomes(door: &mut dyn Door, name: &str) {
    let source = register(door, name).unwrap();
    assert_eq!(
        register(door, name).unwrap(),
        source,
        "registering again finds it"
    );
    let keys = [format!("file:{name}"), format!("file:{name}/none")];
    assert_eq!(door.positions(&keys).unwrap(), [None, None]);
    assert_eq!(door.positions(&[]).unwrap(), []);

    let value = event("alice", "GRANT");
    let position = Position {
        key: keys[0].clone(),
        value: vec![0, 0xff, b'\n'],
    };
    let first = Batch {
        positions: vec![position.clone()],
        ..batch(source, vec![message(1, &value), message(2, &value)])
    };
    let Appended { outcomes, size } = door.append(first.clone()).unwrap();
    let [Outcome::Appended(one), Outcome::Appended(two)] = outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert!(one < two && two.0 < size.0);
    assert_eq!(door.positions(&keys).unwrap(), [Some(position), None]);
    let again = door.append(first).unwrap();
    assert_eq!(again.outcomes, [Outcome::Repeat, Outcome::Repeat]);

    let ahead = door
        .append(batch(source, vec![message(5, &value)]))
        .unwrap();
    assert!(
        matches!(ahead.outcomes[..], [Outcome::Appended(_)]),
        "{ahead:?}"
    );
    let other = message(2, &event("mallory", "GRANT"));
    let late = door
        .append(batch(source, vec![message(3, &value), other]))
        .unwrap();
    assert!(
        matches!(late.outcomes[..], [Outcome::Late(_), Outcome::Conflict(_)]),
        "{late:?}"
    );

    let published = door.wait_published(late.size).unwrap();
    assert!(published >= late.size);
    let status = door.status().unwrap();
    assert!(status.published_size >= late.size.0);
    let found = status
        .sources
        .iter()
        .find(|found| found.name == name)
        .unwrap();
    assert_eq!((found.id, found.records), (source.0, 5));
    let empty = door.append(batch(source, Vec::new())).unwrap();
    assert_eq!(empty.outcomes, []);
}

/// A batch of more bytes than one body takes arrives whole and in order.
fn large(door: &mut dyn Door, name: &str) {
    let source = register(door, name).unwrap();
    let mut statement = event("alice", "SELECT");
    let filler = "x".repeat(400 << 10);
    let text = String::from_utf8(statement)
        .unwrap()
        .replace("SELECT \\\"", &filler);
    statement = text.into_bytes();
    let messages: Vec<_> = (1..=60).map(|number| message(number, &statement)).collect();
    assert!(messages.len() * statement.len() > collectors_bus::form::BATCH_BYTES_MAX);
    let position = Position {
        key: format!("file:{name}"),
        value: b"60".to_vec(),
    };
    let keys = [position.key.clone()];
    let whole = Batch {
        positions: vec![position.clone()],
        ..batch(source, messages)
    };
    let appended = door.append(whole).unwrap();
    let indexes = appended.outcomes.iter().map(|outcome| match outcome {
        Outcome::Appended(index) => *index,
        other => panic!("{other:?}"),
    });
    let indexes: Vec<_> = indexes.collect();
    assert_eq!(indexes.len(), 60);
    assert!(indexes.is_sorted());
    assert_eq!(door.positions(&keys).unwrap(), [Some(position)]);
}

#[test]
fn both_doors_keep_the_contract() {
    let fixture = Fixture::new(|_| ());
    let mut direct = fixture.log().door();
    let mut socket = SocketDoor::new(&fixture.paths).unwrap();
    let doors: [(&mut dyn Door, &str); 2] = [(&mut direct, "direct"), (&mut socket, "socket")];
    for (door, name) in doors {
        refusals(door, &format!("{name}/refusals"));
        outcomes(door, &format!("{name}/outcomes"));
        large(door, &format!("{name}/large"));
    }
}

#[test]
fn a_door_without_a_server_says_so() {
    let mut fixture = Fixture::new(|_| ());
    let mut door = SocketDoor::new(&fixture.paths).unwrap();
    assert!(door.status().is_ok());
    fixture.server.take().unwrap().stop();
    let error = door.status().unwrap_err();
    assert!(matches!(error, DoorError::Unreachable { .. }), "{error}");
}

#[test]
fn a_log_that_stopped_says_so_on_both_doors() {
    let mut fixture = Fixture::new(|_| ());
    let mut direct = fixture.log().door();
    let mut socket = SocketDoor::new(&fixture.paths).unwrap();
    let source = register(&mut direct, "a").unwrap();
    drop(fixture.log.take());
    let one = || batch(source, vec![message(1, &event("alice", "GRANT"))]);
    let error = direct.append(one()).unwrap_err();
    assert!(matches!(error, DoorError::Stopped { .. }), "{error}");
    assert_eq!(socket.append(one()).unwrap_err(), error);
}

const QUERIES: [&str; 8] = [
    "",
    "actor:alice",
    "actor:nobody",
    "op:grant db:cards",
    "op:\"grant\" actor:al*",
    "kind:opened kind:source",
    "kind:tick",
    "since:2026-11-25 kind:event",
];

fn ask(query: &str, limit: Option<u64>) -> Ask<'_> {
    Ask {
        query,
        now: Nanos(EVENT_TIME.0 + 3_600_000_000_000),
        limit,
    }
}

fn query(reads: &mut dyn Reads, ask: &Ask<'_>) -> (u64, Vec<String>) {
    let mut lines = Vec::new();
    let found = reads.query(ask, &mut |line| {
        lines.push(line.to_owned());
        ControlFlow::Continue(())
    });
    (found.unwrap(), lines)
}

fn tail(reads: &mut dyn Reads, ask: &Ask<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let ended = reads.tail(ask, Some(Index(0)), &mut |news| {
        if let Tail::Entry(line) = news {
            lines.push(line.to_owned());
        }
        ControlFlow::Continue(())
    });
    ended.unwrap();
    lines
}

/// What a reader says about a log of `size`, all of it published.
fn said(reads: &mut dyn Reads, size: TreeSize) -> Vec<String> {
    let mut said = Vec::new();
    let outside = [Index(size.0), Index(u64::MAX)];
    for index in outside {
        let error = reads.entry(index).unwrap_err();
        assert!(matches!(error, ReadsError::NotFound { .. }), "{error}");
        said.push(error.to_string());
        said.push(reads.proof(index).unwrap_err().to_string());
    }
    for bad in ["alice", "aktor:alice", "since:never"] {
        let error = reads
            .query(&ask(bad, None), &mut |_| panic!("matched"))
            .unwrap_err();
        assert!(matches!(error, ReadsError::Query(_)), "{error}");
        said.push(error.to_string());
        let error = reads
            .tail(&ask(bad, None), None, &mut |_| panic!("matched"))
            .unwrap_err();
        said.push(error.to_string());
    }
    for index in 0..size.0 {
        said.push(reads.entry(Index(index)).unwrap());
    }
    for text in QUERIES {
        for limit in [None, Some(0), Some(1), Some(3)] {
            let (found, lines) = query(reads, &ask(text, limit));
            assert_eq!(found, lines.len() as u64);
            assert!(limit.is_none_or(|limit| found <= limit));
            said.extend(lines);
            said.push(format!("{text} {limit:?} {found}"));
        }
    }
    said.extend(tail(reads, &ask("actor:alice", Some(4))));
    let checkpoint = reads.checkpoint().unwrap();
    said.push(String::from_utf8(checkpoint).unwrap());
    for index in [Index(0), Index(size.0 - 1)] {
        let proof = reads.proof(index).unwrap();
        check_proof(&proof.proof, &proof.payload, index);
        said.extend([proof.proof, proof.payload]);
    }
    said
}

/// A proof must hold by nothing but what is in it.
fn check_proof(proof: &str, payload: &str, index: Index) {
    let proof = ProofFile::parse(proof).unwrap();
    let body: String = proof.checkpoint.split_inclusive('\n').take(3).collect();
    let checkpoint = Checkpoint::parse(&body).unwrap();
    let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
    let digits = payload["entry"].as_str().unwrap();
    let bytes: Vec<u8> = (0..80)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let leaf = Entry::decode(&bytes).unwrap().leaf();
    assert_eq!(proof.index, index);
    verify_inclusion(
        index,
        checkpoint.size,
        &leaf,
        &proof.hashes,
        &checkpoint.root,
    )
    .unwrap();
}

#[test]
fn both_readers_and_the_files_alone_say_the_same() {
    let mut fixture = Fixture::new(|_| ());
    let size = fixture.fill(300);
    let mut direct = DirectReads::of_log(fixture.log().reader(), fixture.log().door());
    let mut socket = SocketReads::new(&fixture.paths).unwrap();
    let expected = said(&mut direct, size);
    assert_eq!(said(&mut socket, size), expected);
    let status = |reads: &mut dyn Reads| {
        let status = reads.status().unwrap();
        (
            status.origin,
            status.size,
            status.published_size,
            status.root,
            status.sources,
        )
    };
    assert_eq!(status(&mut socket), status(&mut direct));

    let mut files = DirectReads::of_files(Reader::open(&fixture.paths).unwrap());
    assert!(matches!(files.status(), Err(ReadsError::NotOpen)));
    assert_eq!(said(&mut files, size), expected);
    fixture.server.take().unwrap().stop();
    assert!(matches!(
        socket.entry(Index(0)),
        Err(ReadsError::Unreachable { .. })
    ));
}

#[test]
fn a_visitor_that_has_enough_ends_a_query_and_a_tail() {
    let fixture = Fixture::new(|_| ());
    fixture.fill(600);
    let mut direct = DirectReads::of_log(fixture.log().reader(), fixture.log().door());
    let mut socket = SocketReads::new(&fixture.paths).unwrap();
    let readers: [&mut dyn Reads; 2] = [&mut direct, &mut socket];
    for reads in readers {
        let mut seen = 0;
        let mut twice = || {
            seen += 1;
            if seen % 2 == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let found = reads
            .query(&ask("kind:event", None), &mut |_| twice())
            .unwrap();
        assert_eq!(found, 2);
        let entries = |news: Tail<'_>| match news {
            Tail::Entry(_) => twice(),
            Tail::Idle => ControlFlow::Continue(()),
        };
        reads
            .tail(&ask("", None), Some(Index(0)), &mut { entries })
            .unwrap();
        assert_eq!(seen, 4);
    }
}

#[test]
fn a_tail_goes_on_as_entries_come() {
    let fixture = Fixture::new(|_| ());
    let mut direct = DirectReads::of_log(fixture.log().reader(), fixture.log().door());
    let mut socket = SocketReads::new(&fixture.paths).unwrap();
    let readers: [(&mut dyn Reads, &str); 2] = [(&mut direct, "d"), (&mut socket, "s")];
    for (reads, name) in readers {
        let mut door = fixture.log().door();
        let source = register(&mut door, name).unwrap();
        let mut sent = 0;
        let mut heard = 0;
        // The first word may be an idle one: only then is it certain that the tail has begun.
        let mut visit = |news: Tail<'_>| {
            if let Tail::Entry(line) = news {
                assert!(line.contains("\"name\":\"tailed\""), "{line}");
                heard += 1;
            }
            if heard == 2 {
                return ControlFlow::Break(());
            }
            if heard == sent {
                sent += 1;
                let one = vec![message(sent, &event("tailed", "GRANT"))];
                door.append(batch(source, one)).unwrap();
            }
            ControlFlow::Continue(())
        };
        reads
            .tail(&ask("actor:tailed", None), None, &mut visit)
            .unwrap();
        assert_eq!(heard, 2);
    }
}
