//! Which problem a refusal of the log is, and which error a problem is on the other side.
//!
//! Not here: the form of a problem.

use ledger_core::{Index, TreeSize};
use ledger_log::{DoorError, ReadError};

use crate::problem::{Problem, ProblemBody, ProblemType};
use crate::reads::ReadsError;
use crate::wire::Cause;

impl Problem {
    /// The server is about to end.
    pub(crate) fn stopping() -> Problem {
        Problem::new(ProblemType::Stopped, "the server is stopping")
    }

    pub(crate) fn of_read(error: ReadError) -> Problem {
        Problem::of_reads(ReadsError::from(error))
    }

    pub(crate) fn of_reads(error: ReadsError) -> Problem {
        let detail = error.to_string();
        match error {
            ReadsError::NotFound { index, size } => Problem::new(ProblemType::NotFound, detail)
                .because(Cause::NotFound {
                    index: index.0,
                    size: size.0,
                }),
            ReadsError::NotPublished { index, size } => {
                Problem::new(ProblemType::NotPublished, detail).because(Cause::NotPublished {
                    index: index.0,
                    size: size.0,
                })
            }
            ReadsError::Query(_) => Problem::new(ProblemType::Query, detail),
            ReadsError::Refused { kind, .. } => Problem::new(kind, detail),
            ReadsError::Log(_)
            | ReadsError::ProofWrong { .. }
            | ReadsError::NotOpen
            | ReadsError::Unreachable { .. }
            | ReadsError::Nonsense { .. } => Problem::new(ProblemType::Unreadable, detail),
        }
    }

    pub(crate) fn of_door(error: DoorError) -> Problem {
        let kind = match &error {
            DoorError::Busy => ProblemType::Busy,
            DoorError::Stopped { .. } | DoorError::Unreachable { .. } => ProblemType::Stopped,
            DoorError::Key { .. } => ProblemType::Unreadable,
            DoorError::UnknownSource { .. } => ProblemType::UnknownSource,
            DoorError::SourceStopped { .. } => ProblemType::SourceStopped,
            DoorError::OtherPlatform { .. } => ProblemType::SourceDiffers,
            DoorError::TooLarge { .. }
            | DoorError::TooMany { .. }
            | DoorError::TooManySources
            | DoorError::TooManyPositions => ProblemType::TooLarge,
            DoorError::BadPosition { .. }
            | DoorError::BadName { .. }
            | DoorError::StreamNotTaken => ProblemType::Malformed,
        };
        let cause = Cause::of_door(&error).map(Box::new);
        Problem {
            cause,
            ..Problem::new(kind, error.to_string())
        }
    }
}

impl ProblemBody {
    /// The error that a reader of the files would have had.
    pub(crate) fn into_reads(self) -> ReadsError {
        match (ProblemType::from_uri(&self.kind), self.cause) {
            (_, Some(Cause::NotFound { index, size })) => ReadsError::NotFound {
                index: Index(index),
                size: TreeSize(size),
            },
            (_, Some(Cause::NotPublished { index, size })) => ReadsError::NotPublished {
                index: Index(index),
                size: TreeSize(size),
            },
            (Some(kind), _) => ReadsError::Refused {
                kind,
                detail: self.detail,
            },
            (None, _) => ReadsError::Nonsense {
                reason: format!("a problem {:?}", self.kind),
            },
        }
    }

    /// The error that the door in the log's own process would have given.
    pub(crate) fn into_door(self) -> DoorError {
        let same = self.cause.and_then(Cause::into_door);
        same.unwrap_or_else(|| match ProblemType::from_uri(&self.kind) {
            Some(ProblemType::Busy | ProblemType::Timeout) => DoorError::Busy,
            Some(ProblemType::Stopped) => DoorError::Stopped {
                reason: self.detail,
            },
            _ => DoorError::Unreachable {
                reason: format!("{}: {}", self.title, self.detail),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_same_on_both_sides_of_the_socket() {
        for error in [
            DoorError::Busy,
            DoorError::Stopped {
                reason: "disk full".to_owned(),
            },
            DoorError::Key {
                reason: "disk full".to_owned(),
            },
            DoorError::TooMany { count: 9, max: 8 },
            DoorError::StreamNotTaken,
        ] {
            let body = Problem::of_door(error.clone()).body("/v1/messages");
            assert_eq!(body.into_door(), error);
        }
        let unreachable = DoorError::Unreachable {
            reason: String::new(),
        };
        let body = Problem::of_door(unreachable).body("");
        assert!(matches!(body.into_door(), DoorError::Stopped { .. }));
        let missing = ReadsError::NotFound {
            index: Index(7),
            size: TreeSize(5),
        };
        let text = missing.to_string();
        let read = Problem::of_reads(missing)
            .body("/v1/entries/7")
            .into_reads();
        assert!(matches!(
            read,
            ReadsError::NotFound {
                index: Index(7),
                size: TreeSize(5)
            }
        ));
        assert_eq!(read.to_string(), text);
    }

    #[test]
    fn an_unknown_problem_is_nonsense_and_a_known_one_keeps_its_words() {
        let mut body = Problem::new(ProblemType::Unreadable, "damaged").body("/");
        body.kind = "about:blank".to_owned();
        assert!(matches!(body.into_reads(), ReadsError::Nonsense { .. }));
        let body = Problem::new(ProblemType::Unreadable, "damaged").body("/");
        assert_eq!(body.into_reads().to_string(), "damaged");
    }
}
