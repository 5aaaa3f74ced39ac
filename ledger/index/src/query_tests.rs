//! Tests of the query language: texts that are refused, entries that match and that do not, and how
//! entries are shown.

use ledger_core::state::ShortMac;
use ledger_core::{Entry, Epoch, Flags, Hash, Index, Kind, Nanos, Salt, Sequence, SourceId};
use ledger_event::{Event, PartsBuf};
use ledger_log::{OwnedPart, StoredEntry};

use crate::{Query, QueryError, render};

const NOW: Nanos = Nanos(1_795_600_000_000_000_000);

fn stored(kind: Kind, parts: [OwnedPart; 3]) -> StoredEntry {
    StoredEntry {
        index: Index(7),
        entry: Entry {
            kind,
            flags: Flags::MASKED,
            class_uid: 0,
            activity: 0,
            status: 1,
            severity: 1,
            source: SourceId(1),
            epoch: Epoch(1_795_000_000),
            sequence: Sequence(3),
            event_time: Nanos(NOW.0 - 3_600_000_000_000),
            ledger_time: NOW,
            commitment: Hash([0xc0; 32]),
        },
        mac: ShortMac::ZERO,
        salts: [Salt::ZERO; 3],
        parts,
    }
}

fn present(json: &str) -> OwnedPart {
    OwnedPart::Present(json.as_bytes().to_vec())
}

fn grant_event() -> Event<'static> {
    let mut event = Event::default();
    event.classify(3005, 1);
    event.severity_id = Some(1);
    event.set_time(Nanos(NOW.0 - 3_600_000_000_000));
    event.metadata.version = Some("1.8.0".into());
    event.actor.user.name = Some("Alice".into());
    event.actor.user.uid = Some("p-11".into());
    event.user.name = Some("bob".into());
    event.unmapped.database.name = Some("card vault".into());
    event.unmapped.command = Some("GRANT ROLE".into());
    event.unmapped.audit_class = Some("ROLE".into());
    event.unmapped.query_info.query_string = Some("GRANT clerk\nTO bob".into());
    event
}

fn parts_of(event: &Event<'_>) -> [OwnedPart; 3] {
    let mut buffer = PartsBuf::default();
    event.write_parts(&mut buffer);
    ledger_event::Part::ALL.map(|part| {
        buffer.part(part).map_or(OwnedPart::Absent, |bytes| {
            OwnedPart::Present(bytes.to_vec())
        })
    })
}

fn grant() -> StoredEntry {
    stored(Kind::EVENT, parts_of(&grant_event()))
}

fn matches(query: &str, stored: &StoredEntry) -> bool {
    Query::parse(query, NOW).unwrap().matches(stored)
}

