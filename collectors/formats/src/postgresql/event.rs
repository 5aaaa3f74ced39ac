//! A row of csvlog as an event: masked first, then classified.
//!
//! Not here: the stream of bytes, the rules of masking.

use std::borrow::Cow;
use std::net::IpAddr;

use ledger_core::Nanos;
use ledger_event::{Endpoint, Event, Metadata, OCSF_VERSION, Text};

use super::audit::{self, Audit};
use super::classify::{self, Command, audit_changed};
use super::row::{Column, NotARow, Row};
use super::statement::SettingChange;
use super::zone::{self, Time, Zone};
use crate::csv;
use crate::format::FormatKeys;
use crate::mask::{self, Dialect, MASK, MaskOptions, Masked};
use crate::text::{Digest, cut, without_open_number};

/// Limits of single texts in their JSON form, in bytes; together they stay under the event's bound.
const STATEMENT_MAX: usize = 128 * 1024;
const RAW_MAX: usize = 224 * 1024;
const PARAMETERS_MAX: usize = 48 * 1024;
const MESSAGE_MAX: usize = 16 * 1024;
const NAME_MAX: usize = 2 * 1024;

/// What a record is read with.
pub(crate) struct Reader {
    pub(crate) zone: Option<Zone>,
    pub(crate) mask: MaskOptions,
    pub(crate) keys: FormatKeys,
}

/// One native record: its bytes without the line end, and what is known when it was cut.
pub(crate) struct Record<'i> {
    /// The bytes; the first of them when the record was cut.
    pub(crate) bytes: &'i [u8],
    /// Size and keyed digest of the whole, when it was cut.
    pub(crate) whole: Option<(u64, Digest)>,
    /// Offset in the native stream.
    pub(crate) offset: u64,
}

/// An event while it is made: masking notes what it did.
struct Draft {
    event: Event<'static>,
    mask: MaskOptions,
    changed: bool,
    cut: bool,
}

impl Draft {
    /// Notes what was masked; the text to go on with when something was.
    fn noted(&mut self, path: &'static str, masked: Masked<'_>) -> Option<String> {
        for redaction in &masked.redactions {
            mask::note(&mut self.event, path, *redaction);
        }
        if masked.redactions.is_empty() {
            return None;
        }
        self.changed = true;
        Some(masked.text.into_owned())
    }

    /// Masks a text that is no statement, in place; whether parameters beside it must go.
    fn plain(&mut self, path: &'static str, text: &mut Cow<'_, str>) -> bool {
        let masked = mask::mask_plain(text, Dialect::PostgreSql, self.mask);
        let parameters_too = masked.parameters_too;
        if let Some(now) = self.noted(path, masked) {
            *text = Cow::Owned(now);
        }
        parameters_too
    }

    /// Masks a statement, in place; whether its parameters must go.
    fn sql(&mut self, path: &'static str, text: &mut Cow<'_, str>) -> bool {
        let masked = mask::mask_sql(text, Dialect::PostgreSql, self.mask);
        let parameters_too = masked.parameters_too;
        if let Some(now) = self.noted(path, masked) {
            *text = Cow::Owned(now);
        }
        parameters_too
    }

    /// A text of the event, cut at its limit; none when it is empty.
    fn text(&mut self, text: &str, budget: usize) -> Option<Text<'static>> {
        if text.is_empty() {
            return None;
        }
        let mut now = Cow::Borrowed(text);
        self.cut |= cut(&mut now, budget);
        Some(Text::from(now.into_owned()))
    }
}

