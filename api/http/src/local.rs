//! The routes of the socket: the door, and reading entries (docs/formats/socket.md). Agents have
//! two of them as well (`agents`).
//!
//! Not here: what a batch or an entry looks like, and any right finer than who may open the socket.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{self, Bytes, Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use collectors_bus::answer::{AcknowledgedAnswer, AppendedAnswer};
use collectors_bus::bus::WAIT_MAX;
use collectors_bus::form::{self, BATCH_BYTES_MAX, BATCH_TYPE};
use jiff::Timestamp;
use ledger_core::{Index, Nanos, SourceId, TreeSize};
use ledger_index::Query;
use ledger_log::{Batch, Door, DoorError, SourceSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::gate::block;
use crate::problem::{Problem, ProblemType};
use crate::reads::{Ask, Reads, Tail};
use crate::server::{posting, reading};
use crate::site::Front;
use crate::stream::stream;
use crate::wire::{
    AcknowledgedQuery, AskQuery, PositionsAnswer, PositionsBody, ProofAnswer, RegisterAnswer,
    RegisterBody, Size,
};

/// Where batches are taken.
pub(crate) const MESSAGES_ROUTE: &str = "/v1/messages";
/// Where a sender learns what it may forget.
pub(crate) const ACKNOWLEDGED_ROUTE: &str = "/v1/sources/{source}/acknowledged";
/// Where one waits for a checkpoint.
pub(crate) const PUBLISHED_PATH: &str = "/v1/published";
/// Longest JSON body, in bytes.
const JSON_BYTES_MAX: usize = 1 << 20;
/// How often a request that waits for an acknowledgement looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Most keys of positions that are asked for at once.
const KEYS_MAX: usize = 1024;

/// Adds the routes.
pub(crate) fn routes(config: &mut ServiceConfig) {
    config
        .service(posting("/v1/sources", register))
        .service(posting("/v1/positions", positions))
        .service(posting(MESSAGES_ROUTE, append))
        .service(reading(ACKNOWLEDGED_ROUTE, acknowledged))
        .service(reading(PUBLISHED_PATH, published))
        .service(reading("/v1/status", status))
        .service(reading("/v1/entries/{index}", entry))
        .service(reading("/v1/proof/{index}", proof))
        .service(reading("/v1/query", query))
        .service(reading("/v1/tail", tail));
}

async fn register(front: Data<Front>, payload: Payload) -> Result<HttpResponse, Problem> {
    let RegisterBody {
        name,
        platform,
        keyed,
    } = json_body(payload).await?;
    let mut door = front.site.door.clone();
    let spec = SourceSpec { name, platform };
    let state = block(move || match keyed {
        true => door.register_keyed(&spec),
        false => door.register(&spec),
    });
    let state = state.await?;
    let state = state.map_err(Problem::of_door)?;
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    Ok(json(&RegisterAnswer {
        id: state.id.0,
        epoch: state.epoch.0,
        state: STANDARD.encode(bytes),
    }))
}

async fn positions(front: Data<Front>, payload: Payload) -> Result<HttpResponse, Problem> {
    let PositionsBody { keys } = json_body(payload).await?;
    if keys.len() > KEYS_MAX {
        let detail = format!(
            "{} keys are asked for, at most {KEYS_MAX} at once",
            keys.len()
        );
        return Err(Problem::new(ProblemType::TooLarge, detail));
    }
    let mut door = front.site.door.clone();
    let found = block(move || door.positions(&keys))
        .await?
        .map_err(Problem::of_door)?;
    let value = |position: ledger_core::state::Position| STANDARD.encode(position.value);
    Ok(json(&PositionsAnswer {
        values: found.into_iter().map(|p| p.map(value)).collect(),
    }))
}

async fn append(
    front: Data<Front>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    append_batch(&front, &request, payload, |_| Ok(())).await
}

/// Takes the body of a batch, lets `allowed` look at it, and answers when it is durable.
pub(crate) async fn append_batch(
    front: &Front,
    request: &HttpRequest,
    payload: Payload,
    allowed: impl FnOnce(&Batch) -> Result<(), Problem> + Send + 'static,
) -> Result<HttpResponse, Problem> {
    let found = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if found != Some(BATCH_TYPE) {
        let detail = format!("the body must be {BATCH_TYPE}: see docs/formats/messages.md");
        return Err(Problem::new(ProblemType::Malformed, detail));
    }
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BATCH_BYTES_MAX) {
        return Err(too_large(BATCH_BYTES_MAX));
    }
    let permit = front.site.admit_append()?;
    let bytes = body(payload, BATCH_BYTES_MAX).await?;
    let door = front.site.door.clone();
    let appended = block(move || {
        let malformed = |error| Problem::new(ProblemType::Malformed, format!("{error}"));
        let batch = form::decode(&bytes).map_err(malformed)?;
        drop(bytes);
        allowed(&batch)?;
        let ticket = door.try_submit(batch).map_err(Problem::of_door)?;
        // The door's own bounds hold from here; room for the next body.
        drop(permit);
        ticket.wait().map_err(Problem::of_door)
    });
    Ok(json(&AppendedAnswer::from(&appended.await??)))
}

