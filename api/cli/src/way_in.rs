//! How far the ledger has read the topics that agents' messages come by, for people and scripts.
//!
//! Not here: reading them (collectors/bus).

use std::time::Duration;

use api_http::SocketReads;
use collectors_bus::kafka::probe::{Look, probe};
use collectors_bus::kafka::{BusState, BusStatus, PartitionStatus};
use serde_json::{Value, json};

use crate::config::Config;
use crate::examine::Finding;
use crate::output::{count, plural, span};

/// What these findings are about.
const CHECK: &str = "kafka";
/// Behind by so much, somebody should look.
const LAG_MAX: Duration = Duration::from_secs(300);

/// In one line: the topic, and what is in the way or how much waits.
pub(crate) fn line(bus: &BusStatus) -> String {
    let topic = &bus.topic;
    if let Some(error) = &bus.error {
        let word = match bus.state {
            BusState::Stopped => "stopped",
            BusState::Starting | BusState::Reading | BusState::Waiting => "waits",
        };
        return format!("{topic} {word}: {error}");
    }
    let waiting: u64 = bus.partitions.iter().map(|one| one.lag_records).sum();
    let state = match bus.state {
        BusState::Starting => "is looked for",
        BusState::Reading => "is read",
        BusState::Waiting => "waits",
        BusState::Stopped => "is not read any more",
    };
    let slowest = (bus.partitions.iter())
        .filter(|one| one.lag_records > 0)
        .map(|one| one.lag_ms)
        .max();
    let strays = match bus.strays {
        0 => String::new(),
        strays => format!("; {} no messages of sources", plural(strays, "was", "were")),
    };
    format!(
        "{topic} {state}, {} waiting{}{strays}",
        plural(waiting, "record", "records"),
        slowest.filter(|ms| *ms > 0).map_or(String::new(), |ms| {
            format!(", the oldest for {}", span(Duration::from_millis(ms)))
        }),
    )
}

/// What an operator may want to do.
pub(crate) fn steps(bus: &BusStatus) -> Vec<String> {
    let mut steps = Vec::new();
    if bus.error.is_some() {
        steps.push("what is in the way of Kafka: custody doctor".to_owned());
    }
    steps.extend(bus.warnings.iter().cloned());
    let behind = (bus.partitions.iter())
        .filter(|one| one.lag_records > 0)
        .map(|one| Duration::from_millis(one.lag_ms))
        .max()
        .filter(|lag| *lag > LAG_MAX);
    if let Some(lag) = behind {
        let lag = span(lag);
        steps.push(format!(
            "the ledger is {lag} behind Kafka: look whether it keeps up"
        ));
    }
    steps
}

/// What `custody doctor` finds.
pub(crate) fn examine(config: &Config) -> Vec<Finding> {
    let Some(settings) = &config.kafka else {
        return Vec::new();
    };
    let looks = probe(settings, config.paths.tenant(), config.paths.origin()).into_iter();
    let mut findings: Vec<Finding> = looks
        .map(|look| match look {
            Look::Well(what) => Finding::well(CHECK, what),
            Look::Note(what) => Finding::note(CHECK, what),
            Look::Wrong(what) => Finding::wrong(CHECK, what),
        })
        .collect();
    let bus = SocketReads::new(&config.paths).and_then(|reads| reads.bus());
    // Without a server nothing is read, and the check of the socket says so.
    if let Ok(Some(bus)) = bus {
        let finding = if bus.error.is_some() {
            Finding::wrong
        } else {
            Finding::well
        };
        findings.push(finding(CHECK, line(&bus)));
    }
    findings
}

/// A source's row: how far its partition is read.
pub(crate) fn lag(partition: Option<&PartitionStatus>) -> String {
    match partition {
        None => "-".to_owned(),
        Some(one) if one.lag_records == 0 => "0".to_owned(),
        Some(one) => {
            let age = span(Duration::from_millis(one.lag_ms));
            format!("{}, {age}", count(one.lag_records))
        }
    }
}

/// The same for a source's object.
pub(crate) fn lag_json(partition: &PartitionStatus) -> Value {
    json!({
        "partition": partition.partition,
        "records": partition.lag_records,
        "ms": partition.lag_ms,
    })
}
