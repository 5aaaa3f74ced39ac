//! `custody verify DIR|URL --trust F [--since CHECKPOINT]`: re-derives everything from a log's
//! files or tiles, names what is wrong, and says what was not checked.
//!
//! Not here: any check (ledger/verify, and `proof_check.rs` for one entry), and any repair.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api_http::{PublishedLog, answers};
use clap::Args;
use keys_public::TrustFile;
use ledger_verify::{FetchError, Progress, Report, Tail, VerifyOptions, verify_dir, verify_tiles};
use serde_json::{Value, json};

use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::{Colour, Output, Unit, count, plural, size, span, utc_seconds};
use crate::proof_check;

/// What to verify, and against what.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The folder of an installation, a folder of tiles, or the URL of a published log
    #[arg(value_name = "DIR|URL", required_unless_present = "proof")]
    target: Option<String>,
    /// The trust file: the log's two public keys
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// A checkpoint that was kept: the log must extend it
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "proof")]
    since: Option<PathBuf>,
    /// Check one entry by its proof file, and the payload beside it, instead of a log
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    proof: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// What keeps the verification from being done. What is wrong with the log is no error but data.
pub fn run(args: &VerifyArgs, context: &Context) -> Result<Exit, CommandError> {
    let trust = read_trust(&args.trust)?;
    if let Some(proof) = &args.proof {
        return proof_check::run(proof, &trust, &context.output);
    }
    let read = |path: &PathBuf| std::fs::read(path).map_err(CommandError::file("reading", path));
    let since = args.since.as_ref().map(read).transpose()?;
    let target = args.target.as_deref().unwrap_or_default();
    let started = Instant::now();
    let report = verify(target, &trust, since, &context.output)?;
    print(&report, &trust, started.elapsed(), &context.output)?;
    Ok(exit_of(&report))
}

/// A trust file of at most the length that is read.
pub(crate) fn read_trust(path: &Path) -> Result<TrustFile, CommandError> {
    let text = std::fs::read(path).map_err(CommandError::file("reading", path))?;
    let text = String::from_utf8(text).map_err(|_| {
        CommandError::Usage(format!(
            "{} is no trust file: it is not UTF-8",
            path.display()
        ))
    })?;
    TrustFile::parse(&text).map_err(|error| CommandError::Trust {
        path: path.to_owned(),
        error,
    })
}

/// How a verification ends: failed, done without the payloads, or done.
pub(crate) fn exit_of(report: &Report) -> Exit {
    if !report.verified() {
        Exit::Found
    } else if report.payloads_not_checked > 0 {
        Exit::Partial
    } else {
        Exit::Done
    }
}

fn verify(
    target: &str,
    trust: &TrustFile,
    since: Option<Vec<u8>>,
    output: &Output,
) -> Result<Report, CommandError> {
    let bar = output.bar(0, "verifying", Unit::Bytes);
    let show = |progress: Progress| {
        bar.set_length(progress.bytes_total.max(progress.bytes));
        bar.set_position(progress.bytes);
    };
    let mut options = VerifyOptions {
        since,
        ..VerifyOptions::default()
    };
    let report = if target.contains("://") {
        let log = PublishedLog::new(target)?;
        let mut fetch = |path: &str| {
            let failed = |error: api_http::FetchError| FetchError {
                reason: error.to_string(),
            };
            log.fetch(path).map_err(failed)
        };
        verify_tiles(&mut fetch, trust, &options, &show)?
    } else {
        let dir = Path::new(target);
        if !dir.join("logs").exists() && dir.join("checkpoint").is_file() {
            verify_tiles(&mut |path| read_tile(dir, path), trust, &options, &show)?
        } else {
            if is_held(dir) {
                options.tail = Tail::BeingWritten;
            }
            verify_dir(dir, trust, &options, &show)?
        }
    };
    bar.finish_and_clear();
    Ok(report)
}

/// A file of a folder of tiles; its path is one that the verifier built.
fn read_tile(dir: &Path, path: &str) -> Result<Option<Vec<u8>>, FetchError> {
    match std::fs::read(dir.join(path)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FetchError {
            reason: format!("reading {path}: {error}"),
        }),
    }
}

/// Whether a process writes in this folder now.
fn is_held(dir: &Path) -> bool {
    let locked = || {
        let file = std::fs::File::open(dir.join("custody.lock")).ok()?;
        // Shared, and given back at once: it is only asked whether a writer has the other kind.
        Some(matches!(
            file.try_lock_shared(),
            Err(std::fs::TryLockError::WouldBlock)
        ))
    };
    answers(&dir.join("custody.sock")) || locked().unwrap_or(false)
}

