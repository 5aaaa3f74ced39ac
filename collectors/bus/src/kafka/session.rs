//! One connection of the ledger: finds its place in every partition, then reads, hands over to the
//! door and goes on, until it is stopped or something is in the way.
//!
//! Before a partition is gone on with, the record that was taken last is read again: it tells a
//! topic that was made anew from the one that the log knows. A crash at any line leaves records and
//! the place behind them durable together. Not here: where it begins (`places`), trying again
//! (`intake`), acknowledgements (`acks`).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ledger_core::message::VALUE_MAX;
use ledger_core::state::Stream;
use ledger_core::{Nanos, SourceId};
use ledger_log::{DoorError, RunTicket};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{KafkaFailed, Talk, consumer, poll};
use super::foreign::Foreign;
use super::form::{Head, Home};
use super::gather::{GATHERED_BYTES_MAX, GATHERED_MAX, Gathered};
use super::growing::Grown;
use super::ids::{ASK_IDS, SAY_IDS, differ};
use super::intake::Context;
use super::junk::Junk;
use super::notice::{Notice, Stray, stray};
use super::place::{LastRecord, partition_key, stored};
use super::record::Record;
use super::status::BusState;
use super::topics::{Found, ensure, events_topic, warnings_of_foreign};

/// How long a poll waits for the first record.
const POLL: Duration = Duration::from_millis(100);
/// Runs that are on their way to the disk at once.
const TICKETS_MAX: usize = 4;

/// A connection that reads.
pub(crate) struct Session<'c> {
    pub(super) context: &'c Context,
    /// What was found of the events topic.
    pub(super) found: Found,
    pub(super) client: BaseConsumer<Talk>,
    pub(super) talk: Talk,
    pub(super) home: Home,
    pub(super) partitions: Vec<Partition>,
    /// The topics that are read, with their ids as far as they are known.
    pub(super) topics: Vec<(String, Option<String>)>,
    /// What was heard of ids when they were compared last.
    ids_heard: u64,
    /// The one whose record was read last.
    current: usize,
    /// Sources, and whether they have a key.
    known: HashMap<SourceId, bool>,
    tickets: VecDeque<RunTicket>,
    pub(super) grown: Grown,
}

/// A partition that is read.
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) number: u32,
    pub(super) gathered: Gathered,
    pub(super) junk: Junk,
    /// The record that must come first.
    pub(super) check: Option<LastRecord>,
    /// The source of what the ledger itself says about it, once it is registered.
    pub(super) own: Option<SourceId>,
    /// When the record was written that was read last.
    pub(super) read_at: Nanos,
    pub(super) kind: PartitionKind,
}

pub(super) enum PartitionKind {
    Events,
    Foreign(String, String, Foreign),
}

/// What a record is.
enum Meaning {
    Message(Head),
    Own(Vec<u8>),
    /// No message, and one more than is kept.
    Counted,
}

