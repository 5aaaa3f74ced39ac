//! One installation with a log, a server and an agent, somebody on the wire between them, and what is
//! asked of it when the day is over.
//!
//! Not here: the database, and what is done to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Dice;
use super::proxy::Proxy;
use crate::cli::{Room, Served, lines};
use crate::secrets::{Hay, Needle, files, found, none_found, parts};

/// Longest wait for the next records.
const PATIENCE: Duration = Duration::from_secs(15);

/// What an agent follows.
pub(crate) struct Followed {
    /// The source's name.
    pub(crate) name: &'static str,
    pub(crate) platform: &'static str,
    /// Its line in the agent's settings: `path = "…"` or `glob = "…"`.
    pub(crate) files: String,
    /// Settings of its form, `KEY=VALUE`.
    pub(crate) settings: &'static [&'static str],
}

pub(crate) struct Story {
    room: Room,
    proxy: Proxy,
    followed: Vec<Followed>,
    served: Option<Served>,
    agent: Option<Child>,
    /// Lives of the server and of the agent: what each one said is kept.
    lives: usize,
    _journals: JournalKeeper,
}

impl Story {
    /// An installation whose sources are registered; server and agent run.
    pub(crate) fn begin(followed: Vec<Followed>) -> Story {
        let room = Room::with_log();
        let on_the_wire = TcpListener::bind("127.0.0.1:0").expect("a port");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port_of = |listener: &TcpListener| listener.local_addr().expect("an address").port();
        let (between, upstream) = (port_of(&on_the_wire), port_of(&free));
        drop(free);
        let settings = room.path("ledger/custody.toml");
        let mut text = fs::read_to_string(&settings).expect("settings");
        text.push_str(&format!(
            "[messages]\nlevel = \"trace\"\n[log]\ncheckpoint_every_ms = 200\n[http.agents]\n\
             listen = \"127.0.0.1:{upstream}\"\naddress = \"127.0.0.1:{between}\"\n"
        ));
        fs::write(&settings, text).expect("settings");
        let mut agent = "dir = \"agent\"\n".to_owned();
        let mut credentials = Vec::new();
        for one in &followed {
            let out = format!("{}.key", one.name);
            let args = ["sources", "add", one.name, "--platform", one.platform];
            room.log(&[args.as_slice(), &["--out", &out]].concat())
                .ended(0);
            agent.push_str(&format!(
                "[[sources]]\ncredentials = \"{out}\"\nheartbeat_s = 1\n{}\n[sources.settings]\n",
                one.files
            ));
            for (key, value) in one.settings.iter().filter_map(|pair| pair.split_once('=')) {
                agent.push_str(&format!("{key} = \"{value}\"\n"));
            }
            credentials.push(room.path(&out));
        }
        room.write("agent.toml", agent);
        let proxy = Proxy::start(on_the_wire, upstream, &room.path("ledger"), &credentials);
        fs::create_dir(room.path("journals")).expect("a folder");
        let journals = JournalKeeper::start(room.path("agent"), room.path("journals"));
        let mut story = Story {
            room,
            proxy,
            followed,
            served: None,
            agent: None,
            lives: 0,
            _journals: journals,
        };
        story.serve();
        story.collect();
        // An agent that begins later does not read what was renamed away before: say when it begins.
        let until = Instant::now() + PATIENCE;
        for one in &story.followed {
            let show = ["sources", "show", one.name, "--json"];
            while story.room.log(&show).json()["heartbeats"] == 0 {
                assert!(Instant::now() < until, "{}", story.said("agent."));
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        story
    }

    fn serve(&mut self) {
        self.lives += 1;
        let log = self.room.path("serve.log");
        if log.exists() {
            let kept = format!("serve.{}.log", self.lives);
            fs::rename(log, self.room.path(&kept)).expect("another name");
        }
        self.served = Some(self.room.serve(&[], &[]));
    }

    fn collect(&mut self) {
        self.collect_below(&[]);
    }

    fn collect_below(&mut self, wrapper: &[String]) {
        self.lives += 1;
        let log = self.room.path(&format!("agent.{}.log", self.lives));
        let log = File::create(log).expect("a file");
        let args = ["collect", "--config", "agent.toml"];
        let mut command = self.room.command_below(wrapper, &args);
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        self.agent = Some(command.spawn().expect("the agent"));
    }

    /// Kills agent, server or both, at random, and starts them again, so many times.
    pub(crate) fn kill_again_and_again(&mut self, dice: &mut Dice, times: usize) {
        let wait = |millis| std::thread::sleep(Duration::from_millis(millis));
        for _ in 0..times {
            wait(dice.below(500));
            let victim = dice.below(5);
            if victim != 0 {
                self.kill_agent();
            }
            if victim < 3 {
                self.served = None;
            }
            wait(dice.below(100));
            if self.served.is_none() {
                self.serve();
            }
            if self.agent.is_none() {
                self.collect();
            }
        }
    }

    /// One life of the agent in the middle of the day: for seconds its journal's disk is full, and
    /// the folder of the files cannot be read. It says both, and goes on.
    pub(crate) fn suffer(&mut self) {
        self.kill_agent();
        let mut paths = Vec::new();
        for (number, one) in (1..).zip(&self.followed) {
            let file = one.files.split('"').nth(1).expect("a path");
            paths.extend(Path::new(file).parent().map(Path::to_owned));
            let journal = self.room.path(&format!("agent/{number}"));
            let segments = (1..40).map(|n| journal.join(format!("{n:010}.journal")));
            paths.extend(segments);
        }
        let mut wrapper: Vec<String> = ["strace", "-f", "-D", "-qqq", "-o", "/dev/null"]
            .map(str::to_owned)
            .to_vec();
        for path in paths {
            wrapper.extend(["-P".to_owned(), path.display().to_string()]);
        }
        for rule in [
            "signal=none",
            "trace=getdents64,pwrite64",
            "inject=getdents64:error=EACCES:when=9..24",
            "inject=pwrite64:error=ENOSPC:when=6..10",
        ] {
            wrapper.extend(["-e".to_owned(), rule.to_owned()]);
        }
        self.collect_below(&wrapper);
        let until = Instant::now() + PATIENCE * 3;
        let all = [
            "cannot be read: ",
            "can be read again",
            "nothing can be bound",
            "is followed again",
        ];
        loop {
            let log = self.room.path(&format!("agent.{}.log", self.lives));
            let said = fs::read_to_string(log).expect("messages");
            if all.iter().all(|word| said.contains(word)) {
                return;
            }
            assert!(Instant::now() < until, "{said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("an agent runs");
        // It may have ended by itself only if something is wrong with it.
        assert!(
            agent.try_wait().expect("a look").is_none(),
            "{}",
            self.said("agent.")
        );
        agent.kill().expect("an end");
        agent.wait().expect("an end");
    }

    /// What all processes said whose files begin so.
    fn said(&self, begins: &str) -> String {
        let mut said = String::new();
        for item in fs::read_dir(self.room.path("")).expect("a folder") {
            let path = item.expect("an item").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(begins) && name.ends_with(".log") {
                let text = fs::read_to_string(&path).expect("messages");
                said.push_str(&format!("--- {name}\n{text}\n"));
            }
        }
        said
    }

    /// What the database wrote, by our own reading of its files, in their order.
    pub(crate) fn written(&self, source: usize, files: &[PathBuf]) -> Vec<Value> {
        let followed = &self.followed[source];
        let mut args = vec!["parse", "--quiet", "--platform", followed.platform];
        for pair in followed.settings {
            args.extend(["--set", pair]);
        }
        let mut all = Vec::new();
        for file in files {
            let file = file.display().to_string();
            let ran = self.room.run(&[args.as_slice(), &[&file]].concat());
            assert!(matches!(ran.code, 0 | 6), "{file}: {}", ran.err);
            all.extend(lines(&ran.out));
        }
        all
    }

    /// Waits until the log has as many records of each source, and ends agent and server in order.
    pub(crate) fn end(mut self, written: &[Vec<Value>]) -> Ended {
        for (one, expected) in self.followed.iter().zip(written) {
            self.wait_for(one.name, expected.len());
        }
        let agent = self.agent.as_ref().expect("an agent runs").id().to_string();
        let told = Command::new("kill").args(["-s", "TERM", &agent]).status();
        assert!(told.expect("kill").success());
        let ended = self.agent.take().expect("an agent runs").wait();
        assert_eq!(ended.expect("an end").code(), Some(0));
        assert_eq!(self.served.take().expect("a server runs").stop("TERM"), 0);
        self.room.verify(&[]).ended(0);
        let mut events: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        let all = self.room.log(&["query", "kind:event", "--json"]);
        for event in lines(all.ended(0)) {
            let source = event["source"].as_u64().expect("a source");
            events.entry(source).or_default().push(event);
        }
        let mut ended = Ended {
            story: self,
            events: Vec::new(),
            notices: Vec::new(),
        };
        for all in events.into_values() {
            let numbers: Vec<&Value> = all.iter().map(|event| &event["sequence"]).collect();
            let expected: Vec<Value> = (1..=all.len()).map(Value::from).collect();
            assert!(numbers.into_iter().eq(&expected), "numbers without gaps");
            let (notices, records) = all.into_iter().partition(is_notice);
            ended.events.push(records);
            ended.notices.push(notices);
        }
        ended
    }
}

impl Story {
    /// Until so many records of a source are in the log, or no more come: then the comparison says
    /// which ones are missing.
    fn wait_for(&self, name: &str, count: usize) {
        let mut seen = (0, Instant::now());
        while seen.1.elapsed() < PATIENCE {
            let shown = self.room.log(&["sources", "show", name, "--json"]).json();
            let records = shown["records"].as_u64().expect("a number");
            let notices = lines(&self.room.log(&["query", "op:stream.*", "--json"]).out);
            let own = notices.iter().filter(|one| one["source"] == shown["id"]);
            if records >= u64::try_from(count + own.count()).expect("a number") {
                return;
            }
            if records > seen.0 {
                seen = (records, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("{name}: {} of {count} records arrived", seen.0);
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // A test that failed: what matters was said.
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// The day is over, the log is at rest and was verified.
pub(crate) struct Ended {
    story: Story,
    /// The records of each source, in the order of the log.
    pub(crate) events: Vec<Vec<Value>>,
    /// What the agent said about the files of each source.
    pub(crate) notices: Vec<Vec<Value>>,
}

fn is_notice(event: &Value) -> bool {
    let name = event["event"]["activity_name"].as_str();
    name.is_some_and(|name| name.starts_with("stream."))
}

impl Ended {
    /// Exactly these records, once each, in this order, numbered without gaps; nothing was late, in
    /// conflict or forged. A comparison that misses a record, or has one twice or too early, is
    /// shown to fail.
    pub(crate) fn holds_exactly(&self, source: usize, written: &[Value]) {
        let name = self.story.followed[source].name;
        if let Err(difference) = self.compare(source, written) {
            let notices = self.notices[source].iter();
            let notices: Vec<String> = notices.map(Value::to_string).collect();
            panic!(
                "{name}: {difference}\n{}\n{}",
                notices.join("\n"),
                self.story.said("agent.")
            );
        }
        let middle = written.len() / 2;
        let mut other = written.to_vec();
        other.remove(middle);
        self.compare(source, &other).expect_err("one is too many");
        other.insert(middle, written[middle + 1].clone());
        self.compare(source, &other).expect_err("one comes twice");
        other.remove(middle);
        other.insert(middle + 1, written[middle].clone());
        self.compare(source, &other).expect_err("two are exchanged");
        let shown = self.story.room.log(&["sources", "show", name, "--json"]);
        assert_eq!(shown.json()["gaps"], serde_json::json!([]));
        for kind in ["gap", "conflict", "forged"] {
            let query = ["query", &format!("kind:{kind}"), "--json"];
            let found = self.story.room.log(&query);
            assert_eq!(found.out, "", "{kind}");
        }
    }

    fn compare(&self, source: usize, written: &[Value]) -> Result<(), String> {
        let events = &self.events[source];
        for (position, (event, expected)) in events.iter().zip(written).enumerate() {
            let got = essence(&event["event"]);
            let expected = essence(expected);
            if got != expected {
                let raw = |event: &Value| event["raw_data"].to_string().chars().take(150).collect();
                let from = position.saturating_sub(2);
                let near = |events: &[Value]| -> Vec<String> { events.iter().map(raw).collect() };
                let taken: Vec<Value> = (events.iter().skip(from).take(8))
                    .map(|event| event["event"].clone())
                    .collect();
                let until = written.len().min(from + 8);
                return Err(format!(
                    "record {position}{}\ntaken: {:#?}\nwritten: {:#?}",
                    difference(&got, &expected),
                    near(&taken),
                    near(&written[from..until])
                ));
            }
            let odd = event["flags"].as_array().expect("flags");
            let odd = odd.iter().any(|flag| flag == "late" || flag == "reread");
            if odd {
                return Err(format!("record {position} came late: {event}"));
            }
        }
        if events.len() != written.len() {
            return Err(format!("{} records, not {}", events.len(), written.len()));
        }
        Ok(())
    }

    /// Looks for secrets in every journal that ever was, the log, everything said and sent. Each
    /// marker is found in all of these places, and the search finds every secret in `raw`.
    pub(crate) fn hides(&self, secrets: &[&str], markers: &[&str], raw: &[PathBuf]) {
        let needles: Vec<Needle> = secrets.iter().map(|text| Needle::new(text)).collect();
        let markers: Vec<Needle> = markers.iter().map(|text| Needle::new(text)).collect();
        let raw: Vec<u8> = (raw.iter())
            .flat_map(|path| fs::read(path).expect("a file of the database's"))
            .collect();
        let raw = [Hay::new("the database's own files".to_owned(), raw)];
        for (secret, text) in needles.iter().zip(secrets) {
            assert!(secret.is_in(&raw[0]), "{text} was never written");
        }
        let places = self.places();
        for (place, hays) in &places {
            none_found(hays, &needles);
            for marker in &markers {
                let seen = found(hays, std::slice::from_ref(marker));
                let said = place.starts_with("said");
                assert_eq!(seen.is_empty(), said, "{place}: {}", hays.len());
            }
        }
    }

    /// All that was written, decoded, said and sent, by where.
    fn places(&self) -> Vec<(&'static str, Vec<Hay>)> {
        let room = &self.story.room;
        let mut log = Vec::new();
        parts(&room.path("ledger"), &mut log);
        let mut raw = Vec::new();
        files(&room.path("ledger"), &mut raw);
        // What is compressed there says nothing to a search; `parts` reads it.
        log.append(&mut raw);
        let mut journals = Vec::new();
        files(&room.path("agent"), &mut journals);
        files(&room.path("journals"), &mut journals);
        let sent = self.story.proxy.passed().into_iter();
        let (up, down): (Vec<_>, Vec<_>) = sent.partition(|(name, _)| name.ends_with("agent"));
        let hays = |all: Vec<(String, Vec<u8>)>| {
            (all.into_iter())
                .map(|(name, bytes)| Hay::new(name, bytes))
                .collect::<Vec<Hay>>()
        };
        let mut said = hays(down);
        for begins in ["agent.", "serve."] {
            let text = self.story.said(begins);
            assert!(text.len() > 100, "{begins} said nothing");
            said.push(Hay::new(format!("messages of {begins}"), text.into()));
        }
        vec![
            ("the log", log),
            ("journals", journals),
            ("sent by the agent", hays(up)),
            ("said by both, and answers", said),
        ]
    }
}

/// What is compared of an event: all but the pseudonyms of accounts (of the door's key), the record's
/// own identifier (of the source and the place in its files), and digests (of the source's key).
fn essence(event: &Value) -> Value {
    let mut event = event.clone();
    strip(&mut event);
    event
}

fn strip(value: &mut Value) {
    let is_digest = |value: &Value| {
        value.as_str().is_some_and(|text| {
            text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    match value {
        Value::Object(fields) => {
            fields.retain(|key, value| {
                key != "raw_data_hash" && key != "targets" && !(key == "uid" && is_digest(value))
            });
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Where two values differ first, and a piece of both.
fn difference(left: &Value, right: &Value) -> String {
    let piece = |value: &Value| value.to_string().chars().take(400).collect::<String>();
    if let (Value::Object(left), Value::Object(right)) = (left, right) {
        let keys = left.keys().chain(right.keys());
        for key in keys {
            let [left, right] = [left, right].map(|fields| fields.get(key).unwrap_or(&Value::Null));
            if left != right {
                return format!(".{key}{}", difference(left, right));
            }
        }
    }
    format!(":\n{}\n{}", piece(left), piece(right))
}

/// Keeps every segment of every journal by a second name, since the agent removes what is covered.
struct JournalKeeper {
    stop: Arc<AtomicBool>,
}

impl JournalKeeper {
    fn start(from: PathBuf, to: PathBuf) -> JournalKeeper {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                keep(&from, &to);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        JournalKeeper { stop }
    }
}

impl Drop for JournalKeeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A journal may appear and go at any moment: what cannot be linked now is met again, or was never
/// whole.
fn keep(from: &Path, to: &Path) {
    let Ok(folders) = fs::read_dir(from) else {
        return;
    };
    for folder in folders.flatten() {
        let Ok(segments) = fs::read_dir(folder.path()) else {
            continue;
        };
        for segment in segments.flatten().map(|item| item.path()) {
            if segment.extension() == Some(OsStr::new("journal")) {
                let name = segment.file_name().unwrap_or_default().to_string_lossy();
                let source = folder.file_name();
                let kept = format!("{}-{name}", source.to_string_lossy());
                let _ = fs::hard_link(&segment, to.join(kept));
            }
        }
    }
}
