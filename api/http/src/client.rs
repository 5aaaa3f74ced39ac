//! The other end of the log's socket: [`SocketDoor`] and [`SocketReads`], which do over a running
//! server what the log's own process does by itself.
//!
//! Not here: finding out whether a server runs ([`crate::answers`]), and any retry but the one that
//! the log asks for when it is busy.

use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use collectors_bus::answer::{AcknowledgedAnswer, AppendedAnswer};
use collectors_bus::form::{self, BATCH_BYTES_MAX, BATCH_TYPE};
use ledger_core::bytes::Fields;
use ledger_core::message::{Message, VALUE_MAX};
use ledger_core::state::{Position, SourceState};
use ledger_core::{Index, SourceId, TreeSize};
use ledger_index::Query;
use ledger_log::door::{ACKNOWLEDGED_WAIT, BATCH_MESSAGES_MAX, PUBLISHED_WAIT};
use ledger_log::{Acknowledged, Appended, Batch, Door, DoorError, LogPaths, LogStatus, SourceSpec};
use reqwest::Url;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fetch::{CHECKPOINT_BYTES_MAX, reason};
use crate::local::PUBLISHED_PATH;
use crate::problem::ProblemBody;
use crate::reads::{Ask, Proof, Reads, ReadsError, Tail};
use crate::wire::{
    End, EndLine, PositionsAnswer, PositionsBody, ProofAnswer, RegisterAnswer, RegisterBody, Size,
};

/// What stands before every path; the socket has no host.
const BASE: &str = "http://custody";
/// Longest wait for an answer that is not a stream.
const ANSWER_WAIT: Duration = Duration::from_secs(120);
/// How long a busy log is asked again.
const BUSY_WAIT: Duration = Duration::from_secs(60);
/// First and longest pause between two of these.
const BUSY_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// Longest answer that is not a stream, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Longest line of a stream, in bytes.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Longest problem, in bytes.
const PROBLEM_BYTES_MAX: u64 = 64 << 10;

/// The socket, as far as HTTP goes.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    client: Client,
}

/// Why a request has no answer.
pub(crate) enum Failure {
    Unreachable(String),
    Problem(Box<ProblemBody>),
    Nonsense(String),
}

impl Failure {
    pub(crate) fn into_reads(self) -> ReadsError {
        match self {
            Failure::Unreachable(reason) => ReadsError::Unreachable { reason },
            Failure::Problem(body) => body.into_reads(),
            Failure::Nonsense(reason) => ReadsError::Nonsense { reason },
        }
    }

    fn into_door(self) -> DoorError {
        match self {
            Failure::Unreachable(reason) | Failure::Nonsense(reason) => {
                DoorError::Unreachable { reason }
            }
            Failure::Problem(body) => body.into_door(),
        }
    }
}

impl Socket {
    fn new(path: &Path) -> Result<Socket, Failure> {
        let client = Client::builder()
            .unix_socket(path)
            // No TLS on a socket, so no authority is needed; a machine may have none.
            .tls_certs_only([])
            .no_proxy()
            .timeout(None)
            .build();
        let client = client.map_err(|error| Failure::Unreachable(reason(&error)))?;
        Ok(Socket { client })
    }

    fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<RequestBuilder, Failure> {
        let url = Url::parse_with_params(&format!("{BASE}{path}"), parameters);
        let url = url.map_err(|error| Failure::Nonsense(reason(&error)))?;
        Ok(self.client.get(url))
    }

    fn post(&self, path: &str, kind: &'static str, body: Vec<u8>) -> RequestBuilder {
        self.client
            .post(format!("{BASE}{path}"))
            .header(CONTENT_TYPE, kind)
            .body(body)
    }

    fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::Nonsense(reason(&error)))?;
        json(send(
            self.post(path, "application/json", body)
                .timeout(ANSWER_WAIT),
        )?)
    }

    pub(crate) fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        json(send(self.get(path, &[])?.timeout(ANSWER_WAIT))?)
    }
}

/// Sends a request; an answer that is no success is a problem.
fn send(request: RequestBuilder) -> Result<Response, Failure> {
    let answer = request
        .send()
        .map_err(|error| Failure::Unreachable(reason(&error)))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let bytes = bytes(answer, PROBLEM_BYTES_MAX)?;
    let problem = serde_json::from_slice(&bytes);
    Err(problem.map_or_else(
        |_| Failure::Nonsense(format!("status {status}")),
        Failure::Problem,
    ))
}

