//! What becomes of agents: killed, restored from a copy, cloned, robbed of their state, overtaken on
//! the way. Nothing is lost, the log notes what happened, and a run without it notes nothing.
//!
//! Not here: disks that fail (`trouble`).

use std::fs;
use std::time::Duration;

use collectors_agent::{Cursor, Journal, JournalBounds};
use collectors_bus::{AgentFile, Bus as _, HttpBus, Sent};
use ledger_core::Message;
use ledger_core::state::Stream;

use super::host::{Host, copy, rows, wait_for};

/// Records that were flagged as read again.
fn reread(host: &Host, name: &str) -> Vec<u64> {
    let held = host.held(name).into_iter();
    held.filter(|held| held.reread)
        .filter_map(|held| held.marker)
        .collect()
}

#[test]
fn killed_with_two_files_to_read() {
    let mut host = Host::new();
    for (name, is_killed) in [("killed", true), ("twin", false)] {
        host.source(name);
        host.append(name, 1..=5);
        let mut agent = host.agent(name, &[]);
        host.wait(name, 5, &agent);
        for round in 0..3 {
            let first = 6 + round * 10;
            // It sees nothing of what happens now before it is killed.
            agent.signal("STOP");
            host.append(name, first..=first + 4);
            host.rotate(name);
            host.append(name, first + 5..=first + 9);
            if is_killed {
                agent.kill();
                agent = host.agent(name, &[]);
            } else {
                agent.signal("CONT");
            }
            host.wait(name, first + 9, &agent);
        }
        agent.stop();
        host.holds_in_order(name, 1..=35);
        assert_eq!(host.notices(name), [] as [&str; 0]);
    }
    assert_eq!(host.steps(), "[]");
    host.close();
    host.room.verify(&[]).ended(0);
}

#[test]
fn restored_from_a_copy() {
    let mut host = Host::new();
    for (name, is_restored) in [("restored", true), ("twin", false)] {
        host.source(name);
        host.append(name, 1..=10);
        let agent = host.agent(name, &[]);
        host.wait(name, 10, &agent);
        agent.kill();
        let (state, saved) = (host.state(name, "state"), host.state(name, "saved"));
        copy(&state, &saved);
        let agent = host.agent(name, &[]);
        host.append(name, 11..=20);
        host.wait(name, 20, &agent);
        agent.kill();
        if is_restored {
            fs::remove_dir_all(&state).expect("no state");
            copy(&saved, &state);
        }
        host.append(name, 21..=22);
        let agent = host.agent(name, &[]);
        wait_for("the last record", &agent, || {
            host.markers(name).contains(&22)
        });
        agent.stop();
        if is_restored {
            // Both lives are there, and what the second one read again says so.
            let all: Vec<u64> = (1..=20).chain(11..=22).collect();
            assert_eq!(host.markers(name), all);
            let again = reread(&host, name);
            assert!((11..=20).all(|n| again.contains(&n)), "{again:?}");
            let epochs = host.of_kind(name, "epoch");
            assert_eq!(epochs.len(), 1, "{epochs:?}");
            assert_eq!(epochs[0]["facts"]["acknowledged"], 20, "{epochs:?}");
            assert_ne!(epochs[0]["facts"]["state_lost"], true, "{epochs:?}");
            assert!(host.steps().contains("of restored began 1 other life:"));
            for kind in ["conflict", "gap", "forged"] {
                assert_eq!(host.of_kind(name, kind).len(), 0, "{kind}");
            }
        } else {
            host.holds_in_order(name, 1..=22);
        }
    }
    assert!(!host.steps().contains("twin"));
    host.close();
    host.room.verify(&[]).ended(0);
}

