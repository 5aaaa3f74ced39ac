//! Files: missing, unknown, changed, cut, grown.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use ledger_core::TreeSize;

use super::log::{Draft, Saved, TestLog, flip};
use super::{accepted, names, spoiled, verify, verify_with};
use crate::{MisdeedKind, NotChecked, Report, Tail, VerifyError, VerifyOptions, verify_dir};

#[test]
fn the_sample_is_accepted_and_says_what_it_is() {
    let log = TestLog::sample();
    let report = accepted(&log.save());
    assert_eq!(report.entries, log.size());
    assert_eq!(report.payloads_checked, log.size());
    assert_eq!((report.parts_erased, report.not_yet_signed), (1, 0));
    assert_eq!(report.checkpoints_checked, 5);
    assert_eq!(report.root, log.edge.root());
    assert_eq!(report.checkpoint, Some(log.checkpoint()));
    assert_eq!(report.pq_timestamp, log.seconds());
    assert_eq!(report.files, 8 + 2 + 2);
    let expected = [
        NotChecked::Unbound,
        NotChecked::ErasedParts { count: 1 },
        NotChecked::Time,
        NotChecked::SoleHistory,
        NotChecked::Coverage,
    ];
    assert_eq!(report.not_checked, expected);
}

#[test]
fn every_changed_byte_of_every_file_is_refused_with_the_file_named() {
    let saved = TestLog::interrupted().save();
    accepted(&saved);
    let folder = saved.folder();
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .chain(fs::read_dir(folder.join("hashes")).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let good = fs::read(&path).unwrap();
        // Every byte of the beginning, then samples: the package `tests` takes every byte.
        let places = (0..good.len().min(100)).chain((100..good.len()).step_by(211));
        for at in places {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            fs::write(&path, &bad).unwrap();
            let report = verify(&saved);
            assert!(!report.verified(), "{name} byte {at}");
            let named = report.misdeeds.iter().any(|m| m.file.ends_with(&name));
            assert!(named, "{name} byte {at}: {:#?}", report.misdeeds);
        }
        fs::write(&path, &good).unwrap();
    }
    accepted(&saved);
}

#[test]
fn every_removed_file_is_named() {
    let log = TestLog::sample();
    let second = format!("{:020}", log.segments[1].first);
    for file in [
        "00000000000000000000.entries",
        "00000000000000000000.payloads.g0",
        &format!("{second}.entries"),
        &format!("{second}.payloads.g0"),
        "checkpoints",
        "last-note",
    ] {
        let missing = |what: &MisdeedKind| matches!(what, MisdeedKind::FileMissing);
        let remove = |folder: &Path| fs::remove_file(folder.join(file)).unwrap();
        spoiled(&log, &remove, file, &missing);
    }
    let missing = |what: &MisdeedKind| matches!(what, MisdeedKind::FileMissing);
    let remove = |folder: &Path| fs::remove_dir_all(folder.join("hashes")).unwrap();
    spoiled(&log, &remove, "hashes", &missing);
    let missing = |what: &MisdeedKind| matches!(what, MisdeedKind::HashMissing { .. });
    for file in ["hashes/0.00000000", "hashes/1.00000000"] {
        let remove = |folder: &Path| fs::remove_file(folder.join(file)).unwrap();
        spoiled(&log, &remove, file, &missing);
    }
}

#[test]
fn a_removed_segment_is_named() {
    let log = TestLog::sample();
    let remove = |first: u64, folder: &Path| {
        for end in ["entries", "payloads.g0"] {
            fs::remove_file(folder.join(format!("{first:020}.{end}"))).unwrap();
        }
    };
    let (second, last) = (log.segments[1].first, log.segments[3].first);
    let after = format!("{:020}.entries", log.segments[2].first);
    let missing = |what: &MisdeedKind| matches!(what, MisdeedKind::SegmentMissing { .. });
    spoiled(&log, &|folder| remove(second, folder), &after, &missing);
    let short = |what: &MisdeedKind| matches!(what, MisdeedKind::LogShorterThanSigned { .. });
    spoiled(&log, &|folder| remove(last, folder), "last-note", &short);
    spoiled(&log, &|folder| remove(last, folder), "checkpoints", &short);
}

