//! Both ends over a real broker: what an agent sends is in the log once and in order, and the agent
//! hears it; what is no message is kept beside it.
//!
//! Not here: processes that are killed (tests/kafka).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keys_secret::Keystore;
use ledger_core::state::{Position, Stream};
use ledger_core::{Epoch, Flags, Index, Kind, Message, Nanos, SourceId};
use ledger_event::Event;
use ledger_log::{Door as _, Log, LogOptions, LogPaths, SourceSpec, create_log};
use rdkafka::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::place::{PartitionPlace, partition_key, read};
use super::topics::events_topic;
use super::{BrokersConfig, BusState, Intake, KafkaLink, LedgerConfig, LedgerSettings};
use crate::bus::{Bus as _, Sent};
use crate::chain::{Chain, Credentials};

pub(super) const WAIT: Duration = Duration::from_secs(120);
pub(super) const EPOCH: Epoch = Epoch(1_795_000_000);

/// A broker of its own, stopped when dropped.
pub(super) struct Broker {
    folder: tempfile::TempDir,
    pub(super) address: String,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/servers.sh")
}

impl Broker {
    pub(super) fn start() -> Broker {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("bash");
        let ran = command
            .arg(script())
            .args(["start", "kafka"])
            .arg(folder.path());
        let ran = ran.output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let why = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}{why}");
        let port = said
            .split_whitespace()
            .find_map(|w| w.strip_prefix("port="));
        let address = format!("127.0.0.1:{}", port.expect("a port"));
        Broker { folder, address }
    }

    /// Writes a record as anybody could.
    pub(super) fn write(&self, topic: &str, value: &str, headers: OwnedHeaders) {
        self.write_as("", topic, value, headers);
    }

    /// Writes a record with a key as anybody could.
    pub(super) fn write_as(&self, key: &str, topic: &str, value: &str, headers: OwnedHeaders) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        let producer: BaseProducer = config.create().unwrap();
        let record = BaseRecord::<str, str>::to(topic).partition(0);
        let sent = producer.send(record.key(key).payload(value).headers(headers));
        sent.map_err(|error| error.0).unwrap();
        producer.flush(WAIT).unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let mut command = Command::new("bash");
        let stopped = command.arg(script()).arg("stop").arg(self.folder.path());
        let _ = stopped.output();
    }
}

pub(super) struct Ledger {
    pub(super) folder: tempfile::TempDir,
    pub(super) paths: LogPaths,
    pub(super) log: Log,
}

impl Ledger {
    pub(super) fn new() -> Ledger {
        Ledger::of("main")
    }

    /// The log of a tenant, whose topics are its own.
    pub(super) fn of(tenant: &str) -> Ledger {
        let folder = tempfile::tempdir().unwrap();
        let paths = LogPaths::new(folder.path(), "db.example.org", tenant, "2026").unwrap();
        create_log(&paths).unwrap();
        let log = Ledger::open(&paths);
        Ledger { folder, paths, log }
    }

    pub(super) fn open(paths: &LogPaths) -> Log {
        let options = LogOptions {
            checkpoint_every: Duration::from_millis(20),
            ..LogOptions::default()
        };
        Log::open(paths, &options).unwrap().0
    }

    pub(super) fn source(&self, name: &str) -> Credentials {
        let spec = SourceSpec {
            name: name.to_owned(),
            platform: "postgresql".to_owned(),
        };
        let source = self.log.door().register_keyed(&spec).unwrap().id;
        let store = Keystore::open(&self.paths.keys()).unwrap();
        let key = store.source_key(source).unwrap();
        Credentials { source, key }
    }

    pub(super) fn intake(&self, broker: &Broker) -> Intake {
        self.intake_with(broker, |_| ())
    }

    pub(super) fn intake_with(
        &self,
        broker: &Broker,
        set: impl FnOnce(&mut LedgerConfig),
    ) -> Intake {
        let settings = self.settings(broker, set);
        Intake::start(&settings, &self.paths, (self.log.door(), self.log.reader())).unwrap()
    }

    pub(super) fn settings(
        &self,
        broker: &Broker,
        set: impl FnOnce(&mut LedgerConfig),
    ) -> LedgerSettings {
        let mut config = LedgerConfig {
            brokers: broker.address.clone(),
            partitions: 2,
            ..LedgerConfig::default()
        };
        set(&mut config);
        config.check().unwrap()
    }

    pub(super) fn link(&self, broker: &Broker, sources: &[SourceId]) -> KafkaLink {
        let config = BrokersConfig {
            brokers: broker.address.clone(),
            ..BrokersConfig::default()
        };
        let store = Keystore::open(&self.paths.keys()).unwrap();
        let key = |source: &SourceId| (*source, store.source_key(*source).unwrap());
        let keys: HashMap<_, _> = sources.iter().map(key).collect();
        let tenant = self.paths.tenant();
        KafkaLink::connect(&config.check().unwrap(), ("db.example.org", tenant), keys).unwrap()
    }

