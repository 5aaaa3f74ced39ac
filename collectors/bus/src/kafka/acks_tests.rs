//! What somebody who may write can do to the readers and the writer of the acks topic, on one real
//! broker: each story has a tenant, and so a log and topics, of its own.
//!
//! Not here: what is believed there (`truth_tests`).

use std::time::{Duration, Instant};

use ledger_core::state::Stream;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::Intake;
use super::ack::source_key;
use super::broker_tests::{Broker, Ledger, WAIT, sealed, tell, until};
use super::raw::{RawCluster, RawRecord};
use super::stories_tests::{all_once, carry, config, covered, reads};
use super::topics::acks_topic;
use super::truth_tests::{copied, forged, opened, speaks, stopped};
use crate::bus::Bus as _;

/// Somebody's transaction that stays open hides the log's words from agents, not from a copy of it.
fn words_behind_an_open_transaction(broker: &Broker) {
    let ledger = Ledger::of("open");
    let mine = ledger.source("mine");
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 20);
    let intake = ledger.intake(broker);
    reads(&intake);
    speaks(&mut bus, mine.source);
    carry(&mut bus, mine.source, &messages[..10]);
    covered(&mut bus, mine.source, &messages[..10]);
    intake.stop();
    let old = copied(&ledger);
    let mut strange = config(broker);
    strange.set("transactional.id", "strange");
    let strange: BaseProducer = strange.create().unwrap();
    strange.init_transactions(WAIT).unwrap();
    strange.begin_transaction().unwrap();
    let topic = acks_topic("open");
    let record = BaseRecord::<str, str>::to(&topic).partition(0);
    let sent = strange.send(record.key("any").payload("any"));
    sent.map_err(|error| error.0).unwrap();
    strange.flush(WAIT).unwrap();
    let intake = ledger.intake(broker);
    reads(&intake);
    carry(&mut bus, mine.source, &messages[10..]);
    until("all is published", || {
        let status = ledger.log.status();
        status.sources[0].records == 20 && status.published_size == status.size
    });
    intake.stop();
    // The twin: the newest goes on.
    let intake = ledger.intake(broker);
    reads(&intake);
    intake.stop();
    drop(ledger);
    let older = opened(old, false);
    let intake = older.intake(broker);
    stopped(older, intake);
    let heard = bus.acknowledged(mine.source, Duration::ZERO).unwrap();
    assert_eq!(heard.through(Stream::Record).0, 10, "it was not open");
    strange.abort_transaction(WAIT).unwrap();
}

/// A batch of the acks topic that nobody can decompress.
fn bomb(broker: &Broker, tenant: &str) {
    let mut large = config(broker);
    large
        .set("compression.type", "zstd")
        .set("message.max.bytes", "200000000");
    let producer: BaseProducer = large.create().unwrap();
    let (topic, zeros) = (acks_topic(tenant), vec![0; 100 << 20]);
    let record = BaseRecord::<str, [u8]>::to(&topic).partition(0);
    let sent = producer.send(record.key("any").payload(&zeros));
    sent.map_err(|error| error.0).unwrap();
    producer.flush(WAIT).unwrap();
}

/// It deafens neither the agents nor the ledger, wherever it lies.
fn acknowledgements_that_no_reader_takes(broker: &Broker) {
    let ledger = Ledger::of("deaf");
    let mine = ledger.source("mine");
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 40);
    let warned = |intake: &Intake| {
        let warnings = intake.status().warnings;
        warnings.iter().any(|one| one.contains("be decompressed"))
    };
    for (round, bombs) in [0, 2, 1].into_iter().enumerate() {
        for _ in 0..bombs {
            bomb(broker, "deaf");
        }
        let intake = ledger.intake(broker);
        reads(&intake);
        assert_eq!(warned(&intake), bombs > 0, "round {round}");
        speaks(&mut bus, mine.source);
        let sent = round * 10 + 10;
        carry(&mut bus, mine.source, &messages[sent - 10..sent]);
        covered(&mut bus, mine.source, &messages[..sent]);
        if bombs > 0 {
            // While both read on.
            bomb(broker, "deaf");
        }
        // One that begins at the beginning.
        let other = ledger.link(broker, &[mine.source]);
        covered(&mut other.bus(mine.source), mine.source, &messages[..sent]);
        intake.stop();
    }
    let intake = ledger.intake(broker);
    reads(&intake);
    carry(&mut bus, mine.source, &messages[30..]);
    covered(&mut bus, mine.source, &messages);
    intake.stop();
    all_once(&ledger, mine.source, 40, true);
}

/// Somebody who writes makes the log say all again, and then it is still.
fn a_word_that_somebody_brings_again(broker: &Broker) {
    let ledger = Ledger::of("still");
    let mine = ledger.source("mine");
    let intake = ledger.intake(broker);
    reads(&intake);
    let link = ledger.link(broker, &[mine.source]);
    let mut bus = link.bus(mine.source);
    let messages = sealed(&mine, 10);
    speaks(&mut bus, mine.source);
    carry(&mut bus, mine.source, &messages);
    covered(&mut bus, mine.source, &messages);
    let cluster = RawCluster::plain(&broker.address);
    let (topic, key) = (acks_topic("still"), source_key(mine.source));
    let end = || cluster.watermarks(&topic, 0).unwrap().1;
    // Longer than it looks for others twice.
    let still = || {
        let mut seen = (end(), Instant::now());
        until("it is still", || {
            if end() != seen.0 {
                seen = (end(), Instant::now());
            }
            seen.1.elapsed() >= Duration::from_secs(12)
        });
        seen.0
    };
    let before = still();
    forged(broker, "still", "any", b"any");
    until("the source hears it again", || {
        let mut again = false;
        let mut take = |record: RawRecord| again |= record.key == key.as_bytes();
        cluster.read(&topic, 0, before, &mut take).unwrap();
        again
    });
    still();
    intake.stop();
}

#[test]
#[ignore = "needs servers"]
fn what_nobody_can_do_to_those_who_hear() {
    tell(&[
        ("deaf", acknowledgements_that_no_reader_takes),
        ("open", words_behind_an_open_transaction),
        ("still", a_word_that_somebody_brings_again),
    ]);
}
