//! What may and may not be believed on the acks topic, and what must come again whoever deleted it,
//! on one real broker: each story has a tenant, and so a log and topics, of its own.
//!
//! Not here: what else a topic can do to the ledger (`stories_tests`).

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ledger_core::message::MessageMac;
use ledger_core::state::Stream;
use ledger_core::{Epoch, Flags, Message, Nanos, SourceId};
use ledger_log::{Log, LogOptions, LogPaths, OpenError};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::ack::{LogAck, log_key, source_key};
use super::broker_tests::{Broker, EPOCH, Ledger, WAIT, sealed, tell, until, value};
use super::config::ForeignConfig;
use super::probe::probe;
use super::raw::{RawCluster, RawRecord};
use super::stories_tests::{all_once, carry, config, covered, reads, said};
use super::topics::{acks_topic, events_topic};
use super::{BusState, Intake, KafkaBus};
use crate::bus::Bus as _;
use crate::chain::{Chain, Credentials};

fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    let copied = command.arg("-a").arg(from.join(".")).arg(to).status();
    assert!(copied.unwrap().success());
}

/// The installation as it lies there, in a folder of its own; not opened.
pub(super) fn copied(ledger: &Ledger) -> (tempfile::TempDir, LogPaths) {
    let folder = tempfile::tempdir().unwrap();
    copy(ledger.folder.path(), folder.path());
    let tenant = ledger.paths.tenant();
    let paths = LogPaths::new(folder.path(), "db.example.org", tenant, "2026").unwrap();
    (folder, paths)
}

pub(super) fn opened(
    (folder, paths): (tempfile::TempDir, LogPaths),
    accept_restored: bool,
) -> Ledger {
    let options = LogOptions {
        checkpoint_every: Duration::from_millis(20),
        accept_restored,
        ..LogOptions::default()
    };
    let log = Log::open(&paths, &options).unwrap().0;
    Ledger { folder, paths, log }
}

pub(super) fn speaks(bus: &mut KafkaBus, source: SourceId) {
    until("the log speaks", || bus.acknowledged(source, WAIT).is_ok());
}

/// Messages `from`, `from` + 1, … of an epoch.
fn chained(mine: &Credentials, epoch: Epoch, from: u64, count: u64) -> Vec<Message> {
    let mut chain = Chain::new(Stream::Record, epoch, None);
    let mut seal = |number| chain.seal(&mine.key, value(number), Flags::NONE).unwrap();
    (from..from + count).map(&mut seal).collect()
}

/// The log stopped, says why with both sizes, and does not open again by itself.
pub(super) fn stopped(ledger: Ledger, intake: Intake) -> (tempfile::TempDir, LogPaths) {
    until("the intake stops", || {
        intake.status().state == BusState::Stopped
    });
    let error = intake.status().error.unwrap();
    assert!(error.contains("signed by its own keys"), "{error}");
    let why = ledger.log.status().stopped.expect("the log stopped");
    for word in [
        "custody.acks.",
        "--accept-restored",
        &ledger.log.status().published_size.to_string(),
    ] {
        assert!(why.contains(word), "{word}: {why}");
    }
    intake.stop();
    assert!(ledger.log.close().is_err());
    let refused = Log::open(&ledger.paths, &LogOptions::default()).map(|_| ());
    assert!(
        matches!(refused, Err(OpenError::Restored { .. })),
        "{refused:?}"
    );
    (ledger.folder, ledger.paths)
}

