//! Tampering with a real log: every byte changed, every file cut, removed, swapped, and files added
//! under `logs/`. Each time the verifier names the file; untouched, it accepts.
//!
//! Two threads work on copies of their own. Not here: lies under good checksums, which
//! `ledger/verify` tests with logs that it builds itself; interruptions (see `faults`).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keys_public::TrustFile;
use ledger_core::frame::FrameHeader;
use ledger_core::segment::SegmentHeader;
use ledger_core::state::{Position, Stream};
use ledger_core::{Epoch, Flags, Nanos, Sequence, TreeSize};
use ledger_event::Event;
use ledger_log::{Batch, Door as _, Log, LogOptions, LogPaths, SourceSpec, create_log, rebuild};
use ledger_verify::{MisdeedKind, NotChecked, Report, Tail, VerifyOptions, verify_dir};

/// Bytes that are left of what an interrupted log had grown ahead, so that a test is quick.
const AHEAD: u64 = 1 << 16;

/// A directory with a log, and the trust file.
struct Installation {
    dir: tempfile::TempDir,
    trust: TrustFile,
}

impl Installation {
    /// A copy of the log's folder alone: nothing else is verified.
    fn copy(&self) -> Installation {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&self.dir.path().join("logs"), &dir.path().join("logs"));
        Installation {
            dir,
            trust: self.trust.clone(),
        }
    }

    fn verify(&self) -> Report {
        self.verify_as(Tail::AtRest)
    }

    /// As it is verified while a server holds it: `BeingWritten`.
    fn verify_as(&self, tail: Tail) -> Report {
        let options = VerifyOptions {
            tail,
            ..VerifyOptions::default()
        };
        verify_dir(self.dir.path(), &self.trust, &options, &|_| ()).unwrap()
    }

    fn accepted(&self) -> Report {
        let report = self.verify();
        assert_eq!(report.misdeeds, [], "the untouched log is refused");
        report
    }

    /// Refused, and one of these files is named.
    fn refused(&self, files: &[&str], what: &str) {
        let report = self.verify();
        assert!(!report.verified(), "{what} is accepted");
        let named = |file: &&str| report.misdeeds.iter().any(|misdeed| misdeed.file == **file);
        assert!(files.iter().any(named), "{what}: {:#?}", report.misdeeds);
    }

    /// Every file of the log, relative to the directory.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.dir.path().join("logs")];
        while let Some(folder) = folders.pop() {
            for child in fs::read_dir(folder).unwrap() {
                let path = child.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(self.dir.path()).unwrap();
                    files.push(name.to_str().unwrap().to_owned());
                }
            }
        }
        files.sort();
        files
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for child in fs::read_dir(from).unwrap() {
        let child = child.unwrap();
        let target = to.join(child.file_name());
        if child.path().is_dir() {
            copy_folder(&child.path(), &target);
        } else {
            fs::copy(child.path(), target).unwrap();
        }
    }
}

fn message(number: u64) -> ledger_core::Message {
    let mut event = Event::default();
    event.classify(6005, 1);
    event.set_time(Nanos(
        1_790_000_000_000_000_000 + i64::try_from(number).unwrap(),
    ));
    event.severity_id = Some(1);
    event.metadata.version = Some("1.8.0".into());
    event.metadata.product.name = Some("PostgreSQL".into());
    event.actor.user.name = Some("dba_root".into());
    event.query_info.query_string = Some(format!("SELECT {number}").into());
    ledger_core::Message {
        stream: Stream::Record,
        epoch: Epoch(5),
        sequence: Sequence(number),
        prev: [0; 32],
        mac: [0; 32],
        flags: Flags::NONE,
        value: event.to_json(),
    }
}

fn paths(root: &Path) -> LogPaths {
    LogPaths::new(root, "tamper.example", "main", "2026").unwrap()
}

fn open(root: &Path, checkpoint_every: Duration) -> Log {
    let options = LogOptions {
        checkpoint_every,
        ..LogOptions::default()
    };
    Log::open(&paths(root), &options).unwrap().0
}

