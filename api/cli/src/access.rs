//! How a command reaches the log: through the socket of the process that holds it, or, if nobody
//! does, by opening it. Results are the same.
//!
//! Not here: what is asked for.

use std::time::{SystemTime, UNIX_EPOCH};

use api_http::{DirectReads, Reads, SocketDoor, SocketReads, answers};
use clap::Args;
use collectors_formats::{Format, FormatKeys, format_for};
use keys_secret::Keystore;
use ledger_core::{Nanos, TreeSize};
use ledger_log::{
    Appended, Batch, Door, DoorError, InProcessDoor, Log, LogPaths, LogStatus, OpenError, Reader,
    Recovered, Ticket, status_at_rest,
};

use crate::config::Config;
use crate::error::CommandError;
use crate::output::{Output, size};

/// A way in, for commands that append.
pub(crate) struct Access {
    paths: LogPaths,
    way: Way,
}

enum Way {
    Own { log: Box<Log>, door: InProcessDoor },
    Served { door: SocketDoor },
}

/// What an operator accepts that had stopped the log.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Accepted {
    /// Go on although the clock stopped the log; an entry says so
    #[arg(long)]
    pub(crate) accept_clock: bool,
    /// Go on although the log was restored from a copy that lacks what agents were told it holds;
    /// an entry says so
    #[arg(long)]
    pub(crate) accept_restored: bool,
}

impl Access {
    /// Opens the log, or finds the server that holds it.
    pub(crate) fn open(
        config: &Config,
        accepted: Accepted,
        output: &Output,
    ) -> Result<Access, CommandError> {
        let paths = config.paths.clone();
        let way = match open_log(config, accepted) {
            Ok((log, recovered)) => {
                if let Some(line) = recovered_line(&recovered) {
                    output.say(&line);
                }
                let door = log.door();
                Way::Own {
                    log: Box::new(log),
                    door,
                }
            }
            Err(OpenError::Held { lock }) => {
                let socket = paths.socket();
                if !answers(&socket) {
                    return Err(OpenError::Held { lock }.into());
                }
                Way::Served {
                    door: SocketDoor::new(&paths)?,
                }
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Access { paths, way })
    }

    /// The door.
    pub(crate) fn door(&mut self) -> &mut dyn Door {
        match &mut self.way {
            Way::Own { door, .. } => door,
            Way::Served { door } => door,
        }
    }

    /// Hands a batch over. A log of our own makes it durable while the next one is parsed.
    pub(crate) fn submit(&mut self, batch: Batch) -> Result<Pending, DoorError> {
        match &mut self.way {
            Way::Own { door, .. } => door.submit(batch).map(Pending::Later),
            Way::Served { door } => door.append(batch).map(Pending::Done),
        }
    }

    /// The format of a platform. Digests of unmasked bytes, and identifiers of events, are keyed
    /// with a key of this source, which follows from the tenant's: a file has no key of its own.
    pub(crate) fn format(
        &self,
        source: &str,
        platform: &str,
    ) -> Result<Box<dyn Format + Send>, CommandError> {
        let keystore = Keystore::open(&self.paths.keys())?;
        let key = keystore.pseudonym_key(self.paths.tenant())?;
        let digest_key = key.hmac(DIGEST_LABEL, &[source.as_bytes()]);
        Ok(format_for(platform, &[], &FormatKeys { digest_key })?)
    }

    /// Ends when a checkpoint covers `size` entries, and gives the size that it covers. A log of
    /// our own is drained, published and its segment finished; nobody else appends to it.
    pub(crate) fn finish(self, size: TreeSize) -> Result<TreeSize, CommandError> {
        match self.way {
            Way::Own { log, door } => {
                drop(door);
                Ok(log.close()?.size)
            }
            Way::Served { mut door } => Ok(door.wait_published(size)?),
        }
    }
}

/// A batch that was handed over.
pub(crate) enum Pending {
    /// It is durable.
    Done(Appended),
    /// It will be.
    Later(Ticket),
}

impl Pending {
    /// Returns when it is durable.
    pub(crate) fn wait(self) -> Result<Appended, DoorError> {
        match self {
            Pending::Done(appended) => Ok(appended),
            Pending::Later(ticket) => ticket.wait(),
        }
    }
}

/// Whether the platform can be read at all, before anything is opened.
pub(crate) fn check_platform(platform: &str) -> Result<(), CommandError> {
    let digest_key = [0; 32];
    format_for(platform, &[], &FormatKeys { digest_key })?;
    Ok(())
}

/// What separates the key of digests from the other uses of the tenant's key.
const DIGEST_LABEL: &[u8] = b"custody digest key v1";

/// The state of the log, and whether a server told it.
pub(crate) fn log_status(config: &Config) -> Result<(LogStatus, bool), CommandError> {
    let served = answers(&config.paths.socket());
    let status = if served {
        SocketReads::new(&config.paths)?.status()?
    } else {
        status_at_rest(&config.paths, now())?
    };
    Ok((status, served))
}

/// Opens the log of the settings.
pub(crate) fn open_log(config: &Config, accepted: Accepted) -> Result<(Log, Recovered), OpenError> {
    let mut options = config.log.clone();
    options.accept_clock = accepted.accept_clock;
    options.accept_restored = accepted.accept_restored;
    Log::open(&config.paths, &options)
}

/// What recovery found, if anything.
pub(crate) fn recovered_line(recovered: &Recovered) -> Option<String> {
    if !recovered.unclean {
        return None;
    }
    let dropped = match recovered.bytes_dropped {
        0 => "nothing was dropped".to_owned(),
        bytes => format!(
            "{} of a torn tail, promised to nobody, were dropped",
            size(bytes)
        ),
    };
    Some(format!(
        "the log was not closed as it should: {dropped}; it goes on at entry {}",
        recovered.size
    ))
}

/// A way to read: through the server if there is one, else from the files.
pub(crate) fn reads(config: &Config) -> Result<Box<dyn Reads>, CommandError> {
    let socket = config.paths.socket();
    if answers(&socket) {
        return Ok(Box::new(SocketReads::new(&config.paths)?));
    }
    Ok(Box::new(DirectReads::of_files(Reader::open(
        &config.paths,
    )?)))
}

/// The time that queries count from.
pub(crate) fn now() -> Nanos {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
