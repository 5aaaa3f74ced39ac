//! `custody bench collect`: from a file to durable entries, through the agent's journal and the
//! log's door, in one process.
//!
//! The baseline reads the same file, finds its lines, and writes and syncs the bytes of the events
//! in batches of the same size, as a journal must. Not here: TLS and a broker between the two.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use collectors_agent::{
    Allowed, Files, Follower, JournalBounds, Rotated, Setup, Step, Tailing, clock,
};
use collectors_bus::{Credentials, InProcess};
use collectors_formats::{FormatKeys, format_for};
use keys_secret::Keystore;
use ledger_core::TreeSize;
use ledger_log::bench::BenchError;
use ledger_log::bench::measure::{disk_bytes, percentile, process_cpu, rss_mib, thread_cpu};
use ledger_log::{Door as _, Log, LogOptions, LogPaths, SourceSpec, create_log};

use super::figures::Figures;
use super::native::NativeForm;
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;

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

/// An agent and a log.
struct Rig {
    log: Log,
    follower: Follower,
    clock: clock::Clock,
    file: PathBuf,
    journal: PathBuf,
    paths: LogPaths,
}

fn measured(folder: &Path, args: &CollectArgs, context: &Context) -> Result<Figures, CommandError> {
    let io = || CommandError::file("using", folder);
    let file = folder.join("audit.log");
    context.output.say("writing the file");
    let bytes = write(&file, args.form, args.entries).map_err(io())?;
    let mut rig = Rig::new(folder, file, args.form)?;
    let entries = args.entries as f64;
    context.output.say("file to durable");
    let (begun, cpu) = (Instant::now(), process_cpu());
    let threads = thread_cpu().map_err(io())?;
    rig.until(args.entries)?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = (process_cpu() - cpu).as_secs_f64() * 1e6 / entries;
    let mut figures = Figures {
        name: "collect".to_owned(),
        entries: args.entries,
        record_bytes: bytes as f64 / entries,
        seconds,
        per_s: entries / seconds,
        cpu_us_per: cpu,
        rss_mib: rss_mib().map_err(io())?,
        ..Figures::default()
    };
    let mut of_log = 0.0;
    for (name, after) in thread_cpu().map_err(io())? {
        let spent = after - threads.get(&name).copied().unwrap_or_default();
        if name.starts_with("cst-") {
            let cost = spent.as_secs_f64() * 1e6 / entries;
            of_log += cost;
            figures.stages.insert(format!("thread {name}"), cost);
        }
    }
    figures.stages.insert("agent".to_owned(), cpu - of_log);
    let written = rig
        .follower
        .status()
        .journal_bytes
        .max(disk_bytes(&rig.journal).map_err(io())?);
    let stored = disk_bytes(&rig.paths.folder()).map_err(io())?;
    figures.disk_bytes_per = (stored + written) as f64 / entries;
    context.output.say("raw loop");
    figures.event_bytes = event_bytes(args.form)?;
    let raw = raw(folder, &rig.file).map_err(io())?;
    figures.raw_per_s = entries / raw.as_secs_f64();
    figures.ratio = figures.per_s / figures.raw_per_s;
    context.output.say("one record at a time");
    let mut times = rig.singles(args)?;
    figures.p50_us = percentile(&mut times, 50);
    figures.p99_us = percentile(&mut times, 99);
    rig.log.close().map_err(bench)?;
    Ok(figures)
}

impl Rig {
    fn new(folder: &Path, file: PathBuf, form: NativeForm) -> Result<Rig, CommandError> {
        let paths = LogPaths::new(&folder.join("log"), "bench.example", "main", "2026");
        let paths = paths.map_err(bench)?;
        create_log(&paths).map_err(bench)?;
        let (log, _) = Log::open(&paths, &LogOptions::default())?;
        let mut door = log.door();
        let spec = SourceSpec {
            name: "bench".to_owned(),
            platform: form.platform().to_owned(),
        };
        let source = door.register_keyed(&spec).map_err(bench)?.id;
        let size = door.status().map_err(bench)?.size;
        door.wait_published(TreeSize(size)).map_err(bench)?;
        let key = Keystore::open(&paths.keys())?.source_key(source)?;
        let credentials = Credentials { source, key };
        let keys = FormatKeys {
            digest_key: credentials.digest_key(),
        };
        let settings = [("form".to_owned(), form.name().to_owned())];
        let platform = form.platform();
        let journal = folder.join("journal");
        let setup = Setup {
            credentials,
            dir: journal.clone(),
            bounds: JournalBounds::of_quota(1 << 30),
            heartbeat_every_ns: 60_000_000_000,
        };
        let tailing = Tailing {
            files: Files::named(&file).map_err(|error| CommandError::Usage(error.to_string()))?,
            format: Box::new(move || format_for(platform, &settings, &keys).ok()),
            copytruncate: Allowed::No,
            rotated: Rotated::Read,
        };
        let bus = Box::new(InProcess::new(log.door()));
        Ok(Rig {
            follower: Follower::open(setup, tailing, bus)?,
            log,
            clock: clock::system(),
            file,
            journal,
            paths,
        })
    }

    /// Steps until so many records are durable in the log.
    fn until(&mut self, records: u64) -> Result<(), CommandError> {
        loop {
            let step = self.follower.step((self.clock)())?;
            if step == Step::Idle && self.records() >= records {
                return Ok(());
            }
        }
    }

    /// Records that the log holds: what it holds of itself is a handful.
    fn records(&mut self) -> u64 {
        let sources = self.log.status().sources;
        sources
            .iter()
            .map(|source| source.records)
            .max()
            .unwrap_or(0)
    }

    fn singles(&mut self, args: &CollectArgs) -> Result<Vec<Duration>, CommandError> {
        let path = self.file.clone();
        let failed = || CommandError::file("writing", &path);
        let mut file = OpenOptions::new()
            .append(true)
            .open(&self.file)
            .map_err(failed())?;
        let mut times = Vec::new();
        for number in args.entries..args.entries + SINGLES {
            let text = args.form.text(number, 1);
            let begun = Instant::now();
            file.write_all(text.as_bytes()).map_err(failed())?;
            self.until(number + 1)?;
            times.push(begun.elapsed());
        }
        Ok(times)
    }
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

fn bench(error: impl Into<BenchError>) -> CommandError {
    error.into().into()
}