/// Prints the report: what holds or what is wrong, and what was not checked.
fn print(
    report: &Report,
    trust: &TrustFile,
    took: Duration,
    output: &Output,
) -> Result<(), CommandError> {
    if output.is_json() {
        return output
            .json(&as_json(report, trust, took))
            .map_err(CommandError::Stdout);
    }
    let lines = Cell::new(Ok(()));
    let line = |text: &str| {
        let before = lines.replace(Ok(()));
        lines.set(before.and_then(|()| output.line(text)));
    };
    for misdeed in &report.misdeeds {
        line(&format!(
            "{}   {misdeed}",
            output.paint(Colour::Red, "refused")
        ));
    }
    if report.misdeeds_beyond > 0 {
        line(&format!("refused   {} more", count(report.misdeeds_beyond)));
    }
    if report.verified() {
        for (name, text) in what_holds(report, trust, took) {
            line(&format!(
                "{}  {text}",
                output.paint(Colour::Green, &format!("{name:<8}"))
            ));
        }
    }
    if !report.not_checked.is_empty() {
        line("not checked");
        for what in &report.not_checked {
            line(&format!("  {what}"));
        }
    }
    lines.into_inner().map_err(CommandError::Stdout)
}

/// What a verification that found nothing wrong says, a name and a text a line.
pub(crate) fn what_holds(
    report: &Report,
    trust: &TrustFile,
    took: Duration,
) -> Vec<(&'static str, String)> {
    let mut lines = vec![(
        "verified",
        format!("{}, no gap found by these tests", trust.origin()),
    )];
    if let Some(checkpoint) = &report.checkpoint {
        let root = checkpoint.root.to_string();
        let short: String = root.chars().take(16).collect();
        let size = plural(checkpoint.size.0, "entry", "entries");
        lines.push((
            "root",
            format!("{short}… over {size}, re-derived from every leaf"),
        ));
        let at = utc_seconds(report.pq_timestamp);
        lines.push(("signed", format!("Ed25519 and ML-DSA-44, {at}")));
    }
    if !report.cosigners.is_empty() {
        lines.push(("witness", report.cosigners.join(", ")));
    }
    if report.payloads_checked > 0 {
        let checked = count(report.payloads_checked);
        lines.push(("payloads", format!("{checked} match their commitments")));
    }
    if let Some(since) = report.since {
        lines.push(("extends", format!("the kept checkpoint of size {since}")));
    }
    if report.checkpoints_checked > 0 {
        let kept = plural(
            report.checkpoints_checked,
            "kept checkpoint",
            "kept checkpoints",
        );
        lines.push(("history", format!("{kept} met")));
    }
    let files = plural(report.files, "file", "files");
    lines.push((
        "read",
        format!("{files}, {}, in {}", size(report.bytes), span(took)),
    ));
    lines
}

fn as_json(report: &Report, trust: &TrustFile, took: Duration) -> Value {
    let checkpoint = report.checkpoint.as_ref().map(|checkpoint| {
        json!({
            "origin": checkpoint.origin.as_str(),
            "size": checkpoint.size.0,
            "root": checkpoint.root.to_string(),
        })
    });
    let misdeeds: Vec<Value> = (report.misdeeds.iter())
        .map(|m| json!({ "file": m.file, "at": m.at, "what": m.what.to_string() }))
        .collect();
    let not_checked: Vec<String> = report.not_checked.iter().map(ToString::to_string).collect();
    let not_understood: Vec<Value> = (report.not_understood.iter())
        .map(|(kind, count)| json!({ "kind": kind.0, "count": count }))
        .collect();
    json!({
        "verified": report.verified(),
        "origin": trust.origin().as_str(),
        "trust_fingerprint": trust.fingerprint().to_string(),
        "checkpoint": checkpoint,
        "signed": report.pq_timestamp,
        "cosigners": report.cosigners,
        "entries": report.entries,
        "not_yet_signed": report.not_yet_signed,
        "payloads_checked": report.payloads_checked,
        "payloads_not_checked": report.payloads_not_checked,
        "parts_erased": report.parts_erased,
        "not_understood": not_understood,
        "checkpoints_checked": report.checkpoints_checked,
        "since": report.since.map(|size| size.0),
        "files": report.files,
        "bytes": report.bytes,
        "not_checked": not_checked,
        "misdeeds": misdeeds,
        "misdeeds_beyond": report.misdeeds_beyond,
        "seconds": took.as_secs_f64(),
    })
}
