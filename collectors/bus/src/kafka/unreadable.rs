//! A batch that cannot be decompressed, which anybody who may write can make: where it begins and
//! ends is found by trying, reading goes on behind it, and the log says what was passed over.
//!
//! Not here: reading (`session`), other reasons to begin elsewhere (`places`).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::{ANSWER_WAIT, KafkaFailed, consumer, is, poll};
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
            if before.next >= high || self.can_read(&topic, at, before.next)? {
                continue;
            }
            let next = self.readable_from(&topic, at, (before.next, high))?;
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

    /// The first offset behind `bad`, which cannot be read, that can; at most `high`.
    fn readable_from(
        &self,
        topic: &str,
        partition: u32,
        (bad, high): (u64, u64),
    ) -> Result<u64, KafkaFailed> {
        let (mut bad, mut good, mut step) = (bad, high, 1_u64);
        while bad.saturating_add(step) < high {
            let at = bad.saturating_add(step);
            if self.can_read(topic, partition, at)? {
                good = at;
                break;
            }
            bad = at;
            step = step.saturating_mul(2);
        }
        while good.saturating_sub(bad) > 1 {
            let at = bad.midpoint(good);
            if self.can_read(topic, partition, at)? {
                good = at;
            } else {
                bad = at;
            }
        }
        Ok(good)
    }

    /// Whether reading can begin at an offset; with a client of its own, which has nothing in it.
    fn can_read(&self, topic: &str, partition: u32, at: u64) -> Result<bool, KafkaFailed> {
        let what = format!("reading topic {topic}");
        let brokers = self.context.settings.brokers();
        let client = consumer(brokers, &self.talk, &[("enable.partition.eof", "true")])?;
        let failed = |error: &KafkaError| self.failed(error, &what);
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(topic, number(partition), offset(at));
        let assigned = added.and_then(|()| client.assign(&list));
        assigned.map_err(|error| failed(&error))?;
        let until = Instant::now() + ANSWER_WAIT;
        while Instant::now() < until && !self.talk.ends() {
            match poll(&client, POLL) {
                None => {}
                Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => return Ok(true),
                Some(Err(error)) if is(&error, RDKafkaErrorCode::BadCompression) => {
                    return Ok(false);
                }
                Some(Err(error)) => return Err(failed(&error)),
            }
        }
        let late = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
        Err(failed(&late))
    }
}
