//! `custody tail`: entries as they come, until it is interrupted, whether a server holds the log,
//! comes, or goes.
//!
//! Not here: the language of queries (ledger/index), and the short line (`brief.rs`).

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use api_http::{Ask, DirectReads, Reads, ReadsError, SocketReads, Tail, answers};
use clap::Args;
use ledger_core::{Index, Nanos};
use ledger_log::Reader;

use crate::access::now;
use crate::brief::{Flush, Printer};
use crate::commands::Context;
use crate::commands::ingest::stop_on_signal;
use crate::config::Config;
use crate::error::CommandError;
use crate::exit::Exit;

/// What to show.
#[derive(Args, Debug)]
pub struct TailArgs {
    /// Terms such as `actor:alice op:grant`; none for every entry
    #[arg(value_name = "TERM")]
    terms: Vec<String>,
    /// Begin with this entry, not at the end
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// Stop after so many entries
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// How often a log without a server is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs it.
///
/// # Errors
/// A query that is none, a log that cannot be read, stdout.
pub fn run(args: &TailArgs, context: &Context) -> Result<Exit, CommandError> {
    let config = context.config(&[])?;
    let stop = stop_on_signal()?;
    let mut follower = Follower {
        config: &config,
        query: args.terms.join(" "),
        now: now(),
        left: args.limit,
        cursor: args.from.map(Index),
        printer: Printer::new(&context.output, Flush::EachLine),
        failed: false,
        stop: &stop,
    };
    while !follower.is_done() {
        follower.look()?;
        if !follower.is_done() {
            thread::park_timeout(LOOK_EVERY);
        }
    }
    follower.printer.finish()?;
    Ok(Exit::Done)
}

struct Follower<'a> {
    config: &'a Config,
    query: String,
    now: Nanos,
    left: Option<u64>,
    cursor: Option<Index>,
    printer: Printer<'a>,
    failed: bool,
    stop: &'a AtomicBool,
}

impl Follower<'_> {
    fn is_done(&self) -> bool {
        self.failed || self.left == Some(0) || self.stop.load(Ordering::Relaxed)
    }

    /// Follows the server until it goes; without one, shows what is new in the files.
    fn look(&mut self) -> Result<(), CommandError> {
        let paths = &self.config.paths;
        if answers(&paths.socket()) {
            let mut reads = SocketReads::new(paths)?;
            return match self.follow(&mut reads, Idle::Wait) {
                // It stopped, or was stopped: entries that come later are in the files.
                Err(ReadsError::Unreachable { .. } | ReadsError::Refused { .. }) => Ok(()),
                other => Ok(other?),
            };
        }
        let reader = Reader::open(paths)?;
        let end = Index(reader.size().0);
        self.cursor.get_or_insert(end);
        self.follow(&mut DirectReads::of_files(reader), Idle::Return)?;
        self.cursor = self.cursor.max(Some(end));
        Ok(())
    }

    fn follow(&mut self, reads: &mut dyn Reads, idle: Idle) -> Result<(), ReadsError> {
        let query = std::mem::take(&mut self.query);
        let ask = Ask {
            query: &query,
            now: self.now,
            limit: self.left,
        };
        let from = self.cursor;
        let mut visit = |seen: Tail<'_>| {
            match seen {
                Tail::Entry(line) => self.show(line),
                Tail::Idle if idle == Idle::Return => return ControlFlow::Break(()),
                Tail::Idle => {}
            }
            if self.is_done() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let followed = reads.tail(&ask, from, &mut visit);
        self.query = query;
        followed
    }

    fn show(&mut self, line: &str) {
        self.failed = self.printer.print(line).is_err();
        self.left = self.left.map(|left| left.saturating_sub(1));
        let shown: Option<serde_json::Value> = serde_json::from_str(line).ok();
        let index = shown.and_then(|entry| entry.get("index")?.as_u64());
        self.cursor = index
            .map(|index| Index(index.saturating_add(1)))
            .or(self.cursor);
    }
}

/// What to do when nothing comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    /// Something will, on this connection.
    Wait,
    /// Nothing can: the files were read as they were.
    Return,
}
