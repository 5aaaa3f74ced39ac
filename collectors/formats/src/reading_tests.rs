//! How the tests of every form read their input, and what they look for in all of it.

use ledger_event::{Event, PartsBuf};

use crate::{Format, FormatKeys, Step, format_for};

/// The format of a platform with these settings, under a key of the tests.
pub(crate) fn format_of(platform: &str, settings: &[(&str, &str)]) -> Box<dyn Format + Send> {
    let settings: Vec<_> = settings
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let keys = FormatKeys {
        digest_key: [7; 32],
    };
    format_for(platform, &settings, &keys).unwrap()
}

/// One answer, with the bytes that it took.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Answer {
    pub(crate) bytes: usize,
    pub(crate) parsed: bool,
    pub(crate) json: String,
}

impl Answer {
    pub(crate) fn event(&self) -> Event<'_> {
        Event::parse(self.json.as_bytes()).unwrap()
    }
}

/// Reads all of an input in windows that grow by `step` bytes.
pub(crate) fn read(format: &mut dyn Format, input: &[u8], step: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    let (mut from, mut to, mut skipped) = (0, step.min(input.len()), 0);
    loop {
        let at_end = to == input.len();
        let (consumed, parsed, event) = match format.next(&input[from..to], at_end) {
            Step::NeedMore if at_end => {
                assert_eq!(from, to, "nothing is left at the end");
                return answers;
            }
            Step::NeedMore => {
                to = (to + step).min(input.len());
                continue;
            }
            Step::Skip { consumed } => {
                assert!(consumed > 0);
                skipped += consumed;
                from += consumed;
                continue;
            }
            Step::Record { consumed, event } => (consumed, true, event),
            Step::Unparsed { consumed, event } => (consumed, false, event),
        };
        let json = String::from_utf8(event.to_json()).unwrap();
        assert!(json.len() <= ledger_event::EVENT_BYTES_MAX);
        answers.push(Answer {
            bytes: consumed + skipped,
            parsed,
            json,
        });
        skipped = 0;
        from += consumed;
        to = to.max(from);
    }
}

pub(crate) fn reasons(answers: &[Answer]) -> Vec<Option<String>> {
    answers
        .iter()
        .map(|a| a.event().unmapped.unparsed.map(|r| r.to_string()))
        .collect()
}

/// Whether any of the needles is in an answer or in one of its parts.
pub(crate) fn leaks(answers: &[Answer], needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for answer in answers {
        let mut parts = PartsBuf::default();
        answer.event().write_parts(&mut parts);
        let texts = [answer.json.as_bytes(), &parts.bytes].map(String::from_utf8_lossy);
        for needle in needles {
            if texts.iter().any(|text| text.contains(needle)) {
                found.push(format!("{needle} in {}", answer.json));
            }
        }
    }
    found
}

/// Samples of every form, with the platform and the settings to read them with.
const SAMPLES: &[(&str, &str, &[u8])] = &[
    (
        "postgresql",
        "csvlog",
        include_bytes!("../samples/pg15-pgaudit17-rows-off-utc.csv"),
    ),
    (
        "postgresql",
        "jsonlog",
        include_bytes!("../samples/pg15-pgaudit17-rows-off-utc.json"),
    ),
    (
        "postgresql",
        "stderr",
        include_bytes!("../samples/pg15-pgaudit17-rows-off-utc.log"),
    ),
    (
        "postgresql",
        "pgauditlogtofile",
        include_bytes!("../samples/pgauditlogtofile.csv"),
    ),
    (
        "mariadb",
        "server_audit",
        include_bytes!("../samples/mariadb1011-server_audit.log.1"),
    ),
];

/// What the samples' sessions typed that must be nowhere, whatever happens to the bytes around it.
const SECRETS: &[&str] = &[
    "4111111111111111",
    "5500 0000 0000 0004",
    "4012888888881881",
];