/// Appends one batch; gives the log's size after it.
fn append(log: &Log, numbers: &[u64]) -> TreeSize {
    let mut door = log.door();
    let spec = SourceSpec {
        name: "pg".to_owned(),
        platform: "postgresql".to_owned(),
    };
    let source = door.register(&spec).unwrap().id;
    let messages = numbers.iter().map(|n| message(*n)).collect();
    let value = numbers.last().unwrap().to_be_bytes().to_vec();
    let positions = vec![Position {
        key: "file:pg".to_owned(),
        value,
    }];
    let batch = Batch {
        source,
        messages,
        positions,
    };
    door.append(batch).unwrap().size
}

fn new_log() -> (tempfile::TempDir, TrustFile) {
    let dir = tempfile::tempdir().unwrap();
    create_log(&paths(dir.path())).unwrap();
    let trust = fs::read_to_string(paths(dir.path()).trust()).unwrap();
    (dir, TrustFile::parse(&trust).unwrap())
}

/// A small log of three finished segments, with a gap that was filled late.
fn stopped() -> Installation {
    let (dir, trust) = new_log();
    for numbers in [&[1, 2, 5][..], &[3, 6]] {
        // Only a stop publishes, so that there are few notes to verify again and again.
        let log = open(dir.path(), Duration::from_secs(3600));
        append(&log, numbers);
        log.close().unwrap();
    }
    Installation { dir, trust }
}

/// What a kill leaves of it: a copy taken while it is open.
fn interrupted() -> Installation {
    let stopped = stopped();
    let log = open(stopped.dir.path(), Duration::from_millis(20));
    let size = append(&log, &[4, 7]);
    // Then nothing is written until the next tick, a minute away.
    log.door().wait_published(size).unwrap();
    let copy = stopped.copy();
    log.close().unwrap();
    cut_ahead(&copy);
    copy
}

/// Leaves little of what is grown ahead.
fn cut_ahead(copy: &Installation) {
    for file in copy.files() {
        let path = copy.path(&file);
        let bytes = fs::read(&path).unwrap();
        let written = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at as u64 + 1);
        if bytes.len() as u64 > written + AHEAD {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(written + AHEAD).unwrap();
        }
    }
}

/// Runs `check` on every case, on two threads with a copy of the log each.
fn on_both_threads<C: Sync>(
    log: &Installation,
    cases: &[C],
    check: &(dyn Fn(&Installation, &C) + Sync),
) {
    std::thread::scope(|scope| {
        for half in 0..2 {
            let copy = log.copy();
            scope.spawn(move || {
                for case in cases.iter().skip(half).step_by(2) {
                    check(&copy, case);
                }
            });
        }
    });
}

/// Changes one byte, verifies, and puts it back.
fn change(log: &Installation, file: &str, at: u64) {
    let handle = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(log.path(file))
        .unwrap();
    let mut byte = [0];
    handle.read_exact_at(&mut byte, at).unwrap();
    // Each bit has its turn.
    handle
        .write_all_at(&[byte[0] ^ (1 << (at % 8))], at)
        .unwrap();
    log.refused(&[file], &format!("byte {at} of {file} changed"));
    handle.write_all_at(&byte, at).unwrap();
}

/// Every length at which a file may be cut, the whole length left out.
fn lengths(whole: u64) -> impl Iterator<Item = u64> {
    (0..whole).filter(move |len| *len < 80 || whole - len < 200 || len % 97 == 0)
}

/// Where frames end in an entries file, the header's end included.
fn frame_ends(path: &Path) -> BTreeSet<u64> {
    let bytes = fs::read(path).unwrap();
    let mut at = SegmentHeader::length(&bytes).unwrap();
    let mut ends = BTreeSet::from([at as u64]);
    while let Ok(header) = FrameHeader::decode(&bytes[at..]) {
        at += FrameHeader::LEN + header.body_len as usize;
        ends.insert(at as u64);
    }
    ends
}

