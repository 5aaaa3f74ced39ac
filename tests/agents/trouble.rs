//! Disks and files that fail under an agent at work: each call on its journal once, for seconds, a disk
//! that is really full, a folder that is really read-only; audit files that cannot be read, and a pipe
//! in place of one.
//!
//! Calls fail by strace, so that it makes no difference who runs the tests: root may write where a mode
//! forbids it. A full disk and a read-only folder are a tmpfs where mounting is allowed, else strace
//! stands in, and the test says so. Not here: the same inside one process (collectors/agent), and
//! clocks that jump, which are a value there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::host::{Agent, Host, row, rows, wait_for};

/// Calls on the journal's folder and files. Each is failed as often as an agent makes it in an
/// undisturbed run, but this often at most.
const CALLS: [&str; 13] = [
    "mkdir",
    "openat",
    "flock",
    "getdents64",
    "statx",
    "pread64",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "rename",
    "unlink",
    "lseek",
];
const TIMES_MAX: u64 = 6;
/// And so often more on a day that is long.
const ADDED_MAX: u64 = 2;

/// An agent's journal: its folder and all files that it may have.
fn journal_paths(dir: &Path) -> Vec<PathBuf> {
    let mut paths = vec![dir.to_owned(), dir.join("lock")];
    for number in 1..=4 {
        paths.push(dir.join(format!("{number:010}.journal")));
        paths.push(dir.join(format!("{number:010}.journal.new")));
    }
    paths
}

/// strace beside an agent: what is in `more`, for calls on these paths only.
fn strace(paths: &[PathBuf], out: &Path, more: &[String]) -> Vec<String> {
    let mut args: Vec<String> = ["strace", "-f", "-D", "-qqq", "-e", "signal=none", "-o"]
        .map(str::to_owned)
        .to_vec();
    args.push(out.display().to_string());
    for path in paths {
        args.extend(["-P".to_owned(), path.display().to_string()]);
    }
    args.extend(["-e".to_owned(), format!("trace={}", CALLS.join(","))]);
    for one in more {
        args.extend(["-e".to_owned(), one.clone()]);
    }
    args
}

fn as_strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// How much happens on a source's day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Day {
    Short,
    /// So much text that the journal begins a second segment and forgets the first.
    Long,
}

/// A source's day: records, a rotation, a restart. The agent that begins it runs below `wrapper`.
fn day(host: &Host, name: &str, day: Day, wrapper: &[&str]) {
    // So small that a segment is soon worth forgetting.
    let quota = "quota_bytes = 67108864\n";
    let begin = |wrapper| host.agent_with(name, "state", quota, wrapper);
    host.append(name, 1..=5);
    let mut agent = begin(wrapper);
    wait_for("the first records", &agent, || {
        host.records(name) >= 5 || is_over(&agent)
    });
    if is_over(&agent) {
        // It could not begin, and said why in one line.
        assert!(matches!(agent.code(), Some(4 | 5)), "{}", agent.said());
        let said = agent.said();
        let lines = said.lines().filter(|line| line.starts_with("custody: "));
        assert_eq!(lines.count(), 1, "{said}");
        agent = begin(&[]);
        host.wait(name, 5, &agent);
    }
    let mut last = 5;
    if day == Day::Long {
        // In portions, each of which is bound by the same thread: its calls are counted.
        let long = "y z ".repeat(30_000);
        for _ in 0..4 {
            let text: String = (last + 1..=last + 5).map(|n| row(n, &long)).collect();
            host.append_to(name, "audit.csv", &text);
            last += 5;
            host.wait(name, last, &agent);
        }
    }
    host.append(name, last + 1..=last + 3);
    host.rotate(name);
    host.append(name, last + 4..=last + 5);
    host.wait(name, last + 5, &agent);
    // A checkpoint covers the first segment by now: one more step forgets it.
    host.append(name, last + 6..=last + 6);
    host.wait(name, last + 6, &agent);
    agent.kill();
    let agent = begin(&[]);
    host.append(name, last + 7..=last + 7);
    host.wait(name, last + 7, &agent);
    agent.stop();
    host.holds_in_order(name, 1..=last + 7);
}

