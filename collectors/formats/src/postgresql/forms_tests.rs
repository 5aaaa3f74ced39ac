//! The same run in three forms gives the same events, as far as each form carries the data; and the
//! forms' own bad input.

use ledger_event::{Event, Fingerprint, Text};

use crate::mask::{Dialect, MaskOptions, recheck};
use crate::reading_tests::{Answer, format_of, leaks, read, reasons};

const CSV: &[u8] = include_bytes!("../../samples/pg15-pgaudit17-rows-off-utc.csv");
const JSON: &[u8] = include_bytes!("../../samples/pg15-pgaudit17-rows-off-utc.json");
const LOG: &[u8] = include_bytes!("../../samples/pg15-pgaudit17-rows-off-utc.log");
const FILE: &[u8] = include_bytes!("../../samples/pgauditlogtofile.csv");

const PREFIX: &str =
    "%m [%p] %q[user=%u,db=%d,app=%a,host=%h,sess=%c,line=%l,vxid=%v,xid=%x,qid=%Q] ";

const SECRETS: &[&str] = &[
    "4111111111111111",
    "5500 0000 0000 0004",
    "4012888888881881",
    "371449635398431",
    "S3cret-pw!",
    "N3w-pw!",
    "rootpw",
];

fn read_all(input: &[u8]) -> Vec<Answer> {
    let mut format = format_of("postgresql", &[("log_line_prefix", PREFIX)]);
    read(&mut *format, input, usize::MAX >> 1)
}

/// An event without what belongs to its form alone: its name, and the bytes of the record.
fn bare(answer: &Answer) -> Event<'_> {
    let mut event = answer.event();
    event.metadata.log_format = None;
    event.raw_data = None;
    event.raw_data_size = None;
    event.raw_data_hash = Fingerprint::default();
    event
        .unmapped
        .redacted
        .retain(|r| r.path.as_deref() != Some("raw_data"));
    event
}

#[test]
fn csvlog_and_jsonlog_of_one_run_give_equal_events() {
    let (csv, json) = (read_all(CSV), read_all(JSON));
    assert_eq!((csv.len(), json.len()), (179, 179));
    for (csv, json) in csv.iter().zip(&json) {
        assert!(csv.parsed && json.parsed, "{}", json.json);
        assert_eq!(json.event().metadata.log_format.as_deref(), Some("jsonlog"));
        let (csv, json) = (bare(csv), bare(json));
        assert_eq!(
            String::from_utf8(json.to_json()),
            String::from_utf8(csv.to_json())
        );
    }
}

/// What stderr with this prefix does not carry: the SQLSTATE, the tag of the command, the port, the
/// kind and the start of the process, and csvlog's count of lines.
fn as_stderr_has_it(event: &mut Event<'_>) {
    event.status_code = None;
    event.metadata.uid = None;
    event.metadata.original_event_uid = None;
    event.unmapped.line = None;
    event.unmapped.command_tag = None;
    event.unmapped.backend_type = None;
    event.unmapped.grade = None;
    // Where the forged name's lines were passed over.
    event
        .unmapped
        .flags
        .retain(|flag| *flag != "resynchronised");
    for endpoint in [&mut event.src_endpoint, &mut event.unmapped.src_endpoint] {
        endpoint.port = None;
    }
    for session in [
        &mut event.session,
        &mut event.actor.session,
        &mut event.unmapped.actor.session,
    ] {
        session.created_time = None;
    }
    for query in [&mut event.query_info, &mut event.unmapped.query_info] {
        query.name = None;
    }
    // `at character 15` stands at the end of a message only here.
    if let Some((message, _)) = event
        .message
        .as_deref()
        .and_then(|m| m.split_once(" at character "))
    {
        event.message = Some(Text::from(message.to_owned()));
    }
}

#[test]
fn csvlog_and_stderr_of_one_run_give_equal_events() {
    let (csv, log) = (read_all(CSV), read_all(LOG));
    let unparsed: Vec<_> = log.iter().filter(|a| !a.parsed).map(|a| &a.json).collect();
    let forged = |a: &&Answer| a.json.contains("ghost\\n");
    let (forged, csv): (Vec<_>, Vec<_>) = csv.iter().partition(forged);
    let parsed: Vec<_> = log.iter().filter(|a| a.parsed).collect();
    // The user name that holds a line end: what it wrote is kept and believed nowhere.
    assert_eq!(forged.len(), 1);
    assert_eq!(unparsed.len(), 7, "{unparsed:?}");
    assert_eq!(parsed.len(), csv.len(), "{unparsed:?}");
    for (csv, log) in csv.iter().zip(&parsed) {
        let (mut csv, mut log) = (bare(csv), bare(log));
        // Processes without a session stop at %q and are linked by their process.
        if csv.who().user.name.is_none() && csv.user.name.is_none() {
            csv.metadata.correlation_uid = None;
            log.metadata.correlation_uid = None;
            for event in [&mut csv, &mut log] {
                event.unmapped.actor.session.uid = None;
                event.actor.session.uid = None;
            }
        }
        as_stderr_has_it(&mut csv);
        as_stderr_has_it(&mut log);
        assert_eq!(
            String::from_utf8(log.to_json()),
            String::from_utf8(csv.to_json())
        );
    }
}

