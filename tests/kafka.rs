//! From agents to the log over a real Kafka broker: what it must bear, and that nothing is lost,
//! repeated or changed by it.
//!
//! Reading order: `feed` (records), `proxy` (a bad network), `broker`, `stage` (a ledger and an
//! agent), `abuse` (whoever may write to the topics), `check` (the end of every story), `cases`,
//! `farm`, `live`, `operating`, `refusals`.
//! Not here: starting the broker (`servers`), and what one end can test alone (collectors/bus).

mod abuse;
mod broker;
mod cases;
mod check;
mod farm;
mod feed;
mod live;
mod operating;
mod proxy;
mod refusals;
mod stage;