#[test]
fn cloned_and_both_go_on() {
    let mut host = Host::new();
    host.source("cloned");
    host.append("cloned", 1..=10);
    let agent = host.agent("cloned", &[]);
    host.wait("cloned", 10, &agent);
    agent.kill();
    let (state, clone) = (host.state("cloned", "state"), host.state("cloned", "clone"));
    copy(&state, &clone);
    let one = host.agent("cloned", &[]);
    // The twin: one agent alone begins no other life.
    host.append("cloned", 11..=12);
    host.wait("cloned", 12, &one);
    host.holds_in_order("cloned", 1..=12);
    let other = host.agent_with("cloned", "clone", "", &[]);
    wait_for("another life", &other, || {
        !host.of_kind("cloned", "epoch").is_empty()
    });
    let kept = || {
        let mut kept = host.markers("cloned");
        kept.sort_unstable();
        kept.dedup();
        kept
    };
    // Whichever of the two has the later life, what is written from now on is taken from it.
    for n in 13..=22 {
        host.append("cloned", n..=n);
        wait_for(&format!("record {n}"), &one, || kept().contains(&n));
    }
    assert_eq!(kept(), (1..=22).collect::<Vec<_>>());
    // What came twice is flagged, or has no place.
    let held = host.held("cloned");
    let first = held.iter().filter(|held| !held.reread && held.sequence > 0);
    assert!(first.count() >= 12);
    let said = [one.said(), other.said()].concat();
    assert!(said.contains("another life of this source"), "{said}");
    one.stop();
    other.stop();
    let epochs = host.of_kind("cloned", "epoch");
    assert!(
        epochs
            .iter()
            .all(|epoch| epoch["facts"]["state_lost"] != true)
    );
    let conflicts = host.show("cloned")["conflicts"].as_u64().expect("a count");
    let step = host.steps();
    let told = step.contains("two agents with one key");
    assert_eq!(told, conflicts > 0, "{step}");
    assert!(step.contains("of cloned began"), "{step}");
    host.close();
    host.room.verify(&[]).ended(0);
}

#[test]
fn robbed_of_its_state() {
    let mut host = Host::new();
    for (name, is_robbed) in [("robbed", true), ("twin", false)] {
        host.source(name);
        host.append(name, 1..=10);
        let agent = host.agent(name, &[]);
        host.wait(name, 10, &agent);
        host.rotate(name);
        host.append(name, 11..=15);
        host.wait(name, 15, &agent);
        agent.kill();
        if is_robbed {
            fs::remove_dir_all(host.state(name, "state")).expect("no state");
        }
        host.append(name, 16..=20);
        let agent = host.agent(name, &[]);
        wait_for("the last record", &agent, || {
            host.markers(name).contains(&20)
        });
        host.append(name, 21..=22);
        wait_for("the last record", &agent, || {
            host.markers(name).contains(&22)
        });
        agent.stop();
        if is_robbed {
            let all: Vec<u64> = (1..=15).chain(1..=22).collect();
            assert_eq!(host.markers(name), all);
            assert_eq!(reread(&host, name), (1..=20).collect::<Vec<_>>());
            let epochs = host.of_kind(name, "epoch");
            assert_eq!(epochs.len(), 1, "{epochs:?}");
            assert_eq!(epochs[0]["facts"]["state_lost"], true, "{epochs:?}");
            assert_eq!(host.of_kind(name, "conflict").len(), 0);
            let step = "of robbed began 1 other life, 1 of them without its state";
            assert!(host.steps().contains(step));
        } else {
            host.holds_in_order(name, 1..=22);
        }
    }
    assert!(!host.steps().contains("twin"));
    host.close();
    host.room.verify(&[]).ended(0);
}

/// What is bound in the journal of a source and holds one of these markers.
fn bound(host: &Host, name: &str, wanted: &dyn Fn(&str) -> bool) -> Vec<Message> {
    let file = AgentFile::read(&host.room.path(&format!("{name}.key"))).expect("credentials");
    let dir = host.journal(name, "state");
    let bounds = JournalBounds::of_quota(1 << 30);
    let opened = Journal::open(&dir, file.credentials.source, bounds).expect("a journal");
    let (journal, _) = opened.expect("a journal");
    let mut messages = Vec::new();
    let mut cursor = Cursor::default();
    while let Some((frame, behind)) = journal.next(cursor).expect("a frame") {
        let records = frame.messages.into_iter();
        let records = records.filter(|message| message.stream == Stream::Record);
        messages.extend(records.filter(|one| wanted(&String::from_utf8_lossy(&one.value))));
        cursor = behind;
    }
    messages
}

