//! The last record of a file that nobody writes to at present.

use crate::reading_tests::{format_of, read};
use crate::{Format, Step};

const LOG: &[u8] = include_bytes!("../../samples/pg15-pgaudit17-rows-off-utc.log");
const PREFIX: &str =
    "%m [%p] %q[user=%u,db=%d,app=%a,host=%h,sess=%c,line=%l,vxid=%v,xid=%x,qid=%Q] ";

fn stderr() -> Box<dyn Format + Send> {
    format_of(
        "postgresql",
        &[("form", "stderr"), ("log_line_prefix", PREFIX)],
    )
}

fn line(message: &str) -> String {
    format!(
        "2026-11-23 09:42:03.134 UTC [7] [user=a,db=b,app=c,host=h,sess=6b04.7,line=1,vxid=,xid=0,\
         qid=0] {message}\n"
    )
}

/// Bytes, whether understood, and the event.
type Told = (usize, bool, String);

/// How a reader comes behind a record that may go on.
type Way<'w> = &'w dyn Fn(&mut dyn Format) -> Told;

fn told(step: Step<'_>) -> Option<Told> {
    let json = |event: &ledger_event::Event<'_>| String::from_utf8(event.to_json()).unwrap();
    match step {
        Step::Record { consumed, event } => Some((consumed, true, json(&event))),
        Step::Unparsed { consumed, event } => Some((consumed, false, json(&event))),
        Step::Skip { .. } | Step::NeedMore => None,
    }
}

#[test]
fn a_pause_changes_no_record() {
    let whole = read(&mut *stderr(), LOG, usize::MAX >> 1);
    let mut format = stderr();
    let mut from = 0;
    let mut given = 0;
    for answer in &whole {
        let window = &LOG[from..from + answer.bytes];
        let found = match told(format.next(window, false)) {
            // What is no record needs no look at what follows.
            Some(found) => found,
            None => {
                given += 1;
                for short in [&window[..window.len() - 1], &window[..window.len() / 2]] {
                    let nothing = told(format.pause(short));
                    assert_eq!(nothing, None, "a line without its end waits on");
                }
                told(format.pause(window)).unwrap()
            }
        };
        let expected = (answer.bytes, answer.parsed, answer.json.clone());
        assert_eq!(found, expected);
        from += answer.bytes;
    }
    assert_eq!(from, LOG.len());
    assert!(given > 150, "{given} records waited");
}

#[test]
fn what_goes_on_with_a_record_that_was_given_is_kept_without_its_text() {
    let record = line("LOG:  statement: SELECT 1");
    for more in ["\t, 'geheim'\n".to_owned(), line("DETAIL:  geheim")] {
        let all = [&*record, &*more, &*record].concat();
        // The twin: what nobody interrupts is one record.
        let whole = read(&mut *stderr(), all.as_bytes(), usize::MAX >> 1);
        assert_eq!(whole.len(), 2);
        assert!(whole[0].json.contains("geheim"), "{}", whole[0].json);

        let paused = |format: &mut dyn Format| {
            assert_eq!(told(format.next(record.as_bytes(), false)), None);
            told(format.pause(record.as_bytes())).unwrap()
        };
        let resumed = |format: &mut dyn Format| {
            format.resume(record.len() as u64);
            (record.len(), true, String::new())
        };
        let ways: [Way<'_>; 2] = [&paused, &resumed];
        for way in ways {
            let mut format = stderr();
            let (bytes, parsed, _) = way(&mut *format);
            assert_eq!((bytes, parsed), (record.len(), true));
            // Two lines of it, then a record.
            let rest = &all[bytes..];
            for _ in 0..2 {
                let (bytes, parsed, json) = told(format.next(rest.as_bytes(), false)).unwrap();
                assert_eq!((bytes, parsed), (more.len(), false), "{json}");
                assert!(json.contains("goes on with the record before it"), "{json}");
                assert!(
                    json.contains("raw_data_hash") && !json.contains("geheim"),
                    "{json}"
                );
            }
            let (_, parsed, json) = told(format.next(record.as_bytes(), true)).unwrap();
            assert!(parsed && json.contains("resynchronised"), "{json}");
            // Behind a record that was ended by the next one, such a line is only no record.
            let stray = told(format.next(b"stray\n", false)).unwrap();
            assert!(stray.2.contains("a line that is no record"), "{}", stray.2);
        }
    }
}

#[test]
fn other_forms_wait_for_their_line_end_and_for_nothing_else() {
    for (platform, form, open) in [
        ("postgresql", "csvlog", "2026-11-23 09:42:03.638 UTC,\"a\n"),
        ("postgresql", "jsonlog", "{\"timestamp\":"),
        ("mariadb", "server_audit", "20261123 04:42:54,vm,root,"),
    ] {
        let mut format = format_of(platform, &[("form", form)]);
        assert_eq!(told(format.next(open.as_bytes(), false)), None);
        assert_eq!(told(format.pause(open.as_bytes())), None);
    }
    let mut unknown = format_of("postgresql", &[]);
    assert_eq!(told(unknown.pause(b"who knows\n")), None);
}
