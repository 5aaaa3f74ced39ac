//! `custody doctor`: looks at everything an installation stands on, and says what is wrong and what
//! to do. It changes nothing.
//!
//! Not here: reading every byte of the log (`verify`).

use clap::Args;
use serde_json::json;

use crate::around::look_around;
use crate::commands::Context;
use crate::config::load;
use crate::error::{CommandError, one_line};
use crate::examine::{Finding, State, examine};
use crate::exit::Exit;
use crate::output::{Colour, printable};
use crate::way_in;

/// Nothing to say.
#[derive(Args, Debug)]
pub struct DoctorArgs {}

/// Runs it.
///
/// # Errors
/// Stdout. Everything else is a finding.
pub fn run(_: &DoctorArgs, context: &Context) -> Result<Exit, CommandError> {
    let findings = match load(&context.place, &[]) {
        Ok(resolved) => {
            let place = context.place.path().display().to_string();
            let mut findings = vec![Finding::well("settings", place)];
            findings.extend(examine(&resolved.config));
            findings.extend(look_around(&resolved.config));
            findings.extend(way_in::examine(&resolved.config));
            findings
        }
        // Nothing else can be found without knowing where it lies.
        Err(errors) => (errors.iter())
            .map(|error| Finding::wrong("settings", one_line(error)))
            .collect(),
    };
    let wrong = findings
        .iter()
        .filter(|finding| finding.state == State::Wrong)
        .count();
    for finding in &findings {
        print(finding, context).map_err(CommandError::Stdout)?;
    }
    if wrong > 0 {
        let things = if wrong == 1 { "thing is" } else { "things are" };
        context.output.say(&format!("{wrong} {things} wrong"));
    }
    Ok(if wrong == 0 { Exit::Done } else { Exit::Found })
}

fn print(finding: &Finding, context: &Context) -> std::io::Result<()> {
    let (word, colour) = match finding.state {
        State::Well => ("ok", Colour::Green),
        State::Note => ("note", Colour::Yellow),
        State::Wrong => ("WRONG", Colour::Red),
    };
    if context.output.is_json() {
        let line = json!({
            "check": finding.check,
            "state": word.to_lowercase(),
            "what": finding.what,
        });
        return context.output.json(&line);
    }
    let word = context.output.paint(colour, &format!("{word:<5}"));
    context.output.line(&format!(
        "{word}  {:<10}  {}",
        finding.check,
        printable(&finding.what)
    ))
}
