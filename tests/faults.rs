//! Interruptions: kill -9 in a loop under load, every file system call failed once, arrays damaged
//! past their mark. After each: nothing acknowledged is missing, nothing is in twice, the log
//! verifies.
//!
//! The writer under test is this very binary, run again as a child ([`a_writer_appends`]). Not
//! here: tampering with what is durable (see `tamper`).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keys_public::TrustFile;
use keys_secret::KeystoreError;
use ledger_core::state::Stream;
use ledger_core::{Epoch, Flags, Index, Kind, Nanos, Sequence};
use ledger_event::Event;
use ledger_log::{
    Batch, CreateError, Door as _, Log, LogOptions, LogPaths, Outcome, Reader, SourceSpec,
    create_log,
};
use ledger_verify::{VerifyOptions, verify_dir};

use crate::seeded::Seeded;

const DIR: &str = "CUSTODY_FAULTS_DIR";
const BATCHES: &str = "CUSTODY_FAULTS_BATCHES";
const CREATE: &str = "CUSTODY_FAULTS_CREATE";
const PER_BATCH: u64 = 40;

fn paths(root: &Path) -> LogPaths {
    LogPaths::new(root, "faults.example", "main", "2026").unwrap()
}

fn options() -> LogOptions {
    LogOptions {
        checkpoint_every: Duration::from_millis(20),
        arrays_every: Duration::from_millis(40),
        // Small, so that segments are begun and finished under fire too.
        segment_entries_max: 300,
        ..LogOptions::default()
    }
}

fn value(number: u64) -> Vec<u8> {
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
    event.query_info.query_string = Some(format!("SELECT {number}").into());
    event.to_json()
}

/// Appends batches after what the log holds, and says on standard output how far each is durable.
fn append_batches(root: &Path, batches: u64) -> Result<(), String> {
    let (log, _) = Log::open(&paths(root), &options()).map_err(|error| error.to_string())?;
    let mut door = log.door();
    let spec = SourceSpec {
        name: "pg".to_owned(),
        platform: "postgresql".to_owned(),
    };
    let state = door.register(&spec).map_err(|error| error.to_string())?;
    let mut next = state.marks[0].sequence.0 + 1;
    for _ in 0..batches {
        let messages = (next..next + PER_BATCH).map(message).collect();
        let batch = Batch {
            source: state.id,
            messages,
            positions: Vec::new(),
        };
        let appended = door.append(batch).map_err(|error| error.to_string())?;
        assert!(
            appended
                .outcomes
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Appended(_)))
        );
        next += PER_BATCH;
        println!("durable {}", next - 1);
        let published = door
            .wait_published(appended.size)
            .map_err(|error| error.to_string())?;
        assert!(published >= appended.size);
        println!("published {published}");
    }
    log.close().map(drop).map_err(|error| error.to_string())
}

fn message(number: u64) -> ledger_core::Message {
    ledger_core::Message {
        stream: Stream::Record,
        epoch: Epoch(5),
        sequence: Sequence(number),
        prev: [0; 32],
        mac: [0; 32],
        flags: Flags::NONE,
        value: value(number),
    }
}

/// The child of the tests below; by itself it appends to a log of its own.
#[test]
fn a_writer_appends() {
    if let Ok(root) = std::env::var(DIR) {
        if std::env::var(CREATE).is_ok() {
            if let Err(error) = create_log(&paths(Path::new(&root))) {
                println!("not created: {error}");
                std::process::exit(3);
            }
            return;
        }
        let batches = std::env::var(BATCHES).unwrap().parse().unwrap();
        if let Err(error) = append_batches(Path::new(&root), batches) {
            println!("stopped: {error}");
            std::process::exit(3);
        }
        return;
    }
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    append_batches(root.path(), 3).unwrap();
    assert_eq!(
        check(root.path(), 3 * PER_BATCH, "a writer undisturbed"),
        3 * PER_BATCH
    );
}

