//! Card numbers with whatever byte directly before and behind them, as each form writes it: none
//! survives in any text of the event, nor at a door that sees the record unmasked.

use ledger_event::Event;
use proptest::prelude::*;

use crate::mask::{Dialect, MaskOptions, recheck};
use crate::reading_tests::{format_of, read};
use crate::text::lossless;

const CARDS: [&str; 4] = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "378282246310005",
    "5500-0000-0000-0004",
];

const FORMS: [&str; 4] = ["csvlog", "jsonlog", "stderr", "server_audit"];

/// Bytes that can stand directly beside a number: control characters, bytes of other encodings,
/// characters of several bytes, and what a statement writes for them. Digits make another number.
fn beside() -> impl Strategy<Value = Vec<u8>> {
    let typed = prop::sample::select(vec![
        "\\u0002",
        "\\x02",
        "\\x93",
        "\\002",
        "\\0002",
        "\\+000002",
        "\\U00000002",
        "\\n",
        "\\",
        "\\\\",
        "\\ud83d\\ude00",
        "\\uD83D",
        "\\U0001F600",
        "\\d83d\\de00",
        "'",
        "\"",
        ",",
        "x",
    ]);
    let control = (1..0x20_u8).prop_map(|byte| vec![byte]);
    let other = any::<char>().prop_filter("an ASCII digit", |c| !c.is_numeric() && *c != '\0');
    let bytes = prop_oneof![
        3 => control,
        3 => (0x80..=0xff_u8).prop_map(|byte| vec![byte]),
        1 => prop::collection::vec(0x80..=0xff_u8, 1..4),
        2 => other.prop_map(|c| c.to_string().into_bytes()),
        2 => prop::sample::select(vec!["é", "à", "“", "\u{a0}", "\u{85}", "😀", "漢"])
            .prop_map(|text| text.as_bytes().to_vec()),
        3 => typed.prop_map(|text| text.as_bytes().to_vec()),
        1 => Just(Vec::new()),
    ];
    bytes.prop_filter("a digit", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        bytes.is_ascii() || !text.chars().any(char::is_numeric)
    })
}

/// Bytes with some of them as `escape` writes them.
fn with(text: &[u8], escape: impl Fn(u8) -> Option<String>) -> Vec<u8> {
    let each = text.iter().map(|byte| match escape(*byte) {
        Some(escape) => escape.into_bytes(),
        None => vec![*byte],
    });
    each.collect::<Vec<_>>().concat()
}

/// As PostgreSQL's `escape_json` does; with `pairs`, other characters as other writers do.
fn as_json(text: &[u8], pairs: bool) -> Vec<u8> {
    let escaped = with(text, |byte| match byte {
        b'"' => Some("\\\"".into()),
        b'\\' => Some("\\\\".into()),
        8 => Some("\\b".into()),
        9 => Some("\\t".into()),
        10 => Some("\\n".into()),
        12 => Some("\\f".into()),
        13 => Some("\\r".into()),
        0..0x20 => Some(format!("\\u{byte:04x}")),
        _ => None,
    });
    match String::from_utf8(escaped) {
        Ok(text) if pairs => {
            let mut units = [0; 2];
            let each = text.chars().map(|c| match c.is_ascii() {
                true => c.to_string(),
                false => {
                    let units = c.encode_utf16(&mut units).iter();
                    units.map(|unit| format!("\\u{unit:04x}")).collect()
                }
            });
            each.collect::<String>().into_bytes()
        }
        Ok(text) => text.into_bytes(),
        Err(bytes) => bytes.into_bytes(),
    }
}

