//! `custody sources list` and `sources show NAME`: how far each source is, what is missing, when it
//! last said that it lives, and how much it has not sent yet.
//!
//! Not here: judging silence; a rule does that.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use api_http::{Ask, Reads, SocketReads, Tail, answers};
use clap::Args;
use jiff::Timestamp;
use ledger_core::{Index, Nanos};
use ledger_log::{LogStatus, SourceStatus};
use serde_json::{Value, json};

use crate::access::{now, reads};
use crate::at_rest;
use crate::commands::Context;
use crate::config::Config;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::{count, plural, size, span};

/// Nothing to say.
#[derive(Args, Debug)]
pub struct ListArgs {}

/// Which source.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Its name or number
    #[arg(value_name = "NAME")]
    name: String,
}

/// Heartbeats come each minute; what is older is silence.
const HEARTBEATS_OF: Duration = Duration::from_secs(150);
/// Longest scan of a busy log's last minutes.
const SCAN_MAX: Duration = Duration::from_secs(2);
/// Entries that are looked at one by one before a scan is worth it.
const ONE_BY_ONE_MAX: u64 = 2_000;

/// Runs `list`.
///
/// # Errors
/// A log that cannot be read, stdout.
pub fn list(_: &ListArgs, context: &Context) -> Result<Exit, CommandError> {
    let (status, beats) = look(&context.config(&[])?)?;
    if context.output.is_json() {
        for source in &status.sources {
            let line = as_json(source, beats.get(&source.id));
            context.output.json(&line).map_err(CommandError::Stdout)?;
        }
        return Ok(found(&status));
    }
    let row = |source: &SourceStatus| {
        let beat = beats.get(&source.id);
        vec![
            source.id.to_string(),
            source.name.clone(),
            source.platform.clone(),
            count(source.records),
            missing(source),
            heard(source, beat),
            lag(source, beat),
        ]
    };
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
    Ok(found(&status))
}

fn found(status: &LogStatus) -> Exit {
    match status.sources.is_empty() {
        true => Exit::NotFound,
        false => Exit::Done,
    }
}

/// Runs `show`.
///
/// # Errors
/// No such source, a log that cannot be read, stdout.
pub fn show(args: &ShowArgs, context: &Context) -> Result<Exit, CommandError> {
    let (status, beats) = look(&context.config(&[])?)?;
    let named = |one: &&SourceStatus| one.name == args.name || one.id.to_string() == args.name;
    let Some(source) = status.sources.iter().find(named) else {
        context.output.say(&format!(
            "there is no source {}: see `custody sources list`",
            crate::output::printable(&args.name)
        ));
        return Ok(Exit::NotFound);
    };
    let beat = beats.get(&source.id);
    if context.output.is_json() {
        let answer = as_json(source, beat);
        context.output.json(&answer).map_err(CommandError::Stdout)?;
        return Ok(Exit::Done);
    }
    let proof = match source.keyed {
        true => "a key of its own, given to its agent",
        false => "none: it is read in the log's own process",
    };
    let mut fields = vec![
        ("source", source.id.to_string()),
        ("name", source.name.clone()),
        ("platform", source.platform.clone()),
        ("key", proof.to_owned()),
        ("epoch", source.epoch.to_string()),
        ("records", count(source.records)),
        ("heartbeats", count(source.heartbeats)),
        ("last heartbeat", heard(source, beat)),
        ("lag", lag(source, beat)),
    ];
    for gap in &source.gaps {
        let text = format!("{} {} to {}", gap.stream, gap.from, gap.to);
        fields.push(("missing", text));
    }
    context
        .output
        .fields(&fields)
        .map_err(CommandError::Stdout)?;
    Ok(Exit::Done)
}

/// The newest heartbeat of a source.
struct Beat {
    at: Nanos,
    facts: Value,
}

type Beats = BTreeMap<u32, Beat>;

fn look(config: &Config) -> Result<(LogStatus, Beats), CommandError> {
    let status = if answers(&config.paths.socket()) {
        SocketReads::new(&config.paths)?.status()?
    } else {
        at_rest::status(&config.paths)?
    };
    let mut beats = Beats::new();
    if status.sources.iter().any(|source| source.keyed) {
        let mut reads = reads(config)?;
        let window = i64::try_from(HEARTBEATS_OF.as_nanos()).unwrap_or(i64::MAX);
        let since = Nanos(now().0.saturating_sub(window));
        let from = first_since(&mut *reads, status.size, since)?;
        collect(&mut *reads, from, status.size, &mut beats)?;
    }
    Ok((status, beats))
}