impl Reader {
    /// The event of a record, or why the record is no row. It owns its texts.
    pub(crate) fn event<'i>(
        &self,
        record: Record<'i>,
    ) -> Result<Box<Event<'static>>, Box<(NotARow, Record<'i>)>> {
        let was_cut = record.whole.is_some();
        let mut row = match Row::read(record.bytes, was_cut) {
            Ok(row) => row,
            Err(reason) => return Err(Box::new((reason, record))),
        };
        let Some(time) = zone::parse(row.get(Column::LogTime), self.zone.as_ref()) else {
            return Err(Box::new((NotARow("log time is no time"), record)));
        };
        let message = row.get(Column::Message).to_owned();
        let audit = if audit::is_audit(&message) {
            match audit::read(&message, was_cut && row.values.len() <= 14) {
                Ok(audit) => Some(audit),
                Err(reason) => return Err(Box::new((NotARow(reason), record))),
            }
        } else {
            None
        };
        let event = Event::default();
        let mut draft = Draft {
            event,
            mask: self.mask,
            changed: was_cut,
            cut: was_cut,
        };
        self.head(&mut draft, &row, &time);
        let audit = mask_row(&mut draft, &mut row, audit);
        self.body(&mut draft, &row, audit);
        self.tail(&mut draft, &row, record);
        Ok(Box::new(draft.event))
    }

    /// Metadata, times, severity: what the server writes as numbers and codes.
    fn head(&self, draft: &mut Draft, row: &Row<'_>, time: &Time) {
        let event = &mut draft.event;
        event.set_time(time.at);
        let session = row.get(Column::SessionId);
        let line = row.get(Column::SessionLine);
        let mut uid = Digest::of_identity(&self.keys);
        uid.update(session.as_bytes())
            .update(b"/")
            .update(line.as_bytes());
        event.metadata = Metadata {
            version: Some(Text::from(OCSF_VERSION)),
            log_format: Some(Text::from("csvlog")),
            log_level: Some(Text::from(row.get(Column::Severity).to_owned())),
            uid: Some(Text::from(uid.hex(16))),
            original_event_uid: Some(Text::from(format!("{session}/{line}"))),
            correlation_uid: Some(Text::from(session.to_owned())),
            original_time: Some(Text::from(row.get(Column::LogTime).to_owned())),
            ..Metadata::default()
        };
        event.metadata.product.name = Some(Text::from("PostgreSQL"));
        if let Some((zone, flag)) = &time.assumed {
            event.unmapped.zone = Some(Text::from(zone.clone()));
            event.unmapped.flags.push(Text::from(*flag));
        }
        if time.offset_minutes != 0 {
            event.timezone_offset = Some(time.offset_minutes);
        }
        if row.invalid_utf8 {
            event.unmapped.flags.push(Text::from("invalid-utf8"));
        }
        if row.values.iter().any(|value| value.text.contains('\0')) {
            event.unmapped.flags.push(Text::from("nul"));
        }
        event.unmapped.grade = Some(Text::from("A"));
        event.unmapped.line = line.parse().ok();
        event.severity_id = Some(severity(row.get(Column::Severity)));
        event.status_id = Some(0);
        let code = row.get(Column::SqlState);
        if code != "00000" {
            event.status_code = Some(Text::from(code.to_owned()));
        }
        event.actor.session.uid = Some(Text::from(session.to_owned()));
        let start = row.some(Column::SessionStart);
        let start = start.and_then(|start| zone::parse(start, self.zone.as_ref()));
        event.actor.session.created_time = start.map(|t| t.at.0.div_euclid(1_000_000));
        let some = |column| {
            row.some(column)
                .filter(|t| *t != "0")
                .map(|t| Text::from(t.to_owned()))
        };
        event.unmapped.vxid = some(Column::Vxid);
        event.unmapped.xid = some(Column::Xid);
        event.unmapped.leader_pid = row.some(Column::LeaderPid).and_then(|t| t.parse().ok());
        event.query_info.uid = some(Column::QueryId);
    }

    /// Names, statement, class: all masked by now.
    fn body(&self, draft: &mut Draft, row: &Row<'_>, audit: Option<Audit<'_>>) {
        draft.event.actor.user.name = draft.text(row.get(Column::User), NAME_MAX);
        draft.event.actor.app_name = draft.text(row.get(Column::ApplicationName), NAME_MAX);
        draft.event.database.name = draft.text(row.get(Column::Database), NAME_MAX);
        if draft.event.database.name.is_some() {
            draft.event.database.type_id = Some(1);
        }
        draft.event.src_endpoint = endpoint(row.get(Column::ConnectionFrom));
        draft.event.unmapped.command_tag = draft.text(row.get(Column::CommandTag), NAME_MAX);
        draft.event.unmapped.backend_type = draft.text(row.get(Column::BackendType), NAME_MAX);
        draft.event.unmapped.detail = draft.text(row.get(Column::Detail), MESSAGE_MAX);
        draft.event.unmapped.hint = draft.text(row.get(Column::Hint), MESSAGE_MAX);
        draft.event.unmapped.context = draft.text(row.get(Column::Context), MESSAGE_MAX);
        draft.event.unmapped.location = draft.text(row.get(Column::Location), NAME_MAX);
        draft.event.unmapped.internal_query =
            draft.text(row.get(Column::InternalQuery), MESSAGE_MAX);
        match audit {
            Some(audit) => audited(draft, row, &audit),
            None => logged(draft, row),
        }
        let event = &mut draft.event;
        if event.query_info.query_string.is_none() {
            event.query_info = ledger_event::QueryInfo::default();
        }
        event.place();
    }

    /// The native record, masked, and what says how it differs from the original.
    fn tail(&self, draft: &mut Draft, row: &Row<'_>, record: Record<'_>) {
        let mut raw: Cow<'_, str> = if draft.changed {
            let mut joined = String::with_capacity(record.bytes.len());
            csv::join(row.values.iter().map(|v| (&*v.text, v.quoted)), &mut joined);
            Cow::Owned(joined)
        } else {
            crate::text::lossless(record.bytes).0
        };
        draft.plain("raw_data", &mut raw);
        draft.event.raw_data = draft.text(&raw, RAW_MAX);
        finish(draft, record, &self.keys);
    }

    /// The event of bytes that are no row.
    pub(crate) fn unparsed(&self, record: Record<'_>, reason: NotARow) -> Event<'static> {
        let event = Event::default();
        let was_cut = record.whole.is_some();
        let mut draft = Draft {
            event,
            mask: self.mask,
            changed: true,
            cut: was_cut,
        };
        draft.event.classify(0, 0);
        draft.event.severity_id = Some(3);
        draft.event.status_id = Some(2);
        let (text, invalid) = crate::text::lossless(record.bytes);
        let head = text.split(',').next().unwrap_or("");
        let time = zone::parse(head, self.zone.as_ref());
        draft
            .event
            .set_time(time.as_ref().map_or(Nanos(0), |time| time.at));
        let mut flag = |name: &'static str, on: bool| {
            if on {
                draft.event.unmapped.flags.push(Text::from(name));
            }
        };
        flag("no-time", time.is_none());
        flag("invalid-utf8", invalid);
        flag("nul", text.contains('\0'));
        let mut uid = Digest::of_identity(&self.keys);
        uid.update(&record.offset.to_be_bytes())
            .update(record.bytes);
        draft.event.metadata = Metadata {
            version: Some(Text::from(OCSF_VERSION)),
            log_format: Some(Text::from("csvlog")),
            uid: Some(Text::from(uid.hex(16))),
            ..Metadata::default()
        };
        draft.event.metadata.product.name = Some(Text::from("PostgreSQL"));
        draft.event.unmapped.grade = Some(Text::from("A"));
        draft.event.unmapped.unparsed = Some(Text::from(reason.0));
        let mut raw = text;
        draft.plain("raw_data", &mut raw);
        if was_cut {
            raw = Cow::Owned(without_open_number(&raw).to_owned());
        }
        draft.event.raw_data = draft.text(&raw, RAW_MAX);
        finish(&mut draft, record, &self.keys);
        draft.event
    }
}

