//! A row of csvlog as an event: masked first, then classified.
//!
//! Not here: the stream of bytes, the rules of masking.

use std::borrow::Cow;

use ledger_event::{Event, Metadata, Text};

use super::audit::{self, Audit};
use super::kinds::{audited, logged, severity};
use super::row::{Column, Row};
use crate::csv;
use crate::draft::{Draft, MESSAGE_MAX, NAME_MAX, RAW_MAX, Source, endpoint};
use crate::mask::{self, MASK, own_of_columns};
use crate::stream::{NotARow, Record, Refused, read_text};
use crate::text::without_open_number;
use crate::zone::{self, Time, Zone};

/// What a record is read with.
pub(crate) struct Reader {
    pub(crate) source: Source,
    pub(crate) zone: Option<Zone>,
}

/// A record's text, and how its form writes a row that was masked.
pub(crate) struct Native<'n, 'r> {
    pub(crate) text: &'r str,
    /// Some byte was not UTF-8.
    pub(crate) invalid: bool,
    pub(crate) query_id: QueryId,
    pub(crate) again: &'n dyn Fn(&Row<'_>, Option<&Audit<'_>>) -> String,
}

/// What stands in the record as its `query_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueryId {
    /// The server's own number: with what closes the record, so many bytes at its end.
    AtEnd(usize),
    /// Nothing, or what stands elsewhere: the native record does not keep it either.
    Text,
}

impl QueryId {
    /// Of a number that takes so many bytes at the end of the record; 0 when there is none.
    pub(crate) fn at_end(bytes: usize) -> QueryId {
        match bytes {
            0 => QueryId::Text,
            bytes => QueryId::AtEnd(bytes),
        }
    }
}

