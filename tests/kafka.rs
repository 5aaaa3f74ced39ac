//! From agents to the log over a real Kafka broker: what it must bear, and that nothing is lost,
//! repeated or changed by it.
//!
//! Reading order: `feed` (records), `proxy` (a bad network), `check` (the end of every story). Not
//! here: starting the broker (`servers`), and what one end can test alone (collectors/bus).

mod check;
mod feed;
mod proxy;
