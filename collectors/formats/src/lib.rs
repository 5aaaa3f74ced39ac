//! Bytes of a platform's audit trail in, masked events out.
//!
//! Reading order: [`Format`] and [`format_for`] · `csv` (records and fields of CSV) · `text`
//! (bytes to text without loss, cuts, digests) · [`mask`] · `postgresql` and `mariadb` (a module a
//! form) · [`workload`] (records to measure with). Deliberately not here: files, positions on disk,
//! clocks, transport, and what becomes of an event.

mod csv;
mod draft;
mod format;
mod json;
mod mariadb;
pub mod mask;
mod postgresql;
mod scan;
mod stream;
mod text;
pub mod workload;
mod zone;

pub use format::{Format, FormatKeys, RECORD_BYTES_MAX, SettingsError, Step, format_for};

#[cfg(test)]
mod around_tests;
#[cfg(test)]
mod reading_tests;