/// Size, digest and marks of what was changed.
fn finish(draft: &mut Draft, record: Record<'_>, keys: &FormatKeys) {
    let (size, digest) = record.whole.unwrap_or_else(|| {
        let mut digest = Digest::of_raw(keys);
        if draft.changed || draft.cut {
            digest.update(record.bytes);
        }
        (
            u64::try_from(record.bytes.len()).unwrap_or(u64::MAX),
            digest,
        )
    });
    draft.event.raw_data_size = Some(size);
    if draft.changed || draft.cut {
        draft.event.raw_data_hash = digest.fingerprint();
    }
    if draft.cut {
        draft.event.metadata.is_truncated = Some(true);
        draft.event.metadata.untruncated_size = Some(size);
    }
}

/// Masks every column that can hold free text, and pgaudit's own fields inside the message.
fn mask_row<'m>(
    draft: &mut Draft,
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
        // The cut may have gone through a number, and what is left of it is no card number any more.
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
fn whole_detail(draft: &mut Draft, row: &mut Row<'_>) {
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

fn mask_audit<'m>(draft: &mut Draft, mut audit: Audit<'m>) -> Audit<'m> {
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

/// A row with pgaudit's text.
fn audited(draft: &mut Draft, row: &Row<'_>, audit: &Audit<'_>) {
    draft.event.metadata.log_name = Some(Text::from("pgaudit"));
    let statement = draft.text(&audit.statement, STATEMENT_MAX);
    let parameters = draft.text(&audit.parameters, PARAMETERS_MAX);
    let command = draft.text(&audit.command, NAME_MAX);
    let object_type = draft.text(&audit.object_type, NAME_MAX);
    let object_name = draft.text(&audit.object_name, NAME_MAX);
    let event = &mut draft.event;
    if matches!(
        &*audit.object_type,
        "TABLE" | "VIEW" | "MATERIALIZED VIEW" | "FOREIGN TABLE"
    ) {
        event.table.name.clone_from(&object_name);
    }
    let unmapped = &mut event.unmapped;
    unmapped.audit_type = Some(Text::from(audit.audit_type.clone().into_owned()));
    unmapped.audit_class = Some(Text::from(audit.class.clone().into_owned()));
    unmapped.statement_id = Some(audit.statement_id);
    unmapped.substatement_id = Some(audit.substatement_id);
    unmapped.rows = audit.rows;
    unmapped.parameters = parameters.filter(|text| *text != "<none>");
    unmapped.command.clone_from(&command);
    unmapped.object_type = object_type;
    unmapped.object_name = object_name;
    event.query_info.query_string = statement;
    if event.query_info.uid.is_none() {
        event.query_info.name = command;
    }
    if audit.rows.is_some() {
        // With rows logged, pgaudit writes after the statement has succeeded.
        event.status_id = Some(1);
    }
    let by = row.get(Column::User);
    let command = Command {
        class: &audit.class,
        command: &audit.command,
        object_type: &audit.object_type,
        object_name: &audit.object_name,
        text: &audit.statement,
        by,
    };
    classify::classify(event, &command);
    complete(event);
}

