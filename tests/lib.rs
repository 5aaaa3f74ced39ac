//! What crosses crates is tested in `main.rs`; this library is empty.
