//! `custody bench`: what this machine can do, beside a raw loop over the same bytes in the same
//! run. Works in a folder of its own below TMPDIR, without settings.
//!
//! Not here: the measuring of appends (ledger/log).

use std::path::Path;

use clap::Subcommand;

use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;

mod append;
mod collect;
mod figures;
mod native;
mod parse;
mod pipeline;

/// What is measured.
#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// Appending events: throughput, latency, CPU, memory, disk, recovery
    Append(append::AppendArgs),
    /// Native records to masked events, on one core
    Parse(parse::ParseArgs),
    /// A file to durable entries: an agent and a log in one process
    Collect(collect::CollectArgs),
    /// Events in Kafka to a signed log
    Pipeline(pipeline::PipelineArgs),
}

/// Runs it.
///
/// # Errors
/// A folder that cannot be written, a log that stopped.
pub fn run(command: &BenchCommand, context: &Context) -> Result<Exit, CommandError> {
    match command {
        BenchCommand::Append(args) => append::run(args, context),
        BenchCommand::Parse(args) => parse::run(args, context),
        BenchCommand::Collect(args) => collect::run(args, context),
        BenchCommand::Pipeline(args) => pipeline::run(args, context),
    }
}

/// Works in a folder that is removed at the end.
fn in_a_folder<T>(work: impl FnOnce(&Path) -> Result<T, CommandError>) -> Result<T, CommandError> {
    let folder = tempfile::Builder::new()
        .prefix("custody-bench-")
        .tempdir()
        .map_err(CommandError::file("creating", &std::env::temp_dir()))?;
    let result = work(folder.path())?;
    let path = folder.path().to_owned();
    folder
        .close()
        .map_err(CommandError::file("removing", &path))?;
    Ok(result)
}
