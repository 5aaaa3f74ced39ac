//! One module a command.
//!
//! Not here: flags that every command has (`cli.rs`).

pub mod bench;
pub mod collect;
pub mod completions;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod ingest;
pub mod init;
pub mod keys;
pub mod man;
pub mod parse;
pub mod proof;
pub mod query;
pub mod rebuild;
pub mod serve;
pub mod show;
pub mod sources;
pub mod status;
pub mod tail;
pub mod tiles;
pub mod verify;

use crate::cli::Command;
use crate::config::{Config, Flag, Place, load};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::Output;

/// What every command gets.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where and how to print.
    pub output: Output,
    /// Where the settings are.
    pub place: Place,
}

impl Context {
    /// The checked settings of the installation.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn config(&self, flags: &[Flag]) -> Result<Config, CommandError> {
        Ok(load(&self.place, flags)?.config)
    }
}

/// Runs one command.
///
/// # Errors
/// Why it did not do what it was asked.
pub fn run(command: Command, context: &Context) -> Result<Exit, CommandError> {
    match command {
        Command::Demo(args) => demo::run(&args, context),
        Command::Init(args) => init::run(&args, context),
        Command::Serve(args) => serve::run(&args, context),
        Command::Collect(args) => collect::run(&args, context),
        Command::Ingest(args) => ingest::run(&args, context),
        Command::Parse(args) => parse::run(&args, context),
        Command::Sources(args) => sources::run(&args, context),
        Command::Query(args) => query::run(&args, context),
        Command::Show(args) => show::run(&args, context),
        Command::Tail(args) => tail::run(&args, context),
        Command::Status(args) => status::run(&args, context),
        Command::Doctor(args) => doctor::run(&args, context),
        Command::Proof(args) => proof::run(&args, context),
        Command::Tiles(args) => tiles::run(&args, context),
        Command::Verify(args) => verify::run(&args, context),
        Command::Rebuild(args) => rebuild::run(&args, context),
        Command::Keys(args) => keys::run(&args, context),
        Command::Bench(args) => bench::run(&args, context),
        Command::Config(args) => config::run(&args, context),
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args, context),
    }
}
