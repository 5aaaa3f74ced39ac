//! Stories of an agent's life: killed, restored, cloned, robbed of its state, forged, cut off, and
//! all of it at random. Nothing is lost, and what happened is in the log.

use std::path::Path;
use std::sync::atomic::Ordering;

use ledger_core::{Flags, Kind};
use ledger_event::facts::{EpochOpened, Facts as _, Heartbeat};
use ledger_log::StoredEntry;

use crate::rig_tests::{Rig, marker, part, row, rows};
use crate::{JournalBounds, Rotated, Step};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        if item.file_type().unwrap().is_file() {
            std::fs::copy(item.path(), to.join(item.file_name())).unwrap();
        } else if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &to.join(item.file_name()));
        }
    }
}

fn of_kind(rig: &Rig, kind: Kind) -> Vec<StoredEntry> {
    let entries = rig.entries().into_iter();
    entries.filter(|entry| entry.entry.kind == kind).collect()
}

fn epochs(rig: &Rig) -> Vec<EpochOpened> {
    let entries = of_kind(rig, Kind::EPOCH);
    let facts = entries
        .iter()
        .map(|e| EpochOpened::parse(part(e, 0).as_bytes()).unwrap());
    facts.collect()
}

fn heartbeats(rig: &Rig) -> Vec<Heartbeat> {
    let entries = of_kind(rig, Kind::HEARTBEAT);
    let facts = entries
        .iter()
        .map(|e| Heartbeat::parse(part(e, 0).as_bytes()).unwrap());
    facts.collect()
}

/// What the agent said of files by this name.
fn texts(rig: &Rig, name: &str) -> Vec<String> {
    let entries = of_kind(rig, Kind::EVENT).into_iter();
    let of_name = entries.filter(|entry| part(entry, 0).contains(name));
    of_name.map(|entry| part(&entry, 2)).collect()
}

/// Waits until a published checkpoint covers all that was read.
fn acknowledged(rig: &mut Rig) {
    rig.run();
    rig.publish();
    rig.run();
    assert!(rig.follower.as_ref().unwrap().is_acknowledged());
}

#[test]
fn the_first_life_says_nothing_of_a_life_before_and_heartbeats_count() {
    let mut rig = Rig::new("audit");
    rig.rotated = Rotated::Leave;
    rig.restart();
    rig.append("audit.1", rows(900..=905));
    rig.append("audit", rows(1..=5));
    rig.append("audit", "no record\n");
    rig.run();
    rig.pass(60_000);
    acknowledged(&mut rig);
    rig.check_in_order(1..=5);
    assert_eq!(rig.unparsed().len(), 1);
    assert_eq!(epochs(&rig), []);
    let bytes = rows(900..=905).len();
    let left = texts(&rig, "stream.left");
    assert_eq!(left.len(), 1, "what is not read is said");
    assert!(left[0].contains(&format!("1 rotated files with {bytes} bytes")));
    let beats = heartbeats(&rig);
    let opens = beats[0].opens.unwrap();
    assert!(!opens.state_lost && opens.previous.is_none());
    let agent = beats[1].agent.as_ref().unwrap();
    assert_eq!((agent.parsed, agent.unparsed, agent.notices), (5, 1, 1));
    assert_eq!(agent.read_bytes, rows(1..=5).len() as u64 + 10);
    assert!(agent.free_bytes.is_some_and(|free| free > 0));
    assert_eq!((beats[1].bound.0, beats[1].backlog_bytes), (7, Some(0)));
    // Those rotated before the source was read stay unread when they are compressed.
    rig.gzip("audit.1", "audit.2.gz");
    rig.rename("audit", "audit.1");
    rig.append("audit", rows(6..=7));
    rig.run();
    rig.quiet();
    rig.check_in_order(1..=7);
}