/// One record of a form with a statement in it.
fn record(form: &str, statement: &[u8], audit: bool, pairs: bool) -> Vec<u8> {
    const TIME: &str = "2026-11-23 09:42:03.638 UTC";
    let doubled = |text: &[u8]| with(text, |byte| (byte == b'"').then(|| "\"\"".into()));
    let message = if audit {
        [
            b"AUDIT: SESSION,4,1,READ,SELECT,,,\"",
            &*doubled(statement),
            b"\",<none>",
        ]
        .concat()
    } else {
        [b"statement: ", statement].concat()
    };
    let (head, body, tail) = match form {
        "csvlog" => (
            format!(
                "{TIME},\"dba\",\"cards\",9859,\"h:1\",6b040a6b.2683,4,\"SELECT\",\
                 2026-11-23 09:42:03 UTC,3/20,0,LOG,00000,\""
            ),
            doubled(&message),
            "\",,,,,,,,,\"psql\",\"client backend\",,7\n",
        ),
        "jsonlog" => (
            format!(
                "{{\"timestamp\":\"{TIME}\",\"session_id\":\"6b.1\",\"line_num\":1,\
                 \"error_severity\":\"LOG\",\"message\":\""
            ),
            as_json(&message, pairs),
            "\",\"query_id\":7}\n",
        ),
        "stderr" => (
            format!("{TIME} [7] LOG:  "),
            with(&message, |byte| (byte == b'\n').then(|| "\n\t".into())),
            "\n",
        ),
        _ => (
            "20261123 04:42:54,vm,root,localhost,7,1,QUERY,d,'".to_owned(),
            with(statement, |byte| match byte {
                b'\n' => Some("\\n".into()),
                b'\r' => Some("\\r".into()),
                b'\t' => Some("\\t".into()),
                b'\'' => Some("\\'".into()),
                b'\\' => Some("\\\\".into()),
                _ => None,
            }),
            "',0\n",
        ),
    };
    [head.as_bytes(), &body, tail.as_bytes()].concat()
}

/// What a form's reader and a door leave of a record with a card number between two texts.
fn left(form: &str, before: &[u8], card: &str, behind: &[u8], ways: (bool, bool)) -> [String; 2] {
    let statement = [b"select '", before, card.as_bytes(), behind, b"'"].concat();
    let record = record(form, &statement, ways.0, ways.1);
    let (platform, product) = match form {
        "server_audit" => ("mariadb", "MariaDB"),
        _ => ("postgresql", "PostgreSQL"),
    };
    let answers = read(
        &mut *format_of(platform, &[("form", form)]),
        &record,
        1 << 20,
    );
    let read: String = answers.iter().map(|answer| &*answer.json).collect();
    let mut event = Event::default();
    event.metadata.product.name = Some(product.into());
    event.metadata.log_format = Some(form.to_owned().into());
    let (raw, _) = lossless(record.trim_ascii_end());
    let (text, _) = lossless(&statement);
    event.raw_data = Some(raw.into_owned().into());
    event.query_info.query_string = Some(text.into_owned().into());
    recheck(&mut event, Dialect::PostgreSql, MaskOptions::default());
    [read, String::from_utf8(event.to_json()).unwrap()]
}

#[test]
fn a_number_that_is_no_cards_stays_so_it_would_be_seen() {
    for form in FORMS {
        for text in left(form, b"\x93", "4111111111111112", b"\x02", (true, false)) {
            assert!(text.contains("4111111111111112"), "{text}");
        }
    }
}

#[test]
fn no_card_number_survives_in_any_form_whatever_touches_it() {
    let forms = prop::sample::select(FORMS.to_vec());
    let cards = prop::sample::select(CARDS.to_vec());
    let strategy = (forms, beside(), cards, beside(), any::<(bool, bool)>());
    crate::reading_tests::for_a_while(&strategy, |(form, before, card, behind, ways)| {
        for text in left(form, &before, card, &behind, ways) {
            prop_assert!(
                !text.contains(card),
                "{form} {before:x?} {behind:x?}: {text}"
            );
        }
        Ok(())
    });
}

#[test]
fn no_byte_before_a_card_number_hides_it() {
    for form in FORMS {
        for byte in (1..0x20).chain(0x80..=0xff_u8) {
            for card in CARDS {
                for ways in [(true, true), (false, false)] {
                    for text in left(form, &[byte], card, b"", ways) {
                        assert!(!text.contains(card), "{form} {byte:x}: {text}");
                    }
                }
            }
        }
    }
}
