//! Measuring the way from a topic to a signed log: records that are there already, read by a real
//! server in a process of its own, against the bare consumer that reads the same ones in the same
//! run; then one record at a time; then agent, broker and ledger at once.
//!
//! Not here: printing and starting a broker (api/cli), or a verdict about a number.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keys_secret::{Keystore, KeystoreError, SecretKey32};
use ledger_core::message::Message;
use ledger_core::state::Stream;
use ledger_core::{Epoch, Flags, SourceId, TreeSize};
use ledger_log::bench::measure::{disk_bytes, percentile, rss_mib};
use ledger_log::bench::{BenchError, pool};
use ledger_log::{Door as _, InProcessDoor, Log, LogOptions, LogPaths, SourceSpec, create_log};

use super::client::KafkaFailed;
use super::config::{Brokers, BrokersConfig, KafkaConfigError, LedgerConfig};
use super::form::{Home, headers};
use super::intake::{Intake, IntakeError};
use super::link::KafkaLink;
use super::raw::{RawCluster, RawError, RawRecord, RawWriter};
use super::topics::{acks_topic, events_topic};
use crate::bus::{Bus as _, BusError};
use crate::chain::{Chain, ChainEnded};

mod served;

use served::Served;

/// What to measure.
#[derive(Clone, Debug)]
pub struct PipelinePlan {
    /// Hosts and ports of brokers that ask for no password.
    pub brokers: String,
    /// Events that are in the topic before the ledger begins.
    pub entries: u64,
    /// Events that an agent sends while the ledger reads.
    pub together: u64,
    /// Single events of the latency run.
    pub singles: usize,
    /// The program whose `serve` is the ledger.
    pub program: PathBuf,
}

