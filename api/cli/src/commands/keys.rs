//! `custody keys list` and `custody keys export`: public keys and fingerprints. No command prints a
//! secret.
//!
//! Not here: making and rotating keys.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use keys_secret::Keystore;
use ledger_core::Hash;
use serde_json::json;

use crate::commands::Context;
use crate::commands::verify::read_trust;
use crate::error::CommandError;
use crate::exit::Exit;

/// The two of them.
#[derive(Subcommand, Debug)]
pub enum KeysCommand {
    /// Which keys there are: what for, their public halves, fingerprints
    List,
    /// Write the trust file, which is what checks the log
    Export(ExportArgs),
}

/// Where to.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The file to write; default: stdout
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// Keys or a trust file that cannot be read, stdout.
pub fn run(command: &KeysCommand, context: &Context) -> Result<Exit, CommandError> {
    match command {
        KeysCommand::List => list(context),
        KeysCommand::Export(args) => export(args, context),
    }
}

fn list(context: &Context) -> Result<Exit, CommandError> {
    let config = context.config(&[])?;
    let keys = Keystore::open(&config.paths.keys())?.list()?;
    if context.output.is_json() {
        for key in &keys {
            let vkey = key.verifier.as_ref().map(ToString::to_string);
            let line = json!({
                "file": key.file,
                "algorithm": key.algorithm.to_string(),
                "purpose": key.purpose.to_string(),
                "vkey": vkey,
                "fingerprint": vkey.as_deref().map(fingerprint),
            });
            context.output.json(&line).map_err(CommandError::Stdout)?;
        }
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = (keys.iter())
        .map(|key| {
            let vkey = key.verifier.as_ref().map(ToString::to_string);
            let print = vkey
                .as_deref()
                .map_or_else(|| "secret only".to_owned(), fingerprint);
            vec![
                key.file.clone(),
                key.algorithm.to_string(),
                key.purpose.to_string(),
                print,
            ]
        })
        .collect();
    let headings = ["file", "algorithm", "for", "SHA-256 of the vkey"];
    context
        .output
        .table(&headings, &rows)
        .map_err(CommandError::Stdout)?;
    Ok(Exit::Done)
}

fn fingerprint(vkey: &str) -> String {
    Hash::sha256(vkey.as_bytes()).to_string()
}

fn export(args: &ExportArgs, context: &Context) -> Result<Exit, CommandError> {
    let config = context.config(&[])?;
    let trust = read_trust(&config.paths.trust())?;
    let print = trust.fingerprint();
    if let Some(path) = &args.file {
        let mut file =
            std::fs::File::create_new(path).map_err(CommandError::file("creating", path))?;
        file.write_all(trust.to_string().as_bytes())
            .map_err(CommandError::file("writing", path))?;
        let shown = path.display().to_string();
        if context.output.is_json() {
            let line = json!({ "file": shown, "fingerprint": print.to_string() });
            context.output.json(&line).map_err(CommandError::Stdout)?;
        } else {
            let fields = [("trust file", shown), ("fingerprint", print.to_string())];
            context
                .output
                .fields(&fields)
                .map_err(CommandError::Stdout)?;
        }
    } else if context.output.is_json() {
        let line = json!({ "trust": trust.to_string(), "fingerprint": print.to_string() });
        context.output.json(&line).map_err(CommandError::Stdout)?;
    } else {
        let text = trust.to_string();
        context
            .output
            .line(text.trim_end())
            .map_err(CommandError::Stdout)?;
        context.output.say(&format!("SHA-256 of the file: {print}"));
    }
    Ok(Exit::Done)
}
