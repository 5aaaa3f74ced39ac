//! Which form a stream has, by the first lines of it.
//!
//! `{` is jsonlog. A time that a comma follows is CSV: with a severity in the twelfth column it is
//! csvlog, with an SQLSTATE there pgauditlogtofile's file. A line that `log_line_prefix` reads is
//! stderr. Bytes that are none of these say nothing, and the next line is looked at; a stream that
//! never says is read as csvlog, whose reader keeps what it cannot read. Not here: the forms.

use super::row::plausible_start;
use super::{Settings, Which};
use crate::csv;
use crate::format::{Format, Step};
use crate::stream::Form;
use crate::text::lossless;

/// How many bytes are looked at before csvlog is taken for granted.
const LOOK_MAX: usize = 64 * 1024;

/// A reader that waits for its form.
pub(crate) struct Detect {
    settings: Settings,
    offset: u64,
    form: Option<Box<dyn Format + Send>>,
}

impl Detect {
    /// A reader at the beginning of a stream.
    pub(crate) fn new(settings: Settings) -> Detect {
        Detect {
            settings,
            offset: 0,
            form: None,
        }
    }

    /// The form of the bytes; `None` when too little of them is there.
    fn which(&self, input: &[u8], at_end: bool) -> Option<Which> {
        let input = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
        let looked = input.get(..LOOK_MAX).unwrap_or(input);
        let lines = self.settings.stderr();
        for line in looked.split_inclusive(|b| *b == b'\n') {
            let whole = line.ends_with(b"\n") || at_end || looked.len() == LOOK_MAX;
            if line.first() == Some(&b'{') {
                return Some(Which::Jsonlog);
            }
            if !whole {
                return None;
            }
            if plausible_start(line, true) == Some(true) {
                return Some(csv_form(line));
            }
            if lines.begins(line, true) == Some(true) {
                return Some(Which::Stderr);
            }
        }
        (at_end || looked.len() == LOOK_MAX).then_some(Which::Csvlog)
    }
}

/// Which form a line of CSV has.
fn csv_form(line: &[u8]) -> Which {
    let (line, _) = lossless(line);
    let fields = csv::split(line.trim_end_matches(['\n', '\r']), true).unwrap_or_default();
    let twelfth = fields.get(11).map_or("", |field| &*field.text);
    let class = fields.get(12).map_or("", |field| &*field.text);
    let is_state = twelfth.len() == 5 && twelfth.bytes().any(|b| b.is_ascii_digit());
    if is_state && matches!(class, "SESSION" | "OBJECT") {
        Which::AuditFile
    } else {
        Which::Csvlog
    }
}

impl Format for Detect {
    fn next<'i>(&mut self, input: &'i [u8], at_end: bool) -> Step<'i> {
        if self.form.is_none() {
            if input.is_empty() {
                return Step::NeedMore;
            }
            let Some(which) = self.which(input, at_end) else {
                return Step::NeedMore;
            };
            let mut form = self.settings.open(which);
            form.resume(self.offset);
            self.form = Some(form);
        }
        match &mut self.form {
            Some(form) => form.next(input, at_end),
            None => Step::NeedMore,
        }
    }

    fn pause<'i>(&mut self, input: &'i [u8]) -> Step<'i> {
        match &mut self.form {
            Some(form) => form.pause(input),
            None => Step::NeedMore,
        }
    }

    fn resume(&mut self, offset: u64) {
        self.offset = offset;
        if let Some(form) = &mut self.form {
            form.resume(offset);
        }
    }
}