fn child(root: &Path, batches: u64, wrapper: &[&str]) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(&exe),
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args).arg(&exe);
            command
        }
    };
    command.args([
        "--exact",
        "faults::a_writer_appends",
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env(DIR, root).env(BATCHES, batches.to_string());
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .stdin(Stdio::null());
    command
}

/// The last number that the child said to be durable; reads to its end.
fn acknowledged(child: &mut Child) -> u64 {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let durable = lines.map_while(Result::ok).filter_map(|line| {
        line.strip_prefix("durable ")
            .and_then(|number| number.parse().ok())
    });
    durable.last().unwrap_or(0)
}

/// Opens the log again, closes it, verifies it from files and trust, and compares its numbers with
/// what was acknowledged. Gives the highest number.
fn check(root: &Path, acknowledged: u64, what: &str) -> u64 {
    let (log, _) = match Log::open(&paths(root), &options()) {
        Ok(opened) => opened,
        Err(error) => panic!("{what}: the log does not open: {error}"),
    };
    if let Err(error) = log.close() {
        panic!("{what}: the log does not close: {error}");
    }
    verify(root, what);
    let reader = Reader::open(&paths(root)).unwrap();
    let mut numbers = Vec::new();
    reader
        .scan(Index(0), reader.size(), &mut |stored| {
            if stored.entry.kind == Kind::EVENT {
                numbers.push(stored.entry.sequence.0);
            }
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "{what}: a number is missing or in twice");
    let highest = numbers.len() as u64;
    assert!(
        highest >= acknowledged,
        "{what}: {acknowledged} acknowledged, {highest} there"
    );
    highest
}

fn verify(root: &Path, what: &str) {
    let text = std::fs::read_to_string(paths(root).trust()).unwrap();
    let trust = TrustFile::parse(&text).unwrap();
    let report = verify_dir(root, &trust, &VerifyOptions::default(), &|_| ()).unwrap();
    assert!(report.verified(), "{what}: {:#?}", report.misdeeds);
}

#[test]
fn kill_9_in_a_loop_under_load_loses_and_doubles_nothing() {
    let mut random = Seeded::new();
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    let (mut before, mut killed_at_work) = (0, 0);
    for round in 0..30 {
        let mut running = child(root.path(), 100_000, &[]).spawn().unwrap();
        let pid = running.id();
        let wait = Duration::from_millis(10 + random.below(120));
        let killer = std::thread::spawn(move || {
            // What passes here is the load that the kill interrupts, not a wait for a result.
            std::thread::sleep(wait);
            let killed = Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .unwrap();
            assert!(killed.success());
        });
        let durable = acknowledged(&mut running);
        killer.join().unwrap();
        running.wait().unwrap();
        killed_at_work += u32::from(durable > before);
        before = check(root.path(), durable, &format!("round {round}"));
    }
    assert!(
        killed_at_work >= 10,
        "only {killed_at_work} kills met a writer at work"
    );
}

/// How often each call is made in an undisturbed run of the child, by the busiest of its threads:
/// the counters of an injection are each thread's own.
fn census(undisturbed: Command, folder: &Path) -> BTreeMap<String, u64> {
    let out = folder.join("census.txt");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o"]).arg(&out);
    traced.args(["-e", &format!("trace={}", CALLS.join(","))]);
    traced
        .arg(undisturbed.get_program())
        .args(undisturbed.get_args());
    for (name, value) in undisturbed.get_envs() {
        traced.env(name, value.unwrap());
    }
    let ran = traced.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(ran.expect("strace is installed").success());
    let text = std::fs::read_to_string(&out).unwrap();
    let mut by_thread: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(rest)) = (words.next(), words.next()) else {
            continue;
        };
        if let Some((call, _)) = rest.split_once('(') {
            *by_thread
                .entry((call.to_owned(), thread.to_owned()))
                .or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    for ((call, _), count) in by_thread {
        let entry = most.entry(call).or_default();
        *entry = count.max(*entry);
    }
    most
}

/// The calls that touch files.
const CALLS: [&str; 18] = [
    "write",
    "pwrite64",
    "fdatasync",
    "fsync",
    "fallocate",
    "ftruncate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "flock",
    "openat",
    "pread64",
    "getdents64",
    "statx",
];
/// A failure of these can never go unnoticed.
const NOTICED: [&str; 7] = [
    "pwrite64",
    "fdatasync",
    "fsync",
    "ftruncate",
    "rename",
    "renameat",
    "renameat2",
];

/// Runs `act` once for each call, each time it is made, and each fault.
fn with_each_fault(counts: &BTreeMap<String, u64>, act: &(dyn Fn(usize, &str) -> bool + Sync)) {
    let mut jobs = Vec::new();
    for (call, count) in counts {
        for when in 1..=*count {
            for fault in ["error=EIO", "error=ENOSPC", "signal=KILL"] {
                jobs.push((call, format!("inject={call}:{fault}:when={when}")));
            }
        }
    }
    println!("{} injections", jobs.len());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some((call, job)) = jobs.get(at) else {
                        return;
                    };
                    let ended_well = act(at, job);
                    let must_fail = NOTICED.contains(&call.as_str());
                    assert!(!(ended_well && must_fail), "{job} went unnoticed");
                }
            });
        }
    });
}