/// What the published checkpoint covers of a source; waits as the query says.
pub(crate) async fn acknowledged(
    front: Data<Front>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let source = source(&request)?;
    let asked: AcknowledgedQuery = query_string(&request)?;
    let after = asked.after.map(TreeSize);
    let until = Instant::now() + Duration::from_millis(asked.wait_ms).min(WAIT_MAX);
    loop {
        // Two short locks and no disk, so no thread has to wait for as many agents as there are.
        let (found, news) = match front.site.door.acknowledged_now(source, after) {
            Ok((found, news)) => (Ok(found), news),
            Err(error) => (Err(error.clone()), error != DoorError::Busy),
        };
        if news || Instant::now() >= until || front.site.is_stopping() {
            let found = found.map_err(Problem::of_door)?;
            return Ok(json(&AcknowledgedAnswer::from(&found)));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn published(front: Data<Front>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let Size { size } = query_string(&request)?;
    let mut door = front.site.door.clone();
    let reached = block(move || door.wait_published(TreeSize(size))).await?;
    let TreeSize(size) = reached.map_err(Problem::of_door)?;
    Ok(json(&Size { size }))
}

async fn status(front: Data<Front>) -> Result<HttpResponse, Problem> {
    let mut door = front.site.door.clone();
    let status = block(move || door.status())
        .await?
        .map_err(Problem::of_door)?;
    let mut answer = serde_json::to_value(&status).unwrap_or_default();
    if let (Some(bus), Some(fields)) = (front.site.bus(), answer.as_object_mut()) {
        fields.insert(
            "bus".to_owned(),
            serde_json::to_value(&bus).unwrap_or_default(),
        );
    }
    Ok(json(&answer))
}

async fn entry(front: Data<Front>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let index = index(&request)?;
    let mut reads = front.site.reads();
    let line = block(move || reads.entry(index))
        .await?
        .map_err(Problem::of_reads)?;
    Ok(json_text(line))
}

async fn proof(front: Data<Front>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let index = index(&request)?;
    let mut reads = front.site.reads();
    let proof = block(move || reads.proof(index))
        .await?
        .map_err(Problem::of_reads)?;
    let unreadable = |error| Problem::new(ProblemType::Unreadable, format!("{error}"));
    let payload = RawValue::from_string(proof.payload).map_err(unreadable)?;
    Ok(json(&ProofAnswer {
        proof: proof.proof,
        payload,
    }))
}

async fn query(front: Data<Front>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked = asked(&request)?;
    if asked.from.is_some() {
        return Err(Problem::new(
            ProblemType::Malformed,
            "from is for /v1/tail only",
        ));
    }
    let permit = front.site.admit_stream()?;
    let mut reads = front.site.reads();
    Ok(stream(
        front.site.clone(),
        permit,
        request.path(),
        move |feed| {
            reads
                .query(&asked.ask(), &mut |line| feed.line(line))
                .map_err(Problem::of_reads)
        },
    ))
}

async fn tail(front: Data<Front>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked = asked(&request)?;
    let permit = front.site.admit_stream()?;
    let mut reads = front.site.reads();
    Ok(stream(
        front.site.clone(),
        permit,
        request.path(),
        move |feed| {
            let mut count = 0;
            // The head of the answer goes out at once, so that the client knows where it stands.
            if feed.line("").is_break() || feed.flush().is_break() {
                return Ok(count);
            }
            let mut visit = |news: Tail<'_>| -> ControlFlow<()> {
                match news {
                    Tail::Entry(line) => {
                        count += 1;
                        feed.line(line)?;
                    }
                    Tail::Idle => feed.line("")?,
                }
                feed.flush()
            };
            let ended = reads.tail(&asked.ask(), asked.from, &mut visit);
            ended.map_err(Problem::of_reads)?;
            Ok(count)
        },
    ))
}

/// The parameters of a query or tail, checked.
struct Asked {
    text: String,
    now: Nanos,
    limit: Option<u64>,
    from: Option<Index>,
}

impl Asked {
    fn ask(&self) -> Ask<'_> {
        Ask {
            query: &self.text,
            now: self.now,
            limit: self.limit,
        }
    }
}

fn asked(request: &HttpRequest) -> Result<Asked, Problem> {
    let asked: AskQuery = query_string(request)?;
    let clock = || i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let now = Nanos(asked.now.unwrap_or_else(clock));
    // Refused before the answer begins; a stream has no status left to say it with.
    Query::parse(&asked.q, now)
        .map_err(|error| Problem::new(ProblemType::Query, error.to_string()))?;
    Ok(Asked {
        text: asked.q,
        now,
        limit: asked.limit,
        from: asked.from.map(Index),
    })
}

fn index(request: &HttpRequest) -> Result<Index, Problem> {
    number(request, "index").map(Index)
}

/// The source that the path names.
pub(crate) fn source(request: &HttpRequest) -> Result<SourceId, Problem> {
    let number = number(request, "source")?;
    // A number beyond all sources is the number of none.
    Ok(SourceId(u32::try_from(number).unwrap_or(u32::MAX)))
}

fn number(request: &HttpRequest, name: &str) -> Result<u64, Problem> {
    let text = request.match_info().query(name);
    let plain = text
        .parse::<u64>()
        .ok()
        .filter(|number| number.to_string() == text);
    plain.ok_or_else(|| {
        let shown: String = text.chars().take(32).collect();
        Problem::new(
            ProblemType::Malformed,
            format!("{shown:?} is no {name}: give a number"),
        )
    })
}

fn query_string<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    web::Query::<T>::from_query(request.query_string())
        .map(web::Query::into_inner)
        .map_err(|error| Problem::new(ProblemType::Malformed, error.to_string()))
}

async fn json_body<T: DeserializeOwned>(payload: Payload) -> Result<T, Problem> {
    let bytes = body(payload, JSON_BYTES_MAX).await?;
    let malformed = |error: serde_json::Error| {
        let place = format!("line {} column {}", error.line(), error.column());
        Problem::new(
            ProblemType::Malformed,
            format!("the body is not the JSON asked for: {place}"),
        )
    };
    serde_json::from_slice(&bytes).map_err(malformed)
}

async fn body(payload: Payload, bound: usize) -> Result<Bytes, Problem> {
    match payload.to_bytes_limited(bound).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Problem::new(
            ProblemType::Malformed,
            "the body ends too early",
        )),
        Err(_) => Err(too_large(bound)),
    }
}

fn too_large(bound: usize) -> Problem {
    let detail = format!("the body has more than {bound} bytes: send less at once");
    Problem::new(ProblemType::TooLarge, detail)
}

fn json(value: &impl Serialize) -> HttpResponse {
    // Answers are numbers, strings and lists of them: they always have a JSON form.
    json_text(serde_json::to_string(value).unwrap_or_default())
}

fn json_text(text: String) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    response.content_type("application/json").body(text)
}
