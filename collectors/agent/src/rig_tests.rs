//! A source, its files, an agent and a real log behind the bus, for tests. Time is a number that
//! tests move.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use collectors_bus::{Acknowledged, Bus, BusError, Credentials, InProcess, Later, Outcome, Sent};
use collectors_formats::{FormatKeys, format_for};
use keys_secret::{Keystore, SecretKey32};
use ledger_core::state::Stream;
use ledger_core::{Flags, Index, Kind, Message, Nanos, SourceId, TreeSize};
use ledger_log::{
    Door as _, InProcessDoor, Log, LogOptions, LogPaths, OwnedPart, SourceSpec, StoredEntry,
    create_log,
};

use crate::{Allowed, Files, Follower, JournalBounds, Moment, Rotated, Setup, Step, Tailing};

/// The rig.
pub(crate) struct Rig {
    folder: tempfile::TempDir,
    paths: LogPaths,
    pub(crate) log: Option<Log>,
    line: Line,
    pub(crate) source: SourceId,
    pub(crate) follower: Option<Follower>,
    monotonic: Cell<i64>,
    pub(crate) wall_offset: Cell<i64>,
    pub(crate) away: Arc<AtomicBool>,
    pub(crate) way: Arc<Mutex<Way>>,
    pub(crate) named: &'static str,
    pub(crate) allowed: Allowed,
    pub(crate) rotated: Rotated,
    pub(crate) bounds: JournalBounds,
    pub(crate) other_key: bool,
    pub(crate) state: &'static str,
}

/// The way to the log that is there now.
type Line = Arc<Mutex<Option<InProcess<InProcessDoor>>>>;

/// A bus that can be cut off, and that loses or reorders what a test says.
struct Cord {
    line: Line,
    away: Arc<AtomicBool>,
    way: Arc<Mutex<Way>>,
}

/// What the way to the log does with messages.
#[derive(Default)]
pub(crate) struct Way {
    /// It answers before the log has read anything, as a broker does.
    pub(crate) carried: bool,
    /// Loses messages of records with these numbers, each time.
    pub(crate) loses: BTreeSet<u64>,
    /// Whoever carries them refuses.
    pub(crate) refuses: bool,
    /// Hands pieces over in another order, from this seed.
    pub(crate) reorders: Option<u64>,
    /// The numbers of records that were sent, in their order.
    pub(crate) sent: Vec<u64>,
    /// Frames that are handed over and not answered, and the most that ever were.
    aloft: usize,
    pub(crate) most_aloft: usize,
    /// What is on the way, and whether some of it was lost.
    queue: Vec<Message>,
    lost: bool,
}

impl Cord {
    fn bus(&self) -> MutexGuard<'_, Option<InProcess<InProcessDoor>>> {
        self.line.lock().unwrap()
    }

    fn check(&self) -> Result<(), BusError> {
        if self.away.load(Ordering::Relaxed) {
            let reason = "the cord is cut".to_owned();
            return Err(BusError::Away { reason });
        }
        Ok(())
    }

    /// The log reads what is on the way.
    fn deliver(&mut self, source: SourceId) -> Result<(), BusError> {
        let mut way = self.way.lock().unwrap();
        if way.queue.is_empty() {
            return Ok(());
        }
        let mut messages = std::mem::take(&mut way.queue);
        if let Some(seed) = &mut way.reorders {
            for at in (1..messages.len()).rev() {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Far moves open more gaps than a source may have.
                let other = at.saturating_sub(usize::try_from(*seed >> 62).unwrap());
                messages.swap(at, other);
            }
        }
        self.bus()
            .as_mut()
            .unwrap()
            .send(source, &messages)
            .map(drop)
    }
}

