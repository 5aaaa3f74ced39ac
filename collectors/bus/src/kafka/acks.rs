//! The ledger's word on the acks topic: what a published checkpoint covers, of each source and of
//! each partition, in one transaction.
//!
//! Before the first word the topic is read to its end: a checkpoint of this log in it that the log
//! does not hold shows that the log was restored from a copy, or cloned. The transaction's name is
//! the log's origin, so that of two ledgers the later one alone goes on. Not here: the form
//! (`ack`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys_public::{LogKeys, Note};
use keys_secret::SecretKey32;
use ledger_core::{Checkpoint, SourceId, TreeSize, verify_consistency};
use ledger_log::Coverage;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::ack::{ACK_BYTES_MAX, LOG_KEY, LogAck, Passed, SourceAck, ack_mac, source_key};
use super::client::{ANSWER_WAIT, KafkaFailed, Talk, settings};
use super::form::H_MAC;
use super::hearing::{acks_reader, from_beginning};
use super::intake::Context;
use super::place::{PartitionPlace, TopicPlace, partition_key, read, topic_key};
use super::topics::{acks_topic, events_topic};

/// What is said of a record under the log's name that it did not write.
const NOT_OURS: &str = "a `log` record of the acks topic that this log did not write";
/// Bytes of checkpoints that are held before they are looked at.
const CLAIMS_BYTES_MAX: usize = 4 << 20;
/// Longest reading of the acks topic to its end.
const READ_WAIT: Duration = Duration::from_secs(30);
/// Longest wait for a transaction.
const COMMIT_WAIT: Duration = Duration::from_secs(15);
/// How long the last checkpoint is waited for.
const LAST_WAIT: Duration = Duration::from_secs(3);
/// How long a checkpoint is waited for at a time.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// All is said again after this time, for agents whose topic was made anew.
const AGAIN_EVERY: Duration = Duration::from_secs(600);
/// How often it is asked how much waits in the partitions.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// Writes the acks topic.
pub(crate) struct AcksWriter {
    producer: BaseProducer<Talk>,
    talk: Talk,
    acks: String,
    events: String,
    keys: HashMap<SourceId, SecretKey32>,
    /// The checkpoint that was said last.
    said: Option<TreeSize>,
    passed: Vec<Passed>,
    all_at: Instant,
}

/// What a turn says.
struct Words {
    sources: Vec<(SourceId, Vec<u8>, [u8; 32])>,
    log: Option<LogAck>,
}

impl AcksWriter {
    /// Reads what was said before, then takes the topic over.
    ///
    /// # Errors
    /// The topic shows a newer log of this origin; the brokers refuse or are away.
    pub(crate) fn open(context: &Context) -> Result<AcksWriter, KafkaFailed> {
        let talk = Talk::default();
        let acks = acks_topic(context.paths.tenant());
        let brokers = context.settings.brokers();
        if let Some(checkpoint) = last_word(context, &acks, &talk)? {
            check(context, &acks, &checkpoint)?;
        }
        let mut client = settings(brokers)?;
        client
            .set(
                "transactional.id",
                format!("custody.{}", context.paths.origin()),
            )
            .set("transaction.timeout.ms", "20000")
            .set("compression.type", "zstd")
            .set("linger.ms", "0");
        let producer: BaseProducer<Talk> = client
            .create_with_context(talk.clone())
            .map_err(|error| KafkaFailed::of(&error, "making a producer", &talk, brokers))?;
        let writer = AcksWriter {
            producer,
            talk,
            events: events_topic(context.paths.tenant()),
            acks,
            keys: HashMap::new(),
            said: None,
            passed: Vec::new(),
            all_at: Instant::now(),
        };
        let begun = writer.producer.init_transactions(COMMIT_WAIT);
        begun.map_err(|error| writer.failed(context, &error))?;
        Ok(writer)
    }

