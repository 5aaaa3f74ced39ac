//! `custody bench collect`: from a file to durable entries, through the agent's journal and the
//! log's door, in one process, over TLS, or between two processes.
//!
//! The baseline reads the same file, finds its lines, and writes and syncs the bytes of the events
//! in batches of the same size, as a journal must. Not here: what is measured (`rig`), a broker
//! between the two (`pipeline`).

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use ledger_log::bench::measure::{percentile, process_cpu, rss_mib, thread_cpu};

use super::figures::Figures;
use super::native::NativeForm;
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use rig::{Over, Rig};

mod rig;

/// How much.
#[derive(Args, Debug)]
pub struct CollectArgs {
    /// Records of the file
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    entries: u64,
    /// The form of its records
    #[arg(long, value_name = "FORM", default_value = "csvlog")]
    form: NativeForm,
    /// What lies between the agent and the log
    #[arg(long, value_name = "WAY", default_value = "in-process")]
    over: Over,
}

/// Records that are written one at a time, each to its durable entry.
const SINGLES: u64 = 200;
/// Bytes of events of one batch of the agent.
const BATCH_BYTES: usize = 3 << 20;

/// Runs it.
///
/// # Errors
/// A folder that cannot be written, a log that stopped.
pub(super) fn run(args: &CollectArgs, context: &Context) -> Result<Exit, CommandError> {
    let figures = super::in_a_folder(|folder| measured(folder, args, context))?;
    figures.print(context)?;
    Ok(Exit::Done)
}

fn measured(folder: &Path, args: &CollectArgs, context: &Context) -> Result<Figures, CommandError> {
    let io = || CommandError::file("using", folder);
    let file = folder.join("audit.log");
    context.output.say("writing the file");
    let bytes = write(&file, args.form, args.entries).map_err(io())?;
    let entries = args.entries as f64;
    context.output.say("file to durable");
    let (begun, cpu) = (Instant::now(), process_cpu());
    let mut rig = Rig::new(folder, &file, (args.form, args.over))?;
    let begun = match args.over {
        // An agent of its own begins with its process.
        Over::Process => begun,
        Over::InProcess | Over::Tls => Instant::now(),
    };
    rig.until(args.entries)?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut figures = Figures {
        name: "collect".to_owned(),
        entries: args.entries,
        record_bytes: bytes as f64 / entries,
        seconds,
        per_s: entries / seconds,
        cpu_us_per: (process_cpu() - cpu).as_secs_f64() * 1e6 / entries,
        rss_mib: rss_mib().map_err(io())?,
        ..Figures::default()
    };
    share(&mut figures, &rig, entries).map_err(io())?;
    figures.disk_bytes_per = rig.disk_bytes().map_err(io())? as f64 / entries;
    context.output.say("raw loop");
    figures.event_bytes = event_bytes(args.form)?;
    let raw = raw(folder, &file).map_err(io())?;
    figures.raw_per_s = entries / raw.as_secs_f64();
    figures.ratio = figures.per_s / figures.raw_per_s;
    let mut times = match args.over {
        // It looks for more a few times a second.
        Over::Process => Vec::new(),
        Over::InProcess | Over::Tls => {
            context.output.say("one record at a time");
            singles(&mut rig, &file, args)?
        }
    };
    figures.p50_us = percentile(&mut times, 50);
    figures.p99_us = percentile(&mut times, 99);
    rig.close()?;
    Ok(figures)
}

/// Whose the CPU was: the log's threads, the server's, and the agent's, which are all others here
/// or another process.
fn share(figures: &mut Figures, rig: &Rig, entries: f64) -> Result<(), std::io::Error> {
    let mut agent = figures.cpu_us_per;
    let mut server = 0.0;
    for (name, spent) in thread_cpu()? {
        let cost = spent.as_secs_f64() * 1e6 / entries;
        if name.starts_with("cst-") {
            agent -= cost;
            figures.stages.insert(format!("thread {name}"), cost);
        } else if name.starts_with("actix") || name == "http" {
            agent -= cost;
            server += cost;
        }
    }
    if server > 0.0 {
        figures.stages.insert("server".to_owned(), server);
    }
    if let Some((spent, rss_mib)) = rig.apart()? {
        // What is left of this process waits and looks.
        agent = spent.as_secs_f64() * 1e6 / entries;
        figures.cpu_us_per += agent;
        figures.agent_rss_mib = Some(rss_mib);
    }
    figures.stages.insert("agent".to_owned(), agent);
    Ok(())
}

/// Times from writing a record to its durable entry.
fn singles(rig: &mut Rig, file: &Path, args: &CollectArgs) -> Result<Vec<Duration>, CommandError> {
    let failed = || CommandError::file("writing", file);
    let mut file = OpenOptions::new()
        .append(true)
        .open(file)
        .map_err(failed())?;
    let mut times = Vec::new();
    for number in args.entries..args.entries + SINGLES {
        let text = args.form.text(number, 1);
        let begun = Instant::now();
        file.write_all(text.as_bytes()).map_err(failed())?;
        rig.until(number + 1)?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// Writes the file; gives its length.
fn write(path: &Path, form: NativeForm, entries: u64) -> Result<u64, std::io::Error> {
    let mut file = BufWriter::new(File::create(path)?);
    let (mut text, mut bytes) = (String::new(), 0);
    for number in 0..entries {
        text.clear();
        form.put(number, &mut text);
        bytes += text.len() as u64;
        file.write_all(text.as_bytes())?;
    }
    file.into_inner()?.sync_all()?;
    Ok(bytes)
}

/// Reads, finds lines, and writes and syncs as many bytes as the events have.
fn raw(folder: &Path, file: &Path) -> Result<Duration, std::io::Error> {
    let mut journal = File::create(folder.join("raw"))?;
    let begun = Instant::now();
    let mut file = File::open(file)?;
    // An event is about three times as long as its record.
    let mut window = vec![0; BATCH_BYTES / 3];
    let events = vec![b'x'; BATCH_BYTES];
    let mut lines = 0;
    loop {
        let read = file.read(&mut window)?;
        let bytes = window.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        lines += memchr::memchr_iter(b'\n', bytes).count();
        journal.write_all(&events)?;
        journal.sync_data()?;
    }
    // The lines are used, so that finding them cannot be left out.
    assert!(lines > 0, "the file has lines");
    Ok(begun.elapsed())
}

/// Mean length of the event of a record.
fn event_bytes(form: NativeForm) -> Result<f64, CommandError> {
    Ok(super::parse::measured(form, 1000)?.event_bytes)
}
