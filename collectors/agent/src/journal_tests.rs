//! The journal under cuts at every byte, full disks and random histories.

use proptest::prelude::{Strategy, prop};

use super::*;
use crate::segment::Fault;
use ledger_core::Flags;

const EPOCH: Epoch = Epoch(100);
const SOURCE: SourceId = SourceId(3);

fn bounds() -> JournalBounds {
    JournalBounds {
        quota_bytes: 64 << 10,
        segment_bytes: 4 << 10,
    }
}

fn mac(epoch: Epoch, stream: Stream, number: u64) -> MessageMac {
    let mut mac = [stream.number() + 1; 32];
    mac[..8].copy_from_slice(&number.to_be_bytes());
    mac[8..12].copy_from_slice(&epoch.0.to_be_bytes());
    if number == 0 { [0; 32] } else { mac }
}

fn message(epoch: Epoch, stream: Stream, number: u64, len: usize) -> Message {
    Message {
        stream,
        epoch,
        sequence: Sequence(number),
        prev: mac(epoch, stream, number - 1),
        mac: mac(epoch, stream, number),
        flags: Flags::NONE,
        value: vec![b'x'; len],
    }
}

fn records(journal: &Journal, count: u64) -> Vec<Message> {
    let next = journal.last(Stream::Record).sequence.0 + 1;
    (next..next + count)
        .map(|n| message(journal.epoch(), Stream::Record, n, 100))
        .collect()
}

fn at(offset: u64) -> Vec<Position> {
    vec![Position {
        key: "file:1".to_owned(),
        value: offset.to_string().into_bytes(),
    }]
}

fn append(journal: &mut Journal, count: u64) -> Result<(), JournalError> {
    let messages = records(journal, count);
    let end = journal.last(Stream::Record).sequence.0 + count;
    journal.append(Room::Records, &messages, &at(end))
}

fn held(journal: &Journal) -> Vec<u64> {
    let (mut cursor, mut numbers) = (Cursor::default(), Vec::new());
    while let Some((frame, behind)) = journal.next(cursor).unwrap() {
        numbers.extend(frame.messages.iter().map(|m| m.sequence.0));
        cursor = behind;
    }
    numbers
}

fn reopen(dir: &Path) -> (Journal, Recovered) {
    Journal::open(dir, SOURCE, bounds()).unwrap().unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        std::fs::copy(item.path(), to.join(item.file_name())).unwrap();
    }
}

#[test]
fn what_is_bound_is_there_after_a_restart_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        Journal::open(dir.path(), SOURCE, bounds())
            .unwrap()
            .is_none()
    );
    let mut journal = Journal::create(dir.path(), SOURCE, EPOCH, bounds()).unwrap();
    let refused = Journal::open(dir.path(), SOURCE, bounds()).unwrap_err();
    assert!(matches!(refused, JournalError::Held { .. }), "{refused}");
    let gap = vec![message(EPOCH, Stream::Record, 2, 1)];
    let refused = journal.append(Room::Records, &gap, &[]).unwrap_err();
    assert!(
        matches!(refused, JournalError::OutOfOrder { .. }),
        "{refused}"
    );
    for _ in 0..30 {
        append(&mut journal, 3).unwrap();
    }
    let beat = message(EPOCH, Stream::Heartbeat, 1, 9);
    journal.append(Room::Own, &[beat], &[]).unwrap();
    drop(journal);
    let other = Journal::open(dir.path(), SourceId(4), bounds()).unwrap_err();
    assert!(other.to_string().contains("belongs to source 3"), "{other}");
    let (mut journal, recovered) = reopen(dir.path());
    assert_eq!(recovered, Recovered::default());
    assert_eq!(journal.epoch(), EPOCH);
    assert_eq!(journal.last(Stream::Record).sequence, Sequence(90));
    assert_eq!(journal.last(Stream::Heartbeat).sequence, Sequence(1));
    assert_eq!(journal.positions()["file:1"], b"90");
    append(&mut journal, 1).unwrap();
    let mut expected: Vec<u64> = (1..=90).collect();
    expected.extend([1, 91]);
    assert_eq!(held(&journal), expected);
    for n in [1, 45, 90, 91] {
        let found = journal.mac_of(Stream::Record, Sequence(n)).unwrap();
        assert_eq!(found, Some(mac(EPOCH, Stream::Record, n)), "{n}");
    }
    assert_eq!(journal.mac_of(Stream::Record, Sequence(92)).unwrap(), None);
}

