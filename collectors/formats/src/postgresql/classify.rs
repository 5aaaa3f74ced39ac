//! Which OCSF class and activity a statement is.
//!
//! From pgaudit's class and the command; a row without an AUDIT text (an error) has the command
//! tag only. Not here: rows that are no statement (see `event`).

use std::borrow::Cow;
use std::cell::LazyCell;

use ledger_event::{Event, Resource, Text};

use super::statement::{Grant, SettingChange, Statement};

/// What is known about a statement, all of it masked.
pub(crate) struct Command<'m> {
    /// pgaudit's class; empty when there is no AUDIT text.
    pub(crate) class: &'m str,
    /// Such as `CREATE TABLE`.
    pub(crate) command: &'m str,
    /// The running command's tag, such as `CREATE ROLE`.
    pub(crate) object_type: &'m str,
    /// Such as `public.payment`.
    pub(crate) object_name: &'m str,
    /// The statement.
    pub(crate) text: &'m str,
    /// The account that runs it.
    pub(crate) by: &'m str,
}

/// Settings whose change can silence the audit, beside all of pgaudit's own.
const AUDIT_SETTINGS: &[&str] = &[
    "shared_preload_libraries",
    "session_preload_libraries",
    "local_preload_libraries",
    "logging_collector",
    "log_destination",
    "log_directory",
    "log_filename",
    "log_file_mode",
    "log_line_prefix",
    "log_timezone",
    "log_min_messages",
    "log_min_error_statement",
    "log_error_verbosity",
    "log_statement",
    "log_connections",
    "log_disconnections",
    "log_rotation_age",
    "log_rotation_size",
    "log_truncate_on_rotation",
    "syslog_facility",
    "syslog_ident",
    // pgaudit names the objects of definitions by event triggers, which these pass over.
    "session_replication_role",
    "event_triggers",
    // The view of all settings, which can be updated.
    "pg_settings",
];

/// What RESET names when it resets every setting.
const EVERYTHING: &str = "all";

/// How grave a change of a setting is for the audit; `None` when it is no setting of the audit.
pub(crate) fn audit_severity(setting: &str) -> Option<u8> {
    let name = setting.to_ascii_lowercase();
    if name.starts_with("pgaudit.") || name.ends_with("preload_libraries") {
        Some(4)
    } else {
        AUDIT_SETTINGS.contains(&name.as_str()).then_some(3)
    }
}

/// Sets class, activity and what the class asks for.
pub(crate) fn classify(event: &mut Event<'_>, command: &Command<'_>) {
    let name = upper(command.command);
    let verb = name.split(' ').next().unwrap_or("");
    // Most statements need not be looked at.
    let statement = LazyCell::new(|| Statement::find(command.text, command.command));
    let sets = matches!(
        &*name,
        "SET" | "RESET" | "ALTER SYSTEM" | "ALTER ROLE" | "ALTER DATABASE"
    ) || is_of_routine(&name)
        || has_set_config(command.text);
    let change = match &*name {
        "UPDATE" => updates_settings(command),
        "DO" => Statement::settings_inside(command.text)
            .into_iter()
            .find(|change| audit_severity(&change.name).is_some()),
        _ if sets => audit_setting(&name, &statement),
        _ => None,
    };
    if let Some(change) = change {
        audit_changed(event, change);
        return;
    }
    match (verb, &*name) {
        ("GRANT" | "REVOKE", _) => granted(event, command, verb == "GRANT", &statement),
        (_, "CREATE ROLE" | "CREATE USER" | "CREATE GROUP") => created(event, &statement),
        (_, "ALTER ROLE" | "ALTER USER" | "ALTER GROUP" | "ALTER ROLE SET") => {
            altered(event, command, &statement);
        }
        (_, "DROP ROLE" | "DROP USER" | "DROP GROUP") => dropped(event, &statement),
        ("CREATE" | "ALTER" | "DROP", _) if is_of_pgaudit(&name, command.text) => {
            let (activity, severity) = match verb {
                "CREATE" => (6, 3),
                "DROP" => (7, 4),
                _ => (8, 4),
            };
            event.classify(6002, activity);
            event.severity_id = Some(severity);
            app(event);
        }
        _ => data_or_definition(event, command, verb, &name, &|| &*statement),
    }
}

