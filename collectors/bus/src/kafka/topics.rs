//! The two topics of a tenant: their names, making them, and whether they are set so that evidence
//! is safe in them.
//!
//! Not here: what is in them (`form`, `ack`).

use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use super::client::{ANSWER_WAIT, KafkaFailed, Talk, is, settings, wait_for};
use super::config::{Brokers, LedgerSettings};

/// Replicas that a topic should have.
const REPLICAS: usize = 3;
/// Least bytes that a topic must take in a message: the largest event and its headers.
const MESSAGE_BYTES_MIN: u64 = 1 << 20;

/// The topic of a tenant's events.
pub fn events_topic(tenant: &str) -> String {
    format!("custody.events.{tenant}")
}

/// The topic of what a tenant's log acknowledges.
pub fn acks_topic(tenant: &str) -> String {
    format!("custody.acks.{tenant}")
}

/// What is said of another log whose word is found on a tenant's topic.
pub(crate) fn also_used_by(topic: &str, origin: &str) -> String {
    format!(
        "topic {topic} is also used by the log {origin}: if that is another deployment, give one \
         of the two tenants another name"
    )
}

/// What the brokers say of themselves and of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The cluster's id.
    pub cluster: String,
    /// How many brokers there are.
    pub brokers: usize,
    /// The topic's id, if brokers and client say one.
    pub id: Option<String>,
    /// Partitions of the topic; `None` if it does not exist.
    pub partitions: Option<u32>,
    /// Replicas of its first partition.
    pub replicas: usize,
}

/// How a topic is cleaned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cleanup {
    Delete,
    Compact,
}

/// Asks for the cluster and `topic`.
///
/// # Errors
/// Nobody answers, or the right to look at it is missing.
pub(crate) fn look(
    consumer: &BaseConsumer<Talk>,
    talk: &Talk,
    brokers: &Brokers,
    topic: &str,
    wait: Duration,
) -> Result<Found, KafkaFailed> {
    let what = format!("describing topic {topic}");
    let metadata = talk
        .ask(wait, |wait| consumer.fetch_metadata(Some(topic), wait))
        .map_err(|error| KafkaFailed::of(&error, &what, talk, brokers))?;
    let found = metadata.topics().iter().find(|one| one.name() == topic);
    let mut partitions = None;
    let mut replicas = 0;
    if let Some(found) = found {
        match found.error().map(super::client::code) {
            None => {
                let count = u32::try_from(found.partitions().len()).ok();
                partitions = count.filter(|count| *count > 0);
                let first = found.partitions().first();
                replicas = first.map_or(0, |first| first.replicas().len());
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                return Err(KafkaFailed::NotAllowed { what });
            }
            Some(_) => {}
        }
    }
    // Without an answer it would look like a cluster without a name, to which nobody moved.
    let cluster = consumer.client().fetch_cluster_id(wait);
    let cluster = cluster.filter(|id| !id.is_empty());
    let cluster = cluster.ok_or_else(|| KafkaFailed::Failed {
        what: "asking for the cluster".to_owned(),
        reason: "the brokers do not say which cluster they are".to_owned(),
    })?;
    Ok(Found {
        cluster,
        id: talk.ids().of(topic),
        brokers: metadata.brokers().len(),
        partitions,
        replicas,
    })
}

