//! `custody status`: what the log holds, how far it is signed, its sources, and what to do next.
//!
//! Not here: whether the installation is sound (`doctor`), and whether the log holds (`verify`).

use std::time::Duration;

use api_http::SocketReads;
use clap::Args;
use collectors_bus::kafka::{BusStatus, PartitionStatus};
use ledger_core::{Hash, Nanos};
use ledger_log::{LogStatus, SourceStatus};
use serde_json::{Value, json};

use crate::access::{log_status, now};
use crate::commands::Context;
use crate::config::Config;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::heard;
use crate::output::{count, plural, span};
use crate::way_in;

/// Nothing to say.
#[derive(Args, Debug)]
pub struct StatusArgs {}

/// Runs it.
///
/// # Errors
/// A log that cannot be read, stdout.
pub fn run(_: &StatusArgs, context: &Context) -> Result<Exit, CommandError> {
    let config = context.config(&[])?;
    let (status, served) = log_status(&config)?;
    let at = now();
    let bus = bus(&config, served)?;
    let mut steps = next_steps(&status, served, at);
    steps.extend(bus.iter().flat_map(way_in::steps));
    if context.output.is_json() {
        let answer = as_json(&status, (served, at), &steps, bus.as_ref());
        context.output.json(&answer).map_err(CommandError::Stdout)?;
        return Ok(exit(&status));
    }
    let waiting = status.size.saturating_sub(status.published_size);
    let last = at.0.saturating_sub(status.ledger_time);
    let age = Duration::from_nanos(u64::try_from(last).unwrap_or_default());
    // In hexadecimal, as `verify` shows it.
    let root = Hash::from_base64(&status.root).unwrap_or_default();
    let mut fields = vec![
        ("log", status.origin.clone()),
        (
            "server",
            if served { "running" } else { "not running" }.to_owned(),
        ),
        (
            "entries",
            format!("{}, the last one {} ago", count(status.size), span(age)),
        ),
        (
            "checkpoint",
            format!("{}, root {root}", count(status.published_size)),
        ),
    ];
    if waiting > 0 {
        fields.push(("not signed", plural(waiting, "entry", "entries")));
    }
    if let Some(reason) = &status.stopped {
        fields.push(("stopped", reason.clone()));
    }
    fields.extend(bus.iter().map(|bus| ("kafka", way_in::line(bus))));
    fields.extend(steps.into_iter().map(|step| ("next", step)));
    context
        .output
        .fields(&fields)
        .map_err(CommandError::Stdout)?;
    if !status.sources.is_empty() {
        print_sources(&status, at, bus.as_ref(), context).map_err(CommandError::Stdout)?;
    }
    Ok(exit(&status))
}

/// How the bus is doing, if messages come by one and a server reads it.
fn bus(config: &Config, served: bool) -> Result<Option<BusStatus>, CommandError> {
    if !served || config.kafka.is_none() {
        return Ok(None);
    }
    Ok(SocketReads::new(&config.paths)?.bus()?)
}

fn print_sources(
    status: &LogStatus,
    at: Nanos,
    bus: Option<&BusStatus>,
    context: &Context,
) -> std::io::Result<()> {
    context.output.line("")?;
    let mut rows: Vec<Vec<String>> = (status.sources.iter())
        .map(|source| row(source, at))
        .collect();
    let mut headings = vec![
        "source",
        "name",
        "platform",
        "records",
        "missing",
        "heartbeat",
        "lag",
    ];
    if let Some(bus) = bus {
        headings.push("on kafka");
        for (row, source) in rows.iter_mut().zip(&status.sources) {
            row.push(way_in::lag(of_source(bus, source)));
        }
    }
    context.output.table(&headings, &rows)
}

/// The partition of a source, if its messages come by one.
fn of_source<'b>(bus: &'b BusStatus, source: &SourceStatus) -> Option<&'b PartitionStatus> {
    bus.of_source(source.id).filter(|_| source.keyed)
}

/// Entries that were signed are missing.
fn is_cut(status: &LogStatus) -> bool {
    status.size < status.published_size
}

fn exit(status: &LogStatus) -> Exit {
    if is_cut(status) {
        Exit::Found
    } else {
        Exit::Done
    }
}

fn row(source: &SourceStatus, now: Nanos) -> Vec<String> {
    vec![
        source.id.to_string(),
        source.name.clone(),
        source.platform.clone(),
        count(source.records),
        heard::missing(source),
        heard::heard(source, now),
        heard::lag(source),
    ]
}

/// What an operator may want to do now.
fn next_steps(status: &LogStatus, served: bool, now: Nanos) -> Vec<String> {
    let mut steps = Vec::new();
    if is_cut(status) {
        let step = "the last checkpoint covers more entries than the log holds: keep the disk as \
                    it is and run `custody verify`";
        return vec![step.to_owned()];
    }
    if status.stopped.is_some() {
        steps.push("look at `custody doctor`, then start the server again".to_owned());
    }
    if status.sources.is_empty() {
        let example = "custody ingest --source orders=postgresql:/var/log/postgresql.csv";
        steps.push(format!("read a first source: {example}"));
    }
    if !served && status.size > status.published_size {
        steps.push("start `custody serve`, or ingest: the next checkpoint covers the rest".into());
    }
    // Without a server nobody can be heard.
    if served {
        let of_sources = status.sources.iter();
        steps.extend(of_sources.flat_map(|source| heard::steps(source, now)));
    }
    steps
}

fn as_json(
    status: &LogStatus,
    (served, now): (bool, Nanos),
    steps: &[String],
    bus: Option<&BusStatus>,
) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        let sources = status.sources.iter();
        let sources: Vec<Value> = sources
            .map(|source| {
                let mut shown = heard::as_json(source, now);
                let lag = bus.and_then(|bus| of_source(bus, source));
                if let (Some(lag), Value::Object(fields)) = (lag, &mut shown) {
                    fields.insert("kafka_lag".to_owned(), way_in::lag_json(lag));
                }
                shown
            })
            .collect();
        if let Some(bus) = bus {
            fields.insert("bus".to_owned(), json!(bus));
        }
        fields.insert("sources".to_owned(), json!(sources));
        fields.insert("served".to_owned(), json!(served));
        fields.insert("next".to_owned(), json!(steps));
    }
    value
}
