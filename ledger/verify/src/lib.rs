//! Verifies a log from nothing but its files and a trust file, believing neither.
//!
//! Reading order: [`report`] (what is asked and answered), [`misdeed`] (what a log can be caught
//! at), `directory` ([`verify_dir`]) with `folder` (which files there are), `segments` (the walk
//! over frames) with `place` and `scan`, `entries`, `numbers`, `states`, `registry` (the rules on
//! the way), `payloads`, `opened`, `arrays`, `marks` and `history` (checkpoints), `work` (the two
//! threads), `files`; and `tiles` ([`verify_tiles`]).
//!
//! It is a second implementation of docs/formats beside ledger/log: it shares codecs with the
//! writer (ledger/core), and no rule.
//!
//! **Invariant:** what is wrong is a misdeed in the report, and a report with a misdeed is not
//! verified; an error means that nothing can be said.
//!
//! Deliberately not here: no repair (`custody rebuild`), no clock, no socket (whoever fetches tiles
//! passes a function), no judgement of what events mean; bundles come with their own module.

mod arrays;
mod directory;
mod entries;
pub mod error;
mod files;
mod folder;
mod history;
mod marks;
pub mod misdeed;
mod numbers;
mod opened;
mod payloads;
mod place;
mod registry;
pub mod report;
mod scan;
mod segments;
mod states;
mod tiles;
mod work;

pub use directory::verify_dir;
pub use error::{FetchError, VerifyError};
pub use misdeed::{MISDEEDS_MAX, Misdeed, MisdeedKind};
pub use report::{NotChecked, Progress, Report, Tail, VerifyOptions};
pub use tiles::{Fetch, verify_tiles};

#[cfg(test)]
mod tests;
