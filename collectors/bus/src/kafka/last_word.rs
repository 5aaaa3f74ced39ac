//! What the acks topic says of this log before it speaks there: a checkpoint with the log's own
//! signatures that the log does not hold shows that it was restored from a copy, or cloned. The log
//! is told, and stops.
//!
//! What lies behind a transaction that somebody leaves open is read as well: signatures prove it.
//! One that was signed before an operator accepted such a loss shows nothing more. Not here: what
//! is written (`acks`).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keys_public::{LogKeys, LogSigned, Note};
use ledger_core::{Nanos, verify_consistency};
use ledger_event::facts::{Lost, LostCheckpoint, LostProof};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::ack::{ACK_BYTES_MAX, LogAck, origin_of};
use super::client::{KafkaFailed, READ_UNCOMMITTED, Talk, is, poll};
use super::hearing::{UNREADABLE, acks_reader, behind};
use super::intake::Context;
use super::session::offset;
use super::unreadable::Part;

/// What is said of a record under the log's name that it did not write.
const NOT_OURS: &str = "a record of the acks topic in the name of this log that it did not write";
/// Bytes of checkpoints that are held before they are looked at.
const CLAIMS_BYTES_MAX: usize = 4 << 20;
/// Longest wait for more of the acks topic, or for its end.
const READ_WAIT: Duration = Duration::from_secs(30);
/// How long a poll waits.
const POLL: Duration = Duration::from_millis(200);

/// Reads the acks topic, as often as it is asked.
pub(super) struct LastWord<'c> {
    context: &'c Context,
    topic: &'c str,
    talk: &'c Talk,
    client: BaseConsumer<Talk>,
    keys: LogKeys,
    /// Where to read on.
    next: u64,
}

impl<'c> LastWord<'c> {
    pub(super) fn new(
        context: &'c Context,
        topic: &'c str,
        talk: &'c Talk,
    ) -> Result<LastWord<'c>, KafkaFailed> {
        let pair = context.keystore.log_signing_keys(context.paths.origin());
        let pair = pair.map_err(|error| KafkaFailed::Log(error.to_string()))?;
        Ok(LastWord {
            context,
            topic,
            talk,
            client: acks_reader(context.settings.brokers(), talk, READ_UNCOMMITTED)?,
            keys: pair.public().clone(),
            next: 0,
        })
    }

    /// Reads to the end of the topic, from where it was read before.
    ///
    /// # Errors
    /// The log is not the newest of its origin, and has been stopped; nobody answers.
    pub(super) fn check(&mut self) -> Result<(), KafkaFailed> {
        match self.read()? {
            Some(signed) => self.compare(&signed),
            None => Ok(()),
        }
    }

    fn failed(&self, error: &KafkaError) -> KafkaFailed {
        let what = format!("reading topic {}", self.topic);
        KafkaFailed::of(error, &what, self.talk, self.context.settings.brokers())
    }

    /// The greatest checkpoint of this log, if there is one that was not forgiven. Anything else
    /// under its name is somebody's talk.
    fn read(&mut self) -> Result<Option<LogSigned>, KafkaFailed> {
        let next = match self.next {
            0 => Offset::Beginning,
            next => offset(next),
        };
        let mut list = TopicPartitionList::new();
        let assigned = list
            .add_partition_offset(self.topic, 0, next)
            .and_then(|()| self.client.assign(&list));
        assigned.map_err(|error| self.failed(&error))?;
        let mut claims = Claims {
            forgiven: self.context.door.forgiven(),
            ..Claims::default()
        };
        let mut until = Instant::now() + READ_WAIT;
        while Instant::now() < until && !self.context.stop.load(Ordering::Relaxed) {
            match poll(&self.client, POLL) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    claims.settle(self.context, &self.keys);
                    return Ok(claims.best);
                }
                Some(Err(error)) if is(&error, RDKafkaErrorCode::BadCompression) => {
                    self.context.warn(UNREADABLE);
                    let part = Part {
                        brokers: self.context.settings.brokers(),
                        talk: self.talk,
                        topic: self.topic,
                        number: 0,
                        isolation: READ_UNCOMMITTED,
                    };
                    self.next = part.pass(&self.client, self.next)?;
                    until = Instant::now() + READ_WAIT;
                }
                Some(Err(error)) => return Err(self.failed(&error)),
                Some(Ok(record)) => {
                    self.next = behind(&record);
                    self.hear(&record, &mut claims);
                    until = Instant::now() + READ_WAIT;
                }
            }
        }
        let late = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
        Err(self.failed(&late))
    }

    fn hear(&self, record: &BorrowedMessage<'_>, claims: &mut Claims) {
        let Some(origin) = record.key().and_then(origin_of) else {
            return;
        };
        let value = record.payload().unwrap_or_default();
        let ours = self.context.paths.origin();
        if origin != *ours {
            if let Some(other) = self.context.other_log(origin.as_str()) {
                self.context.warn(&other);
            }
            return;
        }
        match LogAck::read(value) {
            Ok(word) if value.len() <= ACK_BYTES_MAX && word.origin == ours.as_str() => {
                claims.hear(word);
            }
            _ => self.context.warn(NOT_OURS),
        }
        if claims.bytes > CLAIMS_BYTES_MAX {
            claims.settle(self.context, &self.keys);
        }
    }

    /// Whether the log holds what the checkpoint covers. If not, the log stops: it must not sign
    /// other entries under sizes that it signed before.
    fn compare(&self, signed: &LogSigned) -> Result<(), KafkaFailed> {
        let of_log = |error: ledger_log::ReadError| KafkaFailed::Log(error.to_string());
        let checkpoint = signed.checkpoint();
        let reader = &self.context.reader;
        let (ours, _) = reader.published().map_err(of_log)?;
        let (old, new) = (checkpoint.size, ours.size);
        if old <= new {
            let proof = reader.consistency(old, new).map_err(of_log)?;
            if verify_consistency(old, new, &proof, &checkpoint.root, &ours.root).is_ok() {
                return Ok(());
            }
        }
        let topic = format!("topic {}", self.topic);
        let lost = Lost {
            published: old,
            size: new,
            proof: LostProof::Checkpoint(LostCheckpoint {
                root: checkpoint.root,
                signed: nanos(signed.pq_timestamp()),
            }),
        };
        // What it says is why it stopped, which may be something else that came first.
        let stopped = self.context.door.restored(lost, &topic);
        tracing::error!(reason = %stopped, "the log is stopped");
        let (topic, signed, held) = (self.topic.to_owned(), old.0, new.0);
        Err(if old > new {
            KafkaFailed::LogIsOlder {
                topic,
                signed,
                held,
            }
        } else {
            KafkaFailed::OtherHistory { topic, signed }
        })
    }
}

