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
