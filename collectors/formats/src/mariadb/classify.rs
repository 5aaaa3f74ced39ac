//! Which OCSF class and activity a line of server_audit is.
//!
//! Table accesses say it themselves; statements are read by their first words and by the names that
//! rules ask for: accounts, roles, privileges, settings. What is not found stays unknown. Not here:
//! masking (every text is masked by now).

use std::cell::LazyCell;

use ledger_event::{Event, Resource, Text, User};

use super::line::{Line, Operation};
use super::statement::Statement;

/// The server's codes for a lack of rights or a refused login.
const DENIED: &[u32] = &[1044, 1045, 1142, 1143, 1227, 1370, 1410, 1698, 1873];

/// Sets class, activity and what the class asks for. `object` is the table of a table access.
pub(crate) fn classify<'l>(event: &mut Event<'l>, line: &Line<'_>, object: Option<Text<'l>>) {
    if line.retcode.is_some_and(|code| DENIED.contains(&code)) {
        event.severity_id = Some(2);
    }
    match line.operation {
        Operation::Connect | Operation::FailedConnect => {
            authentication(event, 1);
            if line.operation == Operation::FailedConnect {
                event.status_id = Some(2);
                event.severity_id = Some(3);
            }
        }
        Operation::Disconnect => authentication(event, 2),
        Operation::Query => statement(event, line),
        Operation::Read => table(event, 1, object),
        Operation::Write => table(event, 5, object),
        Operation::Create => definition(event, 1, "TABLE", object),
        Operation::Alter | Operation::Rename => definition(event, 3, "TABLE", object),
        Operation::Drop => definition(event, 4, "TABLE", object),
    }
}

/// 3002: the account is the one that acts.
fn authentication(event: &mut Event<'_>, activity: u16) {
    event.classify(3002, activity);
    event.user = std::mem::take(&mut event.actor.user);
    if event.user.name.is_none() {
        event.user.name = Some(Text::from("[unknown]"));
    }
    event.session = std::mem::take(&mut event.actor.session);
    event.service.name = Some(Text::from("mariadb"));
    // `localhost` is the local socket or a loopback address: the log does not tell them apart.
    let local = event.src_endpoint.hostname.as_deref() == Some("localhost");
    event.is_remote = Some(!local);
}

fn table<'l>(event: &mut Event<'l>, activity: u16, object: Option<Text<'l>>) {
    event.table.name.clone_from(&object);
    event.unmapped.object_type = Some(Text::from("TABLE"));
    event.unmapped.object_name = object;
    data(event, activity);
}

/// 6005, which needs a database, a client and a name of the query.
fn data(event: &mut Event<'_>, activity: u16) {
    event.classify(6005, activity);
    event.type_id = Some(if event.table.name.is_some() { 3 } else { 1 });
    if event.database.name.is_none() {
        event.database.name = Some(Text::from("[none]"));
        event.database.type_id = Some(1);
    }
    if event.actor.user.name.is_none() {
        event.actor.user.name = Some(Text::from("[unknown]"));
    }
    if event.src_endpoint == ledger_event::Endpoint::default() {
        event.src_endpoint.name = Some(Text::from("[unknown]"));
    }
}

/// 3004: an object is created, changed or dropped.
fn definition<'l>(
    event: &mut Event<'l>,
    activity: u16,
    kind: &str,
    name: Option<impl Into<Text<'l>>>,
) {
    event.classify(3004, activity);
    event.entity.r#type = Some(Text::from(kind.to_owned()));
    event.entity.name = Some(name.map_or(Text::from("[unknown]"), Into::into));
}

/// 6002 is about an application: the server.
fn application(event: &mut Event<'_>, activity: u16, severity: u8) {
    event.classify(6002, activity);
    event.severity_id = Some(severity);
    event.app.name = Some(Text::from("MariaDB"));
}

