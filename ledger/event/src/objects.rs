//! The objects inside an event: OCSF 1.8 names, our own facts under `unmapped`.
//!
//! Every field stands here once, with the part it belongs to. OCSF's objects have many more fields;
//! they are added when a collector has something to put there. Not here: the event itself.

use crate::object::object;
use crate::text::Text;

object! {
    /// OCSF `product`: what wrote the record, or the application that changed.
    Product {
        /// Product name, such as `PostgreSQL`.
        "name" name: Facts Option<Text<'a>>;
        /// Vendor.
        "vendor_name" vendor_name: Facts Option<Text<'a>>;
        /// Version as the product states it.
        "version" version: Facts Option<Text<'a>>;
        /// Identifier of the product.
        "uid" uid: Facts Option<Text<'a>>;
    }
}

object! {
    /// OCSF `metadata`: where the event comes from and how to find it again.
    Metadata {
        /// Version of the schema, `1.8.0`.
        "version" version: Facts Option<Text<'a>>;
        /// What wrote the record.
        "product" product: object Product<'a>;
        /// Form of the record, such as `csvlog`.
        "log_format" log_format: Facts Option<Text<'a>>;
        /// Level in the platform's own words, such as `LOG` or `FATAL`.
        "log_level" log_level: Facts Option<Text<'a>>;
        /// Name of the log, such as `pgaudit`.
        "log_name" log_name: Facts Option<Text<'a>>;
        /// The collector and its version.
        "log_version" log_version: Facts Option<Text<'a>>;
        /// The platform's code for the kind of event.
        "event_code" event_code: Facts Option<Text<'a>>;
        /// Identifier of this event, derived from source and native key, so reading twice agrees.
        "uid" uid: Facts Option<Text<'a>>;
        /// The platform's own identifier of the record.
        "original_event_uid" original_event_uid: Facts Option<Text<'a>>;
        /// Session or transaction that links the records of one activity.
        "correlation_uid" correlation_uid: Facts Option<Text<'a>>;
        /// The time as the platform wrote it.
        "original_time" original_time: Facts Option<Text<'a>>;
        /// When the platform wrote the record, milliseconds since the Unix epoch.
        "logged_time" logged_time: Facts Option<i64>;
        /// OCSF profiles in use; none by default.
        "profiles" profiles: Facts Vec<Text<'a>>;
        /// Tenant, where the platform has tenants.
        "tenant_uid" tenant_uid: Facts Option<Text<'a>>;
        /// Text was cut at the bound.
        "is_truncated" is_truncated: Facts Option<bool>;
        /// Size in bytes of the native record before it was cut.
        "untruncated_size" untruncated_size: Facts Option<u64>;
    }
}

object! {
    /// OCSF `session`.
    Session {
        /// The platform's identifier of the session.
        "uid" uid: Facts Option<Text<'a>>;
        /// When it began, milliseconds since the Unix epoch.
        "created_time" created_time: Facts Option<i64>;
        /// Whether it came over a network.
        "is_remote" is_remote: Facts Option<bool>;
        /// The terminal.
        "terminal" terminal: Who Option<Text<'a>>;
    }
}

object! {
    /// OCSF `user`: an account. The name is personal, the keyed pseudonym in `uid` is not.
    User {
        /// Account name as the platform knows it.
        "name" name: Who Option<Text<'a>>;
        /// Keyed pseudonym of the name, set at the door of the log.
        "uid" uid: Facts Option<Text<'a>>;
        /// OCSF `type_id`: 1 user, 2 admin, 3 system, 4 service.
        "type_id" type_id: Facts Option<u8>;
        /// Domain or realm.
        "domain" domain: Who Option<Text<'a>>;
        /// Name of the person.
        "full_name" full_name: Who Option<Text<'a>>;
        /// Mail address.
        "email_addr" email_addr: Who Option<Text<'a>>;
    }
}

object! {
    /// OCSF `process`.
    Process {
        /// Process identifier.
        "pid" pid: Facts Option<i64>;
        /// Program name.
        "name" name: Who Option<Text<'a>>;
        /// Command line, masked.
        "cmd_line" cmd_line: Text Option<Text<'a>>;
        /// Account that runs it.
        "user" user: object User<'a>;
    }
}

object! {
    /// OCSF `actor`: who did it.
    Actor {
        /// Authenticated account.
        "user" user: object User<'a>;
        /// Session it acted in.
        "session" session: object Session<'a>;
        /// Server or client process.
        "process" process: object Process<'a>;
        /// Client program, as it calls itself.
        "app_name" app_name: Who Option<Text<'a>>;
        /// What invoked the activity, when another than the user.
        "invoked_by" invoked_by: Who Option<Text<'a>>;
    }
}