impl Reader {
    /// The event of a record of csvlog, or why it is no row.
    pub(crate) fn event<'i>(&self, record: Record<'i>) -> Result<Box<Event<'i>>, Refused<'i>> {
        read_text(record, |text, invalid, record| {
            let row = Row::read(text, record.whole.is_some())?;
            let native = Native {
                text,
                invalid,
                query_id: QueryId::at_end(own_of_columns(&row.values)),
                again: &|row: &Row<'_>, _: Option<&Audit<'_>>| {
                    let mut joined = String::with_capacity(text.len());
                    csv::join(row.values.iter().map(|v| (&*v.text, v.quoted)), &mut joined);
                    joined
                },
            };
            self.made(row, None, &native, record)
        })
    }

    /// The event of a row of any form; `audit` when pgaudit's text is not in the message.
    pub(crate) fn made<'r>(
        &self,
        mut row: Row<'r>,
        audit: Option<Audit<'r>>,
        native: &Native<'_, 'r>,
        record: &Record<'_>,
    ) -> Result<Box<Event<'r>>, NotARow> {
        let was_cut = record.whole.is_some();
        let time = zone::parse(row.get(Column::LogTime), self.zone.as_ref());
        let time = time.ok_or(NotARow("log time is no time"))?;
        let audit = match audit {
            None if audit::is_audit(row.get(Column::Message)) => {
                let cut = was_cut && row.values.len() <= 14;
                Some(audit::take(row.take(Column::Message), cut).map_err(NotARow)?)
            }
            audit => audit,
        };
        let source = &self.source;
        let own = match native.query_id {
            QueryId::AtEnd(bytes) => bytes,
            QueryId::Text => 0,
        };
        let mut draft = source.draft_with_own(record, native.text, own, native.invalid);
        self.head(&mut draft, &row, &time, record);
        if native.query_id == QueryId::Text
            && let Some(value) = row.values.get_mut(Column::QueryId as usize)
        {
            draft.plain("query_info.uid", &mut value.text);
        }
        let audit = mask_row(&mut draft, &mut row, audit);
        let mut raw: Cow<'r, str> = if draft.changed {
            Cow::Owned((native.again)(&row, audit.as_ref()))
        } else {
            Cow::Borrowed(native.text)
        };
        draft.raw(&mut raw);
        let kept = || mask::own_number(&raw, source.about.log_format) == own;
        if own > 0
            && !draft.clean
            && !kept()
            && let Some(value) = row.values.get_mut(Column::QueryId as usize)
        {
            draft.plain("query_info.uid", &mut value.text);
        }
        draft.event.raw_data = draft.text(raw, RAW_MAX);
        body(&mut draft, &mut row, audit);
        Ok(draft.finish(record, &self.source.digests))
    }

    /// Metadata, times, severity: what the server writes as numbers and codes.
    fn head<'r>(&self, draft: &mut Draft<'r>, row: &Row<'r>, time: &Time, record: &Record<'_>) {
        let event = &mut draft.event;
        event.set_time(time.at);
        let session = row.get(Column::SessionId);
        let line = row.get(Column::SessionLine);
        let mut uid = self.source.digests.identity();
        let numbered = !session.is_empty() && !line.is_empty();
        if numbered {
            uid.update(session.as_bytes())
                .update(b"/")
                .update(line.as_bytes());
        } else {
            uid.update(&record.offset.to_be_bytes())
                .update(record.bytes);
        }
        // Without a session's identifier the process links its records, as long as it lives.
        let session_column = match session {
            "" => Column::ProcessId,
            _ => Column::SessionId,
        };
        let metadata = std::mem::take(&mut event.metadata);
        event.metadata = Metadata {
            log_level: row.text(Column::Severity),
            uid: Some(Text::from(uid.hex(16))),
            original_event_uid: numbered.then(|| Text::from([session, "/", line].concat())),
            correlation_uid: row.text(session_column),
            original_time: Some(row.text(Column::LogTime).unwrap_or_default()),
            ..metadata
        };
        if let Some((zone, flag)) = &time.assumed {
            event.unmapped.zone = Some(Text::from(zone.clone()));
            event.unmapped.flags.push(Text::from(*flag));
        }
        if time.offset_minutes != 0 {
            event.timezone_offset = Some(time.offset_minutes);
        }
        event.unmapped.line = line.parse().ok();
        event.severity_id = Some(severity(row.get(Column::Severity)));
        event.status_id = Some(0);
        let code = row.get(Column::SqlState);
        if code != "00000" && !code.is_empty() {
            event.status_code = row.text(Column::SqlState);
        }
        event.actor.session.uid = row.text(session_column);
        let start = row.some(Column::SessionStart);
        let start = start.and_then(|start| zone::parse(start, self.zone.as_ref()));
        event.actor.session.created_time = start.map(|t| t.at.0.div_euclid(1_000_000));
        let some = |column| row.text(column).filter(|text| *text != "0");
        event.unmapped.vxid = some(Column::Vxid);
        event.unmapped.xid = some(Column::Xid);
        event.unmapped.leader_pid = row.some(Column::LeaderPid).and_then(|t| t.parse().ok());
    }
}

/// Names, statement, class: all masked by now.
fn body<'r>(draft: &mut Draft<'r>, row: &mut Row<'r>, audit: Option<Audit<'r>>) {
    let query_id = row.text(Column::QueryId);
    draft.event.query_info.uid = query_id.filter(|text| *text != "0");
    draft.event.actor.user.name = draft.text(row.copy(Column::User), NAME_MAX);
    draft.event.actor.app_name = draft.text(row.take(Column::ApplicationName), NAME_MAX);
    draft.event.database.name = draft.text(row.take(Column::Database), NAME_MAX);
    if draft.event.database.name.is_some() {
        draft.event.database.type_id = Some(1);
    }
    draft.event.src_endpoint = endpoint(row.take(Column::ConnectionFrom));
    draft.event.unmapped.command_tag = draft.text(row.copy(Column::CommandTag), NAME_MAX);
    draft.event.unmapped.backend_type = draft.text(row.take(Column::BackendType), NAME_MAX);
    draft.event.unmapped.detail = draft.text(row.take(Column::Detail), MESSAGE_MAX);
    draft.event.unmapped.hint = draft.text(row.take(Column::Hint), MESSAGE_MAX);
    draft.event.unmapped.context = draft.text(row.take(Column::Context), MESSAGE_MAX);
    draft.event.unmapped.location = draft.text(row.take(Column::Location), NAME_MAX);
    draft.event.unmapped.internal_query = draft.text(row.take(Column::InternalQuery), MESSAGE_MAX);
    match audit {
        Some(audit) => audited(draft, row.get(Column::User), audit),
        None => logged(draft, row),
    }
    let event = &mut draft.event;
    if event.query_info.query_string.is_none() {
        event.query_info = ledger_event::QueryInfo::default();
    }
    event.place();
}

