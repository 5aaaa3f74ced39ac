//! `custody ingest --source NAME=PLATFORM:PATH …`: reads files to their end, appends their records,
//! and waits for the checkpoint that covers them. Run again it goes on after the last record that
//! the log holds.
//!
//! Not here: the loop over one file (`taking.rs`), and how a log is reached (`access.rs`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use ledger_core::TreeSize;
use ledger_log::DoorError;
use serde::Serialize;

use crate::access::{Accepted, Access, check_platform};
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::{Unit, count, plural, printable, span};
use crate::reading::AuditFile;
use crate::taking::{Taken, take};

/// What to read.
#[derive(Args, Debug)]
pub struct IngestArgs {
    /// A source: its name, the platform that wrote it, and the file
    #[arg(long = "source", value_name = "NAME=PLATFORM:PATH", required = true)]
    #[arg(value_parser = parse_source)]
    sources: Vec<SourceArg>,
    #[command(flatten)]
    accepted: Accepted,
}

/// One `--source`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SourceArg {
    /// Its name in the log.
    pub(crate) name: String,
    /// Who wrote the file.
    pub(crate) platform: String,
    /// The file.
    pub(crate) path: PathBuf,
}

/// Takes `NAME=PLATFORM:PATH` apart.
pub(crate) fn parse_source(text: &str) -> Result<SourceArg, String> {
    let form = "write NAME=PLATFORM:PATH, such as orders=postgresql:/var/log/postgresql.csv";
    let (name, rest) = text.split_once('=').ok_or(form)?;
    let (platform, path) = rest.split_once(':').ok_or(form)?;
    if name.is_empty() || platform.is_empty() || path.is_empty() {
        return Err(form.to_owned());
    }
    Ok(SourceArg {
        name: name.to_owned(),
        platform: platform.to_owned(),
        path: PathBuf::from(path),
    })
}

/// What was done, as `--json` prints it.
#[derive(Serialize, Debug)]
pub(crate) struct Summary {
    pub(crate) sources: Vec<Taken>,
    pub(crate) published: u64,
    pub(crate) interrupted: bool,
    pub(crate) seconds: f64,
}

/// Runs it.
///
/// # Errors
/// A wrong setting, a file that cannot be read, a source that is another one than before, a log
/// that is not there or stopped. Everything is opened before the first record is appended.
pub fn run(args: &IngestArgs, context: &Context) -> Result<Exit, CommandError> {
    let started = Instant::now();
    let config = context.config(&[])?;
    for (number, source) in args.sources.iter().enumerate() {
        if args
            .sources
            .iter()
            .take(number)
            .any(|other| other.name == source.name)
        {
            let name = printable(&source.name);
            return Err(CommandError::Usage(format!(
                "source {name} is given twice: a source is one file"
            )));
        }
    }
    let mut files = Vec::with_capacity(args.sources.len());
    for source in &args.sources {
        check_platform(&source.platform)?;
        files.push((source, AuditFile::open(&source.path)?));
    }
    let stop = stop_on_signal()?;
    let mut access = Access::open(&config, args.accepted, &context.output)?;
    let taken = take_all(&files, &mut access, context, &stop);
    // What was appended before an error stays appended, and is published as well.
    let reached = taken.as_ref().map_or(TreeSize(0), |(_, size)| *size);
    let published = access.finish(reached);
    // Closing knows why the log stopped; the door may only know that it did.
    let stopped = matches!(&taken, Err(CommandError::Door(DoorError::Stopped { .. })));
    if stopped && published.is_err() {
        return published.map(|_| Exit::Unavailable);
    }
    let (sources, _) = taken?;
    let summary = Summary {
        sources,
        published: published?.0,
        interrupted: stop.load(Ordering::Relaxed),
        seconds: started.elapsed().as_secs_f64(),
    };
    print(&summary, started, context)?;
    let partly = summary.interrupted || summary.sources.iter().any(|taken| taken.unparsed > 0);
    Ok(if partly { Exit::Partial } else { Exit::Done })
}

/// Set when the program is asked to end: what is being appended is finished first.
pub(crate) fn stop_on_signal() -> Result<Arc<AtomicBool>, CommandError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second signal ends the program at once, for those who cannot wait.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(CommandError::Signals)?;
    }
    Ok(stop)
}

type All = (Vec<Taken>, TreeSize);

fn take_all(
    files: &[(&SourceArg, AuditFile)],
    access: &mut Access,
    context: &Context,
    stop: &AtomicBool,
) -> Result<All, CommandError> {
    let bytes = files.iter().map(|(_, file)| file.size()).sum();
    let bar = context.output.bar(bytes, "reading", Unit::Bytes);
    let mut all = Vec::with_capacity(files.len());
    let mut size = TreeSize(0);
    for (source, file) in files {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (taken, reached) = take(source, file, access, &bar, stop)?;
        size = size.max(reached);
        all.push(taken);
    }
    bar.finish_and_clear();
    Ok((all, size))
}

fn print(summary: &Summary, started: Instant, context: &Context) -> Result<(), CommandError> {
    let output = &context.output;
    for taken in &summary.sources {
        if taken.left_bytes > 0 {
            output.say(&format!(
                "{}: {} after line {} are no whole record yet and are left for the next run",
                printable(&taken.name),
                plural(taken.left_bytes, "byte", "bytes"),
                taken.line.saturating_sub(1),
            ));
        }
    }
    if summary.interrupted {
        output.say("interrupted: run it again to go on after the last record");
    }
    if output.is_json() {
        return output.json(summary).map_err(CommandError::Stdout);
    }
    for taken in &summary.sources {
        output.line(&line_of(taken)).map_err(CommandError::Stdout)?;
    }
    let line = format!(
        "checkpoint {} in {}",
        count(summary.published),
        span(started.elapsed())
    );
    output.line(&line).map_err(CommandError::Stdout)
}

/// `orders: 203 records, 2 unparsed, 12 masked, entries 2 to 204`.
fn line_of(taken: &Taken) -> String {
    let name = printable(&taken.name);
    let (Some(first), Some(last)) = (taken.first_index, taken.last_index) else {
        return format!("{name}: nothing new");
    };
    let mut line = format!("{name}: {}", plural(taken.records, "record", "records"));
    for (number, word) in [(taken.unparsed, "unparsed"), (taken.masked, "masked")] {
        if number > 0 {
            line.push_str(&format!(", {} {word}", count(number)));
        }
    }
    if first == last {
        line.push_str(&format!(", entry {first}"));
    } else {
        line.push_str(&format!(", entries {first} to {last}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_name_platform_and_path() {
        for wrong in [
            "",
            "pg",
            "pg=postgresql",
            "=postgresql:x",
            "pg=:x",
            "pg=postgresql:",
        ] {
            let error = parse_source(wrong).unwrap_err();
            assert!(error.contains("NAME=PLATFORM:PATH"), "{error}");
        }
        let source = parse_source("pg=postgresql:/a:b=c").unwrap();
        assert_eq!(
            (source.name.as_str(), source.platform.as_str()),
            ("pg", "postgresql")
        );
        assert_eq!(source.path, PathBuf::from("/a:b=c"));
    }
}
