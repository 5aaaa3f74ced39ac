//! stderr with a `log_line_prefix`: a line with the severity, lines that begin with a tab, and
//! lines with more of the same message (`DETAIL:`, `STATEMENT:` and others), each with the prefix
//! again.
//!
//! A record ends where a line begins that is none of these, so the last one of a file waits for the
//! next line. Names stand raw in the prefix, and their line ends are written as they are: the lines
//! of such a name are kept as `unparsed`, and one that looks like a record counts only if its
//! process is the one of its session. Grade C. Not here: the stream of bytes, what a record means.

use std::borrow::Cow;
use std::sync::Arc;

use ledger_event::Event;

use super::audit::Audit;
use super::event::{Native, QueryId, Reader};
use super::prefix::{Fields, Prefix};
use super::row::{Column, Row};
use crate::csv::Scan;
use crate::stream::{Ending, Form, NotARow, Record, Refused, read_text};
use crate::text::{Digests, lossless};
use crate::zone;

/// The longest beginning of a line that is looked at for its prefix.
const HEAD_MAX: usize = 4096;

/// Severities that begin a record, as the server writes them with `lc_messages = C`.
const SEVERITIES: &[&str] = &[
    "LOG", "ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "INFO", "DEBUG1", "DEBUG2", "DEBUG3",
    "DEBUG4", "DEBUG5", "DEBUG",
];

/// Labels that go on with one.
const LABELS: &[(&str, Option<Column>)] = &[
    ("DETAIL", Some(Column::Detail)),
    ("HINT", Some(Column::Hint)),
    ("QUERY", Some(Column::InternalQuery)),
    ("CONTEXT", Some(Column::Context)),
    ("LOCATION", Some(Column::Location)),
    ("STATEMENT", Some(Column::Query)),
    ("BACKTRACE", None),
];

/// What a line is, by its prefix and its label.
enum Line<'l> {
    Begins(Fields<'l>, &'static str, usize),
    Label(Option<Column>, usize),
    Other,
}

/// The label at the beginning of a text, and how long it is with its colon and blanks.
fn label(rest: &str) -> Option<(&str, usize)> {
    let letters = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let length = rest.bytes().take(10).take_while(letters).count();
    let (word, behind) = rest.split_at_checked(length)?;
    behind.starts_with(":  ").then_some(())?;
    let known = SEVERITIES.contains(&word) || LABELS.iter().any(|(name, _)| *name == word);
    known.then_some((word, word.len() + 3))
}

fn line_of<'l>(prefix: &Prefix, line: &'l str) -> Line<'l> {
    let Some((fields, at)) = prefix.read(line, &|rest| label(rest).is_some()) else {
        return Line::Other;
    };
    let Some((word, length)) = line.get(at..).and_then(label) else {
        return Line::Other;
    };
    if let Some((_, column)) = LABELS.iter().find(|(name, _)| *name == word) {
        return Line::Label(*column, at + length);
    }
    let severity = SEVERITIES.iter().find(|name| **name == word);
    match severity.filter(|_| is_consistent(&fields)) {
        Some(severity) => Line::Begins(fields, severity, at + length),
        None => Line::Other,
    }
}

/// Whether process and session agree: whoever forges a line before logging in knows neither.
fn is_consistent(fields: &Fields<'_>) -> bool {
    let field = |name: char| fields.iter().find(|(field, _)| *field == name);
    let (Some((_, process)), Some((_, session))) = (field('p'), field('c')) else {
        return true;
    };
    let of_session = session
        .split_once('.')
        .map(|(_, pid)| u64::from_str_radix(pid, 16));
    matches!((of_session, process.parse::<u64>()), (Some(Ok(a)), Ok(b)) if a == b)
}

/// Finds the end of a record.
#[derive(Clone)]
pub(crate) struct Lines {
    prefix: Arc<Prefix>,
}

impl Lines {
    /// Looks at the next bytes of the record: it ends before a line that does not go on with it.
    pub(crate) fn feed(&self, bytes: &[u8], at_end: bool) -> Scan {
        for at in memchr::memchr_iter(b'\n', bytes) {
            let next = bytes.get(at + 1..).unwrap_or(&[]);
            match self.goes_on(next, at_end) {
                Some(true) => {}
                Some(false) => return Scan::Ended(at),
                None => return Scan::Undecided(at),
            }
        }
        Scan::Open
    }

    /// Whether a line goes on with the record before it; `None` when too little of it is there.
    pub(crate) fn goes_on(&self, next: &[u8], at_end: bool) -> Option<bool> {
        match next.first() {
            None => return at_end.then_some(false),
            Some(b'\t') => return Some(true),
            Some(_) => {}
        }
        let line = head(next, at_end)?;
        if !has_label(line) {
            return Some(false);
        }
        let (line, _) = lossless(line);
        Some(matches!(line_of(&self.prefix, &line), Line::Label(..)))
    }
}

/// Whether a label stands anywhere in a line: cheaper than reading its prefix, and most have none.
fn has_label(line: &[u8]) -> bool {
    memchr::memchr_iter(b':', line).any(|at| {
        let (before, behind) = line.split_at_checked(at).unwrap_or((line, &[]));
        let ends = |(name, _): &(&str, _)| before.ends_with(name.as_bytes());
        behind.starts_with(b":  ") && LABELS.iter().any(ends)
    })
}

/// The beginning of a line, if enough of it is there to judge it.
fn head(input: &[u8], at_end: bool) -> Option<&[u8]> {
    let line = input.get(..HEAD_MAX).unwrap_or(input);
    match memchr::memchr(b'\n', line) {
        Some(end) => line.get(..end),
        None if line.len() == HEAD_MAX || at_end => Some(line),
        None => None,
    }
}

