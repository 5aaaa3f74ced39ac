//! An entry as one short line for people: index, time, what, who, where, on what.
//!
//! Programs get the JSON as it is. Not here: anything that the JSON does not say.

use std::io::{self, BufWriter, Stdout, Write as _};

use serde_json::Value;

use crate::error::CommandError;
use crate::output::{Colour, Output, printable};

/// Prints entries, in the form that stdout asks for.
pub(crate) struct Printer<'o> {
    output: &'o Output,
    out: BufWriter<Stdout>,
    flush: Flush,
    failed: Option<io::Error>,
}

/// When what was printed is handed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flush {
    /// Each line, as somebody is waiting for it.
    EachLine,
    /// When there is much, and at the end.
    AtTheEnd,
}

impl<'o> Printer<'o> {
    /// For stdout.
    pub(crate) fn new(output: &'o Output, flush: Flush) -> Printer<'o> {
        let out = BufWriter::with_capacity(64 << 10, io::stdout());
        Printer {
            output,
            out,
            flush,
            failed: None,
        }
    }

    /// Prints one entry. `Err` asks the caller to stop; [`Printer::finish`] says why.
    pub(crate) fn print(&mut self, json: &str) -> Result<(), ()> {
        if self.output.is_terminal() && !self.output.is_json() {
            let line = brief(json, self.output);
            self.print_as_it_is(&line)
        } else {
            self.print_as_it_is(json)
        }
    }

    /// Prints one line. `Err` asks the caller to stop; [`Printer::finish`] says why.
    pub(crate) fn print_as_it_is(&mut self, line: &str) -> Result<(), ()> {
        let mut print = || {
            self.out.write_all(line.as_bytes())?;
            self.out.write_all(b"\n")?;
            match self.flush {
                Flush::EachLine => self.out.flush(),
                Flush::AtTheEnd => Ok(()),
            }
        };
        print().map_err(|error| self.failed = Some(error))
    }

    /// Hands on the rest, and says what went wrong, if anything.
    pub(crate) fn finish(mut self) -> Result<(), CommandError> {
        let flushed = self.out.flush();
        let failed = self.failed.map_or(flushed, Err);
        failed.map_err(CommandError::Stdout)
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
    let what = format!("{:16}", cut(&event.what, 16));
    let what = if failed {
        output.paint(Colour::Red, &what)
    } else {
        what
    };
    let line = format!(
        "{index:>6}  {}  {what}  {:16}  {:10}  {}",
        output.paint(Colour::Faint, time),
        cut(&event.who, 16),
        cut(&event.place, 10),
        cut(&event.text, TEXT_CHARS_MAX)
    );
    line.trim_end().to_owned()
}

/// A word for acts that are no statement: OCSF class and activity (1.8.0).
fn act_name(act: (u64, u64)) -> Option<&'static str> {
    match act {
        (3002, 1) => Some("login"),
        (3002, 2) => Some("logout"),
        (3002, _) => Some("connection"),
        (6002, 3) => Some("start"),
        (6002, 4) => Some("stop"),
        (0, 0) => Some("unparsed"),
        _ => None,
    }
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
        let number = |path: &str| {
            entry
                .pointer(path)
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        let act = (number("/event/class_uid"), number("/event/activity_id"));
        let what = match act_name(act) {
            _ if kind != "event" => kind.clone(),
            Some(name) => name.to_owned(),
            None => first(&[
                "/event/unmapped/command",
                "/event/unmapped/command_tag",
                "/event/activity_name",
            ]),
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
            text: first(&[
                "/event/query_info/query_string",
                "/event/unmapped/query_info/query_string",
                "/event/message",
                "/event/status_detail",
                "/facts/name",
            ]),
        }
    }
}

/// The text, or its beginning and `…` if it is longer.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let start: String = text.chars().take(chars_max - 1).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn line(json: &str) -> String {
        brief(json, &Output::of_process(Format::Text, true))
    }

    #[test]
    fn a_line_says_what_who_where_and_is_cut() {
        let statement = format!("GRANT {}", "x".repeat(100));
        let json = format!(
            "{{\"index\":7,\"kind\":\"event\",\"event_time\":\"2026-11-23T09:42:03.5Z\",\
             \"event\":{{\"class_uid\":3005,\"activity_id\":1,\"actor\":{{\"user\":{{\"name\":\
             \"a\\u001b[2Jb\"}}}},\"database\":{{\"name\":\"cards\"}},\"query_info\":{{\
             \"query_string\":\"{statement}\"}},\"unmapped\":{{\"command\":\"GRANT\"}}}}}}"
        );
        let shown = line(&json);
        assert!(
            shown.starts_with("     7  2026-11-23 09:42:03  grant "),
            "{shown}"
        );
        assert!(
            shown.contains("a\\u{1b}[2Jb"),
            "no escape reaches the terminal: {shown:?}"
        );
        assert!(shown.contains("  cards "), "{shown}");
        assert!(shown.ends_with("xxx…"), "{shown}");
    }

    #[test]
    fn acts_without_a_statement_and_other_kinds_have_a_word() {
        let login = r#"{"index":1,"kind":"event","event":{"class_uid":3002,"activity_id":1}}"#;
        assert!(line(login).contains("login"));
        assert!(line(r#"{"index":0,"kind":"opened"}"#).contains("opened"));
        assert_eq!(line("no JSON\u{7}"), "no JSON\\u{7}");
    }
}
