//! A stream of native records: finds each one, cuts the ones that are too long, and finds the next
//! record after bytes that are none.
//!
//! What a record looks like is a [`Form`]'s business. Not here: what a record means.

use std::borrow::Cow;

use ledger_event::{Event, Text};

use crate::csv::{self, Scan, Scanner};
use crate::format::{Format, RECORD_BYTES_MAX, Step};
use crate::postgresql::Lines;
use crate::text::{Digest, Digests, lossless};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The longest window that an open record is asked to be given again in; beyond, it is cut.
const WINDOW_MAX: usize = RECORD_BYTES_MAX + 1024;

/// Why bytes are no record of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotARow(pub(crate) &'static str);

const OPEN: NotARow = NotARow("record ends without a line end");
const NO_RECORD: NotARow = NotARow("a line that is no record");
/// Without the record before it nobody can say what of its text is a secret.
pub(crate) const GOES_ON: NotARow = NotARow("a line that goes on with the record before it");

/// One native record: its bytes without the line end, and what is known when it was cut.
pub(crate) struct Record<'i> {
    /// The bytes; the first of them when the record was cut.
    pub(crate) bytes: &'i [u8],
    /// Size and keyed digest of the whole, when it was cut.
    pub(crate) whole: Option<(u64, Digest)>,
    /// Offset in the native stream.
    pub(crate) offset: u64,
}

/// A record that could not be read, and why.
pub(crate) type Refused<'i> = Box<(NotARow, Record<'i>)>;

/// One form of records.
pub(crate) trait Form {
    /// Whether bytes can be the beginning of a record: `None` when the window is too short to say.
    fn begins(&self, input: &[u8], at_end: bool) -> Option<bool>;

    /// What finds the end of a record.
    fn ending(&self) -> Ending;

    /// The event of a record.
    fn event<'i>(&mut self, record: Record<'i>) -> Result<Box<Event<'i>>, Refused<'i>>;

    /// The event of bytes that are no record.
    fn unparsed(&mut self, record: Record<'_>, reason: NotARow) -> Box<Event<'static>>;

    /// The digests of the source.
    fn digests(&self) -> &Digests;
}

/// Reads the text of a record. One that is not UTF-8 is read from a copy, and so owns its texts.
pub(crate) fn read_text<'i, F>(record: Record<'i>, read: F) -> Result<Box<Event<'i>>, Refused<'i>>
where
    F: for<'t> FnOnce(&'t str, bool, &Record<'_>) -> Result<Box<Event<'t>>, NotARow>,
{
    let made = match lossless(record.bytes) {
        (Cow::Borrowed(text), invalid) => read(text, invalid, &record),
        (Cow::Owned(text), invalid) => {
            read(&text, invalid, &record).map(|event| Box::new(event.into_owned()))
        }
    };
    made.map_err(|reason| Box::new((reason, record)))
}

/// How the end of a record is found; it can go on in the next window.
#[derive(Clone)]
pub(crate) enum Ending {
    /// A line end outside quotes.
    Csv(Scanner),
    /// The next line end.
    Line,
    /// A line end before a line that does not go on with the record.
    Lines(Lines),
}

impl Ending {
    fn feed(&mut self, bytes: &[u8], at_end: bool) -> Scan {
        match self {
            Ending::Lines(lines) => lines.feed(bytes, at_end),
            Ending::Csv(scanner) => scanner.feed(bytes),
            Ending::Line => memchr::memchr(b'\n', bytes).map_or(Scan::Open, Scan::Ended),
        }
    }

    /// Whether a line goes on with the record before it; it is there as far as it is judged by.
    fn goes_on(&self, line: &[u8]) -> bool {
        match self {
            Ending::Lines(lines) => lines.goes_on(line, true) == Some(true),
            Ending::Csv(_) | Ending::Line => false,
        }
    }

    /// Where the record ends if it is one: found with less work than by [`Ending::feed`], which
    /// decides when the form cannot read what ends there.
    fn likely(&self, input: &[u8]) -> Option<usize> {
        match self {
            Ending::Csv(_) => csv::likely_end(input),
            Ending::Line | Ending::Lines(_) => None,
        }
    }
}

/// A record that is longer than a window: its beginning, and what is known of the rest so far.
struct Long {
    head: Vec<u8>,
    size: u64,
    digest: Digest,
    /// A carriage return that may belong to the line end.
    held: bool,
    /// How its end is found: as CSV, or as a line of bytes that are no record.
    ending: Ending,
    /// It is no record.
    refused: Option<NotARow>,
}

/// The reader of one stream.
pub(crate) struct Stream<F> {
    form: F,
    offset: u64,
    long: Option<Long>,
    /// Bytes that are no record were just passed: look for the beginning of one.
    lost: bool,
    /// The record before was given, perhaps before all of its lines were there.
    given: bool,
}

