//! Every misdeed is committed once, on a log that is accepted untouched.
//!
//! Not here: logs of the real writer; the package `tests` damages those byte by byte.

#![expect(
    clippy::disallowed_methods,
    reason = "tests build logs, damage them, and measure"
)]

mod entries;
mod files;
mod frames;
mod log;
mod measure;
mod notes;
mod tiles;

use std::path::Path;

use keys_public::TrustFile;

use crate::{Misdeed, MisdeedKind, Report, VerifyOptions, verify_dir};
use log::{Saved, TestLog};

/// Verifies a saved log.
fn verify(saved: &Saved) -> Report {
    verify_with(saved, &saved.trust, &VerifyOptions::default())
}

fn verify_with(saved: &Saved, trust: &TrustFile, options: &VerifyOptions) -> Report {
    verify_dir(saved.dir.path(), trust, options, &|_| ()).unwrap()
}

fn accepted(saved: &Saved) -> Report {
    let report = verify(saved);
    assert_eq!(report.misdeeds, [], "the twin is refused");
    assert!(report.verified());
    report
}

/// The report names this misdeed, in a file whose name ends so.
fn names(report: &Report, file: &str, what: &dyn Fn(&MisdeedKind) -> bool) {
    let named = |misdeed: &Misdeed| misdeed.file.ends_with(file) && what(&misdeed.what);
    assert!(!report.verified());
    assert!(
        report.misdeeds.iter().any(named),
        "expected another misdeed in {file}: {:#?}",
        report.misdeeds
    );
}

/// A saved log is accepted, and refused after `spoil` changed its folder.
fn spoiled(
    log: &TestLog,
    spoil: &dyn Fn(&Path),
    file: &str,
    what: &dyn Fn(&MisdeedKind) -> bool,
) -> Report {
    let saved = log.save();
    accepted(&saved);
    spoil(&saved.folder());
    let report = verify(&saved);
    names(&report, file, what);
    report
}

/// A log is accepted if built without the misdeed, and refused with it.
fn built(
    build: &dyn Fn(bool) -> TestLog,
    file: &str,
    what: &dyn Fn(&MisdeedKind) -> bool,
) -> Report {
    accepted(&build(false).save());
    let report = verify(&build(true).save());
    names(&report, file, what);
    report
}

#[test]
fn every_misdeed_has_a_test() {
    let variants = include_str!("../misdeed.rs")
        .split_once("pub enum MisdeedKind {")
        .and_then(|(_, rest)| rest.split_once("\n}\n"))
        .map(|(variants, _)| variants)
        .unwrap();
    let names: Vec<&str> = variants
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap())
        .collect();
    let tests = [
        include_str!("entries.rs"),
        include_str!("files.rs"),
        include_str!("frames.rs"),
        include_str!("notes.rs"),
        include_str!("tiles.rs"),
    ]
    .concat();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(tests.contains(&format!("MisdeedKind::{name}")), "{name}");
    }
}
