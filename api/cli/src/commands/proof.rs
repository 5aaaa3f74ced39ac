//! `custody proof INDEX`: writes `INDEX.tlog-proof` and `INDEX.payload.json` and says how to check
//! them.
//!
//! Not here: making the proof (api/http reads the log both ways), and checking it (`verify`).

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ledger_core::Index;
use serde_json::json;

use crate::access::reads;
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;

/// Of which entry.
#[derive(Args, Debug)]
pub struct ProofArgs {
    /// The entry's index, from 0
    #[arg(value_name = "INDEX")]
    index: u64,
    /// The folder to write into; default: the current one
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// No such entry, no checkpoint that covers it, files that are there already.
pub fn run(args: &ProofArgs, context: &Context) -> Result<Exit, CommandError> {
    let config = context.config(&[])?;
    let proof = reads(&config)?.proof(Index(args.index))?;
    let folder = args.out.clone().unwrap_or_default();
    let proof_path = folder.join(format!("{}.tlog-proof", args.index));
    let payload_path = folder.join(format!("{}.payload.json", args.index));
    write_new(&proof_path, proof.proof.as_bytes())?;
    write_new(&payload_path, format!("{}\n", proof.payload).as_bytes())?;
    let trust = config.paths.trust();
    let check = format!(
        "custody verify --proof {} --trust {}",
        proof_path.display(),
        trust.display()
    );
    if context.output.is_json() {
        let answer = json!({
            "index": args.index,
            "proof": proof_path.display().to_string(),
            "payload": payload_path.display().to_string(),
            "check": check,
        });
        context.output.json(&answer).map_err(CommandError::Stdout)?;
        return Ok(Exit::Done);
    }
    let rows = [
        ("proof", proof_path.display().to_string()),
        (
            "payload",
            format!(
                "{} (names and statements: hand it out with care)",
                payload_path.display()
            ),
        ),
        ("check", check),
    ];
    context.output.fields(&rows).map_err(CommandError::Stdout)?;
    Ok(Exit::Done)
}

/// Writes a file that is not there yet, and readable for its owner only: a payload holds names.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(CommandError::file("creating", path))?;
    file.write_all(bytes)
        .map_err(CommandError::file("writing", path))
}