impl<F: Form> Stream<F> {
    /// A reader at the beginning of a stream.
    pub(crate) fn new(form: F) -> Self {
        Stream {
            form,
            offset: 0,
            long: None,
            lost: false,
            given: false,
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.offset = self
            .offset
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    fn skip<'i>(&mut self, consumed: usize) -> Step<'i> {
        self.advance(consumed);
        Step::Skip { consumed }
    }

    /// A record that the window holds as a whole.
    fn whole<'i>(&mut self, bytes: &'i [u8], consumed: usize) -> Step<'i> {
        let offset = self.offset;
        let record = if bytes.len() > RECORD_BYTES_MAX {
            let mut digest = self.form.digests().raw();
            digest.update(bytes);
            let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let bytes = head(bytes.get(..RECORD_BYTES_MAX).unwrap_or(bytes));
            Record {
                bytes,
                whole: Some((size, digest)),
                offset,
            }
        } else {
            Record {
                bytes,
                whole: None,
                offset,
            }
        };
        self.emit(record, consumed)
    }

    fn emit<'i>(&mut self, record: Record<'i>, consumed: usize) -> Step<'i> {
        match self.form.event(record) {
            Ok(event) => self.accept(event, consumed),
            Err(refused) => {
                let (reason, record) = *refused;
                self.refuse(record, reason, consumed)
            }
        }
    }

    fn accept<'i>(&mut self, mut event: Box<Event<'i>>, consumed: usize) -> Step<'i> {
        if std::mem::take(&mut self.lost) {
            event.unmapped.flags.push(Text::from("resynchronised"));
        }
        self.advance(consumed);
        Step::Record { consumed, event }
    }

    fn refuse<'i>(&mut self, record: Record<'i>, reason: NotARow, consumed: usize) -> Step<'i> {
        self.lost = true;
        let event = self.form.unparsed(record, reason);
        self.advance(consumed);
        Step::Unparsed { consumed, event }
    }

    /// Bytes that are no record, up to the end of their line.
    fn line<'i>(&mut self, input: &'i [u8], at_end: bool, reason: NotARow) -> Step<'i> {
        self.lost = true;
        let offset = self.offset;
        let long = if reason == GOES_ON {
            GOES_ON
        } else {
            NO_RECORD
        };
        match memchr::memchr(b'\n', input) {
            Some(end) if end <= WINDOW_MAX => {
                let bytes = without_return(input.get(..end).unwrap_or(&[]));
                if bytes.len() > RECORD_BYTES_MAX {
                    return self.begin_long(input, Ending::Line, Some(long));
                }
                self.refuse(
                    Record {
                        bytes,
                        whole: None,
                        offset,
                    },
                    reason,
                    end + 1,
                )
            }
            _ if input.len() > WINDOW_MAX => self.begin_long(input, Ending::Line, Some(long)),
            _ if at_end => self.refuse(
                Record {
                    bytes: input,
                    whole: None,
                    offset,
                },
                reason,
                input.len(),
            ),
            _ => Step::NeedMore,
        }
    }

    /// Begins to cut a record, or a line of bytes that are none, that the window does not end.
    fn begin_long<'i>(
        &mut self,
        input: &[u8],
        ending: Ending,
        refused: Option<NotARow>,
    ) -> Step<'i> {
        // Only what is surely inside the record is taken here; its end is found by the next step.
        let taken = input.get(..RECORD_BYTES_MAX).unwrap_or(input);
        let mut long = Long {
            head: Vec::with_capacity(RECORD_BYTES_MAX),
            size: 0,
            digest: self.form.digests().raw(),
            held: false,
            ending,
            refused,
        };
        // A line end at the cut is judged with what follows it.
        let mut taken = taken;
        while let (Ending::Lines(_), [before @ .., b'\n']) = (&long.ending, taken) {
            taken = before;
        }
        long.ending.feed(taken, false);
        long.take(taken);
        self.long = Some(long);
        self.skip(taken.len())
    }

    /// Goes on with a record that is being cut.
    fn go_on<'i>(&mut self, mut long: Long, input: &'i [u8], at_end: bool) -> Step<'i> {
        match long.ending.feed(input, at_end) {
            Scan::Undecided(0) => {
                self.long = Some(long);
                Step::NeedMore
            }
            Scan::Undecided(at) => {
                long.take(input.get(..at).unwrap_or(&[]));
                self.long = Some(long);
                self.skip(at)
            }
            Scan::Ended(end) => {
                long.take(input.get(..end).unwrap_or(&[]));
                self.end_long(long, end + 1, None)
            }
            // The quotes are out of step: what was taken is no record, and the next line may be
            // one.
            Scan::Malformed(at) => {
                let line = memchr::memrchr(b'\n', input.get(..at).unwrap_or(&[]));
                let end = line.unwrap_or(at);
                long.take(input.get(..end).unwrap_or(&[]));
                let reason = NotARow("a quote in a field that does not end there");
                self.end_long(long, end + usize::from(line.is_some()), Some(reason))
            }
            Scan::Open if input.is_empty() && at_end => self.end_long(long, 0, Some(OPEN)),
            Scan::Open if input.is_empty() => {
                self.long = Some(long);
                Step::NeedMore
            }
            Scan::Open => {
                long.take(input);
                self.long = Some(long);
                self.skip(input.len())
            }
        }
    }

    fn end_long<'i>(
        &mut self,
        mut long: Long,
        consumed: usize,
        reason: Option<NotARow>,
    ) -> Step<'i> {
        if long.held && reason.is_some() {
            long.release();
        }
        let start = self.offset.saturating_sub(long.size);
        let bytes = head(&long.head).to_vec();
        let whole = Some((long.size, long.digest));
        let refused = long.refused;
        let record = Record {
            bytes: &bytes,
            whole,
            offset: start,
        };
        let reason = match refused {
            Some(GOES_ON) => refused,
            refused => reason.or(refused),
        };
        let made = match reason {
            Some(reason) => Err(Box::new((reason, record))),
            None => self.form.event(record),
        };
        let made = made.map(|event| Box::new(event.into_owned()));
        let (event, parsed) = match made {
            Ok(event) => (event, true),
            Err(refused) => {
                let (reason, record) = *refused;
                (self.form.unparsed(record, reason), false)
            }
        };
        self.lost = !parsed;
        self.advance(consumed);
        if parsed {
            Step::Record { consumed, event }
        } else {
            Step::Unparsed { consumed, event }
        }
    }
}

