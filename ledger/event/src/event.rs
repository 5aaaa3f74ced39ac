//! [`Event`]: one database operation as an OCSF 1.8 object in one serialised form, and its three
//! parts.
//!
//! A part is the same object with the fields of the other parts absent, so a part is a partial
//! OCSF object by itself and [`Event::merge`] is the inverse of [`Event::write_parts`]. Unknown
//! fields are refused: a field without a part would be dropped when the message is split, and
//! evidence would be lost without a sign. A field that a later version adds therefore comes with a
//! program that knows it; commitments are over bytes, so verification never needs to understand a
//! field. Not here: masking, pseudonyms (the caller's closures), and what other kinds of entries
//! say (`facts`).

use std::ops::Range;

use ledger_core::Nanos;
use serde::de::DeserializeSeed;

use crate::error::{EventError, RefusedFor};
use crate::object::{ALL_PARTS, Into, Object, Part, bit, object};
use crate::objects::{
    Actor, Api, Database, Databucket, Endpoint, Entity, Fingerprint, Group, Metadata, Product,
    QueryInfo, Resource, ServerEndpoint, Service, Session, Table, Unmapped, User,
};
use crate::own::Cursor;
use crate::text::Text;

/// The largest event in bytes (DESIGN section 5); longer text is cut by the collector.
pub const EVENT_BYTES_MAX: usize = 512 * 1024;

/// The version of OCSF that events follow.
pub const OCSF_VERSION: &str = "1.8.0";

object! {
    /// One database operation. Field names and meanings are OCSF 1.8's.
    Event {
        /// OCSF class, such as 6005 Datastore Activity.
        "class_uid" class_uid: Facts Option<u32>;
        /// OCSF category: the class divided by 1000.
        "category_uid" category_uid: Facts Option<u32>;
        /// Activity within the class.
        "activity_id" activity_id: Facts Option<u16>;
        /// The activity's name, when `activity_id` is 99.
        "activity_name" activity_name: Facts Option<Text<'a>>;
        /// `class_uid` × 100 + `activity_id`.
        "type_uid" type_uid: Facts Option<u64>;
        /// 1 informational, 2 low, 3 medium, 4 high, 5 critical.
        "severity_id" severity_id: Facts Option<u8>;
        /// 0 unknown, 1 success, 2 failure.
        "status_id" status_id: Facts Option<u8>;
        /// The platform's status code, such as an SQLSTATE.
        "status_code" status_code: Facts Option<Text<'a>>;
        /// Event time in milliseconds since the Unix epoch; see `unmapped.time_ns`.
        "time" time: Facts Option<i64>;
        /// Offset of the platform's clock from UTC in minutes.
        "timezone_offset" timezone_offset: Facts Option<i32>;
        /// Start of the activity, milliseconds since the Unix epoch.
        "start_time" start_time: Facts Option<i64>;
        /// End of the activity, milliseconds since the Unix epoch.
        "end_time" end_time: Facts Option<i64>;
        /// Duration in milliseconds.
        "duration" duration: Facts Option<i64>;
        /// How many of them this event stands for.
        "count" count: Facts Option<u32>;
        /// 6005: 1 database, 2 databucket, 3 table.
        "type_id" type_id: Facts Option<u8>;
        /// 3002: how the account authenticated, 99 with the platform's word in `auth_protocol`.
        "auth_protocol_id" auth_protocol_id: Facts Option<u8>;
        /// 3002: the platform's word for it.
        "auth_protocol" auth_protocol: Facts Option<Text<'a>>;
        /// 3002: whether it came over a network.
        "is_remote" is_remote: Facts Option<bool>;
        /// 3002: whether more than one factor was used.
        "is_mfa" is_mfa: Facts Option<bool>;
        /// Where the event comes from.
        "metadata" metadata: object Metadata<'a>;
        /// Who did it.
        "actor" actor: object Actor<'a>;
        /// The account that it was done to.
        "user" user: object User<'a>;
        /// 3002: the session that began or ended.
        "session" session: object Session<'a>;
        /// 3006: the group or role.
        "group" group: object Group<'a>;
        /// Privileges given or taken.
        "privileges" privileges: Facts Vec<Text<'a>>;
        /// 3006: what the privileges are on.
        "resource" resource: object Resource<'a>;
        /// 3005, 6003: what the access is to.
        "resources" resources: Facts Vec<Resource<'a>>;
        /// 3004: what was created, changed or dropped.
        "entity" entity: object Entity<'a>;
        /// The client.
        "src_endpoint" src_endpoint: object Endpoint<'a>;
        /// The server.
        "dst_endpoint" dst_endpoint: object ServerEndpoint<'a>;
        /// The service that was logged in to.
        "service" service: object Service<'a>;
        /// 6002: the application.
        "app" app: object Product<'a>;
        /// 6003: the call.
        "api" api: object Api<'a>;
        /// The database.
        "database" database: object Database<'a>;
        /// The bucket.
        "databucket" databucket: object Databucket<'a>;
        /// The table.
        "table" table: object Table<'a>;
        /// The statement.
        "query_info" query_info: object QueryInfo<'a>;
        /// Why the status is what it is, masked.
        "status_detail" status_detail: Text Option<Text<'a>>;
        /// The platform's message, masked.
        "message" message: Text Option<Text<'a>>;
        /// Size of the native record in bytes.
        "raw_data_size" raw_data_size: Facts Option<u64>;
        /// Keyed digest of the native record, when it was masked, cut or not understood.
        "raw_data_hash" raw_data_hash: object Fingerprint<'a>;
        /// The native record, masked.
        "raw_data" raw_data: Text Option<Text<'a>>;
        /// What OCSF has no field for.
        "unmapped" unmapped: object Unmapped<'a>;
    }
}

