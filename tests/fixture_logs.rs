//! Logs kept for the future: what an earlier version wrote, today's code must verify and read entry
//! by entry. `tests/fixtures/README.md` says how they came to be.
//!
//! `log-v1` was made once by [`make_fixture_log_v1`]. Run again, the maker works in a folder of its
//! own and only shows that it still can; it writes the fixture where there is none.
//!
//! Entries of kinds and flags that no version knows yet are judged in ledger/verify
//! (`unknown_kinds_and_flags_are_refused_if_critical_and_counted_if_not`); the codecs' side is here.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keys_public::TrustFile;
use keys_secret::Keystore;
use ledger_core::message::MESSAGE_LABEL;
use ledger_core::state::Stream;
use ledger_core::{Entry, Epoch, Flags, Index, Kind, KindClass, Message, Nanos, Sequence};
use ledger_event::Event;
use ledger_log::{
    Batch, Door as _, InProcessDoor, Log, LogOptions, LogPaths, Reader, SourceSpec, rebuild,
};
use ledger_verify::{Report, VerifyOptions, verify_dir};
use serde_json::Value;

use crate::program::{Program, SAMPLES, sample};

const DEPLOYMENT: &str = "fixture.example";
const LABEL: &str = "v1";
/// The entry whose proof is kept.
const PROVED: u64 = 8;
/// The most bytes that a fixture may have.
const BYTES_MAX: u64 = 200_000;

fn fixture() -> PathBuf {
    crate::house::root().join("tests/fixtures/log-v1")
}

fn paths(root: &Path) -> LogPaths {
    LogPaths::new(root, DEPLOYMENT, "main", LABEL).unwrap()
}

fn trust(root: &Path) -> TrustFile {
    TrustFile::parse(&fs::read_to_string(paths(root).trust()).unwrap()).unwrap()
}

fn verified(root: &Path, since: Option<Vec<u8>>) -> Report {
    let options = VerifyOptions {
        since,
        ..VerifyOptions::default()
    };
    verify_dir(root, &trust(root), &options, &|_| ()).unwrap()
}

/// One line an entry: what a reader of any version must say of it.
fn listing(root: &Path) -> String {
    let reader = Reader::open(&paths(root)).unwrap();
    let mut text = "index,kind,class_uid,flags,source,epoch,sequence,commitment\n".to_owned();
    let mut line = |stored: ledger_log::StoredEntry| {
        let entry = &stored.entry;
        let (kind, class_uid, flags) = (entry.kind.0, entry.class_uid, entry.flags.0);
        let (source, epoch, sequence) = (entry.source, entry.epoch, entry.sequence);
        let (index, commitment) = (stored.index, entry.commitment);
        let numbers = format!("{index},{kind},{class_uid},{flags},{source},{epoch},{sequence}");
        writeln!(text, "{numbers},{commitment}").unwrap();
        ControlFlow::Continue(())
    };
    reader.scan(Index(0), reader.size(), &mut line).unwrap();
    text
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy_folder(&item.path(), &target);
        } else if item.file_type().unwrap().is_file() {
            fs::copy(item.path(), &target).unwrap();
        }
    }
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
}

fn bytes_under(folder: &Path) -> u64 {
    let items = fs::read_dir(folder).unwrap().map(Result::unwrap);
    items
        .map(|item| match item.file_type().unwrap().is_dir() {
            true => bytes_under(&item.path()),
            false => item.metadata().unwrap().len(),
        })
        .sum()
}

/// What a log must show to be worth keeping: every kind of entry that a writer of v1 makes.
const KINDS: [Kind; 9] = [
    Kind::EVENT,
    Kind::SOURCE,
    Kind::OPENED,
    Kind::TICK,
    Kind::GAP,
    Kind::CONFLICT,
    Kind::FORGED,
    Kind::RECOVERY,
    Kind::EPOCH,
];

/// Verifies and reads a kept log, and compares it with what is written beside it.
fn check(root: &Path) {
    let bare = verified(root, None);
    assert_eq!(bare.misdeeds, []);
    let since = fs::read(root.join("since.checkpoint")).unwrap();
    let report = verified(root, Some(since));
    assert_eq!(report.misdeeds, []);
    assert!(report.since.is_some() && report.checkpoints_checked > 1);
    assert!(
        report.not_understood.is_empty(),
        "{:?}",
        report.not_understood
    );
    assert_eq!((report.not_yet_signed, report.parts_erased), (0, 0));

    let listed = fs::read_to_string(root.join("entries.csv")).unwrap();
    let read = listing(root);
    for (listed, read) in listed.lines().zip(read.lines()) {
        assert_eq!(listed, read);
    }
    assert_eq!(listed.len(), read.len());
    assert_eq!(read.lines().count() as u64, report.entries + 1);

    let reader = Reader::open(&paths(root)).unwrap();
    let (checkpoint, _) = reader.published().unwrap();
    assert_eq!(
        (checkpoint.size, checkpoint.root),
        (reader.size(), report.root)
    );
    let mut kinds = BTreeSet::new();
    for index in (0..reader.size().0).map(Index) {
        let stored = reader.entry(index).unwrap();
        kinds.insert(stored.entry.kind);
        let [facts, who, text] = stored.parts.each_ref().map(ledger_log::OwnedPart::bytes);
        if stored.entry.kind == Kind::EVENT {
            let event = Event::merge(facts, who, text).unwrap();
            assert_eq!(event.head().class_uid, stored.entry.class_uid, "{index}");
        } else {
            let facts: Value = serde_json::from_slice(facts.unwrap()).unwrap();
            assert!(facts.is_object(), "{index}");
        }
    }
    assert_eq!(kinds, BTreeSet::from(KINDS));
}

