//! A line of server_audit as an event: masked first, then classified.
//!
//! After a line that is none, the next ones may be what a user typed as a name: they are believed
//! only if they go on where the server was (its name, its time, its query numbers), and the first
//! that is believed is flagged. Not here: the stream of bytes, the rules of masking.

use std::borrow::Cow;

use jiff::civil::DateTime;
use ledger_event::{Event, Text};

use super::classify;
use super::line::{self, Line, Operation};
use crate::draft::{Draft, NAME_MAX, RAW_MAX, STATEMENT_MAX, Source, endpoint};
use crate::mask;
use crate::stream::{Ending, Form, NotARow, Record, Refused, read_text};
use crate::text::{Digests, lossless, without_open_number};
use crate::zone::{self, Time, Zone};

/// Where the server was at the last line that was believed.
struct Last {
    serverhost: String,
    time: DateTime,
    query: u64,
}

/// The form of server_audit.
pub(crate) struct ServerAudit {
    source: Source,
    zone: Option<Zone>,
    /// Statements of this many bytes in the file were cut by the server.
    limit: usize,
    last: Option<Last>,
    /// The line before was none.
    doubt: bool,
}

impl ServerAudit {
    /// A reader at the beginning of a stream.
    pub(crate) fn new(source: Source, zone: Option<Zone>, limit: usize) -> Self {
        ServerAudit {
            source,
            zone,
            limit,
            last: None,
            doubt: false,
        }
    }

    /// Whether the line can follow the last one that was believed.
    fn believe(&mut self, line: &Line<'_>) -> Result<(), NotARow> {
        if let Some(last) = self.last.as_ref().filter(|_| self.doubt) {
            if line.serverhost != last.serverhost {
                return Err(NotARow("another server's name behind a broken line"));
            }
            if line.time < last.time {
                return Err(NotARow("an earlier time behind a broken line"));
            }
            // Numbers of queries rise over the whole server; logins have none.
            if line.query != 0 && line.query < last.query {
                return Err(NotARow("an earlier query behind a broken line"));
            }
        }
        self.doubt = false;
        let query = self.last.as_ref().map_or(0, |last| last.query);
        self.last = Some(Last {
            serverhost: line.serverhost.to_owned(),
            time: line.time,
            query: query.max(line.query),
        });
        Ok(())
    }

    /// What the server writes as numbers and times.
    fn head<'l>(&self, draft: &mut Draft<'l>, line: &Line<'l>, time: &Time, record: &Record<'_>) {
        let mut uid = self.source.digests.identity();
        uid.update(&record.offset.to_be_bytes())
            .update(record.bytes);
        let event = &mut draft.event;
        event.set_time(time.at);
        let metadata = &mut event.metadata;
        metadata.log_name = Some(Text::from("server_audit"));
        metadata.event_code = Some(Text::from(line.operation.name()));
        metadata.uid = Some(Text::from(uid.hex(16)));
        let connection = line.connection.to_string();
        let query = line.query.to_string();
        metadata.original_event_uid = Some(Text::from([&connection, "/", &*query].concat()));
        metadata.correlation_uid = Some(Text::from(connection.clone()));
        metadata.original_time = Some(Text::from(line.timestamp));
        if let Some((zone, flag)) = &time.assumed {
            event.unmapped.zone = Some(Text::from(zone.clone()));
            event.unmapped.flags.push(Text::from(*flag));
        }
        if time.offset_minutes != 0 {
            event.timezone_offset = Some(time.offset_minutes);
        }
        event.severity_id = Some(1);
        event.status_id = Some(match line.retcode {
            None => 0,
            Some(0) => 1,
            Some(_) => 2,
        });
        let code = line.retcode.filter(|code| *code != 0);
        event.status_code = code.map(|code| Text::from(code.to_string()));
        event.actor.session.uid = Some(Text::from(connection));
        event.unmapped.statement_id = i64::try_from(line.query).ok().filter(|id| *id != 0);
    }

    /// Masks every field that can hold free text.
    fn mask(&self, draft: &mut Draft<'_>, line: &mut Line<'_>) {
        let cut = line.operation == Operation::Query && line.written + 1 >= self.limit;
        if cut {
            draft.cut = true;
            draft.changed = true;
            draft.flag("cut-by-server", true);
        }
        draft.plain("actor.user.name", &mut line.username);
        draft.plain("src_endpoint.name", &mut line.host);
        draft.plain("database.name", &mut line.database);
        if line.operation == Operation::Query {
            // What the plugin escaped was not seen as what it is.
            draft.clean &= !line.shows || mask::is_clean(&line.object);
            draft.sql("query_info.query_string", &mut line.object);
            if draft.cut {
                // What is left of a number that was cut is no card number any more.
                line.object = Cow::Owned(without_open_number(&line.object).to_owned());
            }
        } else {
            draft.plain("table.name", &mut line.object);
        }
    }

    /// Names, statement, class: all masked by now.
    fn body<'l>(draft: &mut Draft<'l>, mut line: Line<'l>) {
        draft.event.actor.user.name = draft.text(line.username.clone(), NAME_MAX);
        draft.event.src_endpoint = endpoint(std::mem::take(&mut line.host));
        draft.event.database.name = draft.text(std::mem::take(&mut line.database), NAME_MAX);
        if draft.event.database.name.is_some() {
            draft.event.database.type_id = Some(1);
        }
        if line.operation == Operation::Query {
            classify::classify(&mut draft.event, &line, None);
            let object = std::mem::take(&mut line.object);
            draft.event.query_info.query_string = draft.text(object, STATEMENT_MAX);
        } else {
            let object = draft.text(line.object.clone(), NAME_MAX);
            classify::classify(&mut draft.event, &line, object);
        }
        draft.event.place();
    }

    /// The native record, masked.
    fn raw<'l>(draft: &mut Draft<'l>, line: &Line<'_>, text: &'l str) -> Option<Text<'l>> {
        let mut raw: Cow<'l, str> = if draft.changed {
            Cow::Owned(written(line))
        } else {
            Cow::Borrowed(text)
        };
        draft.raw(&mut raw);
        draft.text(raw, RAW_MAX)
    }

    /// Size and marks.
    fn tail<'l>(&self, draft: Draft<'l>, record: &Record<'_>) -> Box<Event<'l>> {
        let was_cut = record.whole.is_some();
        let by_server = draft.cut && !was_cut;
        let mut event = draft.finish(record, &self.source.digests);
        if by_server {
            // How long the statement was, only the server knew.
            event.metadata.untruncated_size = None;
        }
        event
    }
}