fn is_over(agent: &Agent) -> bool {
    agent.said().contains("\ncustody: ") || agent.said().starts_with("custody: ")
}

/// How often each call is made on the journal, by the busiest of the agent's threads.
fn census(host: &Host, kind: Day) -> BTreeMap<String, u64> {
    let name = &format!("census-{kind:?}");
    host.source(name);
    let out = host.room.path("census.txt");
    let args = strace(&journal_paths(&host.journal(name, "state")), &out, &[]);
    day(host, name, kind, &as_strs(&args));
    let text = fs::read_to_string(&out).expect("a census");
    let mut by_thread: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(thread), Some(rest)) = (words.next(), words.next())
            && let Some((call, _)) = rest.split_once('(')
        {
            let key = (call.to_owned(), thread.to_owned());
            *by_thread.entry(key).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    for ((call, _), count) in by_thread {
        let entry = most.entry(call).or_default();
        *entry = count.max(*entry);
    }
    most
}

#[test]
fn every_file_system_call_on_a_journal_fails_once_and_nothing_is_lost() {
    let mut host = Host::new();
    let (short, long) = (census(&host, Day::Short), census(&host, Day::Long));
    println!("short: {short:?}\nlong: {long:?}");
    for call in [
        "mkdir",
        "openat",
        "pwrite64",
        "fsync",
        "fdatasync",
        "rename",
        "unlink",
    ] {
        assert!(long.contains_key(call), "no {call}: {long:?}");
    }
    let mut jobs = Vec::new();
    for (call, count) in &long {
        // The second one gives the lock back, as closing the file does: it may fail unsaid.
        let count = if call == "flock" { &1 } else { count };
        let in_short = short.get(call).copied().unwrap_or(0).min(*count);
        // What a long day adds are mostly heartbeats: each of those calls is made soon after.
        let added = in_short + 1..=(*count).min(in_short + ADDED_MAX);
        let early = (1..=in_short.min(TIMES_MAX)).map(|when| (when, Day::Short));
        for (when, kind) in early.chain(added.map(|when| (when, Day::Long))) {
            for error in ["EIO", "ENOSPC"] {
                jobs.push((kind, format!("inject={call}:error={error}:when={when}")));
            }
        }
    }
    println!("{} injections", jobs.len());
    let (next, unsaid) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((kind, job)) = jobs.get(at) else {
                        return;
                    };
                    let name = format!("job{at}");
                    host.source(&name);
                    let paths = journal_paths(&host.journal(&name, "state"));
                    let out = host.room.path(&format!("{name}.strace"));
                    let args = strace(&paths, &out, std::slice::from_ref(job));
                    println!("{name}: {job}");
                    day(&host, &name, *kind, &as_strs(&args));
                    let traced = fs::read_to_string(&out).expect("a trace");
                    let said = said(&host, &name);
                    let is_said =
                        said.contains("nothing can be bound") || said.contains("custody: ");
                    if traced.contains("(INJECTED)") && !is_said {
                        unsaid.lock().expect("no thread fell").push(job.clone());
                    }
                }
            });
        }
    });
    let unsaid = unsaid.into_inner().expect("no thread fell");
    assert_eq!(unsaid, [] as [String; 0], "not a word was said");
    assert!(!host.steps().contains("other life"), "{}", host.steps());
    host.close();
    host.room.verify(&[]).ended(0);
}

/// What all agents of a source said.
fn said(host: &Host, name: &str) -> String {
    let begins = format!("{name}.");
    let mut all = String::new();
    for item in fs::read_dir(host.room.path("")).expect("a folder") {
        let path = item.expect("an item").path();
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if file.starts_with(&begins) && file.ends_with(".log") {
            all.push_str(&fs::read_to_string(path).expect("messages"));
        }
    }
    all
}