/// Both topics of a tenant, there and sound: made if they are missing and may be made. Returns what
/// was found of the events topic, and what a careful operator would change.
///
/// # Errors
/// Nobody answers, a right is missing, a topic is missing or set so that records would be lost.
pub(crate) fn ensure(
    consumer: &BaseConsumer<Talk>,
    talk: &Talk,
    settings_of: &LedgerSettings,
    tenant: &str,
) -> Result<(Found, Vec<String>), KafkaFailed> {
    let brokers = settings_of.brokers();
    let admin = Admin::new(brokers, talk)?;
    let acks = acks_topic(tenant);
    let events = events_topic(tenant);
    let mut warnings = Vec::new();
    for (topic, partitions, cleanup) in [
        (&acks, 1, Cleanup::Compact),
        (&events, settings_of.partitions, Cleanup::Delete),
    ] {
        let mut found = look(consumer, talk, brokers, topic, ANSWER_WAIT)?;
        if found.partitions.is_none() {
            if !settings_of.create_topics {
                let topic = topic.clone();
                return Err(KafkaFailed::NoTopic { topic });
            }
            admin.create(topic, partitions, settings_of.replication, cleanup, &found)?;
            found = admin.appeared(consumer, topic)?;
        }
        admin.check(topic, cleanup, &found, &mut warnings)?;
        if cleanup == Cleanup::Compact && found.partitions != Some(1) {
            let reason = "must have one partition: make it anew, and agents wait for it".to_owned();
            let topic = topic.clone();
            return Err(KafkaFailed::BadTopic { topic, reason });
        }
        if cleanup == Cleanup::Delete {
            return Ok((found, warnings));
        }
    }
    // The events topic is the last of the two.
    Err(KafkaFailed::NoTopic { topic: events })
}

/// What a careful operator would change about a topic of another shipper.
///
/// # Errors
/// Nobody answers.
pub(crate) fn warnings_of_foreign(
    brokers: &Brokers,
    talk: &Talk,
    topic: &str,
) -> Result<Vec<String>, KafkaFailed> {
    let admin = Admin::new(brokers, talk)?;
    let mut warnings = Vec::new();
    if let Some(resource) = admin.describe(topic, &mut warnings)? {
        let policy = resource.get("cleanup.policy");
        let policy = policy.and_then(|entry| entry.value.as_deref());
        if policy.unwrap_or_default().contains("compact") {
            warnings.push(format!(
                "topic {topic} is compacted: of records with one key all but the last can be gone \
                 before they are read, and it does not show; set cleanup.policy=delete"
            ));
        }
    }
    Ok(warnings)
}

/// Makes and describes topics.
struct Admin<'a> {
    client: AdminClient<Talk>,
    talk: &'a Talk,
    brokers: &'a Brokers,
    options: AdminOptions,
}