/// One thing that happens to bytes on their way.
#[derive(Clone, Debug)]
enum Accident {
    /// Bytes are put in.
    Put(Vec<u8>),
    /// So many bytes are lost.
    Lose(usize),
    /// So many bytes come twice.
    Twice(usize),
    /// A bit is flipped.
    Flip(u8),
    /// The rest is cut off.
    Cut,
}

fn accident() -> impl proptest::strategy::Strategy<Value = (usize, Accident)> {
    use proptest::prelude::*;
    let marks = prop::collection::vec(
        prop::sample::select(&b"'\"\\,\n\r\t\0{}[]:;$-/*#`\xff\xc3 0aN"[..]),
        1..6,
    );
    let what = prop_oneof![
        4 => marks.prop_map(Accident::Put),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Accident::Put),
        2 => (1..300_usize).prop_map(Accident::Lose),
        1 => (1..300_usize).prop_map(Accident::Twice),
        2 => (0..8_u8).prop_map(Accident::Flip),
        1 => Just(Accident::Cut),
    ];
    (any::<usize>(), what)
}

fn befall(bytes: &mut Vec<u8>, at: usize, accident: Accident) {
    let at = at % (bytes.len() + 1);
    let to = |length: usize| (at + length).min(bytes.len());
    match accident {
        Accident::Put(more) => drop(bytes.splice(at..at, more)),
        Accident::Lose(length) => drop(bytes.drain(at..to(length))),
        Accident::Twice(length) => {
            let again = bytes[at..to(length)].to_vec();
            bytes.splice(at..at, again);
        }
        Accident::Flip(bit) => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Accident::Cut => bytes.truncate(at),
    }
}

/// Events in which a secret is left; one that an accident gave another digit is no card number.
fn survivors(answers: &[Answer]) -> Vec<String> {
    let alone = |text: &str| {
        SECRETS.iter().any(|secret| {
            text.match_indices(secret).any(|(at, _)| {
                let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
                !digit(text[..at].chars().next_back())
                    && !digit(text[at + secret.len()..].chars().next())
            })
        })
    };
    let left = answers.iter().filter(|answer| alone(&answer.json));
    left.map(|answer| answer.json.clone()).collect()
}

#[test]
fn a_secret_that_survives_is_noticed() {
    let answer = |json: &str| Answer {
        bytes: 0,
        parsed: true,
        json: json.to_owned(),
    };
    assert_eq!(
        survivors(&[answer("x'4111111111111111'"), answer("04111111111111111")]).len(),
        1
    );
}

/// Draws cases until a bounded time has passed. The seed is printed, and `CUSTODY_FUZZ_SEED` begins
/// with the same again; a failure is shrunk and says both.
#[expect(
    clippy::disallowed_methods,
    reason = "time bounds the search, and every run looks elsewhere"
)]
pub(crate) fn for_a_while<S: proptest::strategy::Strategy>(
    strategy: &S,
    test: impl Fn(S::Value) -> proptest::test_runner::TestCaseResult,
) {
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    const TIME: std::time::Duration = std::time::Duration::from_millis(2500);
    let begun = std::time::Instant::now();
    let given = std::env::var("CUSTODY_FUZZ_SEED").ok();
    let of_clock = || {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        since.as_secs() << 20 | u64::from(since.subsec_micros())
    };
    let first: u64 = given.map_or_else(of_clock, |seed| seed.parse().unwrap());
    println!("seed {first}");
    let mut cases = 0;
    for seed in first.. {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = Config {
            failure_persistence: None,
            ..Config::with_cases(20)
        };
        let tried = TestRunner::new_with_rng(config, rng).run(strategy, &test);
        assert!(tried.is_ok(), "CUSTODY_FUZZ_SEED={seed}: {tried:?}");
        cases += 20;
        if begun.elapsed() > TIME {
            break;
        }
    }
    println!("{cases} cases");
}