object! {
    /// OCSF `network_endpoint` of the client.
    Endpoint {
        /// Address.
        "ip" ip: Who Option<Text<'a>>;
        /// Port.
        "port" port: Who Option<u16>;
        /// Host name.
        "hostname" hostname: Who Option<Text<'a>>;
        /// Name, such as `[local]` for a Unix socket.
        "name" name: Who Option<Text<'a>>;
        /// Domain.
        "domain" domain: Who Option<Text<'a>>;
    }
}

object! {
    /// OCSF `network_endpoint` of the server: not personal.
    ServerEndpoint {
        /// Address.
        "ip" ip: Facts Option<Text<'a>>;
        /// Port.
        "port" port: Facts Option<u16>;
        /// Host name.
        "hostname" hostname: Facts Option<Text<'a>>;
        /// Name.
        "name" name: Facts Option<Text<'a>>;
        /// Service name.
        "svc_name" svc_name: Facts Option<Text<'a>>;
    }
}

object! {
    /// OCSF `service`.
    Service {
        /// Name.
        "name" name: Facts Option<Text<'a>>;
        /// Identifier.
        "uid" uid: Facts Option<Text<'a>>;
        /// Version.
        "version" version: Facts Option<Text<'a>>;
    }
}

object! {
    /// OCSF `api`: a control-plane call.
    Api {
        /// Name of the operation.
        "operation" operation: Facts Option<Text<'a>>;
        /// Service that was called.
        "service" service: object Service<'a>;
        /// Version.
        "version" version: Facts Option<Text<'a>>;
    }
}

object! {
    /// OCSF `database`.
    Database {
        /// Name.
        "name" name: Facts Option<Text<'a>>;
        /// Identifier.
        "uid" uid: Facts Option<Text<'a>>;
        /// 1 relational, 6 NoSQL, 8 knowledge graph.
        "type_id" type_id: Facts Option<u8>;
    }
}

object! {
    /// OCSF `databucket`: a bucket, keyspace or index.
    Databucket {
        /// Name.
        "name" name: Facts Option<Text<'a>>;
        /// Identifier.
        "uid" uid: Facts Option<Text<'a>>;
        /// OCSF type.
        "type_id" type_id: Facts Option<u8>;
    }
}

object! {
    /// OCSF `table`.
    Table {
        /// Name, with its schema where known.
        "name" name: Facts Option<Text<'a>>;
        /// Identifier.
        "uid" uid: Facts Option<Text<'a>>;
    }
}

object! {
    /// OCSF `query_info`.
    QueryInfo {
        /// The platform's identifier of the query.
        "uid" uid: Facts Option<Text<'a>>;
        /// A name, where there is no identifier: the command.
        "name" name: Facts Option<Text<'a>>;
        /// The statement, masked.
        "query_string" query_string: Text Option<Text<'a>>;
        /// Bytes returned.
        "bytes" bytes: Facts Option<u64>;
    }
}

object! {
    /// OCSF `group`: a role that others are members of. Its name is treated like an account's.
    Group {
        /// Name.
        "name" name: Who Option<Text<'a>>;
        /// Keyed pseudonym of the name, set at the door of the log.
        "uid" uid: Facts Option<Text<'a>>;
        /// Kind of group.
        "type" r#type: Facts Option<Text<'a>>;
    }
}

object! {
    /// OCSF `resource_details`: an object of the database that an access concerns.
    Resource {
        /// Name.
        "name" name: Facts Option<Text<'a>>;
        /// Kind, such as `TABLE`.
        "type" r#type: Facts Option<Text<'a>>;
        /// Identifier.
        "uid" uid: Facts Option<Text<'a>>;
        /// Schema or database.
        "namespace" namespace: Facts Option<Text<'a>>;
    }
}

object! {
    /// OCSF `managed_entity`: the object or setting that was created, changed or dropped.
    Entity {
        /// Name.
        "name" name: Facts Option<Text<'a>>;
        /// Kind, such as `TABLE`.
        "type" r#type: Facts Option<Text<'a>>;
        /// Identifier.
        "uid" uid: Facts Option<Text<'a>>;
        /// Version.
        "version" version: Facts Option<Text<'a>>;
    }
}

object! {
    /// OCSF `fingerprint`. Here always keyed, because a bare digest of a short secret can be
    /// guessed.
    Fingerprint {
        /// 99 (other).
        "algorithm_id" algorithm_id: Text Option<u8>;
        /// `HMAC-SHA-256`.
        "algorithm" algorithm: Text Option<Text<'a>>;
        /// Lower-case hexadecimal.
        "value" value: Text Option<Text<'a>>;
    }
}

