//! `custody show INDEX`: one entry, as indented JSON on a terminal, else as one line.
//!
//! Not here: the form of the entry (ledger/index).

use clap::Args;
use ledger_core::Index;

use crate::access::reads;
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::printable;

/// Which one.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The entry's index, from 0
    #[arg(value_name = "INDEX")]
    index: u64,
}

/// Runs it.
///
/// # Errors
/// No such entry, a log that cannot be read, stdout.
pub fn run(args: &ShowArgs, context: &Context) -> Result<Exit, CommandError> {
    let config = context.config(&[])?;
    let line = reads(&config)?.entry(Index(args.index))?;
    let pretty = context.output.is_terminal() && !context.output.is_json();
    let text = if pretty { indented(&line) } else { line };
    context.output.line(&text).map_err(CommandError::Stdout)?;
    Ok(Exit::Done)
}

/// Indented; characters that could steer the terminal are escapes.
fn indented(line: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let pretty = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
    let pretty = pretty.unwrap_or_else(|| line.to_owned());
    pretty.lines().map(printable).collect::<Vec<_>>().join("\n")
}
