//! csvlog: records of CSV.
//!
//! Not here: the stream of bytes, what a record means (see `row`, `event`).

use ledger_event::Event;

use super::event::Reader;
use super::row::plausible_start;
use crate::csv::Scanner;
use crate::stream::{Ending, Form, NotARow, Record, Refused};
use crate::text::{Digests, lossless};
use crate::zone;

/// The form of csvlog.
pub(crate) struct Csvlog {
    pub(crate) reader: Reader,
}

impl Form for Csvlog {
    fn begins(&self, input: &[u8], at_end: bool) -> Option<bool> {
        plausible_start(input, at_end)
    }

    fn ending(&self) -> Ending {
        Ending::Csv(Scanner::default())
    }

    fn event<'i>(&mut self, record: Record<'i>) -> Result<Box<Event<'i>>, Refused<'i>> {
        self.reader.event(record)
    }

    fn unparsed(&mut self, record: Record<'_>, reason: NotARow) -> Box<Event<'static>> {
        let (text, _) = lossless(record.bytes);
        let head = text.split(',').next().unwrap_or("");
        let time = zone::parse(head, self.reader.zone.as_ref());
        let source = &self.reader.source;
        source.unparsed(record, reason, time.as_ref())
    }

    fn digests(&self) -> &Digests {
        &self.reader.source.digests
    }
}