/// What an entry's fixed record says about its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHead {
    /// OCSF class.
    pub class_uid: u32,
    /// OCSF activity.
    pub activity: u16,
    /// OCSF status.
    pub status: u8,
    /// OCSF severity.
    pub severity: u8,
    /// Event time.
    pub time: Nanos,
    /// Something was masked.
    pub masked: bool,
    /// Something was cut.
    pub truncated: bool,
    /// The native record was not understood.
    pub unparsed: bool,
}

/// How a free text is to be read by the masking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextRole {
    /// SQL or another command language.
    Statement,
    /// Values bound to a statement.
    Parameters,
    /// Prose that may quote statements and data.
    Message,
    /// A name or a short code.
    Name,
    /// A native record.
    Raw,
}

/// One free text of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextField {
    /// Path of the field, such as `query_info.query_string`.
    pub path: &'static str,
    /// How to read it.
    pub role: TextRole,
}

/// One account of an event: its name, and where its pseudonym goes.
#[derive(Debug)]
pub struct Account<'n, 'u, 'a> {
    /// Name as the platform knows it.
    pub name: &'n str,
    /// The pseudonym, in the facts.
    pub uid: &'u mut Option<Text<'a>>,
}

/// One row of the table of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRow {
    /// Path, such as `query_info.query_string`.
    pub path: String,
    /// `text`, `bool`, a width of number, or a list.
    pub shape: &'static str,
    /// The part it belongs to.
    pub part: Part,
}

/// The three parts of one event in one buffer, reused from event to event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartsBuf {
    /// The parts, one after the other.
    pub bytes: Vec<u8>,
    /// Where each part lies; an empty part is absent.
    pub ends: [Option<Range<usize>>; 3],
}

impl PartsBuf {
    /// The bytes of a part, if it is there.
    #[must_use]
    pub fn part(&self, part: Part) -> Option<&[u8]> {
        let range = self.ends.get(usize::from(part.number()))?.clone()?;
        self.bytes.get(range)
    }
}