#[test]
fn a_cut_at_every_byte_of_the_last_batches_leaves_whole_batches() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), SOURCE, EPOCH, bounds()).unwrap();
    let mut ends = vec![(journal.used_bytes(), 0)];
    for _ in 0..3 {
        append(&mut journal, 2).unwrap();
        ends.push((
            journal.used_bytes(),
            journal.last(Stream::Record).sequence.0,
        ));
    }
    drop(journal);
    let whole = std::fs::read(dir.path().join("0000000001.journal")).unwrap();
    let first = usize::try_from(ends[0].0).unwrap();
    for len in first..=whole.len() {
        let (kept_at, kept) = *ends.iter().rfind(|(end, _)| *end <= len as u64).unwrap();
        // Cut short, and cut short but grown by the file system with zeros.
        for zeros in [0, 40] {
            let cut = tempfile::tempdir().unwrap();
            let mut bytes = whole[..len].to_vec();
            bytes.resize(len + zeros, 0);
            std::fs::write(cut.path().join("0000000001.journal"), &bytes).unwrap();
            let (mut journal, recovered) = reopen(cut.path());
            assert_eq!(recovered.dropped_bytes, bytes.len() as u64 - kept_at);
            assert_eq!(journal.last(Stream::Record).sequence, Sequence(kept));
            assert_eq!(held(&journal), (1..=kept).collect::<Vec<_>>());
            append(&mut journal, 1).unwrap();
            drop(journal);
            assert_eq!(
                held(&reopen(cut.path()).0),
                (1..=kept + 1).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn damage_before_good_bytes_is_no_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), SOURCE, EPOCH, bounds()).unwrap();
    let first = usize::try_from(journal.used_bytes()).unwrap();
    for _ in 0..3 {
        append(&mut journal, 1).unwrap();
    }
    let last_begins = {
        let mut cursor = Cursor::default();
        for _ in 0..2 {
            cursor = journal.next(cursor).unwrap().unwrap().1;
        }
        usize::try_from(cursor.offset).unwrap()
    };
    drop(journal);
    let path = dir.path().join("0000000001.journal");
    let whole = std::fs::read(&path).unwrap();
    let open_with = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        Journal::open(dir.path(), SOURCE, bounds())
    };
    for at in 0..last_begins {
        let refused = open_with(at).err();
        let damaged = matches!(refused, Some(JournalError::Damaged { .. }));
        assert!(damaged, "byte {at} (frames from {first}): {refused:?}");
    }
    for at in last_begins..whole.len() {
        let (journal, recovered) = open_with(at).unwrap().unwrap();
        assert_eq!(recovered.dropped_bytes, (whole.len() - last_begins) as u64);
        assert_eq!(journal.last(Stream::Record).sequence, Sequence(2));
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(held(&reopen(dir.path()).0), [1, 2, 3]);
}

#[test]
fn a_missing_segment_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), SOURCE, EPOCH, bounds()).unwrap();
    while journal.segments.len() < 4 {
        append(&mut journal, 5).unwrap();
    }
    drop(journal);
    std::fs::write(dir.path().join("0000000009.journal.new"), b"half").unwrap();
    let twin = tempfile::tempdir().unwrap();
    copy(dir.path(), twin.path());
    std::fs::remove_file(twin.path().join("0000000002.journal")).unwrap();
    let refused = Journal::open(twin.path(), SOURCE, bounds()).unwrap_err();
    assert!(
        refused.to_string().contains("segment before it is missing"),
        "{refused}"
    );
    assert!(!dir.path().join("0000000002.journal.new").exists());
    assert_eq!(reopen(dir.path()).0.segments.len(), 4);
}

#[test]
fn the_quota_is_never_exceeded_and_forgetting_frees_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), SOURCE, EPOCH, bounds()).unwrap();
    let mut pressures = vec![journal.pressure()];
    let refused = loop {
        match append(&mut journal, 4) {
            Ok(()) => {
                if pressures.last() != Some(&journal.pressure()) {
                    pressures.push(journal.pressure());
                }
                assert!(journal.used_bytes() <= bounds().quota_bytes);
            }
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, JournalError::Full { .. }), "{refused}");
    assert_eq!(pressures, [Pressure::Free, Pressure::High, Pressure::Full]);
    let bound = journal.last(Stream::Record).sequence;
    let beat = message(EPOCH, Stream::Heartbeat, 1, 300);
    journal.append(Room::Own, &[beat], &[]).unwrap();
    let nothing = Sequence(0);
    journal.forget([nothing; 3], EPOCH).unwrap();
    assert_eq!(
        held(&journal).len() as u64,
        bound.0 + 1,
        "nothing was acknowledged"
    );
    journal
        .forget([Sequence(bound.0 / 2), nothing, nothing], EPOCH)
        .unwrap();
    let left = held(&journal);
    assert!(
        left.contains(&(bound.0 / 2 + 1)) && !left.contains(&2),
        "{left:?}"
    );
    assert!(append(&mut journal, 4).is_ok());
    let bound = journal.last(Stream::Record).sequence;
    journal
        .forget([bound, Sequence(1), nothing], EPOCH)
        .unwrap();
    assert_eq!(journal.pressure(), Pressure::Free);
    drop(journal);
    let (journal, _) = reopen(dir.path());
    assert_eq!(journal.last(Stream::Record).sequence, bound);
    assert_eq!(
        journal.positions()["file:1"],
        bound.0.to_string().as_bytes()
    );
}