    /// Says what is published until `over`.
    ///
    /// # Errors
    /// The brokers refuse, or another ledger took the topic over.
    pub(crate) fn run(&mut self, context: &Context, over: &AtomicBool) -> Result<(), KafkaFailed> {
        let mut lag_at = Instant::now();
        loop {
            // Read before the last look, so that the last word is of what was read last.
            let last = over.load(Ordering::Relaxed);
            if last {
                self.wait_published(context);
            }
            let again = self.all_at.elapsed() >= AGAIN_EVERY;
            let after = self.said.filter(|_| !again);
            let covered = context.door.coverage(after, LOOK_EVERY);
            let covered = covered.map_err(|error| KafkaFailed::Log(error.to_string()))?;
            if let Some(covered) = covered {
                self.say(context, &covered, after)?;
            }
            if Instant::now() >= lag_at {
                self.look_at_lag(context)?;
                lag_at = Instant::now() + LAG_EVERY;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Waits a little for the checkpoint that covers what was read last.
    fn wait_published(&self, context: &Context) {
        let size = context.door.size();
        let before = TreeSize(size.0.saturating_sub(1));
        if self.said.is_none_or(|said| said < size) {
            // Without it the next start says the same.
            let _ = context.door.coverage(Some(before), LAST_WAIT);
        }
    }

    /// Says what is new in `covered`; all of it if nothing was said before.
    fn say(
        &mut self,
        context: &Context,
        covered: &Coverage,
        since: Option<TreeSize>,
    ) -> Result<(), KafkaFailed> {
        let Some(words) = self.words(context, covered, since)? else {
            // Before the log has a place in the topic there is nothing to say.
            std::thread::sleep(LOOK_EVERY);
            return Ok(());
        };
        if !words.sources.is_empty() || words.log.is_some() {
            let written = self.write(&words);
            written.map_err(|error| {
                // What is left of it is read by nobody.
                let _ = self.producer.abort_transaction(ANSWER_WAIT);
                self.failed(context, &error)
            })?;
        }
        if since.is_none() {
            self.all_at = Instant::now();
        }
        if let Some(log) = words.log {
            self.passed = log.partitions;
        }
        self.said = Some(covered.size);
        Ok(())
    }

    fn words(
        &mut self,
        context: &Context,
        covered: &Coverage,
        since: Option<TreeSize>,
    ) -> Result<Option<Words>, KafkaFailed> {
        let topic = covered.position(&topic_key(&self.events));
        let Some(topic) = topic.and_then(read::<TopicPlace>) else {
            return Ok(None);
        };
        let mut sources = Vec::new();
        let from = since.unwrap_or(TreeSize(0));
        for state in covered.changed_since(from).filter(|state| state.keyed) {
            let Some(acknowledged) = context.door.acknowledged_in(covered, state.id) else {
                continue;
            };
            let partition = state.id.0.checked_rem(topic.partitions).unwrap_or_default();
            let ack = SourceAck {
                partition,
                acknowledged,
            };
            let value = ack.to_json();
            let mac = ack_mac(self.key(context, state.id)?, state.id, &value);
            sources.push((state.id, value, mac));
        }
        // Messages of sources lie in these alone, whatever was added later.
        let passed: Vec<Passed> = (0..topic.partitions)
            .filter_map(|partition| {
                let position = covered.position(&partition_key(&self.events, partition))?;
                let place = read::<PartitionPlace>(position)?;
                Some(Passed {
                    partition,
                    generation: place.generation,
                    next: place.next,
                })
            })
            .collect();
        let news = since.is_none() || passed != self.passed || !sources.is_empty();
        let log = news.then(|| LogAck {
            origin: context.paths.origin().as_str().to_owned(),
            size: covered.size.0,
            partitions: passed,
            checkpoint: String::from_utf8_lossy(&covered.note).into_owned(),
        });
        Ok(Some(Words { sources, log }))
    }

    fn key(&mut self, context: &Context, source: SourceId) -> Result<&SecretKey32, KafkaFailed> {
        match self.keys.entry(source) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(slot) => {
                let key = context.keystore.source_key(source);
                let key = key.map_err(|error| KafkaFailed::Log(error.to_string()))?;
                Ok(slot.insert(key))
            }
        }
    }

    fn write(&self, words: &Words) -> Result<(), KafkaError> {
        self.producer.begin_transaction()?;
        for (source, value, mac) in &words.sources {
            let mac = STANDARD.encode(mac);
            let headers = OwnedHeaders::new_with_capacity(1).insert(Header {
                key: H_MAC,
                value: Some(&mac),
            });
            self.put(&source_key(*source), value, Some(headers))?;
        }
        if let Some(log) = &words.log {
            self.put(LOG_KEY, &log.to_json(), None)?;
        }
        self.producer.commit_transaction(COMMIT_WAIT)
    }

    fn put(
        &self,
        key: &str,
        value: &[u8],
        headers: Option<OwnedHeaders>,
    ) -> Result<(), KafkaError> {
        let mut record = BaseRecord::to(&self.acks)
            .partition(0)
            .key(key)
            .payload(value);
        if let Some(headers) = headers {
            record = record.headers(headers);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    self.producer.poll(LOOK_EVERY);
                    record = again;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn failed(&self, context: &Context, error: &KafkaError) -> KafkaFailed {
        use RDKafkaErrorCode as Code;
        let fatal = self.producer.client().fatal_error().map(|fatal| fatal.0);
        let fenced = |code: Code| {
            matches!(
                code,
                Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch
            )
        };
        if fatal.is_some_and(fenced) || error.rdkafka_error_code().is_some_and(fenced) {
            let topic = self.acks.clone();
            return KafkaFailed::Fenced { topic };
        }
        let what = format!("writing to topic {}", self.acks);
        KafkaFailed::of(error, &what, &self.talk, context.settings.brokers())
    }

    /// Asks how much waits in each partition, for the status. A client that reads does not say that
    /// its topic was made anew: it shows here, and the next session finds its place again.
    fn look_at_lag(&self, context: &Context) -> Result<(), KafkaFailed> {
        use RDKafkaErrorCode as Code;
        for (topic, partition, next) in context.places() {
            let at = i32::try_from(partition).unwrap_or(i32::MAX);
            let client = self.producer.client();
            let high = match client.fetch_watermarks(&topic, at, ANSWER_WAIT) {
                Ok((_, high)) => u64::try_from(high).unwrap_or_default(),
                Err(error) => {
                    return match error.rdkafka_error_code() {
                        Some(
                            Code::UnknownTopicOrPartition
                            | Code::UnknownTopic
                            | Code::UnknownPartition
                            | Code::UnknownTopicId,
                        ) => Err(KafkaFailed::NoTopic { topic }),
                        // Whoever reads says it; the numbers stay as they were.
                        _ => Ok(()),
                    };
                }
            };
            if high < next {
                let what = format!("reading topic {topic}");
                let reason = format!("partition {partition} ends before what was read from it");
                return Err(KafkaFailed::Failed { what, reason });
            }
            context.ends(&topic, partition, high);
        }
        context.answered();
        Ok(())
    }
}

/// The last checkpoint of this log on the topic, signed by its own keys, if there is one. Anything
/// else under its name is somebody's talk.
fn last_word(
    context: &Context,
    topic: &str,
    talk: &Talk,
) -> Result<Option<Checkpoint>, KafkaFailed> {
    let brokers = context.settings.brokers();
    let client = acks_reader(brokers, talk)?;
    let what = format!("reading topic {topic}");
    let failed = |error: &KafkaError| KafkaFailed::of(error, &what, talk, brokers);
    from_beginning(&client, topic).map_err(|error| failed(&error))?;
    let pair = context.keystore.log_signing_keys(context.paths.origin());
    let pair = pair.map_err(|error| KafkaFailed::Log(error.to_string()))?;
    let mut claims = Claims::default();
    let until = Instant::now() + READ_WAIT;
    while Instant::now() < until && !context.stop.load(Ordering::Relaxed) {
        match client.poll(LOOK_EVERY) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => {
                claims.settle(context, pair.public());
                return Ok(claims.best);
            }
            Some(Err(error)) => return Err(failed(&error)),
            Some(Ok(record)) => {
                let value = record.payload().unwrap_or_default();
                if record.key() != Some(LOG_KEY.as_bytes()) || value.len() > ACK_BYTES_MAX {
                    continue;
                }
                match LogAck::read(value) {
                    Ok(word) => claims.hear(word),
                    Err(_) => context.warn(NOT_OURS),
                }
                if claims.bytes > CLAIMS_BYTES_MAX {
                    claims.settle(context, pair.public());
                }
            }
        }
    }
    let late = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
    Err(failed(&late))
}

/// Checkpoints that the topic holds under the log's name. One was said each second or more often,
/// and the topic keeps them for an hour: only the greatest are verified.
#[derive(Default)]
struct Claims {
    held: Vec<(u64, String)>,
    bytes: usize,
    /// The greatest that has the log's own signatures.
    best: Option<Checkpoint>,
}

impl Claims {
    fn hear(&mut self, word: LogAck) {
        self.bytes = self.bytes.saturating_add(word.checkpoint.len() + 64);
        self.held.push((word.size, word.checkpoint));
    }

    /// Verifies what is held, greatest and latest first, until one is ours.
    fn settle(&mut self, context: &Context, keys: &LogKeys) {
        self.bytes = 0;
        let mut held = std::mem::take(&mut self.held);
        held.reverse();
        held.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        for (size, note) in held {
            if self.best.as_ref().is_some_and(|best| best.size.0 > size) {
                return;
            }
            let note = Note::parse(note.as_bytes()).ok();
            let signed = note.and_then(|note| keys.verify(&note).ok());
            match signed.filter(|signed| signed.checkpoint().size.0 == size) {
                Some(signed) => {
                    self.best = Some(signed.checkpoint().clone());
                    return;
                }
                None => context.warn(NOT_OURS),
            }
        }
    }
}

/// Whether the log holds what the checkpoint covers.
fn check(context: &Context, topic: &str, checkpoint: &Checkpoint) -> Result<(), KafkaFailed> {
    let of_log = |error: ledger_log::ReadError| KafkaFailed::Log(error.to_string());
    let (ours, _) = context.reader.published().map_err(of_log)?;
    let (topic, signed, held) = (topic.to_owned(), checkpoint.size.0, ours.size.0);
    if checkpoint.size > ours.size {
        if context.settings.accepts_older {
            context.accept((signed, held));
            return Ok(());
        }
        return Err(KafkaFailed::LogIsOlder {
            topic,
            signed,
            held,
        });
    }
    let (old, new) = (checkpoint.size, ours.size);
    let proof = context.reader.consistency(old, new).map_err(of_log)?;
    if verify_consistency(old, new, &proof, &checkpoint.root, &ours.root).is_err() {
        if context.settings.accepts_older {
            context.accept((signed, held));
            return Ok(());
        }
        return Err(KafkaFailed::OtherHistory { topic, signed });
    }
    Ok(())
}
