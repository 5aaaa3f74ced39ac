//! `custody status`: what the log holds, how far it is signed, its sources, and what to do next.
//!
//! Not here: whether the installation is sound (`doctor`), and whether the log holds (`verify`).

use std::time::Duration;

use clap::Args;
use ledger_core::{Hash, Nanos};
use ledger_log::{LogStatus, SourceStatus};
use serde_json::{Value, json};

use crate::access::{log_status, now};
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::heard;
use crate::output::{count, plural, span};

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
    let steps = next_steps(&status, served, at);
    if context.output.is_json() {
        let answer = as_json(&status, (served, at), &steps);
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
    fields.extend(steps.into_iter().map(|step| ("next", step)));
    context
        .output
        .fields(&fields)
        .map_err(CommandError::Stdout)?;
    if !status.sources.is_empty() {
        context.output.line("").map_err(CommandError::Stdout)?;
        let row = |source| row(source, at);
        let rows: Vec<Vec<String>> = status.sources.iter().map(row).collect();
        let headings = [
            "source",
            "name",
            "platform",
            "records",
            "missing",
            "heartbeat",
            "lag",
        ];
        context
            .output
            .table(&headings, &rows)
            .map_err(CommandError::Stdout)?;
    }
    Ok(exit(&status))
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

fn as_json(status: &LogStatus, (served, now): (bool, Nanos), steps: &[String]) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        let sources = status.sources.iter();
        let sources: Vec<Value> = sources.map(|source| heard::as_json(source, now)).collect();
        fields.insert("sources".to_owned(), json!(sources));
        fields.insert("served".to_owned(), json!(served));
        fields.insert("next".to_owned(), json!(steps));
    }
    value
}
