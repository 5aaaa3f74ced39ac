//! What a topic can do to the ledger, on one real broker: each story has a tenant, and so a log and
//! topics, of its own.
//!
//! Not here: the plain way (`broker_tests`), processes that are killed (tests/kafka).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger_core::state::Stream;
use ledger_core::{Index, Message, Nanos, SourceId};
use ledger_log::{Door as _, Run, SourceSpec};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::ack::{Passed, SourceAck, source_key};
use super::broker_tests::{Broker, Ledger, WAIT, sealed, tell, until};
use super::client::wait_for;
use super::config::ForeignConfig;
use super::form::{H_MAC, Home, headers};
use super::place::{TopicPlace, stored, topic_key};
use super::topics::{acks_topic, events_topic};
use super::{BusState, Intake, KafkaBus};
use crate::bus::{Bus as _, BusError, Sent};
use crate::chain::Credentials;

pub(super) fn config(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &broker.address);
    config
}

pub(super) fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    config(broker).create().unwrap()
}

pub(super) fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(WAIT))
}

pub(super) fn headers_of(pairs: &[(&str, &str)]) -> OwnedHeaders {
    pairs.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
        let value = Some(*value);
        all.insert(Header { key, value })
    })
}

/// What names `source` of `tenant` as the sender of `message`.
pub(super) fn sent_by(tenant: &str, source: SourceId, message: &Message) -> OwnedHeaders {
    let sender = Home::new("db.example.org", tenant).source(source);
    let list = headers(message, &sender);
    let pairs: Vec<_> = (list.iter())
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    headers_of(&pairs)
}

pub(super) fn reads(intake: &Intake) {
    until("it reads", || intake.status().state == BusState::Reading);
}

/// Sends as an agent does: again until the broker has it.
pub(super) fn carry(bus: &mut KafkaBus, source: SourceId, messages: &[Message]) {
    until("the broker takes it", || match bus.send(source, messages) {
        Ok(sent) => sent == Sent::Carried,
        Err(error) => {
            assert!(error.is_passing(), "{error}");
            false
        }
    });
}

/// Hears as an agent does, and sends again what is lost, until all is covered.
pub(super) fn covered(bus: &mut KafkaBus, source: SourceId, messages: &[Message]) {
    let number = messages.len() as u64;
    until("all is covered", || {
        let heard = bus.acknowledged(source, Duration::from_millis(200));
        let heard = heard.map_or(0, |heard| heard.through(Stream::Record).0);
        assert!(heard <= number, "{heard} of {number}");
        if heard < number && bus.lost(source) {
            carry(bus, source, messages);
        }
        heard == number
    });
}

/// Every message once and in order.
pub(super) fn all_once(ledger: &Ledger, source: SourceId, count: u64, in_order: bool) {
    let mut found: Vec<u64> = (ledger.statements(source).iter())
        .map(|text| {
            let digits = text.split("SELECT ").nth(1).expect("a statement");
            let digits = digits.split('"').next().unwrap_or_default();
            digits.parse().unwrap()
        })
        .collect();
    if !in_order {
        found.sort_unstable();
    }
    assert_eq!(found, (1..=count).collect::<Vec<_>>());
}

/// Everything that the log keeps as text, and what the ledger itself said.
fn texts(ledger: &Ledger) -> Vec<String> {
    let reader = ledger.log.reader();
    let entries = (0..reader.size().0).map(|index| reader.entry(Index(index)).unwrap());
    let text = |one: ledger_log::StoredEntry| {
        let parts = one.parts.iter().filter_map(|part| part.bytes());
        parts
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect::<String>()
    };
    entries.map(text).collect()
}

pub(super) fn said(ledger: &Ledger, word: &str) -> usize {
    texts(ledger)
        .iter()
        .filter(|text| text.contains(word))
        .count()
}

fn a_topic_made_anew(broker: &Broker) {
    let ledger = Ledger::of("anew");
    let mine = ledger.source("mine");
    let intake = ledger.intake(broker);
    reads(&intake);
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 80);
    carry(&mut bus, mine.source, &messages[..50]);
    covered(&mut bus, mine.source, &messages[..50]);
    let topic = events_topic("anew");
    let deleted = wait_for(admin(broker).delete_topics(&[&topic], &options())).unwrap();
    deleted.into_iter().for_each(|one| drop(one.unwrap()));
    until("it is made anew", || {
        let place = ledger.place(mine.source.0 % 2);
        place.is_some_and(|place| place.generation == 2)
    });
    carry(&mut bus, mine.source, &messages[50..]);
    covered(&mut bus, mine.source, &messages);
    all_once(&ledger, mine.source, 80, true);
    assert_eq!(said(&ledger, "topic.anew"), 2, "each partition");
    intake.stop();
}