/// The line again, as the server would have written what is left.
fn written(line: &Line<'_>) -> String {
    let mut out = format!(
        "{},{},{},{},{},{},{},{},",
        line.timestamp,
        line.serverhost,
        line.username,
        line.host,
        line.connection,
        line.query,
        line.operation.name(),
        line.database,
    );
    if line.operation == Operation::Query {
        out.push('\'');
        line::escape(&line.object, &mut out);
        out.push('\'');
    } else {
        out.push_str(&line.object);
    }
    out.push(',');
    if let Some(code) = line.retcode {
        out.push_str(&code.to_string());
    }
    out
}

impl Form for ServerAudit {
    fn begins(&self, input: &[u8], at_end: bool) -> Option<bool> {
        const LENGTH: usize = 18;
        let head = input.get(..LENGTH).unwrap_or(input);
        if head.len() < LENGTH && !at_end && !head.contains(&b'\n') {
            return None;
        }
        let time = std::str::from_utf8(head)
            .ok()
            .and_then(|head| head.strip_suffix(','));
        Some(time.is_some_and(|time| line::civil_time(time).is_some()))
    }

    fn ending(&self) -> Ending {
        Ending::Line
    }

    fn event<'i>(&mut self, record: Record<'i>) -> Result<Box<Event<'i>>, Refused<'i>> {
        read_text(record, |text, invalid, record| {
            let mut line = line::read(text, record.whole.is_some())?;
            self.believe(&line)?;
            let time = zone::local(line.time, self.zone.as_ref());
            let time = time.ok_or(NotARow("timestamp is no time"))?;
            let mut draft = self.source.draft(record, text, invalid);
            self.head(&mut draft, &line, &time, record);
            self.mask(&mut draft, &mut line);
            draft.event.raw_data = Self::raw(&mut draft, &line, text);
            Self::body(&mut draft, line);
            Ok(self.tail(draft, record))
        })
    }

    fn unparsed(&mut self, record: Record<'_>, reason: NotARow) -> Box<Event<'static>> {
        self.doubt = true;
        let (text, _) = lossless(record.bytes);
        let head = text.split(',').next().unwrap_or("");
        let time = line::civil_time(head).and_then(|time| zone::local(time, self.zone.as_ref()));
        self.source.unparsed(record, reason, time.as_ref())
    }

    fn digests(&self) -> &Digests {
        &self.source.digests
    }
}
