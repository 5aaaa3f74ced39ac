//! What every measurement prints: one object with the same fields.
//!
//! Not here: measuring.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::commands::Context;
use crate::error::CommandError;
use crate::output::count;

/// What was measured. Times are in microseconds unless their name says otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    /// What was measured.
    pub(super) name: String,
    /// Native records.
    pub(super) entries: u64,
    /// Mean length of a native record in bytes.
    pub(super) record_bytes: f64,
    /// Mean length of its event's JSON in bytes.
    pub(super) event_bytes: f64,
    /// Wall time.
    pub(super) seconds: f64,
    /// Records a second.
    pub(super) per_s: f64,
    /// CPU of the whole process for each record.
    pub(super) cpu_us_per: f64,
    /// Records a second of the raw loop over the same bytes.
    pub(super) raw_per_s: f64,
    /// `per_s / raw_per_s`.
    pub(super) ratio: f64,
    /// Median of one record.
    pub(super) p50_us: f64,
    /// The 99th percentile of the same.
    pub(super) p99_us: f64,
    /// Largest memory of the process in MiB.
    pub(super) rss_mib: f64,
    /// Largest memory of an agent that is a process of its own, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent_rss_mib: Option<f64>,
    /// Bytes that are on disk for each record at the end.
    pub(super) disk_bytes_per: f64,
    /// CPU of each stage for each record.
    pub(super) stages: BTreeMap<String, f64>,
    /// The same of each form that was measured alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) forms: Vec<Figures>,
}

impl Figures {
    /// Prints them.
    ///
    /// # Errors
    /// Nobody reads.
    pub(super) fn print(&self, context: &Context) -> Result<(), CommandError> {
        let printed = if context.output.is_json() {
            context.output.json(self)
        } else {
            context.output.fields(&self.fields())
        };
        printed.map_err(CommandError::Stdout)
    }

    fn fields(&self) -> Vec<(&str, String)> {
        let entries = format!(
            "{} records of {:.0} bytes, events of {:.0}",
            count(self.entries),
            self.record_bytes,
            self.event_bytes
        );
        let speed = |figures: &Figures| {
            format!(
                "{:.0} a second, {:.2} us of CPU a record, ratio {:.2}",
                figures.per_s, figures.cpu_us_per, figures.ratio
            )
        };
        let latency = format!("p50 {:.1} us, p99 {:.1} us", self.p50_us, self.p99_us);
        let mut fields = vec![
            ("entries", entries),
            (self.name.as_str(), speed(self)),
            ("one record", latency),
            ("memory", format!("{:.0} MiB", self.rss_mib)),
        ];
        let agent = self.agent_rss_mib.iter();
        fields.extend(agent.map(|mib| ("memory of the agent", format!("{mib:.0} MiB"))));
        let forms = self.forms.iter();
        fields.extend(forms.map(|form| (form.name.as_str(), speed(form))));
        let stages = self.stages.iter();
        fields.extend(stages.map(|(name, cost)| (name.as_str(), format!("{cost:.2} us"))));
        fields
    }
}
