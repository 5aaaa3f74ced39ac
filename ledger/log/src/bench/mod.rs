//! Measuring appends: the log against a raw loop that does the same work on the same bytes in the
//! same run, latencies against the machine's own writes and syncs, and each stage's share.
//!
//! Not here: printing (api/cli), or a verdict about a number.

mod events;
pub mod measure;
mod raw;
mod stages;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use ledger_core::message::Message;
use ledger_core::state::Stream;
use ledger_core::{Epoch, Flags, Sequence, SourceId, TreeSize};

use crate::create::CreateError;
use crate::door::{Batch, Door as _, DoorError, InProcessDoor, SourceSpec, Ticket};
use crate::error::{CloseError, OpenError, WriteError};
use crate::{Log, LogOptions, LogPaths, create_log};

use measure::{disk_bytes, percentile, process_cpu, rss_mib, thread_cpu};

pub use events::pool;
pub use stages::stage_costs;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct AppendPlan {
    /// Events of the throughput run.
    pub entries: u64,
    /// Events of a batch.
    pub batch: usize,
    /// Single appends of the latency run.
    pub singles: usize,
    /// Seconds of the paced run.
    pub paced_seconds: u64,
}

impl Default for AppendPlan {
    fn default() -> Self {
        AppendPlan {
            entries: 1_000_000,
            batch: 1000,
            singles: 2000,
            paced_seconds: 5,
        }
    }
}

