//! An event while it is made: texts are masked on their way in, and what was done is noted.
//!
//! Not here: what a native record means.

use std::borrow::Cow;
use std::net::IpAddr;

use ledger_core::Nanos;
use ledger_event::{Endpoint, Event, Metadata, OCSF_VERSION, Text};

use crate::mask::{self, Dialect, MaskOptions, Masked};
use crate::stream::{GOES_ON, NotARow, Record};
use crate::text::{Digests, cut, without_open_number};
use crate::zone::Time;

/// Limits of single texts in their JSON form, in bytes; together they stay under the event's bound.
pub(crate) const STATEMENT_MAX: usize = 128 * 1024;
pub(crate) const RAW_MAX: usize = 224 * 1024;
pub(crate) const PARAMETERS_MAX: usize = 48 * 1024;
pub(crate) const MESSAGE_MAX: usize = 16 * 1024;
pub(crate) const NAME_MAX: usize = 2 * 1024;

/// What a form says about itself in every event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    /// Such as `PostgreSQL`.
    pub(crate) product: &'static str,
    /// Such as `csvlog`.
    pub(crate) log_format: &'static str,
    /// Evidence grade.
    pub(crate) grade: &'static str,
}

/// What every record of a source is read with.
pub(crate) struct Source {
    pub(crate) about: About,
    pub(crate) dialect: Dialect,
    pub(crate) mask: MaskOptions,
    pub(crate) digests: Digests,
}

impl Source {
    /// An event to begin with, for a record with this text.
    pub(crate) fn draft<'e>(&self, record: &Record<'_>, text: &str, invalid: bool) -> Draft<'e> {
        self.draft_with_own(record, text, 0, invalid)
    }

    /// The same for a record that ends with so many bytes of the server's own.
    pub(crate) fn draft_with_own<'e>(
        &self,
        record: &Record<'_>,
        text: &str,
        own: usize,
        invalid: bool,
    ) -> Draft<'e> {
        let was_cut = record.whole.is_some();
        let own = if was_cut { 0 } else { own };
        let (looked, _) = mask::without_own(text, own);
        let mut draft = Draft {
            event: Box::default(),
            mask: self.mask,
            dialect: self.dialect,
            clean: !was_cut && mask::is_clean(looked) && mask::says_nothing_else(text),
            changed: was_cut,
            cut: was_cut,
            own,
        };
        draft.flag("invalid-utf8", invalid);
        draft.flag("nul", memchr::memchr(0, text.as_bytes()).is_some());
        draft.event.metadata = Metadata {
            version: Some(Text::from(OCSF_VERSION)),
            log_format: Some(Text::from(self.about.log_format)),
            ..Metadata::default()
        };
        draft.event.metadata.product.name = Some(Text::from(self.about.product));
        draft.event.unmapped.grade = Some(Text::from(self.about.grade));
        draft
    }

    /// The event of bytes that are no record; of some, the time is known.
    pub(crate) fn unparsed(
        &self,
        record: Record<'_>,
        reason: NotARow,
        time: Option<&Time>,
    ) -> Box<Event<'static>> {
        let (text, invalid) = crate::text::lossless(record.bytes);
        let mut draft = self.draft(&record, &text, invalid);
        draft.changed = true;
        draft.flag("no-time", time.is_none());
        draft.event.classify(0, 0);
        draft.event.severity_id = Some(3);
        draft.event.status_id = Some(2);
        draft.event.set_time(time.map_or(Nanos(0), |time| time.at));
        let mut uid = self.digests.identity();
        uid.update(&record.offset.to_be_bytes())
            .update(record.bytes);
        draft.event.metadata.uid = Some(Text::from(uid.hex(16)));
        draft.event.unmapped.unparsed = Some(Text::from(reason.0));
        let mut raw = text;
        if reason == GOES_ON {
            let masked = mask::mask_whole(&raw);
            if let Some(now) = draft.noted("raw_data", masked) {
                raw = Cow::Owned(now);
            }
        }
        draft.raw(&mut raw);
        if draft.cut {
            raw = Cow::Owned(without_open_number(&raw).to_owned());
        }
        draft.event.raw_data = draft.text(raw, RAW_MAX);
        Box::new(draft.finish(&record, &self.digests).into_owned())
    }
}