fn statement(event: &mut Event<'_>, line: &Line<'_>) {
    let command = Statement::command_of(&line.object);
    // Most statements need not be read any further.
    let statement = LazyCell::new(|| Statement::read(&line.object));
    event.query_info.name = Some(Text::from(command.clone()));
    event.unmapped.command = Some(Text::from(command.clone()));
    let verb = command.split(' ').next().unwrap_or("");
    match (verb, &*command) {
        (_, "CREATE USER" | "ALTER USER" | "DROP USER" | "RENAME USER" | "SET PASSWORD") => {
            account(event, line, &command, &statement);
        }
        (_, "CREATE ROLE" | "DROP ROLE") => {
            event.classify(3006, if verb == "CREATE" { 6 } else { 5 });
            group(event, statement.accounts_behind("role"));
        }
        ("GRANT" | "REVOKE", _) => granted(event, verb == "GRANT", &statement),
        ("INSTALL" | "UNINSTALL", _) if has_word(&line.object, "server_audit") => {
            let activity = if verb == "INSTALL" { 6 } else { 7 };
            application(event, activity, if verb == "INSTALL" { 3 } else { 4 });
        }
        ("SET", _) => setting(event, &statement),
        ("SHUTDOWN", _) => application(event, 4, 3),
        ("SELECT" | "TABLE" | "VALUES" | "WITH" | "HANDLER", _) => {
            data(event, 1);
            if writes_file(&line.object) {
                event.severity_id = Some(3);
            }
        }
        ("INSERT" | "REPLACE" | "LOAD", _) => data(event, 5),
        ("UPDATE" | "DELETE" | "TRUNCATE", _) => data(event, 2),
        ("USE", _) => data(event, 3),
        ("SHOW", _) => data(event, 8),
        ("CREATE" | "ALTER" | "DROP" | "RENAME" | "INSTALL" | "UNINSTALL" | "CHANGE", _) => {
            let activity = match verb {
                "CREATE" | "INSTALL" => 1,
                "DROP" | "UNINSTALL" => 4,
                _ => 3,
            };
            let kind = command
                .split_once(' ')
                .map_or("[unknown]", |(_, kind)| kind);
            definition(event, activity, kind, statement.object(kind));
        }
        // A statement within a text, or in a compound one.
        _ if has_word(&line.object, "server_audit_") => application(event, 8, 4),
        _ => data(event, 4),
    }
}

/// Whether a text has the word OUTFILE or DUMPFILE, by the letter of them that fewest words have.
fn writes_file(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr2_iter(b'f', b'F', bytes).any(|at| {
        let ends_at = |word: &str| {
            let start = at.wrapping_add(4).wrapping_sub(word.len());
            let here = bytes.get(start..start.wrapping_add(word.len()));
            here.is_some_and(|here| here.eq_ignore_ascii_case(word.as_bytes()))
        };
        ends_at("outfile") || ends_at("dumpfile")
    })
}

/// Whether a word occurs in a text, in any case of letters: cheaper than reading it.
fn has_word(text: &str, word: &str) -> bool {
    let (lower, upper) = match word.as_bytes().first() {
        Some(first) => (*first, first.to_ascii_uppercase()),
        None => return true,
    };
    memchr::memchr2_iter(lower, upper, text.as_bytes()).any(|at| {
        let here = text.as_bytes().get(at..at + word.len());
        here.is_some_and(|here| here.eq_ignore_ascii_case(word.as_bytes()))
    })
}

