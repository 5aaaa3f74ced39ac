//! What masking and pseudonyms see of an event: every free text with its role, every account.
//!
//! Identifiers that the platform or we make (numbers, digests, pseudonyms, session ids, times) are
//! not visited: they are typed, and digits in them are not card numbers. Not here: the masking
//! itself.

use crate::event::{Account, Event, TextField, TextRole};
use crate::objects::User;
use crate::text::Text;

/// Calls `f` for each of the fields that is present.
macro_rules! visit {
    ($f:ident; $( $role:ident $path:expr => $field:expr; )*) => {
        $( if let Some(text) = $field.as_mut() {
            $f(TextField { path: $path, role: TextRole::$role }, text);
        } )*
    };
}

/// Visits one account, whose paths begin with `$at`.
macro_rules! user_texts {
    ($f:ident, $at:literal, $user:expr) => {
        visit! { $f;
            Name concat!($at, ".name") => $user.name;
            Name concat!($at, ".domain") => $user.domain;
            Name concat!($at, ".full_name") => $user.full_name;
            Name concat!($at, ".email_addr") => $user.email_addr;
        }
    };
}

/// Visits one actor, whose paths begin with `$at` (and its accounts' with `$user`, `$process`).
macro_rules! actor_texts {
    ($f:ident, $at:literal, $user:literal, $process:literal, $actor:expr) => {
        visit! { $f;
            Name concat!($at, ".app_name") => $actor.app_name;
            Name concat!($at, ".invoked_by") => $actor.invoked_by;
            Name concat!($at, ".process.name") => $actor.process.name;
            Message concat!($at, ".process.cmd_line") => $actor.process.cmd_line;
            Name concat!($at, ".session.terminal") => $actor.session.terminal;
        }
        user_texts!($f, $user, $actor.user);
        user_texts!($f, $process, $actor.process.user);
    };
}

/// Visits one client, whose paths begin with `$at`.
macro_rules! endpoint_texts {
    ($f:ident, $at:literal, $endpoint:expr) => {
        visit! { $f;
            Name concat!($at, ".ip") => $endpoint.ip;
            Name concat!($at, ".hostname") => $endpoint.hostname;
            Name concat!($at, ".name") => $endpoint.name;
            Name concat!($at, ".domain") => $endpoint.domain;
        }
    };
}

type Visitor<'v, 'a> = &'v mut dyn FnMut(TextField, &mut Text<'a>);

impl<'a> Event<'a> {
    /// Shows every free text to `f`, which may change it. The order is fixed.
    pub fn texts_mut(&mut self, f: Visitor<'_, 'a>) {
        visit! { f;
            Statement "query_info.query_string" => self.query_info.query_string;
            Name "query_info.name" => self.query_info.name;
            Message "status_detail" => self.status_detail;
            Message "message" => self.message;
            Raw "raw_data" => self.raw_data;
            Name "session.terminal" => self.session.terminal;
            Name "database.name" => self.database.name;
            Name "databucket.name" => self.databucket.name;
            Name "table.name" => self.table.name;
            Name "entity.name" => self.entity.name;
            Name "entity.type" => self.entity.r#type;
            Name "resource.name" => self.resource.name;
            Name "activity_name" => self.activity_name;
            Name "auth_protocol" => self.auth_protocol;
            Name "api.operation" => self.api.operation;
        }
        for resource in &mut self.resources {
            visit! { f; Name "resources.name" => resource.name; }
        }
        for privilege in &mut self.privileges {
            f(
                TextField {
                    path: "privileges",
                    role: TextRole::Name,
                },
                privilege,
            );
        }
        actor_texts!(f, "actor", "actor.user", "actor.process.user", self.actor);
        user_texts!(f, "user", self.user);
        visit! { f; Name "group.name" => self.group.name; Name "group.type" => self.group.r#type; }
        endpoint_texts!(f, "src_endpoint", self.src_endpoint);
        self.unmapped_texts(f);
    }

    fn unmapped_texts(&mut self, f: Visitor<'_, 'a>) {
        let unmapped = &mut self.unmapped;
        visit! { f;
            Statement "unmapped.query_info.query_string" => unmapped.query_info.query_string;
            Name "unmapped.query_info.name" => unmapped.query_info.name;
            Parameters "unmapped.parameters" => unmapped.parameters;
            Message "unmapped.detail" => unmapped.detail;
            Message "unmapped.hint" => unmapped.hint;
            Message "unmapped.context" => unmapped.context;
            Statement "unmapped.internal_query" => unmapped.internal_query;
            Message "unmapped.location" => unmapped.location;
            Name "unmapped.database.name" => unmapped.database.name;
            Name "unmapped.table.name" => unmapped.table.name;
            Name "unmapped.object_type" => unmapped.object_type;
            Name "unmapped.object_name" => unmapped.object_name;
            Name "unmapped.command" => unmapped.command;
            Name "unmapped.command_tag" => unmapped.command_tag;
            Name "unmapped.setting" => unmapped.setting;
            Name "unmapped.setting_value" => unmapped.setting_value;
            Name "unmapped.identity" => unmapped.identity;
            Name "unmapped.os_user" => unmapped.os_user;
            Message "unmapped.unparsed" => unmapped.unparsed;
        }
        for name in &mut unmapped.target_names {
            f(
                TextField {
                    path: "unmapped.target_names",
                    role: TextRole::Name,
                },
                name,
            );
        }
        actor_texts!(
            f,
            "unmapped.actor",
            "unmapped.actor.user",
            "unmapped.actor.process.user",
            unmapped.actor
        );
        endpoint_texts!(f, "unmapped.src_endpoint", unmapped.src_endpoint);
    }

    /// Shows every account that has a name to `f`, which sets the pseudonym. `targets` is brought
    /// to the length of `target_names` first; a target that gets no pseudonym stays the empty
    /// string.
    pub fn accounts_mut(&mut self, f: &mut dyn FnMut(Account<'_, '_, 'a>)) {
        user_account(&mut self.actor.user, f);
        user_account(&mut self.actor.process.user, f);
        user_account(&mut self.user, f);
        user_account(&mut self.unmapped.actor.user, f);
        user_account(&mut self.unmapped.actor.process.user, f);
        if let Some(name) = &self.group.name {
            f(Account {
                name,
                uid: &mut self.group.uid,
            });
        }
        let names = &self.unmapped.target_names;
        if !names.is_empty() {
            self.unmapped.targets.resize(names.len(), Text::from(""));
            for (name, slot) in names.iter().zip(self.unmapped.targets.iter_mut()) {
                let mut uid = None;
                f(Account {
                    name,
                    uid: &mut uid,
                });
                if let Some(uid) = uid {
                    *slot = uid;
                }
            }
        }
    }
}

fn user_account<'a>(user: &mut User<'a>, f: &mut dyn FnMut(Account<'_, '_, 'a>)) {
    if let Some(name) = &user.name {
        f(Account {
            name,
            uid: &mut user.uid,
        });
    }
}
