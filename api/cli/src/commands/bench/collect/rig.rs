//! What is measured by `custody bench collect`: a log, perhaps its server, and an agent in this
//! process or in one of its own.
//!
//! Not here: figures (`collect`).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use api_http::{HttpConfig, Server, serve};
use collectors_agent::tailer::Rotated;
use collectors_agent::{
    AgentConfig, Allowed, BusConfig, Files, Follower, JournalBounds, Setup, SourceConfig, Step,
    Tailing, clock,
};
use collectors_bus::{AgentFile, Bus, HttpBus, InProcess};
use collectors_formats::{FormatKeys, format_for};
use ledger_core::{SourceId, TreeSize};
use ledger_log::bench::BenchError;
use ledger_log::bench::measure::{cost_of, disk_bytes};
use ledger_log::{Door as _, Log, LogOptions, LogPaths, SourceSpec, create_log};

use super::super::native::NativeForm;
use crate::commands::sources::give::hand_out;
use crate::error::CommandError;

/// What lies between the agent and the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Over {
    /// Nothing: one process, and the log's own door
    InProcess,
    /// Mutual TLS to the server's listener for agents, in the same process
    Tls,
    /// The same, and the agent is a process of its own: `custody collect`
    Process,
}

/// An agent and a log.
pub(super) struct Rig {
    pub(super) log: Log,
    agent: Agent,
    server: Option<Server>,
    journal: PathBuf,
    paths: LogPaths,
}

enum Agent {
    Here(Box<Follower>),
    Apart(Apart),
}

/// A process of ours, which does not outlive the measurement.
struct Apart(Child);

impl Drop for Apart {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long the agent may bring nothing new, before it is said that it does not work.
const STILL_MAX: Duration = Duration::from_secs(60);
/// From look to look at what an agent in a process of its own has brought.
const LOOK: Duration = Duration::from_millis(2);
/// Bytes that the journal may take.
const QUOTA: u64 = 1 << 30;

impl Rig {
    pub(super) fn new(
        folder: &Path,
        file: &Path,
        (form, over): (NativeForm, Over),
    ) -> Result<Rig, CommandError> {
        let paths = LogPaths::new(&folder.join("log"), "bench.example", "main", "2026");
        let paths = paths.map_err(bench)?;
        create_log(&paths).map_err(bench)?;
        let (log, _) = Log::open(&paths, &LogOptions::default())?;
        let server = match over {
            Over::InProcess => None,
            Over::Tls | Over::Process => Some(served(&log, &paths)?),
        };
        let spec = SourceSpec {
            name: "bench".to_owned(),
            platform: form.platform().to_owned(),
        };
        let source = registered(&log, &spec)?;
        let credentials = folder.join("source.key");
        let address = server.as_ref().and_then(Server::agents_address);
        let address = address.map_or(String::new(), |address| address.to_string());
        hand_out(&paths, (source, &spec), &address, &credentials)?;
        let journal = folder.join("journal");
        let agent = match over {
            Over::Process => Agent::Apart(apart(folder, &journal, (file, form), &credentials)?),
            Over::InProcess | Over::Tls => {
                let follower = here(&log, &journal, (file, form), &credentials)?;
                Agent::Here(Box::new(follower))
            }
        };
        Ok(Rig {
            log,
            agent,
            server,
            journal,
            paths,
        })
    }

    /// Returns when so many records are durable in the log, and all that was read is sent.
    pub(super) fn until(&mut self, records: u64) -> Result<(), CommandError> {
        let clock = clock::system();
        let (mut seen, mut moved) = (0, Instant::now());
        loop {
            let idle = match &mut self.agent {
                Agent::Here(follower) => follower.step(clock())? == Step::Idle,
                Agent::Apart(_) => {
                    thread::sleep(LOOK);
                    true
                }
            };
            if !idle {
                continue;
            }
            let held = self.records();
            if held >= records {
                return Ok(());
            }
            if held > seen {
                (seen, moved) = (held, Instant::now());
            } else if moved.elapsed() > STILL_MAX {
                let text = format!("the agent stands at {held} of {records} records");
                return Err(CommandError::Usage(text));
            }
        }
    }

    /// Records that the log holds: what it holds of itself is a handful.
    fn records(&self) -> u64 {
        let sources = self.log.status().sources;
        let records = sources.iter().map(|source| source.records);
        records.max().unwrap_or(0)
    }