/// A first life that ends before anything is bound knows nothing later of when it began.
#[test]
fn killed_before_the_first_look_is_bound_while_files_are_rotated() {
    for rotated in [Rotated::Read, Rotated::Leave] {
        let mut rig = Rig::new("audit");
        rig.rotated = rotated;
        rig.away.store(true, Ordering::Relaxed);
        rig.restart();
        rig.append("audit", rows(1..=5));
        for _ in 0..3 {
            rig.step().unwrap();
        }
        rig.stop();
        rig.rename("audit", "audit.2");
        rig.append("audit.1", rows(6..=7));
        rig.gzip("audit.2", "audit.2.gz");
        rig.append("audit", rows(8..=9));
        rig.away.store(false, Ordering::Relaxed);
        rig.start();
        // What is said is bound with the look: killed after it, nothing goes unsaid.
        rig.step().unwrap();
        rig.restart();
        rig.run();
        rig.quiet();
        let (first, said): (u64, &[&str]) = match rotated {
            Rotated::Read => (1, &[]),
            Rotated::Leave => (8, &["stream.left"]),
        };
        rig.check_in_order(first..=9);
        assert_eq!(rig.notices(), said);
        let count = texts(&rig, "stream.left").concat();
        let leaves = count.contains("2 rotated files");
        assert_eq!(leaves, rotated == Rotated::Leave, "{count}");
    }
}

/// Nothing is bound and nothing spins while there is no folder; it is said as soon as there is one.
#[test]
fn a_first_life_without_a_folder() {
    let mut rig = Rig::new("audit");
    let (folder, hidden) = (rig.file(""), rig.ledger().join("../hidden"));
    std::fs::rename(&folder, &hidden).unwrap();
    for _ in 0..5 {
        assert_eq!(rig.step().unwrap(), Step::Idle);
    }
    assert_eq!(heartbeats(&rig), []);
    std::fs::rename(&hidden, &folder).unwrap();
    rig.append("audit", rows(1..=5));
    rig.run();
    rig.check_in_order(1..=5);
    assert_eq!(rig.notices(), ["stream.unreadable", "stream.readable"]);
}

#[test]
fn killed_between_binding_and_sending() {
    let mut rig = Rig::new("audit");
    rig.append("audit", rows(1..=10));
    rig.run();
    rig.away.store(true, Ordering::Relaxed);
    rig.append("audit", rows(11..=20));
    rig.run();
    rig.rename("audit", "audit.1");
    rig.append("audit", rows(21..=30));
    rig.run();
    rig.restart();
    rig.run();
    rig.check_in_order(1..=10);
    // What was bound is sent from the journal, though both files are gone.
    rig.stop();
    rig.remove("audit.1");
    rig.remove("audit");
    rig.away.store(false, Ordering::Relaxed);
    rig.start();
    rig.run();
    rig.check_in_order(1..=30);
    assert_eq!(epochs(&rig), []);
}

/// A source of which the log holds 20 rows, and whose state is the copy that was made after 10.
fn restored() -> Rig {
    let mut rig = Rig::new("audit");
    rig.append("audit", rows(1..=10));
    acknowledged(&mut rig);
    rig.stop();
    let (state, saved) = (rig.state_dir(), rig.file("saved"));
    copy(&state, &saved);
    rig.start();
    rig.append("audit", rows(11..=20));
    acknowledged(&mut rig);
    rig.stop();
    std::fs::remove_dir_all(&state).unwrap();
    copy(&saved, &state);
    rig
}

#[test]
fn a_machine_that_was_restored_from_a_copy() {
    let mut rig = restored();
    rig.start();
    rig.append("audit", rows(21..=22));
    rig.run();
    acknowledged(&mut rig);
    let markers = rig.markers();
    assert_eq!(markers[..20], (1..=20).collect::<Vec<_>>());
    assert_eq!(markers[20..], (11..=22).collect::<Vec<_>>());
    let reread = |entry: &&StoredEntry| entry.entry.flags.contains(Flags::REREAD);
    let flagged: Vec<u64> = of_kind(&rig, Kind::EVENT)
        .iter()
        .filter(reread)
        .filter_map(marker)
        .collect();
    assert!((11..=20).all(|n| flagged.contains(&n)), "{flagged:?}");
    let epochs = epochs(&rig);
    assert_eq!(epochs.len(), 1);
    assert_eq!(
        (epochs[0].acknowledged.unwrap().0, epochs[0].state_lost),
        (20, false)
    );
    assert_eq!((rig.count(Kind::CONFLICT), rig.count(Kind::GAP)), (0, 0));
    // And on it goes, without the flag.
    rig.append("audit", row(23));
    rig.run();
    let last = of_kind(&rig, Kind::EVENT).pop().unwrap();
    assert_eq!((marker(&last), reread(&&last)), (Some(23), false));
}

