//! `custody sources add|list|show|test`: who may send, how they are doing, and whether a sample
//! shows what should be audited.
//!
//! Not here: the agent (`collect`), and reading a file in this process (`ingest`).

pub mod give;
pub mod look;
pub mod sample;

use clap::Subcommand;

use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;

/// What to do with sources.
#[derive(Subcommand, Debug)]
pub enum SourcesCommand {
    /// Register a source with a key of its own, and write the file that its agent needs, once
    Add(give::AddArgs),
    /// Every source: how far it is, what is missing, its last heartbeat
    List(look::ListArgs),
    /// One source
    Show(look::ShowArgs),
    /// Read a sample: its first events, and what it shows to be missing; nothing is appended
    Test(sample::TestArgs),
}

/// Runs it.
///
/// # Errors
/// What the one asked for says.
pub fn run(command: &SourcesCommand, context: &Context) -> Result<Exit, CommandError> {
    match command {
        SourcesCommand::Add(args) => give::run(args, context),
        SourcesCommand::List(args) => look::list(args, context),
        SourcesCommand::Show(args) => look::show(args, context),
        SourcesCommand::Test(args) => sample::run(args, context),
    }
}
