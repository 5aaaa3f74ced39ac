//! Records and topics as an administrator of the cluster meets them: read, written, deleted by
//! hand, with any headers and in any order. A measurement fills a topic with it, and tests do what
//! a log must bear.
//!
//! Not here: anything that agent or ledger rests on. Nothing is tried again.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

/// Longest wait for a cluster on loopback.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether all was acknowledged.
const FLUSH_LOOK: Duration = Duration::from_millis(1);

/// One record of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RawRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset; not looked at when it is written.
    pub offset: i64,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Why the cluster did not do it.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// The client or a broker said so.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A topic was not made or deleted.
    #[error("topic {topic}: {code}")]
    Topic {
        /// Which.
        topic: String,
        /// What the broker said.
        code: RDKafkaErrorCode,
    },
    /// It took too long.
    #[error("the broker did not answer in {} s", .0.as_secs())]
    Silent(Duration),
}

/// One connection to a cluster.
pub struct RawCluster {
    config: ClientConfig,
    patience: Duration,
}

impl std::fmt::Debug for RawCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration may hold a password.
        f.write_str("RawCluster")
    }
}

impl RawCluster {
    /// A cluster that asks for no certificate and no password.
    pub fn plain(brokers: &str) -> RawCluster {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        RawCluster {
            config,
            patience: PATIENCE,
        }
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, RawError> {
        Ok(self.config.create()?)
    }

    fn consumer(&self) -> Result<BaseConsumer, RawError> {
        let mut config = self.config.clone();
        config
            .set("group.id", "custody-raw")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            // As much as the intake's: a measurement compares the two.
            .set("queued.max.messages.kbytes", "32768")
            .set("fetch.queue.backoff.ms", "5")
            .set("enable.partition.eof", "true");
        Ok(config.create()?)
    }

    /// Makes a topic with one replica.
    ///
    /// # Errors
    /// It is there already, or the cluster refuses.
    pub fn create(
        &self,
        topic: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), RawError> {
        let admin = self.admin()?;
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let answers = wait(admin.create_topics(&[new], &self.options()), self.patience)??;
        one_answer(answers)
    }

    /// Sets what a topic has of its own; anything else of it is as the brokers have it then.
    ///
    /// # Errors
    /// There is no such topic, or the cluster refuses.
    pub fn alter(&self, topic: &str, settings: &[(&str, &str)]) -> Result<(), RawError> {
        let admin = self.admin()?;
        let mut set = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (key, value) in settings {
            set = set.set(key, value);
        }
        let answers = wait(admin.alter_configs([&set], &self.options()), self.patience)??;
        for answer in answers {
            answer.map_err(|(_, code)| {
                let topic = topic.to_owned();
                RawError::Topic { topic, code }
            })?;
        }
        Ok(())
    }

    /// Gives a topic more partitions: so many in all.
    ///
    /// # Errors
    /// It has as many already, or the cluster refuses.
    pub fn grow(&self, topic: &str, partitions: usize) -> Result<(), RawError> {
        let admin = self.admin()?;
        let new = NewPartitions::new(topic, partitions);
        let asked = admin.create_partitions([&new], &self.options());
        one_answer(wait(asked, self.patience)??)
    }

    /// Deletes a topic with all that it holds.
    ///
    /// # Errors
    /// It is not there, or the cluster refuses.
    pub fn delete(&self, topic: &str) -> Result<(), RawError> {
        let admin = self.admin()?;
        let answers = wait(
            admin.delete_topics(&[topic], &self.options()),
            self.patience,
        )??;
        one_answer(answers)
    }

    /// Deletes what lies before an offset, as retention does.
    ///
    /// # Errors
    /// The offset is beyond the end, or the cluster refuses.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) -> Result<(), RawError> {
        let admin = self.admin()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        let done = wait(admin.delete_records(&list, &self.options()), self.patience)??;
        for element in done.elements() {
            element.error()?;
        }
        Ok(())
    }