impl Long {
    fn take(&mut self, bytes: &[u8]) {
        let Some((last, before)) = bytes.split_last() else {
            return;
        };
        if self.held {
            self.release();
        }
        self.add(before);
        if *last == b'\r' {
            self.held = true;
        } else {
            self.add(&[*last]);
        }
    }

    fn release(&mut self) {
        self.held = false;
        self.add(b"\r");
    }

    fn add(&mut self, bytes: &[u8]) {
        self.size = self
            .size
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.digest.update(bytes);
        let room = RECORD_BYTES_MAX.saturating_sub(self.head.len());
        self.head
            .extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or(&[]));
    }
}

impl<F: Form> Format for Stream<F> {
    fn next<'i>(&mut self, input: &'i [u8], at_end: bool) -> Step<'i> {
        if let Some(long) = self.long.take() {
            return self.go_on(long, input, at_end);
        }
        if input.is_empty() {
            return Step::NeedMore;
        }
        if self.offset == 0 {
            if input.starts_with(BOM) {
                return self.skip(BOM.len());
            }
            if BOM.starts_with(input) && !at_end {
                return Step::NeedMore;
            }
        }
        match input {
            [b'\n', ..] => return self.skip(1),
            [b'\r', b'\n', ..] => return self.skip(2),
            [b'\r'] if !at_end => return Step::NeedMore,
            _ => {}
        }
        match self.form.begins(input, at_end) {
            None => return Step::NeedMore,
            Some(false) => {
                self.given = self.given && self.form.ending().goes_on(input);
                let reason = if self.given { GOES_ON } else { NO_RECORD };
                return self.line(input, at_end, reason);
            }
            Some(true) => self.given = false,
        }
        let ending = self.form.ending();
        if let Some(end) = ending.likely(input) {
            let record = Record {
                bytes: without_return(input.get(..end).unwrap_or(&[])),
                whole: None,
                offset: self.offset,
            };
            if let Ok(event) = self.form.event(record) {
                return self.accept(event, end + 1);
            }
        }
        match ending.clone().feed(input, at_end) {
            Scan::Ended(end) => {
                let bytes = without_return(input.get(..end).unwrap_or(&[]));
                self.whole(bytes, end + 1)
            }
            Scan::Malformed(at) if at > WINDOW_MAX => self.begin_long(input, ending, None),
            Scan::Malformed(_) => self.line(
                input,
                at_end,
                NotARow("a quote in a field that does not end there"),
            ),
            Scan::Open if input.len() > WINDOW_MAX => self.begin_long(input, ending, None),
            Scan::Open if at_end => self.line(input, at_end, OPEN),
            Scan::Undecided(_) if input.len() > WINDOW_MAX => self.begin_long(input, ending, None),
            Scan::Open | Scan::Undecided(_) => Step::NeedMore,
        }
    }

    fn pause<'i>(&mut self, input: &'i [u8]) -> Step<'i> {
        let ending = match &self.long {
            Some(long) => long.ending.clone(),
            None => self.form.ending(),
        };
        if !matches!(ending, Ending::Lines(_)) || !input.ends_with(b"\n") {
            return Step::NeedMore;
        }
        // The window ends with a line, so what ends here ends there too if nothing follows.
        let step = self.next(input, true);
        self.given |= matches!(step, Step::Record { .. } | Step::Unparsed { .. });
        step
    }

    fn resume(&mut self, offset: u64) {
        self.offset = offset;
        self.long = None;
        self.lost = false;
        self.given = offset > 0;
    }
}

fn without_return(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// The beginning of a record that was cut: ends at a character.
fn head(bytes: &[u8]) -> &[u8] {
    let tail = bytes
        .iter()
        .rev()
        .take(3)
        .take_while(|b| (0x80..0xC0).contains(*b))
        .count();
    let lead = bytes.len().saturating_sub(tail + 1);
    let cut = if bytes.get(lead).is_some_and(|b| *b >= 0xC0) {
        lead
    } else {
        bytes.len()
    };
    bytes.get(..cut).unwrap_or(bytes)
}