impl<'a> Event<'a> {
    /// Reads an event.
    ///
    /// # Errors Too large, not JSON, an unknown or repeated field, or a field that every event has
    /// is missing or contradicts another.
    pub fn parse(json: &'a [u8]) -> Result<Event<'a>, EventError> {
        let mut event = Event::default();
        event.read(json)?;
        Ok(event)
    }

    /// The same in place, where nothing was read yet: an event is large, and costs to be moved.
    ///
    /// # Errors
    /// As [`Event::parse`].
    pub fn read(&mut self, json: &'a [u8]) -> Result<(), EventError> {
        self.fill_from(json)?;
        self.check()
    }

    /// Reads one part, or a part of an event in which some fields are absent.
    ///
    /// # Errors
    /// Too large, not JSON, an unknown or repeated field, or a field of another part.
    pub fn parse_part(part: Part, json: &'a [u8]) -> Result<Event<'a>, EventError> {
        let mut event = Event::default();
        event.take(part, json)?;
        Ok(event)
    }

    fn fill_from(&mut self, json: &'a [u8]) -> Result<(), EventError> {
        if json.len() > EVENT_BYTES_MAX {
            return Err(EventError::TooLarge { bytes: json.len() });
        }
        // Once for all: cheaper than once a string.
        let json = std::str::from_utf8(json).map_err(|e| EventError::Refused {
            line: 1,
            column: e.valid_up_to(),
            reason: RefusedFor::NotJson,
        })?;
        if self.read_own_form(json).is_some() {
            return Ok(());
        }
        *self = Event::default();
        let mut reader = serde_json::Deserializer::from_str(json);
        let read = Into::new(self)
            .deserialize(&mut reader)
            .and_then(|()| reader.end());
        read.map_err(|e| EventError::refused(&e))
    }

    fn read_own_form(&mut self, json: &'a str) -> Option<()> {
        let mut from = Cursor::new(json);
        self.read_in(&mut from)?;
        from.is_at_end().then_some(())
    }

    fn take(&mut self, part: Part, json: &'a [u8]) -> Result<(), EventError> {
        let mut other = Event::default();
        other.fill_from(json)?;
        self.absorb(other, part)
            .map_err(|field| EventError::ForeignField { part, field })
    }

    /// Joins the parts that are there: the inverse of [`Event::write_parts`].
    ///
    /// # Errors
    /// As [`Event::parse_part`], for each part.
    pub fn merge(
        facts: Option<&'a [u8]>,
        who: Option<&'a [u8]>,
        text: Option<&'a [u8]>,
    ) -> Result<Event<'a>, EventError> {
        let mut event = Event::default();
        for (part, bytes) in Part::ALL.into_iter().zip([facts, who, text]) {
            if let Some(bytes) = bytes {
                event.take(part, bytes)?;
            }
        }
        Ok(event)
    }

    /// The serialised form.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        self.write_json(&mut out);
        out
    }