fn a_log_from_an_old_copy(broker: &Broker) {
    let ledger = Ledger::of("older");
    let mine = ledger.source("mine");
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 30);
    let intake = ledger.intake(broker);
    reads(&intake);
    speaks(&mut bus, mine.source);
    carry(&mut bus, mine.source, &messages[..10]);
    covered(&mut bus, mine.source, &messages[..10]);
    intake.stop();
    let old = copied(&ledger);
    // The twin: the log that is the newest goes on, however often it starts.
    let intake = ledger.intake(broker);
    reads(&intake);
    carry(&mut bus, mine.source, &messages[10..20]);
    covered(&mut bus, mine.source, &messages[..20]);
    intake.stop();
    let before = bus.acknowledged(mine.source, Duration::ZERO).unwrap();
    drop(ledger);

    let older = opened(old, false);
    let size = older.log.status().size;
    let intake = older.intake(broker);
    let old = stopped(older, intake);

    // An operator goes on: the agent hears that less is covered, though the sizes went back, and
    // what the topic still holds is read again.
    let older = opened(old, true);
    let accepted = older.log.door().forgiven();
    assert!(older.log.status().size >= size && accepted > Nanos(0));
    // Long enough for a second in which something is signed later than that.
    let quiet = Duration::from_millis(1100);
    let intake = older.intake(broker);
    reads(&intake);
    let heard = bus.acknowledged(mine.source, WAIT).unwrap();
    assert!(heard.size < before.size, "{heard:?}");
    assert!(heard.receipt.unwrap().at >= accepted);
    assert!(bus.lost(mine.source), "what was carried may be gone");
    covered(&mut bus, mine.source, &messages[..20]);
    intake.stop();
    all_once(&older, mine.source, 20, true);
    assert_eq!(said(&older, "\"lost\""), 1);

    // Once more from a copy: what was signed after that was accepted stops it again, and what was
    // signed before does not.
    let second = copied(&older);
    until("a later second", || {
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        now.saturating_sub(quiet).as_nanos() > u128::try_from(accepted.0).unwrap()
    });
    let twin = opened(copied(&older), false);
    drop(older);
    let intake = twin.intake(broker);
    reads(&intake);
    carry(&mut bus, mine.source, &messages[20..]);
    covered(&mut bus, mine.source, &messages);
    intake.stop();
    drop(twin);
    let older = opened(second, false);
    let intake = older.intake(broker);
    stopped(older, intake);
}

/// A record of the acks topic by somebody.
pub(super) fn forged(broker: &Broker, tenant: &str, key: &str, value: &[u8]) {
    let producer: BaseProducer = config(broker).create().unwrap();
    let topic = acks_topic(tenant);
    let record = BaseRecord::<str, [u8]>::to(&topic).partition(0);
    let sent = producer.send(record.key(key).payload(value));
    sent.map_err(|error| error.0).unwrap();
    producer.flush(WAIT).unwrap();
}

/// What somebody says of the log moves no agent, and stops no ledger; another log is named.
fn a_word_in_the_logs_name(broker: &Broker) {
    let ledger = Ledger::of("name");
    let mine = ledger.source("mine");
    let intake = ledger.intake(broker);
    reads(&intake);
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 20);
    speaks(&mut bus, mine.source);
    intake.stop();
    // Nobody reads them yet.
    carry(&mut bus, mine.source, &messages);
    let word = LogAck {
        origin: ledger.paths.origin().as_str().to_owned(),
        size: u64::MAX,
        checkpoint: "db.example.org/name/2026\n9\nx\n".to_owned(),
    };
    let mut json: serde_json::Value = serde_json::from_slice(&word.to_json()).unwrap();
    json["partitions"] = (0..2)
        .map(|partition| {
            serde_json::json!({"partition": partition, "generation": 9, "next": 1_000_000})
        })
        .collect();
    let json = json.to_string().into_bytes();
    for key in ["log", &log_key(&word.origin), "source/1"] {
        forged(broker, "name", key, &json);
    }
    forged(
        broker,
        "name",
        &log_key("other.example.org/name/2026"),
        b"{}",
    );
    // What was written behind it is heard: so was that.
    let intake = ledger.intake(broker);
    until("the ledger warns", || intake.status().warnings.len() >= 2);
    reads(&intake);
    assert!(!bus.lost(mine.source));
    covered(&mut bus, mine.source, &messages);
    assert!(!bus.lost(mine.source));
    all_once(&ledger, mine.source, 20, true);
    let topic = events_topic("name");
    let cluster = RawCluster::plain(&broker.address);
    let partition = i32::try_from(mine.source.0 % 2).unwrap();
    assert_eq!(cluster.watermarks(&topic, partition).unwrap().1, 20);
    let warnings = intake.status().warnings.join("\n");
    for word in [
        "did not write",
        "used by the log other.example.org/name/2026",
    ] {
        assert!(warnings.contains(word), "{word}: {warnings}");
    }
    assert_eq!(ledger.log.status().stopped, None);
    intake.stop();
    let doctor = |ledger: &Ledger| {
        let settings = ledger.settings(broker, |_| ());
        let (tenant, origin) = (ledger.paths.tenant(), ledger.paths.origin());
        format!("{:?}", probe(&settings, tenant, origin))
    };
    assert!(doctor(&ledger).contains("used by the log other.example.org"));
    // Topics that it has for itself.
    let own = Ledger::of("own");
    let intake_of_own = own.intake(broker);
    reads(&intake_of_own);
    assert!(
        intake_of_own
            .status()
            .warnings
            .iter()
            .all(|one| !one.contains("used by"))
    );
    intake_of_own.stop();
    assert!(!doctor(&own).contains("used by"));

    // The twin: the log's own word does make an agent send again.
    let forged: MessageMac = [7; 32];
    let mut untaken = chained(&mine, Epoch(EPOCH.0 + 1_000_000_000), 1, 3);
    untaken.iter_mut().for_each(|one| one.mac = forged);
    carry(&mut bus, mine.source, &untaken);
    let intake = ledger.intake(broker);
    // Nothing about the source changed, so that is said half a minute later.
    let end = Instant::now() + 2 * WAIT;
    while !bus.lost(mine.source) {
        assert!(Instant::now() < end, "what was not taken is not said");
        std::thread::sleep(Duration::from_millis(50));
    }
    intake.stop();
}

