//! One record of csvlog, its columns named and checked.
//!
//! PostgreSQL 18 manual, 19.8.4 "Using CSV-Format Log Output": 23 columns up to version 12, 24 in
//! 13 (`backend_type`), 26 from 14 (`leader_pid`, `query_id`). Columns that the server writes as
//! numbers or codes are checked, so nothing free can hide in them. Not here: the meaning of a
//! message.

use std::borrow::Cow;

use ledger_event::Text;

use crate::csv::{self, Field};
use crate::mask::is_own_number;
use crate::stream::NotARow;

/// Digits of the largest count that is believed: fewer than a card number has.
pub(crate) const COUNT_DIGITS_MAX: usize = 12;

/// Columns by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    LogTime = 0,
    User = 1,
    Database = 2,
    ProcessId = 3,
    ConnectionFrom = 4,
    SessionId = 5,
    SessionLine = 6,
    CommandTag = 7,
    SessionStart = 8,
    Vxid = 9,
    Xid = 10,
    Severity = 11,
    SqlState = 12,
    Message = 13,
    Detail = 14,
    Hint = 15,
    InternalQuery = 16,
    Context = 18,
    Query = 19,
    Location = 21,
    ApplicationName = 22,
    BackendType = 23,
    LeaderPid = 24,
    QueryId = 25,
}

/// A record with its columns.
#[derive(Clone, Debug)]
pub(crate) struct Row<'i> {
    pub(crate) values: Vec<Field<'i>>,
}

impl<'i> Row<'i> {
    /// Reads a record without its line end; of a `cut` one, the columns that are there.
    pub(crate) fn read(record: &'i str, cut: bool) -> Result<Row<'i>, NotARow> {
        let values = csv::split(record, cut).ok_or(NotARow("not a CSV record"))?;
        if !cut && !matches!(values.len(), 23 | 24 | 26) {
            return Err(NotARow("not 23, 24 or 26 columns"));
        }
        let row = Row { values };
        row.check()?;
        row.check_present()?;
        Ok(row)
    }

    /// A row of another form, to put columns in; what its form has not stays empty.
    pub(crate) fn empty() -> Row<'i> {
        let values = vec![csv::EMPTY; Column::QueryId as usize + 1];
        Row { values }
    }

    /// Gives a column its text.
    pub(crate) fn put(&mut self, column: Column, text: Cow<'i, str>) {
        if let Some(value) = self.values.get_mut(column as usize) {
            value.text = text;
        }
    }

