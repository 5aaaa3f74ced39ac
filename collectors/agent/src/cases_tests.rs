//! The eighteen cases of tailing (T1 to T18): each without a record lost and without one twice in
//! a real log, and with a word about what cannot be known.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use ledger_core::Kind;

use crate::rig_tests::{Rig, part, row, row_with, rows};
use crate::segment::Fault;
use crate::{Allowed, FollowError, JournalError};

fn read(named: &'static str, name: &str, count: u64) -> Rig {
    let mut rig = Rig::new(named);
    rig.append(name, rows(1..=count));
    rig.run();
    rig.check_in_order(1..=count);
    rig
}

#[test]
fn t1_an_inode_that_is_used_again_at_once() {
    let mut rig = read("audit", "audit", 50);
    rig.append("audit", rows(51..=60));
    rig.rename("audit", "audit.1");
    rig.remove("audit.1");
    rig.append("audit", rows(61..=63));
    rig.run();
    rig.check_in_order(1..=63);
    assert_eq!(rig.notices().len(), 0, "it was open, so nothing is unknown");
    // The same while nobody watches; the new file is shorter than what was read.
    rig.quiet();
    rig.append("audit", rows(64..=90));
    rig.run();
    rig.stop();
    let inode = fs::metadata(rig.file("audit")).unwrap().ino();
    rig.remove("audit");
    rig.append("audit", rows(91..=92));
    let again = fs::metadata(rig.file("audit")).unwrap().ino();
    rig.start();
    rig.run();
    rig.check_in_order(1..=92);
    let notices = rig.notices();
    let known = ["stream.lost", "stream.generation"];
    assert!(
        notices.len() == 1 && known.contains(&notices[0].as_str()),
        "{notices:?} (inode {inode}, then {again})"
    );
}

#[test]
fn t2_a_position_of_a_deleted_file_is_not_used_for_its_inode() {
    let mut rig = read("audit", "audit", 50);
    rig.rename("audit", "audit.1");
    rig.append("audit", rows(51..=52));
    rig.quiet();
    rig.stop();
    rig.remove("audit.1");
    rig.rename("audit", "audit.1");
    rig.append("audit", rows(53..=120));
    rig.start();
    rig.run();
    rig.check_in_order(1..=120);
    assert_eq!(
        rig.notices().len(),
        0,
        "what was deleted had been read to its end"
    );
}

#[test]
fn t3_two_files_that_begin_alike() {
    let mut rig = Rig::new("audit");
    let header: String = (0..40).map(|_| row(0)).collect();
    assert!(header.len() > 4096);
    rig.append("audit", &header);
    rig.append("audit", rows(1..=2));
    rig.run();
    rig.rename("audit", "audit.1");
    rig.append("audit", &header);
    rig.append("audit", rows(3..=4));
    rig.run();
    rig.quiet();
    rig.stop();
    rig.gzip("audit.1", "audit.2.gz");
    rig.rename("audit", "audit.1");
    rig.append("audit", &header);
    rig.append("audit", rows(5..=6));
    rig.start();
    rig.run();
    rig.quiet();
    let markers = rig.markers();
    assert_eq!(markers.iter().filter(|n| **n == 0).count(), 120);
    let others: Vec<u64> = markers.into_iter().filter(|n| *n > 0).collect();
    assert_eq!(others, [1, 2, 3, 4, 5, 6]);
    assert_eq!(rig.notices().len(), 0);
}

#[test]
fn t4_a_small_file_is_read_at_once() {
    let mut rig = Rig::new("audit");
    rig.run();
    rig.append("audit", row(1));
    rig.step().unwrap();
    rig.check(1..=1);
}