/// What was measured. Times are in microseconds unless their name says otherwise.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct PipelineResult {
    /// `pipeline`.
    pub name: &'static str,
    /// Events that were in the topic.
    pub entries: u64,
    /// Mean length of an event's JSON in bytes.
    pub event_bytes: f64,
    /// From the server's start to the checkpoint that covers all of them.
    pub seconds: f64,
    /// Signed events a second.
    pub per_s: f64,
    /// CPU of the server's threads for each event.
    pub cpu_us_per: f64,
    /// Events a second of the bare consumer.
    pub raw_per_s: f64,
    /// `per_s / raw_per_s`.
    pub ratio: f64,
    /// Events a second with agent, broker and ledger at once.
    pub together_per_s: f64,
    /// Median from producing one event to a checkpoint that covers it, at 20 ms.
    pub p50_us: f64,
    /// The 99th percentile of the same.
    pub p99_us: f64,
    /// Largest memory of the server's process in MiB (`VmHWM`), which does nothing else.
    pub rss_mib: f64,
    /// Largest memory of this process, which filled the topic, until then.
    pub rig_rss_mib: f64,
    /// Seconds that the server took to end when it was asked to.
    pub stop_s: f64,
    /// Bytes on disk for each event, all files of the log.
    pub disk_bytes_per: f64,
    /// Seconds from opening the log again to the first new event in it.
    pub resume_s: f64,
    /// CPU of each thread of the server for each event (`thread …`).
    pub stages: BTreeMap<String, f64>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The log.
    #[error(transparent)]
    Log(#[from] BenchError),
    /// The topic, as an administrator sees it.
    #[error(transparent)]
    Raw(#[from] RawError),
    /// The brokers' address.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// The connection.
    #[error(transparent)]
    Kafka(#[from] KafkaFailed),
    /// The intake.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// A key.
    #[error(transparent)]
    Keys(#[from] KeystoreError),
    /// The agent's end.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A message could not be sealed.
    #[error(transparent)]
    Chain(#[from] ChainEnded),
    /// The intake stands still.
    #[error("nothing was signed for {} s: {why}", STILL.as_secs())]
    Still {
        /// What is in its way.
        why: String,
    },
}

macro_rules! of_the_log {
    ($($error:ty),*) => {
        $(impl From<$error> for PipelineError {
            fn from(error: $error) -> PipelineError {
                PipelineError::Log(error.into())
            }
        })*
    };
}

of_the_log!(
    ledger_log::CreateError,
    ledger_log::OpenError,
    ledger_log::CloseError,
    ledger_log::DoorError,
    ledger_log::PathError,
    std::io::Error
);

/// Longest time in which nothing new is signed.
const STILL: Duration = Duration::from_secs(60);
/// From look to look.
const LOOK: Duration = Duration::from_millis(2);
/// Sources, spread over as many partitions.
const SOURCES: u32 = 4;
/// Messages that are handed over at once.
const PIECE: usize = 1000;
/// The life of the journal that there is none of.
const EPOCH: Epoch = Epoch(1_790_000_000);
/// The deployment of a measurement.
const DEPLOYMENT: &str = "bench.example";

/// One source: its key and how far it has sealed.
struct Source {
    id: SourceId,
    key: SecretKey32,
    chain: Chain,
    sender: String,
}

struct Rig<'p> {
    plan: &'p PipelinePlan,
    paths: LogPaths,
    pool: Vec<Vec<u8>>,
    sources: Vec<Source>,
    sealed: usize,
    /// What the log held before the first event.
    began: TreeSize,
    cluster: RawCluster,
    topic: String,
}

/// Measures in `folder`, which must be empty and stays for the caller to look at. Its topics are
/// deleted at the end.
///
/// # Errors
/// See [`PipelineError`].
pub fn pipeline(
    folder: &Path,
    plan: &PipelinePlan,
    progress: &dyn Fn(&str),
) -> Result<PipelineResult, PipelineError> {
    let mut rig = Rig::new(folder, plan)?;
    let bytes: usize = rig.pool.iter().map(Vec::len).sum();
    let mut result = PipelineResult {
        name: "pipeline",
        entries: plan.entries,
        event_bytes: bytes as f64 / rig.pool.len() as f64,
        ..PipelineResult::default()
    };
    let measured = rig.measure(&mut result, progress);
    for topic in [
        events_topic(rig.paths.tenant()),
        acks_topic(rig.paths.tenant()),
    ] {
        // The second is there only if the ledger came so far.
        drop(rig.cluster.delete(&topic));
    }
    measured.map(|()| result)
}

impl<'p> Rig<'p> {
    fn new(folder: &Path, plan: &'p PipelinePlan) -> Result<Rig<'p>, PipelineError> {
        // Topics of an earlier run that was cut off are left alone.
        let tenant = format!("bench-{}", std::process::id());
        let paths = LogPaths::new(&folder.join("log"), DEPLOYMENT, &tenant, "2026")?;
        create_log(&paths)?;
        let (log, _) = Log::open(&paths, &LogOptions::default())?;
        let home = Home::new(DEPLOYMENT, &tenant);
        let keys = Keystore::open(&paths.keys())?;
        let mut sources = Vec::new();
        for number in 1..=SOURCES {
            let spec = SourceSpec {
                name: format!("bench{number}"),
                platform: "postgresql".to_owned(),
            };
            let id = log.door().register_keyed(&spec)?.id;
            sources.push(Source {
                id,
                key: keys.source_key(id)?,
                chain: Chain::new(Stream::Record, EPOCH, None),
                sender: home.source(id),
            });
        }
        let began = log.close()?.size;
        let cluster = RawCluster::plain(&plan.brokers);
        let topic = events_topic(&tenant);
        cluster.create(&topic, i32::try_from(SOURCES).unwrap_or(1), &[])?;
        Ok(Rig {
            plan,
            paths,
            pool: pool(),
            sources,
            sealed: 0,
            began,
            cluster,
            topic,
        })
    }

    fn measure(
        &mut self,
        result: &mut PipelineResult,
        progress: &dyn Fn(&str),
    ) -> Result<(), PipelineError> {
        progress("filling the topic");
        let writer = self.cluster.writer(None)?;
        self.fill(&writer, self.plan.entries)?;
        progress("bare consumer");
        let started = Instant::now();
        let partitions = i32::try_from(SOURCES).unwrap_or(1);
        let read = self.cluster.count(&self.topic, partitions)?;
        result.raw_per_s = read as f64 / started.elapsed().as_secs_f64();
        progress("topic to signed log");
        self.backlog(result)?;
        progress("resume, and one event at a time");
        self.singles(&writer, result)?;
        progress("agent, broker and ledger at once");
        self.together(result)
    }

    /// The next `count` messages of the source at `at`.
    fn seal(&mut self, at: usize, count: usize) -> Result<Vec<Message>, ChainEnded> {
        let mut messages = Vec::with_capacity(count);
        let Some(source) = self.sources.get_mut(at) else {
            return Ok(messages);
        };
        for _ in 0..count {
            let value = self.pool.get(self.sealed % self.pool.len().max(1));
            self.sealed = self.sealed.wrapping_add(1);
            let value = value.cloned().unwrap_or_default();
            messages.push(source.chain.seal(&source.key, value, Flags::NONE)?);
        }
        Ok(messages)
    }

    fn fill(&mut self, writer: &RawWriter, count: u64) -> Result<(), PipelineError> {
        let (mut left, mut at) = (count, 0);
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let messages = self.seal(at, piece)?;
            let Some(source) = self.sources.get(at) else {
                break;
            };
            let partition = source.id.0.checked_rem(SOURCES).unwrap_or(0);
            let records: Vec<RawRecord> = (messages.into_iter())
                .map(|message| RawRecord {
                    partition: i32::try_from(partition).unwrap_or(0),
                    offset: 0,
                    key: source.id.to_string().into_bytes(),
                    headers: (headers(&message, &source.sender).into_iter())
                        .map(|(name, value)| (name.to_owned(), value.into_bytes()))
                        .collect(),
                    value: message.value,
                })
                .collect();
            writer.send(&self.topic, &records)?;
            left -= piece as u64;
            at = (at + 1) % self.sources.len().max(1);
        }
        writer.flush()?;
        Ok(())
    }

    fn open(&self, options: &LogOptions) -> Result<(Log, Intake), PipelineError> {
        let settings = LedgerConfig {
            brokers: self.plan.brokers.clone(),
            partitions: SOURCES,
            ..LedgerConfig::default()
        };
        let (log, _) = Log::open(&self.paths, options)?;
        let intake = Intake::start(&settings.check()?, &self.paths, (log.door(), log.reader()))?;
        Ok((log, intake))
    }

    /// What lies in the topic, read, appended and signed.
    fn backlog(&self, result: &mut PipelineResult) -> Result<(), PipelineError> {
        result.rig_rss_mib = rss_mib()?;
        let broker = (self.plan.brokers.as_str(), SOURCES);
        let started = Instant::now();
        let mut ledger = Served::start(&self.plan.program, &self.paths, broker)?;
        ledger.covers(self.began.0 + self.plan.entries)?;
        let seconds = started.elapsed().as_secs_f64();
        let cost = ledger.cost()?;
        let entries = self.plan.entries as f64;
        result.seconds = seconds;
        result.per_s = entries / seconds;
        result.ratio = result.per_s / result.raw_per_s;
        for (name, spent) in cost.threads {
            let spent = spent.as_secs_f64() * 1e6 / entries;
            result.cpu_us_per += spent;
            if spent > 0.0 {
                result.stages.insert(format!("thread {name}"), spent);
            }
        }
        result.rss_mib = cost.rss_mib;
        result.stop_s = ledger.stop()?.as_secs_f64();
        result.disk_bytes_per = disk_bytes(&self.paths.folder())? as f64 / entries;
        Ok(())
    }

    fn singles(
        &mut self,
        writer: &RawWriter,
        result: &mut PipelineResult,
    ) -> Result<(), PipelineError> {
        let options = LogOptions {
            checkpoint_every: Duration::from_millis(20),
            ..LogOptions::default()
        };
        self.fill(writer, 1)?;
        let started = Instant::now();
        let (log, intake) = self.open(&options)?;
        signed(&mut log.door(), &intake, self.sealed)?;
        result.resume_s = started.elapsed().as_secs_f64();
        let mut times = Vec::with_capacity(self.plan.singles);
        for _ in 0..self.plan.singles {
            let started = Instant::now();
            self.fill(writer, 1)?;
            signed(&mut log.door(), &intake, self.sealed)?;
            times.push(started.elapsed());
        }
        result.p50_us = percentile(&mut times, 50);
        result.p99_us = percentile(&mut times, 99);
        intake.stop();
        log.close()?;
        Ok(())
    }

    /// An agent seals and sends while the ledger reads; all of it shares this machine's cores.
    fn together(&mut self, result: &mut PipelineResult) -> Result<(), PipelineError> {
        let brokers: Brokers = BrokersConfig {
            brokers: self.plan.brokers.clone(),
            ..BrokersConfig::default()
        }
        .check()?;
        let (log, intake) = self.open(&LogOptions::default())?;
        let keys: HashMap<SourceId, SecretKey32> = (self.sources.iter())
            .map(|source| (source.id, source.key.clone()))
            .collect();
        let link = KafkaLink::connect(&brokers, (DEPLOYMENT, self.paths.tenant()), keys)?;
        let mut buses: Vec<_> = (self.sources.iter())
            .map(|source| (source.id, link.bus(source.id)))
            .collect();
        for (id, bus) in &mut buses {
            while let Err(error) = bus.acknowledged(*id, Duration::ZERO) {
                if !error.is_passing() {
                    return Err(error.into());
                }
                std::thread::sleep(LOOK);
            }
        }
        let started = Instant::now();
        let mut sent = 0;
        while sent < self.plan.together {
            for (at, (id, bus)) in buses.iter_mut().enumerate() {
                let messages = self.seal(at, PIECE * 4)?;
                bus.send(*id, &messages)?;
                sent += messages.len() as u64;
            }
        }
        signed(&mut log.door(), &intake, self.sealed)?;
        result.together_per_s = sent as f64 / started.elapsed().as_secs_f64();
        drop(buses);
        drop(link);
        intake.stop();
        log.close()?;
        Ok(())
    }
}

/// Waits until the log has all `sealed` messages of the sources, and a checkpoint covers them.
fn signed(door: &mut InProcessDoor, intake: &Intake, sealed: usize) -> Result<(), PipelineError> {
    let (mut best, mut moved) = (0, Instant::now());
    loop {
        let status = door.status()?;
        let keyed = status.sources.iter().filter(|source| source.keyed);
        let records: u64 = keyed.map(|source| source.records).sum();
        if records >= sealed as u64 && status.published_size == status.size {
            return Ok(());
        }
        if status.published_size > best {
            (best, moved) = (status.published_size, Instant::now());
        }
        if moved.elapsed() > STILL {
            let status = intake.status();
            let why = status
                .error
                .unwrap_or_else(|| format!("{:?}", status.state));
            return Err(PipelineError::Still { why });
        }
        std::thread::sleep(LOOK);
    }
}
