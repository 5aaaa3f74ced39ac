//! What an operator does while everything runs, and what it says then: an end while brokers are
//! away, a topic that takes too small messages, a second ledger beside one that has nothing to say,
//! a topic of another shipper that is compacted or grows.
//!
//! Not here: faults (`cases`, `farm`), certificates, passwords and rights (`refusals`).

use std::time::{Duration, Instant};

use collectors_bus::kafka::raw::{RawCluster, RawRecord};
use serde_json::Value;

use super::abuse::wait_for;
use super::broker::Broker;
use super::proxy::Way;
use super::stage::Stage;
use crate::program::{SAMPLES, sample};

/// Longest end of a process whose brokers do not answer.
const END: Duration = Duration::from_secs(5);

fn error(status: &Value) -> &str {
    status["bus"]["error"].as_str().unwrap_or_default()
}

fn warned(status: &Value, word: &str) -> bool {
    status["bus"]["warnings"].to_string().contains(word)
}

/// A ledger and an agent that come to the broker through the proxy, with records in the log.
fn running(broker: &Broker, tenant: &str) -> Stage {
    let proxied = broker.proxied();
    let mut stage = Stage::new(tenant, 2, &proxied, &proxied, "partitions = 2\n");
    stage.start_ledger();
    stage.start_agent();
    stage.write(60);
    stage.settle(tenant);
    stage
}

/// Both are asked to end while records are on their way to brokers that are away.
fn ends_soon(broker: &Broker, tenant: &str, away: impl Fn()) {
    let mut stage = running(broker, tenant);
    away();
    stage.write(200);
    stage.until("nobody answers", |status| {
        // Brokers that say nothing are not known to be away yet.
        !error(status).is_empty() || tenant == "silent"
    });
    let began = Instant::now();
    assert_eq!(stage.stop_agent(), 0, "{}", stage.said());
    let agent = began.elapsed();
    let began = Instant::now();
    assert_eq!(stage.stop_ledger(), 0, "{}", stage.said());
    let ledger = began.elapsed();
    println!("{tenant}: the agent ended in {agent:?}, the ledger in {ledger:?}");
    broker.proxy().heal();
    assert!(agent < END && ledger < END, "{agent:?} {ledger:?}");
    stage.start_ledger();
    stage.start_agent();
    let story = stage.finish("nothing is lost");
    assert_eq!(story.count("gap"), 0, "{story:?}");
}

fn ends_while_brokers_are_away(broker: &Broker) {
    ends_soon(broker, "away", || broker.proxy().refuse(true));
    ends_soon(broker, "silent", || {
        broker.proxy().stall(Way::In);
        broker.proxy().stall(Way::Out);
    });
}

/// Named by the agent, warned about by the ledger, and over when the setting is raised.
fn too_small_a_topic(broker: &Broker) {
    let cluster = RawCluster::plain(&broker.direct());
    let compact = [("cleanup.policy", "compact")];
    cluster.create("custody.acks.small", 1, &compact).unwrap();
    let small = [("max.message.bytes", "500"), ("compression.type", "zstd")];
    cluster.create("custody.events.small", 1, &small).unwrap();
    let direct = broker.direct();
    let mut stage = Stage::new("small", 1, &direct, &direct, "");
    stage.start_ledger();
    stage.start_agent();
    stage.write(50);
    stage.until("a warning", |status| warned(status, "max.message.bytes"));
    let said = wait_for("the agent names the setting", || {
        let said = stage.messages("agent.log");
        said.contains("max.message.bytes").then_some(said)
    });
    assert!(
        said.contains("writing to topic custody.events.small"),
        "{said}"
    );
    let enough = [("max.message.bytes", "1048588"), small[1]];
    cluster.alter("custody.events.small", &enough).unwrap();
    stage.settle("the setting was raised");
    // The same of what the ledger writes.
    cluster
        .alter(
            "custody.acks.small",
            &[compact[0], ("max.message.bytes", "500")],
        )
        .unwrap();
    stage.write(50);
    let status = stage.until("the ledger names the setting", |status| {
        error(status).contains("max.message.bytes")
    });
    assert!(error(&status).contains("custody.acks.small"), "{status}");
    cluster.alter("custody.acks.small", &compact).unwrap();
    stage.settle("that was raised as well");
    let story = stage.finish("all is in");
    assert_eq!(story.count("gap"), 0, "{story:?}");
}

