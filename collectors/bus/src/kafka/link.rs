//! The agent's end: one connection for all sources of an agent, which carries their messages to the
//! events topic and hears on the acks topic what the log holds.
//!
//! [`KafkaLink::connect`] makes it, [`KafkaLink::bus`] gives the [`Bus`] of a source. A message is
//! carried once the broker says that it has it; whether the log has it is said by the log alone, so
//! a journal forgets nothing on the broker's word. Not here: reading the acks topic (`hearing`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keys_secret::SecretKey32;
use ledger_core::message::{Message, VALUE_MAX};
use ledger_core::state::Stream;
use ledger_core::{Epoch, Nanos, SourceId, TreeSize};
use ledger_log::Acknowledged;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};

use super::carried::Carried;
use super::client::{KafkaFailed, Talk, is, settings};
use super::config::Brokers;
use super::form::{Home, headers};
use super::hearing::{Hearing, hear};
use super::topics::{acks_topic, events_topic};
use crate::bus::{Bus, BusError, Sent, WAIT_MAX};

/// Longest time in which no message of a call is delivered before the call fails.
const SEND_WAIT: Duration = Duration::from_secs(15);
/// The same once the agent ends: what is not delivered stays in the journals.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// How long a full queue is left to empty itself before the next try.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// The connection of an agent.
#[derive(Debug)]
pub struct KafkaLink {
    shared: Arc<Shared>,
    hearing: Option<JoinHandle<()>>,
}

/// What the buses of one link share.
#[derive(Debug)]
struct Shared {
    brokers: Brokers,
    home: Home,
    events: String,
    talk: Talk,
    producer: Mutex<Option<Arc<Carrier>>>,
    heard: Arc<Hearing>,
    stop: Arc<AtomicBool>,
    /// The agent ends: nobody waits long for brokers any more.
    ends: Arc<AtomicBool>,
}

/// The way to the log of one source.
#[derive(Debug)]
pub struct KafkaBus {
    source: SourceId,
    sender: String,
    shared: Arc<Shared>,
    seen: Option<(Nanos, TreeSize)>,
    carried: Carried,
}

impl KafkaLink {
    /// Connects an agent whose sources have these numbers and keys. Brokers that are away are
    /// waited for; what is wrong with the settings is said at once.
    ///
    /// # Errors
    /// A file that cannot be read, settings that no client can be made of.
    pub fn connect(
        brokers: &Brokers,
        (deployment, tenant): (&str, &str),
        sources: HashMap<SourceId, SecretKey32>,
    ) -> Result<KafkaLink, KafkaFailed> {
        let shared = Arc::new(Shared {
            brokers: brokers.clone(),
            home: Home::new(deployment, tenant),
            events: events_topic(tenant),
            talk: Talk::default(),
            producer: Mutex::new(None),
            heard: Arc::default(),
            stop: Arc::default(),
            ends: Arc::default(),
        });
        shared.carrier()?;
        let hearing = hear(
            brokers.clone(),
            acks_topic(tenant),
            sources,
            (shared.heard.clone(), shared.stop.clone()),
        )?;
        Ok(KafkaLink {
            shared,
            hearing: Some(hearing),
        })
    }

    /// What is to be set when the agent begins to end, so that brokers that are away do not hold it
    /// up.
    pub fn ends(&self) -> Arc<AtomicBool> {
        self.shared.ends.clone()
    }

    /// The way of one of its sources.
    pub fn bus(&self, source: SourceId) -> KafkaBus {
        KafkaBus {
            source,
            sender: self.shared.home.source(source),
            shared: self.shared.clone(),
            seen: None,
            carried: Carried::default(),
        }
    }
}

impl Drop for KafkaLink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(hearing) = self.hearing.take() {
            // It ends within its polling interval; a panic in it was said where it happened.
            let _ = hearing.join();
        }
    }
}

/// What became of the messages of one call.
#[derive(Debug, Default)]
struct Call {
    tally: Mutex<Tally>,
    moved: Condvar,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    delivered: usize,
    failed: Option<KafkaError>,
    /// The least and the greatest offset.
    offsets: Option<(u64, u64)>,
}

/// Hears what became of each message.
#[derive(Debug)]
struct Deliveries(Talk);

