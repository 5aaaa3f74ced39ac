//! What kind of row it is: pgaudit's, a login, the server's own life, a failed statement.
//!
//! Not here: masking (every text is masked by now), what a statement is (see `classify`).

use ledger_event::{Endpoint, Event, Text};

use super::audit::Audit;
use super::classify::{self, Command, audit_changed};
use super::row::{Column, Row};
use super::statement::SettingChange;
use crate::draft::{Draft, MESSAGE_MAX, NAME_MAX, PARAMETERS_MAX, STATEMENT_MAX};

/// A row with pgaudit's text; `by` is the account of the session.
pub(super) fn audited<'r>(draft: &mut Draft<'r>, by: &str, audit: Audit<'r>) {
    draft.event.metadata.log_name = Some(Text::from("pgaudit"));
    let parameters = draft.text(audit.parameters, PARAMETERS_MAX);
    let command = draft.text(audit.command.clone(), NAME_MAX);
    let object_type = draft.text(audit.object_type.clone(), NAME_MAX);
    let object_name = draft.text(audit.object_name.clone(), NAME_MAX);
    let event = &mut *draft.event;
    if matches!(
        &*audit.object_type,
        "TABLE" | "VIEW" | "MATERIALIZED VIEW" | "FOREIGN TABLE"
    ) {
        event.table.name.clone_from(&object_name);
    }
    let unmapped = &mut event.unmapped;
    unmapped.audit_type = Some(Text::from(audit.audit_type));
    unmapped.statement_id = Some(audit.statement_id);
    unmapped.substatement_id = Some(audit.substatement_id);
    unmapped.rows = audit.rows;
    unmapped.parameters = parameters.filter(|text| *text != "<none>");
    unmapped.command.clone_from(&command);
    unmapped.object_type = object_type;
    unmapped.object_name = object_name;
    if event.query_info.uid.is_none() {
        event.query_info.name = command;
    }
    if audit.rows.is_some() {
        // With rows logged, pgaudit writes after the statement has succeeded.
        event.status_id = Some(1);
    }
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
    event.unmapped.audit_class = Some(Text::from(audit.class));
    draft.event.query_info.query_string = draft.text(audit.statement, STATEMENT_MAX);
}

/// A row of the server's own.
pub(super) fn logged<'r>(draft: &mut Draft<'r>, row: &mut Row<'r>) {
    let message = row.take(Column::Message);
    let query = row.take(Column::Query);
    let tag = row.get(Column::CommandTag);
    let failed = matches!(row.get(Column::Severity), "ERROR" | "FATAL" | "PANIC");
    let state = row.get(Column::SqlState);
    let login_failed = matches!(state, "28P01" | "28000")
        || (state.is_empty() && failed && refuses_login(&message));
    // A form without command tags shows the command in the statement only.
    let of_statement = Some(&*query).filter(|_| tag.is_empty() && state.is_empty());
    let of_statement = of_statement.and_then(command_of);
    let tag = of_statement.as_deref().unwrap_or(tag);
    draft.event.query_info.query_string = draft.text(query, STATEMENT_MAX);
    let event = &mut *draft.event;
    if failed {
        event.status_id = Some(2);
    }
    let query = &mut event.query_info;
    if query.uid.is_none() && (!tag.is_empty() || query.query_string.is_some()) {
        let known = Some(tag)
            .filter(|tag| !tag.is_empty())
            .unwrap_or("[unknown]");
        query.name = Some(Text::from(known.chars().take(64).collect::<String>()));
    }
    if login_failed || (failed && tag == "authentication") {
        authentication(event, 1);
        event.severity_id = Some(3);
    } else if connection(event, &message) || server(event, &message) {
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
    draft.event.message = draft.text(message, MESSAGE_MAX);
}

/// Whether a message without an SQLSTATE is the server's refusal of a login.
fn refuses_login(message: &str) -> bool {
    message.contains(" authentication failed for user \"")
        || message.starts_with("no pg_hba.conf entry for ")
        || message.starts_with("pg_hba.conf rejects ")
}

/// The command tag that a statement would have, as far as classes need it.
fn command_of(statement: &str) -> Option<String> {
    let mut words = statement.split_ascii_whitespace();
    let is_word = |word: &&str| word.bytes().all(|b| b.is_ascii_alphabetic());
    let verb = words.next().filter(is_word)?.to_ascii_uppercase();
    let two = matches!(verb.as_str(), "CREATE" | "ALTER" | "DROP");
    match words.next().filter(|word| two && is_word(word)) {
        Some(kind) => Some(format!("{verb} {}", kind.to_ascii_uppercase())),
        None => Some(verb),
    }
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
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    let whole = minutes.checked_mul(60)?.checked_add(seconds)?;
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

/// OCSF severity of the server's own.
pub(super) fn severity(level: &str) -> u8 {
    match level {
        "PANIC" => 5,
        "FATAL" => 3,
        "ERROR" | "WARNING" => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_session_is_read_or_left_out() {
        assert_eq!(milliseconds("1:02:03.456"), Some(3_723_456));
        for text in [
            "",
            "1:02.3",
            "1:02:x.3",
            "9223372036854775807:00:00.000",
            "0:9223372036854775807:00.000",
            "0:00:9223372036854775807.000",
            "0:153722867280912930:9223372036854775807.0",
        ] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }
}