impl Bus for Cord {
    fn send(&mut self, source: SourceId, messages: &[Message]) -> Result<Sent, BusError> {
        self.check()?;
        let mut way = self.way.lock().unwrap();
        if way.refuses {
            let reason = "no right".to_owned();
            return Err(BusError::Refused { reason });
        }
        let record = |message: &&Message| message.stream == Stream::Record;
        let numbers = messages.iter().filter(record).map(|m| m.sequence.0);
        way.sent.extend(numbers);
        let (gone, kept): (Vec<_>, Vec<_>) = (messages.iter().cloned())
            .partition(|m| record(&m) && way.loses.contains(&m.sequence.0));
        if way.carried {
            way.lost |= !gone.is_empty();
            way.queue.extend(kept);
            return Ok(Sent::Carried);
        }
        drop(way);
        match self.bus().as_mut().unwrap().send(source, &kept)? {
            Sent::Taken { size, .. } if !gone.is_empty() => Ok(Sent::Taken {
                outcomes: vec![Outcome::Repeat; messages.len()],
                size,
            }),
            sent => Ok(sent),
        }
    }

    /// The answer is waited for, that of a test too; only a broker's is known at once.
    fn hand_over(
        &mut self,
        source: SourceId,
        messages: Vec<Message>,
    ) -> Later<Result<Sent, BusError>> {
        let mut way = self.way.lock().unwrap();
        if way.carried {
            drop(way);
            return Later::Known(self.send(source, &messages));
        }
        way.aloft += 1;
        way.most_aloft = way.most_aloft.max(way.aloft);
        let answer = if way.refuses || !way.loses.is_empty() || self.check().is_err() {
            drop(way);
            let answer = self.send(source, &messages);
            Later::Awaited(Box::new(|| answer))
        } else {
            let record = |message: &&Message| message.stream == Stream::Record;
            let numbers = messages.iter().filter(record).map(|m| m.sequence.0);
            way.sent.extend(numbers);
            drop(way);
            self.bus().as_mut().unwrap().hand_over(source, messages)
        };
        let way = self.way.clone();
        answer.map(move |answer| {
            way.lock().unwrap().aloft -= 1;
            answer
        })
    }

    fn acknowledged(&mut self, source: SourceId, wait: Duration) -> Result<Acknowledged, BusError> {
        self.check()?;
        self.deliver(source)?;
        self.bus().as_mut().unwrap().acknowledged(source, wait)
    }

    fn lost(&mut self, _source: SourceId) -> bool {
        std::mem::take(&mut self.way.lock().unwrap().lost)
    }
}

/// A native record with a marker.
pub(crate) fn row(n: u64) -> String {
    row_with(n, "")
}

pub(crate) fn row_with(n: u64, more: &str) -> String {
    format!(
        "2026-11-23 09:42:03.134 UTC,,,9831,,6b040a6b.2667,{n},,2026-11-23 09:42:03 UTC,,0,LOG,\
         00000,\"marker n={n};{more}\",,,,,,,,,\"\",\"postmaster\",,0\n"
    )
}

pub(crate) fn rows(range: RangeInclusive<u64>) -> String {
    range.map(row).collect()
}

impl Rig {
    pub(crate) fn new(named: &'static str) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("ledger");
        let paths = LogPaths::new(&root, "example.org", "main", "2026").unwrap();
        create_log(&paths).unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        let mut rig = Rig {
            folder,
            paths,
            log: None,
            line: Arc::default(),
            source: SourceId(0),
            follower: None,
            monotonic: Cell::new(1_000_000_000_000),
            wall_offset: Cell::new(1_790_000_000_000_000_000),
            away: Arc::default(),
            way: Arc::default(),
            named,
            allowed: Allowed::No,
            rotated: Rotated::Read,
            bounds: JournalBounds::of_quota(16 << 20),
            other_key: false,
            state: "state",
        };
        rig.open_log();
        let spec = SourceSpec {
            name: "pg".to_owned(),
            platform: "postgresql".to_owned(),
        };
        let mut door = rig.log.as_ref().unwrap().door();
        rig.source = door.register_keyed(&spec).unwrap().id;
        let size = door.status().unwrap().size;
        door.wait_published(TreeSize(size)).unwrap();
        rig.start();
        rig
    }