object! {
    /// One kind of thing that was masked in one field.
    Redaction {
        /// Path of the field, such as `query_info.query_string`.
        "path" path: Facts Option<Text<'a>>;
        /// `pan`, `password`, `auth-data`, `literal` or another kind that the masking names.
        "kind" kind: Facts Option<Text<'a>>;
        /// How many.
        "count" count: Facts Option<u32>;
    }
}

object! {
    /// What OCSF has no field for, and OCSF objects that the event's class has no place for.
    Unmapped {
        /// Evidence grade of the source's form: `A` quoted and numbered, `B` structured without
        /// numbering, `C` forgeable, lossy or sampled.
        "grade" grade: Facts Option<Text<'a>>;
        /// Exact event time in nanoseconds since the Unix epoch, when `time` (milliseconds) is not
        /// exact.
        "time_ns" time_ns: Facts Option<i64>;
        /// Zone that the time was read in, and why when it was assumed.
        "zone" zone: Facts Option<Text<'a>>;
        /// What is peculiar about the record, such as `invalid-utf8`, `nul`, `zone-assumed`.
        "flags" flags: Facts Vec<Text<'a>>;
        /// Why the record could not be read as its form says; present only in `unparsed` events.
        "unparsed" unparsed: Facts Option<Text<'a>>;
        /// What was masked, by field and kind.
        "redacted" redacted: Facts Vec<Redaction<'a>>;
        /// How the audit came to log this, such as `SESSION` or `OBJECT`.
        "audit_type" audit_type: Facts Option<Text<'a>>;
        /// Number of the statement in its session.
        "statement_id" statement_id: Facts Option<i64>;
        /// Number of the statement inside the statement.
        "substatement_id" substatement_id: Facts Option<i64>;
        /// The audit's own class, such as `READ` or `DDL`.
        "audit_class" audit_class: Facts Option<Text<'a>>;
        /// The audit's own command, such as `SELECT` or `CREATE TABLE`.
        "command" command: Facts Option<Text<'a>>;
        /// The platform's command tag of the running command.
        "command_tag" command_tag: Facts Option<Text<'a>>;
        /// Kind of object, in the platform's words.
        "object_type" object_type: Facts Option<Text<'a>>;
        /// Name of the object, in the platform's words.
        "object_name" object_name: Facts Option<Text<'a>>;
        /// Rows returned or changed.
        "rows" rows: Facts Option<i64>;
        /// Number of the record in its session.
        "line" line: Facts Option<i64>;
        /// Virtual transaction.
        "vxid" vxid: Facts Option<Text<'a>>;
        /// Transaction.
        "xid" xid: Facts Option<Text<'a>>;
        /// Kind of server process.
        "backend_type" backend_type: Facts Option<Text<'a>>;
        /// Process that leads a parallel query.
        "leader_pid" leader_pid: Facts Option<i64>;
        /// Setting that changed.
        "setting" setting: Facts Option<Text<'a>>;
        /// Its new value; only for settings of the audit itself.
        "setting_value" setting_value: Facts Option<Text<'a>>;
        /// Further accounts that the activity concerns: pseudonyms, in the order of `target_names`.
        "targets" targets: Facts Vec<Text<'a>>;
        /// Their names.
        "target_names" target_names: Who Vec<Text<'a>>;
        /// Identity that the authentication established, when another than the account.
        "identity" identity: Who Option<Text<'a>>;
        /// Operating system user.
        "os_user" os_user: Who Option<Text<'a>>;
        /// Where the class has no `actor`.
        "actor" actor: object Actor<'a>;
        /// Where the class has no `src_endpoint`.
        "src_endpoint" src_endpoint: object Endpoint<'a>;
        /// Where the class has no `database`.
        "database" database: object Database<'a>;
        /// Where the class has no `table`.
        "table" table: object Table<'a>;
        /// Where the class has no `query_info`.
        "query_info" query_info: object QueryInfo<'a>;
        /// Parameters of the statement, masked.
        "parameters" parameters: Text Option<Text<'a>>;
        /// Detail of a message, masked.
        "detail" detail: Text Option<Text<'a>>;
        /// Hint of a message, masked.
        "hint" hint: Text Option<Text<'a>>;
        /// Context of a message, masked.
        "context" context: Text Option<Text<'a>>;
        /// Internal query of a message, masked.
        "internal_query" internal_query: Text Option<Text<'a>>;
        /// Place in the server's source code.
        "location" location: Text Option<Text<'a>>;
    }
}
