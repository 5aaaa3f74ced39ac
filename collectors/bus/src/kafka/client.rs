//! Clients of the brokers: what every one of them is told, what it says, and what its errors mean
//! to an operator.
//!
//! Not here: what each client is for (`link`, `acks`, `intake`, `topics`).

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use keys_secret::{PrivateFileError, private_file};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult};
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaRespErr;

use super::config::Brokers;
use super::ids::{Ids, SAY_IDS};

/// Longest file of a password or a key, in bytes.
const SECRET_BYTES_MAX: usize = 64 << 10;
/// Longest wait for an answer of the brokers to a question of ours.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// `isolation.level`: nothing of transactions that are open or were given up.
pub(crate) const READ_COMMITTED: &str = "read_committed";
/// All that was written: for words that prove themselves.
pub(crate) const READ_UNCOMMITTED: &str = "read_uncommitted";
/// Longest wait at a time, so that whoever is asked to end does not wait for brokers.
const ANSWER_SLICE: Duration = Duration::from_secs(1);

/// Why Kafka cannot be used as it is set, or not now. No message shows a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaFailed {
    /// Nobody answers: it is tried again.
    #[error(
        "no broker of {brokers} answers: {reason}; is it running, and are host and port right?"
    )]
    Away {
        /// Hosts and ports.
        brokers: String,
        /// What happened.
        reason: String,
    },
    /// User name, password or certificate are refused, by them or by us.
    #[error("{brokers}: {reason}; look at bus.kafka.sasl and bus.kafka.tls")]
    LoginRefused {
        /// Hosts and ports.
        brokers: String,
        /// What was said.
        reason: String,
    },
    /// A right is missing.
    #[error(
        "the brokers do not allow {what}: give {} (docs/operating/kafka.md, Rights)", right(.what)
    )]
    NotAllowed {
        /// What was tried.
        what: String,
    },
    /// Brokers take no message as large as one that waits.
    #[error(
        "{what}: a message is larger than the brokers take: set max.message.bytes of the topic (or \
         message.max.bytes of the brokers) to 1048576 or more; nothing is lost, it is sent again"
    )]
    TooLarge {
        /// What was tried.
        what: String,
    },
    /// A file of the settings cannot be used.
    #[error("{0}")]
    File(String),
    /// The topic is not there.
    #[error("topic {topic} does not exist: create it, or set bus.kafka.create_topics = true")]
    NoTopic {
        /// Which.
        topic: String,
    },
    /// The topic is set so that evidence would be lost.
    #[error("topic {topic} {reason}")]
    BadTopic {
        /// Which.
        topic: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The brokers are those of another cluster than the log's positions.
    #[error(
        "{brokers} is the cluster {found}, but this log stands in the cluster {known}: if it was \
         moved on purpose, set bus.kafka.cluster = \"{found}\""
    )]
    OtherCluster {
        /// Hosts and ports.
        brokers: String,
        /// Its id.
        found: String,
        /// The id that the log knows.
        known: String,
    },
    /// A checkpoint of this log that covers more than the log holds.
    #[error(
        "{topic} holds a checkpoint of this log, signed by its own keys, that covers {signed} \
         entries, but the log has {held}: it was restored or cloned; find the newer one, and do \
         not delete the topic"
    )]
    LogIsOlder {
        /// The acks topic.
        topic: String,
        /// What the checkpoint covers.
        signed: u64,
        /// What the log has.
        held: u64,
    },
    /// A checkpoint of this log that does not fit its tree.
    #[error(
        "{topic} holds a checkpoint of this log, signed by its own keys, over {signed} entries \
         that are not those of this log: two copies of it were written to; find the right one"
    )]
    OtherHistory {
        /// The acks topic.
        topic: String,
        /// What the checkpoint covers.
        signed: u64,
    },
    /// Another ledger of the same log took over.
    #[error(
        "another `custody serve` of this log has taken over the topic {topic}: stop one of the \
         two, then start this one again"
    )]
    Fenced {
        /// The acks topic.
        topic: String,
    },
    /// The log itself takes nothing.
    #[error("{0}")]
    Log(String),
    /// Anything else that the client says.
    #[error("{what}: {reason}")]
    Failed {
        /// What was tried.
        what: String,
        /// What was said.
        reason: String,
    },
}

