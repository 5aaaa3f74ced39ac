//! Properties of the serialised form: what is written is read back, parts join to the whole.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// A value of a shape, for any field.
fn value(shape: &str, text: &str, number: u64) -> Value {
    match shape {
        "text" => json!(text),
        "bool" => json!(number.is_multiple_of(2)),
        "u8" => json!(number % 256),
        "u16" => json!(number % 65_536),
        "u32" => json!(number % (1 << 32)),
        "u64" => json!(number),
        "i32" => json!((number % (1 << 31)) as i64 - (1 << 30)),
        "i64" => json!(number as i64),
        "list of text" => json!(["", text, "x"]),
        "list of Redaction" => json!([{"path": text, "kind": "pan", "count": 1}, {}]),
        "list of Resource" => json!([{"name": text, "type": "TABLE"}]),
        other => panic!("no value for {other}"),
    }
}

fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = object.entry(first).or_insert_with(|| json!({}));
            put(inner.as_object_mut().unwrap(), rest, value);
        }
    }
}

/// A random event as JSON, over every field of the table.
fn any_json() -> impl Strategy<Value = Vec<u8>> {
    let count = Event::fields().len();
    let text = prop_oneof![any::<String>(), "[a-z\"\\\\\n\u{0}☃']{0,12}"];
    prop::collection::vec((any::<bool>(), text, any::<u64>()), count).prop_map(|picks| {
        let mut object = Map::new();
        for (row, (on, text, number)) in Event::fields().iter().zip(&picks) {
            if *on {
                put(&mut object, &row.path, value(row.shape, text, *number));
            }
        }
        serde_json::to_vec(&object).unwrap()
    })
}

fn read(json: &[u8]) -> Event<'_> {
    serde_json::from_slice(json).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_form_is_read_back_and_written_again_equal(json in any_json()) {
        let event = read(&json);
        let once = event.to_json();
        prop_assert_eq!(&read(&once), &event);
        prop_assert_eq!(read(&once).to_json(), once);
    }

    #[test]
    fn parts_join_to_the_whole_and_every_subset_reads(json in any_json()) {
        let event = read(&json);
        let mut parts = PartsBuf::default();
        event.write_parts(&mut parts);
        let [facts, who, text] = Part::ALL.map(|part| parts.part(part));
        prop_assert_eq!(&Event::merge(facts, who, text).unwrap(), &event);
        for kept in 0..8_u8 {
            let keep = |n: u8, part| (kept & (1 << n) != 0).then_some(part).flatten();
            let some = Event::merge(keep(0, facts), keep(1, who), keep(2, text)).unwrap();
            let mut again = PartsBuf::default();
            some.write_parts(&mut again);
            for (n, part) in Part::ALL.into_iter().enumerate() {
                let want = if kept & (1 << n) != 0 { parts.part(part) } else { None };
                prop_assert_eq!(again.part(part), want);
            }
        }
    }

    #[test]
    fn our_own_form_is_read_without_serde_json_and_gives_the_same(json in any_json()) {
        let written = read(&json).to_json();
        let written = std::str::from_utf8(&written).unwrap();
        let mut event = Event::default();
        prop_assert!(event.read_own_form(written).is_some(), "{}", written);
        prop_assert_eq!(event, read(written.as_bytes()));
    }

    #[test]
    fn what_the_reader_of_our_form_takes_serde_json_takes_too(
        json in any_json(), at in any::<usize>(), byte in b' '..127,
    ) {
        let mut changed = read(&json).to_json();
        let at = at % changed.len();
        changed[at] = byte;
        let Ok(changed) = std::str::from_utf8(&changed) else {
            return Ok(());
        };
        let mut event = Event::default();
        if event.read_own_form(changed).is_some() {
            prop_assert_eq!(&event, &serde_json::from_str::<Event<'_>>(changed).unwrap());
        }
    }

    #[test]
    fn cut_or_changed_bytes_never_panic(json in any_json(), at in any::<usize>(), byte in any::<u8>()) {
        let mut json = read(&json).to_json();
        let at = at % json.len();
        let _ = Event::parse(&json[..at]);
        json[at] = byte;
        let _ = Event::parse(&json);
    }
}

const SMALL: &str = r#"{"class_uid":6005,"category_uid":6,"activity_id":1,"type_uid":600501,"severity_id":1,"time":5,"metadata":{"version":"1.8.0"},"actor":{"user":{"name":"alice"}},"message":"m"}"#;