#[test]
fn every_added_file_folder_and_link_is_named() {
    let log = TestLog::sample();
    let unknown = |what: &MisdeedKind| matches!(what, MisdeedKind::UnknownFile);
    for file in [
        "notes.txt",
        "0.entries",
        "last-note.new",
        "hashes/0.1",
        "hashes/8.00000000",
        "hashes/2.00000000",
        "hashes/0.00000001",
        "hashes/x",
        "../../stray",
        "../stray",
    ] {
        let add = |folder: &Path| fs::write(folder.join(file), b"x").unwrap();
        spoiled(&log, &add, file.trim_start_matches("../"), &unknown);
    }
    for folder_name in ["more", "hashes/more", "../other", "../../other"] {
        let kind = |what: &MisdeedKind| {
            matches!(
                what,
                MisdeedKind::UnknownFile | MisdeedKind::FileKind { .. }
            )
        };
        let add = |folder: &Path| fs::create_dir(folder.join(folder_name)).unwrap();
        spoiled(&log, &add, folder_name.trim_start_matches("../"), &kind);
    }
    let later = |what: &MisdeedKind| matches!(what, MisdeedKind::LaterGeneration { .. });
    let name = "00000000000000000000.payloads.g1";
    spoiled(
        &log,
        &|f| fs::write(f.join(name), b"x").unwrap(),
        name,
        &later,
    );
    let left = |what: &MisdeedKind| matches!(what, MisdeedKind::LeftBehind);
    let name = "last-note.tmp";
    spoiled(
        &log,
        &|f| fs::write(f.join(name), b"x").unwrap(),
        name,
        &left,
    );
}

#[test]
fn links_and_folders_in_the_place_of_files_are_named() {
    let log = TestLog::sample();
    let link = |what: &MisdeedKind| matches!(what, MisdeedKind::SymbolicLink);
    let folder_kind = |what: &MisdeedKind| matches!(what, MisdeedKind::FileKind { .. });
    for file in ["last-note", "00000000000000000000.entries", "hashes"] {
        let replace = |folder: &Path| {
            let moved = folder.parent().unwrap().parent().unwrap().parent().unwrap();
            fs::rename(folder.join(file), moved.join("moved")).unwrap();
            symlink(moved.join("moved"), folder.join(file)).unwrap();
        };
        spoiled(&log, &replace, file, &link);
    }
    let replace = |folder: &Path| {
        fs::remove_file(folder.join("last-note")).unwrap();
        fs::create_dir(folder.join("last-note")).unwrap();
    };
    spoiled(&log, &replace, "last-note", &folder_kind);
    let replace = |folder: &Path| {
        fs::remove_dir_all(folder.join("hashes")).unwrap();
        fs::write(folder.join("hashes"), b"x").unwrap();
    };
    spoiled(&log, &replace, "hashes", &folder_kind);
    let tenant = |folder: &Path| {
        let tenants = folder.parent().unwrap().parent().unwrap();
        symlink(folder, tenants.join("linked")).unwrap();
    };
    spoiled(&log, &tenant, "logs/linked", &link);
}

#[test]
fn cut_and_grown_files_are_named() {
    let log = TestLog::sample();
    let last = format!("{:020}", log.segments[3].first);
    let cut = |file: &str, by: u64, folder: &Path| {
        let path = folder.join(file);
        let len = fs::metadata(&path).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(len - by).unwrap();
    };
    let grow = |file: &str, folder: &Path| {
        let path = folder.join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes.push(0);
        fs::write(path, bytes).unwrap();
    };
    let entries = format!("{last}.entries");
    let payloads = format!("{last}.payloads.g0");
    let torn = |what: &MisdeedKind| matches!(what, MisdeedKind::TornTail { .. });
    spoiled(&log, &|f| cut(&entries, 1, f), &entries, &torn);
    let short = |what: &MisdeedKind| matches!(what, MisdeedKind::FileShort { .. });
    spoiled(&log, &|f| cut(&payloads, 1, f), &payloads, &short);
    let history = |what: &MisdeedKind| matches!(what, MisdeedKind::History(_));
    spoiled(&log, &|f| cut("checkpoints", 1, f), "checkpoints", &history);
    let surplus = |what: &MisdeedKind| matches!(what, MisdeedKind::SurplusBytes { .. });
    let array = "hashes/0.00000000";
    for file in [&entries, &payloads, array] {
        spoiled(&log, &|f| grow(file, f), file, &surplus);
    }
    let missing = |what: &MisdeedKind| matches!(what, MisdeedKind::HashMissing { .. });
    spoiled(&log, &|f| cut(array, 32, f), array, &missing);
    spoiled(&log, &|f| cut(array, 1, f), array, &missing);
    // A finish frame that is cut away whole leaves no torn tail, but the history says that the log
    // was stopped. Without that word it is an interrupted log, which lacks nothing that was in it.
    let mut stopped = TestLog::sample();
    stopped.stop();
    let missing = |what: &MisdeedKind| matches!(what, MisdeedKind::FinishMissing { .. });
    spoiled(&stopped, &|f| cut(&entries, 72, f), &entries, &missing);
    let saved = log.save();
    cut(&entries, 72, &saved.folder());
    let report = accepted(&saved);
    assert!(report.not_checked.contains(&NotChecked::Interrupted));
    let unfinished = |what: &MisdeedKind| matches!(what, MisdeedKind::SegmentUnfinished);
    let first = "00000000000000000000.entries";
    spoiled(&log, &|f| cut(first, 72, f), first, &unfinished);
}