impl KafkaFailed {
    /// Whether trying again by itself makes no sense until somebody has looked.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            KafkaFailed::LogIsOlder { .. }
                | KafkaFailed::OtherHistory { .. }
                | KafkaFailed::Fenced { .. }
        )
    }

    /// What an error of the client means.
    pub(crate) fn of(
        error: &KafkaError,
        what: &str,
        talk: &Talk,
        brokers: &Brokers,
    ) -> KafkaFailed {
        use RDKafkaErrorCode as Code;
        let brokers = brokers.addresses().to_owned();
        let said = || talk.last().unwrap_or_else(|| plain(error));
        let code = match error {
            KafkaError::AdminOp(code) => Some(*code),
            error => error.rdkafka_error_code(),
        };
        match code {
            Some(Code::MessageSizeTooLarge) => KafkaFailed::TooLarge {
                what: what.to_owned(),
            },
            Some(
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::TransactionalIdAuthorizationFailed,
            ) => KafkaFailed::NotAllowed {
                what: what.to_owned(),
            },
            Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) => {
                let reason = said();
                KafkaFailed::LoginRefused { brokers, reason }
            }
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::MessageTimedOut
                | Code::BrokerNotAvailable,
            ) => {
                let reason = said();
                // Brokers that hang up after a refused login are away only by the code.
                if talk.is_login() {
                    KafkaFailed::LoginRefused { brokers, reason }
                } else {
                    KafkaFailed::Away { brokers, reason }
                }
            }
            _ => KafkaFailed::Failed {
                what: what.to_owned(),
                reason: plain(error),
            },
        }
    }
}

/// What is missing where something is not allowed: what was tried says it.
fn right(what: &str) -> String {
    for (tried, right) in RIGHTS {
        if let Some(object) = what.strip_prefix(tried) {
            return format!("{right} {}", object.trim_start());
        }
    }
    "the right".to_owned()
}

/// What is tried, as it is called in errors, and the right that it takes.
const RIGHTS: [(&str, &str); 7] = [
    ("reading topic", "Read and Describe on topic"),
    ("writing to topic", "Write and Describe on topic"),
    ("creating topic", "Create on topic"),
    (
        "describing the settings of topic",
        "DescribeConfigs on topic",
    ),
    ("describing topic", "Describe on topic"),
    ("asking for offsets of topic", "Describe on topic"),
    (TAKING_OVER, "Write and Describe on transactional id"),
];
/// What begins a ledger's turn on the acks topic.
pub(crate) const TAKING_OVER: &str = "using transactional id";

/// The client's words, without a setting's value in them.
fn plain(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, what, key, _) => format!("{key}: {what}"),
        error => error.to_string(),
    }
}

impl From<PrivateFileError> for KafkaFailed {
    fn from(error: PrivateFileError) -> KafkaFailed {
        KafkaFailed::File(error.to_string())
    }
}

/// A complaint without how long it took and how often it was heard, which is another each time:
/// the same trouble is to be said once.
fn without_counts(reason: &str) -> &str {
    let end = reason.rfind(" (after ").unwrap_or(reason.len());
    reason.get(..end).unwrap_or(reason)
}

/// What a client said last of its connections, the context that hears it, and whether whoever asks
/// is to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk {
    said: Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>,
    ends: Arc<AtomicBool>,
    ids: Arc<Ids>,
}

impl Talk {
    /// Of clients that end when `ends` is set.
    pub(crate) fn until(ends: &Arc<AtomicBool>) -> Talk {
        Talk {
            said: Arc::default(),
            ends: ends.clone(),
            ids: Arc::default(),
        }
    }

    /// Whether whoever asks is to end.
    pub(crate) fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Asks for at most `wait`, but a second at most once it is to end. What is asked can be asked
    /// again, and goes on then.
    pub(crate) fn ask<T>(
        &self,
        wait: Duration,
        mut once: impl FnMut(Duration) -> Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        let until = Instant::now() + wait;
        loop {
            let slice = left(until).min(ANSWER_SLICE);
            let began = Instant::now();
            match once(slice) {
                // An error that came at once is no silence.
                Err(error) if is_silence(&error) && began.elapsed() >= slice / 2 => {
                    if self.ends() || left(until).is_zero() {
                        return Err(error);
                    }
                }
                answer => return answer,
            }
        }
    }