/// A row of the server's own.
fn logged(draft: &mut Draft, row: &Row<'_>) {
    let message = row.get(Column::Message);
    draft.event.message = draft.text(message, MESSAGE_MAX);
    draft.event.query_info.query_string = draft.text(row.get(Column::Query), STATEMENT_MAX);
    let tag = row.get(Column::CommandTag);
    if draft.event.query_info.uid.is_none() && !tag.is_empty() {
        draft
            .event
            .query_info
            .name
            .clone_from(&draft.event.unmapped.command_tag);
    }
    let event = &mut draft.event;
    let failed = matches!(row.get(Column::Severity), "ERROR" | "FATAL" | "PANIC");
    if failed {
        event.status_id = Some(2);
    }
    let login_failed = matches!(row.get(Column::SqlState), "28P01" | "28000");
    if login_failed || (failed && tag == "authentication") {
        authentication(event, 1);
        event.severity_id = Some(3);
    } else if connection(event, message) || server(event, message) {
    } else if failed && !tag.is_empty() && row.some(Column::User).is_some() {
        let text = event.query_info.query_string.clone().unwrap_or_default();
        let by = row.get(Column::User);
        let command = Command {
            class: "",
            command: tag,
            object_type: "",
            object_name: "",
            text: &text,
            by,
        };
        classify::classify(event, &command);
    } else if row.some(Column::User).is_some() {
        event.classify(6005, 4);
        event.type_id = Some(1);
    } else {
        other(event);
    }
    complete(event);
}

/// The rows of `log_connections` and `log_disconnections`.
fn connection(event: &mut Event<'_>, message: &str) -> bool {
    if message.starts_with("connection received: ") {
        authentication(event, 99);
        event.activity_name = Some(Text::from("Connection received"));
    } else if let Some(rest) = message.strip_prefix("connection authenticated: ") {
        authentication(event, 99);
        event.activity_name = Some(Text::from("Authenticated"));
        event.status_id = Some(1);
        let method = rest
            .rsplit_once(" method=")
            .and_then(|(_, m)| m.split(' ').next());
        event.auth_protocol_id = method.map(|_| 99);
        event.auth_protocol = method.map(|m| Text::from(m.to_owned()));
        let identity = rest
            .strip_prefix("identity=\"")
            .and_then(|rest| rest.rsplit_once("\" method="));
        let identity = identity.map(|(identity, _)| identity.to_owned());
        let same = identity.as_deref() == event.user.name.as_deref();
        event.unmapped.identity = identity.filter(|_| !same).map(Text::from);
    } else if message.starts_with("connection authorized: ")
        || message.starts_with("replication connection authorized: ")
    {
        authentication(event, 1);
        event.status_id = Some(1);
    } else if message.starts_with("disconnection: session time: ") {
        authentication(event, 2);
        event.status_id = Some(1);
        event.duration = message.split(' ').nth(3).and_then(milliseconds);
    } else {
        return false;
    }
    true
}

