//! A stage for one story: a ledger and an agent as processes of their own, the files that the agent
//! follows, and a broker between them that the caller started.
//!
//! Not here: what goes wrong (`farm`, `cases`), and what must hold at the end (`check`).

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::check::{Story, check};
use super::feed::Feed;
use crate::cli::Room;

/// Longest wait for anything; a broker that was killed is back within 20 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// From look to look while something is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// A ledger, an agent and its files. Every process ends with it.
pub(crate) struct Stage {
    pub(crate) room: Room,
    pub(crate) feeds: Vec<Feed>,
    ledger: Option<Child>,
    agent: Option<Child>,
}

impl Stage {
    /// A log of `tenant` with `sources` sources named `s1`, `s2`, …, and an agent for all of them.
    /// Neither is started. `extra` stands in the ledger's table `[bus.kafka]`.
    pub(crate) fn new(
        tenant: &str,
        sources: usize,
        ledger_brokers: &str,
        agent_brokers: &str,
        extra: &str,
    ) -> Stage {
        let room = Room::with_tenant(tenant);
        let settings = room.path("ledger/custody.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        let kafka = format!("[bus.kafka]\nbrokers = \"{ledger_brokers}\"\n{extra}");
        let log = "[log]\ncheckpoint_every_ms = 200\n";
        std::fs::write(&settings, format!("{text}\n{log}\n{kafka}")).unwrap();
        let secrets = secrets(extra);
        let head =
            format!("dir = \"agent\"\n[bus.kafka]\nbrokers = \"{agent_brokers}\"\n{secrets}");
        room.write("agent.toml", head);
        let mut stage = Stage {
            room,
            feeds: Vec::new(),
            ledger: None,
            agent: None,
        };
        for number in 1..=sources {
            let name = format!("s{number}");
            let path = stage.room.path(&format!("{name}.csv"));
            stage.add(&name, &format!("path = \"{}\"", path.display()));
            stage.feeds.push(Feed::new(&path));
        }
        stage
    }

    /// One more source, whose files are named in the agent's configuration by `files`.
    pub(crate) fn add(&mut self, name: &str, files: &str) {
        let key = format!("{name}.key");
        let add = ["sources", "add", name, "--platform", "postgresql"];
        self.room
            .log(&[&add[..], &["--out", &key]].concat())
            .ended(0);
        let text = self.messages("agent.toml");
        let source = format!("[[sources]]\ncredentials = \"{key}\"\n{files}\nheartbeat_s = 1\n");
        self.room.write("agent.toml", text + &source);
    }

    /// Each source writes so many records more.
    pub(crate) fn write(&mut self, count: u64) {
        for feed in &mut self.feeds {
            feed.write(count);
        }
    }

    fn spawn(&self, args: &[&str], log: &str) -> Child {
        let mut open = OpenOptions::new();
        let log: File = open
            .create(true)
            .append(true)
            .open(self.room.path(log))
            .unwrap();
        self.room
            .command(args)
            .env("CUSTODY__MESSAGES__FORM", "json")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    pub(crate) fn start_ledger(&mut self) {
        self.end_ledger();
        let args = ["serve", "--config", "ledger/custody.toml"];
        self.ledger = Some(self.spawn(&args, "serve.log"));
    }

    /// A ledger that goes on with a log that lacks what it had said.
    pub(crate) fn start_restored(&mut self) {
        self.end_ledger();
        let args = [
            "serve",
            "--accept-restored",
            "--config",
            "ledger/custody.toml",
        ];
        self.ledger = Some(self.spawn(&args, "serve.log"));
    }

    pub(crate) fn start_agent(&mut self) {
        self.end_agent();
        let args = ["collect", "--config", "agent.toml"];
        self.agent = Some(self.spawn(&args, "agent.log"));
    }

    /// `kill -9`, if it runs.
    pub(crate) fn end_ledger(&mut self) {
        end(self.ledger.take());
    }

    /// `kill -9`, if it runs.
    pub(crate) fn end_agent(&mut self) {
        end(self.agent.take());
    }

    /// Asks the ledger to end; gives its exit code.
    pub(crate) fn stop_ledger(&mut self) -> i32 {
        stop(self.ledger.take())
    }

    /// Asks the agent to end; gives its exit code.
    pub(crate) fn stop_agent(&mut self) -> i32 {
        stop(self.agent.take())
    }

    /// What the ledger says of itself, if its server answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let ran = self.room.log(&["status", "--json"]);
        let value: Value = serde_json::from_str(&ran.out).ok()?;
        (value["served"] == true).then_some(value)
    }