impl ClientContext for Deliveries {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Call>;

    fn delivery(&self, result: &DeliveryResult<'_>, call: Arc<Call>) {
        let mut tally = call.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(message) => {
                tally.delivered = tally.delivered.saturating_add(1);
                let offset = u64::try_from(message.offset()).unwrap_or_default();
                let (first, last) = tally.offsets.unwrap_or((offset, offset));
                tally.offsets = Some((first.min(offset), last.max(offset)));
            }
            Err((error, _)) => {
                tally.failed.get_or_insert_with(|| error.clone());
            }
        }
        call.moved.notify_all();
    }
}

/// A producer in use: an agent's messages go out in the order in which they are given to it.
struct Carrier(ThreadedProducer<Deliveries, NoCustomPartitioner>);

impl Carrier {
    /// Why all of it failed, if it did: messages are only purged then. That order could not be kept
    /// follows from what failed first, which the message says.
    fn cause(&self) -> Option<KafkaError> {
        let (code, _) = self.0.client().fatal_error()?;
        (code != RDKafkaErrorCode::GaplessGuarantee).then_some(KafkaError::Global(code))
    }
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Carrier(…)")
    }
}

impl Shared {
    /// The producer in use; a new one after a failure, because one that failed may not go on in
    /// order.
    fn carrier(&self) -> Result<Arc<Carrier>, KafkaFailed> {
        let mut slot = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(carrier) = slot.as_ref() {
            return Ok(carrier.clone());
        }
        let mut client = settings(&self.brokers)?;
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("enable.gapless.guarantee", "true")
            .set("max.in.flight.requests.per.connection", "5")
            // Never given up here: the journal decides.
            .set("message.timeout.ms", "0")
            .set("compression.type", "zstd")
            .set("linger.ms", "5")
            .set("batch.num.messages", "10000")
            .set("message.max.bytes", "1048576")
            .set("queue.buffering.max.kbytes", "16384");
        let made = client.create_with_context(Deliveries(self.talk.clone()));
        let producer = made.map_err(|error| {
            KafkaFailed::of(&error, "making a producer", &self.talk, &self.brokers)
        })?;
        let carrier = Arc::new(Carrier(producer));
        *slot = Some(carrier.clone());
        Ok(carrier)
    }

    /// Ends the use of a producer that failed. What waits in it is sent again from the journals.
    fn discard(&self, failed: &Arc<Carrier>) {
        let mut slot = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|now| Arc::ptr_eq(now, failed)) {
            *slot = None;
            failed.0.purge(PurgeConfig::default().queue().inflight());
        }
    }
}

impl KafkaBus {
    fn own(&self, source: SourceId) -> Result<(), BusError> {
        if source == self.source {
            return Ok(());
        }
        let reason = format!(
            "this way is that of source {}, not of {source}",
            self.source
        );
        Err(BusError::Refused { reason })
    }

    fn check(messages: &[Message]) -> Result<(), BusError> {
        for message in messages {
            let reason = if message.value.len() > VALUE_MAX {
                let len = message.value.len();
                format!("message {} has {len} bytes", message.sequence)
            } else if message.stream == Stream::Snapshot {
                "snapshots are not taken yet".to_owned()
            } else {
                continue;
            };
            return Err(BusError::Malformed { reason });
        }
        Ok(())
    }

    /// Gives all messages to the producer and waits until the broker has them. Returns the least
    /// and the greatest of their offsets.
    fn carry(
        &self,
        carrier: &Carrier,
        partition: u32,
        messages: &[Message],
    ) -> Result<Option<(u64, u64)>, KafkaFailed> {
        let call = Arc::new(Call::default());
        let mut progress = Progress::new();
        let key = self.source.to_string();
        for message in messages {
            let mut record = BaseRecord::with_opaque_to(&self.shared.events, call.clone())
                .partition(i32::try_from(partition).unwrap_or(i32::MAX))
                .key(key.as_str())
                .payload(message.value.as_slice())
                .headers(self.headers(message));
            loop {
                match carrier.0.send(record) {
                    Ok(()) => break,
                    Err((error, again)) if is(&error, RDKafkaErrorCode::QueueFull) => {
                        record = again;
                        self.wait((carrier, &call), FULL_PAUSE, &mut progress)?;
                    }
                    Err((error, _)) => return Err(self.failed(&error)),
                }
            }
        }
        loop {
            let pause = Duration::from_millis(100);
            let tally = self.wait((carrier, &call), pause, &mut progress)?;
            if tally.delivered == messages.len() {
                return Ok(tally.offsets);
            }
        }
    }