    fn open_log(&mut self) {
        self.open_log_with(false);
    }

    pub(crate) fn open_log_with(&mut self, accept_restored: bool) {
        let options = LogOptions {
            checkpoint_every: Duration::from_millis(20),
            accept_restored,
            ..LogOptions::default()
        };
        self.log = Some(Log::open(&self.paths, &options).unwrap().0);
        *self.line.lock().unwrap() = Some(InProcess::new(self.door()));
    }

    /// Where the log lies.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.paths.root().to_owned()
    }

    pub(crate) fn door(&self) -> InProcessDoor {
        self.log.as_ref().unwrap().door()
    }

    pub(crate) fn reader(&self) -> ledger_log::Reader {
        self.log.as_ref().unwrap().reader()
    }

    /// A file of the source.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join(self.state)
    }

    /// Appends to a file, as a server that keeps it open would.
    pub(crate) fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let mut options = OpenOptions::new();
        let mut file = options
            .append(true)
            .create(true)
            .open(self.file(name))
            .unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.file(from), self.file(to)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.file(name)).unwrap();
    }

    /// Compresses a file as `gzip` does: the other file first, then the original goes.
    /// As gzip does it: the new file has the times of the old one.
    pub(crate) fn gzip(&self, from: &str, to: &str) {
        let bytes = std::fs::read(self.file(from)).unwrap();
        let written = std::fs::metadata(self.file(from)).unwrap().modified();
        let file = std::fs::File::create_new(self.file(to)).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
        encoder.write_all(&bytes).unwrap();
        let file = encoder.finish().unwrap();
        file.set_modified(written.unwrap()).unwrap();
        self.remove(from);
    }

    pub(crate) fn key(&self) -> SecretKey32 {
        let store = Keystore::open(&self.paths.keys()).unwrap();
        store.source_key(self.source).unwrap()
    }

    pub(crate) fn key_bytes(&self) -> [u8; 32] {
        let store = Keystore::open(&self.paths.keys()).unwrap();
        *store.source_key_bytes(self.source).unwrap()
    }

    pub(crate) fn open(&self) -> Result<Follower, crate::FollowError> {
        let key = if self.other_key {
            SecretKey32::from_bytes(&[9; 32])
        } else {
            self.key()
        };
        let credentials = Credentials {
            source: self.source,
            key,
        };
        let path = self.file(self.named);
        let files = if self.named.contains('*') {
            Files::pattern(&path)
        } else {
            Files::named(&path)
        };
        let digest_key = credentials.digest_key();
        let tailing = Tailing {
            files: files.unwrap(),
            format: Box::new(move || {
                format_for("postgresql", &[], &FormatKeys { digest_key }).ok()
            }),
            copytruncate: self.allowed,
            rotated: self.rotated,
        };
        let setup = Setup {
            credentials,
            dir: self.state_dir(),
            bounds: self.bounds,
            heartbeat_every_ns: 60_000_000_000,
        };
        let bus = Cord {
            line: self.line.clone(),
            away: self.away.clone(),
            way: self.way.clone(),
        };
        Follower::open(setup, tailing, Box::new(bus))
    }

    pub(crate) fn start(&mut self) {
        self.follower = Some(self.open().unwrap());
    }

    /// As killed: only what is on the disk stays.
    pub(crate) fn stop(&mut self) {
        self.follower = None;
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start();
    }

    pub(crate) fn now(&self) -> Moment {
        let monotonic = self.monotonic.get();
        Moment {
            wall: Nanos(self.wall_offset.get() + monotonic),
            monotonic: Nanos(monotonic),
        }
    }

    pub(crate) fn pass(&self, millis: i64) {
        self.monotonic
            .set(self.monotonic.get() + millis * 1_000_000);
    }

    pub(crate) fn step(&mut self) -> Result<Step, crate::FollowError> {
        self.pass(250);
        let now = self.now();
        self.follower.as_mut().unwrap().step(now)
    }

    /// Steps until there is nothing to do.
    pub(crate) fn run(&mut self) {
        let mut idle = 0;
        while idle < 3 {
            idle = match self.step().unwrap() {
                Step::Busy => 0,
                Step::Idle => idle + 1,
            };
        }
    }

    /// Lets so much time pass that files without a writer are left.
    pub(crate) fn quiet(&mut self) {
        for _ in 0..3 {
            self.pass(3_000);
            self.run();
        }
    }

    /// Waits until a published checkpoint covers what the log holds.
    pub(crate) fn publish(&self) {
        let size = self.door().status().unwrap().size;
        self.door().wait_published(TreeSize(size)).unwrap();
    }

    pub(crate) fn entries(&self) -> Vec<StoredEntry> {
        let reader = self.log.as_ref().unwrap().reader();
        let mut entries: Vec<StoredEntry> = Vec::new();
        loop {
            let next = Index(entries.len() as u64);
            let more = reader.next(next, 1000, Duration::ZERO).unwrap();
            if more.is_empty() {
                return entries;
            }
            entries.extend(more);
        }
    }

    /// The markers of all records in the ledger, in their order.
    pub(crate) fn markers(&self) -> Vec<u64> {
        let events = self
            .entries()
            .into_iter()
            .filter(|e| e.entry.kind == Kind::EVENT);
        events.filter_map(|entry| marker(&entry)).collect()
    }

    /// The markers of whatever the log holds, placed or not.
    pub(crate) fn kept(&self) -> Vec<u64> {
        self.entries().iter().filter_map(marker).collect()
    }

    /// What the agent said about files.
    pub(crate) fn notices(&self) -> Vec<String> {
        let entries = self.entries();
        let notices = entries.iter().filter(|entry| entry.entry.class_uid == 6002);
        let name = |entry: &StoredEntry| {
            let facts: serde_json::Value =
                serde_json::from_slice(part(entry, 0).as_bytes()).unwrap();
            let name = facts["activity_name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            name.starts_with("stream.").then_some(name)
        };
        notices.filter_map(name).collect()
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.entries()
            .iter()
            .filter(|e| e.entry.kind == kind)
            .count()
    }

    /// The text of every record that was not understood.
    pub(crate) fn unparsed(&self) -> Vec<String> {
        let entries = self.entries();
        let unparsed = entries
            .iter()
            .filter(|e| e.entry.flags.contains(Flags::UNPARSED));
        unparsed.map(|entry| part(entry, 2)).collect()
    }

    /// Every record once, whatever its order, and none that cannot be placed.
    pub(crate) fn check(&self, expected: RangeInclusive<u64>) {
        self.check_apart_from_conflicts(expected);
        assert_eq!(self.count(Kind::CONFLICT), 0);
    }

    pub(crate) fn check_apart_from_conflicts(&self, expected: RangeInclusive<u64>) {
        let mut markers = self.markers();
        markers.sort_unstable();
        assert_eq!(markers, expected.collect::<Vec<_>>());
        assert_eq!(self.count(Kind::GAP), 0);
        assert_eq!(self.count(Kind::FORGED), 0);
    }

    /// As [`Rig::check`], and in their order.
    pub(crate) fn check_in_order(&self, expected: RangeInclusive<u64>) {
        self.check(expected.clone());
        assert_eq!(self.markers(), expected.collect::<Vec<_>>());
    }
}

pub(crate) fn marker(entry: &StoredEntry) -> Option<u64> {
    let texts = [part(entry, 2), part(entry, 0)];
    texts.iter().find_map(|text| {
        let (_, rest) = text.split_once("marker n=")?;
        rest.split_once(';')?.0.parse().ok()
    })
}

pub(crate) fn part(entry: &StoredEntry, number: usize) -> String {
    match &entry.parts[number] {
        OwnedPart::Present(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}
