//! A real log in a folder of its own, and a real server over it, for the tests of this crate.
//!
//! Not here: any test.

use std::time::Duration;

use ledger_core::message::Message;
use ledger_core::state::Stream;
use ledger_core::{Epoch, Flags, Nanos, Sequence, TreeSize};
use ledger_event::Event;
use ledger_log::{
    Appended, Batch, Door, DoorError, Log, LogOptions, LogPaths, SourceSpec, create_log,
};
use tempfile::TempDir;

use crate::{HttpConfig, Server, serve};

/// When the events of the tests happened.
pub(crate) const EVENT_TIME: Nanos = Nanos(1_795_600_000_000_000_000);
/// The epoch of every source of the tests.
pub(crate) const EPOCH: Epoch = Epoch(1_795_000_000);

/// A log that is open and, while `server` is there, served.
pub(crate) struct Fixture {
    pub(crate) server: Option<Server>,
    pub(crate) log: Option<Log>,
    pub(crate) paths: LogPaths,
    _folder: TempDir,
}

impl Fixture {
    pub(crate) fn new(change: impl FnOnce(&mut HttpConfig)) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let paths = LogPaths::new(folder.path(), "example.org", "main", "2026").unwrap();
        create_log(&paths).unwrap();
        let options = LogOptions {
            checkpoint_every: Duration::from_millis(20),
            ..LogOptions::default()
        };
        let (log, _) = Log::open(&paths, &options).unwrap();
        let mut config = HttpConfig {
            listen: "127.0.0.1:0".to_owned(),
            publish: true,
            ready_disk_free_mib: 0,
            ..HttpConfig::default()
        };
        change(&mut config);
        let options = config.check().unwrap();
        let server = serve(&options, &paths, (log.door(), log.reader()), None).unwrap();
        Fixture {
            server: Some(server),
            log: Some(log),
            paths,
            _folder: folder,
        }
    }

    pub(crate) fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// `http://…` of the address.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server().address().unwrap())
    }

    /// Appends `count` events of a new source, waits for their checkpoint, and gives its size.
    pub(crate) fn fill(&self, count: u64) -> TreeSize {
        let mut door = self.log().door();
        let source = register(&mut door, "fill").unwrap();
        let messages = (1..=count).map(|number| message(number, &event("alice", "GRANT")));
        let batch = Batch {
            source,
            messages: messages.collect(),
            positions: Vec::new(),
        };
        let Appended { size, .. } = door.append(batch).unwrap();
        door.wait_published(size).unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // The server first: who waits for a checkpoint waits for the log.
        drop(self.server.take());
        drop(self.log.take());
    }
}

pub(crate) fn register(
    door: &mut dyn Door,
    name: &str,
) -> Result<ledger_core::SourceId, DoorError> {
    let spec = SourceSpec {
        name: name.to_owned(),
        platform: "postgresql".to_owned(),
    };
    door.register(&spec).map(|state| state.id)
}

pub(crate) fn event(actor: &str, command: &str) -> Vec<u8> {
    let mut event = Event::default();
    event.classify(3005, 1);
    event.severity_id = Some(1);
    event.set_time(EVENT_TIME);
    event.metadata.version = Some("1.8.0".into());
    event.actor.user.name = Some(actor.to_owned().into());
    event.unmapped.database.name = Some("cards".into());
    event.unmapped.command = Some(command.to_owned().into());
    event.unmapped.query_info.query_string = Some(format!("{command} \"\u{e9}\"\nTO x").into());
    event.to_json()
}

pub(crate) fn message(sequence: u64, value: &[u8]) -> Message {
    Message {
        stream: Stream::Record,
        epoch: EPOCH,
        sequence: Sequence(sequence),
        prev: [0; 32],
        mac: [0; 32],
        flags: Flags::NONE,
        value: value.to_vec(),
    }
}
