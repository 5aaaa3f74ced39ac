//! What somebody who may write can do to the readers and the writer of the acks topic, on one real
//! broker: each story has a tenant, and so a log and topics, of its own.
//!
//! Not here: what is believed there (`truth_tests`).

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::Intake;
use super::broker_tests::{Broker, Ledger, WAIT, sealed, until};
use super::stories_tests::{all_once, carry, config, covered, reads};
use super::topics::acks_topic;
use super::truth_tests::speaks;

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

#[test]
#[ignore = "needs servers"]
fn what_nobody_can_do_to_those_who_hear() {
    let broker = Broker::start();
    for (name, story) in [("deaf", acknowledgements_that_no_reader_takes as fn(&Broker))] {
        println!("story {name}");
        story(&broker);
    }
}
