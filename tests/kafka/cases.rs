//! Single faults looked at closely, on one broker with a tenant each: what the ledger says, what it
//! records, and that it goes on without a hand where it can.
//!
//! Not here: many faults at once (`farm`); wrong brokers, certificates and rights (`refusals`).

use serde_json::Value;

use super::abuse::{Abuse, OTHER, header, header_mut, wait_for};
use super::broker::Broker;
use super::stage::Stage;
use crate::seeded::Seeded;
use collectors_bus::kafka::raw::RawRecord;

/// One story on a broker that others use as well.
struct Case {
    stage: Stage,
    abuse: Abuse,
}

/// Partitions of every topic here, unless a story is about them.
const PARTITIONS: i32 = 2;

impl Case {
    fn new(broker: &Broker, tenant: &str, extra: &str) -> Case {
        let extra = format!("partitions = {PARTITIONS}\n{extra}");
        let stage = Stage::new(tenant, 2, &broker.direct(), &broker.direct(), &extra);
        Case {
            stage,
            abuse: Abuse::new(&broker.direct(), tenant),
        }
    }

    /// Both run, and the first records are in.
    fn running(broker: &Broker, tenant: &str) -> Case {
        let mut case = Case::new(broker, tenant, "");
        case.stage.start_ledger();
        case.stage.start_agent();
        case.stage.write(60);
        case.stage.settle(tenant);
        case
    }

    /// The ledger is away, and what the agent wrote meanwhile lies in the topic: a hundred records
    /// of each source.
    fn with_unread(broker: &Broker, tenant: &str) -> Case {
        let mut case = Case::running(broker, tenant);
        assert_eq!(case.stage.stop_ledger(), 0, "{}", case.stage.said());
        let before = case.abuse.genuine().len();
        case.stage.write(100);
        wait_for("unread messages", || {
            (case.abuse.genuine().len() >= before + 200).then_some(())
        });
        case
    }
}

/// What stops the intake, if anything does.
fn error(status: &Value) -> &str {
    status["bus"]["error"].as_str().unwrap_or_default()
}

fn broker_away(broker: &Broker) {
    let mut case = Case::new(broker, "away", "");
    broker.proxy().refuse(true);
    let text = case.stage.messages("ledger/custody.toml");
    let text = text.replace(&broker.direct(), &broker.proxied());
    case.stage.room.write("ledger/custody.toml", text);
    case.stage.start_ledger();
    case.stage.start_agent();
    case.stage.write(50);
    let status = case
        .stage
        .until("a broker that is away", |status| !error(status).is_empty());
    assert!(error(&status).contains("127.0.0.1"), "{status}");
    broker.proxy().heal();
    case.stage.settle("the broker came");
    broker.proxy().refuse(true);
    case.stage.write(50);
    case.stage.until("a broker that went away", |status| {
        !error(status).is_empty()
    });
    broker.proxy().heal();
    let story = case.stage.finish("the broker came back");
    assert_eq!(story.count("gap"), 0, "{story:?}");
}

fn topic_missing(broker: &Broker) {
    let mut case = Case::new(broker, "missing", "create_topics = false\n");
    case.stage.start_ledger();
    let status = case.stage.until("a topic that is missing", |status| {
        error(status).contains("does not exist")
    });
    assert!(error(&status).contains(".missing"), "{status}");
    let cluster = &case.abuse.cluster;
    let compact = [("cleanup.policy", "compact")];
    // Compacted, the events topic would lose all but the last record of a source.
    cluster
        .create("custody.events.missing", PARTITIONS, &compact)
        .unwrap();
    cluster.create("custody.acks.missing", 1, &compact).unwrap();
    let status = case.stage.until("a compacted topic", |status| {
        error(status).contains("cleanup.policy")
    });
    assert!(
        error(&status).contains("custody.events.missing"),
        "{status}"
    );
    cluster.delete("custody.events.missing").unwrap();
    cluster
        .create("custody.events.missing", PARTITIONS, &[])
        .unwrap();
    case.stage.start_agent();
    case.stage.write(50);
    case.stage.finish("the topic came");
}

