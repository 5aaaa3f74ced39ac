//! `custody config check` and `custody config show [--origin]`.
//!
//! Not here: the rules for settings (`crate::config`).

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::commands::Context;
use crate::config::{ConfigError, Resolved, Source, load};
use crate::error::{CommandError, one_line};
use crate::exit::Exit;

/// The two of them.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Say everything that is wrong with the settings
    Check,
    /// Print what is in force
    Show(ShowArgs),
}

/// Flags of `config show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Say where each value comes from
    #[arg(long)]
    origin: bool,
}

/// Runs it.
///
/// # Errors
/// A wrong configuration, but for `check`, which prints what is wrong.
pub fn run(command: &ConfigCommand, context: &Context) -> Result<Exit, CommandError> {
    match command {
        ConfigCommand::Check => check(context),
        ConfigCommand::Show(args) => show(args, context),
    }
}

fn check(context: &Context) -> Result<Exit, CommandError> {
    let path = context.place.path().display();
    let errors = match load(&context.place, &[]) {
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    };
    let lines: Vec<String> = errors
        .iter()
        .map(|error: &ConfigError| one_line(error))
        .collect();
    if context.output.is_json() {
        let answer = json!({ "file": path.to_string(), "ok": lines.is_empty(), "errors": lines });
        context.output.json(&answer).map_err(CommandError::Stdout)?;
    } else if lines.is_empty() {
        context
            .output
            .line(&format!("{path}: ok"))
            .map_err(CommandError::Stdout)?;
    } else {
        for line in &lines {
            context.output.line(line).map_err(CommandError::Stdout)?;
        }
    }
    Ok(if lines.is_empty() {
        Exit::Done
    } else {
        Exit::Usage
    })
}

fn show(args: &ShowArgs, context: &Context) -> Result<Exit, CommandError> {
    let resolved = load(&context.place, &[])?;
    let printed = if context.output.is_json() {
        context.output.json(&as_json(&resolved, args.origin))
    } else {
        context
            .output
            .line(as_toml(&resolved, args.origin).trim_end())
    };
    printed.map_err(CommandError::Stdout)?;
    Ok(Exit::Done)
}

/// Keys in the form of the file, each with its source behind it if wanted.
fn as_toml(resolved: &Resolved, origin: bool) -> String {
    let mut tables: BTreeMap<&str, Vec<(String, &Source)>> = BTreeMap::new();
    for (key, (value, source)) in &resolved.keys {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
        tables
            .entry(table)
            .or_default()
            .push((format!("{name} = {value}"), source));
    }
    let width = tables
        .values()
        .flatten()
        .map(|(line, _)| line.chars().count())
        .max();
    let mut out = String::new();
    for (table, lines) in tables {
        if !table.is_empty() {
            out.push_str(&format!("\n[{table}]\n"));
        }
        for (line, source) in lines {
            if origin {
                let width = width.unwrap_or_default();
                out.push_str(&format!("{line:width$}  # {source}\n"));
            } else {
                out.push_str(&format!("{line}\n"));
            }
        }
    }
    out
}

fn as_json(resolved: &Resolved, origin: bool) -> Value {
    let mut out = Map::new();
    for (key, (value, source)) in &resolved.keys {
        let value = serde_json::to_value(value).unwrap_or_default();
        let shown = if origin {
            json!({ "value": value, "origin": source.to_string() })
        } else {
            value
        };
        out.insert(key.clone(), shown);
    }
    Value::Object(out)
}
