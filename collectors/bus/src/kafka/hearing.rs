//! What an agent hears on the acks topic. The topic is read from its beginning, so that the first
//! answer knows all that was said; of a source the newest record counts ([`SourceAck::age`]), and
//! only with the MAC that nobody but the log can make. What the topic holds beside these is the
//! ledger's own.
//!
//! Not here: what is done with it (`link`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys_secret::SecretKey32;
use ledger_core::{Nanos, SourceId, TreeSize};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::ack::{ACK_BYTES_MAX, SourceAck, ack_mac, source_of};
use super::client::{KafkaFailed, READ_COMMITTED, Talk, consumer, is, left, poll};
use super::config::Brokers;
use super::form::H_MAC;
use super::headers::reading_headers;
use super::ids::{ASK_IDS, SAY_IDS, differ};
use super::topics::look;
use super::unreadable::Part;
use crate::bus::BusError;

/// How long a poll waits.
const POLL: Duration = Duration::from_millis(100);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(500);
/// A reader that hears nothing at all asks so often whether it may.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for the answer.
const ASK_WAIT: Duration = Duration::from_secs(1);

/// What is said, once, of a batch that is passed over.
pub(crate) const UNREADABLE: &str = "a batch of the acks topic that cannot be decompressed is \
                                     passed over: somebody else writes to the topic";

/// What was heard.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    heard: Mutex<Heard>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Heard {
    /// The end of the topic was reached once.
    ready: bool,
    sources: HashMap<SourceId, SourceAck>,
    /// Why nothing is heard at the moment.
    failed: Option<KafkaFailed>,
}

impl Hearing {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was heard last of `source`.
    pub(crate) fn of(&self, source: SourceId) -> Result<SourceAck, BusError> {
        let heard = self.lock();
        let found = heard.sources.get(&source).cloned();
        found.ok_or_else(|| nothing_said(&heard))
    }

    /// What is covered of `source`; with the age of the last answer it waits for a newer one.
    pub(crate) fn wait(
        &self,
        source: SourceId,
        seen: Option<(Nanos, TreeSize)>,
        wait: Duration,
    ) -> Result<SourceAck, BusError> {
        let until = Instant::now() + wait;
        let mut heard = self.lock();
        loop {
            let found = heard.sources.get(&source).filter(|_| heard.ready);
            let news = found.is_some_and(|ack| seen.is_none_or(|seen| ack.age() > seen));
            let rest = left(until);
            if news || rest.is_zero() {
                return match found {
                    Some(ack) => Ok(ack.clone()),
                    None => Err(nothing_said(&heard)),
                };
            }
            let waited = self.moved.wait_timeout(heard, rest);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn nothing_said(heard: &Heard) -> BusError {
    if let Some(failed) = &heard.failed {
        return failed.clone().into();
    }
    let reason = if heard.ready {
        "the log has not said anything of this source on the acks topic: start `custody serve` \
         with bus.kafka, and see that the source is one of its log"
    } else {
        "the acks topic is being read"
    };
    BusError::Away {
        reason: reason.to_owned(),
    }
}

/// Starts to hear. The thread ends when `stop` is set.
pub(crate) fn hear(
    brokers: Brokers,
    topic: String,
    sources: HashMap<SourceId, SecretKey32>,
    (hearing, stop): (Arc<Hearing>, Arc<AtomicBool>),
) -> Result<JoinHandle<()>, KafkaFailed> {
    let talk = Talk::until(&stop);
    // Made once here, so that settings that no client can be made of are said at once.
    let client = acks_reader(&brokers, &talk, READ_COMMITTED)?;
    let ear = Ear {
        brokers,
        topic,
        sources,
        hearing,
        talk,
        warned: AtomicBool::new(false),
        passed: AtomicBool::new(false),
    };
    let spawned = thread::Builder::new()
        .name("kafka-acks".to_owned())
        .spawn(move || ear.run(client, &stop));
    spawned.map_err(|error| KafkaFailed::Failed {
        what: "starting a thread".to_owned(),
        reason: error.to_string(),
    })
}

/// A reader of an acks topic, which says when it has reached the end.
pub(crate) fn acks_reader(
    brokers: &Brokers,
    talk: &Talk,
    isolation: &str,
) -> Result<BaseConsumer<Talk>, KafkaFailed> {
    let set = [
        ("isolation.level", isolation),
        ("auto.offset.reset", "earliest"),
        ("enable.partition.eof", "true"),
        ("queued.max.messages.kbytes", "4096"),
        ("fetch.wait.max.ms", "100"),
        SAY_IDS,
        ASK_IDS,
    ];
    consumer(brokers, talk, &set)
}

/// Begins at the beginning of partition 0.
pub(crate) fn from_beginning(client: &BaseConsumer<Talk>, topic: &str) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    client.assign(&list)
}

/// Where to read on behind `record`.
pub(crate) fn behind(record: &BorrowedMessage<'_>) -> u64 {
    u64::try_from(record.offset()).map_or(0, |at| at.saturating_add(1))
}

struct Ear {
    brokers: Brokers,
    topic: String,
    sources: HashMap<SourceId, SecretKey32>,
    hearing: Arc<Hearing>,
    talk: Talk,
    /// Of records that are not the log's, and of what cannot be decompressed.
    warned: AtomicBool,
    passed: AtomicBool,
}

impl Ear {
    fn run(&self, client: BaseConsumer<Talk>, stop: &AtomicBool) {
        let mut began = from_beginning(&client, &self.topic);
        let (mut heard, mut id, mut next) = (0, None, 0);
        let mut asked = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = &began {
                self.failed(error);
                thread::sleep(PAUSE);
                began = from_beginning(&client, &self.topic);
                continue;
            }
            let polled = poll(&client, POLL);
            let changes = self.talk.ids().changes();
            if changes != heard {
                heard = changes;
                let now = self.talk.ids().of(&self.topic);
                if differ(id.as_ref(), now.as_ref()) {
                    // The topic was made anew: what lies before here was not heard.
                    tracing::warn!(topic = self.topic, "the acks topic was made anew");
                    drop(polled);
                    (began, next) = (from_beginning(&client, &self.topic), 0);
                    id = now;
                    continue;
                }
                id = now.or(id);
            }
            match polled {
                None if asked.elapsed() >= ASK_EVERY && !self.hearing.lock().ready => {
                    self.ask(&client);
                    asked = Instant::now();
                }
                None => {}
                Some(Ok(record)) => {
                    next = behind(&record);
                    self.take(&record);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    let mut heard = self.hearing.lock();
                    heard.ready = true;
                    heard.failed = None;
                    self.hearing.moved.notify_all();
                }
                Some(Err(error)) if is(&error, RDKafkaErrorCode::BadCompression) => {
                    next = self.pass(&client, next);
                }
                // Clients recover by themselves as long as they are polled.
                Some(Err(error)) => self.failed(&error),
            }
        }
    }

    /// Goes on behind what cannot be decompressed; nobody but the log is believed here.
    fn pass(&self, client: &BaseConsumer<Talk>, next: u64) -> u64 {
        if !self.passed.swap(true, Ordering::Relaxed) {
            tracing::warn!(topic = self.topic, "{UNREADABLE}");
        }
        let part = Part {
            brokers: &self.brokers,
            talk: &self.talk,
            topic: &self.topic,
            number: 0,
            isolation: READ_COMMITTED,
        };
        part.pass(client, next).unwrap_or_else(|failed| {
            self.fails(failed);
            next
        })
    }

    /// A client says nothing of a topic that it may not describe, and waits.
    fn ask(&self, client: &BaseConsumer<Talk>) {
        let found = look(client, &self.talk, &self.brokers, &self.topic, ASK_WAIT);
        let failed = match found {
            Err(failed) => failed,
            Ok(found) if found.partitions.is_none() => KafkaFailed::NoTopic {
                topic: self.topic.clone(),
            },
            Ok(_) => return,
        };
        self.fails(failed);
    }

    fn failed(&self, error: &KafkaError) {
        let what = format!("reading topic {}", self.topic);
        let failed = KafkaFailed::of(error, &what, &self.talk, &self.brokers);
        let failed = match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => KafkaFailed::NoTopic {
                topic: self.topic.clone(),
            },
            _ => failed,
        };
        self.fails(failed);
    }

