//! How messages get from a source to the log: their chain, the bytes they travel in, and the
//! [`Bus`] that carries them and brings back what a published checkpoint covers.
//!
//! Reading order: [`chain`] (numbers and MACs) · [`form`] (the body of a batch), [`answer`] (the
//! JSON that comes back) · [`bus`] (the trait, its bounds and its errors) · [`in_process`],
//! [`http`], [`kafka`] (its implementations) · [`agent_file`] (what an agent is given once).
//!
//! **Invariant:** a bus never drops, renumbers or reorders. What was not acknowledged by a
//! published checkpoint may be sent again at any time: what the log has already is a repeat.
//!
//! Deliberately not here: the journal and when to try again (collectors/agent), the decision about
//! a message (ledger/log), the server's side of HTTP (api/http).

pub mod agent_file;
pub mod answer;
pub mod bus;
pub mod chain;
pub mod form;
pub mod http;
pub mod in_process;
pub mod kafka;

pub use agent_file::{AgentFile, AgentFileError, TlsIdentity};
pub use bus::{Bus, BusError, Sent};
pub use chain::{Chain, ChainEnded, Credentials};
pub use http::HttpBus;
pub use in_process::InProcess;
pub use ledger_log::{Acknowledged, Later, Missing, Outcome};
