//! Where the walk is within one segment, and the payloads that it has come by.
//!
//! Not here: the walk ([`crate::segments`]), and checking payloads ([`crate::payloads`]).

use std::sync::Arc;

use ledger_core::frame::Frame;
use ledger_core::payload::PayloadHeader;

use crate::error::VerifyError;
use crate::files::Opened;
use crate::misdeed::MisdeedKind;
use crate::payloads::{FrameEntries, FramePayloads, PayloadFile, PayloadJob, Waiting};
use crate::work::{Desk, Job};

/// Where the walk is within one segment.
pub(crate) struct Place {
    /// The entries file, relative to the directory.
    pub(crate) name: String,
    pub(crate) entries: Opened,
    /// The next frame.
    pub(crate) at: u64,
    /// No segment follows.
    pub(crate) is_last: bool,
    pub(crate) payloads: Option<Arc<PayloadFile>>,
    /// Where the next frame's payloads begin.
    pub(crate) payload_at: u64,
    /// Payloads reach beyond their file: named once.
    short: bool,
    waiting: Waiting,
}

impl Place {
    pub(crate) fn new(
        name: String,
        entries: Opened,
        payloads: Option<Arc<PayloadFile>>,
        is_last: bool,
    ) -> Place {
        Place {
            name,
            entries,
            at: 0,
            is_last,
            payloads,
            payload_at: PayloadHeader::LEN as u64,
            short: false,
            waiting: Waiting::default(),
        }
    }

    /// Where a frame's payloads lie, and the job to check them.
    pub(crate) fn take_payloads(
        &mut self,
        frame: &Frame<'_>,
        entries: FrameEntries,
        desk: &mut Desk<'_>,
    ) -> Result<(), VerifyError> {
        let header = frame.header;
        let start = self.payload_at;
        let end = start.saturating_add(frame.payload_len());
        let misdeeds = &desk.shared.misdeeds;
        for (expected, found) in [(start, header.payload_start), (end, header.payload_end)] {
            if expected != found {
                let what = MisdeedKind::PayloadOutOfPlace { expected, found };
                misdeeds.add(&self.name, Some(self.at), what);
            }
        }
        self.payload_at = end;
        if !self.reaches(end, desk)? || entries.commitments.is_empty() {
            return Ok(());
        }
        let frame = FramePayloads {
            start,
            first: header.first,
            blocks: frame.blocks.clone(),
            entries,
        };
        if self.waiting.push(frame, end - start) {
            self.hand_over(desk)?;
        }
        Ok(())
    }

    /// Whether there are payloads up to `end`.
    fn reaches(&mut self, end: u64, desk: &mut Desk<'_>) -> Result<bool, VerifyError> {
        let Some(file) = &self.payloads else {
            return Ok(false);
        };
        if end <= file.opened.len || self.short {
            return Ok(!self.short);
        }
        // A writer at work grows the file before it writes the frame.
        let file = PayloadFile {
            opened: file.opened.again()?,
            name: file.name.clone(),
        };
        self.hand_over(desk)?;
        self.short = end > file.opened.len;
        if self.short {
            let (expected, found) = (end, file.opened.len);
            let what = MisdeedKind::FileShort { expected, found };
            desk.shared.misdeeds.add(&file.name, None, what);
        }
        self.payloads = Some(Arc::new(file));
        Ok(!self.short)
    }

    /// Hands over what waits.
    pub(crate) fn hand_over(&mut self, desk: &mut Desk<'_>) -> Result<(), VerifyError> {
        let frames = std::mem::take(&mut self.waiting).frames;
        match &self.payloads {
            Some(file) if !frames.is_empty() => {
                let file = Arc::clone(file);
                desk.give(Job::Payloads(PayloadJob { file, frames }))
            }
            Some(_) | None => Ok(()),
        }
    }
}