/// The first entry of the log's last minutes: ledger time never goes back, so it is found by
/// halving.
fn first_since(reads: &mut dyn Reads, size: u64, since: Nanos) -> Result<u64, CommandError> {
    let (mut low, mut high) = (0, size);
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = reads.entry(Index(middle))?;
        if ledger_time(&entry).is_some_and(|time| time >= since) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

fn collect(
    reads: &mut dyn Reads,
    from: u64,
    size: u64,
    beats: &mut Beats,
) -> Result<(), CommandError> {
    if size.saturating_sub(from) <= ONE_BY_ONE_MAX {
        for index in from..size {
            take(&reads.entry(Index(index))?, beats);
        }
        return Ok(());
    }
    let ask = Ask {
        query: "kind:heartbeat",
        now: now(),
        limit: None,
    };
    let until = Instant::now() + SCAN_MAX;
    let mut visit = |news: Tail<'_>| match news {
        Tail::Entry(line) if take(line, beats) >= size => ControlFlow::Break(()),
        _ if Instant::now() >= until => ControlFlow::Break(()),
        Tail::Entry(_) | Tail::Idle => ControlFlow::Continue(()),
    };
    Ok(reads.tail(&ask, Some(Index(from)), &mut visit)?)
}

/// Keeps a heartbeat; gives the index of the entry.
fn take(line: &str, beats: &mut Beats) -> u64 {
    let entry: Value = serde_json::from_str(line).unwrap_or_default();
    let number = |name: &str| entry.get(name).and_then(Value::as_u64).unwrap_or_default();
    if entry.get("kind").and_then(Value::as_str) == Some("heartbeat")
        && let Some(at) = ledger_time(line)
        && let Ok(source) = u32::try_from(number("source"))
    {
        let facts = entry.get("facts").cloned().unwrap_or_default();
        beats.insert(source, Beat { at, facts });
    }
    number("index")
}

fn ledger_time(line: &str) -> Option<Nanos> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let time: Timestamp = entry.get("ledger_time")?.as_str()?.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Nanos)
}

fn missing(source: &SourceStatus) -> String {
    let numbers = |gap: &ledger_log::GapStatus| gap.to.saturating_sub(gap.from).saturating_add(1);
    let all: u64 = source.gaps.iter().map(numbers).sum();
    count(all)
}

fn heard(source: &SourceStatus, beat: Option<&Beat>) -> String {
    match beat {
        _ if !source.keyed => "-".to_owned(),
        Some(beat) => {
            let age = u64::try_from(now().0.saturating_sub(beat.at.0)).unwrap_or_default();
            format!("{} ago", span(Duration::from_nanos(age)))
        }
        None if source.heartbeats == 0 => "never".to_owned(),
        None => format!("none for {}", span(HEARTBEATS_OF)),
    }
}

/// What the agent has bound or knows of and the log does not hold.
fn lag(source: &SourceStatus, beat: Option<&Beat>) -> String {
    let Some(beat) = beat else {
        return "-".to_owned();
    };
    let number = |name: &str| beat.facts.get(name).and_then(Value::as_u64);
    let unsent = number("bound")
        .unwrap_or_default()
        .saturating_sub(source.records);
    match number("backlog_bytes") {
        None | Some(0) => plural(unsent, "record", "records"),
        Some(bytes) => format!(
            "{}, {} unread",
            plural(unsent, "record", "records"),
            size(bytes)
        ),
    }
}

fn as_json(source: &SourceStatus, beat: Option<&Beat>) -> Value {
    let mut value = serde_json::to_value(source).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        let age = |beat: &Beat| now().0.saturating_sub(beat.at.0) / 1_000_000;
        fields.insert("heartbeat_age_ms".to_owned(), json!(beat.map(age)));
        fields.insert("heartbeat".to_owned(), json!(beat.map(|beat| &beat.facts)));
    }
    value
}
