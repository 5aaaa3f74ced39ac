//! A record as it comes from the client: its headers read, what it is known by, and of one that is
//! too large no more than is looked at.
//!
//! Not here: what is done with it (`session`).

use ledger_core::Nanos;
use ledger_core::message::VALUE_MAX;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use super::foreign::RECORD_BYTES_MAX;
use super::form::{self, Head, NotOurs};
use super::headers::reading_headers;
use super::notice::{LOOKED_AT_MAX, Whole};
use super::session::{PartitionKind, Session};

/// What the labels of digests of records begin with.
const RECORD_LABEL: &[u8] = b"custody kafka record v1";

/// A record, out of the client's hands.
pub(super) struct Record {
    /// Which of the partitions.
    pub(super) index: usize,
    pub(super) offset: u64,
    pub(super) at: Nanos,
    /// What its headers say; of a foreign topic nobody asks.
    pub(super) head: Result<Head, NotOurs>,
    /// The MAC that it names, of no message a keyed digest of its bytes.
    pub(super) digest: [u8; 32],
    /// How many bytes it has.
    pub(super) len: usize,
    /// Its bytes; of one that is too large only the first.
    pub(super) value: Vec<u8>,
}

impl Record {
    pub(super) fn whole(&self) -> Whole<'_> {
        Whole {
            bytes: &self.value,
            len: self.len,
            digest: self.digest,
        }
    }
}

impl Session<'_> {
    pub(super) fn record(&self, record: &BorrowedMessage<'_>, index: usize) -> Record {
        let millis = record.timestamp().to_millis().unwrap_or_default();
        let home = &self.home;
        let head = match record.headers() {
            None => form::read(std::iter::empty(), home),
            Some(headers) => {
                reading_headers(|| form::read(headers.iter().map(|one| (one.key, one.value)), home))
                    .unwrap_or(Err(NotOurs::HeaderName))
            }
        };
        let head = head.and_then(|head| form::with_key(head, record.key()));
        let value = record.payload().unwrap_or_default();
        let kind = self.partitions.get(index).map(|one| &one.kind);
        let (is_ours, most) = match kind {
            Some(PartitionKind::Foreign(..)) => (false, RECORD_BYTES_MAX),
            Some(PartitionKind::Events) | None => (true, VALUE_MAX),
        };
        let looked_at = match value.len() > most {
            true => LOOKED_AT_MAX,
            false => value.len(),
        };
        let digest = match &head {
            Ok(head) if is_ours => head.mac,
            Ok(_) | Err(_) => self.context.digest(RECORD_LABEL, value),
        };
        Record {
            index,
            offset: u64::try_from(record.offset()).unwrap_or_default(),
            at: Nanos(millis.saturating_mul(1_000_000)),
            head,
            digest,
            len: value.len(),
            value: value.get(..looked_at).unwrap_or_default().to_vec(),
        }
    }
}
