//! Opening a log after an interruption, a roll back or a loss; bounds of frames and positions.
//!
//! Not here: the log undisturbed (`log_tests`).

use std::path::Path;
use std::time::Duration;

use ledger_core::frame::FrameHeader;
use ledger_core::state::{Position, SourceState};
use ledger_core::{Index, Sequence, TreeSize};

use crate::door::{Door as _, Outcome};
use crate::frames::{EntriesFile, Next};
use crate::log_tests::{batch, copy_tree, message, open, options, paths, register};
use crate::{Log, LogOptions, LogPaths, OpenError, Reader, create_log};

/// A log as a crash leaves it, with entries durable that no checkpoint covers.
fn crashed_unsigned(root: &Path, copy: &Path) -> SourceState {
    create_log(&paths(root)).unwrap();
    let never = LogOptions {
        checkpoint_every: Duration::from_secs(3600),
        arrays_every: Duration::from_millis(1),
        ..options()
    };
    let log = Log::open(&paths(root), &never).unwrap().0;
    let mut door = log.door();
    let source = register(&mut door);
    door.wait_published(TreeSize(2)).unwrap();
    for n in 0..4 {
        let messages = (1..=50)
            .map(|k| message(50 * n + k, 5, "SELECT 1"))
            .collect();
        door.append(batch(&source, messages)).unwrap();
    }
    while log.status().arrays_durable < 202 {
        std::thread::yield_now();
    }
    // One more frame carries the mark.
    door.append(batch(&source, vec![message(201, 5, "SELECT 1")]))
        .unwrap();
    copy_tree(root, copy);
    log.close().unwrap();
    source
}

#[test]
fn a_damaged_hash_beyond_the_signed_root_is_derived_again() {
    let (root, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    crashed_unsigned(root.path(), copy.path());
    let array = paths(copy.path())
        .folder()
        .join("hashes")
        .join("0.00000000");
    let good = std::fs::read(&array).unwrap();
    let mut bad = good.clone();
    bad[150 * 32] ^= 1;
    std::fs::write(&array, &bad).unwrap();
    let (log, recovered) = Log::open(&paths(copy.path()), &options()).unwrap();
    assert_eq!(recovered.rederived_from, 2);
    log.close().unwrap();
    let mended = std::fs::read(&array).unwrap();
    assert_eq!(mended[..good.len()], good);
}

#[test]
fn opening_a_log_that_lost_entries_touches_nothing() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let source = register(&mut door);
    door.append(batch(&source, vec![message(1, 5, "SELECT 1")]))
        .unwrap();
    log.close().unwrap();
    let folder = paths(root.path()).folder();
    let second = folder.join("00000000000000000001.entries");
    let kept = std::fs::read(&second).unwrap();
    std::fs::remove_file(&second).unwrap();
    let before = names(&folder);
    let refused = Log::open(&paths(root.path()), &options());
    assert!(
        matches!(refused, Err(OpenError::ShorterThanSigned { .. })),
        "{refused:?}"
    );
    assert_eq!(names(&folder), before);
    std::fs::write(&second, kept).unwrap();
    open(root.path()).close().unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_rolled_back_note_is_refused() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let note = paths(root.path()).file("last-note");
    let old = std::fs::read(&note).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let source = register(&mut door);
    door.append(batch(&source, vec![message(1, 5, "SELECT 1")]))
        .unwrap();
    log.close().unwrap();
    let new = std::fs::read(&note).unwrap();
    std::fs::write(&note, old).unwrap();
    let refused = Log::open(&paths(root.path()), &options());
    assert!(
        matches!(refused, Err(OpenError::RolledBack { .. })),
        "{refused:?}"
    );
    std::fs::write(&note, new).unwrap();
    open(root.path()).close().unwrap();
}