#[test]
fn every_changed_byte_is_refused() {
    let log = stopped();
    log.accepted();
    let cases: Vec<(String, u64)> = log
        .files()
        .into_iter()
        .flat_map(|file| {
            let len = fs::metadata(log.path(&file)).unwrap().len();
            (0..len).map(move |at| (file.clone(), at))
        })
        .collect();
    assert!(cases.len() > 10_000, "only {} bytes", cases.len());
    on_both_threads(&log, &cases, &|log, (file, at)| change(log, file, *at));
    log.accepted();
}

#[test]
fn changed_bytes_of_an_interrupted_log_are_refused() {
    let log = interrupted();
    let report = log.accepted();
    assert!(report.not_checked.contains(&NotChecked::Interrupted));
    let cases: Vec<(String, u64)> = log
        .files()
        .into_iter()
        .flat_map(|file| {
            let len = fs::metadata(log.path(&file)).unwrap().len();
            // Written bytes and bytes grown ahead alike.
            (0..len).step_by(131).map(move |at| (file.clone(), at))
        })
        .collect();
    on_both_threads(&log, &cases, &|log, (file, at)| change(log, file, *at));
    log.accepted();
}

#[test]
fn every_cut_is_refused() {
    for log in [stopped(), interrupted()] {
        let untouched = log.accepted();
        let stopped = !untouched.not_checked.contains(&NotChecked::Interrupted);
        let files = log.files();
        let last = files
            .iter()
            .rfind(|file| file.ends_with(".entries"))
            .unwrap();
        let cases: Vec<(&String, u64)> = files
            .iter()
            .flat_map(|file| {
                let len = fs::metadata(log.path(file)).unwrap().len();
                lengths(len).map(move |len| (file, len))
            })
            .collect();
        let ends = frame_ends(&log.path(last));
        on_both_threads(&log, &cases, &|log, (file, len)| {
            let path = log.path(file);
            let good = fs::read(&path).unwrap();
            fs::write(&path, &good[..usize::try_from(*len).unwrap()]).unwrap();
            let remark = remark_for(file, *len, &good, stopped, (*file == last).then_some(&ends));
            match remark {
                None => log.refused(&[file.as_str()], &format!("{file} cut at {len}")),
                Some(said) => {
                    let report = log.verify();
                    let said = report.not_checked.iter().any(said);
                    assert!(!report.verified() || said, "{file} cut at {len}");
                }
            }
            fs::write(&path, good).unwrap();
        });
        log.accepted();
    }
}

/// What is said of a cut that may leave what an interruption leaves, so that it cannot be refused
/// with this file named; `None` for all others.
fn remark_for(
    file: &str,
    len: u64,
    good: &[u8],
    stopped: bool,
    last: Option<&BTreeSet<u64>>,
) -> Option<fn(&NotChecked) -> bool> {
    let zeros_only = good
        .iter()
        .rposition(|byte| *byte != 0)
        .is_none_or(|at| (at as u64) < len);
    let whole_frames = last.is_some_and(|ends| ends.contains(&len));
    // Whole frames at the end of an interrupted log, or zeros grown ahead. What was stopped has the
    // word of the history that nothing is missing.
    if !stopped && (whole_frames || zeros_only) {
        return Some(|said| matches!(said, NotChecked::Interrupted));
    }
    match (stopped, file.rsplit('/').next()) {
        // Hashes that were not durable yet, and a checkpoint that was not kept yet.
        (false, Some("0.00000000")) => Some(|said| matches!(said, NotChecked::HashesBehind { .. })),
        (false, Some("checkpoints")) => Some(|said| matches!(said, NotChecked::HistoryBehind)),
        _ => None,
    }
}