#[test]
fn every_file_system_call_fails_once_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("census");
    create_log(&paths(&root)).unwrap();
    let counts = census(child(&root, 2, &[]), folder.path());
    for call in [
        "write",
        "pwrite64",
        "fdatasync",
        "fsync",
        "fallocate",
        "ftruncate",
        "openat",
    ] {
        assert!(counts.contains_key(call), "no {call}: {counts:?}");
    }
    assert!(
        counts.keys().any(|call| call.starts_with("rename")),
        "no rename: {counts:?}"
    );
    with_each_fault(&counts, &|at, job| {
        let root = folder.path().join(format!("job{at}"));
        create_log(&paths(&root)).unwrap();
        let mut running = child(&root, 2, &strace(job)).spawn().unwrap();
        let durable = acknowledged(&mut running);
        let status = running.wait().unwrap();
        check(&root, durable, job);
        std::fs::remove_dir_all(&root).unwrap();
        status.success()
    });
}

#[test]
fn every_file_system_call_of_a_creation_fails_once_and_creation_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut making = child(&folder.path().join("census"), 0, &[]);
    making.env(CREATE, "1");
    let counts = census(making, folder.path());
    assert!(counts.contains_key("fsync"), "{counts:?}");
    with_each_fault(&counts, &|at, job| {
        let root = folder.path().join(format!("job{at}"));
        let mut making = child(&root, 0, &strace(job));
        making.env(CREATE, "1");
        let made = making.status().unwrap().success();
        // What was interrupted goes on; what was made is there. Half-made keys are not removed by
        // the program: it says which folder to remove.
        let mut again = create_log(&paths(&root));
        if matches!(
            again,
            Err(CreateError::Keystore(KeystoreError::Unfinished { .. }))
        ) {
            std::fs::remove_dir_all(root.join("keys.new")).unwrap();
            again = create_log(&paths(&root));
        }
        if let Err(error) = again {
            let there = paths(&root).file("last-note").exists();
            assert!(there, "{job}: creation is stuck: {error}");
        }
        check(&root, 0, job);
        std::fs::remove_dir_all(&root).unwrap();
        made
    });
}

fn strace(job: &str) -> [&str; 9] {
    [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "signal=none",
        "-e",
        job,
    ]
}

#[test]
fn arrays_damaged_past_their_mark_are_derived_again() {
    let mut random = Seeded::new();
    let root = tempfile::tempdir().unwrap();
    create_log(&paths(root.path())).unwrap();
    // No sync of the arrays while it runs, so that all of them lie past the mark.
    let late = LogOptions {
        arrays_every: Duration::from_secs(3600),
        ..LogOptions::default()
    };
    let (log, _) = Log::open(&paths(root.path()), &late).unwrap();
    let mut door = log.door();
    let spec = SourceSpec {
        name: "pg".to_owned(),
        platform: "postgresql".to_owned(),
    };
    let source = door.register(&spec).unwrap().id;
    for first in (1..=3000).step_by(300) {
        let messages = (first..first + 300).map(message).collect();
        door.append(Batch {
            source,
            messages,
            positions: Vec::new(),
        })
        .unwrap();
    }
    let size = door.status().unwrap().size;
    door.wait_published(ledger_core::TreeSize(size)).unwrap();
    for round in 0..20 {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(root.path(), copy.path());
        let hashes = paths(copy.path()).folder().join("hashes");
        let files: Vec<PathBuf> = std::fs::read_dir(&hashes)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        for file in &files {
            let mut bytes = std::fs::read(file).unwrap();
            // The mark covers entry 0 and its first sibling only.
            let from = 64.min(bytes.len());
            let cut =
                from + usize::try_from(random.below((bytes.len() - from + 1) as u64)).unwrap();
            let start = from + usize::try_from(random.below((cut - from + 1) as u64)).unwrap();
            if round % 2 == 0 {
                bytes[start..cut].fill(0);
            } else {
                bytes.truncate(cut);
            }
            std::fs::write(file, bytes).unwrap();
        }
        check(copy.path(), 3000, &format!("round {round}"));
    }
    drop(log);
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_tree(&file.path(), &target);
        } else if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), &target).unwrap();
        }
    }
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
}
