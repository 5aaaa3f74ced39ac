//! The ledger's word on the acks topic: what a published checkpoint covers, of each source and of
//! each partition, in one transaction.
//!
//! The transaction's name is the log's origin, so that of two ledgers the later one alone goes on.
//! Not here: the form (`ack`), what the topic says of the log before its first word (`last_word`).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys_secret::SecretKey32;
use ledger_core::{Nanos, SourceId, TreeSize};
use ledger_log::Coverage;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::ack::{LogAck, Passed, SourceAck, ack_mac, log_key, source_key};
use super::client::{ANSWER_WAIT, KafkaFailed, TAKING_OVER, Talk, settings};
use super::form::H_MAC;
use super::ids::{ASK_IDS, SAY_IDS, differ};
use super::intake::Context;
use super::last_word::LastWord;
use super::place::{PartitionPlace, TopicPlace, partition_key, read, topic_key};
use super::topics::{acks_topic, events_topic};

/// Longest wait for a transaction.
const COMMIT_WAIT: Duration = Duration::from_secs(15);
/// How long the last checkpoint is waited for.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How long a checkpoint is waited for at a time.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// All is said again after this time, for agents whose topic was made anew.
const AGAIN_EVERY: Duration = Duration::from_secs(600);
/// Who sends to a partition hears so soon how far it was read, if nothing was taken of them.
const MOVED_EVERY: Duration = Duration::from_secs(30);
/// How many lines of the client's log are read at a time.
const IDS_POLLS: u32 = 16;
/// All is said again so often at most because somebody else writes here.
const OTHERS_EVERY: Duration = Duration::from_secs(60);
/// How often it is asked how much waits in the partitions, and whether somebody else writes here.
const LAG_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for one of those answers: without it the numbers stay as they were.
const LAG_WAIT: Duration = Duration::from_secs(1);

/// Writes the acks topic.
pub(crate) struct AcksWriter {
    producer: BaseProducer<Talk>,
    talk: Talk,
    acks: String,
    /// The id of the acks topic, as last heard.
    id: Option<String>,
    events: String,
    keys: HashMap<SourceId, SecretKey32>,
    /// The checkpoint that was said last.
    covered: Option<Coverage>,
    /// What was said of each source, and of the partitions.
    said: HashMap<SourceId, Said>,
    passed: Vec<Passed>,
    all_at: Instant,
    /// All is to be said again.
    again: bool,
    /// When a source is to hear how far its partition was read.
    due_at: Option<Instant>,
    /// Where the acks topic ended when it was looked at, or behind what was said since.
    end: Option<i64>,
    /// Records of ours that may come behind it: what ends a transaction is written after the
    /// answer.
    markers: i64,
    /// Somebody else wrote to it, which was not answered yet; when that was done last.
    others: bool,
    others_at: Option<Instant>,
}

/// What was said last of a source's partition.
struct Said {
    passed: Passed,
    restored: Nanos,
    at: Instant,
}

impl Said {
    /// Whether a source is to hear this of its partition though nothing else about it is new: at
    /// once if something was lost or forgiven, and now and then if it was read on, for what was
    /// read there and not taken.
    fn is_old(&self, passed: &Passed, restored: Nanos) -> bool {
        let (old, new) = (&self.passed, passed);
        (old.generation, old.lost_to, self.restored) != (new.generation, new.lost_to, restored)
            || (old.next != new.next && self.at.elapsed() >= MOVED_EVERY)
    }
}

/// What a turn says.
struct Words {
    sources: Vec<(SourceId, Passed, Vec<u8>, [u8; 32])>,
    log: Option<LogAck>,
    passed: Vec<Passed>,
}