fn offsets_that_are_gone(broker: &Broker) {
    let ledger = Ledger::of("lost");
    let mine = ledger.source("mine");
    let intake = ledger.intake(broker);
    reads(&intake);
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let heard = |bus: &mut KafkaBus| bus.acknowledged(mine.source, WAIT).is_ok();
    until("the log speaks", || heard(&mut bus));
    intake.stop();
    let messages = sealed(&mine, 30);
    carry(&mut bus, mine.source, &messages);
    let partition = i32::try_from(mine.source.0 % 2).unwrap();
    let mut before = TopicPartitionList::new();
    let (topic, gone) = (events_topic("lost"), Offset::Offset(20));
    before
        .add_partition_offset(&topic, partition, gone)
        .unwrap();
    wait_for(admin(broker).delete_records(&before, &options())).unwrap();
    let intake = ledger.intake(broker);
    covered(&mut bus, mine.source, &messages);
    all_once(&ledger, mine.source, 30, false);
    assert_eq!(said(&ledger, "20 offsets from 0 were deleted"), 1);
    intake.stop();
    let intake = ledger.intake(broker);
    reads(&intake);
    assert_eq!(said(&ledger, "topic.lost"), 1, "a loss is said once");
    intake.stop();
}

fn a_batch_that_no_reader_takes(broker: &Broker) {
    let ledger = Ledger::of("bomb");
    let mine = ledger.source("mine");
    let intake = ledger.intake(broker);
    reads(&intake);
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 40);
    carry(&mut bus, mine.source, &messages[..20]);
    covered(&mut bus, mine.source, &messages[..20]);
    let mut large = config(broker);
    large
        .set("compression.type", "zstd")
        .set("message.max.bytes", "200000000");
    let producer: BaseProducer = large.create().unwrap();
    let (topic, zeros) = (events_topic("bomb"), vec![0; 100 << 20]);
    let partition = i32::try_from(mine.source.0 % 2).unwrap();
    let record = BaseRecord::<[u8], [u8]>::to(&topic).partition(partition);
    let sent = producer.send(record.payload(&zeros));
    sent.map_err(|error| error.0).unwrap();
    producer.flush(WAIT).unwrap();
    carry(&mut bus, mine.source, &messages[20..]);
    covered(&mut bus, mine.source, &messages);
    all_once(&ledger, mine.source, 40, true);
    assert_eq!(said(&ledger, "1 offsets from 20 are compressed"), 1);
    intake.stop();
    let intake = ledger.intake(broker);
    reads(&intake);
    intake.stop();
    assert_eq!(said(&ledger, "topic.unreadable"), 1);
}

fn a_second_ledger(broker: &Broker) {
    let ledger = Ledger::of("second");
    let mine = ledger.source("mine");
    let first = ledger.intake(broker);
    reads(&first);
    let second = ledger.intake(broker);
    reads(&second);
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 40);
    carry(&mut bus, mine.source, &messages[..20]);
    covered(&mut bus, mine.source, &messages[..20]);
    until("the first stops", || {
        first.status().state == BusState::Stopped
    });
    let error = first.status().error.unwrap();
    assert!(error.contains("has taken over"), "{error}");
    carry(&mut bus, mine.source, &messages[20..]);
    covered(&mut bus, mine.source, &messages);
    all_once(&ledger, mine.source, 40, true);
    second.stop();
}

fn records_that_are_no_messages(broker: &Broker) {
    let ledger = Ledger::of("stray");
    let mine = ledger.source("mine");
    let spec = SourceSpec {
        name: "file".to_owned(),
        platform: "postgresql".to_owned(),
    };
    let unkeyed = ledger.log.door().register(&spec).unwrap().id;
    let intake = ledger.intake(broker);
    reads(&intake);
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 3);
    let topic = events_topic("stray");
    let one = &messages[0];
    let by = |tenant, source| sent_by(tenant, source, one);
    broker.write(&topic, "pin 4111111111111111", OwnedHeaders::new());
    broker.write(&topic, "marker-of-another", by("elsewhere", mine.source));
    let number = |source: SourceId| source.to_string();
    for source in [SourceId(4000), unkeyed] {
        broker.write_as(&number(source), &topic, "{}", by("stray", source));
    }
    // Of ours, but under the key of another or of none.
    for key in ["", "4000"] {
        broker.write_as(key, &topic, "{}", by("stray", mine.source));
    }
    broker.write(&topic, "{}", headers_of(&[("ce_specversion", "1.0")]));
    // Of ours, but not what was sealed.
    let own = number(mine.source);
    broker.write_as(&own, &topic, "{}", by("stray", mine.source));
    aborted(broker, &topic);
    until("the log speaks", || {
        bus.acknowledged(mine.source, WAIT).is_ok()
    });
    carry(&mut bus, mine.source, &messages);
    covered(&mut bus, mine.source, &messages);
    until("all are counted", || intake.status().strays == 7);
    intake.stop();
    let status = || ledger.log.door().status().unwrap();
    let (size, forged) = (status().size, status().forged);
    assert_eq!(forged, 1);
    let intake = ledger.intake(broker);
    reads(&intake);
    carry(&mut bus, mine.source, &messages);
    until("it is passed", || {
        let mut partitions = intake.status().partitions.into_iter();
        partitions.all(|one| one.high > 0 && one.lag_records == 0 || one.partition == 0)
    });
    intake.stop();
    let ticks = said(&ledger, "\"size\":").saturating_sub(1);
    assert!(status().size <= size + ticks as u64, "nothing came twice");
    assert_eq!((status().forged, status().conflicts), (1, 0));
    all_once(&ledger, mine.source, 3, true);
    let texts = texts(&ledger).concat();
    for (hidden, kept) in [
        ("4111111111111111", "pin "),
        ("marker-of-another", "another tenant or deployment"),
        ("aborted", "has no key"),
        ("aborted", "its key is not the number"),
    ] {
        assert!(texts.contains(kept), "{kept}");
        assert!(!texts.contains(hidden), "{hidden}");
    }
}