/// pgaudit's extension, or one of the event triggers that tell it what a definition names.
fn is_of_pgaudit(name: &str, text: &str) -> bool {
    let kind = name.ends_with(" EXTENSION") || name.ends_with(" EVENT TRIGGER");
    kind && text.to_ascii_lowercase().contains("pgaudit")
}

/// A function can change settings while it runs, which no record tells.
fn is_of_routine(name: &str) -> bool {
    ["FUNCTION", "PROCEDURE", "ROUTINE"].iter().any(|kind| {
        let verb = name.strip_suffix(kind).map(str::trim_end);
        matches!(verb, Some("CREATE" | "ALTER"))
    })
}

/// An update of the view of all settings changes them for the session.
fn updates_settings(command: &Command<'_>) -> Option<SettingChange> {
    let view = command.object_name == "pg_catalog.pg_settings"
        || command.text.to_ascii_lowercase().contains("pg_settings");
    view.then(|| SettingChange {
        name: "pg_settings".to_owned(),
        value: None,
    })
}

/// The change of a setting of the audit, if the statement is one. RESET ALL of a server, a database
/// or a role takes the audit's settings with it; in a session it brings back what is configured,
/// as poolers do all day.
fn audit_setting(command: &str, statement: &Statement<'_>) -> Option<SettingChange> {
    let change = statement.setting()?;
    let all = change.value.is_none() && change.name.eq_ignore_ascii_case(EVERYTHING);
    let audit = audit_severity(&change.name).is_some();
    (audit || (all && command.starts_with("ALTER"))).then_some(change)
}

fn has_set_config(text: &str) -> bool {
    const NAME: &str = "set_config";
    memchr::memchr_iter(b'_', text.as_bytes()).any(|at| {
        let start = at.wrapping_sub(3);
        let here = text.as_bytes().get(start..start.wrapping_add(NAME.len()));
        here.is_some_and(|here| here.eq_ignore_ascii_case(NAME.as_bytes()))
    })
}

/// In upper case; the server writes tags so already.
fn upper(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        Cow::Owned(text.to_ascii_uppercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// 6002/8: the audit or the log is set differently.
pub(crate) fn audit_changed(event: &mut Event<'_>, change: SettingChange) {
    event.classify(6002, 8);
    let all = change.value.is_none() && change.name.eq_ignore_ascii_case(EVERYTHING);
    let severity = if all {
        Some(3)
    } else {
        audit_severity(&change.name)
    };
    event.severity_id = severity.or(Some(1));
    if change.name.eq_ignore_ascii_case("pgaudit.role") {
        // A role is no fact: its pseudonym is.
        event.unmapped.target_names = change.value.map(Text::from).into_iter().collect();
    } else {
        event.unmapped.setting_value = change.value.map(Text::from);
    }
    event.unmapped.setting = Some(Text::from(change.name));
    app(event);
}

/// 6002 is about an application: the server.
pub(crate) fn app(event: &mut Event<'_>) {
    event.app.name = Some(Text::from("PostgreSQL"));
}

fn data_or_definition<'s, 't: 's>(
    event: &mut Event<'_>,
    command: &Command<'_>,
    verb: &str,
    name: &str,
    statement: &dyn Fn() -> &'s Statement<'t>,
) {
    let activity = match (command.class, verb) {
        (_, "ALTER") if name == "ALTER SYSTEM" => {
            let setting = statement().setting().map(|change| change.name);
            entity(
                event,
                3,
                "SETTING",
                setting.as_deref().unwrap_or("[unknown]"),
            );
            return;
        }
        ("READ", _) | ("", "SELECT" | "TABLE" | "VALUES" | "DECLARE") => 1,
        ("" | "WRITE", "INSERT") => 5,
        ("" | "WRITE", "COPY") => {
            let from =
                statement().has("from") && (!command.class.is_empty() || !statement().has("to"));
            if from { 5 } else { 1 }
        }
        ("" | "WRITE", "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE") | ("WRITE", _) => 2,
        ("DDL", _) | ("", "CREATE" | "ALTER" | "DROP" | "COMMENT" | "SECURITY" | "IMPORT") => {
            definition(event, command, verb, name, statement());
            return;
        }
        _ => 4,
    };
    event.classify(6005, activity);
    event.type_id = Some(if event.table.name.is_some() { 3 } else { 1 });
}

/// 3004: an object is created, changed or dropped.
fn definition(
    event: &mut Event<'_>,
    command: &Command<'_>,
    verb: &str,
    name: &str,
    statement: &Statement<'_>,
) {
    let activity = match verb {
        "CREATE" | "SELECT" | "IMPORT" => 1,
        "DROP" => 4,
        _ => 3,
    };
    let kind = if command.object_type.is_empty() {
        name.split_once(' ').map_or(name, |(_, kind)| kind)
    } else {
        command.object_type
    };
    let found: Cow<'_, str> = if command.object_name.is_empty() {
        statement
            .object(kind)
            .map_or(Cow::Borrowed("[unknown]"), Cow::Owned)
    } else {
        Cow::Borrowed(command.object_name)
    };
    entity(event, activity, kind, &found);
}