    /// The ids of topics that it heard, if it is one that says them.
    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Its last complaint.
    pub(crate) fn last(&self) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.as_ref().map(|said| said.1.clone())
    }

    fn is_login(&self) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(
            said.as_ref().map(|said| said.0),
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL)
        )
    }
}

impl ClientContext for Talk {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        self.ids.hear(message);
        // Every complaint is said by what failed; here is the detail of it.
        tracing::debug!(facility, message, "kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        // That all are down follows from what was said of each, which says more.
        if code != RDKafkaErrorCode::AllBrokersDown {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            *said = Some((code, without_counts(reason).to_owned()));
        }
        tracing::debug!(reason, "kafka connection");
    }
}

impl ConsumerContext for Talk {}

impl ProducerContext for Talk {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {
        // Of a transaction: what failed shows when it is committed.
    }
}

/// Whether nobody answered in time.
fn is_silence(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::OperationTimedOut | Code::BrokerTransportFailure)
    )
}

/// Whether it is this code.
pub(crate) fn is(error: &KafkaError, code: RDKafkaErrorCode) -> bool {
    error.rdkafka_error_code() == Some(code)
}

/// The settings that every client has.
///
/// # Errors
/// A file that cannot be read, or that others can.
pub(crate) fn settings(brokers: &Brokers) -> Result<ClientConfig, KafkaFailed> {
    let config = brokers.config();
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "custody")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "2000")
        .set("allow.auto.create.topics", "false")
        // Counted by nobody: the interval is for its own log line.
        .set("log.connection.close", "false");
    let protocol = match (&config.tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(tls) = &config.tls {
        let authority = std::fs::read_to_string(&tls.ca)
            .map_err(|error| KafkaFailed::File(format!("reading {}: {error}", tls.ca.display())))?;
        client.set("ssl.ca.pem", authority);
        client.set("ssl.endpoint.identification.algorithm", "https");
        if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
            let text = std::fs::read_to_string(certificate).map_err(|error| {
                KafkaFailed::File(format!("reading {}: {error}", certificate.display()))
            })?;
            client.set("ssl.certificate.pem", text);
            client.set("ssl.key.pem", secret(key)?.as_str());
        }
    }
    if let Some(sasl) = &config.sasl {
        let password = secret(&sasl.password_file)?;
        client
            .set("sasl.mechanism", &sasl.mechanism)
            .set("sasl.username", &sasl.username)
            .set("sasl.password", password.lines().next().unwrap_or_default());
    }
    Ok(client)
}

fn secret(path: &std::path::Path) -> Result<zeroize::Zeroizing<String>, KafkaFailed> {
    let bytes = private_file::read(path, SECRET_BYTES_MAX)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| KafkaFailed::File(format!("{} is not UTF-8", path.display())))?;
    Ok(zeroize::Zeroizing::new(text.to_owned()))
}

/// A consumer that is told where to read, joins no group and commits nothing.
pub(crate) fn consumer(
    brokers: &Brokers,
    talk: &Talk,
    set: &[(&str, &str)],
) -> Result<BaseConsumer<Talk>, KafkaFailed> {
    let mut client = settings(brokers)?;
    client
        // Asked for by the client though no group is joined.
        .set("group.id", "custody")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", READ_COMMITTED)
        .set("check.crcs", "true")
        // What an answer, or a batch that was compressed, may take in memory.
        .set("receive.message.max.bytes", "67108864");
    for (key, value) in set {
        client.set(*key, *value);
    }
    if set.contains(&SAY_IDS) {
        client.set_log_level(RDKafkaLogLevel::Debug);
    }
    client
        .create_with_context(talk.clone())
        .map_err(|error| KafkaFailed::of(&error, "making a consumer", talk, brokers))
}

/// The next record or error. The client asks who coordinates its group, which nobody here joins:
/// that it may not know is passed over, so that no right on a group is needed.
pub(crate) fn poll(
    client: &BaseConsumer<Talk>,
    wait: Duration,
) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
    client.poll(wait).filter(|polled| {
        let error = polled.as_ref().err();
        !error.is_some_and(|error| is(error, RDKafkaErrorCode::GroupAuthorizationFailed))
    })
}