/// The form of stderr.
pub(crate) struct Stderr {
    pub(crate) reader: Reader,
    pub(crate) prefix: Arc<Prefix>,
}

/// A piece of a record: what stands before its text, and where its text goes.
struct Section<'r> {
    head: &'r str,
    column: Option<Column>,
    /// Without the tabs that its lines begin with; the row has it where there is a column.
    text: Cow<'r, str>,
}

type Parts<'r> = (Row<'r>, Vec<Section<'r>>);

/// Reads a record: its row, and its sections.
fn read<'r>(prefix: &Prefix, text: &'r str) -> Result<Parts<'r>, NotARow> {
    let mut sections: Vec<Section<'r>> = Vec::new();
    let mut columns: Vec<(Column, Cow<'r, str>)> = Vec::new();
    for line in text.split('\n') {
        let (column, at) = match line.strip_prefix('\t') {
            Some(more) => {
                let last = sections.last_mut();
                let last = last.ok_or(NotARow("a line that is no record"))?;
                let text = last.text.to_mut();
                text.push('\n');
                text.push_str(more);
                continue;
            }
            None => match line_of(prefix, line) {
                Line::Begins(fields, severity, at) if sections.is_empty() => {
                    columns = of_prefix(&fields);
                    columns.push((Column::Severity, Cow::Borrowed(severity)));
                    (Some(Column::Message), at)
                }
                Line::Label(column, at) if !sections.is_empty() => (column, at),
                _ => return Err(NotARow("a line that is no record")),
            },
        };
        sections.push(Section {
            head: line.get(..at).unwrap_or(""),
            column,
            text: Cow::Borrowed(line.get(at..).unwrap_or("")),
        });
    }
    for section in &mut sections {
        if let Some(column) = section.column {
            columns.push((column, std::mem::take(&mut section.text)));
        }
    }
    Ok((Row::of(columns)?, sections))
}

/// The columns that the prefix fills.
fn of_prefix<'r>(fields: &Fields<'r>) -> Vec<(Column, Cow<'r, str>)> {
    let unknown = |text: &str| text == "[unknown]";
    let pairs = fields.iter().filter_map(|(field, text)| {
        let text = Cow::Borrowed(*text);
        Some(match field {
            'm' | 't' => (Column::LogTime, text),
            'n' => (Column::LogTime, Cow::Owned(zone::of_epoch(&text)?)),
            // The server's own word for what it does not know yet.
            'u' | 'd' | 'a' if unknown(&text) => return None,
            'u' => (Column::User, text),
            'd' => (Column::Database, text),
            'a' => (Column::ApplicationName, text),
            'r' => (Column::ConnectionFrom, with_port(&text)),
            'h' => (Column::ConnectionFrom, text),
            'p' => (Column::ProcessId, text),
            'P' => (Column::LeaderPid, text),
            'b' => (Column::BackendType, text),
            'i' => (Column::CommandTag, text),
            'e' => (Column::SqlState, text),
            'c' => (Column::SessionId, text),
            'l' => (Column::SessionLine, text),
            's' => (Column::SessionStart, text),
            'v' => (Column::Vxid, text),
            'x' => (Column::Xid, text),
            'Q' => (Column::QueryId, text),
            _ => return None,
        })
    });
    pairs.collect()
}

/// `host(port)` as `host:port`.
fn with_port(text: &str) -> Cow<'static, str> {
    let split = text
        .strip_suffix(')')
        .and_then(|text| text.rsplit_once('('));
    match split {
        Some((host, port)) => Cow::Owned(format!("{host}:{port}")),
        None => Cow::Owned(text.to_owned()),
    }
}

/// The record again, with the texts of the row.
fn again(sections: &[Section<'_>], row: &Row<'_>) -> String {
    let mut out = String::with_capacity(1024);
    for (n, section) in sections.iter().enumerate() {
        if n > 0 {
            out.push('\n');
        }
        out.push_str(section.head);
        let text = section
            .column
            .map_or(&*section.text, |column| row.get(column));
        out.push_str(&text.replace('\n', "\n\t"));
    }
    out
}

impl Form for Stderr {
    fn begins(&self, input: &[u8], at_end: bool) -> Option<bool> {
        let (line, _) = lossless(head(input, at_end)?);
        Some(matches!(line_of(&self.prefix, &line), Line::Begins(..)))
    }

    fn ending(&self) -> Ending {
        Ending::Lines(Lines {
            prefix: Arc::clone(&self.prefix),
        })
    }

    fn event<'i>(&mut self, record: Record<'i>) -> Result<Box<Event<'i>>, Refused<'i>> {
        read_text(record, |text, invalid, record| {
            let (row, sections) = read(&self.prefix, text)?;
            let native = Native {
                text,
                invalid,
                query_id: QueryId::Text,
                again: &|row: &Row<'_>, _: Option<&Audit<'_>>| again(&sections, row),
            };
            self.reader.made(row, None, &native, record)
        })
    }

    fn unparsed(&mut self, record: Record<'_>, reason: NotARow) -> Box<Event<'static>> {
        let (text, _) = lossless(record.bytes);
        let time = text.get(..27).or(text.get(..23));
        let time = time.and_then(|time| zone::parse(time, self.reader.zone.as_ref()));
        let source = &self.reader.source;
        source.unparsed(record, reason, time.as_ref())
    }

    fn digests(&self) -> &Digests {
        &self.reader.source.digests
    }
}
