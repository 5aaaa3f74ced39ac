//! A host with sources, whose files tests write, and a server that takes what agents send.
//!
//! Not here: what is done to them.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::{Room, Served, lines};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The host.
pub(crate) struct Host {
    pub(crate) room: Room,
    served: Option<Served>,
    started: AtomicUsize,
}

/// A running agent.
pub(crate) struct Agent {
    child: Child,
    said: PathBuf,
}

/// One record of the log, as far as tests ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    /// The number in its text; `None` for what the agent says about files.
    pub(crate) marker: Option<u64>,
    pub(crate) name: String,
    pub(crate) sequence: u64,
    pub(crate) late: bool,
    pub(crate) reread: bool,
}

impl Host {
    /// A host whose server runs.
    pub(crate) fn new() -> Host {
        let room = Room::with_log();
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        let settings = room.path("ledger/custody.toml");
        let mut text = fs::read_to_string(&settings).expect("settings");
        text.push_str(&format!(
            "[log]\ncheckpoint_every_ms = 50\n[http.agents]\nlisten = \"127.0.0.1:{port}\"\n\
             address = \"127.0.0.1:{port}\"\n"
        ));
        fs::write(&settings, text).expect("settings");
        drop(free);
        let mut host = Host {
            room,
            served: None,
            started: AtomicUsize::new(0),
        };
        host.serve();
        host
    }

    pub(crate) fn serve(&mut self) {
        self.served = Some(self.room.serve(&[], &[]));
    }

    /// Ends the server in order.
    pub(crate) fn close(&mut self) {
        let served = self.served.take().expect("a server runs");
        assert_eq!(served.stop("TERM"), 0);
    }

    /// Registers a source, with a folder of its own for its files.
    pub(crate) fn source(&self, name: &str) {
        let out = format!("{name}.key");
        let args = ["sources", "add", name, "--platform", "postgresql", "--out"];
        self.room.log(&[&args[..], &[&out]].concat()).ended(0);
        fs::create_dir(self.room.path(name)).expect("a folder");
    }

    pub(crate) fn file(&self, name: &str, file: &str) -> PathBuf {
        self.room.path(name).join(file)
    }

    /// Where the agent of a source keeps its journals, for the state named so.
    pub(crate) fn state(&self, name: &str, state: &str) -> PathBuf {
        self.room.path(&format!("{name}-{state}"))
    }

    /// The folder of the journal itself.
    pub(crate) fn journal(&self, name: &str, state: &str) -> PathBuf {
        let number = self.show(name)["id"].to_string();
        self.state(name, state).join(number)
    }

    pub(crate) fn append(&self, name: &str, range: RangeInclusive<u64>) {
        self.append_to(name, "audit.csv", &rows(range));
    }

    pub(crate) fn append_to(&self, name: &str, file: &str, text: &str) {
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create(true)
            .open(self.file(name, file));
        let mut file = file.expect("a file");
        file.write_all(text.as_bytes()).expect("a write");
    }

    /// Renames the file away, and every older one before it.
    pub(crate) fn rotate(&self, name: &str) {
        for number in (0..9).rev() {
            let from = match number {
                0 => self.file(name, "audit.csv"),
                number => self.file(name, &format!("audit.csv.{number}")),
            };
            if from.exists() {
                let to = self.file(name, &format!("audit.csv.{}", number + 1));
                fs::rename(from, to).expect("another name");
            }
        }
    }

    /// Starts the agent of a source, below `wrapper` if there is one.
    pub(crate) fn agent(&self, name: &str, wrapper: &[&str]) -> Agent {
        self.agent_with(name, "state", "", wrapper)
    }

    /// The same with another state, or with more settings of the source.
    pub(crate) fn agent_with(
        &self,
        name: &str,
        state: &str,
        more: &str,
        wrapper: &[&str],
    ) -> Agent {
        let config = format!("{name}-{state}.toml");
        self.room.write(
            &config,
            format!(
                "dir = \"{name}-{state}\"\n[[sources]]\ncredentials = \"{name}.key\"\n\
                 heartbeat_s = 1\npath = \"{name}/audit.csv\"\n{more}"
            ),
        );
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let said = self.room.path(&format!("{name}.{number}.log"));
        let log = File::create(&said).expect("a file");
        let args = ["collect", "--config", &config];
        let mut command = self.room.command_below(wrapper, &args);
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        Agent {
            child: command.spawn().expect("the agent"),
            said,
        }
    }

    pub(crate) fn show(&self, name: &str) -> Value {
        self.room.log(&["sources", "show", name, "--json"]).json()
    }

