//! Bytes of a platform's audit trail in, masked events out.
//!
//! Reading order: [`mask`]. Deliberately not here: files, positions on disk, clocks, transport.

pub mod mask;
