//! The numbers for monitoring, in the text format of Prometheus (exposition format 0.0.4), written
//! by hand: some twenty lines need no registry.
//!
//! Names are `custody_<noun>_<unit>[_total]`, in seconds and bytes. Not here: names of tenants,
//! sources or people.

use std::fmt::{Display, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use ledger_core::Nanos;
use ledger_log::{GapStatus, SourceStatus};

use collectors_bus::kafka::{BusState, BusStatus};

use crate::health::Look;
use crate::site::{Listener, Site};

/// The media type of the format.
pub(crate) const TEXT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text in the making.
#[derive(Default)]
struct Text {
    out: String,
}

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.out, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }
}

/// All of them.
pub(crate) fn text(look: &Look, site: &Site) -> String {
    let mut text = Text::default();
    log(&mut text, look);
    door(&mut text, look);
    if let Some(bus) = site.bus() {
        way_in(&mut text, &bus);
    }
    sources(&mut text, look, now());
    if let Some((free, all)) = look.disk {
        text.gauge(
            "custody_disk_free_bytes",
            "Free bytes of the log's disk.",
            free,
        );
        text.gauge(
            "custody_disk_size_bytes",
            "All bytes of the log's disk.",
            all,
        );
    }
    text.gauge(
        "custody_http_open_streams",
        "Queries and tails that are being answered.",
        site.streams_open(),
    );
    let name = "custody_http_requests_total";
    text.family(name, "counter", "Answers, by listener and class of status.");
    for listener in Listener::ALL {
        for (class, count) in site.traffic(listener).counts() {
            let labels = format!("{{listener=\"{}\",status=\"{class}\"}}", listener.name());
            text.sample(name, &labels, count);
        }
    }
    text.out
}

fn log(text: &mut Text, look: &Look) {
    let status = &look.status;
    text.gauge("custody_log_entries", "Durable entries.", status.size);
    text.gauge(
        "custody_published_entries",
        "Entries that the newest checkpoint covers.",
        status.published_size,
    );
    text.gauge(
        "custody_checkpoint_age_seconds",
        "Age of the newest checkpoint.",
        seconds(status.checkpoint_age_ms),
    );
    text.gauge(
        "custody_hashes_durable_entries",
        "Entries whose derived hashes are synced.",
        status.arrays_durable,
    );
    text.gauge(
        "custody_log_open_seconds",
        "Time since the log was opened.",
        seconds(status.open_ms),
    );
    text.gauge(
        "custody_log_stopped",
        "1 if the log stopped and must be opened again.",
        u8::from(status.stopped.is_some()),
    );
}

fn door(text: &mut Text, look: &Look) {
    let status = &look.status;
    for (name, help, value) in [
        (
            "custody_appended_entries_total",
            "Entries appended.",
            status.appended,
        ),
        (
            "custody_late_entries_total",
            "Entries that came late into a gap.",
            status.late,
        ),
        (
            "custody_repeat_messages_total",
            "Messages that the log had already.",
            status.repeats,
        ),
        (
            "custody_conflict_messages_total",
            "Messages without a place.",
            status.conflicts,
        ),
        (
            "custody_forged_messages_total",
            "Messages with a wrong MAC.",
            status.forged,
        ),
    ] {
        text.counter(name, help, value);
    }
    text.gauge(
        "custody_log_sources",
        "Registered sources.",
        status.sources.len(),
    );
    let gaps: usize = status.sources.iter().map(|source| source.gaps.len()).sum();
    text.gauge(
        "custody_open_gaps",
        "Ranges of numbers that are missing.",
        gaps,
    );
}

/// What is known of each source, by its number: names are for those who may ask the log.
fn sources(text: &mut Text, look: &Look, now: Nanos) {
    let mut each = |name: &str, help: &str, value: &dyn Fn(&SourceStatus) -> Option<String>| {
        text.family(name, "gauge", help);
        for source in &look.status.sources {
            if let Some(value) = value(source) {
                text.sample(name, &format!("{{source=\"{}\"}}", source.id), value);
            }
        }
    };
    let beat = |source: &SourceStatus| source.heartbeat.clone();
    let agent = |source: &SourceStatus| beat(source).and_then(|beat| beat.facts.agent);
    each(
        "custody_source_records",
        "Highest record number taken of the current epoch.",
        &|source| Some(source.records.to_string()),
    );
    each(
        "custody_source_missing_records",
        "Numbers that are missing below the highest.",
        &|source| {
            let numbers = |gap: &GapStatus| gap.to.saturating_sub(gap.from).saturating_add(1);
            let all = source.gaps.iter().map(numbers);
            Some(all.fold(0, u64::saturating_add).to_string())
        },
    );
    each(
        "custody_source_heartbeat_age_seconds",
        "Time since the last heartbeat.",
        &|source| {
            let age = now.0.saturating_sub(beat(source)?.ledger_time) / 1_000_000;
            Some(seconds(u64::try_from(age).unwrap_or(0)))
        },
    );
    each(
        "custody_source_unsent_records",
        "Records that the agent had bound and the log does not hold.",
        &|source| {
            let facts = beat(source)?.facts;
            let same = facts.epoch.0 == source.epoch;
            let unsent = facts.bound.0.saturating_sub(source.records);
            Some(if same { unsent } else { 0 }.to_string())
        },
    );
    each(
        "custody_source_unread_bytes",
        "Bytes that the agent knows of and had not read.",
        &|source| Some(beat(source)?.facts.backlog_bytes?.to_string()),
    );
    each(
        "custody_source_paused",
        "1 if the agent's journal is full and reading pauses.",
        &|source| Some(u8::from(agent(source)?.paused).to_string()),
    );
    each(
        "custody_source_unparsed_records",
        "Records that were not understood since the agent started.",
        &|source| Some(agent(source)?.unparsed.to_string()),
    );
    each(
        "custody_source_free_bytes",
        "Free bytes where the agent's files lie.",
        &|source| Some(agent(source)?.free_bytes?.to_string()),
    );
}

fn now() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    Nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// The bus that messages come by.
fn way_in(text: &mut Text, bus: &BusStatus) {
    text.gauge(
        "custody_bus_reading",
        "1 if the bus is read; 0 if something is in the way.",
        u8::from(bus.state == BusState::Reading),
    );
    text.counter(
        "custody_bus_stray_records_total",
        "Records that were no messages of sources.",
        bus.strays,
    );
    for (name, help) in [
        (
            "custody_bus_lag_records",
            "Records that wait in a partition.",
        ),
        (
            "custody_bus_lag_seconds",
            "Age of the record that was read last, if more are waiting.",
        ),
    ] {
        text.family(name, "gauge", help);
        // Names of topics are no labels: those of other shippers stand in the status.
        for one in bus.partitions.iter().filter(|one| one.topic == bus.topic) {
            let labels = format!("{{partition=\"{}\"}}", one.partition);
            if name == "custody_bus_lag_records" {
                text.sample(name, &labels, one.lag_records);
            } else {
                text.sample(name, &labels, seconds(one.lag_ms));
            }
        }
    }
}

/// Milliseconds as seconds.
fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}
