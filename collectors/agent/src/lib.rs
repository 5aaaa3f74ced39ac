//! The agent: whatever a database server writes to its audit trail is numbered, bound in a
//! journal, and sent until a published checkpoint covers it.
//!
//! Reading order: `stored`, `segment`, [`journal`]. Deliberately not here: formats and masking
//! (collectors/formats), MACs and the way to the log (collectors/bus), the door's decisions
//! (ledger/log).

pub mod journal;
pub mod stored;

mod journal_error;
mod segment;

pub use journal::{Cursor, Journal, JournalBounds, Pressure, Recovered, Room};
pub use journal_error::{Damage, JournalError};
pub use stored::{Frame, Last};
