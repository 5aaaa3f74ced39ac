//! Kafka between agents and ledger: exactly once, though neither end believes the broker
//! (docs/formats/kafka.md, docs/operating/kafka.md).
//!
//! Reading order: [`form`] (a message as a record), [`ack`] (what the log says back) · [`config`],
//! `client`, `ids`, `headers`, [`topics`] · the agent's end: `hearing`, `carried`, [`link`] · the
//! ledger's end: `place`, `notice`, `junk`, `gather`, `foreign`, `record`, `session`, `places`,
//! `growing`, `unreadable`, `last_word`, `acks`, [`intake`], [`status`].
//!
//! An agent: [`BrokersConfig::check`], [`KafkaLink::connect`] with the keys of its sources, then
//! [`KafkaLink::bus`] for each. A ledger: [`LedgerConfig::check`], [`Intake::start`] beside an open
//! log, [`Intake::status`], [`Intake::stop`] before the log is closed.
//!
//! **Invariant:** what is in a topic is somebody's word until a MAC or a signature says whose.

pub mod ack;
pub mod bench;
pub mod config;
pub mod form;
pub mod intake;
pub mod link;
pub mod probe;
pub mod raw;
pub mod status;
pub mod topics;

mod acks;
mod carried;
mod client;
mod foreign;
mod gather;
mod growing;
mod headers;
mod hearing;
mod ids;
mod junk;
mod last_word;
mod notice;
mod place;
mod places;
mod record;
mod session;
mod unreadable;

pub use client::KafkaFailed;
pub use config::{
    Brokers, BrokersConfig, ForeignConfig, KafkaConfigError, LedgerConfig, LedgerSettings,
    SaslConfig, TlsConfig,
};
pub use intake::{Intake, IntakeError};
pub use link::{KafkaBus, KafkaLink};
pub use status::{BusState, BusStatus, PartitionStatus};

#[cfg(test)]
mod acks_tests;
#[cfg(test)]
mod broker_tests;
#[cfg(test)]
mod stories_tests;
#[cfg(test)]
mod truth_tests;
