//! One record of csvlog, its columns named and checked.
//!
//! PostgreSQL 18 manual, 19.8.4 "Using CSV-Format Log Output": 23 columns up to version 12, 24 in
//! 13 (`backend_type`), 26 from 14 (`leader_pid`, `query_id`). Columns that the server writes as
//! numbers or codes are checked, so nothing free can hide in them. Not here: the meaning of a
//! message.

use std::borrow::Cow;

use ledger_event::Text;

use crate::csv::{self, Field};
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

    /// A row of another form, with these columns; what its form has not stays empty.
    pub(crate) fn of(columns: Vec<(Column, Cow<'i, str>)>) -> Result<Row<'i>, NotARow> {
        let empty = Field {
            text: Cow::Borrowed(""),
            quoted: false,
        };
        let mut values = vec![empty; Column::QueryId as usize + 1];
        for (column, text) in columns {
            if let Some(value) = values.get_mut(column as usize) {
                value.text = text;
            }
        }
        let row = Row { values };
        row.check()?;
        Ok(row)
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

    fn check(&self) -> Result<(), NotARow> {
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let number = |text: &str| {
            let text = text.strip_prefix('-').unwrap_or(text);
            text.len() <= 20 && digits(text)
        };
        let of = |column, ok: &dyn Fn(&str) -> bool, why| {
            if ok(self.get(column)) {
                Ok(())
            } else {
                Err(NotARow(why))
            }
        };
        let hexadecimal = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        of(
            Column::ProcessId,
            &|t| t.len() <= 10 && digits(t),
            "process id is no number",
        )?;
        of(
            Column::SessionId,
            &|t| {
                t.is_empty()
                    || t.split_once('.').is_some_and(|(start, pid)| {
                        (1..=COUNT_DIGITS_MAX).contains(&start.len())
                            && (1..=8).contains(&pid.len())
                            && hexadecimal(start)
                            && hexadecimal(pid)
                    })
            },
            "session id is not two hexadecimal numbers",
        )?;
        of(
            Column::SessionLine,
            &|t| t.len() <= COUNT_DIGITS_MAX && digits(t),
            "session line is no number",
        )?;
        of(
            Column::SessionStart,
            &|t| t.is_empty() || is_time(t),
            "session start is no time",
        )?;
        let vxid = |t: &str| {
            t.split('/').all(|part| part.len() <= COUNT_DIGITS_MAX)
                && t.len() <= 30
                && t.bytes()
                    .all(|b| b.is_ascii_digit() || matches!(b, b'/' | b'-'))
        };
        of(
            Column::Vxid,
            &vxid,
            "virtual transaction is not two numbers",
        )?;
        let count = |t: &str| number(t) && t.len() <= COUNT_DIGITS_MAX;
        of(Column::Xid, &count, "transaction is no number")?;
        let word = |t: &str| {
            t.len() <= 10
                && t.bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        };
        of(Column::Severity, &|t| word(t), "severity is no word")?;
        of(
            Column::SqlState,
            &|t| (t.is_empty() || t.len() == 5) && word(t),
            "SQLSTATE is not five characters",
        )?;
        of(Column::LeaderPid, &count, "leader pid is no number")?;
        of(Column::QueryId, &number, "query id is no number")
    }
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
