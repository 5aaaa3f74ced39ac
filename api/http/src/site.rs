//! What every worker shares: the door and the reader of one log, the bounds, and the counts of what
//! was answered.
//!
//! Not here: any route.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use collectors_bus::kafka::BusStatus;
use ledger_log::{InProcessDoor, LogPaths, Reader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::HttpOptions;
use crate::problem::{Problem, ProblemType};
use crate::reads::DirectReads;

/// Where the state of a bus can be looked at.
pub type BusWatch = Arc<Mutex<BusStatus>>;

/// Batches whose bodies are held in memory at once; more wait at the sender.
const APPENDS_MAX: usize = 4;

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// The TCP address: anybody.
    Address,
    /// The Unix socket: whoever may open it, which is the log's operator.
    Socket,
    /// The TLS address: agents with a certificate of the log's own authority.
    Agents,
}

impl Listener {
    pub(crate) const ALL: [Listener; 3] = [Listener::Address, Listener::Socket, Listener::Agents];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Listener::Address => "address",
            Listener::Socket => "socket",
            Listener::Agents => "agents",
        }
    }
}

/// One log, as it is served on one listener.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) site: Arc<Site>,
    pub(crate) listener: Listener,
}

/// One listener's bounds and counts.
#[derive(Debug)]
pub(crate) struct Traffic {
    requests: Arc<Semaphore>,
    /// Answers with a status of 1xx to 5xx.
    answers: [AtomicU64; 5],
}

impl Traffic {
    fn new(requests_max: usize) -> Traffic {
        Traffic {
            requests: Arc::new(Semaphore::new(requests_max)),
            answers: Default::default(),
        }
    }

    /// Room for one more request.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        take(
            &self.requests,
            "as many requests as the server takes are being worked on",
        )
    }

    pub(crate) fn count(&self, status: u16) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(counter) = class.and_then(|class| self.answers.get(class)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each class of status, such as `2xx`, and how many answers had it.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (String, u64)> {
        let counts = (1..).zip(&self.answers);
        counts.map(|(class, count)| (format!("{class}xx"), count.load(Ordering::Relaxed)))
    }
}

/// One log as the server serves it.
#[derive(Debug)]
pub(crate) struct Site {
    bus: Option<BusWatch>,
    pub(crate) door: InProcessDoor,
    pub(crate) reader: Reader,
    pub(crate) options: HttpOptions,
    /// `/log/<tenant>/<label>`.
    pub(crate) prefix: String,
    /// Where the log's files are.
    pub(crate) folder: PathBuf,
    /// `<deployment>/<tenant>`, whose sources agents speak for.
    pub(crate) tenant: (String, String),
    address: Traffic,
    socket: Traffic,
    agents: Traffic,
    streams: Arc<Semaphore>,
    appends: Arc<Semaphore>,
    stopping: AtomicBool,
}

impl Site {
    pub(crate) fn new(
        paths: &LogPaths,
        options: &HttpOptions,
        (door, reader): (InProcessDoor, Reader),
        bus: Option<BusWatch>,
    ) -> Site {
        Site {
            bus,
            door,
            reader,
            options: options.clone(),
            prefix: format!("/log/{}/{}", paths.tenant(), paths.label()),
            folder: paths.folder(),
            tenant: (paths.deployment().to_owned(), paths.tenant().to_owned()),
            address: Traffic::new(options.requests_max),
            socket: Traffic::new(options.requests_max),
            // Each agent may wait for its acknowledgement, which costs a connection and no thread.
            agents: Traffic::new(options.connections_max),
            streams: Arc::new(Semaphore::new(options.streams_max)),
            appends: Arc::new(Semaphore::new(APPENDS_MAX)),
            stopping: AtomicBool::new(false),
        }
    }

    /// How the bus is doing, if messages come by one.
    pub(crate) fn bus(&self) -> Option<BusStatus> {
        let bus = self.bus.as_ref()?;
        Some(bus.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    pub(crate) fn reads(&self) -> DirectReads {
        DirectReads::of_log(self.reader.clone(), self.door.clone())
    }

    pub(crate) fn traffic(&self, listener: Listener) -> &Traffic {
        match listener {
            Listener::Address => &self.address,
            Listener::Socket => &self.socket,
            Listener::Agents => &self.agents,
        }
    }

    /// Room for one more query or tail.
    pub(crate) fn admit_stream(&self) -> Result<OwnedSemaphorePermit, Problem> {
        take(
            &self.streams,
            "as many queries and tails as the server takes are running",
        )
    }

    /// Queries and tails that are being answered.
    pub(crate) fn streams_open(&self) -> usize {
        self.options
            .streams_max
            .saturating_sub(self.streams.available_permits())
    }

    /// Room for the body of one more batch.
    pub(crate) fn admit_append(&self) -> Result<OwnedSemaphorePermit, Problem> {
        take(
            &self.appends,
            "as many batches as the server takes are being read",
        )
    }

    /// From now on streams end and no new ones begin.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

fn take(semaphore: &Arc<Semaphore>, full: &str) -> Result<OwnedSemaphorePermit, Problem> {
    let busy = |_| Problem::new(ProblemType::Busy, full);
    semaphore.clone().try_acquire_owned().map_err(busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_that_is_one_too_many_is_refused_until_one_ends() {
        let traffic = Traffic::new(2);
        let (first, _second) = (traffic.admit().unwrap(), traffic.admit().unwrap());
        assert_eq!(traffic.admit().unwrap_err().kind, ProblemType::Busy);
        drop(first);
        assert!(traffic.admit().is_ok());
    }

    #[test]
    fn answers_are_counted_by_class() {
        let traffic = Traffic::new(1);
        for status in [200, 204, 404, 503, 0, 999] {
            traffic.count(status);
        }
        let counts: Vec<_> = traffic.counts().map(|(_, count)| count).collect();
        assert_eq!(counts, [0, 2, 0, 1, 1]);
    }
}