#[test]
fn a_full_disk_or_a_failed_sync_binds_nothing() {
    for fault in [Fault::FullAfter(0), Fault::FullAfter(50), Fault::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), SOURCE, EPOCH, bounds()).unwrap();
        append(&mut journal, 2).unwrap();
        journal.fault = Some(fault);
        let refused = append(&mut journal, 2).unwrap_err();
        assert!(matches!(refused, JournalError::Io { .. }), "{refused}");
        assert_eq!(journal.last(Stream::Record).sequence, Sequence(2));
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        assert_eq!(held(&reopen(copied.path()).0), [1, 2], "{fault:?}");
        journal.fault = None;
        append(&mut journal, 1).unwrap();
        assert_eq!(held(&journal), [1, 2, 3]);
    }
}

#[test]
fn what_could_not_be_undone_is_undone_before_the_next_append() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), SOURCE, EPOCH, bounds()).unwrap();
    append(&mut journal, 2).unwrap();
    // A batch and a segment that are there, though making them failed.
    let mut torn = Vec::new();
    Frame::encode(&[], &records(&journal, 1), &mut torn);
    let path = dir.path().join("0000000001.journal");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend(&torn);
    std::fs::write(&path, &bytes).unwrap();
    std::fs::write(dir.path().join("0000000002.journal"), b"half").unwrap();
    journal.failed = true;
    append(&mut journal, 3).unwrap();
    assert!(!journal.failed && !dir.path().join("0000000002.journal").exists());
    drop(journal);
    assert_eq!(held(&reopen(dir.path()).0), [1, 2, 3, 4, 5]);
}

#[test]
fn a_new_epoch_starts_again_and_keeps_what_was_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(dir.path(), SOURCE, EPOCH, bounds()).unwrap();
    append(&mut journal, 2).unwrap();
    journal.begin_epoch(Epoch(200), at(7)).unwrap();
    append(&mut journal, 1).unwrap();
    drop(journal);
    let (mut journal, _) = reopen(dir.path());
    assert_eq!(journal.epoch(), Epoch(200));
    assert_eq!(held(&journal), [1, 2, 1]);
    journal.forget([Sequence(0); 3], Epoch(200)).unwrap();
    assert_eq!(held(&journal), [1]);
}

#[derive(Clone, Debug)]
enum Act {
    Append(u64),
    Forget(u64),
    Reopen,
    Tear(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = proptest::prop_oneof![
        4 => (1u64..6).prop_map(Act::Append),
        2 => (0u64..100).prop_map(Act::Forget),
        1 => proptest::strategy::Just(Act::Reopen),
        1 => (1usize..200).prop_map(Act::Tear),
    ];
    prop::collection::vec(act, 0..40)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// Whatever happens, what is held is a run of numbers up to the last one bound, and nothing
    /// above what was acknowledged is missing.
    #[test]
    fn every_history_keeps_what_was_not_acknowledged(acts in acts()) {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), SOURCE, EPOCH, bounds()).unwrap();
        let (mut bound, mut acknowledged) = (0u64, 0u64);
        for act in acts {
            match act {
                Act::Append(count) => match append(&mut journal, count) {
                    Ok(()) => bound += count,
                    Err(error) => {
                        let full = matches!(error, JournalError::Full { .. });
                        proptest::prop_assert!(full, "{}", error);
                    }
                },
                Act::Forget(percent) => {
                    acknowledged = acknowledged.max(bound * percent / 100);
                    let upto = [Sequence(acknowledged), Sequence(0), Sequence(0)];
                    journal.forget(upto, EPOCH).unwrap();
                }
                Act::Reopen => {
                    drop(journal);
                    journal = reopen(dir.path()).0;
                }
                // A frame that was on its way when the machine died.
                Act::Tear(len) => {
                    let path = journal.segments.back().unwrap().path(dir.path());
                    drop(journal);
                    let mut torn = Vec::new();
                    let next = message(EPOCH, Stream::Record, bound + 1, 200);
                    Frame::encode(&[], &[next], &mut torn);
                    let mut bytes = std::fs::read(&path).unwrap();
                    bytes.extend(&torn[..len]);
                    std::fs::write(&path, bytes).unwrap();
                    let opened = reopen(dir.path());
                    proptest::prop_assert_eq!(opened.1.dropped_bytes, len as u64);
                    journal = opened.0;
                }
            }
            let held = held(&journal);
            let from = held.first().copied().unwrap_or(bound + 1);
            proptest::prop_assert!(from <= acknowledged + 1);
            proptest::prop_assert_eq!(held, (from..=bound).collect::<Vec<_>>());
            proptest::prop_assert_eq!(journal.last(Stream::Record).sequence.0, bound);
            proptest::prop_assert!(journal.used_bytes() <= bounds().quota_bytes);
        }
    }
}