/// A record that its producer took back.
fn aborted(broker: &Broker, topic: &str) {
    let mut config = config(broker);
    config.set("transactional.id", "somebody");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(WAIT).unwrap();
    producer.begin_transaction().unwrap();
    let record = BaseRecord::<str, str>::to(topic).partition(0);
    let sent = producer.send(record.payload("aborted"));
    sent.map_err(|error| error.0).unwrap();
    producer.flush(WAIT).unwrap();
    producer.abort_transaction(WAIT).unwrap();
}

fn an_acknowledgement_by_somebody(broker: &Broker) {
    let ledger = Ledger::of("liar");
    let mine = ledger.source("mine");
    let intake = ledger.intake(broker);
    reads(&intake);
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    until("the log speaks", || {
        bus.acknowledged(mine.source, WAIT).is_ok()
    });
    let mut heard = bus.acknowledged(mine.source, Duration::ZERO).unwrap();
    heard.size.0 += 1000;
    heard.marks[0].sequence.0 = 9;
    let lie = SourceAck {
        passed: Passed::default(),
        restored: Nanos(i64::MAX),
        acknowledged: heard,
    };
    let value = String::from_utf8(lie.to_json()).unwrap();
    let mac = STANDARD.encode([7; 32]);
    let producer: BaseProducer = config(broker).create().unwrap();
    let (topic, key) = (acks_topic("liar"), source_key(mine.source));
    let record = BaseRecord::<str, str>::to(&topic).partition(0).key(&key);
    let record = record.payload(&value).headers(headers_of(&[(H_MAC, &mac)]));
    producer.send(record).map_err(|error| error.0).unwrap();
    producer.flush(WAIT).unwrap();
    let messages = sealed(&mine, 5);
    carry(&mut bus, mine.source, &messages);
    // It never hears of nine, though that was said before.
    covered(&mut bus, mine.source, &messages);
    intake.stop();
}

fn another_cluster_or_fewer_partitions(broker: &Broker) {
    let ledger = Ledger::of("moved");
    let intake = ledger.intake(broker);
    reads(&intake);
    let cluster = intake.status().cluster;
    intake.stop();
    let topic = events_topic("moved");
    let keep = |cluster: &str, partitions| {
        let place = TopicPlace {
            cluster: cluster.to_owned(),
            id: None,
            partitions,
        };
        let run = Run {
            batches: Vec::new(),
            positions: vec![stored(topic_key(&topic), &place)],
        };
        ledger.log.door().submit_run(run).unwrap().wait().unwrap();
    };
    let refused = |word: &str| {
        let intake = ledger.intake(broker);
        until("it waits", || intake.status().state == BusState::Waiting);
        let error = intake.status().error.unwrap();
        assert!(error.contains(word), "{error}");
        intake.stop();
    };
    keep(&cluster, 3);
    refused("has 2 partitions, but the log began with 3");
    keep("elsewhere", 2);
    refused(&cluster);
    let intake = ledger.intake_with(broker, |config| config.cluster.clone_from(&cluster));
    reads(&intake);
    assert_eq!(ledger.place(0).unwrap().generation, 2);
    assert_eq!(said(&ledger, "topic.moved"), 1);
    intake.stop();
}

const LINE: &str = "2026-01-05 10:00:00.000 UTC,\"alice\",\"shop\",4711,\"10.0.0.1:5000\",65a.1,1,\
    \"SELECT\",2026-01-05 10:00:00 UTC,3/7,0,LOG,00000,\"disconnection: session time: 0:00:01.000 \
    user=alice database=shop host=10.0.0.1 port=5000\",,,,,,,,,\"psql\",\"client backend\",,0";

