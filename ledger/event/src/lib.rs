//! What the payloads of entries say: the event, its three parts, and the facts of every other kind.
//!
//! Reading order: [`text`](Text) · `object` (one declaration a field) · `own` (its
//! reader) · `objects` · [`Event`] ·
//! `visit` (what masking and pseudonyms see) · [`facts`] (the other kinds). Deliberately not here:
//! clocks, files, masking, keys, commitments, and any judgement of what an event means.

mod error;
mod event;
pub mod facts;
mod json;
mod lost;
mod object;
mod objects;
mod own;
mod text;
mod visit;
mod wire;

pub use error::{EventError, RefusedFor};
pub use event::{
    Account, EVENT_BYTES_MAX, Event, EventHead, FieldRow, OCSF_VERSION, PartsBuf, TextField,
    TextRole,
};
pub use ledger_core::Part;
pub use objects::{
    Actor, Api, Database, Databucket, Endpoint, Entity, Fingerprint, Group, Metadata, Process,
    Product, QueryInfo, Redaction, Resource, ServerEndpoint, Service, Session, Table, Unmapped,
    User,
};
pub use text::Text;
pub use wire::JsonText;