    /// Waits a little for deliveries of a call.
    fn wait(
        &self,
        (carrier, call): (&Carrier, &Call),
        pause: Duration,
        progress: &mut Progress,
    ) -> Result<Tally, KafkaFailed> {
        let tally = call.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = if tally.delivered == progress.delivered && tally.failed.is_none() {
            let waited = call.moved.wait_timeout(tally, pause);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else {
            tally
        };
        let now = tally.clone();
        drop(tally);
        if let Some(error) = carrier.cause().or(now.failed.clone()) {
            return Err(self.failed(&error));
        }
        let ends = self.shared.ends.load(Ordering::Relaxed);
        let longest = if ends { LAST_WAIT } else { SEND_WAIT };
        if progress.is_over(now.delivered, longest) {
            let error = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
            return Err(self.failed(&error));
        }
        Ok(now)
    }

    fn failed(&self, error: &KafkaError) -> KafkaFailed {
        let what = format!("writing to topic {}", self.shared.events);
        KafkaFailed::of(error, &what, &self.shared.talk, &self.shared.brokers)
    }

    fn headers(&self, message: &Message) -> OwnedHeaders {
        let list = headers(message, &self.sender);
        let empty = OwnedHeaders::new_with_capacity(list.len());
        list.iter().fold(empty, |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        })
    }
}

/// How long nothing has moved.
struct Progress {
    delivered: usize,
    since: Instant,
}

impl Progress {
    fn new() -> Progress {
        Progress {
            delivered: 0,
            since: Instant::now(),
        }
    }

    fn is_over(&mut self, delivered: usize, longest: Duration) -> bool {
        if delivered != self.delivered {
            self.delivered = delivered;
            self.since = Instant::now();
        }
        self.since.elapsed() >= longest
    }
}

impl Bus for KafkaBus {
    fn send(&mut self, source: SourceId, messages: &[Message]) -> Result<Sent, BusError> {
        self.own(source)?;
        KafkaBus::check(messages)?;
        let heard = self.shared.heard.of(source)?;
        let carrier = self.shared.carrier().map_err(BusError::from)?;
        match self.carry(&carrier, heard.passed.partition, messages) {
            Ok(offsets) => {
                if let Some(offsets) = offsets {
                    self.carried.note(&heard, offsets, messages);
                }
                Ok(Sent::Carried)
            }
            Err(error) => {
                self.shared.discard(&carrier);
                Err(error.into())
            }
        }
    }

    fn acknowledged(&mut self, source: SourceId, wait: Duration) -> Result<Acknowledged, BusError> {
        self.own(source)?;
        let found = self
            .shared
            .heard
            .wait(source, self.seen, wait.min(WAIT_MAX))?;
        self.seen = Some(found.age());
        Ok(found.acknowledged)
    }

    fn lost(&mut self, source: SourceId) -> bool {
        let heard = self.shared.heard.of(source);
        heard.is_ok_and(|heard| self.carried.hear(&heard))
    }

    fn carries_before(&self, epoch: Epoch) -> bool {
        self.carried.before(epoch)
    }
}

impl From<KafkaFailed> for BusError {
    fn from(error: KafkaFailed) -> BusError {
        let reason = error.to_string();
        match error {
            KafkaFailed::Away { .. } | KafkaFailed::NoTopic { .. } | KafkaFailed::Failed { .. } => {
                BusError::Away { reason }
            }
            KafkaFailed::LoginRefused { .. }
            | KafkaFailed::NotAllowed { .. }
            | KafkaFailed::TooLarge { .. }
            | KafkaFailed::File(_)
            | KafkaFailed::BadTopic { .. }
            | KafkaFailed::OtherCluster { .. }
            | KafkaFailed::LogIsOlder { .. }
            | KafkaFailed::OtherHistory { .. }
            | KafkaFailed::Fenced { .. }
            | KafkaFailed::Log(_) => BusError::Refused { reason },
        }
    }
}