/// The database came back with the machine, so what follows has never been read before. The agent
/// binds it under numbers that the log has already, before it hears so.
#[test]
fn a_machine_that_was_restored_with_its_files_while_the_log_is_away() {
    for (later, more) in [(31..=35, "fewer"), (31..=45, "more")] {
        for away in [true, false] {
            let mut rig = restored();
            std::fs::write(rig.file("audit"), rows(1..=10) + &rows(later.clone())).unwrap();
            rig.away.store(away, Ordering::Relaxed);
            rig.start();
            rig.run();
            rig.away.store(false, Ordering::Relaxed);
            rig.pass(100_000);
            rig.run();
            acknowledged(&mut rig);
            let kept = rig.kept();
            let all = (1..=20).chain(later.clone()).all(|n| kept.contains(&n));
            assert!(all, "{more} {away}: {kept:?}");
            assert_eq!(epochs(&rig).len(), 1);
            assert_eq!(rig.count(Kind::CONFLICT) > 0, away, "{more}");
        }
    }
}

#[test]
fn a_ledger_that_was_restored_from_a_copy_is_told_and_the_agent_goes_on() {
    let mut rig = Rig::new("audit");
    rig.append("audit", rows(1..=10));
    acknowledged(&mut rig);
    let (ledger, saved) = (rig.ledger(), rig.file("saved"));
    rig.log.take().unwrap().close().unwrap();
    copy(&ledger, &saved);
    rig.open_log_with(false);
    rig.append("audit", rows(11..=20));
    acknowledged(&mut rig);

    rig.log.take().unwrap().close().unwrap();
    std::fs::remove_dir_all(&ledger).unwrap();
    copy(&saved, &ledger);
    rig.open_log_with(false);
    rig.append("audit", rows(21..=30));
    rig.run();
    rig.pass(61_000);
    rig.run();
    let stopped = rig.log.as_ref().unwrap().status().stopped;
    assert!(stopped.is_some_and(|why| why.contains("restored from an old copy")));

    assert!(rig.log.take().unwrap().close().is_err());
    rig.open_log_with(true);
    for _ in 0..2 {
        rig.pass(61_000);
        rig.run();
    }
    acknowledged(&mut rig);
    rig.append("audit", rows(31..=40));
    acknowledged(&mut rig);
    // What the log lost is lost, what came after it is there, and nothing waits for a hole.
    let markers: Vec<u64> = (1..=10).chain(21..=40).collect();
    let mut kept = rig.markers();
    kept.sort_unstable();
    assert_eq!(kept, markers);
    let recovery = of_kind(&rig, Kind::RECOVERY);
    assert!(part(recovery.last().unwrap(), 0).contains("\"lost\""));
}

#[test]
fn a_lost_state_is_said_and_what_is_read_again_is_flagged() {
    for damaged in [false, true] {
        let mut rig = Rig::new("audit");
        rig.append("audit", rows(1..=10));
        rig.run();
        rig.rename("audit", "audit.1");
        rig.append("audit", rows(11..=15));
        acknowledged(&mut rig);
        rig.stop();
        let segment = rig.state_dir().join("0000000001.journal");
        if damaged {
            let mut bytes = std::fs::read(&segment).unwrap();
            bytes[40] ^= 1;
            std::fs::write(&segment, bytes).unwrap();
        } else {
            std::fs::remove_dir_all(rig.state_dir()).unwrap();
        }
        rig.append("audit", rows(16..=20));
        rig.start();
        acknowledged(&mut rig);
        rig.append("audit", rows(21..=22));
        rig.run();
        let (mut flagged, mut plain) = (Vec::new(), Vec::new());
        for entry in of_kind(&rig, Kind::EVENT) {
            let again = entry.entry.flags.contains(Flags::REREAD);
            let list = if again { &mut flagged } else { &mut plain };
            list.extend(marker(&entry));
        }
        assert_eq!(flagged, (1..=20).collect::<Vec<_>>());
        assert_eq!(plain, (1..=15).chain(21..=22).collect::<Vec<_>>());
        let epochs = epochs(&rig);
        assert_eq!(epochs.len(), 1);
        assert!(epochs[0].state_lost && epochs[0].acknowledged.is_none());
        assert_eq!(rig.state_dir().join("damaged-1").exists(), damaged);
        rig.restart();
        rig.run();
        assert_eq!(rig.count(Kind::EPOCH), 1);
    }
}