/// Retention takes the last messages of an epoch that were never read; those of the next survive.
fn an_old_epoch_that_is_deleted(broker: &Broker) {
    for deleted in [true, false] {
        let tenant = if deleted { "epoch" } else { "kept" };
        let ledger = Ledger::of(tenant);
        let mine = ledger.source("mine");
        let intake = ledger.intake(broker);
        reads(&intake);
        let link = ledger.link(broker, &[mine.source]);
        let mut bus = link.bus(mine.source);
        let next = Epoch(EPOCH.0 + 100);
        let (old, new) = (sealed(&mine, 20), chained(&mine, next, 21, 5));
        speaks(&mut bus, mine.source);
        carry(&mut bus, mine.source, &old[..10]);
        covered(&mut bus, mine.source, &old[..10]);
        intake.stop();
        carry(&mut bus, mine.source, &old[10..]);
        carry(&mut bus, mine.source, &new);
        if deleted {
            let partition = i32::try_from(mine.source.0 % 2).unwrap();
            let cluster = RawCluster::plain(&broker.address);
            let topic = events_topic(tenant);
            cluster.delete_before(&topic, partition, 17).unwrap();
        }
        let intake = ledger.intake(broker);
        until("the next epoch is covered", || {
            let heard = bus.acknowledged(mine.source, WAIT).unwrap();
            heard.epoch == next && heard.through(Stream::Record).0 == 5
        });
        assert_eq!(bus.lost(mine.source), deleted, "{tenant}");
        assert!(!bus.lost(mine.source), "said once");
        let place = ledger.place(mine.source.0 % 2).unwrap();
        assert_eq!(place.lost_to, if deleted { 17 } else { 0 });
        if !deleted {
            all_once(&ledger, mine.source, 25, true);
        }
        intake.stop();
    }
}

/// All that a partition holds.
fn records(cluster: &RawCluster, topic: &str, partition: i32) -> Vec<RawRecord> {
    let mut all = Vec::new();
    let mut take = |record| all.push(record);
    cluster.read(topic, partition, 0, &mut take).unwrap();
    all
}

/// Deleted, and there again under the same name.
fn made_anew(cluster: &RawCluster, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    cluster.delete(topic).unwrap();
    until("it is made anew", || {
        cluster.create(topic, partitions, settings).is_ok()
    });
}

fn junk(partition: i32, count: usize) -> Vec<RawRecord> {
    let record = RawRecord {
        partition,
        value: b"junk".to_vec(),
        ..RawRecord::default()
    };
    vec![record; count]
}

fn write(cluster: &RawCluster, topic: &str, records: &[RawRecord]) {
    let writer = cluster.writer(None).unwrap();
    writer.send(topic, records).unwrap();
    writer.flush().unwrap();
}

