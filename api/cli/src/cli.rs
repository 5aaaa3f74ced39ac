//! The commands and their flags, as clap sees them; completions and the man page are made from
//! this tree.
//!
//! Not here: what a command does (`commands/`), and flags of one command (beside it).

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use std::path::PathBuf;

use crate::commands;
use crate::exit::Exit;
use crate::output::{printable, stderr_line};

/// An audit ledger for database operations: real audit records in a log that anyone can check.
#[derive(Parser, Debug)]
#[command(name = "custody", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(disable_help_subcommand = false, propagate_version = true)]
pub struct Cli {
    /// What every command knows.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Args, Debug)]
pub struct Common {
    /// Settings; default $CUSTODY_CONFIG, else ./custody.toml
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Print JSON: one object, or one a line
    #[arg(long, global = true)]
    pub json: bool,
    /// No talk and no progress on stderr; errors stay
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// From shipped audit records to a verified log; then tampered copies, refused
    Demo(commands::demo::DemoArgs),
    /// Create a log: keys, trust file, first entry, settings
    Init(commands::init::InitArgs),
    /// Hold the log and answer on its socket (and on a port if one is set)
    Serve(commands::serve::ServeArgs),
    /// Follow the audit files of this host and send what is new (--config: the agent's own)
    Collect(commands::collect::CollectArgs),
    /// Read audit files to their end and append what is new
    Ingest(commands::ingest::IngestArgs),
    /// Show the events of a file, one OCSF object a line; nothing is appended
    Parse(commands::parse::ParseArgs),
    /// Who sends: add one, list them, try a sample
    #[command(subcommand)]
    Sources(commands::sources::SourcesCommand),
    /// Find entries: 'actor:alice op:grant since:7d'
    Query(commands::query::QueryArgs),
    /// Show one entry
    Show(commands::show::ShowArgs),
    /// Show entries as they come
    Tail(commands::tail::TailArgs),
    /// What the log holds, how far it is signed, what to do next
    Status(commands::status::StatusArgs),
    /// What is wrong with this installation, and what to do
    Doctor(commands::doctor::DoctorArgs),
    /// Write the proof of one entry, and its payload beside it
    Proof(commands::proof::ProofArgs),
    /// Write the log as static tlog-tiles
    Tiles(commands::tiles::TilesArgs),
    /// Check a log, or one entry, with nothing but files and a trust file
    Verify(commands::verify::VerifyArgs),
    /// Delete and rebuild everything that can be derived
    Rebuild(commands::rebuild::RebuildArgs),
    /// Public keys and fingerprints
    #[command(subcommand)]
    Keys(commands::keys::KeysCommand),
    /// Read or check the settings
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    /// Measure this machine
    #[command(subcommand)]
    Bench(commands::bench::BenchCommand),
    /// Print a completion script for a shell
    Completions(commands::completions::CompletionsArgs),
    /// Print the manual page, or write all of them
    Man(commands::man::ManArgs),
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 verification failed or something found; 2 usage or \
     configuration; 3 not found; 4 not allowed; 5 not available, try again; 6 done in part.";

/// The tree with its global flags in every command, as completions and pages need it.
pub fn command() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// Ends for a command line that was not understood, with one line; or prints help or version.
pub fn refuse(error: &clap::Error) -> Exit {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Whoever asked for help and closed the pipe has seen enough.
            let _ = error.print();
            Exit::Done
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Exit::Usage
        }
        _ => {
            stderr_line(&format!("custody: {}", usage_line(&error.to_string())));
            Exit::Usage
        }
    }
}

/// Clap's paragraphs as one line: what is wrong, tips, and where the help is.
fn usage_line(text: &str) -> String {
    let mut parts = Vec::new();
    let mut usage = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(of) = line.strip_prefix("Usage: ") {
            usage = Some(
                of.split(['[', '<', '-'])
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
            );
            break;
        }
        if line.starts_with("For more information") {
            break;
        }
        let line = line.strip_prefix("error: ").unwrap_or(line);
        let line = line.strip_prefix("tip: ").unwrap_or(line);
        parts.push(line.trim_end_matches('.').to_owned());
    }
    let mut line = String::new();
    for part in parts {
        let joint = match line.chars().next_back() {
            None => "",
            Some(':') => " ",
            Some(_) => "; ",
        };
        line.push_str(joint);
        line.push_str(&part);
    }
    let help = usage
        .filter(|usage| !usage.is_empty())
        .unwrap_or_else(|| "custody".to_owned());
    printable(&format!("{line}; see `{help} --help`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_command_line_gets_one_line() {
        assert!(
            Cli::try_parse_from(["custody", "config", "check"]).is_ok(),
            "the twin"
        );
        for (args, word) in [
            (vec!["config", "chekc"], "check"),
            (vec!["config", "check", "--jsn"], "--json"),
            (vec!["completions"], "<SHELL>"),
            (vec!["completions", "tcsh"], "bash, zsh"),
        ] {
            let args = std::iter::once("custody").chain(args);
            let error = Cli::try_parse_from(args).unwrap_err();
            let line = usage_line(&error.to_string());
            assert!(line.contains(word), "{line}");
            assert!(line.ends_with(" --help`"), "{line}");
            assert!(!line.contains('\n') && !line.contains("error:"), "{line}");
        }
    }
}