#[test]
fn every_removed_and_every_swapped_file_is_refused() {
    for log in [stopped(), interrupted()] {
        log.accepted();
        let files = log.files();
        for file in &files {
            let aside = log.dir.path().join("aside");
            fs::rename(log.path(file), &aside).unwrap();
            let report = log.verify();
            let behind = |said: &NotChecked| matches!(said, NotChecked::HashesBehind { .. });
            // Hashes that were not durable yet may be missing of an interrupted log, all of them.
            if !report.verified() || !report.not_checked.iter().any(behind) {
                log.refused(&[file], &format!("{file} removed"));
            }
            fs::rename(&aside, log.path(file)).unwrap();
        }
        for (n, one) in files.iter().enumerate() {
            for other in &files[n + 1..] {
                swap(&log, one, other);
                log.refused(&[one, other], &format!("{one} and {other} swapped"));
                swap(&log, one, other);
            }
        }
        log.accepted();
    }
}

fn swap(log: &Installation, one: &str, other: &str) {
    let aside = log.dir.path().join("aside");
    fs::rename(log.path(one), &aside).unwrap();
    fs::rename(log.path(other), log.path(one)).unwrap();
    fs::rename(&aside, log.path(other)).unwrap();
}

#[test]
fn every_added_file_is_refused() {
    let log = stopped();
    let folder = "logs/main/2026";
    let next = format!("{folder}/00000000000000000099.entries");
    for file in [
        "logs/stray",
        "logs/main/stray",
        "logs/main/2026/stray",
        "logs/main/2026/hashes/stray",
        "logs/main/2026/hashes/0.00000001",
        "logs/main/2026/hashes/1.00000000",
        "logs/main/2026/last-note.tmp",
        "logs/main/2026/last-note~",
        "logs/main/2026/.hidden",
        "logs/main/2026/00000000000000000000.payloads.g1",
        &next,
    ] {
        log.accepted();
        for content in [&b""[..], b"x"] {
            fs::write(log.path(file), content).unwrap();
            log.refused(&[file], &format!("{file} added"));
        }
        fs::remove_file(log.path(file)).unwrap();
    }
    for file in ["logs/empty", "logs/main/empty", "logs/main/2026/empty"] {
        fs::create_dir(log.path(file)).unwrap();
        log.refused(&[file], &format!("{file} added"));
        fs::remove_dir(log.path(file)).unwrap();
    }
    let link = "logs/main/2026/link";
    std::os::unix::fs::symlink(log.path(folder), log.path(link)).unwrap();
    log.refused(&[link], "a link added");
    fs::remove_file(log.path(link)).unwrap();
    log.accepted();
}

/// A log as its running writer has it: everything is signed, then one batch more that is not.
fn running() -> Installation {
    let stopped = stopped();
    let log = open(stopped.dir.path(), Duration::from_secs(3600));
    let size = append(&log, &[4, 7]);
    log.door().wait_published(size).unwrap();
    append(&log, &[8]);
    let copy = stopped.copy();
    log.close().unwrap();
    cut_ahead(&copy);
    copy
}

/// The bytes of each file of a running log that its last checkpoint covers.
fn signed_bytes(log: &Installation) -> Vec<(String, u64)> {
    let checkpoint = log.verify_as(Tail::BeingWritten).checkpoint.unwrap();
    let entries: Vec<String> = log.files();
    let last = entries
        .iter()
        .rfind(|file| file.ends_with(".entries"))
        .unwrap();
    let bytes = fs::read(log.path(last)).unwrap();
    let mut at = SegmentHeader::length(&bytes).unwrap();
    let mut payloads = 0;
    while let Ok(header) = FrameHeader::decode(&bytes[at..]) {
        if header.size_after() > checkpoint.size {
            break;
        }
        at += FrameHeader::LEN + header.body_len as usize;
        payloads = header.payload_end;
    }
    let signed = |file: String| {
        let whole = fs::metadata(log.path(&file)).unwrap().len();
        let len = match file.rsplit('/').next().unwrap() {
            _ if file == *last => at as u64,
            _ if file == last.replace(".entries", ".payloads.g0") => payloads,
            "0.00000000" => checkpoint.size.0 * 32,
            _ => whole,
        };
        (file, len)
    };
    log.files().into_iter().map(signed).collect()
}

