//! Agents as they are run: real processes of `custody collect` that follow files and send to a real
//! server, while the disk fails, files cannot be read, machines are restored and cloned. After each:
//! every record is in the log once and in order, and the log says what happened.
//!
//! Not here: the same step by step in one process (collectors/agent), and live databases
//! (`databases`).

mod host;
mod lives;
mod trouble;