/// Reading pauses while the journal cannot be written, whatever happens to the files meanwhile; it is
/// said once, and so is that it is over.
#[test]
fn a_journal_that_cannot_be_written_for_seconds() {
    let mut host = Host::new();
    for error in ["EIO", "ENOSPC", "EROFS"] {
        let name = error;
        host.source(name);
        let out = host.room.path(&format!("{name}.strace"));
        let paths = journal_paths(&host.journal(name, "state"));
        // Some writes go well first: the header, the first look, some heartbeats and records.
        let inject = format!("inject=pwrite64:error={error}:when=5..9");
        let args = strace(&paths, &out, &[inject]);
        host.append(name, 1..=3);
        let agent = host.agent(name, &as_strs(&args));
        host.wait(name, 3, &agent);
        let mut next = 4;
        while !agent.said().contains("nothing can be bound") {
            host.append(name, next..=next);
            next += 1;
            std::thread::sleep(std::time::Duration::from_millis(100));
            assert!(next < 200, "{}", agent.said());
        }
        let records = host.records(name);
        host.append(name, next..=next + 9);
        host.rotate(name);
        host.append(name, next + 10..=next + 19);
        fs::remove_file(host.file(name, "audit.csv.1")).expect("a file");
        if !agent.said().contains("followed again") {
            assert_eq!(host.records(name), records, "nothing is acknowledged");
        }
        host.wait(name, next + 19, &agent);
        agent.stop();
        host.holds_in_order(name, 1..=next + 19);
        let text = said(&host, name);
        let count = |word: &str| text.matches(word).count();
        assert_eq!(count("nothing can be bound"), 1, "{text}");
        assert_eq!(count("is followed again"), 1, "{text}");
        assert!(text.contains(".journal: "), "the line says where: {text}");
    }
    host.close();
    host.room.verify(&[]).ended(0);
}