#[test]
fn refused_for_what_is_wrong() {
    let changed = |from: &str, to: &str| {
        assert!(SMALL.contains(from), "{from}");
        Event::parse(SMALL.replace(from, to).as_bytes())
            .map(|e| e.to_json())
            .unwrap_err()
    };
    let reason = |e: EventError| match e {
        EventError::Refused { reason, .. } => reason,
        other => panic!("{other}"),
    };
    use crate::RefusedFor::{EndsEarly, NotJson, NotTheForm};
    assert_eq!(reason(changed(r#""time""#, r#""tyme""#)), NotTheForm);
    assert_eq!(
        reason(changed(r#""time":5"#, r#""time":5,"time":5"#)),
        NotTheForm
    );
    assert_eq!(reason(changed(r#""time":5"#, r#""time":"5""#)), NotTheForm);
    assert_eq!(
        reason(changed(r#""message":"m""#, r#""message":null"#)),
        NotTheForm
    );
    assert_eq!(reason(changed(r#""time":5"#, r#""time":5.0"#)), NotTheForm);
    assert_eq!(
        reason(changed(r#""name":"alice""#, r#""nick":"alice""#)),
        NotTheForm
    );
    assert_eq!(reason(changed("alice", "al\u{1}ice")), NotJson);
    assert_eq!(reason(changed(r#""m"}"#, r#""m""#)), EndsEarly);
    assert_eq!(reason(changed(r#""m"}"#, r#""m"}}"#)), NotJson);
    assert_eq!(
        changed(r#""class_uid":6005,"#, ""),
        EventError::Missing("class_uid")
    );
    assert_eq!(changed(r#""time":5,"#, ""), EventError::Missing("time"));
    assert!(matches!(
        changed("600501", "600502"),
        EventError::Contradiction(_)
    ));
    assert!(matches!(
        changed(r#""category_uid":6"#, r#""category_uid":3"#),
        EventError::Contradiction(_)
    ));
    assert_eq!(
        reason(Event::parse(b"{\"message\":\"\xff\"}").unwrap_err()),
        NotJson
    );
    let large = format!("{SMALL}{}", " ".repeat(EVENT_BYTES_MAX));
    assert_eq!(
        Event::parse(large.as_bytes()).unwrap_err(),
        EventError::TooLarge { bytes: large.len() }
    );
    assert_eq!(
        Event::parse_part(Part::Who, SMALL.as_bytes()).unwrap_err(),
        EventError::ForeignField {
            part: Part::Who,
            field: "class_uid"
        }
    );
    let event = Event::parse(SMALL.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(event.to_json()).unwrap(), SMALL);
}

#[test]
fn an_error_never_quotes_a_value() {
    let json = SMALL.replace(r#""time":5"#, r#""time":"4111111111111111""#);
    let error = Event::parse(json.as_bytes()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("4111"), "{error}");
}

#[test]
fn texts_are_borrowed_and_accounts_get_pseudonyms_in_the_facts() {
    let mut event = Event::parse(SMALL.as_bytes()).unwrap();
    assert!(event.message.as_ref().unwrap().is_borrowed());
    event.unmapped.target_names = vec![Text::from("bob"), Text::from("carol")];
    event.accounts_mut(&mut |account| *account.uid = Some(format!("p-{}", account.name).into()));
    let mut parts = PartsBuf::default();
    event.write_parts(&mut parts);
    let facts = std::str::from_utf8(parts.part(Part::Facts).unwrap()).unwrap();
    assert!(
        facts.contains(r#""actor":{"user":{"uid":"p-alice"}}"#),
        "{facts}"
    );
    assert!(
        facts.contains(r#""targets":["p-bob","p-carol"]"#),
        "{facts}"
    );
    assert!(!facts.contains(r#""name":"alice""#));
}

/// The table of fields and the masking must not drift apart: a text in `who` or `text`, or a name
/// in the facts, is shown to the masking; identifiers and codes are not.
#[test]
fn every_free_text_is_visited() {
    const TYPED: &[&str] = &[
        "status_code",
        "metadata.version",
        "metadata.uid",
        "metadata.original_event_uid",
        "metadata.correlation_uid",
        "metadata.original_time",
        "metadata.log_format",
        "metadata.log_level",
        "metadata.log_name",
        "metadata.log_version",
        "metadata.event_code",
        "metadata.tenant_uid",
        "raw_data_hash.algorithm",
        "raw_data_hash.value",
        "unmapped.grade",
        "unmapped.zone",
        "unmapped.audit_type",
        "unmapped.audit_class",
        "unmapped.vxid",
        "unmapped.xid",
        "unmapped.backend_type",
        "metadata.product.name",
        "metadata.product.vendor_name",
        "metadata.product.version",
        "metadata.profiles",
        "app.name",
        "app.vendor_name",
        "app.version",
        "service.name",
        "service.version",
        "api.service.name",
        "api.service.version",
        "api.version",
        "entity.version",
        "dst_endpoint.ip",
        "dst_endpoint.hostname",
        "dst_endpoint.name",
        "dst_endpoint.svc_name",
        "unmapped.flags",
        "unmapped.redacted",
        "unmapped.targets",
        "resource.type",
        "resource.namespace",
    ];
    for row in Event::fields() {
        if !matches!(row.shape, "text" | "list of text" | "list of Resource") {
            continue;
        }
        let mut object = Map::new();
        put(&mut object, &row.path, value(row.shape, "planted", 0));
        let json = serde_json::to_vec(&object).unwrap();
        let mut event = read(&json);
        let mut seen = false;
        event.texts_mut(&mut |field, text| {
            seen |= text.as_str() == "planted";
            assert!(
                row.path == field.path || row.shape == "list of Resource",
                "{}",
                field.path
            );
        });
        let typed = TYPED.contains(&row.path.as_str()) || row.path.ends_with("uid");
        assert_eq!(seen, !typed, "{}", row.path);
        assert!(
            !typed || row.part == Part::Facts || row.path.starts_with("raw_data_hash"),
            "{}",
            row.path
        );
    }
}

/// The costs that the door budgets (DESIGN section 8): `cargo test --release -p ledger-event --
/// --ignored --nocapture cost`.
#[test]
#[ignore = "prints figures"]
#[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
fn cost_of_parse_accounts_and_parts() {
    const TYPICAL: &str = r#"{"class_uid":6005,"category_uid":6,"activity_id":5,"type_uid":600505,"severity_id":1,"status_id":0,"time":1795426926567,"type_id":3,"metadata":{"version":"1.8.0","product":{"name":"PostgreSQL"},"uid":"5f1c9a0e77b24d4fa0c3","correlation_uid":"6b040a6e.26b9"},"actor":{"user":{"name":"dba_root"},"session":{"uid":"6b040a6e.26b9"},"app_name":"psql"},"src_endpoint":{"ip":"127.0.0.1","port":48224},"database":{"name":"cards","type_id":1},"table":{"name":"public.payment"},"query_info":{"uid":"5800417817748300163","query_string":"INSERT INTO payment(pan) VALUES('************1111')"},"unmapped":{"grade":"A","redacted":[{"path":"query_info.query_string","kind":"pan","count":1}],"command":"INSERT","rows":1}}"#;
    let mut parts = PartsBuf::default();
    for (name, json) in [("typical", TYPICAL)] {
        let rounds = 200_000_u32;
        let mut best = [f64::MAX; 3];
        for _ in 0..5 {
            let start = std::time::Instant::now();
            for _ in 0..rounds {
                std::hint::black_box(Event::parse(std::hint::black_box(json.as_bytes())).unwrap());
            }
            let parse = start.elapsed().as_secs_f64();
            let mut event = Event::parse(json.as_bytes()).unwrap();
            let start = std::time::Instant::now();
            for _ in 0..rounds {
                event.accounts_mut(&mut |a| *a.uid = Some(Text::from("p-0123456789abcdef")));
                event.write_parts(std::hint::black_box(&mut parts));
            }
            let split = start.elapsed().as_secs_f64();
            let start = std::time::Instant::now();
            for _ in 0..rounds {
                let mut event = Event::parse(std::hint::black_box(json.as_bytes())).unwrap();
                event.accounts_mut(&mut |a| *a.uid = Some(Text::from("p-0123456789abcdef")));
                event.write_parts(std::hint::black_box(&mut parts));
            }
            let all = start.elapsed().as_secs_f64();
            for (slot, seconds) in best.iter_mut().zip([parse, split, all]) {
                *slot = slot.min(seconds / f64::from(rounds) * 1e6);
            }
        }
        println!(
            "{name}: {} bytes, struct {} bytes: parse {:.2} µs, accounts+parts {:.2} µs, all {:.2} µs",
            json.len(),
            size_of::<Event<'_>>(),
            best[0],
            best[1],
            best[2]
        );
    }
}

const PAGE: &str = include_str!("../../../docs/formats/event.md");

/// The table of fields as the page has it.
fn table() -> String {
    let mut out = String::from("| field | shape | part |\n|---|---|---|\n");
    for row in Event::fields() {
        out.push_str(&format!(
            "| `{}` | {} | {} |\n",
            row.path,
            row.shape,
            row.part.name()
        ));
    }
    out
}

#[test]
fn the_page_has_every_field() {
    assert!(
        PAGE.contains(&table()),
        "put this in docs/formats/event.md:\n{}",
        table()
    );
}

/// The text between a heading and the end of its code block.
fn block(heading: &str) -> &'static str {
    let after = PAGE
        .split_once(heading)
        .unwrap_or_else(|| panic!("no {heading:?}"))
        .1;
    let body = after.split_once("```").unwrap().1;
    body.split_once('\n')
        .unwrap()
        .1
        .split_once("\n```")
        .unwrap()
        .0
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|d| u8::try_from(d).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

#[test]
fn the_examples_of_the_page_decode() {
    let whole = block("### The event");
    let event = Event::parse(whole.as_bytes()).unwrap();
    assert_eq!(event.to_json(), whole.as_bytes(), "the one serialised form");
    let mut parts = PartsBuf::default();
    event.write_parts(&mut parts);
    let [facts, who, text] = ["### facts", "### who", "### text"].map(block);
    assert_eq!(parts.part(Part::Facts), Some(facts.as_bytes()));
    assert_eq!(parts.part(Part::Who), Some(who.as_bytes()));
    assert_eq!(parts.part(Part::Text), Some(text.as_bytes()));
    assert_eq!(bytes(block("### who, in hexadecimal")), who.as_bytes());
    let merged = Event::merge(
        Some(facts.as_bytes()),
        Some(who.as_bytes()),
        Some(text.as_bytes()),
    );
    assert_eq!(merged.unwrap(), event);
}
