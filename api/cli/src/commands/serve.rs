//! `custody serve`: holds the log, answers on the socket (and on an address if one is set), and at
//! SIGTERM or SIGINT drains, publishes and finishes the segment.
//!
//! Not here: routes (api/http), and what a log does (ledger/log).

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use api_http::{Server, serve as serve_http};
use clap::Args;
use collectors_bus::kafka::{Intake, KafkaFailed};
use ledger_log::Log;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use toml::Value;
use tracing::{error, info, warn};

use crate::access::{Accepted, open_log, recovered_line};
use crate::commands::Context;
use crate::config::{Config, Flag};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::messages;

/// Flags that stand before the settings.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Address and port to listen on, beside the socket
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    accepted: Accepted,
}

/// How often it is looked whether the log still runs.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs until a signal, or until the log stops.
///
/// # Errors
/// A wrong setting, a log that cannot be opened, a port in use, a log that stopped.
pub fn run(args: &ServeArgs, context: &Context) -> Result<Exit, CommandError> {
    let listen = args.listen.map(|address| Flag {
        name: "--listen",
        key: "http.listen",
        value: Value::String(address.to_string()),
    });
    let config = context.config(listen.as_slice())?;
    messages::begin(&config.messages);
    // Before anything is open: a signal that comes early ends the program in order as well.
    let signals = signals()?;
    let (log, recovered) = open_log(&config, args.accepted)?;
    if let Some(what) = recovered_line(&recovered) {
        warn!(what, "log recovered");
    }
    let started = start(&config, &log);
    let (intake, server) = match started {
        Ok(started) => started,
        Err(error) => {
            log.close()?;
            return Err(error);
        }
    };
    let address = server.address().map(|address| address.to_string());
    let agents = server.agents_address().map(|address| address.to_string());
    info!(
        origin = %config.paths.origin(),
        socket = %server.socket().display(),
        address = address.as_deref().unwrap_or("none"),
        agents = agents.as_deref().unwrap_or("none"),
        "log served"
    );
    tell_systemd(&[NotifyState::Ready]);
    let reason = wait(&signals, || log.status().stopped);
    tell_systemd(&[NotifyState::Stopping]);
    info!("stopping: requests end, what has arrived is appended and published");
    server.stop();
    // What was read is appended, and agents hear of it, before the log is closed.
    let ended = intake.and_then(Intake::stop);
    let closed = log.close();
    if let Some(reason) = reason {
        error!(reason, "log stopped by itself");
        return Err(CommandError::LogStopped { reason });
    }
    let closed = closed?;
    info!(size = closed.size.0, "log closed");
    // Everything else was served to the end, but whoever looks at the code alone must see it.
    match ended {
        Some(failed @ KafkaFailed::Fenced { .. }) => Err(CommandError::Fenced(failed)),
        Some(_) | None => Ok(Exit::Done),
    }
}

/// What brings messages into the log: the intake, if there is one, and the server.
fn start(config: &Config, log: &Log) -> Result<(Option<Intake>, Server), CommandError> {
    let ways = || (log.door(), log.reader());
    let intake = match config.kafka.clone() {
        Some(settings) => Some(Intake::start(&settings, &config.paths, ways())?),
        None => None,
    };
    let watch = intake.as_ref().map(Intake::watch);
    let server = serve_http(&config.http, &config.paths, ways(), watch)?;
    Ok((intake, server))
}

/// Each signal that asks the program to end, as a message.
pub(crate) fn signals() -> Result<Receiver<i32>, CommandError> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(CommandError::Signals)?;
    let (sender, receiver) = sync_channel(1);
    let wait = move || {
        for signal in signals.forever() {
            // A second one, while the first is being followed, changes nothing.
            let _ = sender.try_send(signal);
        }
    };
    let spawned = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait);
    // Ends with the process: there is nothing to wait for in it.
    spawned.map(drop).map_err(CommandError::Signals)?;
    Ok(receiver)
}

/// Waits for a signal (`None`) or for a log that stopped, with its reason.
fn wait(signals: &Receiver<i32>, stopped: impl Fn() -> Option<String>) -> Option<String> {
    let watched = sd_notify::watchdog_enabled().is_some();
    loop {
        match signals.recv_timeout(LOOK_EVERY) {
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(reason) = stopped() {
            return Some(reason);
        }
        if watched {
            tell_systemd(&[NotifyState::Watchdog]);
        }
    }
}

/// Says it to systemd, if that started the program.
pub(crate) fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd not told");
    }
}
