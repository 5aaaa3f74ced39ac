//! Partitions that a topic is given while it is read: they are read from their first record, and
//! the session goes on.
//!
//! Sources stay in the partitions that the topic had first, so of the events topic there is nothing
//! of ours in a new one; of a topic of another shipper there is. Not here: where reading begins
//! (`places`).

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::{ANSWER_WAIT, KafkaFailed};
use super::session::{Session, number, offset};
use super::topics::{events_topic, look};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// When it was looked last.
pub(super) struct Grown(Instant);

impl Grown {
    pub(super) fn new() -> Grown {
        Grown(Instant::now())
    }
}

impl Session<'_> {
    /// Reads partitions that are new since the last look. Nobody's answer is no news.
    pub(super) fn grow(&mut self) -> Result<(), KafkaFailed> {
        if self.grown.0.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.grown = Grown::new();
        let foreign = self.context.settings.foreign.iter();
        let foreign: Vec<_> = foreign.map(|one| (one.topic.clone(), Some(one))).collect();
        let events = events_topic(self.context.paths.tenant());
        for (topic, config) in std::iter::once((events, None)).chain(foreign) {
            let known = self.partitions.iter().filter(|one| one.topic == topic);
            let known = known.count();
            let asked = self
                .client
                .fetch_metadata(Some(&topic), Duration::from_secs(1));
            let Ok(asked) = asked else { return Ok(()) };
            let found = asked.topics().iter().find(|one| one.name() == topic);
            if found.is_none_or(|found| found.partitions().len() <= known) {
                continue;
            }
            let brokers = self.context.settings.brokers();
            let found = look(&self.client, &self.talk, brokers, &topic, ANSWER_WAIT)?;
            let first = self.partitions.len();
            self.find_in(&topic, &found, config)?;
            let mut list = TopicPartitionList::new();
            for new in self.partitions.get(first..).unwrap_or_default() {
                let from = offset(new.gathered.place().next);
                list.add_partition_offset(&topic, number(new.number), from)
                    .map_err(|error| self.failed(&error, "choosing partitions"))?;
            }
            self.client
                .incremental_assign(&list)
                .map_err(|error| self.failed(&error, "choosing partitions"))?;
        }
        Ok(())
    }
}