    /// Appends the serialised form.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write(ALL_PARTS, out);
    }

    /// Splits the event into its parts, replacing what the buffer held.
    pub fn write_parts(&self, out: &mut PartsBuf) {
        out.bytes.clear();
        for (part, slot) in Part::ALL.into_iter().zip(out.ends.iter_mut()) {
            let start = out.bytes.len();
            self.write(bit(part), &mut out.bytes);
            if out.bytes.len() == start + 2 {
                out.bytes.truncate(start);
                *slot = None;
            } else {
                *slot = Some(start..out.bytes.len());
            }
        }
    }

    /// What the entry's fixed record takes from the event; numbers that are absent are 0.
    #[must_use]
    pub fn head(&self) -> EventHead {
        let unmapped = &self.unmapped;
        EventHead {
            class_uid: self.class_uid.unwrap_or(0),
            activity: self.activity_id.unwrap_or(0),
            status: self.status_id.unwrap_or(0),
            severity: self.severity_id.unwrap_or(0),
            time: Nanos(
                unmapped
                    .time_ns
                    .unwrap_or_else(|| self.time.unwrap_or(0).saturating_mul(1_000_000)),
            ),
            masked: !unmapped.redacted.is_empty(),
            truncated: self.metadata.is_truncated == Some(true),
            unparsed: unmapped.unparsed.is_some(),
        }
    }

    /// What every event must say, and the numbers that must agree.
    fn check(&self) -> Result<(), EventError> {
        let class = self.class_uid.ok_or(EventError::Missing("class_uid"))?;
        let category = self
            .category_uid
            .ok_or(EventError::Missing("category_uid"))?;
        let activity = self.activity_id.ok_or(EventError::Missing("activity_id"))?;
        let kind = self.type_uid.ok_or(EventError::Missing("type_uid"))?;
        self.severity_id.ok_or(EventError::Missing("severity_id"))?;
        let time = self.time.ok_or(EventError::Missing("time"))?;
        self.metadata
            .version
            .as_ref()
            .ok_or(EventError::Missing("metadata.version"))?;
        if category != class / 1000 {
            return Err(EventError::Contradiction(
                "category_uid is not class_uid / 1000",
            ));
        }
        if kind != u64::from(class) * 100 + u64::from(activity) {
            return Err(EventError::Contradiction(
                "type_uid is not class_uid * 100 + activity_id",
            ));
        }
        if self
            .unmapped
            .time_ns
            .is_some_and(|ns| ns.div_euclid(1_000_000) != time)
        {
            return Err(EventError::Contradiction(
                "unmapped.time_ns does not lie in time",
            ));
        }
        Ok(())
    }

    /// Sets class and activity and the numbers that follow from them.
    pub fn classify(&mut self, class_uid: u32, activity_id: u16) {
        self.class_uid = Some(class_uid);
        self.category_uid = Some(class_uid / 1000);
        self.activity_id = Some(activity_id);
        self.type_uid = Some(u64::from(class_uid) * 100 + u64::from(activity_id));
    }

    /// Sets the time: `time` in milliseconds, and the nanoseconds beside it when they say more.
    pub fn set_time(&mut self, time: Nanos) {
        self.time = Some(time.0.div_euclid(1_000_000));
        self.unmapped.time_ns = (time.0.rem_euclid(1_000_000) != 0).then_some(time.0);
    }

    /// Moves the objects that the class has no place for under `unmapped` (OCSF 1.8 class schemas
    /// allow no other field); call it after [`Event::classify`].
    pub fn place(&mut self) {
        let class = self.class_uid.unwrap_or(0);
        if class != 6005 {
            move_object(&mut self.database, &mut self.unmapped.database);
            move_object(&mut self.table, &mut self.unmapped.table);
            move_object(&mut self.query_info, &mut self.unmapped.query_info);
        }
        if matches!(class, 0 | 6002) {
            move_object(&mut self.actor, &mut self.unmapped.actor);
        }
        if matches!(class, 0 | 3004 | 6002) {
            move_object(&mut self.src_endpoint, &mut self.unmapped.src_endpoint);
        }
    }

    /// Who did it, wherever the class has its place.
    #[must_use]
    pub fn who(&self) -> &Actor<'a> {
        either(&self.actor, &self.unmapped.actor)
    }

    /// The client, wherever the class has its place.
    #[must_use]
    pub fn client(&self) -> &Endpoint<'a> {
        either(&self.src_endpoint, &self.unmapped.src_endpoint)
    }

    /// The database, wherever the class has its place.
    #[must_use]
    pub fn in_database(&self) -> &Database<'a> {
        either(&self.database, &self.unmapped.database)
    }

    /// The table, wherever the class has its place.
    #[must_use]
    pub fn on_table(&self) -> &Table<'a> {
        either(&self.table, &self.unmapped.table)
    }

    /// The statement, wherever the class has its place.
    #[must_use]
    pub fn statement(&self) -> &QueryInfo<'a> {
        either(&self.query_info, &self.unmapped.query_info)
    }

    /// Every field of the form, in its order.
    #[must_use]
    pub fn fields() -> Vec<FieldRow> {
        let mut rows = Vec::new();
        <Event<'_> as Object>::table("", &mut |path, shape, part| {
            rows.push(FieldRow {
                path: path.to_owned(),
                shape,
                part,
            });
        });
        rows
    }
}

fn move_object<T: Default + PartialEq>(from: &mut T, to: &mut T) {
    if *from != T::default() {
        *to = std::mem::take(from);
    }
}

fn either<'e, T: Default + PartialEq>(first: &'e T, second: &'e T) -> &'e T {
    if *first == T::default() {
        second
    } else {
        first
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
