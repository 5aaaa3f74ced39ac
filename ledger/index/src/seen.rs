//! What a query reads of an entry's payload: accounts, operations and databases, from the parts
//! that are there.
//!
//! It reads these fields only and passes over all others, so that an entry written by a later
//! version is still found. Not here: the form of an event (ledger/event), and masking: what a query
//! can find is what the log holds.

use ledger_core::{Entry, Kind};
use ledger_event::Text;
use ledger_log::{OwnedPart, StoredEntry};
use serde::Deserialize;

use crate::pattern::Pattern;

/// The class of OCSF whose `user` is who acts: Authentication.
const AUTHENTICATION: u32 = 3002;

/// The payload of one entry, as far as queries read it: one object of `facts`, one of `who`.
#[derive(Debug, Default)]
pub(crate) struct Seen<'a> {
    objects: [Fields<'a>; 2],
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Fields<'a> {
    class_uid: u32,
    activity_id: u16,
    activity_name: Option<Text<'a>>,
    actor: Actor<'a>,
    user: User<'a>,
    api: Api<'a>,
    database: Named<'a>,
    databucket: Named<'a>,
    query_info: Named<'a>,
    unmapped: Unmapped<'a>,
    /// A message that could not be placed is kept inside the facts of its conflict.
    event: Option<Box<Fields<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Actor<'a> {
    user: User<'a>,
    invoked_by: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct User<'a> {
    name: Option<Text<'a>>,
    uid: Option<Text<'a>>,
    full_name: Option<Text<'a>>,
    email_addr: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Api<'a> {
    operation: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Named<'a> {
    name: Option<Text<'a>>,
    uid: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Unmapped<'a> {
    actor: Actor<'a>,
    database: Named<'a>,
    query_info: Named<'a>,
    identity: Option<Text<'a>>,
    os_user: Option<Text<'a>>,
    audit_class: Option<Text<'a>>,
    command: Option<Text<'a>>,
    command_tag: Option<Text<'a>>,
}

impl<'a> Seen<'a> {
    /// Reads the parts that are there. A part that is no JSON object says nothing to a query.
    pub(crate) fn of(stored: &'a StoredEntry) -> Seen<'a> {
        let [facts, who, _] = &stored.parts;
        Seen::of_parts(&stored.entry, facts, who)
    }

    fn of_parts(entry: &Entry, facts: &'a OwnedPart, who: &'a OwnedPart) -> Seen<'a> {
        let mut objects = [fields(facts), fields(who)];
        if matches!(entry.kind, Kind::CONFLICT | Kind::FORGED) {
            for object in &mut objects {
                if let Some(kept) = object.event.take() {
                    *object = *kept;
                }
            }
        }
        Seen { objects }
    }

    /// Whether one of the accounts that acted fits: by name, pseudonym, mail address, or the
    /// identity behind the account.
    pub(crate) fn actor_fits(&self, pattern: &Pattern) -> bool {
        let class = self.class_uid();
        self.objects.iter().any(|object| {
            let unmapped = &object.unmapped;
            let signs_in = Some(&object.user).filter(|_| class == AUTHENTICATION);
            let users = [&object.actor.user, &unmapped.actor.user]
                .into_iter()
                .chain(signs_in);
            let names =
                users.flat_map(|user| [&user.name, &user.uid, &user.full_name, &user.email_addr]);
            names
                .chain([&object.actor.invoked_by, &unmapped.actor.invoked_by])
                .chain([&unmapped.identity, &unmapped.os_user])
                .flatten()
                .any(|name| pattern.fits(name))
        })
    }

    /// Whether one of the names of what was done fits: the platform's command, its audit class,
    /// or the activity of OCSF.
    pub(crate) fn operation_fits(&self, pattern: &Pattern) -> bool {
        let spoken = self.objects.iter().any(|object| {
            let unmapped = &object.unmapped;
            [
                &object.activity_name,
                &object.api.operation,
                &object.query_info.name,
                &unmapped.query_info.name,
                &unmapped.command,
                &unmapped.command_tag,
                &unmapped.audit_class,
            ]
            .into_iter()
            .flatten()
            .any(|name| pattern.fits_first_words(name))
        });
        let activity = self.objects.iter().map(|object| object.activity_id).max();
        spoken
            || activity_names(self.class_uid(), activity.unwrap_or(0))
                .iter()
                .any(|name| pattern.fits_first_words(name))
    }

    /// Whether the database, keyspace or bucket fits, by name or identifier.
    pub(crate) fn database_fits(&self, pattern: &Pattern) -> bool {
        self.objects.iter().any(|object| {
            [
                &object.database,
                &object.databucket,
                &object.unmapped.database,
            ]
            .into_iter()
            .flat_map(|named| [&named.name, &named.uid])
            .flatten()
            .any(|name| pattern.fits(name))
        })
    }

    fn class_uid(&self) -> u32 {
        self.objects
            .iter()
            .map(|object| object.class_uid)
            .max()
            .unwrap_or(0)
    }
}

fn fields(part: &OwnedPart) -> Fields<'_> {
    match part {
        OwnedPart::Present(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
        OwnedPart::Absent | OwnedPart::Erased(_) => Fields::default(),
    }
}

/// The names of an activity: OCSF 1.8's caption first, then the words that databases use.
fn activity_names(class_uid: u32, activity: u16) -> &'static [&'static str] {
    match (class_uid, activity) {
        (6005, 1) | (6003, 2) => &["read"],
        (6005, 2) | (6003, 3) | (3004, 3) | (6002, 8) => &["update", "alter"],
        (6005, 3) => &["connect"],
        (6005, 4) => &["query"],
        (6005, 5) => &["write"],
        (6005 | 3006, 6) | (3001 | 3004 | 6003, 1) => &["create"],
        (6005, 7) | (6003 | 3004, 4) | (3001, 6) | (3006, 5) => &["delete", "drop"],
        (6005, 8) => &["list"],
        (6005, 9) => &["encrypt"],
        (6005, 10) => &["decrypt"],
        (3002, 1) => &["logon", "login"],
        (3002, 2) => &["logoff", "logout"],
        (3001, 2) => &["enable"],
        (3001, 3) => &["password change"],
        (3001, 4) => &["password reset"],
        (3001, 5) => &["disable"],
        (3001, 9) => &["lock"],
        (3001, 12) => &["unlock"],
        (3005 | 3006, 1) => &["assign privileges", "grant"],
        (3005 | 3006, 2) => &["revoke privileges", "revoke"],
        (3006, 3) => &["add user", "grant"],
        (3006, 4) => &["remove user", "revoke"],
        (6002, 3) => &["start"],
        (6002, 4) => &["stop"],
        (6002, 5) => &["restart"],
        (6002, 6) => &["enable"],
        (6002, 7) => &["disable"],
        _ => &[],
    }
}
