//! `custody query 'actor:alice op:grant since:7d'`: matching entries, one JSON object a line (on a
//! terminal one short line each), all of them unless `--limit`.
//!
//! Not here: the language and the scan (ledger/index), and the short line (`brief.rs`).

use std::ops::ControlFlow;

use api_http::Ask;
use clap::Args;

use crate::access::{now, reads};
use crate::brief::{Flush, Printer};
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;

/// What to find.
#[derive(Args, Debug)]
pub struct QueryArgs {
    /// Terms such as `actor:alice op:grant db:cards kind:event since:7d`; none for every entry
    #[arg(value_name = "TERM")]
    terms: Vec<String>,
    /// At most so many entries
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Runs it.
///
/// # Errors
/// A query that is none, a log that cannot be read, stdout.
pub fn run(args: &QueryArgs, context: &Context) -> Result<Exit, CommandError> {
    let config = context.config(&[])?;
    let query = args.terms.join(" ");
    let ask = Ask {
        query: &query,
        now: now(),
        limit: args.limit,
    };
    let mut printer = Printer::new(&context.output, Flush::AtTheEnd);
    let mut visit = |line: &str| match printer.print(line) {
        Ok(()) => ControlFlow::Continue(()),
        Err(()) => ControlFlow::Break(()),
    };
    let found = reads(&config)?.query(&ask, &mut visit)?;
    printer.finish()?;
    Ok(if found == 0 {
        Exit::NotFound
    } else {
        Exit::Done
    })
}