    /// The row if its columns are what they must be.
    pub(crate) fn checked(self) -> Result<Row<'i>, NotARow> {
        self.check()?;
        Ok(self)
    }

    /// A row of another form, with these columns.
    pub(crate) fn of(columns: Vec<(Column, Cow<'i, str>)>) -> Result<Row<'i>, NotARow> {
        let mut row = Row::empty();
        for (column, text) in columns {
            row.put(column, text);
        }
        row.checked()
    }

    /// The columns that csvlog always has.
    fn check_present(&self) -> Result<(), NotARow> {
        for (column, why) in [
            (Column::ProcessId, "process id is no number"),
            (
                Column::SessionId,
                "session id is not two hexadecimal numbers",
            ),
            (Column::SessionLine, "session line is no number"),
            (Column::Severity, "severity is no word"),
            (Column::SqlState, "SQLSTATE is not five characters"),
        ] {
            self.some(column).ok_or(NotARow(why))?;
        }
        Ok(())
    }

    /// A column's text; the empty string for one that is absent.
    pub(crate) fn get(&self, column: Column) -> &str {
        self.values
            .get(column as usize)
            .map_or("", |value| &value.text)
    }

    /// A column's text, which the row loses.
    pub(crate) fn take(&mut self, column: Column) -> Cow<'i, str> {
        let value = self.values.get_mut(column as usize);
        value.map_or(Cow::Borrowed(""), |value| std::mem::take(&mut value.text))
    }

    /// A column's text, which the row keeps.
    pub(crate) fn copy(&self, column: Column) -> Cow<'i, str> {
        let value = self.values.get(column as usize);
        value.map_or(Cow::Borrowed(""), |value| value.text.clone())
    }

    /// A column's text for an event; none when it is empty.
    pub(crate) fn text(&self, column: Column) -> Option<Text<'i>> {
        Some(Text::from(self.copy(column))).filter(|text| !text.is_empty())
    }

    /// A column's text if it is not empty.
    pub(crate) fn some(&self, column: Column) -> Option<&str> {
        Some(self.get(column)).filter(|text| !text.is_empty())
    }

    /// Checks what the server writes as numbers and codes.
    fn check(&self) -> Result<(), NotARow> {
        let of = |column, ok: fn(&str) -> bool, why| match ok(self.get(column)) {
            true => Ok(()),
            false => Err(NotARow(why)),
        };
        of(Column::ProcessId, is_pid, "process id is no number")?;
        of(
            Column::SessionId,
            is_session,
            "session id is not two hexadecimal numbers",
        )?;
        of(Column::SessionLine, is_line, "session line is no number")?;
        let start_why = "session start is no time";
        of(
            Column::SessionStart,
            |t| t.is_empty() || is_time(t),
            start_why,
        )?;
        let vxid_why = "virtual transaction is not two numbers";
        of(Column::Vxid, is_vxid, vxid_why)?;
        of(Column::Xid, is_count, "transaction is no number")?;
        of(Column::Severity, is_word, "severity is no word")?;
        let state_why = "SQLSTATE is not five characters";
        of(Column::SqlState, is_state, state_why)?;
        of(Column::LeaderPid, is_count, "leader pid is no number")?;
        let id = |text: &str| text.is_empty() || is_own_number(text);
        of(Column::QueryId, id, "query id is no number")
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn is_pid(text: &str) -> bool {
    text.len() <= 10 && is_digits(text)
}

fn is_line(text: &str) -> bool {
    text.len() <= COUNT_DIGITS_MAX && is_digits(text)
}

fn is_session(text: &str) -> bool {
    let Some(dot) = text.bytes().position(|b| b == b'.') else {
        return text.is_empty();
    };
    let (start, pid) = (dot, text.len() - dot - 1);
    (1..=COUNT_DIGITS_MAX).contains(&start)
        && (1..=8).contains(&pid)
        && text
            .bytes()
            .enumerate()
            .all(|(at, b)| b.is_ascii_hexdigit() || at == dot)
}

fn is_vxid(text: &str) -> bool {
    text.len() <= 30
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'/' | b'-'))
        && (text.len() <= COUNT_DIGITS_MAX
            || text.split('/').all(|part| part.len() <= COUNT_DIGITS_MAX))
}

fn is_count(text: &str) -> bool {
    text.len() <= COUNT_DIGITS_MAX && is_digits(text.strip_prefix('-').unwrap_or(text))
}

fn is_word(text: &str) -> bool {
    text.len() <= 10
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn is_state(text: &str) -> bool {
    (text.is_empty() || text.len() == 5) && is_word(text)
}

/// Whether a text has the shape of a time, whatever its zone.
pub(super) fn is_time(text: &str) -> bool {
    starts_with_time(text.as_bytes()) && text.len() <= 40
}

/// Whether bytes begin with `YYYY-MM-DD HH:MM:SS`.
fn starts_with_time(bytes: &[u8]) -> bool {
    const SHAPE: &[u8; 19] = b"0000-00-00 00:00:00";
    bytes.len() >= SHAPE.len()
        && SHAPE.iter().zip(bytes).all(|(shape, byte)| match shape {
            b'0' => byte.is_ascii_digit(),
            mark => byte == mark,
        })
}

/// Whether a line can be the beginning of a record: `None` when the window is too short to say.
pub(crate) fn plausible_start(line: &[u8], at_end: bool) -> Option<bool> {
    // A time, milliseconds and a zone of up to twelve characters, then a comma.
    const HEAD: usize = 23;
    const ZONE_MAX: usize = 14;
    let line_end = memchr::memchr(b'\n', line.get(..HEAD + ZONE_MAX).unwrap_or(line));
    if line.len() < HEAD + ZONE_MAX && line_end.is_none() && !at_end {
        return None;
    }
    let zone = line.get(HEAD..).unwrap_or(&[]);
    let comma = zone.iter().take(ZONE_MAX).position(|b| *b == b',');
    Some(
        starts_with_time(line)
            && line.get(19) == Some(&b'.')
            && zone.first() == Some(&b' ')
            && comma.is_some_and(|at| {
                at > 1 && zone.iter().take(at).all(|b| *b != b'"' && *b != b'\n')
            }),
    )
}
