//! Finding entries: the query language, judged here by a plain scan, and the one form in which
//! entries are shown.
//!
//! Reading order: [`Query`] · `pattern` (how values are compared) · `since` · `seen` (what a query
//! reads of a payload) · [`render`].
//!
//! Deliberately not here: reading the log (ledger/log gives the entries), an index of terms, who
//! may ask, and tables or colours.

mod pattern;
mod query;
mod render;
mod seen;
mod since;

pub use query::{Query, QueryError, TERM_COUNT_MAX, TERMS, TEXT_BYTES_MAX};
pub use render::render;

#[cfg(test)]
mod query_tests;
