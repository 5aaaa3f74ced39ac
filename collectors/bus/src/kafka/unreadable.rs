//! A batch that cannot be decompressed, which anybody who may write can make: where it begins and
//! ends is found by trying, and reading goes on behind it. Of the events topic the log says what
//! was passed over; on the acks topic only what is read counts.
//!
//! Not here: reading (`session`, `hearing`, `last_word`), other reasons to begin elsewhere
//! (`places`).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::{ANSWER_WAIT, KafkaFailed, READ_COMMITTED, Talk, consumer, is, poll};
use super::config::Brokers;
use super::notice::Notice;
use super::place::PartitionPlace;
use super::session::{Session, number, offset};

/// How long a poll waits.
const POLL: Duration = Duration::from_millis(100);

impl Session<'_> {
    /// Passes over the batch that ended the session before this one, in whichever partition it
    /// lies: the client does not say which.
    pub(crate) fn pass_unreadable(&mut self) -> Result<(), KafkaFailed> {
        if !self.context.unreadable.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        for index in 0..self.partitions.len() {
            let Some(one) = self.partitions.get(index) else {
                continue;
            };
            let (topic, at) = (one.topic.clone(), one.number);
            let before = one.gathered.place().clone();
            let (_, high) = self.watermarks(&topic, at)?;
            let part = Part {
                brokers: self.context.settings.brokers(),
                talk: &self.talk,
                topic: &topic,
                number: number(at),
                isolation: READ_COMMITTED,
            };
            if before.next >= high || part.can_read(before.next)? {
                continue;
            }
            let next = part.readable_from((before.next, high))?;
            let notice = Notice::Unreadable {
                from: before.next,
                count: next - before.next,
            };
            let place = PartitionPlace {
                next,
                last: None,
                lost_to: next,
                ..before
            };
            let mut partition = self.partitions.remove(index);
            partition.check = None;
            let said = self.say(&mut partition, &notice, place, Vec::new());
            self.partitions.insert(index, partition);
            said?;
        }
        Ok(())
    }
}

/// A partition, and which of its records count.
pub(crate) struct Part<'a> {
    pub(crate) brokers: &'a Brokers,
    pub(crate) talk: &'a Talk,
    pub(crate) topic: &'a str,
    pub(crate) number: i32,
    /// `isolation.level` of whoever reads it.
    pub(crate) isolation: &'a str,
}

impl Part<'_> {
    /// Lets `client`, which read to `next` and met what it cannot decompress, go on behind it.
    /// Returns where.
    pub(crate) fn pass(&self, client: &BaseConsumer<Talk>, next: u64) -> Result<u64, KafkaFailed> {
        let ask = |wait| client.fetch_watermarks(self.topic, self.number, wait);
        let asked = self.talk.ask(ANSWER_WAIT, ask);
        let (low, high) = asked.map_err(|error| self.failed(&error))?;
        let plain = |offset: i64| u64::try_from(offset).unwrap_or_default();
        let (low, high) = (plain(low), plain(high));
        // A topic that was made anew may end before what was read of the one before.
        let bad = if next > high { low } else { next.max(low) };
        let next = if bad == high || self.can_read(bad)? {
            bad
        } else {
            self.readable_from((bad, high))?
        };
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(self.topic, self.number, offset(next));
        let assigned = added.and_then(|()| client.assign(&list));
        assigned.map_err(|error| self.failed(&error))?;
        Ok(next)
    }

    fn failed(&self, error: &KafkaError) -> KafkaFailed {
        let what = format!("reading topic {}", self.topic);
        KafkaFailed::of(error, &what, self.talk, self.brokers)
    }

    /// The first offset behind `bad`, which cannot be read, that can; at most `high`.
    fn readable_from(&self, (bad, high): (u64, u64)) -> Result<u64, KafkaFailed> {
        let (mut bad, mut good, mut step) = (bad, high, 1_u64);
        while bad.saturating_add(step) < high {
            let at = bad.saturating_add(step);
            if self.can_read(at)? {
                good = at;
                break;
            }
            bad = at;
            step = step.saturating_mul(2);
        }
        while good.saturating_sub(bad) > 1 {
            let at = bad.midpoint(good);
            if self.can_read(at)? {
                good = at;
            } else {
                bad = at;
            }
        }
        Ok(good)
    }

    /// Whether reading can begin at an offset; with a client of its own, which has nothing in it.
    fn can_read(&self, at: u64) -> Result<bool, KafkaFailed> {
        let set = [
            ("enable.partition.eof", "true"),
            ("isolation.level", self.isolation),
        ];
        let client = consumer(self.brokers, self.talk, &set)?;
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(self.topic, self.number, offset(at));
        let assigned = added.and_then(|()| client.assign(&list));
        assigned.map_err(|error| self.failed(&error))?;
        let until = Instant::now() + ANSWER_WAIT;
        while Instant::now() < until && !self.talk.ends() {
            match poll(&client, POLL) {
                None => {}
                Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => return Ok(true),
                Some(Err(error)) if is(&error, RDKafkaErrorCode::BadCompression) => {
                    return Ok(false);
                }
                Some(Err(error)) => return Err(self.failed(&error)),
            }
        }
        let late = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
        Err(self.failed(&late))
    }
}
