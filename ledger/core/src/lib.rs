//! The log's nouns as bytes: entries, commitments, the tree, proofs, tiles, checkpoint bodies,
//! segments, frames and payload blocks.
//!
//! Reading order: [`hash`], [`two`], [`ids`], [`entry`], [`commitment`], [`tree`], [`proof`],
//! [`tile`], [`checkpoint`], [`history`], [`bytes`], [`segment`], [`frame`], [`payload`],
//! [`message`], [`layout`], [`proof_file`].
//!
//! Deliberately not here: no file, clock, socket, thread or randomness; no signature (keys/public);
//! no meaning of what a payload says (ledger/event); no decision about what may be appended
//! (ledger/log).

pub mod bytes;
pub mod checkpoint;
pub mod commitment;
pub mod entry;
pub mod frame;
pub mod hash;
pub mod history;
pub mod ids;
pub mod layout;
pub mod message;
pub mod payload;
pub mod proof;
pub mod proof_file;
pub mod segment;
pub mod state;
pub mod tile;
pub mod tree;
pub mod two;

pub use checkpoint::{Checkpoint, CheckpointError, Origin};
pub use commitment::{PART_COUNT, Part, Salt, part_commitment, payload_commitment};
pub use entry::{Entry, EntryError, Flags, Kind, KindClass};
pub use hash::{Hash, empty_root, leaf_hash, node_hash};
pub use ids::{Epoch, Index, Nanos, Sequence, SourceId, TreeSize};
pub use message::Message;
pub use proof::{
    ProofError, consistency_proof, inclusion_proof, verify_consistency, verify_inclusion,
};
pub use tree::RightEdge;