fn partitions_change(broker: &Broker) {
    let mut case = Case::with_unread(broker, "partitions");
    // One partition less than the log counts on.
    case.abuse.recreate(PARTITIONS - 1);
    case.stage.start_ledger();
    let status = case.stage.until("a partition less", |status| {
        error(status).contains("partition")
    });
    assert!(error(&status).contains('1') && error(&status).contains('2'));
    case.abuse.recreate(PARTITIONS + 1);
    case.stage.write(50);
    let story = case.stage.finish("a partition more");
    assert_eq!(story.count("conflict"), 0, "{story:?}");
}

fn deleted_before_read(broker: &Broker) {
    let mut case = Case::with_unread(broker, "deleted");
    let lost = case.abuse.delete_all();
    assert!(lost >= 200);
    case.stage.start_ledger();
    let story = case.stage.finish("what was deleted is sent again");
    assert!(
        story.said("were deleted before they were read") >= 1,
        "{story:?}"
    );
}

fn recreated(broker: &Broker) {
    let mut case = Case::with_unread(broker, "recreated");
    case.abuse.recreate(PARTITIONS);
    case.stage.start_ledger();
    case.stage.write(50);
    case.stage.settle("the topic was created anew");
    // And once more while the ledger reads it.
    case.abuse.recreate(PARTITIONS);
    case.stage.write(50);
    let story = case.stage.finish("recreated");
    assert!(story.said("made anew") >= 1, "{story:?}");
}

/// What others write into the topic: each is recorded as what it is, and moves nothing.
fn strangers(broker: &Broker) {
    let mut case = Case::running(broker, "strangers");
    let mut random = Seeded::new();
    let forged = case.abuse.forge(&mut random) + case.abuse.renumber(&mut random);
    let mut strange = case.abuse.junk() + case.abuse.headless() + case.abuse.other_tenant();
    let genuine = case.abuse.genuine();
    let unknown = with(
        &genuine[0],
        "ce_source",
        "urn:custody:source:db.example.org/strangers:99",
    );
    let broken = with(&genuine[0], "ce_id", "0/1");
    // Larger than any message of ours, yet within what the broker takes.
    let mut large = genuine[0].clone();
    large.value = vec![b'7'; 990_000];
    case.abuse.send(&[unknown, broken, large]);
    strange += 3;
    case.stage.write(50);
    case.stage.settle("strangers");
    let status = case.stage.until("all of them are read", |status| {
        status["bus"]["partitions"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["lag_records"] == 0))
    });
    assert_eq!(status["forged"], forged, "{status}");
    let story = case.stage.finish("strangers");
    assert_eq!(story.count("forged"), forged, "{story:?}");
    // But for what the ledger says when it first reads the topic.
    let notices = story.notices.len() - story.said("topic.began");
    assert_eq!(notices as u64, strange, "{story:?}");
    let entries = story.notices.join("\n");
    assert!(!entries.contains(OTHER), "{entries}");
}

/// The record with another value of one header.
fn with(record: &RawRecord, name: &str, value: &str) -> RawRecord {
    let mut record = record.clone();
    *header_mut(&mut record, name) = value.as_bytes().to_vec();
    record
}

/// The same messages once more, in another order and in a transaction that is given up.
fn repeated_and_reordered(broker: &Broker) {
    let mut case = Case::with_unread(broker, "order");
    let mut random = Seeded::new();
    // The unread ones come in another order than they were sent in.
    let (mut all, next) = (case.abuse.genuine(), case.abuse.written());
    case.abuse.recreate(PARTITIONS);
    for at in (1..all.len()).rev() {
        let other = random.below(at as u64 + 1);
        all.swap(at, usize::try_from(other).unwrap());
    }
    // At most 64 gaps of a source may be open.
    all.truncate(60);
    case.abuse.send(&all);
    assert!(next > 0);
    case.stage.start_ledger();
    case.stage.settle("in another order");
    case.abuse.repeat(&mut random, 100);
    case.abuse.abort();
    let twice = case.abuse.genuine();
    case.abuse.send(&[twice[0].clone(), twice[0].clone()]);
    case.stage.write(20);
    let story = case.stage.finish("again");
    assert_eq!(
        story.count("forged") + story.count("conflict"),
        0,
        "{story:?}"
    );
    assert!(header(&twice[0], "ce_custodymac").is_some());
}

