//! jsonlog: one flat JSON object a line.
//!
//! PostgreSQL 18 manual, 19.8.5 "Using JSON-Format Log Output": empty fields are left out, and so
//! is `state_code` 00000. A cut line is no object any more and becomes `unparsed`. Not here: the
//! stream of bytes, what a record means (see `event`).

use std::borrow::Cow;

use ledger_event::Event;

use super::audit::Audit;
use super::event::{Native, QueryId, Reader};
use super::row::{Column, Row};
use crate::json::{Pairs, put_string};
use crate::mask::own_of_pairs;
use crate::stream::{Ending, Form, NotARow, Record, Refused, read_text};
use crate::text::{Digests, lossless};
use crate::zone;

/// The form of jsonlog.
pub(crate) struct Jsonlog {
    pub(crate) reader: Reader,
}

/// The column of a key; keys that only a place in a text need no column.
fn column(key: &str) -> Option<Column> {
    Some(match key {
        "timestamp" => Column::LogTime,
        "user" => Column::User,
        "dbname" => Column::Database,
        "pid" => Column::ProcessId,
        "session_id" => Column::SessionId,
        "line_num" => Column::SessionLine,
        "ps" => Column::CommandTag,
        "session_start" => Column::SessionStart,
        "vxid" => Column::Vxid,
        "txid" => Column::Xid,
        "error_severity" => Column::Severity,
        "state_code" => Column::SqlState,
        "message" => Column::Message,
        "detail" => Column::Detail,
        "hint" => Column::Hint,
        "internal_query" => Column::InternalQuery,
        "context" => Column::Context,
        "statement" => Column::Query,
        "application_name" => Column::ApplicationName,
        "backend_type" => Column::BackendType,
        "leader_pid" => Column::LeaderPid,
        "query_id" => Column::QueryId,
        _ => return None,
    })
}

/// The fields that only a place in another text.
#[derive(Default)]
struct Places<'r> {
    remote_host: Option<Cow<'r, str>>,
    remote_port: Option<Cow<'r, str>>,
    func_name: Option<Cow<'r, str>>,
    file_name: Option<Cow<'r, str>>,
    file_line_num: Option<Cow<'r, str>>,
}

/// The row of an object.
fn row<'r>(pairs: &Pairs<'r>) -> Result<Row<'r>, NotARow> {
    let mut row = Row::empty();
    let mut seen = 0_u32;
    let mut places = Places::default();
    for (key, value) in &pairs.0 {
        let text = || value.string().unwrap_or(Cow::Borrowed(value.written));
        if let Some(column) = column(key) {
            let bit = 1 << column as u32;
            if seen & bit != 0 {
                return Err(NotARow("a field twice"));
            }
            seen |= bit;
            row.put(column, text());
            continue;
        }
        let place = match &**key {
            "remote_host" => &mut places.remote_host,
            "remote_port" => &mut places.remote_port,
            "func_name" => &mut places.func_name,
            "file_name" => &mut places.file_name,
            "file_line_num" => &mut places.file_line_num,
            _ => continue,
        };
        place.get_or_insert_with(text);
    }
    for (needed, why) in [
        (Column::LogTime, "no timestamp"),
        (Column::SessionId, "no session_id"),
        (Column::SessionLine, "no line_num"),
        (Column::Severity, "no error_severity"),
    ] {
        if seen & 1 << needed as u32 == 0 {
            return Err(NotARow(why));
        }
    }
    if let Some(host) = places.remote_host {
        let from = match places.remote_port {
            Some(port) => Cow::Owned([&*host, ":", &*port].concat()),
            None => host,
        };
        row.put(Column::ConnectionFrom, from);
    }
    if let (Some(function), Some(file)) = (places.func_name, places.file_name) {
        let line = places.file_line_num.unwrap_or_default();
        let place = format!("{function}, {file}:{line}");
        row.put(Column::Location, Cow::Owned(place));
    }
    row.checked()
}

/// Whether an object is a row.
pub(crate) fn is_row(pairs: &Pairs<'_>) -> bool {
    row(pairs).is_ok()
}

/// The object again, with the texts of the row where it has a column for them.
fn again(pairs: &Pairs<'_>, row: &Row<'_>) -> String {
    let mut out = String::with_capacity(1024);
    for (n, (key, value)) in pairs.0.iter().enumerate() {
        out.push(if n == 0 { '{' } else { ',' });
        put_string(key, &mut out);
        out.push(':');
        match (column(key), value.string()) {
            (Some(column), Some(_)) => put_string(row.get(column), &mut out),
            _ => out.push_str(value.written),
        }
    }
    out.push('}');
    out
}

impl Form for Jsonlog {
    fn begins(&self, input: &[u8], _at_end: bool) -> Option<bool> {
        Some(input.first() == Some(&b'{'))
    }

    fn ending(&self) -> Ending {
        Ending::Line
    }

    fn event<'i>(&mut self, record: Record<'i>) -> Result<Box<Event<'i>>, Refused<'i>> {
        read_text(record, |text, invalid, record| {
            let pairs = Pairs::read(text).ok_or(NotARow("not a flat JSON object"))?;
            let native = Native {
                text,
                invalid,
                query_id: QueryId::at_end(own_of_pairs(&pairs)),
                again: &|row: &Row<'_>, _: Option<&Audit<'_>>| again(&pairs, row),
            };
            let row = row(&pairs)?;
            self.reader.made(row, None, &native, record)
        })
    }

    fn unparsed(&mut self, record: Record<'_>, reason: NotARow) -> Box<Event<'static>> {
        const KEY: &str = "{\"timestamp\":\"";
        let (text, _) = lossless(record.bytes);
        let time = text
            .strip_prefix(KEY)
            .and_then(|rest| rest.split('"').next());
        let time = time.and_then(|time| zone::parse(time, self.reader.zone.as_ref()));
        let source = &self.reader.source;
        source.unparsed(record, reason, time.as_ref())
    }

    fn digests(&self) -> &Digests {
        &self.reader.source.digests
    }
}
