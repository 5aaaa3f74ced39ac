//! The one program, `custody`: it reads settings, files and the environment, starts what other
//! rooms do, and says how it went.
//!
//! Reading order: [`cli`] (the commands and their flags), [`config`] (settings), `access` (how a
//! command reaches the log, with a server or without), [`commands`] (one file a command), beside
//! them what several need ([`reading`], [`position`] and `taking` for audit files, `brief` for
//! entries, `heard` for sources, `examine`, `around`, `proof_check`, `sample`, `tamper`), then
//! [`output`], [`error`] and [`exit`] (what people, scripts and terminals see).
//!
//! Deliberately not here: any format, rule or check of a log. A command composes rooms and prints.

pub mod cli;
pub mod commands;
pub mod config;
pub mod error;
pub mod exit;
pub mod output;
pub mod position;
pub mod reading;

mod access;
mod around;
mod brief;
mod demo_story;
mod examine;
mod heard;
mod messages;
mod proof_check;
mod sample;
mod taking;
mod tamper;
mod way_in;

use std::ffi::OsString;

use clap::Parser as _;

use crate::cli::Cli;
use crate::commands::Context;
use crate::config::Place;
pub use crate::exit::Exit;
use crate::output::{Format, Output};

/// Runs the program with its arguments, the program's name first.
pub fn run(args: Vec<OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return cli::refuse(&error),
    };
    // Once for the process: whoever speaks TLS takes this provider. A second call finds it there.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let format = if cli.common.json {
        Format::Json
    } else {
        Format::Text
    };
    let output = Output::of_process(format, cli.common.quiet);
    let context = Context {
        output,
        place: Place::find(cli.common.config),
    };
    match commands::run(cli.command, &context) {
        Ok(exit) => exit,
        Err(error) if error.is_closed_pipe() => Exit::Done,
        Err(error) => {
            output::stderr_line(&format!("custody: {}", error::one_line(&error)));
            error.exit()
        }
    }
}