impl<'a> Admin<'a> {
    fn new(brokers: &'a Brokers, talk: &'a Talk) -> Result<Admin<'a>, KafkaFailed> {
        let client = settings(brokers)?
            .create_with_context(talk.clone())
            .map_err(|error| KafkaFailed::of(&error, "making a client", talk, brokers))?;
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER_WAIT))
            .operation_timeout(Some(ANSWER_WAIT));
        Ok(Admin {
            client,
            talk,
            brokers,
            options,
        })
    }

    fn create(
        &self,
        topic: &str,
        partitions: u32,
        replication: u32,
        cleanup: Cleanup,
        found: &Found,
    ) -> Result<(), KafkaFailed> {
        let replicas = match replication {
            0 => found.brokers.clamp(1, REPLICAS),
            set => usize::try_from(set).unwrap_or(REPLICAS),
        };
        let replicas = i32::try_from(replicas).unwrap_or(1);
        let count = i32::try_from(partitions).unwrap_or(1);
        let mut new = NewTopic::new(topic, count, TopicReplication::Fixed(replicas));
        new = match cleanup {
            // One compression, so that the brokers do not hand on others: of those a reader cannot
            // bound what a small record becomes in memory.
            Cleanup::Delete => new
                .set("cleanup.policy", "delete")
                .set("compression.type", "zstd"),
            // Acknowledgements are few: the tail that is not compacted stays short.
            Cleanup::Compact => new
                .set("cleanup.policy", "compact")
                .set("segment.ms", "3600000")
                .set("min.cleanable.dirty.ratio", "0.1"),
        };
        if replicas >= 3 {
            new = new
                .set("min.insync.replicas", "2")
                .set("unclean.leader.election.enable", "false");
        }
        let what = format!("creating topic {topic}");
        let failed = |error| KafkaFailed::of(&error, &what, self.talk, self.brokers);
        let made = wait_for(self.client.create_topics([&new], &self.options)).map_err(failed)?;
        match made.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) => Ok(()),
            Some(Err((_, code))) => Err(failed(rdkafka::error::KafkaError::AdminOp(code))),
            None => Err(failed(rdkafka::error::KafkaError::Canceled)),
        }
    }

    /// Waits until the brokers know the topic that was just made.
    fn appeared(&self, consumer: &BaseConsumer<Talk>, topic: &str) -> Result<Found, KafkaFailed> {
        let until = Instant::now() + ANSWER_WAIT;
        loop {
            let found = look(consumer, self.talk, self.brokers, topic, ANSWER_WAIT)?;
            if found.partitions.is_some_and(|count| count > 0) {
                return Ok(found);
            }
            if Instant::now() >= until {
                let topic = topic.to_owned();
                return Err(KafkaFailed::NoTopic { topic });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The settings of a topic; `None`, and a warning, without the right to see them.
    fn describe(
        &self,
        topic: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Option<ConfigResource>, KafkaFailed> {
        let what = format!("describing the settings of topic {topic}");
        let asked = [ResourceSpecifier::Topic(topic)];
        let failed = |error| KafkaFailed::of(&error, &what, self.talk, self.brokers);
        let told = wait_for(self.client.describe_configs(&asked, &self.options));
        let told = match told {
            Ok(told) => told.into_iter().next(),
            Err(error) if is(&error, RDKafkaErrorCode::TopicAuthorizationFailed) => None,
            Err(error) => return Err(failed(error)),
        };
        let told = told.and_then(Result::ok);
        if told.is_none() {
            warnings.push(format!(
                "topic {topic}: its settings cannot be seen (right DescribeConfigs), so they are \
                 not checked"
            ));
        }
        Ok(told)
    }

    fn check(
        &self,
        topic: &str,
        cleanup: Cleanup,
        found: &Found,
        warnings: &mut Vec<String>,
    ) -> Result<(), KafkaFailed> {
        let Some(resource) = self.describe(topic, warnings)? else {
            return Ok(());
        };
        let value = |name: &str| resource.get(name).and_then(|entry| entry.value.clone());
        let policy = value("cleanup.policy").unwrap_or_default();
        let compacts = policy.split(',').any(|word| word.trim() == "compact");
        let bad = |reason: &str| {
            let (topic, reason) = (topic.to_owned(), reason.to_owned());
            Err(KafkaFailed::BadTopic { topic, reason })
        };
        match cleanup {
            Cleanup::Delete if compacts => {
                return bad(
                    "is compacted, which would leave the last record of each source only: set \
                     cleanup.policy=delete",
                );
            }
            Cleanup::Compact if !compacts || policy.contains("delete") => {
                return bad(
                    "is not compacted only, so agents would lose sight of what they may forget: \
                     set cleanup.policy=compact",
                );
            }
            Cleanup::Delete | Cleanup::Compact => {}
        }
        let number = |name: &str| value(name).and_then(|text| text.parse::<u64>().ok());
        if let Some(bytes) = number("max.message.bytes").filter(|bytes| *bytes < MESSAGE_BYTES_MIN)
        {
            warnings.push(format!(
                "topic {topic}: max.message.bytes is {bytes}, so the largest events are not taken: \
                 set it to {MESSAGE_BYTES_MIN} or more"
            ));
        }
        if cleanup == Cleanup::Delete {
            warnings.extend(other_compression(topic, value("compression.type")));
        }
        if found.replicas < REPLICAS {
            warnings.push(format!(
                "topic {topic} has {} of {REPLICAS} replicas: agents send again what a lost broker \
                 takes with it",
                found.replicas
            ));
        } else if number("min.insync.replicas").unwrap_or(1) < 2 {
            warnings.push(format!(
                "topic {topic}: min.insync.replicas is below 2, so a lost broker can take messages \
                 with it that agents send again"
            ));
        }
        Ok(())
    }
}

/// What to say of the compression of an events topic.
fn other_compression(topic: &str, value: Option<String>) -> Option<String> {
    let value = value.unwrap_or_default();
    let bounded = ["zstd", "uncompressed"].contains(&value.as_str());
    (!bounded).then(|| {
        format!(
            "topic {topic}: compression.type is {value}, so that whoever may write can fill the \
             ledger's memory with one small record: set it to zstd"
        )
    })
}