#[test]
fn frames_stay_readable_whatever_arrives_together() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let largest = LogOptions {
        batch_entries_max: crate::door::BATCH_MESSAGES_MAX,
        batch_bytes_max: 64 << 20,
        ..options()
    };
    let log = Log::open(&paths(root.path()), &largest).unwrap().0;
    let mut door = log.door();
    let source = register(&mut door);
    let tickets: Vec<_> = (0..6u64)
        .map(|n| {
            let messages = (1..=8000)
                .map(|k| message(8000 * n + k, 5, "SELECT 1"))
                .collect();
            door.submit(batch(&source, messages)).unwrap()
        })
        .collect();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    assert_eq!(log.close().unwrap().size, TreeSize(48_002));
    let reader = Reader::open(&paths(root.path())).unwrap();
    assert_eq!(reader.size(), TreeSize(48_002));
    assert_eq!(
        reader.entry(Index(48_001)).unwrap().entry.sequence,
        Sequence(48_000)
    );
}

#[test]
fn positions_of_one_who_only_repeats_are_old() {
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let log = open(root.path());
    let mut door = log.door();
    let source = register(&mut door);
    let mut send = |numbers: std::ops::RangeInclusive<u64>, place: &[u8]| {
        let mut sent = batch(
            &source,
            numbers.map(|n| message(n, 1, "SELECT 1")).collect(),
        );
        let key = "file:pg".to_owned();
        sent.positions = vec![Position {
            key: key.clone(),
            value: place.to_vec(),
        }];
        door.append(sent).unwrap();
        door.positions(&[key]).unwrap()[0].clone().unwrap().value
    };
    assert_eq!(send(1..=2, b"two"), b"two");
    assert_eq!(send(1..=1, b"one"), b"two");
    assert_eq!(send(2..=3, b"three"), b"three");
    log.close().unwrap();
}

#[test]
fn an_interrupted_creation_goes_on() {
    let whole = tempfile::tempdir().unwrap();
    create_log(&paths(whole.path())).unwrap();
    for left in [
        &["keys"][..],
        &["keys", "trust"],
        &["keys", "trust", "logs/main/2026/hashes"],
    ] {
        let root = tempfile::tempdir().unwrap();
        for part in left {
            std::fs::create_dir_all(root.path().join(part)).unwrap();
            copy_tree(&whole.path().join(part), &root.path().join(part));
        }
        create_log(&paths(root.path())).unwrap();
        let other = LogPaths::new(root.path(), "example.org", "main", "2027").unwrap();
        assert!(create_log(&other).is_err(), "keys of another log");
        open(root.path()).close().unwrap();
    }
}

/// The frames of a log's segments, as (first index, entries).
fn frames(root: &Path) -> Vec<(u64, u32)> {
    let mut frames = Vec::new();
    let folder = paths(root).folder();
    for first in crate::frames::list_segments(&folder).unwrap() {
        let file = EntriesFile::open(&folder, first).unwrap();
        let mut at = file.header().unwrap().1;
        while let Next::Frame(header) = file.next(at).unwrap() {
            frames.push((header.first.0, header.entry_count));
            at += FrameHeader::LEN as u64 + u64::from(header.body_len);
        }
    }
    frames
}

#[test]
fn a_batch_with_positions_is_one_frame_and_one_without_is_written_while_it_is_read() {
    for (key, several) in [(Some("file:pg"), false), (None, true)] {
        let root = tempfile::tempdir().unwrap();
        create_log(&paths(root.path())).unwrap();
        let log = open(root.path());
        let mut door = log.door();
        let source = register(&mut door);
        let messages: Vec<_> = (1..=3000).map(|n| message(n, 5, "SELECT 1")).collect();
        let mut sent = batch(&source, messages.clone());
        sent.positions.extend(key.map(|key| Position {
            key: key.to_owned(),
            value: b"x".to_vec(),
        }));
        let first = door.append(sent).unwrap();
        assert_eq!(first.outcomes.len(), 3000);
        assert_eq!(first.size, TreeSize(3002));
        // A part that was durable before a crash is a repeat when all is sent again.
        let again = door.append(batch(&source, messages)).unwrap();
        assert!(again.outcomes.iter().all(|one| *one == Outcome::Repeat));
        log.close().unwrap();
        let entries: Vec<u32> = frames(root.path())
            .into_iter()
            .map(|frame| frame.1)
            .collect();
        let whole = entries.contains(&3000);
        assert_eq!(whole, !several, "{key:?}: {entries:?}");
        assert_eq!(entries.iter().sum::<u32>(), 3002);
    }
}