#[test]
fn what_was_signed_is_held_while_a_server_is_writing() {
    let log = running();
    let untouched = log.verify_as(Tail::BeingWritten);
    assert_eq!(untouched.misdeeds, [], "the untouched log is refused");
    assert!(untouched.not_yet_signed > 0);
    let left_out = |said: &NotChecked| matches!(said, NotChecked::Running { .. });
    assert!(untouched.not_checked.iter().any(left_out));
    let signed = signed_bytes(&log);
    let changes = signed
        .iter()
        .flat_map(|(file, len)| (0..*len).step_by(29).map(move |at| (file, at, false)));
    let cuts = signed
        .iter()
        .flat_map(|(file, len)| (0..*len).step_by(61).map(move |at| (file, at, true)));
    let cases: Vec<_> = changes.chain(cuts).collect();
    assert!(cases.len() > 300, "only {} cases", cases.len());
    on_both_threads(&log, &cases, &|log, (file, at, cut)| {
        let path = log.path(file);
        let good = fs::read(&path).unwrap();
        let place = usize::try_from(*at).unwrap();
        let mut bad = good.clone();
        if *cut {
            bad.truncate(place);
        } else {
            bad[place] ^= 1 << (at % 8);
        }
        fs::write(&path, bad).unwrap();
        let report = log.verify_as(Tail::BeingWritten);
        // A record of the history may be half there, which is said.
        let said = file.ends_with("checkpoints")
            && report.not_checked.contains(&NotChecked::HistoryBehind);
        assert!(!report.verified() || said, "{file} at {at}, cut: {cut}");
        fs::write(&path, good).unwrap();
    });
    for file in [
        "logs/stray",
        "logs/main/2026/stray",
        "logs/main/2026/last-note~",
        "logs/main/2026/00000000000000000000.payloads.g1",
        "logs/main/2026/00000000000000000099.entries",
        "logs/main/2026/hashes/stray",
        "logs/main/2026/hashes/0.00000001",
        "logs/main/2026/hashes/1.00000000",
        "logs/main/2026/hashes/5.00000009",
    ] {
        fs::write(log.path(file), b"x").unwrap();
        let report = log.verify_as(Tail::BeingWritten);
        let named = report.misdeeds.iter().any(|misdeed| misdeed.file == file);
        assert!(named, "{file}: {:#?}", report.misdeeds);
        fs::remove_file(log.path(file)).unwrap();
    }
    let array = log.path("logs/main/2026/hashes/0.00000000");
    let good = fs::read(&array).unwrap();
    fs::write(&array, [&good[..], &[0xa5; 100]].concat()).unwrap();
    let report = log.verify_as(Tail::BeingWritten);
    let surplus = |what: &MisdeedKind| matches!(what, MisdeedKind::SurplusBytes { count: 100 });
    assert!(report.misdeeds.iter().any(|misdeed| surplus(&misdeed.what)));
    fs::write(&array, good).unwrap();
    assert_eq!(log.verify_as(Tail::BeingWritten).misdeeds, []);
}

#[test]
fn hashes_that_were_damaged_are_mended_by_a_rebuild() {
    let log = stopped();
    let array = "logs/main/2026/hashes/0.00000000";
    let good = fs::read(log.path(array)).unwrap();
    let mut wrong = good.clone();
    wrong[40] ^= 1;
    for bad in [&wrong[..], &good[..64], b""] {
        fs::write(log.path(array), bad).unwrap();
        log.refused(&[array], "a damaged array");
        rebuild(&paths(log.dir.path()), &mut |_| ()).unwrap();
        log.accepted();
        assert_eq!(fs::read(log.path(array)).unwrap(), good);
    }
    // Nothing else is mended: what was lost is lost.
    let entries = "logs/main/2026/00000000000000000000.entries";
    let mut bytes = fs::read(log.path(entries)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(log.path(entries), bytes).unwrap();
    assert!(rebuild(&paths(log.dir.path()), &mut |_| ()).is_err());
    let damaged = |what: &MisdeedKind| matches!(what, MisdeedKind::FrameDamaged { .. });
    assert!(
        log.verify()
            .misdeeds
            .iter()
            .any(|misdeed| damaged(&misdeed.what))
    );
}