/// A ledger that has nothing to say notices that another one took its place, and its end says so.
fn fenced_while_idle(broker: &Broker) {
    let mut stage = running(broker, "idle");
    assert_eq!(stage.stop_agent(), 0, "{}", stage.said());
    stage.settle("nothing comes");
    stage.copy("clone");
    let mut clone = stage.second("clone");
    let began = Instant::now();
    wait_for("the second ledger", || {
        let said = stage.messages("second.log");
        said.contains("kafka is read").then_some(())
    });
    let status = stage.until("fenced", |status| !error(status).is_empty());
    println!("fenced within {:?}", began.elapsed());
    assert!(error(&status).contains("taken over"), "{status}");
    assert_eq!(status["bus"]["state"], "stopped", "{status}");
    assert_eq!(stage.stop_ledger(), 5, "{}", stage.said());
    assert!(
        stage.messages("serve.log").contains("taken over"),
        "{}",
        stage.said()
    );
    clone.kill().unwrap();
    clone.wait().unwrap();
}

/// Records of another shipper, of a topic that is compacted and then grows.
fn foreign(broker: &Broker) {
    let cluster = RawCluster::plain(&broker.direct());
    let compact = [("cleanup.policy", "compact,delete")];
    cluster.create("shipper", 1, &compact).unwrap();
    let extra = "[[bus.kafka.foreign]]\ntopic = \"shipper\"\nsource = \"edge\"\n\
                 platform = \"postgresql\"\nfield = \"message\"\nsettings = { form = \"csvlog\" }\n";
    let direct = broker.direct();
    let mut stage = Stage::new("foreign", 0, &direct, &direct, extra);
    let text = std::fs::read_to_string(sample(SAMPLES[1])).unwrap();
    let line = text.lines().next().unwrap();
    let json = serde_json::json!({ "message": line, "host": "db7" }).to_string();
    let send = |partition: i32, count: usize| {
        let record = RawRecord {
            partition,
            key: b"k".to_vec(),
            value: json.clone().into_bytes(),
            ..RawRecord::default()
        };
        let writer = cluster.writer(None).unwrap();
        writer.send("shipper", &vec![record; count]).unwrap();
        writer.flush().unwrap();
    };
    send(0, 3);
    stage.start_ledger();
    let records = |status: &Value, name: &str| {
        let mut sources = status["sources"].as_array().unwrap().iter();
        let found = sources.find(|one| one["name"] == name);
        found.map_or(0, |one| one["records"].as_u64().unwrap())
    };
    // The notice that it is read from now on stands before them.
    let status = stage.until("three records", |status| records(status, "edge/0") == 4);
    assert!(warned(&status, "shipper is compacted"), "{status}");
    cluster.grow("shipper", 3).unwrap();
    send(2, 2);
    stage.until("a new partition", |status| records(status, "edge/2") == 2);
    let said = stage.messages("serve.log");
    assert_eq!(said.matches("kafka is read").count(), 1, "one session");
    assert_eq!(stage.stop_ledger(), 0, "{}", stage.said());
    // Read once, however often it is looked at.
    stage.start_ledger();
    send(0, 1);
    let status = stage.until("one more", |status| records(status, "edge/0") == 5);
    assert_eq!(records(&status, "edge/2"), 2, "{status}");
    let found = stage.room.log(&["query", "--json"]);
    let placed = found.out.lines().filter(|line| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let place = &entry["event"]["metadata"]["original_event_uid"];
        place
            .as_str()
            .is_some_and(|place| place.starts_with("shipper/2/"))
    });
    assert_eq!(placed.count(), 2, "{found:?}");
    assert_eq!(stage.stop_ledger(), 0, "{}", stage.said());
}

#[test]
#[ignore = "needs servers"]
fn what_an_operator_does_is_named_and_recovered_from() {
    let broker = Broker::with_proxy();
    for (name, story) in [
        ("end", ends_while_brokers_are_away as fn(&Broker)),
        ("small", too_small_a_topic),
        ("fenced", fenced_while_idle),
        ("foreign", foreign),
    ] {
        let began = Instant::now();
        story(&broker);
        println!("story {name}: {:?}", began.elapsed());
    }
}
