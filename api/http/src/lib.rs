//! The log over HTTP: checkpoint and tiles for everybody, the door and entries on the Unix socket,
//! health and metrics; and the clients of both.
//!
//! Reading order: [`config`] · `problem`, `wire`, `refusal` (what travels) · `site`, `gate`,
//! `socket`, [`server`] (who serves) · `tiles`, `health`, `metrics`, `local`, `stream`, `agents`
//! (the routes) · [`reads`], `proof`, [`client`] (one way to read, two implementations) ·
//! `bus` (how the way in is doing), [`fetch`] (a published log from outside).
//!
//! Deliberately not here: TLS for others than agents (a proxy ends it), tokens and rights, signals,
//! the log's own life; the body of a batch and the answers to agents (collectors/bus).

pub mod client;
pub mod config;
pub mod fetch;
pub mod reads;
pub mod server;

mod agents;
mod bus;
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

pub use agents::AgentsError;
pub use client::{SocketDoor, SocketReads};
pub use config::{AgentsConfig, HttpConfig, HttpConfigError, HttpOptions};
pub use fetch::{FetchError, PublishedLog};
pub use problem::ProblemType;
pub use reads::{Ask, DirectReads, Proof, Reads, ReadsError, Tail};
pub use server::{ServeError, Server, serve};
pub use site::BusWatch;
pub use socket::{SOCKET_PATH_MAX, SocketError, answers};

#[cfg(test)]
mod bus_tests;
#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod server_tests;