/// A file system in memory, while mounting is allowed.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(dir: &Path, options: &str) -> Option<Tmpfs> {
        fs::create_dir_all(dir).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir);
        let mounted = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let mounted = mounted.is_ok_and(|status| status.success());
        mounted.then(|| Tmpfs(dir.to_owned()))
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0);
        assert!(mount.status().expect("mount").success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_really_full() {
    let mut host = Host::new();
    let name = "full";
    host.source(name);
    let Some(disk) = Tmpfs::mount(&host.state(name, "state"), "size=24m") else {
        println!("mounting is not allowed: a full disk is what strace says, see the test above");
        return;
    };
    host.append(name, 1..=5);
    let agent = host.agent(name, &[]);
    host.wait(name, 5, &agent);
    let filler = disk.0.join("filler");
    // Until nothing fits any more.
    fs::write(&filler, vec![0; 32 << 20]).expect_err("a full disk");
    // More than one batch, so that reading goes on while the one before is bound.
    let long = "y z ".repeat(5_000);
    let text: String = (6..=300).map(|n| row(n, &long)).collect();
    host.append_to(name, "audit.csv", &text);
    host.rotate(name);
    host.append(name, 301..=505);
    agent.wait_said("nothing can be bound");
    assert!(agent.said().contains("No space left"), "{}", agent.said());
    assert!(host.records(name) < 300, "nothing is acknowledged");
    // Killed on the full disk, it begins again there.
    agent.kill();
    let agent = host.agent(name, &[]);
    agent.wait_said("nothing can be bound");
    // It tries again and again, and says it once: what passes here are two of its pauses.
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    assert_eq!(agent.said().matches("nothing can be bound").count(), 1);
    fs::remove_file(&filler).expect("the filler");
    host.wait(name, 505, &agent);
    agent.wait_said("is followed again");
    agent.stop();
    host.holds_in_order(name, 1..=505);
    host.close();
    host.room.verify(&[]).ended(0);
}

#[test]
fn a_folder_that_is_read_only_at_the_start() {
    let mut host = Host::new();
    let name = "readonly";
    host.source(name);
    host.append(name, 1..=5);
    let disk = Tmpfs::mount(&host.state(name, "state"), "ro");
    let args = if disk.is_some() {
        Vec::new()
    } else {
        println!("mounting is not allowed: strace says that the folder is read-only");
        let paths = journal_paths(&host.journal(name, "state"));
        let inject = ["mkdir", "openat"].map(|call| format!("inject={call}:error=EROFS"));
        strace(&paths, &host.room.path("out"), &inject)
    };
    let mut agent = host.agent(name, &as_strs(&args));
    assert_eq!(agent.code(), Some(5), "{}", agent.said());
    let said = agent.said();
    let refusals = said.lines().filter(|line| line.starts_with("custody: "));
    let refusals: Vec<&str> = refusals.collect();
    assert_eq!(refusals.len(), 1, "{said}");
    assert!(refusals[0].contains("Read-only file system"), "{said}");
    assert!(refusals[0].contains("readonly-state"), "{said}");
    assert_eq!(host.records(name), 0);
    // The twin: the same folder, when it may be written.
    if let Some(disk) = &disk {
        disk.remount("rw");
    }
    let agent = host.agent(name, &[]);
    host.wait(name, 5, &agent);
    agent.stop();
    host.holds_in_order(name, 1..=5);
    host.close();
    host.room.verify(&[]).ended(0);
}

/// The older of two files cannot be opened, or not be read, for seconds: what is younger waits for it.
#[test]
fn an_audit_file_that_cannot_be_read_for_seconds() {
    let mut host = Host::new();
    for (name, inject) in [
        ("opened", "inject=openat:error=EACCES:when=1..8"),
        ("read", "inject=pread64:error=EIO:when=3..12"),
        ("twin", "trace=openat,pread64"),
    ] {
        host.source(name);
        host.append(name, 1..=5);
        host.rotate(name);
        host.append(name, 6..=10);
        let paths = [host.file(name, "audit.csv.1")];
        let out = host.room.path(&format!("{name}.strace"));
        let args = strace(&paths, &out, &[inject.to_owned()]);
        let agent = host.agent(name, &as_strs(&args));
        let said: &[&str] = match name {
            "twin" => &[],
            _ => &["stream.unreadable", "stream.readable"],
        };
        host.wait(name, 10 + said.len() as u64, &agent);
        agent.stop();
        host.holds_in_order(name, 1..=10);
        assert_eq!(host.notices(name), said, "{name}");
        let text = self::said(&host, name);
        assert_eq!(
            text.matches("cannot be read: ").count(),
            said.len() / 2,
            "{text}"
        );
    }
    host.close();
    host.room.verify(&[]).ended(0);
}

#[test]
fn a_pipe_in_place_of_a_file_and_a_folder_that_is_away() {
    let mut host = Host::new();
    let name = "pipe";
    host.source(name);
    let pipe = host.file(name, "audit.csv");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let agent = host.agent(name, &[]);
    host.wait(name, 1, &agent);
    assert_eq!(host.notices(name), ["stream.refused"]);
    assert!(agent.said().contains("is a named pipe"), "{}", agent.said());
    fs::remove_file(&pipe).expect("a pipe");
    host.append(name, 1..=5);
    host.wait(name, 6, &agent);
    let (folder, hidden) = (host.room.path(name), host.room.path("hidden"));
    fs::rename(&folder, &hidden).expect("another name");
    host.wait(name, 7, &agent);
    // What is open is read on.
    let file = hidden.join("audit.csv");
    let text = [fs::read_to_string(&file).expect("it"), rows(6..=7)].concat();
    fs::write(&file, text).expect("a write");
    host.wait(name, 9, &agent);
    fs::rename(&hidden, &folder).expect("the name");
    host.append(name, 8..=9);
    host.wait(name, 12, &agent);
    agent.stop();
    host.holds_in_order(name, 1..=9);
    let said = ["stream.refused", "stream.unreadable", "stream.readable"];
    assert_eq!(host.notices(name), said);
    host.close();
    host.room.verify(&[]).ended(0);
}