#[test]
fn t5_copytruncate_and_a_cut_between_two_looks() {
    for (allowed, grade) in [(Allowed::Yes, true), (Allowed::No, false)] {
        let mut rig = Rig::new("audit");
        (rig.allowed, rig.state) = (allowed, "other");
        rig.restart();
        rig.append("audit", rows(1..=50));
        rig.run();
        rig.append("audit", rows(51..=60));
        // A copy in the making is no new file.
        let whole = fs::read(rig.file("audit")).unwrap();
        fs::write(rig.file("audit.1"), &whole[..whole.len() / 2]).unwrap();
        rig.run();
        rig.append("audit", rows(61..=62));
        fs::copy(rig.file("audit"), rig.file("audit.1")).unwrap();
        fs::write(rig.file("audit"), "").unwrap();
        // Larger than before, when it is looked at next.
        rig.append("audit", rows(63..=300));
        rig.run();
        rig.check_in_order(1..=300);
        assert_eq!(rig.notices(), ["stream.generation"]);
        let graded = rig
            .entries()
            .iter()
            .any(|e| part(e, 0).contains("\"lossy\""));
        assert_eq!(graded, grade);
        rig.quiet();
        rig.restart();
        rig.run();
        rig.check(1..=300);
    }
}

/// Nothing is open at the first look of a life, and a copy is no second file even so.
#[test]
fn t5_a_copy_that_is_there_when_an_agent_starts() {
    for (copy, restarts) in [("audit.1", false), ("audit.old", false), ("audit.1", true)] {
        let mut rig = Rig::new("audit");
        rig.append("audit", rows(1..=5));
        if restarts {
            rig.run();
            rig.stop();
        }
        fs::copy(rig.file("audit"), rig.file(copy)).unwrap();
        rig.append("audit", rows(6..=7));
        if restarts {
            rig.start();
        }
        rig.run();
        rig.check_in_order(1..=7);
        rig.append("audit", row(8));
        rig.restart();
        rig.run();
        rig.check_in_order(1..=8);
        assert_eq!(rig.notices().len(), 0, "nothing is left out");
        // Cut at last; what it then holds is read.
        fs::copy(rig.file("audit"), rig.file(copy)).unwrap();
        fs::write(rig.file("audit"), rows(9..=9)).unwrap();
        rig.run();
        rig.quiet();
        rig.check_in_order(1..=9);
        assert_eq!(rig.notices(), ["stream.generation"]);
    }
}

/// The twins: a rotated file with another content, and one that is alike but was last written
/// before the file was born.
#[test]
fn t5_what_is_no_copy_is_read_at_the_first_look() {
    let mut rig = Rig::new("audit");
    rig.append("audit.1", rows(1..=5));
    rig.append("audit", rows(6..=12));
    rig.run();
    rig.check_in_order(1..=12);

    let mut rig = Rig::new("audit");
    rig.append("audit.1", rows(1..=5));
    let older = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    let file = fs::File::options().append(true).open(rig.file("audit.1"));
    file.unwrap().set_modified(older).unwrap();
    rig.append("audit", rows(1..=7));
    if fs::metadata(rig.file("audit")).unwrap().created().is_err() {
        println!("this file system does not say when a file was born");
        return;
    }
    rig.run();
    let markers: Vec<u64> = (1..=5).chain(1..=7).collect();
    assert_eq!(rig.markers(), markers);
}

#[test]
fn t6_rewritten_by_its_writer_in_the_middle_of_a_line() {
    for more in [3..=4u64, 3..=200] {
        let mut rig = Rig::new("audit");
        rig.append("audit", rows(1..=2));
        rig.append("audit", "2026-11-23");
        rig.run();
        fs::write(rig.file("audit"), rows(more.clone())).unwrap();
        rig.run();
        rig.check_in_order(1..=*more.end());
        assert_eq!(rig.notices(), ["stream.generation"]);
    }
}

#[test]
fn t7_an_offset_larger_than_the_file_after_a_restart() {
    let mut rig = read("audit", "audit", 66);
    rig.stop();
    fs::copy(rig.file("audit"), rig.file("audit.1")).unwrap();
    fs::write(rig.file("audit"), rows(67..=68)).unwrap();
    rig.start();
    rig.run();
    rig.restart();
    rig.append("audit", rows(69..=132));
    rig.run();
    rig.check_in_order(1..=132);
    assert_eq!(rig.notices(), ["stream.generation"]);
}

