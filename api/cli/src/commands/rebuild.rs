//! `custody rebuild`: deletes and rebuilds everything that can be derived from the segments.
//!
//! Not here: how (ledger/log). Segments, keys and the last note are never touched.

use clap::Args;
use ledger_log::rebuild;
use serde_json::json;

use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::{Unit, count, span};

/// Nothing to say.
#[derive(Args, Debug)]
pub struct RebuildArgs {}

/// Runs it.
///
/// # Errors
/// A log that another process holds, or whose segments are damaged.
pub fn run(_: &RebuildArgs, context: &Context) -> Result<Exit, CommandError> {
    let started = std::time::Instant::now();
    let config = context.config(&[])?;
    let bar = context.output.bar(0, "rebuilding", Unit::Entries);
    let rebuilt = rebuild(&config.paths, &mut |entries| {
        bar.set_length(entries);
        bar.set_position(entries);
    });
    bar.finish_and_clear();
    let rebuilt = rebuilt?;
    let took = started.elapsed();
    let printed = if context.output.is_json() {
        let answer = json!({ "entries": rebuilt.entries,
            "files_removed": rebuilt.files_removed, "seconds": took.as_secs_f64() });
        context.output.json(&answer)
    } else {
        let entries = count(rebuilt.entries);
        context.output.line(&format!(
            "hashes of {entries} entries rebuilt in {}; they lead to the last signed root",
            span(took)
        ))
    };
    printed.map_err(CommandError::Stdout)?;
    Ok(Exit::Done)
}
