//! How the server says no: RFC 9457 problem details, with types that stay the same for ever.
//!
//! Not here: what went wrong inside. A detail never holds an event, a key or a person's data.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};

use crate::wire::Cause;

/// What every `type` begins with; the rest is [`ProblemType::name`].
const TYPE_PREFIX: &str = "urn:custody:problem:";

/// The media type of RFC 9457.
const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! problem_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:ident, $title:literal;)*) => {
        /// The kinds of problems. Their names never change; new ones may come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemType { $($(#[$doc])* $variant,)* }

        impl ProblemType {
            /// All of them.
            pub const ALL: &[ProblemType] = &[$(ProblemType::$variant),*];

            /// The end of the `type`.
            pub fn name(self) -> &'static str {
                match self { $(ProblemType::$variant => $name,)* }
            }

            /// The same words for every problem of the type.
            pub fn title(self) -> &'static str {
                match self { $(ProblemType::$variant => $title,)* }
            }

            /// The HTTP status.
            pub(crate) fn status(self) -> StatusCode {
                match self { $(ProblemType::$variant => StatusCode::$status,)* }
            }
        }
    };
}

problem_types! {
    /// No such route, log, tile or entry.
    NotFound = "not-found", NOT_FOUND, "nothing is there";
    /// It is there, but not served here.
    NotServed = "not-served", NOT_FOUND, "not served here";
    /// The certificate speaks for another source or tenant.
    NotAllowed = "not-allowed", FORBIDDEN, "not allowed to this sender";
    /// The route has other methods.
    Method = "method-not-allowed", METHOD_NOT_ALLOWED, "the route has other methods";
    /// A parameter or body cannot be read.
    Malformed = "malformed-request", BAD_REQUEST, "the request cannot be read";
    /// A query that is none.
    Query = "query-refused", BAD_REQUEST, "the query cannot be read";
    /// A body, batch or value over its bound.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "more bytes than are taken";
    /// A source that was never registered.
    UnknownSource = "unknown-source", UNPROCESSABLE_ENTITY, "the source is not registered";
    /// A source registered otherwise.
    SourceDiffers = "source-differs", CONFLICT, "the source is registered otherwise";
    /// A source with as many open gaps as fit.
    SourceStopped = "source-stopped", CONFLICT, "the source is stopped";
    /// No checkpoint covers it yet.
    NotPublished = "not-published", SERVICE_UNAVAILABLE, "no checkpoint covers it yet";
    /// As much to do as is taken at once.
    Busy = "busy", SERVICE_UNAVAILABLE, "as much to do as is taken at once";
    /// The log has stopped, or the server is stopping.
    Stopped = "stopped", SERVICE_UNAVAILABLE, "the log has stopped";
    /// Something the log needs is not well.
    NotReady = "not-ready", SERVICE_UNAVAILABLE, "not ready";
    /// Not answered in time.
    Timeout = "timeout", SERVICE_UNAVAILABLE, "not answered in time";
    /// The log could not be read.
    Unreadable = "unreadable", INTERNAL_SERVER_ERROR, "the log cannot be read";
}

impl ProblemType {
    /// The type with that URI.
    pub(crate) fn from_uri(uri: &str) -> Option<ProblemType> {
        let name = uri.strip_prefix(TYPE_PREFIX)?;
        ProblemType::ALL
            .iter()
            .copied()
            .find(|kind| kind.name() == name)
    }
}

/// One problem: its type, and what a person or a client needs to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Its type.
    pub kind: ProblemType,
    /// What is wrong here, and what to do.
    pub detail: String,
    /// When to come again, in seconds.
    pub retry_after_s: Option<u32>,
    /// The path that was asked for, where the response is made without its request.
    pub(crate) instance: String,
    /// The methods that the route has, if that is the problem.
    pub(crate) allow: Option<&'static str>,
    /// What a client of ours acts on: the refusal itself, in the form of `wire`.
    pub(crate) cause: Option<Box<Cause>>,
    /// What `/readyz` found.
    pub(crate) checks: Vec<Check>,
}

/// The body of a problem.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProblemBody {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) title: String,
    pub(crate) status: u16,
    pub(crate) detail: String,
    #[serde(default)]
    pub(crate) instance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<Cause>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) checks: Vec<Check>,
}

/// One thing that the log needs, as `/readyz` found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(kind: ProblemType, detail: impl Into<String>) -> Problem {
        let retry_after_s = match kind {
            ProblemType::Busy | ProblemType::NotPublished | ProblemType::Timeout => Some(1),
            ProblemType::Stopped | ProblemType::NotReady => Some(5),
            _ => None,
        };
        Problem {
            kind,
            detail: detail.into(),
            retry_after_s,
            instance: String::new(),
            allow: None,
            cause: None,
            checks: Vec::new(),
        }
    }

    pub(crate) fn at(self, instance: &str) -> Problem {
        Problem {
            instance: instance.to_owned(),
            ..self
        }
    }

    pub(crate) fn because(self, cause: Cause) -> Problem {
        Problem {
            cause: Some(Box::new(cause)),
            ..self
        }
    }

    pub(crate) fn body(&self, instance: &str) -> ProblemBody {
        ProblemBody {
            kind: format!("{TYPE_PREFIX}{}", self.kind.name()),
            title: self.kind.title().to_owned(),
            status: self.kind.status().as_u16(),
            detail: self.detail.clone(),
            instance: instance.to_owned(),
            retry_after: self.retry_after_s,
            cause: self.cause.as_deref().cloned(),
            checks: self.checks.clone(),
        }
    }

    /// The response to the request for `instance`.
    pub(crate) fn response(&self, instance: &str) -> HttpResponse {
        let mut response = HttpResponse::build(self.kind.status());
        response.insert_header((CACHE_CONTROL, "no-store"));
        response.insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((RETRY_AFTER, seconds));
        }
        if let Some(methods) = self.allow {
            response.insert_header((ALLOW, methods));
        }
        // Strings and numbers always have a JSON form, so this never falls back.
        let body = serde_json::to_vec(&self.body(instance)).unwrap_or_default();
        response.content_type(PROBLEM_JSON).body(body)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.title(), self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.response(&self.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_type_is_none_and_every_type_is_found_by_its_uri() {
        for uri in [
            "",
            "about:blank",
            "urn:custody:problem:",
            "urn:custody:problem:other",
        ] {
            assert_eq!(ProblemType::from_uri(uri), None, "{uri}");
        }
        for kind in ProblemType::ALL {
            let problem = Problem::new(*kind, "detail");
            assert_eq!(ProblemType::from_uri(&problem.body("/").kind), Some(*kind));
            let status = kind.status();
            assert!(status.is_client_error() || status.is_server_error());
            let again = status == StatusCode::SERVICE_UNAVAILABLE;
            assert_eq!(
                problem.retry_after_s.is_some(),
                again,
                "503 says when to come again"
            );
        }
    }

    #[test]
    fn a_problem_has_the_form_of_the_specification() {
        let cause = Cause::NotFound { index: 7, size: 5 };
        let problem = Problem::new(ProblemType::NotFound, "no entry 7").because(cause);
        let body = serde_json::to_string(&problem.body("/v1/entries/7")).unwrap();
        let expected = concat!(
            r#"{"type":"urn:custody:problem:not-found","title":"nothing is there","status":404,"#,
            r#""detail":"no entry 7","instance":"/v1/entries/7","#,
            r#""cause":{"not-found":{"index":7,"size":5}}}"#
        );
        assert_eq!(body, expected);
        let response = Problem::new(ProblemType::Busy, "x").response("/");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers().get(RETRY_AFTER).unwrap(), "1");
    }
}