#[test]
fn t8_rotated_and_compressed_in_one_step() {
    // Read to the end, or not; while nobody watches, or while somebody does.
    for (unread, down) in [(0, true), (10, true), (0, false), (10, false)] {
        let mut rig = read("audit", "audit", 50);
        let last = 50 + unread;
        if down {
            rig.stop();
        }
        rig.append("audit", rows(51..=last));
        rig.rename("audit", "audit.1");
        rig.gzip("audit.1", "audit.1.gz");
        rig.append("audit", rows(last + 1..=last + 5));
        if down {
            rig.start();
        }
        rig.run();
        rig.quiet();
        rig.check_in_order(1..=last + 5);
        rig.rename("audit.1.gz", "audit.2.gz");
        rig.rename("audit", "audit.1");
        rig.gzip("audit.1", "audit.1.gz");
        rig.restart();
        rig.run();
        rig.quiet();
        rig.check_in_order(1..=last + 5);
        assert_eq!(rig.notices().len(), 0, "unread {unread}, down {down}");
    }
}

#[test]
fn t8_a_compressed_file_in_the_making_is_not_read() {
    let mut rig = read("audit", "audit", 50);
    rig.rename("audit", "audit.1");
    rig.append("audit", rows(51..=55));
    rig.quiet();
    fs::copy(rig.file("audit.1"), rig.file("again")).unwrap();
    rig.gzip("again", "whole");
    let whole = fs::read(rig.file("whole")).unwrap();
    fs::write(rig.file("audit.1.gz"), &whole[..whole.len() / 2]).unwrap();
    rig.run();
    // The original goes only when the other is whole.
    fs::write(rig.file("audit.1.gz"), &whole).unwrap();
    rig.remove("audit.1");
    rig.run();
    rig.quiet();
    rig.check_in_order(1..=55);
    assert_eq!(rig.notices().len(), 0);
}

#[test]
fn t9_several_generations_while_nobody_watches() {
    let mut rig = read("audit", "audit", 50);
    rig.stop();
    rig.append("audit", rows(51..=60));
    rig.rename("audit", "audit.1");
    rig.append("audit", rows(61..=70));
    rig.rename("audit.1", "audit.2");
    rig.rename("audit", "audit.1");
    rig.append("audit", rows(71..=80));
    rig.gzip("audit.2", "audit.3.gz");
    rig.rename("audit.1", "audit.2");
    rig.rename("audit", "audit.1");
    rig.append("audit", rows(81..=85));
    rig.start();
    rig.run();
    rig.quiet();
    rig.check_in_order(1..=85);
    assert_eq!(rig.notices().len(), 0);
}

/// Many files at once: more than are open at once, renamed by a shift of all numbers.
#[test]
fn t9_many_rotations_at_once_are_read_in_their_order() {
    let mut rig = read("audit", "audit", 3);
    let rotated = |rig: &Rig, from: u64, to: u64| {
        for number in from..=to {
            for old in (1..number).rev() {
                rig.rename(&format!("audit.{old}"), &format!("audit.{}", old + 1));
            }
            rig.rename("audit", "audit.1");
            rig.append("audit", row(3 + number));
        }
    };
    rotated(&rig, 1, 100);
    rig.run();
    // Those read to their ends are still open, for whoever may write to them.
    rig.quiet();
    rig.quiet();
    rig.check_in_order(1..=103);
    rig.stop();
    rotated(&rig, 101, 200);
    rig.start();
    rig.run();
    rig.quiet();
    rig.quiet();
    rig.check_in_order(1..=203);
    assert_eq!(rig.notices().len(), 0);
}

#[test]
fn t10_killed_with_half_a_line_read() {
    let mut rig = read("audit", "audit", 5);
    let line = row(6);
    for at in [1, line.len() / 2, line.len() - 1] {
        rig.append("audit", &line[..at]);
        rig.run();
        rig.restart();
        rig.run();
        rig.append("audit", &line[at..]);
        rig.run();
        let markers = rig.markers();
        assert_eq!(markers.iter().filter(|n| **n == 6).count(), 1);
        // For the next cut it is another line of the same text.
        rig = read("audit", "audit", 5);
    }
}