fn bytes(answer: Response, bound: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = answer.take(bound.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Unreachable(reason(&error)))?;
    if bytes.len() as u64 > bound {
        return Err(Failure::Nonsense(format!(
            "an answer of more than {bound} bytes"
        )));
    }
    Ok(bytes)
}

fn json<T: DeserializeOwned>(answer: Response) -> Result<T, Failure> {
    let bytes = bytes(answer, ANSWER_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::Nonsense(reason(&error)))
}

/// The door of a log that another process holds.
#[derive(Clone, Debug)]
pub struct SocketDoor {
    socket: Socket,
}

impl SocketDoor {
    /// The door behind the socket of `paths`.
    ///
    /// # Errors
    /// No client could be made. Whether anybody answers shows at the first request.
    pub fn new(paths: &LogPaths) -> Result<SocketDoor, DoorError> {
        let socket = Socket::new(&paths.socket()).map_err(Failure::into_door)?;
        Ok(SocketDoor { socket })
    }

    /// Registers a source, with a key of its own or without.
    fn registration(&self, spec: &SourceSpec, keyed: bool) -> Result<SourceState, DoorError> {
        let body = RegisterBody {
            name: spec.name.clone(),
            platform: spec.platform.clone(),
            keyed,
        };
        let answer: RegisterAnswer = self
            .socket
            .post_json("/v1/sources", &body)
            .map_err(Failure::into_door)?;
        let state = STANDARD.decode(answer.state).ok().and_then(|bytes| {
            let mut fields = Fields::new("source state", &bytes);
            let state = SourceState::decode(&mut fields).ok()?;
            fields.finish().ok().map(|()| state)
        });
        state.ok_or_else(|| nonsense("the state of a source"))
    }

    /// Sends one body, again while the log is busy.
    fn append_body(&self, body: &[u8]) -> Result<Appended, DoorError> {
        let (mut pause, longest) = BUSY_PAUSES;
        let until = Instant::now() + BUSY_WAIT;
        loop {
            let request = self.socket.post("/v1/messages", BATCH_TYPE, body.to_vec());
            let answer = send(request.timeout(ANSWER_WAIT)).and_then(json::<AppendedAnswer>);
            match answer.map_err(Failure::into_door) {
                Ok(answer) => return Ok(Appended::from(answer)),
                Err(DoorError::Busy) if Instant::now() < until => thread::sleep(pause),
                Err(error) => return Err(error),
            }
            pause = pause.saturating_mul(2).min(longest);
        }
    }
}

impl Door for SocketDoor {
    fn register(&mut self, spec: &SourceSpec) -> Result<SourceState, DoorError> {
        self.registration(spec, false)
    }

    fn register_keyed(&mut self, spec: &SourceSpec) -> Result<SourceState, DoorError> {
        self.registration(spec, true)
    }

    fn positions(&mut self, keys: &[String]) -> Result<Vec<Option<Position>>, DoorError> {
        let body = PositionsBody {
            keys: keys.to_vec(),
        };
        let answer: PositionsAnswer = self
            .socket
            .post_json("/v1/positions", &body)
            .map_err(Failure::into_door)?;
        if answer.values.len() != keys.len() {
            return Err(nonsense("another number of positions"));
        }
        let position = |(key, value): (&String, Option<String>)| {
            let value = value.map(|value| STANDARD.decode(value)).transpose();
            let value = value.map_err(|_| nonsense("the value of a position"))?;
            let key = key.clone();
            Ok(value.map(|value| Position { key, value }))
        };
        keys.iter().zip(answer.values).map(position).collect()
    }

    fn append(&mut self, batch: Batch) -> Result<Appended, DoorError> {
        check(&batch)?;
        let mut whole = Appended {
            outcomes: Vec::new(),
            size: TreeSize(0),
        };
        let mut rest = batch.messages.as_slice();
        loop {
            let (now, later) = split(rest, &batch.positions);
            // Positions hold once all messages are durable: they go with the last ones.
            let positions = if later.is_empty() {
                batch.positions.as_slice()
            } else {
                &[]
            };
            let body = form::encode(batch.source, now, positions);
            let part = self.append_body(&body)?;
            if part.outcomes.len() != now.len() {
                return Err(nonsense("another number of outcomes"));
            }
            whole.outcomes.extend(part.outcomes);
            whole.size = part.size;
            if later.is_empty() {
                return Ok(whole);
            }
            rest = later;
        }
    }

