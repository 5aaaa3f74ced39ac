//! A look at the cluster for `custody doctor`: whether a broker answers, believes us and is
//! believed, whether the topics are there and sound, and whether they may be read.
//!
//! It changes nothing. Whether the acks topic may be written shows by a record without a key, which
//! a compacted topic refuses to whoever may write. The transactional id is not tried, as that would
//! fence a ledger that runs: a running intake says what it lacks. Not here: making topics
//! (`topics`), trying again (`intake`).

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ledger_core::Origin;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::ack::origin_of;
use super::client::{ANSWER_WAIT, KafkaFailed, READ_COMMITTED, Talk, consumer, is, poll, settings};
use super::config::LedgerSettings;
use super::hearing::{acks_reader, from_beginning};
use super::topics::{acks_topic, also_used_by, ensure, events_topic};

/// From try to try within the time that one look may take.
const STEP: Duration = Duration::from_millis(500);
/// How long it is listened what became of connections.
const HEARD: Duration = Duration::from_millis(50);

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// As it should be.
    Well(String),
    /// Worth knowing.
    Note(String),
    /// Wrong, and what to do.
    Wrong(String),
}

/// Looks at the brokers, and if one answers at both topics of the tenant, for the log `origin`.
/// Takes some seconds at most.
pub fn probe(settings: &LedgerSettings, tenant: &str, origin: &Origin) -> Vec<Look> {
    let mut looks = Vec::new();
    if let Err(failed) = look_at(settings, (tenant, origin), &mut looks) {
        looks.push(Look::Wrong(failed.to_string()));
    }
    looks
}

fn look_at(
    settings: &LedgerSettings,
    (tenant, origin): (&str, &Origin),
    looks: &mut Vec<Look>,
) -> Result<(), KafkaFailed> {
    let talk = Talk::default();
    let client = consumer(
        settings.brokers(),
        &talk,
        &[("enable.partition.eof", "true")],
    )?;
    reach(&client, settings, &talk)?;
    let not_made = LedgerSettings {
        create_topics: false,
        ..settings.clone()
    };
    let (found, warnings) = match ensure(&client, &talk, &not_made, tenant) {
        Err(KafkaFailed::NoTopic { topic }) if settings.create_topics => {
            let text = format!("{topic} is not there yet: `custody serve` makes it");
            looks.push(Look::Note(text));
            return Ok(());
        }
        found => found?,
    };
    for topic in [events_topic(tenant), acks_topic(tenant)] {
        readable(&client, settings, &talk, &topic)?;
    }
    for foreign in &settings.foreign {
        readable(&client, settings, &talk, &foreign.topic)?;
    }
    writable(settings, &talk, &acks_topic(tenant))?;
    let partitions = found.partitions.unwrap_or(0);
    looks.push(Look::Well(format!(
        "{} with {partitions} partitions, cluster {}",
        events_topic(tenant),
        found.cluster
    )));
    looks.extend(warnings.into_iter().map(Look::Note));
    let other = other_log(settings, &talk, &acks_topic(tenant), origin)?;
    looks.extend(other.map(Look::Note));
    Ok(())
}

/// Whether another log speaks on the acks topic, as far as it is read within a while.
fn other_log(
    settings: &LedgerSettings,
    talk: &Talk,
    topic: &str,
    origin: &Origin,
) -> Result<Option<String>, KafkaFailed> {
    let brokers = settings.brokers();
    let what = format!("reading topic {topic}");
    let failed = |error: &KafkaError| KafkaFailed::of(error, &what, talk, brokers);
    let client = acks_reader(brokers, talk, READ_COMMITTED)?;
    from_beginning(&client, topic).map_err(|error| failed(&error))?;
    let until = Instant::now() + ANSWER_WAIT;
    while Instant::now() < until {
        match poll(&client, STEP) {
            None => {}
            Some(Ok(record)) => {
                let said = record.key().and_then(origin_of);
                if let Some(other) = said.filter(|said| said != origin) {
                    return Ok(Some(also_used_by(topic, other.as_str())));
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            // Whoever reads on behind it says it.
            Some(Err(error)) if is(&error, RDKafkaErrorCode::BadCompression) => break,
            Some(Err(error)) => return Err(failed(&error)),
        }
    }
    Ok(None)
}

/// Asks until a broker answers, or it is clear that none will.
fn reach(
    client: &BaseConsumer<Talk>,
    settings: &LedgerSettings,
    talk: &Talk,
) -> Result<(), KafkaFailed> {
    let until = Instant::now() + ANSWER_WAIT;
    loop {
        let Err(error) = client.fetch_metadata(None, STEP) else {
            return Ok(());
        };
        // What was heard of connections is told while one polls.
        drop(client.poll(HEARD));
        let failed = KafkaFailed::of(&error, "asking for the cluster", talk, settings.brokers());
        let is_clear = matches!(failed, KafkaFailed::LoginRefused { .. });
        if is_clear || Instant::now() >= until {
            return Err(failed);
        }
    }
}

/// Sends what no compacted topic takes: the answer is another one without the right to write.
fn writable(settings_of: &LedgerSettings, talk: &Talk, topic: &str) -> Result<(), KafkaFailed> {
    let brokers = settings_of.brokers();
    let what = format!("writing to topic {topic}");
    let failed = |error: &KafkaError| KafkaFailed::of(error, &what, talk, brokers);
    let (sender, answer) = sync_channel(1);
    let mut client = settings(brokers)?;
    client.set("message.timeout.ms", ANSWER_WAIT.as_millis().to_string());
    let producer: BaseProducer<Answers> = client
        .create_with_context(Answers(talk.clone(), sender))
        .map_err(|error| failed(&error))?;
    let record = BaseRecord::<(), str>::to(topic).partition(0).payload("");
    producer.send(record).map_err(|(error, _)| failed(&error))?;
    let until = Instant::now() + ANSWER_WAIT;
    while Instant::now() < until {
        producer.poll(HEARD);
        match answer.try_recv() {
            Ok(Some(code)) if code == RDKafkaErrorCode::TopicAuthorizationFailed => {
                return Err(failed(&KafkaError::MessageProduction(code)));
            }
            Ok(_) => return Ok(()),
            Err(_) => {}
        }
    }
    // Whoever is away has been said to be.
    Ok(())
}

/// Hands on what became of the one message.
struct Answers(Talk, SyncSender<Option<RDKafkaErrorCode>>);

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let code = result.as_ref().err();
        let code = code.and_then(|(error, _)| error.rdkafka_error_code());
        // Nobody waits for a second answer.
        let _ = self.1.try_send(code);
    }
}

/// Reads at the end of the first partition: nothing comes, but a refusal does.
fn readable(
    client: &BaseConsumer<Talk>,
    settings: &LedgerSettings,
    talk: &Talk,
    topic: &str,
) -> Result<(), KafkaFailed> {
    let what = format!("reading topic {topic}");
    let failed = |error: &KafkaError| KafkaFailed::of(error, &what, talk, settings.brokers());
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::End)
        .map_err(|error| failed(&error))?;
    client.assign(&list).map_err(|error| failed(&error))?;
    let until = Instant::now() + ANSWER_WAIT;
    while Instant::now() < until {
        match poll(client, STEP) {
            None => {}
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => return Err(failed(&error)),
        }
    }
    Err(KafkaFailed::Failed {
        what,
        reason: format!("no answer within {} s", ANSWER_WAIT.as_secs()),
    })
}