#[test]
fn log_v1_is_verified_and_read_by_todays_code() {
    let root = fixture();
    assert!(!root.join("keys").exists(), "a fixture holds no keys");
    assert!(bytes_under(&root) < BYTES_MAX);
    check(&root);
}

#[test]
fn log_v1_is_rebuilt_to_the_same_bytes() {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&fixture(), copy.path());
    let hashes = paths(copy.path()).file("hashes/0.00000000");
    let good = fs::read(&hashes).unwrap();
    let mut bad = good.clone();
    bad[33] ^= 1;
    fs::write(&hashes, bad).unwrap();
    assert!(!verified(copy.path(), None).verified());
    rebuild(&paths(copy.path()), &mut |_| ()).unwrap();
    assert_eq!(fs::read(&hashes).unwrap(), good);
    check(copy.path());
}

#[test]
fn the_proof_of_v1_is_verified_by_todays_program() {
    let program = Program::init();
    let trust = paths(&fixture()).trust().display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let judged = |wrong: bool| {
        for name in ["tlog-proof", "payload.json"] {
            let name = format!("{PROVED}.{name}");
            let text = fs::read_to_string(fixture().join(&name)).unwrap();
            let index = [format!("index {PROVED}"), format!("\"index\":{PROVED}")];
            let other = [
                format!("index {}", PROVED + 1),
                format!("\"index\":{}", PROVED + 1),
            ];
            let text = match wrong {
                true => text
                    .replacen(&index[0], &other[0], 1)
                    .replacen(&index[1], &other[1], 1),
                false => text,
            };
            fs::write(folder.path().join(name), text).unwrap();
        }
        let proof = folder.path().join(format!("{PROVED}.tlog-proof"));
        let proof = proof.display().to_string();
        let output = program.run(&["verify", "--proof", &proof, "--trust", &trust]);
        output.status.code()
    };
    assert_eq!(judged(true), Some(1), "another entry's place");
    assert_eq!(judged(false), Some(0));
}

/// A kept log with one byte changed is refused: the check above can fail.
#[test]
fn log_v1_changed_in_a_byte_is_refused() {
    for name in [
        "00000000000000000000.entries",
        "00000000000000000000.payloads.g0",
        "last-note",
    ] {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&fixture(), copy.path());
        let path = paths(copy.path()).file(name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let report = verified(copy.path(), None);
        let named = report
            .misdeeds
            .iter()
            .any(|misdeed| misdeed.file.ends_with(name));
        assert!(named, "{name}: {:?}", report.misdeeds);
    }
}

#[test]
fn numbers_of_later_versions_are_decoded_and_keep_their_class() {
    let known = Entry::decode(
        &Reader::open(&paths(&fixture()))
            .unwrap()
            .entry(Index(2))
            .unwrap()
            .entry
            .encode(),
    )
    .unwrap();
    for (number, class) in [
        (31, KindClass::Primary),
        (63, KindClass::Derived),
        (127, KindClass::Reflexive),
        (200, KindClass::Unassigned),
    ] {
        let kind = Kind(number);
        assert_eq!(kind.name(), None, "{number} has a name now: take another");
        let entry = Entry {
            kind,
            flags: Flags(1 << 15),
            ..known
        };
        let mut bytes = entry.encode();
        assert_eq!(Entry::decode(&bytes), Ok(entry));
        assert_eq!(entry.kind.class(), class);
        assert_eq!(entry.flags.unknown(), Flags(1 << 15));
        // Another version of the record itself is no entry at all.
        bytes[0] = Entry::VERSION + 1;
        assert!(Entry::decode(&bytes).is_err());
    }
}

// From here on: how log-v1 was made.

fn event(number: u64, statement: &str) -> Vec<u8> {
    let mut event = Event::default();
    event.classify(6005, 1);
    event.set_time(Nanos(
        1_790_000_000_000_000_000 + i64::try_from(number).unwrap(),
    ));
    event.severity_id = Some(1);
    event.status_id = Some(1);
    event.metadata.version = Some("1.8.0".into());
    event.metadata.product.name = Some("PostgreSQL".into());
    event.actor.user.name = Some("dba_root".into());
    event.query_info.query_string = Some(statement.to_owned().into());
    event.to_json()
}

