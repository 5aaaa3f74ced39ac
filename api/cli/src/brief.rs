//! An entry as one short line for people: index, time, what, who, where, on what.
//!
//! Programs get the JSON as it is. Not here: anything that the JSON does not say.

use std::io;

use serde_json::Value;

use crate::error::CommandError;
use crate::output::{Colour, Output, printable};

/// Prints entries, in the form that stdout asks for.
pub(crate) struct Printer<'o> {
    output: &'o Output,
    failed: Option<io::Error>,
}

impl<'o> Printer<'o> {
    /// For stdout.
    pub(crate) fn new(output: &'o Output) -> Printer<'o> {
        Printer {
            output,
            failed: None,
        }
    }

    /// Prints one entry. `Err` asks the caller to stop; [`Printer::finish`] says why.
    pub(crate) fn print(&mut self, json: &str) -> Result<(), ()> {
        let printed = if self.output.is_terminal() && !self.output.is_json() {
            self.output.line(&brief(json, self.output))
        } else {
            self.output.line(json)
        };
        printed.map_err(|error| self.failed = Some(error))
    }

    /// What went wrong, if anything.
    pub(crate) fn finish(self) -> Result<(), CommandError> {
        self.failed
            .map_or(Ok(()), |error| Err(CommandError::Stdout(error)))
    }
}

/// Longest statement or message in a line, in characters.
const TEXT_CHARS_MAX: usize = 72;

/// `    17  2026-11-23 09:42:07  grant      alice     cards  GRANT …`.
pub(crate) fn brief(json: &str, output: &Output) -> String {
    let Ok(entry) = serde_json::from_str::<Value>(json) else {
        return printable(json);
    };
    let text = |path: &str| {
        entry
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let time = text("/event_time").replace('T', " ");
    let time = time.split(['.', 'Z']).next().unwrap_or_default();
    let index = entry
        .pointer("/index")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let event = Words::of(&entry);
    let failed = entry.pointer("/event/status_id").and_then(Value::as_u64) == Some(2);
    let what = format!("{:14}", event.what);
    let what = if failed {
        output.paint(Colour::Red, &what)
    } else {
        what
    };
    let line = format!(
        "{index:>6}  {}  {what}  {:16}  {:10}  {}",
        output.paint(Colour::Faint, time),
        event.who,
        event.place,
        event.text
    );
    line.trim_end().to_owned()
}

/// The words of the line, without control characters.
pub(crate) struct Words {
    pub(crate) what: String,
    pub(crate) who: String,
    pub(crate) place: String,
    pub(crate) text: String,
}

impl Words {
    pub(crate) fn of(entry: &Value) -> Words {
        let first = |paths: &[&str]| {
            let found = paths.iter().find_map(|path| {
                entry
                    .pointer(path)
                    .and_then(Value::as_str)
                    .filter(|text| !text.is_empty())
            });
            printable(found.unwrap_or_default())
        };
        let kind = first(&["/kind"]);
        let what = if kind == "event" {
            first(&[
                "/event/unmapped/command",
                "/event/unmapped/command_tag",
                "/event/activity_name",
            ])
        } else {
            kind.clone()
        };
        Words {
            what: if what.is_empty() {
                kind
            } else {
                what.to_lowercase()
            },
            who: first(&[
                "/event/actor/user/name",
                "/event/user/name",
                "/event/unmapped/actor/user/name",
            ]),
            place: first(&["/event/database/name", "/event/unmapped/database/name"]),
            text: cut(&first(&[
                "/event/query_info/query_string",
                "/event/unmapped/query_info/query_string",
                "/event/message",
                "/event/status_detail",
                "/facts/name",
            ])),
        }
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= TEXT_CHARS_MAX {
        return text.to_owned();
    }
    let start: String = text.chars().take(TEXT_CHARS_MAX - 1).collect();
    format!("{start}…")
}
