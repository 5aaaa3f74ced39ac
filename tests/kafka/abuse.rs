//! Whoever may write to the topics, or administers the cluster, doing what they can do: records
//! repeated, forged, renumbered, of other tenants, without headers; transactions aborted; records
//! and topics deleted.
//!
//! Not here: what the log must make of it (`farm`, `cases`).

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use collectors_bus::kafka::raw::{RawCluster, RawRecord};

use super::stage::PATIENCE;
use crate::seeded::Seeded;

/// The header with the MAC.
const MAC: &str = "ce_custodymac";
/// The header with the source.
const SOURCE: &str = "ce_source";
/// The header with stream, epoch and sequence.
const ID: &str = "ce_id";

/// One who may do everything to the topics of a tenant.
pub(crate) struct Abuse {
    pub(crate) cluster: RawCluster,
    pub(crate) topic: String,
    /// The MACs and ids of what was forged, so that a repeat does not repeat it.
    forged: HashSet<(Vec<u8>, Vec<u8>)>,
}

impl Abuse {
    pub(crate) fn new(brokers: &str, tenant: &str) -> Abuse {
        Abuse {
            cluster: RawCluster::plain(brokers),
            topic: format!("custody.events.{tenant}"),
            forged: HashSet::new(),
        }
    }

    /// How many partitions there are; waits until there are any.
    pub(crate) fn partitions(&self) -> i32 {
        wait_for("the topic", || {
            self.cluster.partitions(&self.topic).ok().flatten()
        })
    }

    /// The first offset of a partition and the one behind its last.
    pub(crate) fn watermarks(&self, partition: i32) -> (i64, i64) {
        wait_for("watermarks", || {
            self.cluster.watermarks(&self.topic, partition).ok()
        })
    }

    /// Everything that lies in the topic.
    pub(crate) fn records(&self) -> Vec<RawRecord> {
        let mut records = Vec::new();
        for partition in 0..self.partitions() {
            let (low, _) = self.watermarks(partition);
            let take = &mut |record| records.push(record);
            self.cluster
                .read(&self.topic, partition, low, take)
                .unwrap();
        }
        records
    }

    /// Messages of the agent as it sent them.
    pub(crate) fn genuine(&self) -> Vec<RawRecord> {
        let genuine = |record: &RawRecord| {
            let (Some(mac), Some(id)) = (header(record, MAC), header(record, ID)) else {
                return false;
            };
            let forged = self.forged.contains(&(mac.to_vec(), id.to_vec()));
            !forged && header(record, SOURCE).is_some_and(|source| !is_other(source))
        };
        let mut records = self.records();
        records.retain(genuine);
        records
    }

    pub(crate) fn send(&self, records: &[RawRecord]) {
        let writer = self.cluster.writer(None).unwrap();
        writer.send(&self.topic, records).unwrap();
        writer.flush().unwrap();
    }

    /// Sends a run of messages again, in their order.
    pub(crate) fn repeat(&self, random: &mut Seeded, most: u64) {
        let genuine = self.genuine();
        let from = pick(random, genuine.len());
        let to = genuine.len().min(from + usize::try_from(most).unwrap());
        self.send(&genuine[from..to]);
    }

    /// One message, sealed with another key. Gives how many were sent.
    pub(crate) fn forge(&mut self, random: &mut Seeded) -> u64 {
        self.with_one(random, |record| {
            let mac = header_mut(record, MAC);
            // The first character of base64 becomes another one.
            mac[0] = if mac[0] == b'A' { b'B' } else { b'A' };
        })
    }

    /// One message under a number far ahead.
    pub(crate) fn renumber(&mut self, random: &mut Seeded) -> u64 {
        let ahead = 10_000_000 + random.below(1 << 40);
        self.with_one(random, |record| {
            let id = header_mut(record, ID);
            let text = String::from_utf8(id.clone()).unwrap();
            let (life, _) = text.rsplit_once('/').unwrap();
            *id = format!("{life}/{ahead}").into_bytes();
        })
    }

    fn with_one(&mut self, random: &mut Seeded, change: impl FnOnce(&mut RawRecord)) -> u64 {
        let genuine = self.genuine();
        let Some(mut record) = genuine.get(pick(random, genuine.len())).cloned() else {
            return 0;
        };
        change(&mut record);
        let mac = header(&record, MAC).unwrap().to_vec();
        let id = header(&record, ID).unwrap().to_vec();
        self.forged.insert((mac, id));
        self.send(&[record]);
        1
    }

    /// Something that is no message at all.
    pub(crate) fn junk(&self) -> u64 {
        self.send(&[RawRecord {
            value: b"no message, with \xff and \0 in it".to_vec(),
            ..RawRecord::default()
        }]);
        1
    }

    /// A message of another tenant.
    pub(crate) fn other_tenant(&self) -> u64 {
        let Some(mut record) = self.genuine().pop() else {
            return 0;
        };
        *header_mut(&mut record, SOURCE) = format!("urn:custody:source:{OTHER}:1").into_bytes();
        self.send(&[record]);
        1
    }

    /// A message whose MAC was left out.
    pub(crate) fn headless(&self) -> u64 {
        let Some(mut record) = self.genuine().pop() else {
            return 0;
        };
        record.headers.retain(|(key, _)| key != MAC);
        self.send(&[record]);
        1
    }

    /// Messages in a transaction that is given up.
    pub(crate) fn abort(&self) {
        let genuine = self.genuine();
        let last = &genuine[genuine.len().saturating_sub(20)..];
        let writer = self.cluster.writer(Some("somebody.else")).unwrap();
        writer.begin().unwrap();
        writer.send(&self.topic, last).unwrap();
        writer.flush().unwrap();
        writer.abort().unwrap();
    }

    /// Offsets of all partitions together, from the first that was ever given.
    pub(crate) fn written(&self) -> i64 {
        let partitions = 0..self.partitions();
        partitions.map(|one| self.watermarks(one).1).sum()
    }

    /// Deletes everything as retention does; gives how many offsets that were.
    pub(crate) fn delete_all(&self) -> i64 {
        let mut deleted = 0;
        for partition in 0..self.partitions() {
            let (low, high) = self.watermarks(partition);
            deleted += high - low;
            self.cluster
                .delete_before(&self.topic, partition, high)
                .unwrap();
        }
        deleted
    }

    /// Deletes the topic and makes it anew, as empty as at its beginning.
    pub(crate) fn recreate(&self, partitions: i32) {
        self.cluster.delete(&self.topic).unwrap();
        wait_for("a new topic", || {
            let made = self.cluster.create(&self.topic, partitions, &[]);
            made.ok().or_else(|| {
                // The ledger makes it as well, and may be faster.
                let there = self.cluster.partitions(&self.topic).ok().flatten();
                there.map(|_| ())
            })
        });
    }
}

/// A deployment and tenant that are not ours.
pub(crate) const OTHER: &str = "other.example/their-tenant";

fn is_other(source: &[u8]) -> bool {
    String::from_utf8_lossy(source).contains(OTHER)
}

pub(crate) fn header<'r>(record: &'r RawRecord, name: &str) -> Option<&'r [u8]> {
    let found = record.headers.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_slice())
}

pub(crate) fn header_mut<'r>(record: &'r mut RawRecord, name: &str) -> &'r mut Vec<u8> {
    let mut headers = record.headers.iter_mut();
    &mut headers.find(|(key, _)| key == name).unwrap().1
}

fn pick(random: &mut Seeded, len: usize) -> usize {
    let below = random.below(u64::try_from(len.max(1)).unwrap());
    usize::try_from(below).unwrap()
}

/// Looks again and again until there is an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}
