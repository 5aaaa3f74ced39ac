//! The ledger's end: reads the events topic (and topics of others) into the log, and says on the
//! acks topic what the log holds.
//!
//! [`Intake::start`] begins it beside a log that is open, [`Intake::status`] says how it is doing,
//! [`Intake::stop`] ends it in order: what was read is appended, what is published is said. It
//! tries again for ever, but for what a person must decide. Not here: one connection (`session`),
//! the acks topic (`acks`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keys_secret::{Keystore, KeystoreError, SecretKey32};
use ledger_core::{Hash, Nanos};
use ledger_log::{DoorError, InProcessDoor, LogPaths, Reader, RunTicket};

use super::acks::AcksWriter;
use super::client::KafkaFailed;
use super::config::LedgerSettings;
use super::place::TopicPlace;
use super::session::{Session, of_log};
use super::status::{BusState, BusStatus, PartitionStatus};
use super::topics::{acks_topic, also_used_by, events_topic};

/// Least and greatest pause before the next try.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Most warnings that are kept for the status.
const WARNINGS_MAX: usize = 16;
/// What separates the key of digests from the tenant's key's other uses.
const DIGEST_LABEL: &[u8] = b"custody digest key v1";

/// The intake of a log.
#[derive(Debug)]
pub struct Intake {
    status: Arc<Mutex<BusStatus>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Option<KafkaFailed>>>,
}

/// What an intake works with.
pub(crate) struct Context {
    pub(crate) settings: LedgerSettings,
    pub(crate) paths: LogPaths,
    pub(crate) door: InProcessDoor,
    pub(crate) reader: Reader,
    pub(crate) keystore: Keystore,
    pub(crate) stop: Arc<AtomicBool>,
    /// The last session ended at a batch that cannot be decompressed.
    pub(crate) unreadable: AtomicBool,
    /// It was said that another log uses the topics.
    others: AtomicBool,
    /// The tenant's key: of digests of what is not masked.
    key: SecretKey32,
    status: Arc<Mutex<BusStatus>>,
    /// Why the acks topic is not written any more.
    acks: Mutex<Option<KafkaFailed>>,
}

/// Why there is no intake.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// A key cannot be read.
    #[error(transparent)]
    Keys(#[from] KeystoreError),
    /// No thread can be started.
    #[error("the intake cannot be started: {0}")]
    Thread(std::io::Error),
}

impl Intake {
    /// Starts reading into the log of `door`. It returns at once: brokers that are away are waited
    /// for, and what is in the way is in the status.
    ///
    /// # Errors
    /// The installation's keys cannot be read.
    pub fn start(
        settings: &LedgerSettings,
        paths: &LogPaths,
        (door, reader): (InProcessDoor, Reader),
    ) -> Result<Intake, IntakeError> {
        let keystore = Keystore::open(&paths.keys())?;
        let key = keystore.pseudonym_key(paths.tenant())?;
        let status = BusStatus {
            topic: events_topic(paths.tenant()),
            ..BusStatus::default()
        };
        let status = Arc::new(Mutex::new(status));
        let stop = Arc::new(AtomicBool::new(false));
        let context = Context {
            settings: settings.clone(),
            paths: paths.clone(),
            door,
            reader,
            keystore,
            stop: stop.clone(),
            unreadable: AtomicBool::new(false),
            others: AtomicBool::new(false),
            key,
            status: status.clone(),
            acks: Mutex::new(None),
        };
        let thread = thread::Builder::new()
            .name("kafka-intake".to_owned())
            .spawn(move || {
                let _guard = Unsaid(context.status.clone());
                context.run()
            })
            .map_err(IntakeError::Thread)?;
        Ok(Intake {
            status,
            stop,
            thread: Some(thread),
        })
    }

    /// How it is doing.
    pub fn status(&self) -> BusStatus {
        lock(&self.status).clone()
    }