/// An event while it is made: masking notes what it did.
pub(crate) struct Draft<'e> {
    pub(crate) event: Box<Event<'e>>,
    pub(crate) mask: MaskOptions,
    pub(crate) dialect: Dialect,
    /// The whole record holds nothing to mask, so none of its texts does.
    pub(crate) clean: bool,
    /// Something was masked or cut, so the record is not kept as it was.
    pub(crate) changed: bool,
    /// Something was cut.
    pub(crate) cut: bool,
    /// How many bytes at the end of the native record are the server's own.
    own: usize,
}

impl<'e> Draft<'e> {
    /// Notes what is peculiar about the record.
    pub(crate) fn flag(&mut self, name: &'static str, on: bool) {
        if on {
            self.event.unmapped.flags.push(Text::from(name));
        }
    }

    /// Notes what was masked; the text to go on with when something was.
    pub(crate) fn noted(&mut self, path: &'static str, masked: Masked<'_>) -> Option<String> {
        for redaction in &masked.redactions {
            mask::note(&mut self.event, path, *redaction);
        }
        if masked.redactions.is_empty() {
            return None;
        }
        self.changed = true;
        Some(masked.text.into_owned())
    }

    /// Masks a text that is no statement, in place; whether parameters beside it must go.
    pub(crate) fn plain(&mut self, path: &'static str, text: &mut Cow<'_, str>) -> bool {
        if self.clean {
            return false;
        }
        let masked = mask::mask_plain(text, self.dialect, self.mask);
        let parameters_too = masked.parameters_too;
        if let Some(now) = self.noted(path, masked) {
            *text = Cow::Owned(now);
        }
        parameters_too
    }

    /// Masks the native record, in place.
    pub(crate) fn raw(&mut self, text: &mut Cow<'_, str>) {
        if self.clean {
            return;
        }
        let masked = mask::mask_native(text, self.own, self.dialect, self.mask);
        if let Some(now) = self.noted("raw_data", masked) {
            *text = Cow::Owned(now);
        }
    }

    /// Masks a statement, in place; whether its parameters must go.
    pub(crate) fn sql(&mut self, path: &'static str, text: &mut Cow<'_, str>) -> bool {
        if self.clean {
            return false;
        }
        let masked = mask::mask_sql(text, self.dialect, self.mask);
        let parameters_too = masked.parameters_too;
        if let Some(now) = self.noted(path, masked) {
            *text = Cow::Owned(now);
        }
        parameters_too
    }

    /// A text of the event, cut at its limit; none when it is empty.
    pub(crate) fn text(&mut self, mut text: Cow<'e, str>, budget: usize) -> Option<Text<'e>> {
        if text.is_empty() {
            return None;
        }
        self.cut |= cut(&mut text, budget);
        Some(Text::from(text))
    }

    /// Size, digest and marks of what was changed.
    pub(crate) fn finish(mut self, record: &Record<'_>, digests: &Digests) -> Box<Event<'e>> {
        let whole = record.whole.clone().unwrap_or_else(|| {
            let size = u64::try_from(record.bytes.len()).unwrap_or(u64::MAX);
            let mut digest = digests.raw();
            if self.changed || self.cut {
                digest.update(record.bytes);
            }
            (size, digest)
        });
        let (size, digest) = whole;
        self.event.raw_data_size = Some(size);
        if self.changed || self.cut {
            self.event.raw_data_hash = digest.fingerprint();
        }
        if self.cut {
            self.event.metadata.is_truncated = Some(true);
            self.event.metadata.untruncated_size = Some(size);
        }
        self.event
    }
}

/// The client from `host:port` or `[local]`.
pub(crate) fn endpoint(from: Cow<'_, str>) -> Endpoint<'_> {
    match from {
        Cow::Borrowed(from) => read_endpoint(from),
        Cow::Owned(from) => read_endpoint(&from).into_owned(),
    }
}

fn read_endpoint(from: &str) -> Endpoint<'_> {
    let mut endpoint = Endpoint::default();
    let (host, port) = match from.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, port.parse().ok()),
        _ => (from, None),
    };
    endpoint.port = port;
    let text = Some(Text::from(host)).filter(|text| !text.is_empty());
    if host.parse::<IpAddr>().is_ok() {
        endpoint.ip = text;
    } else if host.starts_with('[') {
        endpoint.name = text;
    } else {
        endpoint.hostname = text;
    }
    endpoint
}