#[test]
fn a_failure_of_the_search_names_its_seed() {
    let fails = std::panic::catch_unwind(|| {
        for_a_while(&(0..9_u8), |n| {
            proptest::prop_assert!(n > 9);
            Ok(())
        });
    });
    let said = fails.unwrap_err();
    let said = said.downcast_ref::<String>().unwrap();
    assert!(said.starts_with("CUSTODY_FUZZ_SEED="), "{said}");
}

#[test]
fn no_accident_stalls_a_form_or_shows_a_secret() {
    let strategy = (
        0..SAMPLES.len(),
        proptest::prelude::any::<usize>(),
        proptest::collection::vec(accident(), 1..8),
        1..5000_usize,
    );
    for_a_while(&strategy, |(form, from, accidents, step)| {
        let (platform, form, sample) = SAMPLES[form];
        // A dozen records from anywhere.
        let from = from % sample.len();
        let line = sample[from..]
            .iter()
            .position(|b| *b == b'\n')
            .map_or(0, |at| from + at + 1);
        let mut input = sample[line..(line + 8000).min(sample.len())].to_vec();
        for (at, accident) in accidents {
            befall(&mut input, at, accident);
        }
        let mut settings = vec![("form", form)];
        if form == "stderr" {
            settings.push((
                "log_line_prefix",
                "%m [%p] %q[user=%u,db=%d,app=%a,host=%h,sess=%c,line=%l,vxid=%v,xid=%x,qid=%Q] ",
            ));
        }
        let whole = read(
            &mut *format_of(platform, &settings),
            &input,
            usize::MAX >> 1,
        );
        proptest::prop_assert_eq!(survivors(&whole), Vec::<String>::new());
        let pieces = read(&mut *format_of(platform, &settings), &input, step);
        proptest::prop_assert_eq!(pieces, whole);
        // Whatever the form was taken for, too.
        let any = read(&mut *format_of(platform, &settings[1..]), &input, step);
        proptest::prop_assert_eq!(survivors(&any), Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn a_long_record_of_any_form_is_cut_the_same_in_any_windows() {
    let csv = "2026-11-23 09:42:03.638 UTC,\"dba\",\"cards\",9859,\"h:1\",6b040a6b.2683,4,\"SELECT\",2026-11-23 09:42:03 UTC,3/20,0,LOG,00000,\"";
    let json = "{\"timestamp\":\"2026-11-23 09:42:03.638 UTC\",\"session_id\":\"6b.1\",\"line_num\":1,\"error_severity\":\"LOG\",\"message\":\"";
    for (platform, form, head, line, tail) in [
        (
            "postgresql",
            "csvlog",
            csv,
            "x\n",
            "\",,,,,,,,,\"psql\",\"client backend\",,7\n",
        ),
        ("postgresql", "jsonlog", json, "x\\n", "\"}\n"),
        (
            "postgresql",
            "stderr",
            "2026-11-23 09:42:03.134 UTC [7] LOG:  ",
            "x\n\t",
            "y\n",
        ),
        (
            "mariadb",
            "server_audit",
            "20261123 04:42:54,vm,root,localhost,7,1,QUERY,d,'",
            "x\\n",
            "',0\n",
        ),
    ] {
        for size in [100_usize, 60_000, 195_000, 900_000] {
            for shift in 0..3 {
                let body =
                    "z".repeat(shift) + &line.repeat(size / line.len()) + " 4111111111111111 ";
                let long = format!("{head}{body}{tail}");
                let input = format!("{long}{head}short{tail}");
                let read_in = |step| {
                    read(
                        &mut *format_of(platform, &[("form", form)]),
                        input.as_bytes(),
                        step,
                    )
                };
                let whole = read_in(usize::MAX >> 1);
                assert_eq!(whole.len(), 2, "{form} {size}");
                assert_eq!(whole[0].bytes, long.len());
                assert!(whole[1].parsed, "{form} {size}");
                assert_eq!(survivors(&whole), Vec::<String>::new());
                assert_eq!(read_in(65_536), whole, "{form} {size}");
            }
        }
    }
}