#[test]
fn bytes_grown_ahead_must_be_zero() {
    let log = TestLog::interrupted();
    let last = format!("{:020}", log.segments[4].first);
    let not_zero = |what: &MisdeedKind| matches!(what, MisdeedKind::NotZero);
    for (file, from_end) in [("entries", 3000), ("payloads.g0", 1), ("payloads.g0", 9000)] {
        let file = format!("{last}.{file}");
        let spoil = |folder: &Path| {
            let len = fs::metadata(folder.join(&file)).unwrap().len();
            flip(folder, &file, usize::try_from(len).unwrap() - from_end);
        };
        spoiled(&log, &spoil, &file, &not_zero);
    }
    let torn = |what: &MisdeedKind| matches!(what, MisdeedKind::TornTail { .. });
    let file = format!("{last}.entries");
    let spoil = |folder: &Path| {
        let len = fs::metadata(folder.join(&file)).unwrap().len();
        flip(folder, &file, usize::try_from(len).unwrap() - 5000);
    };
    spoiled(&log, &spoil, &file, &torn);
    // Arrays past the size: zeros are taken, anything else is not.
    let array = "hashes/0.00000000";
    let saved = log.save();
    let path = saved.folder().join(array);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(&[0; 64]);
    fs::write(&path, &bytes).unwrap();
    accepted(&saved);
    *bytes.last_mut().unwrap() = 1;
    fs::write(&path, &bytes).unwrap();
    names(&verify(&saved), array, &not_zero);
}

#[test]
fn only_hashes_at_or_past_the_durable_size_may_be_missing() {
    let log = TestLog::interrupted();
    let array = "hashes/0.00000000";
    let durable = usize::try_from(log.durable.0).unwrap();
    let set = |hash: usize, value: u8, folder: &Path| {
        let path = folder.join(array);
        let mut bytes = fs::read(&path).unwrap();
        bytes[32 * hash..32 * hash + 32].fill(value);
        fs::write(path, bytes).unwrap();
    };
    let saved = log.save();
    set(durable, 0, &saved.folder());
    let report = accepted(&saved);
    let behind = NotChecked::HashesBehind { count: 1 };
    assert!(report.not_checked.contains(&behind));
    let missing = |what: &MisdeedKind| matches!(what, MisdeedKind::HashMissing { .. });
    spoiled(&log, &|f| set(durable - 1, 0, f), array, &missing);
    let wrong = |what: &MisdeedKind| matches!(what, MisdeedKind::HashWrong { .. });
    spoiled(&log, &|f| set(durable, 7, f), array, &wrong);
    spoiled(&log, &|f| set(0, 7, f), array, &wrong);
}