    /// Waits until the ledger's status is as `wanted` says, and gives it.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if let Some(status) = status.as_ref().filter(|status| wanted(status)) {
                return status.clone();
            }
            if Instant::now() > until {
                let status = status.unwrap_or_default();
                panic!(
                    "{what}: not within {PATIENCE:?}: {status:#}\n{}",
                    self.said()
                );
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until the log holds every record that was written, and a checkpoint covers all.
    #[track_caller]
    pub(crate) fn settle(&self, what: &str) -> Value {
        let written: Vec<u64> = self.feeds.iter().map(Feed::written).collect();
        self.until(what, |status| {
            let sources = status["sources"].as_array().unwrap();
            let keyed = sources.iter().filter(|source| source["keyed"] == true);
            let all = keyed.zip(&written).all(|(source, written)| {
                source["records"].as_u64() >= Some(*written)
                    && source["gaps"].as_array().is_some_and(Vec::is_empty)
            });
            all && status["size"] == status["published_size"]
        })
    }

    /// Stops both in order and checks the log against the files.
    #[track_caller]
    pub(crate) fn finish(mut self, what: &str) -> Story {
        self.settle(what);
        assert_eq!(self.stop_agent(), 0, "{what}: {}", self.said());
        assert_eq!(self.stop_ledger(), 0, "{what}: {}", self.said());
        self.check(what)
    }

    /// The end check alone.
    #[track_caller]
    pub(crate) fn check(&self, what: &str) -> Story {
        let files: Vec<(u64, &Path)> = (1..).zip(self.feeds.iter().map(Feed::path)).collect();
        check(&self.room, &files, what)
    }

    /// The last that both said, for whoever looks at a failure.
    pub(crate) fn said(&self) -> String {
        let last = |name: &str| {
            let text = std::fs::read_to_string(self.room.path(name)).unwrap_or_default();
            let from = text.lines().count().saturating_sub(25);
            let lines: Vec<&str> = text.lines().skip(from).collect();
            format!("--- {name}\n{}\n", lines.join("\n"))
        };
        format!("{}{}", last("serve.log"), last("agent.log"))
    }

    /// All that one of them said.
    pub(crate) fn messages(&self, name: &str) -> String {
        std::fs::read_to_string(self.room.path(name)).unwrap_or_default()
    }

    /// A copy of the installation as it lies there, under another name in the same room.
    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        let (from, to) = (self.room.path("ledger"), self.room.path(name));
        let copied = Command::new("cp").arg("-a").arg(from).arg(&to).status();
        assert!(copied.unwrap().success());
        to
    }

    /// A second server, of a copy; the caller ends it.
    pub(crate) fn second(&self, name: &str) -> Child {
        let config = format!("{name}/custody.toml");
        self.spawn(&["serve", "--config", &config], "second.log")
    }

    /// Takes the place of the installation.
    pub(crate) fn restore(&self, copy: &Path) {
        let ledger = self.room.path("ledger");
        std::fs::remove_dir_all(&ledger).unwrap();
        std::fs::rename(copy, ledger).unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end_agent();
        self.end_ledger();
    }
}

/// The tables of `[bus.kafka]` that an agent has too.
fn secrets(extra: &str) -> &str {
    extra
        .find("[bus.kafka.tls]")
        .or(extra.find("[bus.kafka.sasl]"))
        .map_or("", |at| &extra[at..])
}

fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn stop(child: Option<Child>) -> i32 {
    let mut child = child.unwrap();
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
    assert!(sent.unwrap().success());
    child.wait().unwrap().code().unwrap_or(-1)
}