impl AcksWriter {
    /// Reads what was said before, then takes the topic over.
    ///
    /// # Errors
    /// The topic shows a newer log of this origin; the brokers refuse or are away.
    pub(crate) fn open(context: &Context) -> Result<AcksWriter, KafkaFailed> {
        let talk = Talk::until(&context.stop);
        let acks = acks_topic(context.paths.tenant());
        let brokers = context.settings.brokers();
        let mut heard = LastWord::new(context, &acks, &talk)?;
        heard.check()?;
        let mut client = settings(brokers)?;
        client
            .set(
                "transactional.id",
                format!("custody.{}", context.paths.origin()),
            )
            .set("transaction.timeout.ms", "20000")
            .set("compression.type", "zstd")
            .set("linger.ms", "0")
            .set(SAY_IDS.0, SAY_IDS.1)
            .set(ASK_IDS.0, ASK_IDS.1)
            .set_log_level(RDKafkaLogLevel::Debug);
        let producer: BaseProducer<Talk> = client
            .create_with_context(talk.clone())
            .map_err(|error| KafkaFailed::of(&error, "making a producer", &talk, brokers))?;
        let writer = AcksWriter {
            producer,
            talk: talk.clone(),
            events: events_topic(context.paths.tenant()),
            acks: acks.clone(),
            id: None,
            keys: HashMap::new(),
            covered: None,
            said: HashMap::new(),
            passed: Vec::new(),
            all_at: Instant::now(),
            again: false,
            due_at: None,
            end: None,
            markers: 0,
            others: false,
            others_at: None,
        };
        let begin = |wait| writer.producer.init_transactions(wait);
        let begun = writer.talk.ask(COMMIT_WAIT, begin);
        let what = format!("{TAKING_OVER} custody.{}", context.paths.origin());
        begun.map_err(|error| writer.failed(context, &error, &what))?;
        // What the ledger that is fenced now said in between.
        heard.check()?;
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
                if context.waits() {
                    // Brokers that are away hear nothing: the next start says it.
                    return Ok(());
                }
                self.wait_published(context);
            }
            self.again |= self.is_anew() || self.all_at.elapsed() >= AGAIN_EVERY;
            let after = self.size().filter(|_| !self.again);
            let covered = context.door.coverage(after, LOOK_EVERY);
            let covered = covered.map_err(|error| KafkaFailed::Log(error.to_string()))?;
            let due = self.due_at.is_some_and(|at| at <= Instant::now());
            let covered = covered.or_else(|| self.covered.clone().filter(|_| due));
            if let Some(covered) = covered {
                self.say(context, covered, after)?;
            }
            if Instant::now() >= lag_at {
                self.look_at_lag(context)?;
                self.look_for_others();
                lag_at = Instant::now() + LAG_EVERY;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Whether the topic was made anew since it was looked at last: then all is said again.
    fn is_anew(&mut self) -> bool {
        // What the client heard is told while one polls.
        for _ in 0..IDS_POLLS {
            self.producer.poll(Duration::ZERO);
        }
        let now = self.talk.ids().of(&self.acks);
        let anew = differ(self.id.as_ref(), now.as_ref());
        self.id = now.or(self.id.take());
        anew
    }

    /// The size that was said last.
    fn size(&self) -> Option<TreeSize> {
        self.covered.as_ref().map(|covered| covered.size)
    }

    /// Waits a little for the checkpoint that covers what was read last.
    fn wait_published(&self, context: &Context) {
        let size = context.door.size();
        let before = TreeSize(size.0.saturating_sub(1));
        if self.size().is_none_or(|said| said < size) {
            // Without it the next start says the same.
            let _ = context.door.coverage(Some(before), LAST_WAIT);
        }
    }

    /// Says what is new in `covered`; all of it if nothing was said before.
    fn say(
        &mut self,
        context: &Context,
        covered: Coverage,
        since: Option<TreeSize>,
    ) -> Result<(), KafkaFailed> {
        let Some(words) = self.words(context, &covered, since)? else {
            // Before the log has a place in the topic there is nothing to say.
            std::thread::sleep(LOOK_EVERY);
            return Ok(());
        };
        if !words.sources.is_empty() || words.log.is_some() {
            let written = self.write(&words);
            written.map_err(|error| {
                if !self.talk.ends() {
                    // What is left of it is read by nobody, and given up by the brokers as well.
                    let _ = self.producer.abort_transaction(ANSWER_WAIT);
                }
                self.failed(context, &error, &format!("writing to topic {}", self.acks))
            })?;
            (self.end, self.markers) = (self.ends_at(), 1);
        }
        let at = Instant::now();
        if since.is_none() {
            self.all_at = at;
            self.again = false;
        }
        let said = words.sources.iter();
        self.said.extend(said.map(|(source, passed, ..)| {
            (
                *source,
                Said {
                    passed: *passed,
                    restored: covered.restored(),
                    at,
                },
            )
        }));
        self.passed = words.passed;
        let moved = self.said.values().filter(|said| self.has_moved(said));
        self.due_at = moved.map(|said| said.at + MOVED_EVERY).min();
        self.covered = Some(covered);
        Ok(())
    }

    /// Whether the partition was read on since.
    fn has_moved(&self, said: &Said) -> bool {
        let of = |passed: &&Passed| passed.partition == said.passed.partition;
        let now = self.passed.iter().find(of);
        now.is_some_and(|now| now.next != said.passed.next)
    }

    fn words(
        &mut self,
        context: &Context,
        covered: &Coverage,
        since: Option<TreeSize>,
    ) -> Result<Option<Words>, KafkaFailed> {
        let Some(passed) = self.passed_in(covered) else {
            return Ok(None);
        };
        let mut sources = Vec::new();
        let from = since.unwrap_or(TreeSize(0));
        let changed: HashSet<SourceId> = covered.changed_since(from).map(|one| one.id).collect();
        for state in covered.changed_since(TreeSize(0)).filter(|one| one.keyed) {
            // Messages of sources lie in these alone, whatever was added later.
            let of = usize::try_from(state.id.0).ok();
            let of = of.and_then(|of| passed.get(of.checked_rem(passed.len())?));
            let Some(passed) = of.copied() else { continue };
            if !changed.contains(&state.id) && !self.is_news(state.id, &passed, covered) {
                continue;
            }
            let Some(acknowledged) = context.door.acknowledged_in(covered, state.id) else {
                continue;
            };
            let ack = SourceAck {
                passed,
                restored: covered.restored(),
                acknowledged,
            };
            let value = ack.to_json();
            let mac = ack_mac(self.key(context, state.id)?, state.id, &value);
            sources.push((state.id, passed, value, mac));
        }
        let news = since.is_none() || passed != self.passed || !sources.is_empty();
        let log = news.then(|| LogAck {
            origin: context.paths.origin().as_str().to_owned(),
            size: covered.size.0,
            checkpoint: String::from_utf8_lossy(&covered.note).into_owned(),
        });
        Ok(Some(Words {
            sources,
            log,
            passed,
        }))
    }

    fn is_news(&self, source: SourceId, passed: &Passed, covered: &Coverage) -> bool {
        let said = self.said.get(&source);
        said.is_none_or(|said| said.is_old(passed, covered.restored()))
    }

    /// How far each partition that sources send to was read, in their order.
    fn passed_in(&self, covered: &Coverage) -> Option<Vec<Passed>> {
        let topic = covered.position(&topic_key(&self.events))?;
        let topic = read::<TopicPlace>(topic)?;
        let passed = |partition| {
            let position = covered.position(&partition_key(&self.events, partition));
            let place = position.and_then(read::<PartitionPlace>);
            // A place that no entry came with is covered by the next checkpoint: nothing of the
            // partition was read before.
            let place = place.unwrap_or(PartitionPlace::begin(1, 0));
            Passed {
                partition,
                generation: place.generation,
                next: place.next,
                lost_to: place.lost_to,
            }
        };
        Some((0..topic.partitions).map(passed).collect())
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
        for (source, _, value, mac) in &words.sources {
            let mac = STANDARD.encode(mac);
            let headers = OwnedHeaders::new_with_capacity(1).insert(Header {
                key: H_MAC,
                value: Some(&mac),
            });
            self.put(&source_key(*source), value, Some(headers))?;
        }
        if let Some(log) = &words.log {
            self.put(&log_key(&log.origin), &log.to_json(), None)?;
        }
        let commit = |wait| self.producer.commit_transaction(wait);
        self.talk.ask(COMMIT_WAIT, commit)
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

    fn failed(&self, context: &Context, error: &KafkaError, what: &str) -> KafkaFailed {
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
        // A fatal error is the cause of the one that it was met by.
        let cause = fatal.map(KafkaError::Global);
        let error = cause.as_ref().unwrap_or(error);
        KafkaFailed::of(error, what, &self.talk, context.settings.brokers())
    }

    /// Where the acks topic ends now; `None` if nobody says it.
    fn ends_at(&self) -> Option<i64> {
        let client = self.producer.client();
        let asked = client.fetch_watermarks(&self.acks, 0, LAG_WAIT);
        asked.ok().map(|(_, high)| high)
    }

    /// If somebody else wrote to the acks topic, it may be another ledger of this log, and of two
    /// the brokers let the later one write: it shows when this one says all again. Or somebody
    /// brought an old word again, which must not stay the last of its key.
    fn look_for_others(&mut self) {
        let (before, now) = (self.end, self.ends_at());
        self.end = now.or(before);
        let markers = std::mem::take(&mut self.markers);
        let ours = |(before, now): (i64, i64)| (0..=markers).contains(&now.saturating_sub(before));
        self.others |= before.zip(now).is_some_and(|both| !ours(both));
        let may = self.others_at.is_none_or(|at| at.elapsed() >= OTHERS_EVERY);
        if self.others && may {
            (self.others, self.again) = (false, true);
            self.others_at = Some(Instant::now());
        }
    }

    /// Asks how much waits in each partition, for the status. A client that reads does not say that
    /// its topic was made anew: it shows here, and the next session finds its place again.
    fn look_at_lag(&self, context: &Context) -> Result<(), KafkaFailed> {
        use RDKafkaErrorCode as Code;
        for (topic, partition, next) in context.places() {
            if self.talk.ends() {
                return Ok(());
            }
            let at = i32::try_from(partition).unwrap_or(i32::MAX);
            let client = self.producer.client();
            let high = match client.fetch_watermarks(&topic, at, LAG_WAIT) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_forgiven_or_lost_is_news_at_once() {
        let passed = Passed {
            partition: 1,
            generation: 1,
            next: 5,
            lost_to: 0,
        };
        let at = Instant::now();
        let restored = Nanos(7);
        let said = Said {
            passed,
            restored,
            at,
        };
        assert!(!said.is_old(&passed, restored));
        assert!(!said.is_old(&Passed { next: 9, ..passed }, restored));
        assert!(said.is_old(&passed, Nanos(8)));
        let lost_to = 3;
        assert!(said.is_old(&Passed { lost_to, ..passed }, restored));
        let generation = 2;
        assert!(said.is_old(
            &Passed {
                generation,
                ..passed
            },
            restored
        ));
    }
}
