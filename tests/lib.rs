//! Empty: a package needs a library to be depended on, and tests need none.
//!
//! Not here: anything. What crosses crates is tested in `main.rs` and its modules.
