//! Where a session begins in each partition, and what the log is told happened to a topic
//! meanwhile: the first reading, offsets that are gone, a topic that was made anew, a cluster that
//! was changed.
//!
//! Not here: reading on from there (`session`).

use std::time::Duration;

use ledger_core::SourceId;
use ledger_core::state::Position;
use ledger_log::door::BATCH_POSITIONS_MAX;
use ledger_log::{Door as _, Run, SourceSpec};
use rdkafka::consumer::Consumer as _;
use serde::de::DeserializeOwned;

use super::client::{ANSWER_WAIT, KafkaFailed};
use super::config::ForeignConfig;
use super::foreign::Foreign;
use super::gather::Gathered;
use super::ids::differ;
use super::junk::Junk;
use super::notice::Notice;
use super::place::{PartitionPlace, TopicPlace, partition_key, read, stored, topic_key};
use super::session::{Partition, PartitionKind, Session, number, of_log, offset};
use super::topics::{Found, events_topic, look};

/// What a position says. One that cannot be read is no reason to begin anew.
fn readable<V: DeserializeOwned>(position: Option<Position>) -> Result<Option<V>, KafkaFailed> {
    let Some(position) = position else {
        return Ok(None);
    };
    match read(&position) {
        Some(value) => Ok(Some(value)),
        None => Err(KafkaFailed::Log(format!(
            "the position {} of the log was written by a later version: run that one",
            position.key
        ))),
    }
}

/// How often, and for how long, the client is asked what it heard of a topic's id.
const IDS_POLLS: u32 = 50;
const IDS_POLL: Duration = Duration::from_millis(2);
/// The platform of the ledger's own sources.
const PLATFORM: &str = "kafka";

