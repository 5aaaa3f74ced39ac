//! The file of pgauditlogtofile: csvlog's columns with pgaudit's fields in the place of the
//! message, quoted only where needed, and without a severity.
//!
//! pgauditlogtofile, README "Format". Not here: the stream of bytes, what a record means.

use std::borrow::Cow;

use ledger_event::Event;

use super::audit::{self, Audit};
use super::event::{Native, QueryId, Reader};
use super::row::{Column, Row, plausible_start};
use crate::csv::{self, Field, Scanner};
use crate::stream::{Ending, Form, NotARow, Record, Refused, read_text};
use crate::text::{Digests, lossless};
use crate::zone;

/// The columns before pgaudit's fields, and those behind them, by their place in the file.
const HEAD: [Column; 12] = [
    Column::LogTime,
    Column::User,
    Column::Database,
    Column::ProcessId,
    Column::ConnectionFrom,
    Column::SessionId,
    Column::SessionLine,
    Column::CommandTag,
    Column::SessionStart,
    Column::Vxid,
    Column::Xid,
    Column::SqlState,
];
const TAIL: [Option<Column>; 9] = [
    Some(Column::Detail),
    Some(Column::Hint),
    Some(Column::InternalQuery),
    None,
    Some(Column::Context),
    Some(Column::Query),
    None,
    Some(Column::Location),
    Some(Column::ApplicationName),
];

/// The form of pgauditlogtofile.
pub(crate) struct AuditFile {
    pub(crate) reader: Reader,
}

/// A record: the row, pgaudit's fields, and all fields as they were.
type Parts<'r> = (Row<'r>, Audit<'r>, Vec<Field<'r>>);

fn read(text: &str) -> Result<Parts<'_>, NotARow> {
    let fields = csv::split(text, false).ok_or(NotARow("not a CSV record"))?;
    let audited = fields.len().saturating_sub(HEAD.len() + TAIL.len());
    if !matches!(audited, 9 | 10) {
        return Err(NotARow("not 30 or 31 fields"));
    }
    let behind = fields.get(HEAD.len() + audited..).unwrap_or(&[]);
    let head = HEAD.iter().copied().map(Some).zip(&fields);
    let columns = head
        .chain(TAIL.into_iter().zip(behind))
        .filter_map(|(column, field)| Some((column?, field.text.clone())))
        .collect();
    let row = Row::of(columns)?;
    let inside = fields.get(HEAD.len()..HEAD.len() + audited).unwrap_or(&[]);
    let audit = audit::from_fields(inside.to_vec(), false).map_err(NotARow)?;
    Ok((row, audit, fields))
}

/// The record again, with the texts of the row.
fn again(fields: &[Field<'_>], row: &Row<'_>, audit: Option<&Audit<'_>>) -> String {
    let mut out = String::with_capacity(1024);
    let text = |column: Option<Column>, field: &Field<'_>| match column {
        Some(column) => row.get(column).to_owned(),
        None => field.text.clone().into_owned(),
    };
    let head: Vec<(String, bool)> = HEAD
        .iter()
        .zip(fields)
        .map(|(column, field)| (text(Some(*column), field), field.quoted))
        .collect();
    let behind = fields.get(fields.len().saturating_sub(TAIL.len())..);
    let behind: Vec<(String, bool)> = TAIL
        .into_iter()
        .zip(behind.unwrap_or(&[]))
        .map(|(column, field)| (text(column, field), field.quoted))
        .collect();
    csv::join(head.iter().map(|(t, q)| (t.as_str(), *q)), &mut out);
    out.push(',');
    if let Some(audit) = audit {
        audit.write(&mut out);
    }
    out.push(',');
    csv::join(behind.iter().map(|(t, q)| (t.as_str(), *q)), &mut out);
    out
}

impl Form for AuditFile {
    fn begins(&self, input: &[u8], at_end: bool) -> Option<bool> {
        plausible_start(input, at_end)
    }

    fn ending(&self) -> Ending {
        Ending::Csv(Scanner::default())
    }

    fn event<'i>(&mut self, record: Record<'i>) -> Result<Box<Event<'i>>, Refused<'i>> {
        read_text(record, |text, invalid, record| {
            let (row, audit, fields) = read(text)?;
            let native = Native {
                text,
                invalid,
                query_id: QueryId::Text,
                again: &|row: &Row<'_>, audit: Option<&Audit<'_>>| again(&fields, row, audit),
            };
            self.reader.made(row, Some(audit), &native, record)
        })
    }

    fn unparsed(&mut self, record: Record<'_>, reason: NotARow) -> Box<Event<'static>> {
        let (text, _): (Cow<'_, str>, bool) = lossless(record.bytes);
        let head = text.split(',').next().unwrap_or("");
        let time = zone::parse(head, self.reader.zone.as_ref());
        let source = &self.reader.source;
        source.unparsed(record, reason, time.as_ref())
    }

    fn digests(&self) -> &Digests {
        &self.reader.source.digests
    }
}