    fn wait_published(&mut self, size: TreeSize) -> Result<TreeSize, DoorError> {
        let request = self
            .socket
            .get(PUBLISHED_PATH, &[("size", size.to_string())]);
        let request = request.map(|r| r.timeout(PUBLISHED_WAIT.saturating_add(ANSWER_WAIT)));
        let answer = request
            .and_then(send)
            .and_then(json)
            .map_err(Failure::into_door)?;
        let Size { size } = answer;
        Ok(TreeSize(size))
    }

    fn acknowledged(
        &mut self,
        source: SourceId,
        after: Option<TreeSize>,
        wait: Duration,
    ) -> Result<Acknowledged, DoorError> {
        let wait = wait.min(ACKNOWLEDGED_WAIT);
        let mut parameters = vec![("wait_ms", wait.as_millis().to_string())];
        parameters.extend(after.map(|size| ("after", size.to_string())));
        let path = format!("/v1/sources/{source}/acknowledged");
        let request = self.socket.get(&path, &parameters);
        let request = request.map(|r| r.timeout(ANSWER_WAIT.saturating_add(wait)));
        let answer: AcknowledgedAnswer = request
            .and_then(send)
            .and_then(json)
            .map_err(Failure::into_door)?;
        Acknowledged::try_from(answer).map_err(|error| nonsense(&error.to_string()))
    }

    fn status(&mut self) -> Result<LogStatus, DoorError> {
        self.socket
            .get_json("/v1/status")
            .map_err(Failure::into_door)
    }
}

fn nonsense(what: &str) -> DoorError {
    DoorError::Unreachable {
        reason: format!("the server answered nonsense: {what}"),
    }
}

/// What the door would refuse and a body cannot carry.
fn check(batch: &Batch) -> Result<(), DoorError> {
    let count = batch.messages.len();
    if count > BATCH_MESSAGES_MAX {
        return Err(DoorError::TooMany {
            count,
            max: BATCH_MESSAGES_MAX,
        });
    }
    let mut numbered = batch.messages.iter().enumerate();
    let long = numbered.find(|(_, message)| message.value.len() > VALUE_MAX);
    if let Some((number, message)) = long {
        let len = message.value.len();
        return Err(DoorError::TooLarge { number, len });
    }
    let illegal = |position: &&Position| {
        !(1..=255).contains(&position.key.len()) || position.value.len() > Position::VALUE_MAX
    };
    match batch.positions.iter().find(illegal) {
        Some(bad) => Err(DoorError::BadPosition {
            key: bad.key.chars().take(64).collect(),
        }),
        None => Ok(()),
    }
}

/// As many messages as one body takes, and the rest.
fn split<'m>(messages: &'m [Message], positions: &[Position]) -> (&'m [Message], &'m [Message]) {
    let mut length = form::empty_len(positions);
    let fits = messages.iter().take_while(|message| {
        length = length.saturating_add(form::message_len(message));
        length <= BATCH_BYTES_MAX
    });
    // One message alone always fits: its value has a bound far below the body's.
    let count = fits.count().max(1).min(messages.len());
    messages.split_at_checked(count).unwrap_or((messages, &[]))
}

/// Reading a log that another process holds.
#[derive(Clone, Debug)]
pub struct SocketReads {
    pub(crate) socket: Socket,
    checkpoint_path: String,
}

impl SocketReads {
    /// Reads behind the socket of `paths`.
    ///
    /// # Errors
    /// No client could be made. Whether anybody answers shows at the first request.
    pub fn new(paths: &LogPaths) -> Result<SocketReads, ReadsError> {
        let socket = Socket::new(&paths.socket()).map_err(Failure::into_reads)?;
        let checkpoint_path = format!("/log/{}/{}/checkpoint", paths.tenant(), paths.label());
        Ok(SocketReads {
            socket,
            checkpoint_path,
        })
    }

