//! One connection of the ledger: finds its place in every partition, then reads, hands over to the
//! door and goes on, until it is stopped or something is in the way.
//!
//! Before a partition is gone on with, the record that was taken last is read again: it tells a topic
//! that was made anew from the one that the log knows. A crash at any line leaves records that are
//! durable and a place before them; what is read again then is a repeat. Not here: trying again
//! (`intake`), acknowledgements (`acks`).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger_core::message::VALUE_MAX;
use ledger_core::state::{Position, Stream};
use ledger_core::{Nanos, SourceId};
use ledger_log::door::Ticket;
use ledger_log::{Batch, Door as _, DoorError, Outcome, SourceSpec};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{ANSWER_WAIT, KafkaFailed, Talk, consumer};
use super::config::ForeignConfig;
use super::foreign::Foreign;
use super::form::{self, Head, Home, NotOurs};
use super::gather::{GATHERED_BYTES_MAX, GATHERED_MAX, Gathered};
use super::intake::Context;
use super::notice::{Notice, Stray, stray};
use super::place::{
    LastRecord, PartitionPlace, TopicPlace, partition_key, read, stored, topic_key,
};
use super::status::BusState;
use super::topics::{Found, ensure, events_topic, look};

/// How long a poll waits for the first record.
const POLL: Duration = Duration::from_millis(100);
/// Batches that are on their way to the disk at once.
const TICKETS_MAX: usize = 8;
/// What the labels of digests of records begin with.
const RECORD_LABEL: &[u8] = b"custody kafka record v1";
/// The platform of the ledger's own sources.
const PLATFORM: &str = "kafka";
/// How often it is asked at most which sources there are.
const KNOWN_EVERY: Duration = Duration::from_secs(1);

/// A connection that reads.
pub(crate) struct Session<'c> {
    context: &'c Context,
    /// What was found of the events topic.
    found: Found,
    client: BaseConsumer<Talk>,
    talk: Talk,
    home: Home,
    partitions: Vec<Partition>,
    /// The one whose record was read last.
    current: usize,
    /// Sources, and whether they have a key.
    known: HashMap<SourceId, bool>,
    known_at: Instant,
    tickets: VecDeque<(Ticket, Option<Position>)>,
    /// Places behind repeats alone, which no frame has kept.
    repeated: Vec<Position>,
}

/// A partition that is read.
struct Partition {
    topic: String,
    number: u32,
    gathered: Gathered,
    /// The record that must come first.
    check: Option<LastRecord>,
    /// The source of what the ledger itself says about it, once it is registered.
    own: Option<SourceId>,
    /// When the record was written that was read last.
    read_at: Nanos,
    kind: PartitionKind,
}

enum PartitionKind {
    Events,
    Foreign(String, String, Foreign),
}

/// What a record is.
enum Meaning {
    Message(Head),
    Own(Vec<u8>),
}