/// `H:MM:SS.mmm` in milliseconds.
fn milliseconds(time: &str) -> Option<i64> {
    let (clock, fraction) = time.split_once('.')?;
    let mut parts = clock.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let whole = hours
        .checked_mul(3600)?
        .checked_add(minutes * 60 + seconds)?;
    whole.checked_mul(1000)?.checked_add(fraction.parse().ok()?)
}

/// 3002: the account is the one that acts.
fn authentication(event: &mut Event<'_>, activity: u16) {
    event.classify(3002, activity);
    event.user = event.actor.user.clone();
    if event.user.name.is_none() {
        // PostgreSQL's own word for a user that is not known yet.
        event.user.name = Some(Text::from("[unknown]"));
    }
    event.session = std::mem::take(&mut event.actor.session);
    event.actor.user = ledger_event::User::default();
    event.service.name = Some(Text::from("postgresql"));
    event.is_remote = Some(event.src_endpoint.name.is_none());
}

/// Rows of the server's life.
fn server(event: &mut Event<'_>, message: &str) -> bool {
    const STARTS: &[&str] = &["starting PostgreSQL ", "database system is ready to accept"];
    const STOPS: &[&str] = &[
        "received smart shutdown request",
        "received fast shutdown request",
        "received immediate shutdown request",
        "shutting down",
        "database system is shut down",
    ];
    let begins = |list: &[&str]| list.iter().any(|text| message.starts_with(text));
    if begins(STARTS) || begins(STOPS) {
        event.classify(6002, if begins(STARTS) { 3 } else { 4 });
        event.severity_id = Some(if begins(STOPS) { 3 } else { 2 });
        classify::app(event);
        let version = message.strip_prefix("starting PostgreSQL ");
        let version = version.and_then(|rest| rest.split(' ').next());
        event.app.version = version.map(|version| Text::from(version.to_owned()));
    } else if message.starts_with("received SIGHUP") {
        event.classify(6002, 8);
        event.severity_id = Some(2);
        classify::app(event);
    } else if let Some((name, value)) = changed_parameter(message) {
        let audit = classify::audit_severity(name).is_some();
        let value = value.filter(|_| audit).map(str::to_owned);
        audit_changed(
            event,
            SettingChange {
                name: name.to_owned(),
                value,
            },
        );
    } else {
        return false;
    }
    true
}

/// `parameter "x" changed to "y"`, or `removed from configuration file, reset to default`.
fn changed_parameter(message: &str) -> Option<(&str, Option<&str>)> {
    let (name, rest) = message.strip_prefix("parameter \"")?.split_once("\" ")?;
    let value = rest
        .strip_prefix("changed to \"")
        .and_then(|rest| rest.strip_suffix('"'));
    (value.is_some() || rest.starts_with("removed from") || rest.starts_with("cannot be changed"))
        .then_some((name, value))
}

fn other(event: &mut Event<'_>) {
    event.classify(6002, 99);
    event.activity_name = Some(Text::from("Log"));
    classify::app(event);
}

/// 6005 needs an actor, a client and a database: a row without them is the server's own.
fn complete(event: &mut Event<'_>) {
    let empty = event.src_endpoint == Endpoint::default() || event.database.name.is_none();
    if event.class_uid == Some(6005) && empty {
        event.type_id = None;
        other(event);
    }
}

/// The client from `host:port` or `[local]`.
fn endpoint(from: &str) -> Endpoint<'static> {
    let mut endpoint = Endpoint::default();
    let (host, port) = match from.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, port.parse().ok()),
        _ => (from, None),
    };
    endpoint.port = port;
    let text = Some(Text::from(host.to_owned())).filter(|text| !text.is_empty());
    if host.parse::<IpAddr>().is_ok() {
        endpoint.ip = text;
    } else if host.starts_with('[') {
        endpoint.name = text;
    } else {
        endpoint.hostname = text;
    }
    endpoint
}

/// OCSF severity of the server's own.
fn severity(level: &str) -> u8 {
    match level {
        "PANIC" => 5,
        "FATAL" => 3,
        "ERROR" | "WARNING" => 2,
        _ => 1,
    }
}