#[test]
fn t11_a_line_that_goes_on_in_the_next_file() {
    let mut rig = read("audit", "audit", 5);
    let line = row_with(6, "cut here|and on");
    let at = line.find("and on").unwrap();
    rig.append("audit", &line[..at]);
    rig.run();
    rig.rename("audit", "audit.1");
    rig.append("audit", &line[at..]);
    rig.append("audit", rows(7..=9));
    rig.run();
    rig.quiet();
    let markers = rig.markers();
    for n in [1, 2, 3, 4, 5, 7, 8, 9] {
        assert_eq!(markers.iter().filter(|m| **m == n).count(), 1, "{n}");
    }
    // Neither half is a record, and neither is lost.
    let unparsed = rig.unparsed();
    assert_eq!(unparsed.len(), 2, "{unparsed:?}");
    assert!(unparsed.iter().any(|text| text.contains("cut here|")));
    assert!(unparsed.iter().any(|text| text.contains("and on")));
}

#[test]
fn t12_a_name_that_is_used_again() {
    let mut rig = Rig::new("pg-*.csv");
    rig.append("pg-Mon.csv", rows(1..=40));
    rig.run();
    rig.append("pg-Tue.csv", rows(41..=50));
    rig.run();
    rig.quiet();
    // A week later the server cuts it and begins again; once shorter, once longer than before.
    fs::write(rig.file("pg-Mon.csv"), rows(51..=52)).unwrap();
    rig.run();
    rig.restart();
    rig.run();
    rig.quiet();
    fs::write(rig.file("pg-Tue.csv"), rows(53..=99)).unwrap();
    rig.run();
    rig.quiet();
    rig.check_in_order(1..=99);
    assert_eq!(rig.notices(), ["stream.generation", "stream.generation"]);
}

#[test]
fn t13_a_writer_that_goes_on_in_the_renamed_file() {
    let mut rig = read("audit", "audit", 10);
    rig.rename("audit", "audit.1");
    rig.append("audit", row(11));
    for second in 0..30 {
        rig.append("audit.1", row(12 + second));
        rig.pass(1_000);
        rig.run();
    }
    rig.quiet();
    rig.quiet();
    // Long after it was left.
    rig.append("audit.1", row(42));
    rig.run();
    rig.quiet();
    rig.append("audit", row(43));
    rig.restart();
    rig.run();
    rig.check(1..=43);
    assert_eq!(rig.notices().len(), 0);
}

#[test]
fn t14_a_renamed_file_that_fits_no_more() {
    for down in [false, true] {
        let mut rig = read("audit*.csv", "audit.csv", 10);
        if down {
            rig.stop();
        }
        rig.append("audit.csv", rows(11..=20));
        rig.rename("audit.csv", "kept for the auditor");
        rig.append("audit.csv", rows(21..=25));
        if down {
            rig.start();
        }
        rig.run();
        rig.quiet();
        rig.check_in_order(1..=25);
        assert_eq!(rig.notices().len(), 0);
    }
}

#[test]
fn t15_a_record_of_many_lines_across_reads_and_a_rotation() {
    let mut rig = read("audit", "audit", 2);
    let mut record = row_with(3, "\n\n2026-11-23 09:42:03.134 UTC,,,1,\r\nBEGIN\u{0}").into_bytes();
    let at = record.iter().position(|byte| *byte == 0).unwrap();
    record.insert(at, 0xff);
    rig.append("audit", &record[..at]);
    rig.run();
    rig.rename("audit", "audit.1");
    rig.append("audit", rows(5..=6));
    rig.run();
    rig.append("audit.1", &record[at..]);
    // 16 MiB in one record, written in pieces.
    let long = row_with(4, &"x".repeat(16 << 20));
    for piece in long.as_bytes().chunks(5 << 20) {
        rig.append("audit.1", piece);
        rig.run();
    }
    rig.quiet();
    rig.check(1..=6);
    assert_eq!(rig.unparsed().len(), 0);
    let biggest = rig
        .entries()
        .iter()
        .map(|e| part(e, 2).len())
        .max()
        .unwrap();
    assert!(biggest < 512 << 10, "{biggest}");
}