#[test]
fn what_a_writer_is_in_the_middle_of_is_said_and_the_rest_is_checked() {
    let log = TestLog::interrupted();
    let saved = log.save();
    let folder = saved.folder();
    let last = format!("{:020}", log.segments[4].first);
    let options = VerifyOptions {
        tail: Tail::BeingWritten,
        ..VerifyOptions::default()
    };
    for (file, from_end) in [("entries", 5000), ("payloads.g0", 9000)] {
        let file = format!("{last}.{file}");
        let len = fs::metadata(folder.join(&file)).unwrap().len();
        flip(&folder, &file, usize::try_from(len).unwrap() - from_end);
    }
    fs::write(folder.join("last-note.tmp"), b"half").unwrap();
    assert!(!verify(&saved).verified());
    let report = verify_with(&saved, &saved.trust, &options);
    assert_eq!(report.misdeeds, []);
    let being_written = |what: &&NotChecked| matches!(what, NotChecked::BeingWritten { .. });
    let count = report.not_checked.iter().filter(being_written).count();
    assert_eq!(count, 2);
    let first = "00000000000000000000.entries";
    flip(&folder, first, 700);
    names(
        &verify_with(&saved, &saved.trust, &options),
        first,
        &|what| matches!(what, MisdeedKind::FrameDamaged { .. }),
    );
}

#[test]
fn another_log_beside_it_is_named_as_not_checked() {
    let saved = TestLog::sample().save();
    let other = saved.dir.path().join("logs/other/2025");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("00000000000000000000.entries"), b"x").unwrap();
    let report = accepted(&saved);
    let folder = "logs/other/2025".to_owned();
    assert!(
        report
            .not_checked
            .contains(&NotChecked::OtherLog { folder })
    );
}

#[test]
fn no_log_and_unreadable_places_are_errors_and_not_verdicts() {
    let saved = TestLog::sample().save();
    let none = tempfile::tempdir().unwrap();
    let options = VerifyOptions::default();
    let verify = |dir: &Path| verify_dir(dir, &saved.trust, &options, &|_| ());
    assert!(matches!(
        verify(none.path()),
        Err(VerifyError::NoLog { .. })
    ));
    fs::create_dir_all(none.path().join("logs/main")).unwrap();
    assert!(matches!(
        verify(none.path()),
        Err(VerifyError::NoLog { .. })
    ));
    assert!(verify(saved.dir.path()).unwrap().verified());
}

/// Verifies a log that a server is writing.
fn running(saved: &Saved) -> Report {
    let options = VerifyOptions {
        tail: Tail::BeingWritten,
        ..VerifyOptions::default()
    };
    verify_with(saved, &saved.trust, &options)
}

/// A running log is accepted, and refused after `spoil` changed its folder.
fn spoiled_running(
    log: &TestLog,
    spoil: &dyn Fn(&Path),
    file: &str,
    what: &dyn Fn(&MisdeedKind) -> bool,
) {
    let saved = log.save();
    assert_eq!(running(&saved).misdeeds, [], "the twin is refused");
    spoil(&saved.folder());
    names(&running(&saved), file, what);
}

/// What a server that is writing leaves: entries past the last checkpoint, and a checkpoint past
/// the durable size of the arrays.
fn live() -> TestLog {
    let mut log = TestLog::sample();
    log.append(vec![Draft::message(1, 301), Draft::message(1, 302)]);
    log.sign();
    log.append(vec![Draft::message(1, 303)]);
    log.append(vec![Draft::message(1, 304)]);
    let last = log.segments.last_mut().unwrap();
    last.entries.extend_from_slice(&[0; 5000]);
    last.payloads.extend_from_slice(&[0; 9000]);
    log
}