/// Waits for an answer of the administration interface.
pub(crate) fn wait_for<T>(answer: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut answer = pin!(answer);
    loop {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(found) => return found,
            Poll::Pending => thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// What is left until `deadline`.
pub(crate) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// The code of a single topic's result.
pub(crate) fn code(code: RDKafkaRespErr) -> RDKafkaErrorCode {
    code.into()
}

#[cfg(test)]
mod tests {
    use super::super::config::BrokersConfig;
    use super::super::notice::Notice;
    use super::*;

    #[test]
    fn the_same_trouble_has_the_same_words_and_a_missing_right_is_told_from_others() {
        let brokers = BrokersConfig {
            brokers: "localhost:1".to_owned(),
            ..BrokersConfig::default()
        };
        let brokers = brokers.check().unwrap();
        let talk = Talk::default();
        let down = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
        let hear = |times: &str| {
            let text = format!("localhost:1: Connect failed: refused (after {times} in state X)");
            let code = RDKafkaErrorCode::BrokerTransportFailure;
            talk.error(KafkaError::Global(code), &text);
            KafkaFailed::of(&down, "looking", &talk, &brokers)
        };
        let first = hear("1ms");
        assert_eq!(first, hear("27ms"));
        assert!(first.to_string().contains("Connect failed: refused;"));
        let create = |code| KafkaFailed::of(&KafkaError::AdminOp(code), "x", &talk, &brokers);
        let refused = create(RDKafkaErrorCode::TopicAuthorizationFailed);
        assert!(matches!(refused, KafkaFailed::NotAllowed { .. }));
        let other = create(RDKafkaErrorCode::InvalidReplicationFactor);
        assert!(matches!(other, KafkaFailed::Failed { .. }));
    }

    /// What an operator may meet, and what the manual's page says that it says.
    fn said() -> Vec<String> {
        let word = || "x".to_owned();
        let failed = [
            KafkaFailed::Away {
                brokers: word(),
                reason: word(),
            },
            KafkaFailed::LoginRefused {
                brokers: word(),
                reason: word(),
            },
            KafkaFailed::NotAllowed {
                what: "writing to topic x".to_owned(),
            },
            KafkaFailed::TooLarge { what: word() },
            KafkaFailed::NoTopic { topic: word() },
            KafkaFailed::OtherCluster {
                brokers: word(),
                found: word(),
                known: word(),
            },
            KafkaFailed::Fenced { topic: word() },
        ];
        let counted = super::super::place::Counted {
            from: 1,
            to: 2,
            records: 3,
            bytes: 4,
        };
        let notices = [
            Notice::Lost { from: 1, count: 1 },
            Notice::Unreadable { from: 1, count: 1 },
            Notice::Anew { next: 1, why: "x" },
            Notice::Junk(counted),
        ];
        let failed = failed.iter().map(KafkaFailed::to_string);
        let notices = notices.iter().map(|one| one.message("x"));
        failed.chain(notices).collect()
    }

    #[test]
    fn the_manual_has_the_words_of_every_message() {
        let page = include_str!("../../../../docs/operating/kafka.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let phrases: Vec<&str> = rows.filter_map(|row| row.split("` |").next()).collect();
        let has = |text: &str, phrase: &str| {
            let mut rest = text;
            phrase.split('…').all(|part| {
                let found = rest.find(part).map(|at| &rest[at + part.len()..]);
                rest = found.unwrap_or_default();
                found.is_some()
            })
        };
        assert!(!has("no broker of x", "no broker of … answers"));
        for text in said() {
            let named = phrases.iter().any(|phrase| has(&text, phrase));
            assert!(named, "not in the manual: {text}");
        }
        // Those of `topics` and `places` are made of texts, which stand in the sources.
        let sources = concat!(include_str!("topics.rs"), include_str!("places.rs"));
        let sources = sources.replace("{}", "x").replace("\\\n", "");
        let table = page.split("| it says |").nth(1).unwrap();
        let table = table.split("\n\n").next().unwrap();
        for row in table.lines().filter_map(|line| line.strip_prefix("| `")) {
            let phrase = row.split("` |").next().unwrap();
            let named = said().iter().any(|text| has(text, phrase));
            assert!(named || has(&sources, phrase), "nobody says: {phrase}");
        }
    }
}