#[test]
fn t16_a_full_disk_and_a_clock_that_goes_back() {
    for fault in [Fault::FullAfter(100), Fault::Sync] {
        let mut rig = read("audit", "audit", 10);
        let journal = |rig: &mut Rig, fault| {
            let follower = rig.follower.as_mut().unwrap();
            follower.journal_mut().unwrap().fault = fault;
        };
        journal(&mut rig, Some(fault));
        rig.append("audit", rows(11..=20));
        for _ in 0..4 {
            let refused = rig.step().unwrap_err();
            let io = matches!(refused, FollowError::Journal(JournalError::Io { .. }));
            assert!(io, "{refused}");
        }
        rig.check(1..=10);
        // The file goes while the disk is full; it is open.
        rig.rename("audit", "gone");
        rig.remove("gone");
        rig.step().unwrap_err();
        journal(&mut rig, None);
        rig.append("audit", rows(21..=22));
        rig.run();
        rig.wall_offset
            .set(rig.wall_offset.get() - 3_600_000_000_000);
        rig.append("audit", rows(23..=24));
        rig.run();
        rig.restart();
        rig.append("audit", rows(25..=26));
        rig.run();
        rig.check_in_order(1..=26);
        assert_eq!(
            rig.count(Kind::EPOCH),
            0,
            "a clock that goes back begins no epoch"
        );
    }
}

#[test]
fn t17_links_pipes_and_folders_that_cannot_be_read() {
    use std::os::unix::fs::symlink;
    let mut rig = Rig::new("current");
    fs::create_dir(rig.file("elsewhere")).unwrap();
    rig.append("elsewhere/a", rows(1..=10));
    symlink(rig.file("elsewhere/a"), rig.file("current")).unwrap();
    rig.run();
    rig.check_in_order(1..=10);
    // The link is switched while something is unread, and nobody watches.
    rig.stop();
    rig.append("elsewhere/a", rows(11..=12));
    rig.append("elsewhere/b", rows(13..=14));
    rig.remove("current");
    symlink(rig.file("elsewhere/b"), rig.file("current")).unwrap();
    rig.start();
    rig.run();
    rig.check_in_order(1..=14);
    // A hard link gives the file a second name, not a second content.
    fs::hard_link(rig.file("elsewhere/b"), rig.file("current.1")).unwrap();
    rig.run();
    rig.restart();
    rig.run();
    rig.check_in_order(1..=14);
    // The folder is away for a minute.
    let (folder, hidden) = (rig.file(""), rig.state_dir().join("hidden"));
    fs::rename(&folder, &hidden).unwrap();
    for _ in 0..60 {
        rig.pass(1_000);
        rig.run();
    }
    fs::rename(&hidden, &folder).unwrap();
    rig.append("elsewhere/b", rows(15..=16));
    rig.run();
    rig.check_in_order(1..=16);
    assert_eq!(rig.notices(), ["stream.unreadable", "stream.readable"]);
    // A pipe in place of the file: nothing waits for it.
    rig.append("elsewhere/b", rows(17..=18));
    rig.remove("current");
    let (mode, kind) = (rustix::fs::Mode::RUSR, rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(rustix::fs::CWD, rig.file("current"), kind, mode, 0).unwrap();
    rig.run();
    rig.remove("current");
    rig.append("current", rows(19..=20));
    rig.run();
    rig.check_in_order(1..=20);
    assert_eq!(rig.notices().last().unwrap(), "stream.refused");
}

#[test]
fn t18_two_agents_on_the_same_file() {
    let mut rig = read("audit", "audit", 10);
    let second = rig.open().unwrap_err();
    assert!(
        second.to_string().contains("held by another agent"),
        "{second}"
    );
    // With a state of its own it is a clone: the door keeps what it says, and nothing is lost.
    let first = rig.follower.take();
    rig.state = "copy";
    rig.start();
    rig.append("audit", rows(11..=12));
    rig.run();
    let second = std::mem::replace(&mut rig.follower, first);
    rig.append("audit", rows(13..=14));
    rig.run();
    rig.follower = second;
    rig.append("audit", rows(15..=16));
    rig.pass(61_000);
    rig.run();
    let kept = rig.kept();
    for n in 1..=16 {
        assert!(kept.contains(&n), "{n} of {kept:?}");
    }
    assert!(
        rig.count(Kind::EPOCH) > 0,
        "the log says that another life began"
    );
}