impl<'c> Session<'c> {
    /// Connects and looks at the topics; nothing is appended yet.
    pub(crate) fn connect(context: &'c Context) -> Result<Session<'c>, KafkaFailed> {
        let talk = Talk::default();
        let set = [
            ("queued.min.messages", "20000"),
            ("queued.max.messages.kbytes", "32768"),
            ("fetch.message.max.bytes", "2097152"),
            ("fetch.max.bytes", "16777216"),
            ("fetch.wait.max.ms", "50"),
            ("topic.metadata.refresh.interval.ms", "10000"),
        ];
        let client = consumer(context.settings.brokers(), &talk, &set)?;
        let tenant = context.paths.tenant();
        let (found, warnings) = ensure(&client, &talk, &context.settings, tenant)?;
        for warning in &warnings {
            context.warn(warning);
        }
        Ok(Session {
            context,
            found,
            client,
            talk,
            home: Home::new(context.paths.deployment(), tenant),
            partitions: Vec::new(),
            current: 0,
            known: HashMap::new(),
            known_at: Instant::now(),
            tickets: VecDeque::new(),
            repeated: Vec::new(),
        })
    }

    /// Finds the place in each partition, and says what happened to it meanwhile.
    pub(crate) fn find_places(&mut self) -> Result<(), KafkaFailed> {
        self.know_sources()?;
        let context = self.context;
        let found = self.found.clone();
        self.find_in(&events_topic(context.paths.tenant()), &found, None)?;
        for config in &context.settings.foreign {
            let brokers = context.settings.brokers();
            let found = look(
                &self.client,
                &self.talk,
                brokers,
                &config.topic,
                ANSWER_WAIT,
            )?;
            self.find_in(&config.topic, &found, Some(config))?;
        }
        Ok(())
    }

    /// Begins to read, and reads until it is stopped.
    pub(crate) fn run(&mut self) -> Result<(), KafkaFailed> {
        let mut list = TopicPartitionList::new();
        for one in &self.partitions {
            let place = one.gathered.place();
            let from = place.last.as_ref().map_or(place.next, |last| last.offset);
            list.add_partition_offset(&one.topic, number(one.number), offset(from))
                .map_err(|error| self.failed(&error, "choosing partitions"))?;
        }
        self.client
            .assign(&list)
            .map_err(|error| self.failed(&error, "choosing partitions"))?;
        self.context.state(BusState::Reading, None);
        while !self.context.stop.load(Ordering::Relaxed) {
            self.context.acks_failed()?;
            let found = self.gather()?;
            self.hand_over()?;
            self.reap(if found == 0 { 0 } else { TICKETS_MAX })?;
        }
        self.reap(0)
    }

    fn failed(&self, error: &KafkaError, what: &str) -> KafkaFailed {
        KafkaFailed::of(error, what, &self.talk, self.context.settings.brokers())
    }

    // Finding the place.

    /// The place in every partition of a topic.
    fn find_in(
        &mut self,
        topic: &str,
        found: &Found,
        foreign: Option<&ForeignConfig>,
    ) -> Result<(), KafkaFailed> {
        let Some(count) = found.partitions else {
            let topic = topic.to_owned();
            return Err(KafkaFailed::NoTopic { topic });
        };
        let mut keys = vec![topic_key(topic)];
        keys.extend((0..count).map(|number| partition_key(topic, number)));
        let mut positions = self.positions(&keys)?.into_iter();
        let known: Option<TopicPlace> = positions.next().flatten().and_then(|one| read(&one));
        let moved = self.check_topic(topic, found, count, known.as_ref())?;
        let first = self.partitions.len();
        for (number, position) in (0..count).zip(positions) {
            let kind = self.kind(foreign, number)?;
            let place = position.and_then(|one| read::<PartitionPlace>(&one));
            let (place, notice) = self.resume(topic, number, place, moved.as_ref())?;
            let mut partition = Partition {
                topic: topic.to_owned(),
                number,
                check: place.last.clone(),
                gathered: Gathered::new(place.clone()),
                own: None,
                read_at: self.context.now(),
                kind,
            };
            if let Some(notice) = notice {
                partition.check = None;
                self.say(&mut partition, &notice, place, Vec::new())?;
            }
            let place = partition.gathered.place();
            let reached = (place.generation, place.next);
            self.context
                .reached((topic, number), reached, partition.read_at);
            self.partitions.push(partition);
        }
        let place = TopicPlace {
            cluster: found.cluster.clone(),
            partitions: known.as_ref().map_or(count, |known| known.partitions),
        };
        if known.as_ref() != Some(&place) {
            self.begin_topic(first, &place, moved)?;
        }
        if foreign.is_none() {
            self.context.found(topic, &place);
        }
        Ok(())
    }

    /// Says that the topic is read from now on, and keeps what it is in the same frame.
    fn begin_topic(
        &mut self,
        first: usize,
        place: &TopicPlace,
        moved: Option<Notice>,
    ) -> Result<(), KafkaFailed> {
        if self.partitions.len() <= first {
            return Ok(());
        }
        let mut partition = self.partitions.remove(first);
        let notice = moved.unwrap_or(Notice::Began {
            cluster: place.cluster.clone(),
            partitions: place.partitions,
        });
        let at = partition.gathered.place().clone();
        let kept = vec![stored(topic_key(&partition.topic), place)];
        self.say(&mut partition, &notice, at, kept)?;
        self.partitions.insert(first, partition);
        Ok(())
    }

    /// Whether the topic is the one that the log knows; a notice if it was moved on purpose.
    fn check_topic(
        &self,
        topic: &str,
        found: &Found,
        count: u32,
        known: Option<&TopicPlace>,
    ) -> Result<Option<Notice>, KafkaFailed> {
        let Some(known) = known else { return Ok(None) };
        if count < known.partitions {
            let reason = format!(
                "has {count} partitions, but the log began with {}: make as many",
                known.partitions
            );
            let topic = topic.to_owned();
            return Err(KafkaFailed::BadTopic { topic, reason });
        }
        if count > known.partitions {
            self.context.warn(&format!(
                "topic {topic} has {count} partitions now: sources stay in the first {}",
                known.partitions
            ));
        }
        if known.cluster == found.cluster {
            return Ok(None);
        }
        let (from, to) = (known.cluster.clone(), found.cluster.clone());
        if self.context.settings.cluster == to {
            return Ok(Some(Notice::Moved { from, to }));
        }
        Err(KafkaFailed::OtherCluster {
            brokers: self.context.settings.brokers().addresses().to_owned(),
            found: to,
            known: from,
        })
    }

    fn kind(
        &self,
        foreign: Option<&ForeignConfig>,
        number: u32,
    ) -> Result<PartitionKind, KafkaFailed> {
        let Some(config) = foreign else {
            return Ok(PartitionKind::Events);
        };
        let source = format!("{}/{number}", config.source);
        let reader = Foreign::new(config, self.context.digest_key(&source))
            .map_err(|error| KafkaFailed::Log(error.to_string()))?;
        Ok(PartitionKind::Foreign(
            source,
            config.platform.clone(),
            reader,
        ))
    }

    /// Where to go on in a partition, and what is to be said about it.
    fn resume(
        &self,
        topic: &str,
        partition: u32,
        place: Option<PartitionPlace>,
        moved: Option<&Notice>,
    ) -> Result<(PartitionPlace, Option<Notice>), KafkaFailed> {
        let (low, high) = self.watermarks(topic, partition)?;
        let Some(place) = place else {
            return Ok((PartitionPlace::begin(1, low), None));
        };
        let next = place.next;
        let anew = |why| {
            let begin = PartitionPlace::begin(place.generation.saturating_add(1), low);
            (begin, Some(Notice::Anew { next, why }))
        };
        if moved.is_some() {
            return Ok(anew("it lies in another cluster"));
        }
        if high < next {
            return Ok(anew("it ends before that"));
        }
        if low > next {
            let count = low - next;
            let after = PartitionPlace {
                next: low,
                last: None,
                ..place
            };
            return Ok((after, Some(Notice::Lost { from: next, count })));
        }
        let mut place = place;
        if place.last.as_ref().is_some_and(|last| last.offset < low) {
            // Deleted after it was read, as retention does: there is nothing to compare.
            place.last = None;
        }
        Ok((place, None))
    }

    fn watermarks(&self, topic: &str, partition: u32) -> Result<(u64, u64), KafkaFailed> {
        let (low, high) = self
            .client
            .fetch_watermarks(topic, number(partition), ANSWER_WAIT)
            .map_err(|error| self.failed(&error, &format!("asking for offsets of {topic}")))?;
        let plain = |offset: i64| u64::try_from(offset).unwrap_or_default();
        Ok((plain(low), plain(high)))
    }

    fn positions(&self, keys: &[String]) -> Result<Vec<Option<Position>>, KafkaFailed> {
        self.context.door.clone().positions(keys).map_err(of_log)
    }

    // Reading.

    /// Reads what is there, up to the bounds. Returns how many records it read.
    fn gather(&mut self) -> Result<usize, KafkaFailed> {
        let (mut count, mut bytes) = (0, 0);
        let mut wait = if self.tickets.is_empty() {
            POLL
        } else {
            Duration::ZERO
        };
        while count < GATHERED_MAX && bytes < GATHERED_BYTES_MAX {
            let record = match self.client.poll(wait) {
                None => break,
                Some(Err(error)) => {
                    self.trouble(&error)?;
                    continue;
                }
                Some(Ok(record)) => {
                    let index = index_of(&self.partitions, self.current, &record);
                    let index = index.ok_or_else(not_asked_for)?;
                    Record::of(&record, index, &self.home)
                }
            };
            self.current = record.index;
            count += 1;
            bytes += record.value.len();
            self.take(record)?;
            wait = Duration::ZERO;
        }
        Ok(count)
    }

    /// Errors that the client does not get over by itself end the session.
    fn trouble(&self, error: &KafkaError) -> Result<(), KafkaFailed> {
        use RDKafkaErrorCode as Code;
        let topic = || events_topic(self.context.paths.tenant());
        let what = "reading the events topic";
        match error.rdkafka_error_code() {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                Err(KafkaFailed::NoTopic { topic: topic() })
            }
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut,
            ) => {
                let failed = self.failed(error, what);
                self.context.state(BusState::Waiting, Some(failed));
                Ok(())
            }
            // Out of range, a right that was taken away, and whatever else: looked at anew.
            _ => Err(self.failed(error, what)),
        }
    }

    fn take(&mut self, record: Record) -> Result<(), KafkaFailed> {
        let index = record.index;
        let Some(partition) = self.partitions.get_mut(index) else {
            return Ok(());
        };
        let digest = match (&record.head, &partition.kind) {
            (Ok(head), PartitionKind::Events) => STANDARD.encode(head.mac),
            _ => STANDARD.encode(self.context.digest(RECORD_LABEL, &record.value)),
        };
        let last = LastRecord {
            offset: record.offset,
            digest,
        };
        if let Some(check) = partition.check.take() {
            return if last == check {
                Ok(())
            } else {
                self.anew(index)
            };
        }
        partition.read_at = record.at;
        if record.offset < partition.gathered.place().next {
            // Read again after a look at the broker: it was taken.
            return Ok(());
        }
        let event = match self.meaning(&record)? {
            Meaning::Own(event) => event,
            Meaning::Message(head) => {
                if let Some(partition) = self.partitions.get_mut(index) {
                    partition.gathered.message(head, record.value, last);
                }
                return Ok(());
            }
        };
        let source = self.own_source(index)?;
        if let Some(partition) = self.partitions.get_mut(index) {
            partition.gathered.own(source, event, last);
        }
        Ok(())
    }

    /// What a record is: a message that the door may see, or an event that is made of it.
    fn meaning(&mut self, record: &Record) -> Result<Meaning, KafkaFailed> {
        let Some(partition) = self.partitions.get(record.index) else {
            return Err(not_asked_for());
        };
        let at = (&partition.topic, partition.number, record.offset);
        let place = format_args!("{}/{}/{}", at.0, at.1, at.2).to_string();
        if let PartitionKind::Foreign(_, _, reader) = &partition.kind {
            return Ok(Meaning::Own(reader.event(&record.value, &place, record.at)));
        }
        let reason = match record.head {
            Err(reason) => Stray::Headers(reason),
            Ok(head) => match self.refuse(&head, record)? {
                None => return Ok(Meaning::Message(head)),
                Some(reason) => reason,
            },
        };
        self.context.stray();
        Ok(Meaning::Own(stray(
            &reason,
            &place,
            &record.value,
            record.at,
        )))
    }

    /// Why the door may not see a message of this head.
    fn refuse(&mut self, head: &Head, record: &Record) -> Result<Option<Stray>, KafkaFailed> {
        if record.value.len() > VALUE_MAX {
            return Ok(Some(Stray::TooLarge));
        }
        if head.stream == Stream::Snapshot {
            return Ok(Some(Stray::Snapshot));
        }
        if !self.known.contains_key(&head.source) && self.known_at.elapsed() >= KNOWN_EVERY {
            self.know_sources()?;
        }
        Ok(match self.known.get(&head.source) {
            None => Some(Stray::UnknownSource),
            Some(false) => Some(Stray::NoKey),
            Some(true) => None,
        })
    }

    fn know_sources(&mut self) -> Result<(), KafkaFailed> {
        self.known_at = Instant::now();
        let status = self.context.door.clone().status().map_err(of_log)?;
        let sources = status.sources.into_iter();
        self.known = sources.map(|one| (SourceId(one.id), one.keyed)).collect();
        Ok(())
    }

    // What the ledger itself says.

    /// The record that was taken last is another one now: from the beginning.
    fn anew(&mut self, index: usize) -> Result<(), KafkaFailed> {
        // What was gathered of others goes first, so that the place of this one is alone.
        self.hand_over()?;
        if index >= self.partitions.len() {
            return Ok(());
        }
        let mut partition = self.partitions.remove(index);
        let place = partition.gathered.place();
        let next = place.next;
        let (low, _) = self.watermarks(&partition.topic, partition.number)?;
        let begin = PartitionPlace::begin(place.generation.saturating_add(1), low);
        let why = "the record that was read last is another one now";
        self.say(
            &mut partition,
            &Notice::Anew { next, why },
            begin,
            Vec::new(),
        )?;
        let (topic, at) = (&partition.topic, number(partition.number));
        let sought = self.client.seek(topic, at, offset(low), ANSWER_WAIT);
        let failed = sought.map_err(|error| self.failed(&error, "going back"));
        self.partitions.insert(index, partition);
        failed
    }

    /// Appends a notice, and with it where reading goes on; returns when it is durable.
    fn say(
        &self,
        partition: &mut Partition,
        notice: &Notice,
        place: PartitionPlace,
        mut positions: Vec<Position>,
    ) -> Result<(), KafkaFailed> {
        let name = format!("{}/{}", partition.topic, partition.number);
        let source = self.registered(partition)?;
        let value = notice.value(&name, self.context.now());
        tracing::warn!(place = name, notice = notice.name(), "kafka");
        partition.gathered.notice(source, value, place);
        let key = partition_key(&partition.topic, partition.number);
        positions.push(stored(key, partition.gathered.place()));
        let mut door = self.context.door.clone();
        for batch in partition.gathered.take(positions) {
            door.append(batch).map_err(of_log)?;
        }
        Ok(())
    }

    fn own_source(&mut self, index: usize) -> Result<SourceId, KafkaFailed> {
        let Some(partition) = self.partitions.get(index) else {
            return Err(KafkaFailed::Log("a partition is gone".to_owned()));
        };
        if let Some(own) = partition.own {
            return Ok(own);
        }
        let own = self.registered(partition)?;
        if let Some(partition) = self.partitions.get_mut(index) {
            partition.own = Some(own);
        }
        Ok(own)
    }

    /// The source of what the ledger makes of a partition.
    fn registered(&self, partition: &Partition) -> Result<SourceId, KafkaFailed> {
        let (name, platform) = match &partition.kind {
            PartitionKind::Events => (format!("kafka:events/{}", partition.number), PLATFORM),
            PartitionKind::Foreign(name, platform, _) => (name.clone(), platform.as_str()),
        };
        let platform = platform.to_owned();
        let state = self
            .context
            .door
            .clone()
            .register(&SourceSpec { name, platform });
        Ok(state.map_err(of_log)?.id)
    }

    // Handing over.

    fn hand_over(&mut self) -> Result<(), KafkaFailed> {
        for partition in &mut self.partitions {
            if partition.gathered.is_empty() {
                continue;
            }
            let key = partition_key(&partition.topic, partition.number);
            let place = partition.gathered.place();
            let (at, reached) = (
                (&*partition.topic, partition.number),
                (place.generation, place.next),
            );
            self.context.reached(at, reached, partition.read_at);
            let position = stored(key, place);
            let batches = partition.gathered.take(vec![position.clone()]);
            let last = batches.len().saturating_sub(1);
            for (number, batch) in batches.into_iter().enumerate() {
                let ticket = self.context.door.submit(batch).map_err(of_log)?;
                let position = (number == last).then(|| position.clone());
                self.tickets.push_back((ticket, position));
            }
        }
        Ok(())
    }

    /// Waits until at most `room` batches are on their way.
    fn reap(&mut self, room: usize) -> Result<(), KafkaFailed> {
        while self.tickets.len() > room {
            let Some((ticket, position)) = self.tickets.pop_front() else {
                break;
            };
            let kept = match ticket.wait() {
                Ok(appended) => appended.outcomes.iter().any(|one| *one != Outcome::Repeat),
                Err(error @ DoorError::SourceStopped { .. }) => {
                    // Its messages stay in its agent's journal, and come again.
                    self.context.warn(&error.to_string());
                    false
                }
                Err(error) => return Err(of_log(error)),
            };
            if let Some(position) = position {
                // A later place of the same partition takes the place of the one before.
                self.repeated.retain(|one| one.key != position.key);
                if !kept {
                    self.repeated.push(position);
                }
            }
        }
        if room == 0 {
            self.keep_repeated()?;
        }
        Ok(())
    }

    /// What was only repeated is passed all the same, so that it is not read again for ever.
    fn keep_repeated(&mut self) -> Result<(), KafkaFailed> {
        let positions = std::mem::take(&mut self.repeated);
        if positions.is_empty() {
            return Ok(());
        }
        let Some(source) = self.known.keys().next().copied() else {
            return Ok(());
        };
        let batch = Batch {
            source,
            messages: Vec::new(),
            positions,
        };
        self.context.door.clone().append(batch).map_err(of_log)?;
        Ok(())
    }
}