/// What was measured. Times are in microseconds unless their name says otherwise.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct AppendResult {
    /// `append`.
    pub name: &'static str,
    /// Events of the throughput run.
    pub entries: u64,
    /// Mean length of an event's JSON in bytes.
    pub event_bytes: f64,
    /// Its wall time.
    pub seconds: f64,
    /// Durable events a second.
    pub per_s: f64,
    /// CPU of the whole process for each event.
    pub cpu_us_per: f64,
    /// Events a second of the raw loop.
    pub raw_per_s: f64,
    /// `per_s / raw_per_s`.
    pub ratio: f64,
    /// Median from handing one event over to its durable acknowledgement.
    pub p50_us: f64,
    /// The 99th percentile of the same.
    pub p99_us: f64,
    /// The 99th percentile of the machine's own two write and sync pairs.
    pub raw_pairs_p99_us: f64,
    /// Median from handing a batch over to a published checkpoint, at 10,000/s and 20 ms.
    pub published_p50_us: f64,
    /// The 99th percentile of the same.
    pub published_p99_us: f64,
    /// CPU of signing and publishing each second, in percent of one core.
    pub signing_percent: f64,
    /// Largest memory of the process in MiB, at the end.
    pub rss_mib: f64,
    /// The same after a tenth of the entries.
    pub rss_early_mib: f64,
    /// Bytes on disk for each event, all files of the log.
    pub disk_bytes_per: f64,
    /// Seconds to open the log again after it was left as a crash leaves it.
    pub recovery_s: f64,
    /// Entries that were in the log then.
    pub recovery_entries: u64,
    /// CPU of each stage for each event, alone and hot (`stage …`), and of each thread in the
    /// throughput run (`thread …`).
    pub stages: BTreeMap<String, f64>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// No log could be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It did not close.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// It did not take events.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The raw loop failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Files could not be looked at or copied.
    #[error("cannot use the folder of the measurement: {0}")]
    Io(#[from] std::io::Error),
    /// An event of ours is none.
    #[error("an event of the measurement is refused: {0}")]
    Event(#[from] ledger_event::EventError),
    /// No places for the log.
    #[error(transparent)]
    Path(#[from] crate::paths::PathError),
}

/// Batches on their way at once.
const IN_FLIGHT: usize = 8;

/// Measures appends in `folder`, which must be empty and stays for the caller to look at.
///
/// # Errors
/// See [`BenchError`].
pub fn append(
    folder: &Path,
    plan: &AppendPlan,
    progress: &dyn Fn(&str),
) -> Result<AppendResult, BenchError> {
    let pool = pool();
    let bytes: usize = pool.iter().map(Vec::len).sum();
    let mut result = AppendResult {
        name: "append",
        entries: plan.entries,
        event_bytes: bytes as f64 / pool.len() as f64,
        ..AppendResult::default()
    };
    let paths = LogPaths::new(&folder.join("log"), "bench.example", "main", "2026")?;
    create_log(&paths)?;
    progress("appending");
    throughput(&paths, plan, &pool, &mut result)?;
    progress("raw loop");
    let raw = raw::run(&folder.join("raw"), plan, &pool)?;
    result.raw_per_s = plan.entries as f64 / raw.as_secs_f64();
    result.ratio = result.per_s / result.raw_per_s;
    progress("one entry at a time");
    singles(folder, plan, &pool, &mut result)?;
    progress("append to published");
    paced(folder, plan, &pool, &mut result)?;
    progress("stages");
    for (name, cost) in stage_costs(&pool)? {
        result.stages.insert(format!("stage {name}"), cost);
    }
    Ok(result)
}

/// A source of a fresh log and what it sends.
struct Sender<'p> {
    door: InProcessDoor,
    source: SourceId,
    pool: &'p [Vec<u8>],
    sent: u64,
}

impl<'p> Sender<'p> {
    fn new(log: &Log, pool: &'p [Vec<u8>]) -> Result<Sender<'p>, BenchError> {
        let mut door = log.door();
        let spec = SourceSpec {
            name: "bench".to_owned(),
            platform: "postgresql".to_owned(),
        };
        let state = door.register(&spec)?;
        let sent = state.marks.first().map_or(0, |mark| mark.sequence.0);
        Ok(Sender {
            door,
            source: state.id,
            pool,
            sent,
        })
    }

    fn submit(&mut self, count: usize) -> Result<Ticket, BenchError> {
        let mut messages = Vec::with_capacity(count);
        for _ in 0..count {
            self.sent += 1;
            let at = usize::try_from(self.sent).unwrap_or(0) % self.pool.len();
            messages.push(Message {
                stream: Stream::Record,
                epoch: Epoch(1),
                sequence: Sequence(self.sent),
                prev: [0; 32],
                mac: [0; 32],
                flags: Flags::NONE,
                value: self.pool.get(at).cloned().unwrap_or_default(),
            });
        }
        let batch = Batch {
            source: self.source,
            messages,
            positions: Vec::new(),
        };
        Ok(self.door.submit(batch)?)
    }
}

fn throughput(
    paths: &LogPaths,
    plan: &AppendPlan,
    pool: &[Vec<u8>],
    result: &mut AppendResult,
) -> Result<(), BenchError> {
    let (log, _) = Log::open(paths, &LogOptions::default())?;
    let mut sender = Sender::new(&log, pool)?;
    let (started, cpu) = (Instant::now(), process_cpu());
    let threads = thread_cpu()?;
    let mut waiting = VecDeque::new();
    let mut left = plan.entries;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(plan.batch);
        waiting.push_back(sender.submit(count)?);
        left -= count as u64;
        if waiting.len() >= IN_FLIGHT
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.wait()?;
        }
        if result.rss_early_mib == 0.0 && left <= plan.entries - plan.entries / 10 {
            result.rss_early_mib = rss_mib()?;
        }
    }
    for ticket in waiting {
        ticket.wait()?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let entries = plan.entries as f64;
    result.seconds = seconds;
    result.per_s = entries / seconds;
    result.cpu_us_per = (process_cpu() - cpu).as_secs_f64() * 1e6 / entries;
    for (name, after) in thread_cpu()? {
        // Another log's threads of the same name may have ended meanwhile.
        let spent = after.saturating_sub(threads.get(&name).copied().unwrap_or_default());
        if name == "cst-publisher" {
            result.signing_percent = spent.as_secs_f64() / seconds * 100.0;
        }
        let cost = spent.as_secs_f64() * 1e6 / entries;
        result.stages.insert(format!("thread {name}"), cost);
    }
    result.rss_mib = rss_mib()?;
    // As a crash would leave it: nothing is finished, so that opening has something to do.
    let crashed = LogPaths::new(
        &paths.root().join("crashed"),
        "bench.example",
        "main",
        "2026",
    )?;
    copy_tree(paths.root(), crashed.root())?;
    log.close()?;
    result.disk_bytes_per = disk_bytes(&paths.folder())? as f64 / entries;
    let started = Instant::now();
    let (log, recovered) = Log::open(&crashed, &LogOptions::default())?;
    result.recovery_s = started.elapsed().as_secs_f64();
    result.recovery_entries = recovered.size;
    log.close()?;
    std::fs::remove_dir_all(crashed.root())?;
    Ok(())
}

fn singles(
    folder: &Path,
    plan: &AppendPlan,
    pool: &[Vec<u8>],
    result: &mut AppendResult,
) -> Result<(), BenchError> {
    let paths = LogPaths::new(&folder.join("singles"), "bench.example", "main", "2026")?;
    create_log(&paths)?;
    let (log, _) = Log::open(&paths, &LogOptions::default())?;
    let mut sender = Sender::new(&log, pool)?;
    let mut times = Vec::with_capacity(plan.singles);
    let mut pairs = raw::Pairs::new(&folder.join("pairs"))?;
    let mut raw_times = Vec::with_capacity(plan.singles);
    // In turn, so that both meet the same machine.
    for _ in 0..plan.singles {
        let started = Instant::now();
        sender.submit(1)?.wait()?;
        times.push(started.elapsed());
        raw_times.push(pairs.time()?);
    }
    log.close()?;
    result.p50_us = percentile(&mut times, 50);
    result.p99_us = percentile(&mut times, 99);
    result.raw_pairs_p99_us = percentile(&mut raw_times, 99);
    Ok(())
}

/// 10,000 events a second in batches of 100, a checkpoint every 20 ms.
fn paced(
    folder: &Path,
    plan: &AppendPlan,
    pool: &[Vec<u8>],
    result: &mut AppendResult,
) -> Result<(), BenchError> {
    let paths = LogPaths::new(&folder.join("paced"), "bench.example", "main", "2026")?;
    create_log(&paths)?;
    let every = Duration::from_millis(20);
    let options = LogOptions {
        checkpoint_every: every,
        ..LogOptions::default()
    };
    let (log, _) = Log::open(&paths, &options)?;
    let mut sender = Sender::new(&log, pool)?;
    let (to_watch, watched) = crossbeam_channel::unbounded::<(Instant, Ticket)>();
    let mut door = log.door();
    let watcher = std::thread::spawn(move || -> Result<Vec<Duration>, DoorError> {
        let mut times = Vec::new();
        for (started, ticket) in watched {
            let size: TreeSize = ticket.wait()?.size;
            door.wait_published(size)?;
            times.push(started.elapsed());
        }
        Ok(times)
    });
    let begin = Instant::now();
    for tick in 0..plan.paced_seconds * 100 {
        let due = Duration::from_millis(10 * tick);
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        let started = Instant::now();
        let ticket = sender.submit(100)?;
        // The watcher leaves early only with an error, which is reported below.
        drop(to_watch.send((started, ticket)));
    }
    drop(to_watch);
    let ended = || DoorError::Stopped {
        reason: "the watching thread ended".to_owned(),
    };
    let mut times = watcher.join().map_err(|_| ended())??;
    log.close()?;
    result.published_p50_us = percentile(&mut times, 50);
    result.published_p99_us = percentile(&mut times, 99);
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), std::io::Error> {
    std::fs::create_dir(to)?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if target.starts_with(file.path()) {
            continue;
        }
        if file.file_type()?.is_dir() {
            copy_tree(&file.path(), &target)?;
        } else if file.file_type()?.is_file() {
            std::fs::copy(file.path(), &target)?;
        }
    }
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_measurement_gives_every_figure() {
        let folder = tempfile::tempdir().unwrap();
        let plan = AppendPlan {
            entries: 3000,
            batch: 500,
            singles: 20,
            paced_seconds: 1,
        };
        let result = append(folder.path(), &plan, &|_| ()).unwrap();
        let figures = serde_json::to_value(&result).unwrap();
        for (name, value) in figures.as_object().unwrap() {
            let zero = value.as_f64() == Some(0.0);
            assert!(!zero, "{name} is {value}");
        }
        assert_eq!(result.recovery_entries, 3002);
        assert!(
            (550.0..650.0).contains(&result.event_bytes),
            "{}",
            result.event_bytes
        );
    }
}
