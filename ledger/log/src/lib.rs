//! The log itself: the one door in, the writer that makes entries durable, the publisher that gets
//! checkpoints signed, recovery, and the reader.
//!
//! Reading order: [`paths`], [`config`], [`door`], `rule`, `receipt`, `prepare`, `sequencer`,
//! `writer`, `publisher`, `arrays`, `recovery`, [`reader`], `beats`, [`status`], [`create`],
//! [`log`].
//!
//! One log has one writer process, held by a lock. Inside it three plain threads work in a row: the
//! sequencer decides and prepares, the writer makes durable, the publisher signs; a fourth syncs
//! the derived hash arrays. Batches overlap: one is prepared while the one before is being synced.
//!
//! Deliberately not here: no async, no HTTP, no Kafka, no index; no secret key but through
//! [`keys_public::Signer`] and the pseudonym key that the door uses.

pub mod bench;
pub mod config;
pub mod create;
pub mod door;
pub mod error;
pub mod log;
pub mod paths;
pub mod reader;
pub mod rebuild;
pub mod status;

mod acknowledged;
mod arrays;
mod at_rest;
mod beats;
mod bounds;
mod clock;
mod coverage;
mod files;
mod first_word;
mod frames;
mod history;
mod later;
mod opinion;
mod payloads;
mod prepare;
mod publisher;
mod receipt;
mod recent;
mod recovery;
mod rule;
mod run;
mod sequencer;
mod shared;
mod stops;
mod threads;
mod writer;

pub use acknowledged::{Acknowledged, Missing};
pub use at_rest::status_at_rest;
pub use config::{LogConfig, LogOptions};
pub use coverage::Coverage;
pub use create::{CreateError, Created, create_log};
pub use door::{Appended, Batch, Door, DoorError, InProcessDoor, Outcome, SourceSpec, Ticket};
pub use error::{CloseError, OpenError, ReadError, WriteError};
pub use later::Later;
pub use log::{Closed, Log, Recovered};
pub use paths::{LogPaths, PathError};
pub use payloads::OwnedPart;
pub use reader::{Reader, StoredEntry};
pub use rebuild::{RebuildError, Rebuilt, rebuild};
pub use receipt::Receipt;
pub use run::{RUN_BATCHES_MAX, Run, RunAnswer, RunTicket};
pub use status::{BeatStatus, GapStatus, LogStatus, SourceStatus};

#[cfg(test)]
mod agent_tests;
#[cfg(test)]
mod beats_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod opening_tests;
#[cfg(test)]
mod restored_tests;
#[cfg(test)]
mod time_tests;