    /// Where its status can be looked at while it runs.
    pub fn watch(&self) -> Arc<Mutex<BusStatus>> {
        self.status.clone()
    }

    /// Ends it: what was read is appended first. Gives why it had ended by itself, if it had.
    pub fn stop(mut self) -> Option<KafkaFailed> {
        self.end()
    }

    fn end(&mut self) -> Option<KafkaFailed> {
        self.stop.store(true, Ordering::Relaxed);
        // A panic in it was said where it happened.
        self.thread.take()?.join().ok()?
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// Says in the status that the thread ended, if it ends by a panic.
struct Unsaid(Arc<Mutex<BusStatus>>);

impl Drop for Unsaid {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut status = lock(&self.0);
            status.state = BusState::Stopped;
            status.error = Some("it failed inside: look at the messages, and restart".to_owned());
        }
    }
}

/// Changes the status of a partition, which is there from now on.
fn note(
    partitions: &mut Vec<PartitionStatus>,
    (topic, partition): (&str, u32),
    change: impl FnOnce(&mut PartitionStatus),
) {
    let is = |one: &&mut PartitionStatus| one.partition == partition && one.topic == topic;
    if let Some(known) = partitions.iter_mut().find(is) {
        return change(known);
    }
    let mut new = PartitionStatus {
        topic: topic.to_owned(),
        partition,
        ..PartitionStatus::default()
    };
    change(&mut new);
    partitions.push(new);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    /// Connection after connection, until it is stopped or a person must decide: gives what.
    fn run(self) -> Option<KafkaFailed> {
        let mut pause = PAUSE_MIN;
        while !self.stop.load(Ordering::Relaxed) {
            *lock(&self.acks) = None;
            let failed = match self.connect() {
                Ok(()) => break,
                Err(failed) => failed,
            };
            if failed.is_final() {
                tracing::error!(error = %failed, "kafka intake stopped");
                self.state(BusState::Stopped, Some(failed.clone()));
                return Some(failed);
            }
            if self.state(BusState::Waiting, Some(failed)) {
                pause = PAUSE_MIN;
            }
            self.pause(pause);
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
        self.state(BusState::Stopped, None);
        None
    }

    /// One connection. Acknowledgements are asked for first: they may show that this log is not the
    /// newest of its origin, and then nothing is read.
    fn connect(&self) -> Result<(), KafkaFailed> {
        let mut session = Session::connect(self)?;
        let mut acks = AcksWriter::open(self)?;
        session.find_places()?;
        session.pass_unreadable()?;
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                if let Err(failed) = acks.run(self, &over) {
                    *lock(&self.acks) = Some(failed);
                }
            });
            let read = session.run();
            over.store(true, Ordering::Relaxed);
            if let Err(panic) = writing.join() {
                std::panic::resume_unwind(panic);
            }
            read
        })
    }

    fn pause(&self, pause: Duration) {
        let mut rest = pause;
        while !rest.is_zero() && !self.stop.load(Ordering::Relaxed) {
            let step = rest.min(LOOK_EVERY);
            thread::sleep(step);
            rest = rest.saturating_sub(step);
        }
    }

    /// Why the acks topic cannot be written any more: then nothing more is read either, so that
    /// agents and log do not drift apart.
    pub(crate) fn acks_failed(&self) -> Result<(), KafkaFailed> {
        match lock(&self.acks).take() {
            None => Ok(()),
            Some(failed) => Err(failed),
        }
    }

    /// Notes what it does; whether anything is new about it. A failure is said once.
    pub(crate) fn state(&self, state: BusState, failed: Option<KafkaFailed>) -> bool {
        let mut status = lock(&self.status);
        let error = failed.as_ref().map(KafkaFailed::to_string);
        let news = status.state != state || status.error != error;
        if news {
            match (&error, state) {
                (Some(error), BusState::Waiting) => {
                    tracing::warn!(error, "kafka intake waits, and tries again");
                }
                (None, BusState::Reading) => tracing::info!(topic = status.topic, "kafka is read"),
                _ => {}
            }
        }
        (status.state, status.error) = (state, error);
        news
    }

    /// Says something that an operator should know, once.
    pub(crate) fn warn(&self, warning: &str) {
        let mut status = lock(&self.status);
        if status.warnings.iter().any(|known| known == warning) {
            return;
        }
        tracing::warn!(warning, "kafka");
        if status.warnings.len() < WARNINGS_MAX {
            status.warnings.push(warning.to_owned());
        }
    }

    /// What to say of the record of another log; once, as anybody may write under any name.
    pub(crate) fn other_log(&self, origin: &str) -> Option<String> {
        let first = !self.others.swap(true, Ordering::Relaxed);
        first.then(|| also_used_by(&acks_topic(self.paths.tenant()), origin))
    }

    /// What was found of the events topic.
    pub(crate) fn found(&self, topic: &str, place: &TopicPlace) {
        let mut status = lock(&self.status);
        status.topic = topic.to_owned();
        status.cluster.clone_from(&place.cluster);
        status.source_partitions = place.partitions;
    }

    /// Counts a record that is no message.
    pub(crate) fn stray(&self) {
        let mut status = lock(&self.status);
        status.strays = status.strays.saturating_add(1);
    }

    /// The partitions that are read, and how far.
    pub(crate) fn places(&self) -> Vec<(String, u32, u64)> {
        let status = lock(&self.status);
        let partitions = status.partitions.iter();
        partitions
            .map(|one| (one.topic.clone(), one.partition, one.next))
            .collect()
    }

    /// Where a partition is read on: generation and offset, and when the last record was written.
    pub(crate) fn reached(&self, at: (&str, u32), place: (u32, u64), written: Nanos) {
        let age = self.now().0.saturating_sub(written.0) / 1_000_000;
        note(&mut lock(&self.status).partitions, at, |one| {
            (one.generation, one.next) = place;
            one.high = one.high.max(one.next);
            one.lag_records = one.high.saturating_sub(one.next);
            one.lag_ms = u64::try_from(age).unwrap_or_default();
        });
    }

    /// Where a partition ends at the moment.
    pub(crate) fn ends(&self, topic: &str, partition: u32, high: u64) {
        note(
            &mut lock(&self.status).partitions,
            (topic, partition),
            |one| {
                one.high = high;
                one.lag_records = high.saturating_sub(one.next);
                if one.lag_records == 0 {
                    one.lag_ms = 0;
                }
            },
        );
    }

    /// Whether something is in the way.
    pub(crate) fn waits(&self) -> bool {
        lock(&self.status).state == BusState::Waiting
    }

    /// The brokers answer: what was in the way is over.
    pub(crate) fn answered(&self) {
        if self.waits() {
            self.state(BusState::Reading, None);
        }
    }

    /// Waits until a run is durable. A stopped source stops nobody else: its messages stay in its
    /// agent's journal, and come again.
    pub(crate) fn taken(&self, ticket: RunTicket) -> Result<(), KafkaFailed> {
        for answer in ticket.wait().map_err(of_log)? {
            match answer {
                Ok(_) => {}
                Err(error @ DoorError::SourceStopped { .. }) => self.warn(&error.to_string()),
                Err(error) => return Err(of_log(error)),
            }
        }
        Ok(())
    }

    /// The time of notices.
    pub(crate) fn now(&self) -> Nanos {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// A keyed digest of bytes that are not masked.
    pub(crate) fn digest(&self, label: &[u8], bytes: &[u8]) -> [u8; 32] {
        self.key.hmac(label, &[&Hash::sha256(bytes).0])
    }

    /// The digest key of a source that is read here.
    pub(crate) fn digest_key(&self, source: &str) -> [u8; 32] {
        self.key.hmac(DIGEST_LABEL, &[source.as_bytes()])
    }
}