#[test]
fn every_form_masks_takes_every_byte_and_leaves_the_door_nothing() {
    for sample in [CSV, JSON, LOG, FILE] {
        let answers = read_all(sample);
        assert_eq!(leaks(&answers, SECRETS), Vec::<String>::new());
        assert_eq!(answers.iter().map(|a| a.bytes).sum::<usize>(), sample.len());
        let text = std::str::from_utf8(sample).unwrap();
        assert!(text.contains("4111111111111111"));
        let planted = text.replace("4111111111111111", "pl4nted-marker");
        assert!(!leaks(&read_all(planted.as_bytes()), &["pl4nted-marker"]).is_empty());
        for answer in &answers {
            let mut event = answer.event();
            let again = recheck(&mut event, Dialect::PostgreSql, MaskOptions::default());
            assert_eq!(again, 0, "{}", answer.json);
            assert_eq!(answer.json.as_bytes(), event.to_json());
        }
        for step in [1, 977] {
            let sample = if step == 1 {
                &sample[..sample.len().min(3000)]
            } else {
                sample
            };
            let mut format = format_of("postgresql", &[("log_line_prefix", PREFIX)]);
            let got = read(&mut *format, sample, step);
            assert_eq!(got, read_all(sample), "windows of {step}");
        }
    }
}

#[test]
fn pgauditlogtofile() {
    let answers = read_all(FILE);
    assert_eq!(reasons(&answers), vec![None; 5]);
    let insert = answers[2].event();
    assert_eq!(
        insert.metadata.log_format.as_deref(),
        Some("pgauditlogtofile")
    );
    assert_eq!(insert.head().class_uid, 6005);
    assert_eq!(insert.unmapped.rows, Some(1));
    assert_eq!(
        insert.statement().query_string.as_deref(),
        Some("INSERT INTO t2 VALUES(E'************1111\\nq\"x')")
    );
    let native = std::str::from_utf8(FILE).unwrap().lines().nth(2).unwrap();
    let expected = native.replace("4111111111111111", "************1111");
    assert_eq!(insert.raw_data.as_deref(), Some(&*expected));
    assert_eq!(answers[3].event().raw_data.unwrap().lines().count(), 2);
}

#[test]
fn bad_input_of_each_form() {
    let json = |message: &str| {
        format!(
            "{{\"timestamp\":\"2026-11-23 09:42:03.134 UTC\",\"pid\":1,\"session_id\":\"6b.1\",\"line_num\":1,\"error_severity\":\"LOG\",\"message\":{message}}}\n"
        )
    };
    let log = |message: &str| format!("2026-11-23 09:42:03.134 UTC [7] LOG:  {message}\n");
    let twice = json("\"x\",\"message\":\"y\"");
    for (form, input, expected) in [
        (
            "jsonlog",
            json("\"x\"") + "{\"a\":\n" + &json("\"y\""),
            vec![None, Some("not a flat JSON object"), None],
        ),
        ("jsonlog", twice, vec![Some("a field twice")]),
        (
            "jsonlog",
            json("\"x\"").replace("\"line_num\":1,", ""),
            vec![Some("no line_num")],
        ),
        (
            "jsonlog",
            "garbage\n".to_owned(),
            vec![Some("a line that is no record")],
        ),
        (
            "stderr",
            log("x") + "garbage\n" + &log("y"),
            vec![None, Some("a line that is no record"), None],
        ),
        ("stderr", log("x\n\tmore") + &log("y"), vec![None, None]),
        (
            "stderr",
            log("x") + "2026-11-23 09:42:03.134 UTC [7] DETAIL:  d\n",
            vec![None],
        ),
        (
            "stderr",
            "2026-11-23 09:42:03.134 UTC [7] DETAIL:  d\n".to_owned(),
            vec![Some("a line that is no record")],
        ),
        (
            "stderr",
            log("x").trim_end().to_owned(),
            vec![Some("record ends without a line end")],
        ),
        (
            "pgauditlogtofile",
            "2026-11-23 04:42:08.879 EST,a,b\n".to_owned(),
            vec![Some("not 30 or 31 fields")],
        ),
    ] {
        let read_form = |step| {
            read(
                &mut *format_of("postgresql", &[("form", form)]),
                input.as_bytes(),
                step,
            )
        };
        let expected: Vec<_> = expected.into_iter().map(|r| r.map(str::to_owned)).collect();
        assert_eq!(reasons(&read_form(usize::MAX >> 1)), expected, "{input}");
        assert_eq!(reasons(&read_form(1)), expected, "byte by byte: {input}");
    }
    // A process that is not the one of its session is not believed.
    let line = "2026-11-23 09:42:03.134 UTC [7] [user=a,db=b,app=c,host=h,sess=6b04.7,line=1,vxid=,xid=0,qid=0] LOG:  x\n";
    assert_eq!(reasons(&read_all(line.as_bytes())), [None]);
    let forged = line.replace("[7]", "[1]");
    assert!(reasons(&read_all(format!("{line}{forged}").as_bytes()))[1].is_some());
}

/// Every event of the samples, one a line, for `scripts/ocsf_check.py`.
#[test]
#[ignore = "prints events"]
fn print_events() {
    println!();
    for answer in [JSON, LOG, FILE].into_iter().flat_map(read_all) {
        println!("{}", answer.json);
    }
}