fn second_ledger(broker: &Broker) {
    let mut case = Case::running(broker, "second");
    let older = case.stage.copy("older");
    case.stage.write(60);
    case.stage.settle("the log goes on");
    assert_eq!(case.stage.stop_ledger(), 0);
    let newest = case.stage.copy("newest");
    case.stage.restore(&older);
    case.stage.start_ledger();
    wait_for("an older copy stops", || {
        let said = case.stage.messages("serve.log");
        said.contains("--accept-restored").then_some(())
    });
    assert_ne!(case.stage.stop_ledger(), 0, "{}", case.stage.said());
    let said = case.stage.messages("serve.log");
    assert!(
        said.contains("custody.acks.second holds a checkpoint"),
        "{said}"
    );
    case.stage.restore(&newest);
    case.stage.start_ledger();
    case.stage.write(60);
    case.stage.settle("the newest goes on");

    // A copy of the running one, which is as long as it: the one that starts last stays.
    assert_eq!(case.stage.stop_agent(), 0);
    case.stage.settle("nothing comes");
    case.stage.copy("clone");
    let mut clone = case.stage.second("clone");
    wait_for("the second ledger", || {
        let said = case.stage.messages("second.log");
        said.contains("kafka is read").then_some(())
    });
    case.stage.start_agent();
    let status = case
        .stage
        .until("fenced", |status| !error(status).is_empty());
    assert!(error(&status).contains("taken over"), "{status}");
    clone.kill().unwrap();
    clone.wait().unwrap();
}

/// A log from an older copy, with which an operator goes on: its agents hear it though it says less
/// than before, and everything is in it again.
fn restored(broker: &Broker) {
    let mut case = Case::running(broker, "restored");
    let older = case.stage.copy("older");
    case.stage.write(60);
    case.stage.settle("the log goes on");
    assert_eq!(case.stage.stop_ledger(), 0);
    case.stage.restore(&older);
    case.stage.start_ledger();
    wait_for("an older copy stops", || {
        let said = case.stage.messages("serve.log");
        said.contains("--accept-restored").then_some(())
    });
    assert_ne!(case.stage.stop_ledger(), 0, "{}", case.stage.said());
    // It does not start again by itself.
    case.stage.start_ledger();
    wait_for("it does not start", || {
        let said = case.stage.messages("serve.log");
        said.contains("holds the proof").then_some(())
    });
    assert_ne!(case.stage.stop_ledger(), 0, "{}", case.stage.said());
    case.stage.start_restored();
    case.stage.write(60);
    // Numbers may begin again, so records are counted.
    wait_for("all of it again", || {
        let ran = case.stage.room.log(&["query", "--json"]);
        let records = ran
            .out
            .lines()
            .filter(|line| line.contains("\"raw_data\":"));
        (records.count() >= 2 * 180).then_some(())
    });
    assert_eq!(case.stage.stop_agent(), 0, "{}", case.stage.said());
    assert_eq!(case.stage.stop_ledger(), 0, "{}", case.stage.said());
    let story = case.stage.check("restored");
    assert_eq!(
        story.count("conflict") + story.count("forged"),
        0,
        "{story:?}"
    );
    assert!(story.count("recovery") >= 1, "{story:?}");
}

#[test]
#[ignore = "needs servers"]
fn single_faults_are_named_recorded_and_recovered_from() {
    let broker = Broker::with_proxy();
    let stories: [fn(&Broker); 9] = [
        broker_away,
        topic_missing,
        partitions_change,
        deleted_before_read,
        recreated,
        strangers,
        repeated_and_reordered,
        second_ledger,
        restored,
    ];
    // Two at a time: most of a story is waiting.
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(story) = stories.get(at) else { return };
                    story(&broker);
                }
            });
        }
    });
}
