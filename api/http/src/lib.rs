//! The log over HTTP: checkpoint and tiles for everybody, the door and entries on the Unix socket,
//! health and metrics; and the clients of both.
//!
//! Reading order: [`config`] · `problem`, `wire`, `batch`, `refusal` (what travels) · `site`,
//! `gate`, `socket`, [`server`] (who serves) · `tiles`, `health`, `metrics`, `local`, `stream` (the
//! routes) · [`reads`], `proof`, [`client`] (one way to read, two implementations) · [`fetch`] (a
//! published log from outside).
//!
//! Deliberately not here: TLS for those who come in (a proxy ends it), tokens and rights, signals,
//! the log's own life.

pub mod client;
pub mod config;
pub mod fetch;
pub mod reads;
pub mod server;

mod batch;
mod gate;
mod health;
mod local;
mod metrics;
mod problem;
mod proof;
mod refusal;
mod site;
mod socket;
mod stream;
mod tiles;
mod wire;

pub use client::{SocketDoor, SocketReads};
pub use config::{HttpConfig, HttpConfigError, HttpOptions};
pub use fetch::{FetchError, PublishedLog};
pub use problem::ProblemType;
pub use reads::{Ask, DirectReads, Proof, Reads, ReadsError, Tail};
pub use server::{ServeError, Server, serve};
pub use socket::{SOCKET_PATH_MAX, SocketError, answers};

#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod server_tests;