/// The time of a signature, whose half states seconds.
fn nanos(seconds: u64) -> Nanos {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Nanos(seconds.saturating_mul(1_000_000_000))
}

/// Checkpoints that the topic holds under the log's name. One was said each second or more often,
/// and the topic keeps them for an hour: only the greatest are verified.
#[derive(Default)]
struct Claims {
    held: Vec<(u64, String)>,
    bytes: usize,
    /// What was signed until then shows nothing.
    forgiven: Nanos,
    /// The greatest that has the log's own signatures.
    best: Option<LogSigned>,
}

impl Claims {
    fn hear(&mut self, word: LogAck) {
        self.bytes = self.bytes.saturating_add(word.checkpoint.len() + 64);
        self.held.push((word.size, word.checkpoint));
    }

    /// Verifies what is held, greatest and latest first, until one is ours.
    fn settle(&mut self, context: &Context, keys: &LogKeys) {
        self.bytes = 0;
        let mut held = std::mem::take(&mut self.held);
        held.reverse();
        held.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        for (size, note) in held {
            let best = self.best.as_ref();
            if best.is_some_and(|best| best.checkpoint().size.0 > size) {
                return;
            }
            let note = Note::parse(note.as_bytes()).ok();
            if note.as_ref().is_some_and(|note| self.forgives(note, keys)) {
                continue;
            }
            let signed = note.and_then(|note| keys.verify(&note).ok());
            match signed.filter(|signed| signed.checkpoint().size.0 == size) {
                Some(signed) => {
                    self.best = Some(signed);
                    return;
                }
                None => context.warn(NOT_OURS),
            }
        }
    }

    /// Whether it says of itself that it was signed in time to be forgiven. Whoever changes that
    /// time has changed what was signed.
    fn forgives(&self, note: &Note, keys: &LogKeys) -> bool {
        let lines = note.signatures().iter();
        let times = lines
            .filter(|line| line.is_of(keys.ml_dsa()))
            .filter_map(|line| line.bytes.first_chunk().copied());
        let signed = times.map(u64::from_be_bytes).max();
        signed.is_some_and(|signed| nanos(signed) <= self.forgiven)
    }
}