    /// What an agent in a process of its own has cost: CPU and the largest memory in MiB.
    pub(super) fn apart(&self) -> Result<Option<(Duration, f64)>, std::io::Error> {
        let Agent::Apart(apart) = &self.agent else {
            return Ok(None);
        };
        let process = apart.0.id().to_string();
        Ok(Some((cpu_of(&process)?, cost_of(&process)?.rss_mib)))
    }

    /// Bytes of the log, and of the journal or what it held at most.
    pub(super) fn disk_bytes(&self) -> Result<u64, std::io::Error> {
        let held = match &self.agent {
            Agent::Here(follower) => follower.status().journal_bytes,
            Agent::Apart(_) => 0,
        };
        Ok(disk_bytes(&self.paths.folder())? + held.max(disk_bytes(&self.journal)?))
    }

    /// Ends the agent, the server and the log, in this order.
    pub(super) fn close(self) -> Result<(), CommandError> {
        drop(self.agent);
        if let Some(server) = self.server {
            server.stop();
        }
        self.log.close().map_err(bench)?;
        Ok(())
    }
}

/// CPU of a process so far, threads that ended included, in ticks of which Linux shows 100 a
/// second.
fn cpu_of(process: &str) -> Result<Duration, std::io::Error> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name may hold blanks; behind it utime and stime are the twelfth and thirteenth field.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(10 * ticks))
}

/// The server of a log, with its listener for agents on loopback.
fn served(log: &Log, paths: &LogPaths) -> Result<Server, CommandError> {
    let mut config = HttpConfig {
        listen: String::new(),
        ..HttpConfig::default()
    };
    config.agents.listen = "127.0.0.1:0".to_owned();
    let options = config.check();
    let options = options.map_err(|error| CommandError::Usage(error.to_string()))?;
    Ok(serve(&options, paths, (log.door(), log.reader()), None)?)
}

fn registered(log: &Log, spec: &SourceSpec) -> Result<SourceId, CommandError> {
    let mut door = log.door();
    let source = door.register_keyed(spec).map_err(bench)?.id;
    let size = door.status().map_err(bench)?.size;
    door.wait_published(TreeSize(size)).map_err(bench)?;
    Ok(source)
}

fn here(
    log: &Log,
    journal: &Path,
    (file, form): (&Path, NativeForm),
    credentials: &Path,
) -> Result<Follower, CommandError> {
    let AgentFile {
        credentials,
        address,
        tls,
        ..
    } = AgentFile::read(credentials).map_err(|error| CommandError::Usage(error.to_string()))?;
    let bus: Box<dyn Bus> = if address.is_empty() {
        Box::new(InProcess::new(log.door()))
    } else {
        Box::new(HttpBus::new(&address, &tls)?)
    };
    let keys = FormatKeys {
        digest_key: credentials.digest_key(),
    };
    let settings = [("form".to_owned(), form.name().to_owned())];
    let platform = form.platform();
    let setup = Setup {
        credentials,
        dir: journal.to_owned(),
        bounds: JournalBounds::of_quota(QUOTA),
        heartbeat_every_ns: 60_000_000_000,
    };
    let tailing = Tailing {
        files: Files::named(file).map_err(|error| CommandError::Usage(error.to_string()))?,
        format: Box::new(move || format_for(platform, &settings, &keys).ok()),
        copytruncate: Allowed::No,
        rotated: Rotated::Read,
    };
    Ok(Follower::open(setup, tailing, bus)?)
}

/// Starts this program again, as an agent.
fn apart(
    folder: &Path,
    journal: &Path,
    (file, form): (&Path, NativeForm),
    credentials: &Path,
) -> Result<Apart, CommandError> {
    let config = AgentConfig {
        dir: journal.to_owned(),
        bus: BusConfig::default(),
        sources: vec![SourceConfig {
            credentials: credentials.to_owned(),
            path: Some(file.to_owned()),
            glob: None,
            settings: [("form".to_owned(), form.name().to_owned())].into(),
            allow_copytruncate: false,
            leave_rotated: false,
            quota_bytes: QUOTA,
            heartbeat_s: 60,
        }],
    };
    let text = toml::to_string(&config).map_err(|error| CommandError::Usage(error.to_string()))?;
    let path = folder.join("agent.toml");
    let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(CommandError::file("writing", &path))?;
    let program = std::env::current_exe().map_err(CommandError::file("finding", &path))?;
    let child = Command::new(&program)
        .arg("--config")
        .arg(&path)
        .arg("collect")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(CommandError::file("starting", &program))?;
    Ok(Apart(child))
}

pub(super) fn bench(error: impl Into<BenchError>) -> CommandError {
    error.into().into()
}