#[test]
fn arrays_that_no_writer_makes_are_refused_while_one_is_at_work() {
    let array = "hashes/0.00000000";
    let change = |folder: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let path = folder.join(array);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    let surplus = |what: &MisdeedKind| matches!(what, MisdeedKind::SurplusBytes { .. });
    for surplus_bytes in [1usize, 32, 100] {
        let grow = |folder: &Path| change(folder, &|bytes| bytes.extend(vec![9; surplus_bytes]));
        spoiled_running(&live(), &grow, array, &surplus);
    }
    let unknown = |what: &MisdeedKind| matches!(what, MisdeedKind::UnknownFile);
    for file in ["5.00000009", "0.00000001", "2.00000000"] {
        for content in [&b""[..], b"x"] {
            let add = |folder: &Path| fs::write(folder.join("hashes").join(file), content).unwrap();
            spoiled_running(&live(), &add, file, &unknown);
        }
    }
    // What was signed was there to be signed; what comes after it may not be there yet.
    let missing = |what: &MisdeedKind| matches!(what, MisdeedKind::HashMissing { .. });
    let wrong = |what: &MisdeedKind| matches!(what, MisdeedKind::HashWrong { .. });
    let signed = usize::try_from(live().size()).unwrap() - 2;
    for (hash, value, what) in [
        (signed - 1, 0, &missing as &dyn Fn(&MisdeedKind) -> bool),
        (0, 0, &missing),
        (signed - 1, 7, &wrong),
        (signed, 7, &wrong),
    ] {
        let set = |folder: &Path| {
            change(folder, &|bytes| {
                bytes[32 * hash..32 * hash + 32].fill(value)
            });
        };
        spoiled_running(&live(), &set, array, what);
    }
    let cut = |folder: &Path| change(folder, &|bytes| bytes.truncate(32 * signed - 1));
    spoiled_running(&live(), &cut, array, &missing);
    let remove = |folder: &Path| fs::remove_file(folder.join(array)).unwrap();
    spoiled_running(&live(), &remove, array, &missing);
    let saved = live().save();
    change(&saved.folder(), &|bytes| bytes.truncate(32 * signed));
    let report = running(&saved);
    assert_eq!(report.misdeeds, []);
    let behind = NotChecked::HashesBehind { count: 2 };
    assert!(report.not_checked.contains(&behind));
    let left_out = NotChecked::Running {
        size: TreeSize(live().size()),
        signed: TreeSize(live().size() - 2),
    };
    assert!(report.not_checked.contains(&left_out));
}

#[test]
fn a_damaged_frame_with_a_good_one_behind_it_is_no_writer_at_work() {
    let log = live();
    let segment = log.segments.last().unwrap();
    let file = format!("{:020}.entries", segment.first);
    // The frame before the last one; no checkpoint covers it.
    let frames: Vec<usize> = (0..segment.entries.len())
        .filter(|at| segment.entries[*at..].starts_with(b"CUSTFRM1"))
        .collect();
    let damage = |frame: usize, folder: &Path| flip(folder, &file, frame + 80);
    let [.., before, last] = frames[..] else {
        panic!("{frames:?}");
    };
    let damaged = |what: &MisdeedKind| matches!(what, MisdeedKind::FrameDamaged { .. });
    spoiled_running(&log, &|folder| damage(before, folder), &file, &damaged);
    let saved = log.save();
    damage(last, &saved.folder());
    // Its hash is there, so the frame was whole before.
    let surplus = |what: &MisdeedKind| matches!(what, MisdeedKind::SurplusBytes { .. });
    let array = "hashes/0.00000000";
    names(&running(&saved), array, &surplus);
    let path = saved.folder().join(array);
    let hashes = fs::read(&path).unwrap();
    fs::write(&path, &hashes[..hashes.len() - 32]).unwrap();
    let report = running(&saved);
    assert_eq!(report.misdeeds, []);
    let being_written = |what: &NotChecked| matches!(what, NotChecked::BeingWritten { .. });
    assert!(report.not_checked.iter().any(being_written));
    assert_eq!(report.entries, log.size() - 1);
}

#[test]
fn a_half_record_and_a_file_that_is_being_finished_are_said() {
    let said = |report: &Report, file: &str| {
        let says = |what: &NotChecked| matches!(what, NotChecked::BeingWritten { file: said } if said.ends_with(file));
        assert_eq!(report.misdeeds, []);
        assert!(report.not_checked.iter().any(says), "{report:?}");
    };
    let mut half = live();
    half.history.extend_from_slice(&[0, 0, 9, 0, 1, 2, 3]);
    let saved = half.save();
    let refused = |what: &MisdeedKind| matches!(what, MisdeedKind::History(_));
    names(&verify(&saved), "checkpoints", &refused);
    said(&running(&saved), "checkpoints");
    // The finish frame is written, and the file is not cut to its length yet.
    let mut finishing = TestLog::sample();
    let segment = finishing.segments.last_mut().unwrap();
    segment.entries.extend_from_slice(&[0; 3000]);
    let file = format!("{:020}.entries", segment.first);
    let saved = finishing.save();
    let surplus = |what: &MisdeedKind| matches!(what, MisdeedKind::SurplusBytes { .. });
    names(&verify(&saved), &file, &surplus);
    said(&running(&saved), &file);
    let len = fs::metadata(saved.folder().join(&file)).unwrap().len();
    flip(&saved.folder(), &file, usize::try_from(len).unwrap() - 1);
    names(&running(&saved), &file, &surplus);
}
