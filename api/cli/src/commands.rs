//! One module a command.
//!
//! Not here: flags that every command has (`cli.rs`).

pub mod completions;
pub mod config;
pub mod man;

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
        Command::Config(args) => config::run(&args, context),
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args, context),
    }
}