    fn fails(&self, failed: KafkaFailed) {
        self.hearing.lock().failed = Some(failed);
        self.hearing.moved.notify_all();
    }

    fn take(&self, record: &BorrowedMessage<'_>) {
        let key = record.key().unwrap_or_default();
        let value = record.payload().unwrap_or_default();
        if value.len() > ACK_BYTES_MAX {
            return;
        }
        let Some((source, secret)) = source_of(key).and_then(|source| {
            let secret = self.sources.get(&source)?;
            Some((source, secret))
        }) else {
            return;
        };
        if !is_from_the_log(record, &ack_mac(secret, source, value)) {
            if !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    source = source.0,
                    topic = self.topic,
                    "an acknowledgement that the log did not write is ignored: somebody else \
                     writes to the topic, or the source has another key now"
                );
            }
            return;
        }
        let Ok(ack) = SourceAck::read(value) else {
            return;
        };
        let mut heard = self.hearing.lock();
        let known = heard.sources.get(&source);
        if known.is_none_or(|known| known.age() <= ack.age()) {
            heard.sources.insert(source, ack);
            self.hearing.moved.notify_all();
        }
    }
}

/// Whether the record carries this MAC.
fn is_from_the_log(record: &BorrowedMessage<'_>, mac: &[u8; 32]) -> bool {
    let Some(headers) = record.headers() else {
        return false;
    };
    let found = reading_headers(|| {
        let found = headers.iter().find(|header| header.key == H_MAC);
        found.and_then(|header| STANDARD.decode(header.value?).ok())
    });
    found.flatten().is_some_and(|found| same(&found, mac))
}

/// Compares without telling by the time it takes where they differ.
fn same(found: &[u8], mac: &[u8; 32]) -> bool {
    let differs = found.iter().zip(mac).fold(0, |all, (a, b)| all | (a ^ b));
    found.len() == mac.len() && differs == 0
}