    pub(crate) fn records(&self, name: &str) -> u64 {
        self.show(name)["records"].as_u64().expect("a number")
    }

    /// Waits until the log has so many records of the source's current epoch.
    #[track_caller]
    pub(crate) fn wait(&self, name: &str, records: u64, agent: &Agent) {
        wait_for(&format!("{records} records of {name}"), agent, || {
            self.records(name) >= records
        });
    }

    /// What the log holds of kind `kind`, of one source.
    pub(crate) fn of_kind(&self, name: &str, kind: &str) -> Vec<Value> {
        let number = self.show(name)["id"].clone();
        let query = ["query", &format!("kind:{kind}"), "--json"];
        let all = lines(&self.room.log(&query).out).into_iter();
        // Entries about a source are in its name, or name it.
        all.filter(|entry| entry["source"] == number || entry["facts"]["source"] == number)
            .collect()
    }

    /// The records of a source in the order of the log.
    pub(crate) fn held(&self, name: &str) -> Vec<Held> {
        self.of_kind(name, "event").iter().map(held).collect()
    }

    /// Every marker, in the order of the log.
    pub(crate) fn markers(&self, name: &str) -> Vec<u64> {
        self.held(name)
            .iter()
            .filter_map(|held| held.marker)
            .collect()
    }

    /// What the agent said about files, by name.
    pub(crate) fn notices(&self, name: &str) -> Vec<String> {
        let said = self.held(name).into_iter();
        said.filter(|held| held.marker.is_none())
            .map(|held| held.name)
            .collect()
    }

    /// Every record once and in order, numbered without a gap and never sent twice; nothing without
    /// a place, and one life.
    #[track_caller]
    pub(crate) fn holds_in_order(&self, name: &str, range: RangeInclusive<u64>) {
        let held = self.held(name);
        assert_eq!(self.markers(name), range.collect::<Vec<_>>(), "{held:?}");
        let numbers: Vec<u64> = held.iter().map(|held| held.sequence).collect();
        assert_eq!(numbers, (1..=held.len() as u64).collect::<Vec<_>>());
        assert!(held.iter().all(|held| !held.late && !held.reread));
        for kind in ["epoch", "gap", "conflict", "forged"] {
            assert_eq!(self.of_kind(name, kind), [] as [Value; 0], "{kind}");
        }
        assert_eq!(self.show(name)["gaps"], serde_json::json!([]));
    }

    /// What `custody status` would have somebody do.
    pub(crate) fn steps(&self) -> String {
        self.room.log(&["status", "--json"]).json()["next"].to_string()
    }
}

fn held(entry: &Value) -> Held {
    let text = entry.to_string();
    let marker = text.split_once("marker n=").and_then(|(_, rest)| {
        let (number, _) = rest.split_once(';')?;
        number.parse().ok()
    });
    let flags = entry["flags"].to_string();
    Held {
        marker,
        name: (entry["event"]["activity_name"].as_str())
            .unwrap_or_default()
            .to_owned(),
        sequence: entry["sequence"].as_u64().expect("a number"),
        late: flags.contains("late"),
        reread: flags.contains("reread"),
    }
}

impl Agent {
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).expect("messages")
    }

    /// Waits for its end.
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.child.wait().expect("an end").code()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.expect("kill").success());
    }

    /// As a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("an end");
        self.child.wait().expect("an end");
    }

    /// In order.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.code(), Some(0), "{}", self.said());
    }

    #[track_caller]
    pub(crate) fn wait_said(&self, word: &str) {
        wait_for(word, self, || self.said().contains(word));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // After an end there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until it is so.
#[track_caller]
pub(crate) fn wait_for(what: &str, agent: &Agent, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "no {what}: {}", agent.said());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A record of csvlog with a marker.
pub(crate) fn row(n: u64, more: &str) -> String {
    format!(
        "2026-11-23 09:42:03.134 UTC,,,9831,,6b040a6b.2667,{n},,2026-11-23 09:42:03 UTC,,0,LOG,\
         00000,\"marker n={n};{more}\",,,,,,,,,\"\",\"postmaster\",,0\n"
    )
}

pub(crate) fn rows(range: RangeInclusive<u64>) -> String {
    range.map(|n| row(n, "")).collect()
}

/// Copies a folder and what is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for item in fs::read_dir(from).expect("a folder") {
        let item = item.expect("an item");
        let target = to.join(item.file_name());
        if item.file_type().expect("a kind").is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).expect("a copy");
        }
    }
}