    /// The statements of a source, in the order of the log.
    pub(super) fn statements(&self, source: SourceId) -> Vec<String> {
        let reader = self.log.reader();
        let entries = (0..reader.size().0).map(|index| reader.entry(Index(index)).unwrap());
        let of_source = entries.filter(|one| one.entry.source == source);
        let events = of_source.filter(|one| one.entry.kind == Kind::EVENT);
        events
            .map(|one| {
                let text = one.parts[2].bytes().unwrap_or_default();
                String::from_utf8_lossy(text).into_owned()
            })
            .collect()
    }

    pub(super) fn place(&self, partition: u32) -> Option<PartitionPlace> {
        let key = partition_key(&events_topic(self.paths.tenant()), partition);
        let found: Vec<Option<Position>> = self.log.door().positions(&[key]).unwrap();
        found
            .into_iter()
            .next()
            .flatten()
            .and_then(|one| read(&one))
    }
}

pub(super) fn value(number: u64) -> Vec<u8> {
    let mut event = Event::default();
    event.classify(6005, 1);
    event.set_time(Nanos(1_795_000_000_000_000_000));
    event.severity_id = Some(1);
    event.metadata.version = Some("1.8.0".into());
    event.metadata.product.name = Some("PostgreSQL".into());
    event.query_info.query_string = Some(format!("SELECT {number}").into());
    event.to_json()
}

pub(super) fn sealed(credentials: &Credentials, count: u64) -> Vec<Message> {
    let mut chain = Chain::new(Stream::Record, EPOCH, None);
    let seal = |number| {
        chain
            .seal(&credentials.key, value(number), Flags::NONE)
            .unwrap()
    };
    (1..=count).map(seal).collect()
}

/// A story of its own name, and so with a tenant of its own.
type Story = (&'static str, fn(&Broker));

/// Tells stories one after the other on one broker.
pub(super) fn tell(stories: &[Story]) {
    let broker = Broker::start();
    for (name, story) in stories {
        println!("story {name}");
        story(&broker);
    }
}

/// Polls until it holds.
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs servers"]
fn what_is_carried_is_taken_once_and_heard() {
    let broker = Broker::start();
    let mut ledger = Ledger::new();
    let (mine, other) = (ledger.source("mine"), ledger.source("other"));
    let link = ledger.link(&broker, &[mine.source, other.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 500);
    // Before the log has said anything nobody knows where to send to.
    let early = bus.send(mine.source, &messages).unwrap_err();
    assert!(early.is_passing(), "{early}");

    let intake = ledger.intake(&broker);
    until("the log speaks", || {
        bus.acknowledged(mine.source, WAIT).is_ok()
    });
    for piece in messages[..300].chunks(100) {
        assert_eq!(bus.send(mine.source, piece).unwrap(), Sent::Carried);
    }
    let covered = |bus: &mut super::KafkaBus, number: u64| {
        until("the agent hears", || {
            let heard = bus
                .acknowledged(mine.source, Duration::from_secs(1))
                .unwrap();
            heard.through(Stream::Record).0 == number
        });
    };
    covered(&mut bus, 300);
    assert!(!bus.lost(mine.source));

    // No message of ours: kept, and passed.
    broker.write(
        &events_topic("main"),
        "PIN 4111111111111111 stray",
        OwnedHeaders::new(),
    );
    until("the stray is counted", || intake.status().strays == 1);
    intake.stop();
    // Taken while nobody reads, and the log opened anew.
    bus.send(mine.source, &messages[200..]).unwrap();
    ledger.log.close().unwrap();
    ledger.log = Ledger::open(&ledger.paths);
    let intake = ledger.intake(&broker);
    covered(&mut bus, 500);
    assert_eq!(
        intake.status().state,
        BusState::Reading,
        "{:?}",
        intake.status()
    );
    let statements = ledger.statements(mine.source);
    assert_eq!(statements.len(), 500);
    for (number, text) in (1..).zip(&statements) {
        assert!(
            text.contains(&format!("SELECT {number}\"")),
            "{number}: {text}"
        );
    }
    let strays = ledger.log.door().status().unwrap().sources;
    let strays = strays
        .iter()
        .find(|one| one.name == "kafka:events/0")
        .unwrap();
    let strays = ledger.statements(SourceId(strays.id));
    assert!(
        strays.iter().any(|text| text.contains("stray")),
        "{strays:?}"
    );
    assert!(!strays.iter().any(|text| text.contains("4111111111111111")));
    let place = ledger.place(mine.source.0 % 2).unwrap();
    assert_eq!(place.generation, 1);
    intake.stop();
    drop(ledger.folder);
}
