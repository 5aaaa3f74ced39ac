//! The agent: whatever a database server writes to its audit trail is numbered, bound in a
//! journal, and sent until a published checkpoint covers it.
//!
//! Reading order: `stored`, `segment`, [`journal`] (what is bound) · [`position`], `content`,
//! `sight`, `reading`, `tracked`, `matching`, [`tailer`], [`notice`] (where it comes from) ·
//! `resending`, `flight`, `sending`, `flying`, [`follower`], `life` (one source) · [`config`],
//! [`agent`] (all of them).
//! Deliberately not here: formats and masking (collectors/formats), MACs and the way to the log
//! (collectors/bus), the door's decisions (ledger/log).

pub mod agent;
pub mod clock;
pub mod config;
pub mod follower;
pub mod journal;
pub mod notice;
pub mod position;
pub mod stored;
pub mod tailer;

mod content;
mod flight;
mod journal_error;
mod matching;
mod reading;
mod resending;
mod segment;
mod sending;
mod sight;
mod tracked;

pub use agent::run;
pub use clock::{Clock, Moment};
pub use config::{AgentConfig, Assignment, BusConfig, ConfigError, SourceConfig};
pub use follower::{FollowError, Follower, Setup, Step};
pub use journal::{Cursor, Journal, JournalBounds, Pressure, Recovered, Room};
pub use journal_error::{Damage, JournalError};
pub use notice::{Allowed, Notice};
pub use reading::{Budget, Record, RecordKind};
pub use sending::Overtaken;
pub use sight::{Files, FilesError};
pub use stored::{Frame, Last};
pub use tailer::{Beginning, FormatMaker, Poll, Rotated, Tailer, Tailing};

#[cfg(test)]
mod agent_tests;
#[cfg(test)]
mod cases_tests;
#[cfg(test)]
mod flight_tests;
#[cfg(test)]
mod pause_tests;
#[cfg(test)]
mod resending_tests;
#[cfg(test)]
mod rig_tests;
#[cfg(test)]
mod stories_tests;