fn entity(event: &mut Event<'_>, activity: u16, kind: &str, name: &str) {
    event.classify(3004, activity);
    event.entity.r#type = Some(Text::from(kind.to_owned()));
    event.entity.name = Some(Text::from(name.to_owned()));
}

/// The first account is OCSF's `user`, the others stand beside it.
fn users(event: &mut Event<'_>, accounts: Vec<String>) {
    let mut accounts = accounts.into_iter();
    event.user.name = Some(Text::from(
        accounts.next().unwrap_or_else(|| "[unknown]".to_owned()),
    ));
    event.unmapped.target_names = accounts.map(Text::from).collect();
}

/// A role that can log in is an account; one that cannot is a group.
fn created(event: &mut Event<'_>, statement: &Statement<'_>) {
    let logs_in = statement.has("user") || statement.has("login") || statement.has("password");
    if logs_in && !statement.has("nologin") {
        event.classify(3001, 1);
        users(event, statement.accounts());
    } else {
        event.classify(3006, 6);
        group(event, statement.accounts());
    }
}

fn group(event: &mut Event<'_>, roles: Vec<String>) {
    let mut roles = roles.into_iter();
    event.group.name = Some(Text::from(
        roles.next().unwrap_or_else(|| "[unknown]".to_owned()),
    ));
    event.group.r#type = Some(Text::from("role"));
    event.unmapped.target_names = roles.map(Text::from).collect();
}

fn altered(event: &mut Event<'_>, command: &Command<'_>, statement: &Statement<'_>) {
    let accounts = statement.accounts();
    if statement.has("group") && (statement.has("add") || statement.has("drop")) {
        event.classify(3006, if statement.has("add") { 3 } else { 4 });
        group(event, accounts);
        return;
    }
    let own = accounts
        .first()
        .is_some_and(|name| name.eq_ignore_ascii_case(command.by));
    let activity = if statement.has("password") {
        if own { 3 } else { 4 }
    } else if statement.has("nologin") {
        5
    } else if statement.has("login") {
        2
    } else {
        99
    };
    event.classify(3001, activity);
    if activity == 99 {
        event.activity_name = Some(Text::from("Alter"));
    }
    users(event, accounts);
}

/// Any role may have been an account, so that dropping one is never missed as such.
fn dropped(event: &mut Event<'_>, statement: &Statement<'_>) {
    event.classify(3001, 6);
    users(event, statement.accounts());
}

fn granted(event: &mut Event<'_>, command: &Command<'_>, gives: bool, statement: &Statement<'_>) {
    let grant = statement.grant().unwrap_or_default();
    let membership = grant.objects.is_empty() && command.object_type.is_empty();
    if membership && !grant.given.is_empty() {
        event.classify(3006, if gives { 3 } else { 4 });
        let mut roles = grant.given.into_iter();
        event.group.name = roles.next().map(Text::from);
        event.group.r#type = Some(Text::from("role"));
        let mut members = grant.accounts.into_iter();
        event.user.name = members.next().map(Text::from);
        event.unmapped.target_names = members.chain(roles).map(Text::from).collect();
        return;
    }
    event.classify(3005, if gives { 1 } else { 2 });
    let Grant {
        given,
        objects,
        object_type,
        accounts,
    } = grant;
    event.privileges = if given.is_empty() {
        vec![Text::from("[unknown]")]
    } else {
        given
            .into_iter()
            .map(|word| Text::from(word.to_ascii_uppercase()))
            .collect()
    };
    let kind =
        object_type.or_else(|| Some(command.object_type.to_owned()).filter(|k| !k.is_empty()));
    event.resources = objects
        .into_iter()
        .map(|name| Resource {
            name: Some(Text::from(name)),
            r#type: kind.clone().map(Text::from),
            ..Resource::default()
        })
        .collect();
    users(event, accounts);
}
