//! `custody sources list` and `sources show NAME`: how far each source is, what is missing, when it
//! last said that it lives, and how much it has not sent yet.
//!
//! Not here: the words for it (`heard` of the crate); judging silence, which a rule does.

use clap::Args;
use ledger_log::{LogStatus, SourceStatus};

use crate::access::{log_status, now};
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::heard::{as_json, details, heard, lag, missing, steps};
use crate::output::count;

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

/// Runs `list`.
///
/// # Errors
/// A log that cannot be read, stdout.
pub fn list(_: &ListArgs, context: &Context) -> Result<Exit, CommandError> {
    let (status, _) = log_status(&context.config(&[])?)?;
    let now = now();
    if context.output.is_json() {
        for source in &status.sources {
            let line = as_json(source, now);
            context.output.json(&line).map_err(CommandError::Stdout)?;
        }
        return Ok(found(&status));
    }
    let row = |source: &SourceStatus| {
        vec![
            source.id.to_string(),
            source.name.clone(),
            source.platform.clone(),
            count(source.records),
            missing(source),
            heard(source, now),
            lag(source),
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
    let (status, served) = log_status(&context.config(&[])?)?;
    let now = now();
    let named = |one: &&SourceStatus| one.name == args.name || one.id.to_string() == args.name;
    let Some(source) = status.sources.iter().find(named) else {
        context.output.say(&format!(
            "there is no source {}: see `custody sources list`",
            crate::output::printable(&args.name)
        ));
        return Ok(Exit::NotFound);
    };
    if context.output.is_json() {
        let answer = as_json(source, now);
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
        ("last heartbeat", heard(source, now)),
        ("lag", lag(source)),
    ];
    fields.extend(source.heartbeat.iter().flat_map(details));
    for gap in &source.gaps {
        let text = format!("{} {} to {}", gap.stream, gap.from, gap.to);
        fields.push(("missing", text));
    }
    if served {
        fields.extend(steps(source, now).into_iter().map(|step| ("next", step)));
    }
    context
        .output
        .fields(&fields)
        .map_err(CommandError::Stdout)?;
    Ok(Exit::Done)
}