fn message(epoch: u32, number: u64, prev: [u8; 32], statement: &str) -> Message {
    Message {
        stream: Stream::Record,
        epoch: Epoch(epoch),
        sequence: Sequence(number),
        prev,
        mac: [0; 32],
        flags: Flags::NONE,
        value: event(number, statement),
    }
}

/// A keyed source that does everything once that the door's rule has a place for.
fn unruly_source(root: &Path, door: &mut InProcessDoor) {
    let spec = SourceSpec {
        name: "unruly".to_owned(),
        platform: "postgresql".to_owned(),
    };
    let source = door.register_keyed(&spec).unwrap().id;
    let key = Keystore::open(&paths(root).keys())
        .unwrap()
        .source_key(source)
        .unwrap();
    let sealed = |mut message: Message| {
        message.mac = key.hmac(MESSAGE_LABEL, &[&message.mac_input()]);
        message
    };
    let mut chain: Vec<Message> = Vec::new();
    for number in 1..=5 {
        let prev = chain.last().map_or([0; 32], |before| before.mac);
        chain.push(sealed(message(
            5,
            number,
            prev,
            &format!("SELECT {number}"),
        )));
    }
    let mut forged = chain[1].clone();
    forged.value = event(2, "SELECT 'forged'");
    let conflict = sealed(message(5, 3, [9; 32], "SELECT 'conflict'"));
    let mut reread = message(6, 1, [0; 32], "SELECT 'again', '4111 1111 1111 1111'");
    reread.flags = Flags::REREAD;
    let mut bad = message(6, 2, [0; 32], "");
    bad.value = b"no event \xff".to_vec();
    let reread = sealed(reread);
    bad.prev = reread.mac;
    let late = chain[1].clone();
    let third = chain[2].clone();
    let sent = [
        vec![chain[0].clone(), chain[3].clone()],
        vec![forged, late, third, conflict],
        vec![reread, sealed(bad), chain[4].clone()],
    ];
    for messages in sent {
        let batch = Batch {
            source,
            messages,
            positions: Vec::new(),
        };
        door.append(batch).unwrap();
    }
}

fn options() -> LogOptions {
    LogOptions {
        checkpoint_every: Duration::from_millis(500),
        segment_entries_max: 12,
        ..LogOptions::default()
    }
}

/// Makes the log in `root`, which gets what is kept and nothing else.
fn make(root: &Path) {
    let program = Program::init_as(DEPLOYMENT, LABEL);
    let samples = SAMPLES.map(sample);
    program.ingest(&samples);
    let since = Reader::open(&paths(program.root()))
        .unwrap()
        .published()
        .unwrap()
        .1;

    let log = Log::open(&paths(program.root()), &options()).unwrap().0;
    unruly_source(program.root(), &mut log.door());
    // The last frame filled its segment; this one begins another, whatever the writer is at.
    let idle = SourceSpec {
        name: "idle".to_owned(),
        platform: "postgresql".to_owned(),
    };
    log.door().register(&idle).unwrap();
    // As an interruption leaves it: grown files, an unfinished segment.
    let interrupted = tempfile::tempdir().unwrap();
    copy_folder(program.root(), interrupted.path());
    log.close().unwrap();
    let ticking = LogOptions {
        tick_after: Duration::from_millis(50),
        ..options()
    };
    let (log, recovered) = Log::open(&paths(interrupted.path()), &ticking).unwrap();
    assert!(recovered.unclean);
    let reader = log.reader();
    let mut cursor = Index(0);
    let mut ticked = false;
    while !ticked {
        let entries = reader.next(cursor, 1000, Duration::from_secs(10)).unwrap();
        assert!(!entries.is_empty(), "no tick within ten seconds");
        cursor = Index(cursor.0 + entries.len() as u64);
        ticked = entries.iter().any(|stored| stored.entry.kind == Kind::TICK);
    }
    log.close().unwrap();

    let out = root.display().to_string();
    let settings = interrupted.path().join("custody.toml");
    let mut proof = program.command(&["proof", &PROVED.to_string(), "--out", &out]);
    let output = proof.env("CUSTODY_CONFIG", settings).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for folder in ["logs", "trust"] {
        copy_folder(&interrupted.path().join(folder), &root.join(folder));
    }
    fs::write(root.join("since.checkpoint"), since).unwrap();
    fs::write(root.join("entries.csv"), listing(root)).unwrap();
}

#[test]
#[ignore = "makes the fixture log-v1 if it is missing"]
fn make_fixture_log_v1() {
    let made = tempfile::tempdir().unwrap();
    make(made.path());
    check(made.path());
    assert!(bytes_under(made.path()) < BYTES_MAX);
    if !fixture().exists() {
        copy_folder(made.path(), &fixture());
    }
}