fn a_topic_of_another_shipper(broker: &Broker) {
    let ledger = Ledger::of("foreign");
    let new = NewTopic::new("shipper", 1, TopicReplication::Fixed(1));
    let made = wait_for(admin(broker).create_topics([&new], &options())).unwrap();
    made.into_iter().for_each(|one| drop(one.unwrap()));
    let line = serde_json::json!({ "event": { "original": LINE } }).to_string();
    broker.write("shipper", &line, OwnedHeaders::new());
    broker.write("shipper", "no json 4111111111111111", OwnedHeaders::new());
    broker.write("shipper", &line, OwnedHeaders::new());
    let foreign = || ForeignConfig {
        topic: "shipper".to_owned(),
        source: "edge".to_owned(),
        platform: "postgresql".to_owned(),
        field: Some("/event/original".to_owned()),
        settings: [("form".to_owned(), "csvlog".to_owned())].into(),
    };
    let records = || {
        let status = ledger.log.door().status().unwrap();
        let edge = status.sources.into_iter().find(|one| one.name == "edge/0");
        edge.map_or(0, |edge| edge.records)
    };
    for _ in 0..2 {
        let intake = ledger.intake_with(broker, |config| config.foreign.push(foreign()));
        // The notice that it is read from now on, and three records, however often it is read.
        until("it is read", || records() == 4);
        intake.stop();
    }
    assert_eq!(records(), 4);
    assert_eq!(said(&ledger, "shipper/0/2"), 1);
    assert_eq!(said(&ledger, "has no line in the field"), 1);
    assert_eq!(said(&ledger, "4111111111111111"), 0);
    assert!(said(&ledger, "alice") >= 2);
}

/// What every bus does, as far as a bus can that carries.
fn contract(broker: &Broker) {
    let ledger = Ledger::of("contract");
    let mine: Credentials = ledger.source("mine");
    let intake = ledger.intake(broker);
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 6);
    let unknown = SourceId(999);
    for error in [
        bus.send(unknown, &messages).unwrap_err(),
        bus.acknowledged(unknown, Duration::ZERO).unwrap_err(),
    ] {
        assert!(matches!(error, BusError::Refused { .. }), "{error}");
    }
    let mut long = messages[1].clone();
    long.value = vec![b' '; ledger_core::message::VALUE_MAX + 1];
    let mut snapshot = messages[0].clone();
    snapshot.stream = Stream::Snapshot;
    for bad in [long, snapshot] {
        let error = bus.send(mine.source, &[bad]).unwrap_err();
        assert!(matches!(error, BusError::Malformed { .. }), "{error}");
    }
    until("the log speaks", || {
        bus.acknowledged(mine.source, WAIT).is_ok()
    });
    let mut forged = messages[0].clone();
    forged.value.push(b' ');
    carry(&mut bus, mine.source, &[forged]);
    carry(&mut bus, mine.source, &messages[..2]);
    covered(&mut bus, mine.source, &messages[..2]);
    // Again, and with a hole that is then filled.
    carry(&mut bus, mine.source, &messages[..2]);
    carry(&mut bus, mine.source, &messages[4..]);
    until("the hole is known", || {
        let heard = bus.acknowledged(mine.source, WAIT).unwrap();
        let hole = heard.missing.first().map(|hole| (hole.from.0, hole.to.0));
        hole == Some((3, 4))
    });
    until("what is not covered is said to be lost", || {
        bus.lost(mine.source)
    });
    assert!(!bus.lost(mine.source), "once");
    carry(&mut bus, mine.source, &messages[2..4]);
    covered(&mut bus, mine.source, &messages);
    let quick = std::time::Instant::now();
    let heard = bus.acknowledged(mine.source, Duration::from_millis(300));
    assert_eq!(heard.unwrap().through(Stream::Record).0, 6);
    assert!(
        quick.elapsed() >= Duration::from_millis(290),
        "it waited for news"
    );
    all_once(&ledger, mine.source, 6, false);
    let status = ledger.log.door().status().unwrap();
    assert_eq!((status.forged, status.conflicts), (1, 0));
    intake.stop();
}

#[test]
#[ignore = "needs servers"]
fn what_a_topic_can_do_to_the_ledger() {
    tell(&[
        ("contract", contract),
        ("stray", records_that_are_no_messages),
        ("anew", a_topic_made_anew),
        ("lost", offsets_that_are_gone),
        ("bomb", a_batch_that_no_reader_takes),
        ("second", a_second_ledger),
        ("liar", an_acknowledgement_by_somebody),
        ("moved", another_cluster_or_fewer_partitions),
        ("foreign", a_topic_of_another_shipper),
    ]);
}
