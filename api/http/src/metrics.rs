//! The numbers for monitoring, in the text format of Prometheus (exposition format 0.0.4), written
//! by hand: some twenty lines need no registry.
//!
//! Names are `custody_<noun>_<unit>[_total]`, in seconds and bytes. Not here: names of tenants,
//! sources or people.

use std::fmt::{Display, Write as _};

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

/// Milliseconds as seconds.
fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}