    /// How many partitions a topic has; `None` if there is no such topic.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub fn partitions(&self, topic: &str) -> Result<Option<i32>, RawError> {
        let consumer = self.consumer()?;
        let metadata = consumer.fetch_metadata(Some(topic), self.patience)?;
        let found = metadata.topics().iter().find(|one| one.name() == topic);
        let found = found.filter(|one| one.error().is_none());
        Ok(found.map(|one| i32::try_from(one.partitions().len()).unwrap_or(i32::MAX)))
    }

    /// The first offset that a partition holds, and the one behind its last.
    ///
    /// # Errors
    /// There is no such partition, or the cluster does not answer.
    pub fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), RawError> {
        let consumer = self.consumer()?;
        Ok(consumer.fetch_watermarks(topic, partition, self.patience)?)
    }

    /// Reads what a partition holds from `offset` on, to its end as it is now, and gives each
    /// committed record to `take`.
    ///
    /// # Errors
    /// The offset was deleted, or the cluster does not answer.
    pub fn read(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        take: &mut dyn FnMut(RawRecord),
    ) -> Result<(), RawError> {
        let consumer = self.consumer()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        consumer.assign(&list)?;
        let mut heard = Instant::now();
        loop {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let headers = message.headers().into_iter().flat_map(|all| all.iter());
                    let headers = headers.map(|header| {
                        let value = header.value.unwrap_or_default();
                        (header.key.to_owned(), value.to_vec())
                    });
                    take(RawRecord {
                        partition,
                        offset: message.offset(),
                        key: message.key().unwrap_or_default().to_vec(),
                        value: message.payload().unwrap_or_default().to_vec(),
                        headers: headers.collect(),
                    });
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) => return Err(error.into()),
                None if heard.elapsed() > self.patience => {
                    return Err(RawError::Silent(self.patience));
                }
                None => {}
            }
        }
    }

    /// Reads all that the partitions of a topic hold and keeps nothing of it: what a consumer can
    /// do at most. Gives how many records there were.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub fn count(&self, topic: &str, partitions: i32) -> Result<u64, RawError> {
        let consumer = self.consumer()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let (mut records, mut bytes, mut ended) = (0_u64, 0_usize, 0);
        let mut heard = Instant::now();
        while ended < partitions {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    records += 1;
                    bytes = bytes.wrapping_add(message.payload_len());
                    heard = Instant::now();
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => return Err(error.into()),
                None if heard.elapsed() > self.patience => {
                    return Err(RawError::Silent(self.patience));
                }
                None => {}
            }
        }
        std::hint::black_box(bytes);
        Ok(records)
    }

    /// A writer; with a transactional id its records count once they are committed.
    ///
    /// # Errors
    /// The cluster does not give it that id.
    pub fn writer(&self, transactional_id: Option<&str>) -> Result<RawWriter, RawError> {
        let mut config = self.config.clone();
        config
            .set("acks", "all")
            .set("compression.type", "zstd")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "20000")
            .set("queue.buffering.max.kbytes", "16384")
            .set("message.max.bytes", "10485760")
            .set("enable.idempotence", "true");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
        }
        let producer: ThreadedProducer<Reports> = config.create_with_context(Reports::default())?;
        if transactional_id.is_some() {
            producer.init_transactions(self.patience)?;
        }
        Ok(RawWriter {
            producer,
            patience: self.patience,
        })
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.patience))
            .operation_timeout(Some(self.patience))
    }
}

/// Keeps the first error of a delivery.
#[derive(Default)]
struct Reports {
    failed: Mutex<Option<KafkaError>>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let (Err((error, _)), Ok(mut failed)) = (result, self.failed.lock()) {
            failed.get_or_insert(error.clone());
        }
    }
}

/// Writes records as they are given.
pub struct RawWriter {
    producer: ThreadedProducer<Reports>,
    patience: Duration,
}

impl std::fmt::Debug for RawWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawWriter")
    }
}

impl RawWriter {
    /// Begins a transaction; only with a transactional id.
    ///
    /// # Errors
    /// The client says so.
    pub fn begin(&self) -> Result<(), RawError> {
        Ok(self.producer.begin_transaction()?)
    }

    /// Hands records over; they may still be on their way.
    ///
    /// # Errors
    /// The client does not take one, such as one that is too large.
    pub fn send(&self, topic: &str, records: &[RawRecord]) -> Result<(), RawError> {
        for record in records {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (key, value) in &record.headers {
                let value = Some(value);
                headers = headers.insert(Header { key, value });
            }
            let mut next = BaseRecord::to(topic)
                .partition(record.partition)
                .key(&record.key)
                .payload(&record.value)
                .headers(headers);
            // A full queue empties by itself.
            while let Err((error, back)) = self.producer.send(next) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                thread::sleep(Duration::from_millis(1));
                next = back;
            }
        }
        Ok(())
    }

    /// Returns when all that was sent is acknowledged.
    ///
    /// # Errors
    /// Something was not.
    pub fn flush(&self) -> Result<(), RawError> {
        // The binding's own flush looks each 100 ms: too seldom to measure with.
        let until = Instant::now() + self.patience;
        while self.producer.in_flight_count() > 0 && Instant::now() < until {
            self.producer.poll(FLUSH_LOOK);
        }
        self.producer.flush(self.patience)?;
        let failed = self.producer.context().failed.lock();
        match failed.ok().and_then(|mut failed| failed.take()) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Makes the records of the transaction count.
    ///
    /// # Errors
    /// The cluster does not say that it did.
    pub fn commit(&self) -> Result<(), RawError> {
        Ok(self.producer.commit_transaction(self.patience)?)
    }

    /// Makes them count for nothing, though they lie in the topic.
    ///
    /// # Errors
    /// The cluster does not say that it did.
    pub fn abort(&self) -> Result<(), RawError> {
        Ok(self.producer.abort_transaction(self.patience)?)
    }
}

fn one_answer(answers: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<(), RawError> {
    for answer in answers {
        answer.map_err(|(topic, code)| RawError::Topic { topic, code })?;
    }
    Ok(())
}

/// Wakes the thread that waits.
struct Waiting(Thread);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs one request to its end on this thread: there is no runtime in this room.
fn wait<T>(request: impl Future<Output = T>, patience: Duration) -> Result<T, RawError> {
    let mut request = pin!(request);
    let waker = Waker::from(Arc::new(Waiting(thread::current())));
    let until = Instant::now() + patience;
    loop {
        if let Poll::Ready(answer) = request.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(answer);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(RawError::Silent(patience));
        }
        thread::park_timeout(left);
    }
}