#[test]
fn a_journal_that_turns_out_damaged_while_running_is_no_stall() {
    let mut rig = Rig::new("audit");
    rig.append("audit", rows(1..=10));
    acknowledged(&mut rig);
    rig.away.store(true, Ordering::Relaxed);
    for n in 11..=20 {
        rig.append("audit", row(n));
        rig.step().unwrap();
    }
    let segment = rig.state_dir().join("0000000001.journal");
    let mut bytes = std::fs::read(&segment).unwrap();
    let (at, len) = (
        bytes.windows(13).rposition(|w| w == b"marker n=15;\""),
        bytes.len(),
    );
    let at = at.unwrap_or(len / 2);
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    rig.away.store(false, Ordering::Relaxed);
    rig.pass(60_000);
    acknowledged(&mut rig);
    let mut kept = rig.kept();
    kept.sort_unstable();
    kept.dedup();
    assert_eq!(kept, (1..=20).collect::<Vec<_>>());
    assert!(epochs(&rig).iter().any(|epoch| epoch.state_lost));
    assert!(rig.state_dir().join("damaged-1").exists());
    rig.append("audit", row(21));
    rig.run();
    assert_eq!(rig.markers().last(), Some(&21));
}

#[test]
fn another_key_leaves_one_entry_a_try_and_the_journal_is_kept() {
    let mut rig = Rig::new("audit");
    (rig.other_key, rig.state) = (true, "other");
    rig.restart();
    rig.append("audit", rows(1..=10));
    rig.run();
    let refused = rig.follower.as_ref().unwrap().refused();
    assert_eq!(refused, Some("the log has another key for this source"));
    let tried = rig.count(Kind::FORGED);
    rig.run();
    assert_eq!(rig.count(Kind::FORGED), tried);
    rig.pass(61_000);
    rig.run();
    assert_eq!(rig.count(Kind::FORGED), tried + 1);
    assert_eq!(rig.markers().len(), 0);
    rig.stop();
    (rig.other_key, rig.state) = (false, "state");
    rig.start();
    rig.run();
    assert_eq!(rig.markers(), (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_full_journal_pauses_reading_and_says_so() {
    let mut rig = Rig::new("audit");
    rig.bounds = JournalBounds {
        quota_bytes: 512 << 10,
        segment_bytes: 32 << 10,
    };
    rig.state = "small";
    rig.restart();
    rig.append("audit", rows(1..=20));
    rig.run();
    rig.away.store(true, Ordering::Relaxed);
    rig.append("audit", rows(21..=2000));
    for _ in 0..40 {
        rig.step().unwrap();
    }
    let status = rig.follower.as_ref().unwrap().status().clone();
    assert!(
        status.paused && status.parsed > 100 && status.parsed < 2000,
        "{status:?}"
    );
    // What is not read yet is rotated away and deleted meanwhile; it is held open.
    rig.rename("audit", "audit.1");
    rig.append("audit", rows(2001..=2010));
    for _ in 0..3 {
        rig.pass(61_000);
        rig.step().unwrap();
    }
    let status = rig.follower.as_ref().unwrap().status();
    assert!(
        status.rotated_bytes.is_some_and(|bytes| bytes > 10_000),
        "{status:?}"
    );
    rig.remove("audit.1");
    rig.step().unwrap();
    rig.away.store(false, Ordering::Relaxed);
    for _ in 0..200 {
        rig.pass(1_000);
        acknowledged_or_not(&mut rig);
        if rig.markers().len() == 2010 {
            break;
        }
    }
    rig.check_in_order(1..=2010);
    let said = heartbeats(&rig)
        .iter()
        .any(|beat| beat.agent.as_ref().is_some_and(|a| a.paused));
    assert!(said);
}

/// One more checkpoint, so that the journal can forget.
fn acknowledged_or_not(rig: &mut Rig) {
    rig.run();
    rig.publish();
    rig.run();
}

/// A random number, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[test]
fn whatever_happens_each_record_is_in_the_log_once() {
    for seed in 1..=12u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut rig = Rig::new("audit");
        rig.run();
        let (mut next, mut rotated) = (1, 0u64);
        for _ in 0..60 {
            match dice.roll(10) {
                0..=3 => {
                    let last = next + dice.roll(30);
                    rig.append("audit", rows(next..=last));
                    next = last + 1;
                }
                4 => {
                    let line = row(next);
                    let at = usize::try_from(dice.roll(line.len() as u64 - 1)).unwrap();
                    rig.append("audit", &line[..at]);
                    if dice.roll(2) == 0 && rig.follower.is_some() {
                        rig.run();
                    }
                    rig.append("audit", &line[at..]);
                    next += 1;
                }
                5 if rig.file("audit").exists() => {
                    rotated += 1;
                    let old = format!("audit.{}", 1_000 - rotated);
                    rig.rename("audit", &old);
                    if dice.roll(2) == 0 {
                        rig.gzip(&old, &format!("{old}.gz"));
                    }
                    rig.append("audit", row(next));
                    next += 1;
                }
                6 => rig.stop(),
                7 => {
                    let away = rig.away.load(Ordering::Relaxed);
                    rig.away.store(!away, Ordering::Relaxed);
                }
                _ => {
                    if rig.follower.is_none() {
                        rig.start();
                    }
                    rig.run();
                    if dice.roll(3) == 0 {
                        rig.pass(6_000);
                        rig.run();
                    }
                }
            }
        }
        rig.away.store(false, Ordering::Relaxed);
        rig.restart();
        rig.pass(60_000);
        rig.run();
        rig.quiet();
        println!("seed {seed}: {} records, {rotated} rotations", next - 1);
        rig.check(1..=next - 1);
        assert_eq!(rig.unparsed().len(), 0, "seed {seed}");
        assert_eq!(rig.notices().len(), 0, "seed {seed}: {:?}", rig.notices());
    }
}

/// So much that reading, binding and sending go on at once, with every kind of failure in between.
#[test]
fn much_at_once_arrives_once_and_in_order() {
    for seed in 1..=3_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut rig = Rig::new("audit");
        rig.bounds = JournalBounds::of_quota(64 << 20);
        rig.restart();
        let last = 9_000;
        let text = rows(1..=last);
        rig.append("audit", &text);
        let mut steps = 0;
        while rig.follower.as_ref().unwrap().status().read_bytes < text.len() as u64 {
            match dice.roll(6) {
                0 => {
                    let away = rig.away.load(Ordering::Relaxed);
                    rig.away.store(!away, Ordering::Relaxed);
                }
                1 if steps > 3 => {
                    rig.restart();
                    steps = 0;
                }
                2 => {
                    let follower = rig.follower.as_mut().unwrap();
                    if let Some(journal) = follower.journal_mut() {
                        journal.fault = Some(crate::segment::Fault::FullAfter(5000));
                    }
                    let failed = rig.step().is_err();
                    let follower = rig.follower.as_mut().unwrap();
                    if let Some(journal) = follower.journal_mut() {
                        journal.fault = None;
                    }
                    println!(
                        "seed {seed}: a full disk {}",
                        if failed { "met" } else { "missed" }
                    );
                }
                _ => {
                    rig.step().unwrap();
                }
            }
            steps += 1;
            if steps > 24 {
                // A start begins counting anew, so the count may never be reached.
                break;
            }
        }
        rig.away.store(false, Ordering::Relaxed);
        rig.pass(60_000);
        rig.run();
        println!("seed {seed}: done");
        rig.check_in_order(1..=last);
        acknowledged(&mut rig);
    }
}

#[test]
fn steps_are_idle_when_nothing_is_to_be_done() {
    let mut rig = Rig::new("audit");
    rig.run();
    assert_eq!(rig.step().unwrap(), Step::Idle);
}