impl<'c> Session<'c> {
    /// Connects and looks at the topics; nothing is appended yet.
    pub(crate) fn connect(context: &'c Context) -> Result<Session<'c>, KafkaFailed> {
        let talk = Talk::until(&context.stop);
        let set = [
            ("queued.min.messages", "20000"),
            ("queued.max.messages.kbytes", "16384"),
            // A full queue is looked at again so soon; the client's own second starves the log.
            ("fetch.queue.backoff.ms", "5"),
            // Compressed: all that one answer holds is in memory at once, five times as large.
            ("fetch.message.max.bytes", "1048576"),
            ("fetch.max.bytes", "2097152"),
            ("fetch.wait.max.ms", "50"),
            SAY_IDS,
            ASK_IDS,
            ("topic.metadata.propagation.max.ms", "3000"),
        ];
        let client = consumer(context.settings.brokers(), &talk, &set)?;
        let tenant = context.paths.tenant();
        let (found, mut warnings) = ensure(&client, &talk, &context.settings, tenant)?;
        for foreign in &context.settings.foreign {
            let brokers = context.settings.brokers();
            warnings.extend(warnings_of_foreign(brokers, &talk, &foreign.topic)?);
        }
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
            topics: Vec::new(),
            ids_heard: 0,
            current: 0,
            known: HashMap::new(),
            tickets: VecDeque::new(),
            grown: Grown::new(),
        })
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
        let read = self.read_on();
        // What is on its way is waited for whatever happened: the next session begins behind it.
        let reaped = self.reap(0);
        read.and(reaped)
    }

    fn read_on(&mut self) -> Result<(), KafkaFailed> {
        while !self.context.stop.load(Ordering::Relaxed) {
            self.context.acks_failed()?;
            let found = self.gather();
            self.tell_counted()?;
            // What came before a failure is taken: the next session begins behind it.
            self.hand_over()?;
            let found = found?;
            self.reap(if found == 0 { 0 } else { TICKETS_MAX })?;
            self.grow()?;
        }
        Ok(())
    }

    pub(super) fn failed(&self, error: &KafkaError, what: &str) -> KafkaFailed {
        KafkaFailed::of(error, what, &self.talk, self.context.settings.brokers())
    }

    /// Reads what is there, up to the bounds. Returns how many records it read.
    fn gather(&mut self) -> Result<usize, KafkaFailed> {
        let (mut count, mut bytes) = (0, 0);
        let mut wait = if self.tickets.is_empty() {
            POLL
        } else {
            Duration::ZERO
        };
        while count < GATHERED_MAX && bytes < GATHERED_BYTES_MAX {
            let polled = poll(&self.client, wait);
            // The client says that a topic was made anew before it reads on in the new one.
            let heard = self.talk.ids().changes();
            if heard != self.ids_heard {
                self.ids_heard = heard;
                same_topics(&mut self.topics, &self.talk)?;
            }
            let record = match polled {
                None => break,
                Some(Err(error)) => {
                    self.trouble(&error)?;
                    continue;
                }
                Some(Ok(record)) => {
                    let index = index_of(&self.partitions, self.current, &record);
                    let index = index.ok_or_else(not_asked_for)?;
                    self.record(&record, index)
                }
            };
            self.current = record.index;
            count += 1;
            bytes += record.len;
            self.take(record)?;
            wait = Duration::ZERO;
        }
        Ok(count)
    }

    /// Errors that the client does not get over by itself end the session.
    fn trouble(&self, error: &KafkaError) -> Result<(), KafkaFailed> {
        use RDKafkaErrorCode as Code;
        let topic = || events_topic(self.context.paths.tenant());
        let what = self.reading();
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
                let failed = self.failed(error, &what);
                self.context.state(BusState::Waiting, Some(failed));
                Ok(())
            }
            Some(Code::BadCompression) => {
                self.context.unreadable.store(true, Ordering::Relaxed);
                Err(KafkaFailed::Failed {
                    what,
                    reason: "a batch cannot be decompressed: it is passed over".to_owned(),
                })
            }
            // Out of range, a right that was taken away, and whatever else: looked at anew.
            _ => Err(self.failed(error, &what)),
        }
    }

    /// What is done here, as errors say it: the client does not say of which topic it speaks.
    fn reading(&self) -> String {
        let events = events_topic(self.context.paths.tenant());
        let foreign = self.context.settings.foreign.iter();
        foreign.fold(format!("reading topic {events}"), |what, one| {
            format!("{what} or {}", one.topic)
        })
    }

    fn take(&mut self, record: Record) -> Result<(), KafkaFailed> {
        let index = record.index;
        let Some(partition) = self.partitions.get_mut(index) else {
            return Ok(());
        };
        let last = LastRecord {
            offset: record.offset,
            digest: record.digest,
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
        let event = match self.meaning(&record) {
            Meaning::Own(event) => event,
            Meaning::Counted => {
                if let Some(partition) = self.partitions.get_mut(index) {
                    partition.gathered.count(last, record.len as u64);
                }
                return Ok(());
            }
            Meaning::Message(head) => {
                if let Some(partition) = self.partitions.get_mut(index) {
                    partition.gathered.message(head, record.value, last);
                }
                return self.hand_over_if_full(index);
            }
        };
        let source = self.own_source(index)?;
        if let Some(partition) = self.partitions.get_mut(index) {
            partition.gathered.own(source, event, last);
        }
        Ok(())
    }

    fn hand_over_if_full(&mut self, index: usize) -> Result<(), KafkaFailed> {
        let partition = self.partitions.get(index);
        match partition.is_some_and(|one| one.gathered.is_full()) {
            true => self.hand_over(),
            false => Ok(()),
        }
    }

    /// What a record is: a message that the door may see, or an event that is made of it.
    fn meaning(&mut self, record: &Record) -> Meaning {
        let reason = match (self.partitions.get(record.index), record.head) {
            (Some(partition), _) if let PartitionKind::Foreign(_, _, reader) = &partition.kind => {
                let place = place_of(partition, record.offset);
                return Meaning::Own(reader.event(&record.whole(), &place, record.at));
            }
            (_, Err(reason)) => Stray::Headers(reason),
            (_, Ok(head)) => match self.refuse(&head, record) {
                None => return Meaning::Message(head),
                Some(reason) => reason,
            },
        };
        self.context.stray();
        let Some(partition) = self.partitions.get_mut(record.index) else {
            return Meaning::Counted;
        };
        if !partition.junk.keeps(Instant::now()) {
            return Meaning::Counted;
        }
        let place = place_of(partition, record.offset);
        Meaning::Own(stray(&reason, &place, &record.whole(), record.at))
    }

    /// Tells what was counted and not kept, once a span.
    fn tell_counted(&mut self) -> Result<(), KafkaFailed> {
        let now = Instant::now();
        for index in 0..self.partitions.len() {
            let Some(partition) = self.partitions.get(index) else {
                continue;
            };
            let counted = partition.gathered.place().counted;
            let Some(counted) = counted.filter(|_| partition.junk.is_over(now)) else {
                continue;
            };
            let name = format!("{}/{}", partition.topic, partition.number);
            let source = self.own_source(index)?;
            let value = Notice::Junk(counted).value(&name, self.context.now());
            if let Some(partition) = self.partitions.get_mut(index) {
                partition.gathered.told(source, value);
            }
        }
        Ok(())
    }

    /// Why the door may not see a message of this head.
    fn refuse(&mut self, head: &Head, record: &Record) -> Option<Stray> {
        if record.len > VALUE_MAX {
            return Some(Stray::TooLarge);
        }
        if head.stream == Stream::Snapshot {
            return Some(Stray::Snapshot);
        }
        let keyed = match self.known.get(&head.source) {
            Some(keyed) => *keyed,
            None => {
                // Asked each time: it may have been registered a moment ago.
                let Some(source) = self.context.door.source(head.source) else {
                    return Some(Stray::UnknownSource);
                };
                self.known.insert(head.source, source.keyed);
                source.keyed
            }
        };
        (!keyed).then_some(Stray::NoKey)
    }

    // Handing over.

    pub(super) fn hand_over(&mut self) -> Result<(), KafkaFailed> {
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
            let run = partition.gathered.take(vec![stored(key, place)]);
            let ticket = self.context.door.submit_run(run).map_err(of_log)?;
            self.tickets.push_back(ticket);
        }
        Ok(())
    }

    /// Waits until at most `room` runs are on their way.
    fn reap(&mut self, room: usize) -> Result<(), KafkaFailed> {
        while self.tickets.len() > room {
            if let Some(ticket) = self.tickets.pop_front() {
                self.context.taken(ticket)?;
            }
        }
        Ok(())
    }
}

/// Whether the topics are those that the session began with. The next one finds its places anew.
fn same_topics(topics: &mut [(String, Option<String>)], talk: &Talk) -> Result<(), KafkaFailed> {
    for (topic, id) in topics {
        let now = talk.ids().of(topic);
        if differ(id.as_ref(), now.as_ref()) {
            return Err(KafkaFailed::Failed {
                what: format!("reading topic {topic}"),
                reason: "it was deleted and made anew: it is read from its beginning".to_owned(),
            });
        }
        *id = now.or(id.take());
    }
    Ok(())
}

fn not_asked_for() -> KafkaFailed {
    KafkaFailed::Failed {
        what: "reading".to_owned(),
        reason: "a record came from a partition that was not asked for".to_owned(),
    }
}

/// Topic, partition and offset, as events name a record.
fn place_of(partition: &Partition, offset: u64) -> String {
    format!("{}/{}/{offset}", partition.topic, partition.number)
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

pub(super) fn of_log(error: DoorError) -> KafkaFailed {
    KafkaFailed::Log(error.to_string())
}

pub(super) fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

pub(super) fn offset(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}