    fn stream(
        &self,
        path: &str,
        ask: &Ask<'_>,
        from: Option<Index>,
        visit: &mut dyn FnMut(Tail<'_>) -> ControlFlow<()>,
    ) -> Result<u64, ReadsError> {
        // Refused here as the reader of the files refuses it, with the same words.
        Query::parse(ask.query, ask.now)?;
        let mut parameters = vec![("q", ask.query.to_owned()), ("now", ask.now.to_string())];
        parameters.extend(ask.limit.map(|limit| ("limit", limit.to_string())));
        parameters.extend(from.map(|index| ("from", index.to_string())));
        let answer = self.socket.get(path, &parameters).and_then(send);
        follow(BufReader::new(answer.map_err(Failure::into_reads)?), visit)
    }
}

/// Shows the lines of a stream, and gives how many entries there were.
fn follow(
    mut lines: impl BufRead,
    visit: &mut dyn FnMut(Tail<'_>) -> ControlFlow<()>,
) -> Result<u64, ReadsError> {
    let nonsense = |reason: &str| ReadsError::Nonsense {
        reason: reason.to_owned(),
    };
    let mut count = 0;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = lines
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut bytes);
        read.map_err(|error| ReadsError::Unreachable {
            reason: reason(&error),
        })?;
        let text = std::str::from_utf8(&bytes).map_err(|_| nonsense("a line is no UTF-8"))?;
        let Some(line) = text.strip_suffix('\n') else {
            let reason = "the answer was cut off: the server has stopped".to_owned();
            return Err(ReadsError::Unreachable { reason });
        };
        let flow = if line.is_empty() {
            visit(Tail::Idle)
        } else if line.starts_with("{\"end\":") {
            let end = serde_json::from_str(line).map_err(|_| nonsense("the last line"))?;
            return match end {
                EndLine {
                    end: End::Done(sent),
                } if sent == count => Ok(count),
                EndLine { end: End::Done(_) } => Err(nonsense("another number of entries")),
                EndLine {
                    end: End::Problem(body),
                } => Err(body.into_reads()),
            };
        } else {
            count += 1;
            visit(Tail::Entry(line))
        };
        if flow.is_break() {
            return Ok(count);
        }
    }
}

impl Reads for SocketReads {
    fn entry(&mut self, index: Index) -> Result<String, ReadsError> {
        let request = self.socket.get(&format!("/v1/entries/{index}"), &[]);
        let answer = request
            .map(|request| request.timeout(ANSWER_WAIT))
            .and_then(send);
        let bytes = answer
            .and_then(|a| bytes(a, ANSWER_BYTES_MAX))
            .map_err(Failure::into_reads)?;
        String::from_utf8(bytes).map_err(|_| ReadsError::Nonsense {
            reason: "an entry is no UTF-8".to_owned(),
        })
    }

    fn query(
        &mut self,
        ask: &Ask<'_>,
        visit: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<u64, ReadsError> {
        self.stream("/v1/query", ask, None, &mut |news| match news {
            Tail::Entry(line) => visit(line),
            Tail::Idle => ControlFlow::Continue(()),
        })
    }

    fn tail(
        &mut self,
        ask: &Ask<'_>,
        from: Option<Index>,
        visit: &mut dyn FnMut(Tail<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadsError> {
        self.stream("/v1/tail", ask, from, visit).map(|_| ())
    }

    fn proof(&mut self, index: Index) -> Result<Proof, ReadsError> {
        let answer: ProofAnswer = self
            .socket
            .get_json(&format!("/v1/proof/{index}"))
            .map_err(Failure::into_reads)?;
        Ok(Proof {
            proof: answer.proof,
            payload: answer.payload.get().to_owned(),
        })
    }

    fn checkpoint(&mut self) -> Result<Vec<u8>, ReadsError> {
        let request = self.socket.get(&self.checkpoint_path, &[]);
        let answer = request
            .map(|request| request.timeout(ANSWER_WAIT))
            .and_then(send);
        answer
            .and_then(|a| bytes(a, CHECKPOINT_BYTES_MAX))
            .map_err(Failure::into_reads)
    }

    fn status(&mut self) -> Result<LogStatus, ReadsError> {
        self.socket
            .get_json("/v1/status")
            .map_err(Failure::into_reads)
    }
}