/// Another topic that has grown beyond what was read, and even holds the record that was read last.
fn a_topic_made_anew_that_looks_the_same(broker: &Broker) {
    let ledger = Ledger::of("same");
    let mine = ledger.source("mine");
    let intake = ledger.intake(broker);
    reads(&intake);
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 60);
    speaks(&mut bus, mine.source);
    carry(&mut bus, mine.source, &messages[..50]);
    covered(&mut bus, mine.source, &messages[..50]);
    intake.stop();
    let cluster = RawCluster::plain(&broker.address);
    let (topic, partition) = (events_topic("same"), mine.source.0 % 2);
    let at = i32::try_from(partition).unwrap();
    let before = records(&cluster, &topic, at);
    assert_eq!(before.len(), 50);
    // The twin: the same topic is read on.
    let intake = ledger.intake(broker);
    reads(&intake);
    intake.stop();
    assert_eq!(ledger.place(partition).unwrap().generation, 1);

    made_anew(&cluster, &topic, 2, &[]);
    write(&cluster, &topic, &junk(at, 49));
    write(&cluster, &topic, &before[49..]);
    let intake = ledger.intake(broker);
    until("all of it is read", || intake.status().strays == 49);
    assert_eq!(ledger.place(partition).unwrap().generation, 2);
    assert_eq!(
        said(&ledger, "the topic has another id"),
        2,
        "each partition"
    );

    // And while it is read, with more in it than was read before.
    made_anew(&cluster, &topic, 2, &[]);
    write(&cluster, &topic, &junk(at, 70));
    carry(&mut bus, mine.source, &messages[50..]);
    covered(&mut bus, mine.source, &messages);
    until("all of it is read", || intake.status().strays == 49 + 70);
    assert_eq!(ledger.place(partition).unwrap().generation, 3);
    all_once(&ledger, mine.source, 60, true);
    intake.stop();
    let intake = ledger.intake(broker);
    reads(&intake);
    intake.stop();
    assert_eq!(ledger.place(partition).unwrap().generation, 3);
}

/// A topic of another shipper is told by its id too.
fn a_foreign_topic_made_anew(broker: &Broker) {
    let ledger = Ledger::of("edge");
    let cluster = RawCluster::plain(&broker.address);
    cluster.create("edge", 1, &[]).unwrap();
    let foreign = || ForeignConfig {
        topic: "edge".to_owned(),
        source: "edge".to_owned(),
        platform: "postgresql".to_owned(),
        field: None,
        settings: [("form".to_owned(), "csvlog".to_owned())].into(),
    };
    write(&cluster, "edge", &junk(0, 5));
    let records = || {
        let status = ledger.log.status();
        let edge = status.sources.into_iter().find(|one| one.name == "edge/0");
        edge.map_or(0, |edge| edge.records)
    };
    let intake = ledger.intake_with(broker, |config| config.foreign.push(foreign()));
    // The notice that it is read from now on, and what is none of the platform's records.
    until("it is read", || records() == 6);
    intake.stop();
    // The last record is the same; those before it are not what was read.
    made_anew(&cluster, "edge", 1, &[]);
    write(&cluster, "edge", &junk(0, 5));
    let intake = ledger.intake_with(broker, |config| config.foreign.push(foreign()));
    until("it is read anew", || {
        said(&ledger, "the topic has another id") == 1 && records() == 6
    });
    intake.stop();
}

/// Agents and ledger speak again when their topic was made anew.
fn acknowledgements_made_anew(broker: &Broker) {
    let ledger = Ledger::of("word");
    let mine = ledger.source("mine");
    let intake = ledger.intake(broker);
    reads(&intake);
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 40);
    speaks(&mut bus, mine.source);
    carry(&mut bus, mine.source, &messages[..20]);
    covered(&mut bus, mine.source, &messages[..20]);
    let cluster = RawCluster::plain(&broker.address);
    let topic = acks_topic("word");
    let before = cluster.watermarks(&topic, 0).unwrap().1;
    // What the agent reads next lies beyond, as somebody writes on.
    made_anew(&cluster, &topic, 1, &[("cleanup.policy", "compact")]);
    let filler = RawRecord {
        key: b"filler".to_vec(),
        ..RawRecord::default()
    };
    let count = usize::try_from(before).unwrap() + 50;
    write(&cluster, &topic, &vec![filler; count]);
    carry(&mut bus, mine.source, &messages[20..]);
    covered(&mut bus, mine.source, &messages);
    until("all is said again", || {
        let spoken = records(&cluster, &topic, 0);
        let key = source_key(mine.source);
        spoken.iter().any(|record| record.key == key.as_bytes())
    });
    all_once(&ledger, mine.source, 40, true);
    intake.stop();
}

#[test]
#[ignore = "needs servers"]
fn what_is_believed_and_what_comes_again() {
    tell(&[
        ("older", a_log_from_an_old_copy),
        ("name", a_word_in_the_logs_name),
        ("epoch", an_old_epoch_that_is_deleted),
        ("same", a_topic_made_anew_that_looks_the_same),
        ("edge", a_foreign_topic_made_anew),
        ("word", acknowledgements_made_anew),
    ]);
}