/// Masks every column that can hold free text, and pgaudit's own fields inside the message.
fn mask_row<'m>(
    draft: &mut Draft<'_>,
    row: &mut Row<'_>,
    audit: Option<Audit<'m>>,
) -> Option<Audit<'m>> {
    const PLAIN: &[(Column, &str)] = &[
        (Column::User, "actor.user.name"),
        (Column::Database, "database.name"),
        (Column::ConnectionFrom, "src_endpoint.name"),
        (Column::CommandTag, "unmapped.command_tag"),
        (Column::Detail, "unmapped.detail"),
        (Column::Hint, "unmapped.hint"),
        (Column::Context, "unmapped.context"),
        (Column::Location, "unmapped.location"),
        (Column::ApplicationName, "actor.app_name"),
        (Column::BackendType, "unmapped.backend_type"),
    ];
    for (column, path) in PLAIN {
        if let Some(value) = row.values.get_mut(*column as usize) {
            draft.plain(path, &mut value.text);
        }
    }
    let mut parameters_too = false;
    if audit.is_none()
        && let Some(value) = row.values.get_mut(Column::Message as usize)
    {
        parameters_too |= draft.plain("message", &mut value.text);
    }
    for (column, path) in [
        (Column::Query, "query_info.query_string"),
        (Column::InternalQuery, "unmapped.internal_query"),
    ] {
        if let Some(value) = row.values.get_mut(column as usize) {
            parameters_too |= draft.sql(path, &mut value.text);
        }
    }
    if parameters_too {
        // `DETAIL: parameters: $1 = '…'` of a failed statement holds the values.
        whole_detail(draft, row);
    }
    let mut audit = audit.map(|audit| mask_audit(draft, audit));
    if draft.cut {
        // The cut may have gone through a number, and what is left of it is no card number any
        // more.
        if let Some(value) = row.values.last_mut() {
            value.text = Cow::Owned(without_open_number(&value.text).to_owned());
        }
        if let Some(audit) = audit.as_mut() {
            let last = if audit.parameters.is_empty() {
                &mut audit.statement
            } else {
                &mut audit.parameters
            };
            *last = Cow::Owned(without_open_number(last).to_owned());
        }
    }
    if draft.changed
        && let Some(audit) = &audit
        && let Some(value) = row.values.get_mut(Column::Message as usize)
    {
        value.text = Cow::Owned(audit.message());
    }
    audit
}

/// Masks a detail that lists parameters.
fn whole_detail(draft: &mut Draft<'_>, row: &mut Row<'_>) {
    for (column, path) in [
        (Column::Detail, "unmapped.detail"),
        (Column::Context, "unmapped.context"),
    ] {
        let Some(value) = row.values.get_mut(column as usize) else {
            continue;
        };
        if value.text.to_ascii_lowercase().contains("parameters:") {
            let masked = mask::mask_whole(&value.text);
            if let Some(now) = draft.noted(path, masked) {
                value.text = Cow::Owned(now);
            }
        }
    }
}

fn mask_audit<'m>(draft: &mut Draft<'_>, mut audit: Audit<'m>) -> Audit<'m> {
    let parameters_too = draft.sql("query_info.query_string", &mut audit.statement);
    let none = matches!(&*audit.parameters, "<none>" | "<not logged>" | "" | MASK);
    if parameters_too && !none {
        let masked = mask::mask_whole(&audit.parameters);
        draft.noted("unmapped.parameters", masked);
        audit.parameters = Cow::Borrowed(MASK);
    } else {
        draft.plain("unmapped.parameters", &mut audit.parameters);
    }
    draft.plain("unmapped.command", &mut audit.command);
    draft.plain("unmapped.object_type", &mut audit.object_type);
    draft.plain("unmapped.object_name", &mut audit.object_name);
    audit
}