#[test]
fn what_is_bound_later_comes_first_and_what_is_missing_is_filled() {
    // Only says which implementation; another test may have done so.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut host = Host::new();
    for (name, is_overtaken) in [("overtaken", true), ("twin", false)] {
        host.source(name);
        host.append(name, 1..=5);
        let agent = host.agent(name, &[]);
        host.wait(name, 5, &agent);
        // The agent binds what it cannot send.
        let journal = host.journal(name, "state").join("0000000001.journal");
        host.close();
        host.append(name, 6..=15);
        wait_for("the last record in the journal", &agent, || {
            let bytes = fs::read(&journal).expect("a journal");
            memchr::memmem::find(&bytes, b"marker n=15;").is_some()
        });
        agent.kill();
        host.serve();
        if is_overtaken {
            let numbers: Vec<String> = (11..=15).map(|n| format!("marker n={n};")).collect();
            let later = bound(&host, name, &|text| {
                numbers.iter().any(|number| text.contains(number))
            });
            assert_eq!(later.len(), 5);
            let file = AgentFile::read(&host.room.path(&format!("{name}.key"))).expect("a file");
            let mut bus = HttpBus::new(&file.address, &file.tls).expect("a bus");
            let sent = bus.send(file.credentials.source, &later).expect("a way");
            assert!(matches!(sent, Sent::Taken { .. }), "{sent:?}");
            let step = host.steps();
            assert!(step.contains("lacks 5 numbers"), "{step}");
            assert_eq!(host.of_kind(name, "gap").len(), 1);
        }
        host.append(name, 16..=16);
        let agent = host.agent(name, &[]);
        wait_for("no hole", &agent, || {
            host.records(name) == 16 && host.show(name)["gaps"] == serde_json::json!([])
        });
        agent.stop();
        if is_overtaken {
            let held = host.held(name);
            let all: Vec<u64> = (1..=5).chain(11..=15).chain(6..=10).chain([16]).collect();
            assert_eq!(host.markers(name), all);
            for one in &held {
                let marker = one.marker.expect("a record");
                assert_eq!(one.late, (6..=10).contains(&marker), "{one:?}");
                assert_eq!(one.sequence, marker);
            }
            for kind in ["epoch", "conflict", "forged"] {
                assert_eq!(host.of_kind(name, kind).len(), 0, "{kind}");
            }
        } else {
            host.holds_in_order(name, 1..=16);
        }
    }
    assert_eq!(host.steps(), "[]");
    host.close();
    host.room.verify(&[]).ended(0);
}

#[test]
fn killed_before_anything_is_bound_while_files_are_rotated() {
    let mut host = Host::new();
    for (name, more) in [("reads", ""), ("leaves", "leave_rotated = true\n")] {
        host.source(name);
        host.append(name, 1..=5);
        // Without the log's word nothing is bound.
        host.close();
        let agent = host.agent_with(name, "state", more, &[]);
        agent.wait_said("source followed");
        std::thread::sleep(Duration::from_millis(300));
        agent.kill();
        host.serve();
        host.rotate(name);
        host.append_to(name, "audit.csv", &rows(6..=9));
        let agent = host.agent_with(name, "state", more, &[]);
        wait_for("the last record", &agent, || {
            host.markers(name).contains(&9)
        });
        agent.stop();
        let (first, said): (u64, &[&str]) = match more {
            "" => (1, &[]),
            _ => (6, &["stream.left"]),
        };
        host.holds_in_order(name, first..=9);
        assert_eq!(host.notices(name), said);
    }
    host.close();
    host.room.verify(&[]).ended(0);
}