impl Session<'_> {
    /// Finds the place in each partition, and says what happened to it meanwhile.
    pub(crate) fn find_places(&mut self) -> Result<(), KafkaFailed> {
        let context = self.context;
        let topic = events_topic(context.paths.tenant());
        let found = self.with_id(&topic, self.found.clone());
        self.find_in(&topic, &found, None)?;
        for config in &context.settings.foreign {
            let brokers = context.settings.brokers();
            let found = look(
                &self.client,
                &self.talk,
                brokers,
                &config.topic,
                ANSWER_WAIT,
            )?;
            let found = self.with_id(&config.topic, found);
            self.find_in(&config.topic, &found, Some(config))?;
        }
        Ok(())
    }

    /// What was found of a topic, with its id if the client heard one. What it heard is told while
    /// one polls; nothing is assigned yet, so no record comes.
    fn with_id(&self, topic: &str, found: Found) -> Found {
        for _ in 0..IDS_POLLS {
            if self.talk.ids().of(topic).is_some() {
                break;
            }
            drop(self.client.poll(IDS_POLL));
        }
        let id = self.talk.ids().of(topic);
        Found { id, ..found }
    }

    /// The place in every partition of a topic that is not read yet.
    pub(super) fn find_in(
        &mut self,
        topic: &str,
        found: &Found,
        foreign: Option<&ForeignConfig>,
    ) -> Result<(), KafkaFailed> {
        let Some(count) = found.partitions else {
            let topic = topic.to_owned();
            return Err(KafkaFailed::NoTopic { topic });
        };
        let read = self.partitions.iter().filter(|one| one.topic == topic);
        let read = u32::try_from(read.count()).unwrap_or(u32::MAX);
        let mut keys = vec![topic_key(topic)];
        keys.extend((read..count).map(|number| partition_key(topic, number)));
        let mut positions = self.positions(&keys)?.into_iter();
        let known: Option<TopicPlace> = readable(positions.next().flatten())?;
        let moved = self.check_topic(topic, found, count, known.as_ref())?;
        let id = known.as_ref().and_then(|known| known.id.as_ref());
        let anew = match &moved {
            Some(_) => Some("it lies in another cluster"),
            None if differ(id, found.id.as_ref()) => Some("the topic has another id"),
            None => None,
        };
        let first = self.partitions.len();
        let mut new = Vec::new();
        for (number, position) in (read..count).zip(positions) {
            let kind = self.kind(foreign, number)?;
            let mut place = readable::<PartitionPlace>(position)?;
            if place.is_none() {
                new.push(number);
                // A partition that was added later is read from its first record, or it is said
                // what of it was not read.
                place = known.as_ref().map(|_| PartitionPlace::begin(1, 0));
            }
            let partition = self.begin(topic, (number, kind), place, anew)?;
            self.partitions.push(partition);
        }
        let place = TopicPlace {
            cluster: found.cluster.clone(),
            id: found.id.clone().or_else(|| id.cloned()),
            partitions: known.as_ref().map_or(count, |known| known.partitions),
        };
        match &known {
            // Partitions that came while it is read.
            _ if read > 0 => {}
            Some(known) if *known == place => {}
            // Behind the places of all partitions: what was said of each is true until then.
            Some(_) if moved.is_none() => {
                self.keep(&[stored(topic_key(topic), &place)])?;
            }
            _ => self.begin_topic(first, &place, moved)?,
        }
        self.keep_places(first, &new)?;
        if read == 0 {
            self.topics.push((topic.to_owned(), place.id.clone()));
        }
        if foreign.is_none() {
            self.context.found(topic, &place);
        }
        Ok(())
    }

    /// A partition at its place, after what is to be said of it.
    fn begin(
        &self,
        topic: &str,
        (number, kind): (u32, PartitionKind),
        place: Option<PartitionPlace>,
        anew: Option<&'static str>,
    ) -> Result<Partition, KafkaFailed> {
        let (place, notice) = self.resume(topic, number, place, anew)?;
        let mut partition = Partition {
            topic: topic.to_owned(),
            number,
            check: place.last,
            gathered: Gathered::new(place.clone()),
            junk: Junk::default(),
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
        Ok(partition)
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

    /// Keeps where reading begins in partitions that the log has no place in yet, so that what is
    /// deleted before its first record is read is known to be lost.
    fn keep_places(&self, first: usize, new: &[u32]) -> Result<(), KafkaFailed> {
        let of_topic = self.partitions.get(first..).unwrap_or_default();
        let places: Vec<Position> = (of_topic.iter())
            .filter(|one| new.contains(&one.number))
            .map(|one| stored(partition_key(&one.topic, one.number), one.gathered.place()))
            .collect();
        self.keep(&places)
    }

    /// Keeps positions that no record comes with.
    fn keep(&self, places: &[Position]) -> Result<(), KafkaFailed> {
        for positions in places.chunks(BATCH_POSITIONS_MAX) {
            let run = Run {
                batches: Vec::new(),
                positions: positions.to_vec(),
            };
            let ticket = self.context.door.submit_run(run).map_err(of_log)?;
            self.context.taken(ticket)?;
        }
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
        other: Option<&'static str>,
    ) -> Result<(PartitionPlace, Option<Notice>), KafkaFailed> {
        let (low, high) = self.watermarks(topic, partition)?;
        let Some(place) = place else {
            return Ok((PartitionPlace::begin(1, low), None));
        };
        let next = place.next;
        let anew = |why| (place.anew(low), Some(Notice::Anew { next, why }));
        if let Some(why) = other {
            return Ok(anew(why));
        }
        if high < next {
            return Ok(anew("it ends before that"));
        }
        if low > next {
            let count = low - next;
            let after = PartitionPlace {
                next: low,
                last: None,
                lost_to: low,
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

    pub(super) fn watermarks(
        &self,
        topic: &str,
        partition: u32,
    ) -> Result<(u64, u64), KafkaFailed> {
        let ask = |wait| self.client.fetch_watermarks(topic, number(partition), wait);
        let what = format!("asking for offsets of topic {topic}");
        let asked = self.talk.ask(ANSWER_WAIT, ask);
        let (low, high) = asked.map_err(|error| self.failed(&error, &what))?;
        let plain = |offset: i64| u64::try_from(offset).unwrap_or_default();
        Ok((plain(low), plain(high)))
    }

    fn positions(&self, keys: &[String]) -> Result<Vec<Option<Position>>, KafkaFailed> {
        self.context.door.clone().positions(keys).map_err(of_log)
    }

    // What the ledger itself says.

    /// The record that was taken last is another one now: from the beginning.
    pub(super) fn anew(&mut self, index: usize) -> Result<(), KafkaFailed> {
        // What was gathered of others goes first, so that the place of this one is alone.
        self.hand_over()?;
        if index >= self.partitions.len() {
            return Ok(());
        }
        let mut partition = self.partitions.remove(index);
        let place = partition.gathered.place();
        let next = place.next;
        let (low, _) = self.watermarks(&partition.topic, partition.number)?;
        let begin = place.anew(low);
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
    pub(super) fn say(
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
        let run = partition.gathered.take(positions);
        let ticket = self.context.door.submit_run(run).map_err(of_log)?;
        self.context.taken(ticket)
    }

    pub(super) fn own_source(&mut self, index: usize) -> Result<SourceId, KafkaFailed> {
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
        let mut door = self.context.door.clone();
        let state = door.register(&SourceSpec { name, platform });
        let state = state.map_err(of_log)?;
        if state.keyed {
            // What has no MAC would be appended as forged in its name.
            let topic = &partition.topic;
            return Err(KafkaFailed::Log(format!(
                "the source {} is that of an agent, so topic {topic} cannot be read as it: use \
                 another name in bus.kafka.foreign.source",
                state.name
            )));
        }
        Ok(state.id)
    }
}