/// 3001: an account is created, changed or dropped.
fn account(event: &mut Event<'_>, line: &Line<'_>, command: &str, statement: &Statement<'_>) {
    let accounts = if command == "SET PASSWORD" {
        let behind = statement.accounts_behind("for");
        if behind.is_empty() {
            vec![line.username.clone().into_owned()]
        } else {
            behind
        }
    } else {
        statement.accounts_behind("user")
    };
    let own = accounts.first().is_some_and(|name| {
        let name = name.split('@').next().unwrap_or("");
        name == line.username || name.eq_ignore_ascii_case("current_user")
    });
    let locks = statement.has("account");
    let activity = match command {
        "CREATE USER" => 1,
        "DROP USER" => 6,
        "RENAME USER" => 99,
        _ if command == "SET PASSWORD" || statement.has("identified") => {
            if own {
                3
            } else {
                4
            }
        }
        _ if locks && statement.has("lock") => 9,
        _ if locks && statement.has("unlock") => 12,
        _ => 99,
    };
    event.classify(3001, activity);
    if activity == 99 {
        let name = if command == "RENAME USER" {
            "Rename"
        } else {
            "Alter"
        };
        event.activity_name = Some(Text::from(name));
    }
    users(event, accounts);
}

/// The first account is OCSF's `user`, the others stand beside it.
fn users(event: &mut Event<'_>, accounts: Vec<String>) {
    let mut accounts = accounts.into_iter().map(Text::from);
    let first = accounts.next().unwrap_or(Text::from("[unknown]"));
    event.user = User {
        name: Some(first),
        ..User::default()
    };
    event.unmapped.target_names = accounts.collect();
}

fn group(event: &mut Event<'_>, roles: Vec<String>) {
    let mut roles = roles.into_iter().map(Text::from);
    event.group.name = Some(roles.next().unwrap_or(Text::from("[unknown]")));
    event.group.r#type = Some(Text::from("role"));
    event.unmapped.target_names = roles.collect();
}

fn granted(event: &mut Event<'_>, gives: bool, statement: &Statement<'_>) {
    let grant = statement.grant(gives);
    if grant.objects.is_empty() && !grant.given.is_empty() && !grant.everything {
        event.classify(3006, if gives { 3 } else { 4 });
        let mut roles = grant.given.into_iter().map(Text::from);
        event.group.name = roles.next();
        event.group.r#type = Some(Text::from("role"));
        let mut members = grant.accounts.into_iter().map(Text::from);
        event.user.name = members.next();
        event.unmapped.target_names = members.chain(roles).collect();
        return;
    }
    event.classify(3005, if gives { 1 } else { 2 });
    let given = grant.given.into_iter();
    event.privileges = given
        .map(|word| Text::from(word.to_ascii_uppercase()))
        .collect();
    if event.privileges.is_empty() {
        event.privileges = vec![Text::from("[unknown]")];
    }
    let resource = |name: String| Resource {
        name: Some(Text::from(name)),
        ..Resource::default()
    };
    event.resources = grant.objects.into_iter().map(resource).collect();
    users(event, grant.accounts);
}

/// SET: of the audit's own settings, of the server's, or of the session's.
fn setting(event: &mut Event<'_>, statement: &Statement<'_>) {
    const LOGS: &[&str] = &[
        "general_log",
        "general_log_file",
        "log_output",
        "sql_log_bin",
        "log_bin",
    ];
    let changes = statement.settings();
    let grave = |name: &str| match name {
        name if name.starts_with("server_audit") => Some(4),
        name if LOGS.contains(&name) => Some(3),
        _ => None,
    };
    let audit = changes.iter().find(|change| grave(&change.name).is_some());
    if let Some(change) = audit {
        application(event, 8, grave(&change.name).unwrap_or(4));
        event.unmapped.setting = Some(Text::from(change.name.clone()));
        if change.name.ends_with("_users") {
            // Accounts are no facts: their pseudonyms are.
            let names = change.value.split(',').map(str::trim);
            let names = names.filter(|name| !name.is_empty());
            event.unmapped.target_names = names.map(|name| Text::from(name.to_owned())).collect();
        } else {
            event.unmapped.setting_value = Some(Text::from(change.value.clone()));
        }
    } else if let Some(change) = changes.iter().find(|change| change.global) {
        definition(event, 3, "SETTING", Some(Text::from(change.name.clone())));
    } else {
        data(event, 4);
    }
}