fn not_asked_for() -> KafkaFailed {
    KafkaFailed::Failed {
        what: "reading".to_owned(),
        reason: "a record came from a partition that was not asked for".to_owned(),
    }
}

/// A record, out of the client's hands.
struct Record {
    /// Which of the partitions.
    index: usize,
    offset: u64,
    at: Nanos,
    /// What its headers say; of a foreign topic nobody asks.
    head: Result<Head, NotOurs>,
    value: Vec<u8>,
}

impl Record {
    fn of(record: &BorrowedMessage<'_>, index: usize, home: &Home) -> Record {
        let millis = record.timestamp().to_millis().unwrap_or_default();
        let head = match record.headers() {
            None => form::read(std::iter::empty(), home),
            Some(headers) => form::read(headers.iter().map(|one| (one.key, one.value)), home),
        };
        Record {
            index,
            offset: u64::try_from(record.offset()).unwrap_or_default(),
            at: Nanos(millis.saturating_mul(1_000_000)),
            head,
            value: record.payload().unwrap_or_default().to_vec(),
        }
    }
}

/// Which partition a record is of; mostly the one of the record before.
fn index_of(
    partitions: &[Partition],
    current: usize,
    record: &BorrowedMessage<'_>,
) -> Option<usize> {
    let (topic, at) = (record.topic(), record.partition());
    let is = |one: &Partition| number(one.number) == at && one.topic == topic;
    if partitions.get(current).is_some_and(is) {
        return Some(current);
    }
    partitions.iter().position(is)
}

fn of_log(error: DoorError) -> KafkaFailed {
    KafkaFailed::Log(error.to_string())
}

fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

fn offset(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}
