//! `custody collect`: the agent of a database host; it follows what its configuration names until a
//! signal ends it.
//!
//! Not here: files, journal and heartbeats (collectors/agent), and the way to the log
//! (collectors/bus).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Args;
use collectors_agent::{AgentConfig, Assignment, clock};
use collectors_bus::kafka::{Brokers, BrokersConfig, KafkaLink};
use collectors_bus::{Bus, HttpBus};
use sd_notify::NotifyState;
use tracing::info;

use crate::commands::Context;
use crate::commands::serve::{signals, tell_systemd};
use crate::config::MessageSettings;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::messages;

/// Nothing to say: the configuration of an agent says it.
#[derive(Args, Debug)]
pub struct CollectArgs {}

/// Longest configuration of an agent, in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Runs until a signal.
///
/// # Errors
/// A configuration or credentials that cannot be used, a journal that cannot be opened.
pub fn run(_: &CollectArgs, context: &Context) -> Result<Exit, CommandError> {
    let path = context.place.path();
    let config = read(path)?;
    let sources = config.check().map_err(|error| CommandError::AgentConfig {
        path: path.to_owned(),
        error: Box::new(error),
    })?;
    messages::begin(&MessageSettings::default());
    // Before anything is open: a signal that comes early ends the program in order as well.
    let signals = signals()?;
    let brokers = config.bus.kafka.map(BrokersConfig::check).transpose()?;
    let link = match &brokers {
        Some(brokers) => Some(link(brokers, &sources)?),
        None => None,
    };
    let sources = sources.into_iter().map(|source| {
        let bus: Box<dyn Bus> = match &link {
            Some(link) => Box::new(link.bus(source.setup.credentials.source)),
            None => straight(&source)?,
        };
        let by = brokers.as_ref().map_or("TLS", |_| "Kafka");
        info!(source = source.name, by, "source followed");
        Ok((source, bus))
    });
    let sources = sources.collect::<Result<Vec<_>, CommandError>>()?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let hurry = link.as_ref().map(KafkaLink::ends);
    let wait = move || {
        // The sender lives as long as the process, so an error is a signal that never comes.
        if signals.recv().is_ok() {
            told.store(true, Ordering::Relaxed);
            if let Some(hurry) = &hurry {
                hurry.store(true, Ordering::Relaxed);
            }
            tell_systemd(&[NotifyState::Stopping]);
        }
    };
    let spawned = thread::Builder::new().name("stop".to_owned()).spawn(wait);
    // Ends with the process: there is nothing to wait for in it.
    spawned.map(drop).map_err(CommandError::Signals)?;
    tell_systemd(&[NotifyState::Ready]);
    collectors_agent::run(sources, &clock::system(), &stop)?;
    info!("agent stopped: what is bound is sent by the next start");
    Ok(Exit::Done)
}

/// The way to the log's own server.
fn straight(source: &Assignment) -> Result<Box<dyn Bus>, CommandError> {
    if source.address.is_empty() {
        return Err(CommandError::Usage(format!(
            "the credentials of source {} name no address: set http.agents.listen in the log's \
             settings, and write its host and port into the file",
            source.name
        )));
    }
    Ok(Box::new(HttpBus::new(&source.address, &source.tls)?))
}

/// One connection for all sources, which are of one tenant.
fn link(brokers: &Brokers, sources: &[Assignment]) -> Result<KafkaLink, CommandError> {
    let mut homes: Vec<(&str, &str)> = Vec::new();
    for source in sources {
        let mut parts = source.origin.split('/');
        let (Some(deployment), Some(tenant)) = (parts.next(), parts.next()) else {
            let text = format!("source {} is of no log that has an origin", source.name);
            return Err(CommandError::Usage(text));
        };
        homes.push((deployment, tenant));
    }
    let Some(home) = homes.first().copied() else {
        return Err(CommandError::Usage("no source is configured".to_owned()));
    };
    if let Some((_, other)) = (homes.iter().zip(sources)).find(|(one, _)| **one != home) {
        return Err(CommandError::Usage(format!(
            "source {} is of another tenant: all sources of an agent on Kafka are of one",
            other.name
        )));
    }
    let keys = sources.iter().map(|source| {
        let credentials = &source.setup.credentials;
        (credentials.source, credentials.key.clone())
    });
    Ok(KafkaLink::connect(brokers, home, keys.collect())?)
}

/// Reads the configuration; relative paths in it are meant from its folder.
fn read(path: &Path) -> Result<AgentConfig, CommandError> {
    let metadata = std::fs::metadata(path).map_err(CommandError::file("reading", path))?;
    if metadata.len() > CONFIG_BYTES_MAX {
        let text = format!(
            "{} has more than 1 MiB: it is no configuration",
            path.display()
        );
        return Err(CommandError::Usage(text));
    }
    let text = std::fs::read_to_string(path).map_err(CommandError::file("reading", path))?;
    let mut config: AgentConfig = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let line = line.saturating_add(1);
        let what = error.message().replace('\n', "; ");
        CommandError::Usage(format!("{}:{line}: {what}", path.display()))
    })?;
    let absolute = std::path::absolute(path).map_err(CommandError::file("reading", path))?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    config.dir = folder.join(&config.dir);
    if let Some(kafka) = &mut config.bus.kafka {
        kafka.based_on(folder);
    }
    for source in &mut config.sources {
        source.credentials = folder.join(&source.credentials);
        for name in [&mut source.path, &mut source.glob].into_iter().flatten() {
            *name = folder.join(&*name);
        }
    }
    Ok(config)
}