#[test]
fn texts_that_are_no_query_are_refused_with_what_would_be_right() {
    let long = format!("actor:{}", "a".repeat(4096));
    let many = "op:a ".repeat(65);
    for (text, expected) in [
        ("alice", "names no term: write actor:alice"),
        ("actor:alice bob", "\"bob\" names no term"),
        ("\"actor:alice\"", "names no term"),
        (
            "aktor:alice",
            "write actor: instead, or one of actor: op: db: kind: since:",
        ),
        ("user:alice", "write actor: instead"),
        ("database:x", "write db: instead"),
        ("sinc:7d", "write since: instead"),
        ("knd:event", "write kind: instead"),
        (":x", "is no term"),
        ("actor:", "actor: has no value"),
        ("actor: alice", "actor: has no value"),
        ("actor:\"\"", "actor: has no value"),
        ("actor:\"alice", "must end with"),
        ("actor:\"alice\"x", "must end with"),
        ("actor:al\"ice", "must end with"),
        ("actor:\"a\\x\"", "must end with"),
        ("actor:\"a\\", "must end with"),
        ("kind:evnt", "the nearest is event"),
        ("kind:heartbeats", "the nearest is heartbeat"),
        ("since:yesterday", "since:yesterday is no time"),
        ("since:7d since:8d", "since: is there twice"),
        (long.as_str(), "at most 4096"),
        (many.as_str(), "more than 64 terms"),
    ] {
        let error = Query::parse(text, NOW).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for text in [
        "",
        "  ",
        "actor:alice",
        "ACTOR:alice",
        "actor:\"al ice\"",
        "actor:\"a\\\"\\\\\" op:x",
        "db:a:b",
        "kind:Event since:7d",
        &long[..4096],
        &many[5..],
    ] {
        assert!(Query::parse(text, NOW).is_ok(), "{text}");
    }
}

#[test]
fn a_query_matches_what_each_of_its_terms_matches() {
    let grant = grant();
    for (query, expected) in [
        ("actor:bob", false),
        ("actor:ali", false),
        ("op:revoke", false),
        ("op:gran", false),
        ("db:card", false),
        ("kind:tick", false),
        ("since:59m", false),
        ("actor:alice op:revoke", false),
        ("op:revoke op:drop", false),
        ("actor:alice since:59m", false),
        ("", true),
        ("actor:alice", true),
        ("actor:p-11", true),
        ("actor:al*", true),
        ("actor:bob actor:alice", true),
        ("op:grant", true),
        ("op:\"grant role\"", true),
        ("op:role", true),
        ("op:\"Assign Privileges\"", true),
        ("op:revoke op:grant", true),
        ("db:\"Card Vault\"", true),
        ("db:card*", true),
        ("kind:event", true),
        ("kind:tick kind:event", true),
        ("since:60m", true),
        (
            "actor:alice op:grant db:\"card vault\" kind:event since:7d",
            true,
        ),
    ] {
        assert_eq!(matches(query, &grant), expected, "{query}");
    }
}

#[test]
fn an_erased_name_is_not_found_but_its_pseudonym_is() {
    let mut grant = grant();
    assert!(matches("actor:alice", &grant));
    grant.parts[1] = OwnedPart::Erased(Hash([5; 32]));
    assert!(!matches("actor:alice", &grant));
    assert!(matches("actor:p-11 op:grant", &grant));
}

#[test]
fn who_signs_in_is_an_actor_and_who_is_granted_to_is_not() {
    let mut event = grant_event();
    event.actor = Default::default();
    event.user.name = Some("carol".into());
    let granted = stored(Kind::EVENT, parts_of(&event));
    assert!(!matches("actor:carol", &granted));
    event.classify(3002, 1);
    let signed_in = stored(Kind::EVENT, parts_of(&event));
    assert!(matches("actor:carol op:login", &signed_in));
    assert!(matches("op:logon", &signed_in));
}

#[test]
fn a_message_without_a_place_is_found_by_what_it_says() {
    let event = grant_event();
    let [OwnedPart::Present(facts), who, text] = parts_of(&event) else {
        panic!("an event has facts");
    };
    let facts = format!(
        r#"{{"reason":"old-epoch","stream":"record","epoch":1,"sequence":2,"event":{}}}"#,
        String::from_utf8(facts).unwrap()
    );
    let conflict = stored(Kind::CONFLICT, [present(&facts), who, text]);
    assert!(!matches("actor:alice op:grant kind:event", &conflict));
    assert!(matches(
        "actor:alice op:grant db:card* kind:conflict",
        &conflict
    ));
}

#[test]
fn fields_of_a_later_version_do_not_hide_an_entry() {
    let facts = r#"{"class_uid":6005,"activity_id":1,"new":{"x":[1]},"database":{"name":"d"}}"#;
    let later = stored(
        Kind::EVENT,
        [present(facts), OwnedPart::Absent, OwnedPart::Absent],
    );
    assert!(matches("db:d op:read", &later));
    let line = render(&later);
    assert!(line.contains(r#""facts":{"class_uid":6005,"#), "{line}");
    assert!(!line.contains(r#""event":"#), "{line}");
}

#[test]
fn what_is_no_json_matches_no_word_and_is_still_shown() {
    let broken = stored(
        Kind::TICK,
        [present("{\"a\":\n1}"), present("\u{0}{"), present("")],
    );
    assert!(!matches("actor:*", &broken));
    assert!(matches("kind:tick", &broken));
    let line = render(&broken);
    assert!(
        line.contains(r#""facts":{"a": 1},"who":"\u0000{","text":"""#),
        "{line}"
    );
}

#[test]
fn an_entry_is_shown_on_one_line_in_one_order() {
    let mut grant = grant();
    let line = render(&grant);
    assert!(!line.contains('\n'), "{line}");
    let start = concat!(
        r#"{"index":7,"kind":"event","flags":["masked"],"source":1,"epoch":1795000000,"#,
        r#""sequence":3,"event_time":"2026-11-25T08:46:40Z","ledger_time":"2026-11-25T09:46:40Z","#,
        r#""event":{"class_uid":3005,"#
    );
    assert!(line.starts_with(start), "{line}");
    let end = format!(
        r#","commitment":"{}","leaf":"{}"}}"#,
        "c0".repeat(32),
        grant.entry.leaf()
    );
    assert!(line.ends_with(&end), "{line}");
    assert!(line.contains(r"GRANT clerk\nTO bob"), "{line}");
    grant.parts[2] = OwnedPart::Erased(Hash([5; 32]));
    let erased = format!(
        r#""erased":[{{"part":"text","commitment":"{}"}}]"#,
        "05".repeat(32)
    );
    assert!(render(&grant).contains(&erased));
    assert!(!render(&grant).contains("clerk"));
    grant.entry.kind = Kind(99);
    grant.entry.flags = Flags(1 << 9 | 1);
    let unknown = render(&grant);
    assert!(unknown.contains(r#""kind":"unknown-99","flags":["critical","unknown-0x0200"]"#));
}

#[test]
fn refusals_are_values_that_callers_can_act_on() {
    let error = Query::parse("databse:x", NOW).unwrap_err();
    let expected = QueryError::UnknownTerm {
        name: "databse".to_owned(),
        nearest: "db",
    };
    assert_eq!(error, expected);
}
