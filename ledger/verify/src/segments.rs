//! The walk over all segments: headers, frames and entries in their order, the tree that grows from
//! them, and the jobs that are left to be done in any order.
//!
//! A damaged place ends the walk: what comes after it cannot be told from what was put there.
//!
//! Not here: single rules; each has its module.

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;

use ledger_core::bytes::FormatError;
use ledger_core::entry::Entry;
use ledger_core::frame::{FRAME_BODY_MAX, Frame, FrameHeader};
use ledger_core::{Hash, Index, RightEdge, TreeSize, leaf_hash};

use crate::arrays::Arrays;
use crate::entries::{Rules, registers};
use crate::error::VerifyError;
use crate::files::{Opened, Window};
use crate::folder::{Folder, SegmentFiles, segment_names};
use crate::marks::Marks;
use crate::misdeed::MisdeedKind;
use crate::numbers::{Numbers, ends_the_walk};
use crate::payloads::{FrameEntries, PayloadFile};
use crate::place::Place;
use crate::report::{NotChecked, Progress, Tail};
use crate::scan::{Search, good_frame_after, is_frame, read_header};
use crate::states::Tables;
use crate::work::Desk;

/// Everything that the walk carries from entry to entry.
pub(crate) struct Walk<'a, 'd> {
    pub(crate) folder: &'a Folder,
    pub(crate) desk: Desk<'d>,
    pub(crate) arrays: Arrays<'a>,
    pub(crate) marks: Marks,
    pub(crate) tail: Tail,
    pub(crate) progress: &'a (dyn Fn(Progress) + Sync),
    pub(crate) edge: RightEdge,
    pub(crate) rules: Rules,
    pub(crate) not_checked: Vec<NotChecked>,
    numbers: Numbers,
    tables: Tables,
    window: Window,
    /// The value in force.
    pub(crate) durable: TreeSize,
    /// The last segment: its first entry and the name of its entries file.
    pub(crate) last: (Index, String),
    /// The last segment ends with a finish frame.
    pub(crate) finished: bool,
    /// The walk ended before the log did.
    pub(crate) cut: bool,
    bytes_before: u64,
}

impl<'a, 'd> Walk<'a, 'd> {
    pub(crate) fn new(
        folder: &'a Folder,
        desk: Desk<'d>,
        arrays: Arrays<'a>,
        marks: Marks,
        tail: Tail,
        progress: &'a (dyn Fn(Progress) + Sync),
    ) -> Walk<'a, 'd> {
        Walk {
            folder,
            desk,
            arrays,
            marks,
            tail,
            progress,
            edge: RightEdge::new(),
            rules: Rules::default(),
            not_checked: Vec::new(),
            numbers: Numbers::default(),
            tables: Tables::default(),
            window: Window::default(),
            durable: TreeSize(0),
            last: (Index(0), String::new()),
            finished: false,
            cut: false,
            bytes_before: 0,
        }
    }

    /// Walks over all segments.
    ///
    /// # Errors
    /// Only what keeps files from being read; what is wrong in them are misdeeds.
    pub(crate) fn run(&mut self) -> Result<(), VerifyError> {
        self.meet()?;
        let mut before: Option<String> = None;
        let last = self.folder.segments.keys().next_back().copied();
        for (first, files) in &self.folder.segments {
            let name = self.folder.relative(&segment_names(*first).0);
            if let Some(before) = before.replace(name).filter(|_| !self.finished) {
                self.misdeed(&before, None, MisdeedKind::SegmentUnfinished);
            }
            let is_last = Some(*first) == last;
            if self.segment(*first, *files, is_last)?.is_break() {
                self.cut = true;
                let size = self.edge.size();
                self.not_checked.push(NotChecked::AfterDamage { size });
                break;
            }
        }
        // A writer at work may have begun more segments since they were listed, which the last note
        // speaks of.
        let mut next = Index(self.edge.size().0);
        while self.tail == Tail::BeingWritten && self.finished && self.folder.has_segment(next) {
            let files = SegmentFiles {
                entries: true,
                payloads: true,
            };
            if self.segment(next, files, true)?.is_break() {
                self.cut = true;
                break;
            }
            next = Index(self.edge.size().0);
        }
        self.desk.shared.failure()
    }

    /// One segment; `Break` after a damaged place.
    fn segment(
        &mut self,
        first: Index,
        files: SegmentFiles,
        is_last: bool,
    ) -> Result<ControlFlow<()>, VerifyError> {
        self.finished = false;
        let (entries, payloads) = segment_names(first);
        let name = self.folder.relative(&entries);
        self.last = (first, name.clone());
        let expected = self.edge.size();
        if first.0 != expected.0 {
            let found = first;
            self.misdeed(&name, None, MisdeedKind::SegmentMissing { expected, found });
            return Ok(Break(()));
        }
        // A writer makes the files of a new segment one after the other.
        let mut files = files;
        if is_last && self.tail == Tail::BeingWritten {
            let both = self.folder.has_segment(first);
            files.entries |= both;
            files.payloads |= both;
        }
        if is_last && self.tail == Tail::BeingWritten && !(files.entries && files.payloads) {
            self.not_checked
                .push(NotChecked::BeingWritten { file: name });
            return Ok(Continue(()));
        }
        if !files.payloads {
            let name = self.folder.relative(&payloads);
            self.misdeed(&name, None, MisdeedKind::FileMissing);
        }
        if !files.entries {
            self.misdeed(&name, None, MisdeedKind::FileMissing);
            return Ok(Break(()));
        }
        let payloads = files
            .payloads
            .then(|| self.open_payloads(first, &payloads))
            .transpose()?;
        let entries = Opened::open(&self.folder.path(&entries))?;
        let mut place = Place::new(name, entries, payloads, is_last);
        self.window.clear();
        if self.header(first, &mut place)?.is_break() {
            return Ok(Break(()));
        }
        let mut flow = Continue(false);
        while flow == Continue(false) {
            flow = self.frame(&mut place)?;
            self.arrays.failure()?;
            self.report_progress(&place);
        }
        place.hand_over(&mut self.desk)?;
        self.bytes_before = self.bytes_before.saturating_add(place.entries.len);
        if flow.is_break() {
            return Ok(Break(()));
        }
        self.payloads_end(&place)?;
        Ok(Continue(()))
    }

    fn open_payloads(&self, first: Index, payloads: &str) -> Result<Arc<PayloadFile>, VerifyError> {
        let file = PayloadFile {
            opened: Opened::open(&self.folder.path(payloads))?,
            name: self.folder.relative(payloads),
        };
        let shared = self.desk.shared;
        file.check_header(first, shared.trust.origin(), shared)?;
        Ok(Arc::new(file))
    }

    /// The segment header against the state that the segments before lead to.
    fn header(&mut self, first: Index, place: &mut Place) -> Result<ControlFlow<()>, VerifyError> {
        let read = read_header(&mut self.window, &place.entries)?;
        let (header, len) = match read {
            Ok(read) => read,
            Err(_) if place.is_last && self.tail == Tail::BeingWritten => {
                let file = place.name.clone();
                self.not_checked.push(NotChecked::BeingWritten { file });
                place.at = place.entries.len;
                return Ok(Continue(()));
            }
            Err(error) => {
                self.misdeed(&place.name, Some(0), MisdeedKind::SegmentHeader(error));
                return Ok(Break(()));
            }
        };
        place.at = len as u64;
        let trusted = self.desk.shared.trust.origin();
        if header.origin != *trusted {
            let expected = trusted.to_string();
            self.misdeed(&place.name, Some(0), MisdeedKind::OtherLog { expected });
        }
        let mut differs: Vec<&'static str> = Vec::new();
        if header.first() != first {
            differs.push("first index");
        } else if header.edge != self.edge {
            differs.push("right edge");
        }
        if header.ledger_time != self.rules.ledger_time {
            differs.push("ledger time");
        }
        differs.extend(self.tables.differs(&header));
        for field in differs {
            self.misdeed(&place.name, Some(0), MisdeedKind::HeaderDiffers { field });
        }
        self.raise_durable(header.arrays_durable, &place.name, 0);
        Ok(Continue(()))
    }

    /// One frame; `Continue(true)` at the end of the segment.
    fn frame(&mut self, place: &mut Place) -> Result<ControlFlow<(), bool>, VerifyError> {
        let rest = place.entries.len - place.at;
        let (header, body_at) = match self.frame_header(place, rest)? {
            Ok(header) => (header, place.at + FrameHeader::LEN as u64),
            Err(error) => return self.after_last_frame(place, error),
        };
        let body_len = header.body_len as usize;
        // The window is borrowed while the frame is read, and the walk changes with it.
        let mut window = std::mem::take(&mut self.window);
        let body = window.bytes(&place.entries, body_at, body_len.min(FRAME_BODY_MAX))?;
        let frame = match body {
            Some(body) => Frame::decode(header, body),
            None => Err(FormatError::Short {
                what: "frame",
                at: usize::try_from(rest).unwrap_or(usize::MAX),
                needed: body_len,
            }),
        };
        let flow = match frame {
            Ok(frame) => self.take_frame(place, frame)?.map_break(Ok),
            Err(error) => Break(Err(error)),
        };
        self.window = window;
        match flow {
            Break(Err(error)) => self.after_last_frame(place, error),
            Break(Ok(())) => Ok(Break(())),
            Continue(ended) => Ok(Continue(ended)),
        }
    }

    fn frame_header(
        &mut self,
        place: &Place,
        rest: u64,
    ) -> Result<Result<FrameHeader, FormatError>, VerifyError> {
        let len = usize::try_from(rest)
            .unwrap_or(usize::MAX)
            .min(FrameHeader::LEN);
        let bytes = self.window.bytes(&place.entries, place.at, len)?;
        Ok(FrameHeader::decode(bytes.unwrap_or_default()))
    }

    /// Takes a good frame; `Break` if it does not continue the one before.
    fn take_frame(
        &mut self,
        place: &mut Place,
        frame: Frame<'_>,
    ) -> Result<ControlFlow<(), bool>, VerifyError> {
        let header = frame.header;
        let at = place.at;
        let expected = self.edge.size();
        if header.first.0 != expected.0 {
            let found = header.first;
            self.misdeed(
                &place.name,
                Some(at),
                MisdeedKind::FrameOutOfPlace { expected, found },
            );
            return Ok(Break(()));
        }
        let nothing = header.entry_count == 0
            && header.block_count == 0
            && frame.sources.is_empty()
            && frame.positions.is_empty();
        if header.finished != nothing {
            self.misdeed(&place.name, Some(at), MisdeedKind::FrameShape);
        }
        self.raise_durable(header.arrays_durable, &place.name, at);
        let Continue(entries) = self.take_entries(place, &frame)? else {
            return Ok(Break(()));
        };
        let shared = self.desk.shared;
        let file = place.name.clone();
        let mut wrong = |what| shared.misdeeds.add(&file, Some(at), what);
        if let Err(what) = self.numbers.compare(&frame.sources, &mut wrong) {
            wrong(what);
            return Ok(Break(()));
        }
        let (first, count) = (header.first, entries.registering.len());
        let registry = &shared.registry;
        registry.state(&frame.sources, count, first, (&place.name, at));
        place.take_payloads(&frame, entries, &mut self.desk)?;
        place.at = at + (FrameHeader::LEN as u64) + u64::from(header.body_len);
        self.tables.take(frame.sources, frame.positions, &mut wrong);
        if !header.finished {
            return Ok(Continue(false));
        }
        self.finished = true;
        self.after_finish(place)?;
        Ok(Continue(true))
    }

    /// Nothing follows a finish frame. A writer cuts the file to its length after it wrote one.
    fn after_finish(&mut self, place: &mut Place) -> Result<(), VerifyError> {
        let running = self.tail == Tail::BeingWritten;
        if running {
            place.entries.refresh()?;
        }
        let count = place.entries.len.saturating_sub(place.at);
        if count == 0 {
            return Ok(());
        }
        let (file, mut window) = (&place.entries, Window::default());
        if running && place.is_last && window.first_not_zero(file, place.at)?.is_none() {
            let file = place.name.clone();
            self.not_checked.push(NotChecked::BeingWritten { file });
        } else {
            let what = MisdeedKind::SurplusBytes { count };
            self.misdeed(&place.name, Some(place.at), what);
        }
        Ok(())
    }

    /// The entries of a frame: rules, leaves, tree. Gives what checking their payloads needs, or
    /// `Break` after a misdeed that nothing can be read behind.
    fn take_entries(
        &mut self,
        place: &Place,
        frame: &Frame<'_>,
    ) -> Result<ControlFlow<(), FrameEntries>, VerifyError> {
        let mut taken = FrameEntries::default();
        taken.commitments.reserve_exact(frame.entry_bytes().len());
        let mut at = place.at + FrameHeader::LEN as u64;
        for (bytes, mac) in frame.entry_bytes().zip(frame.macs()) {
            let index = Index(self.edge.size().0);
            let misdeeds = &self.desk.shared.misdeeds;
            let mut wrong = |what| misdeeds.add(&place.name, Some(at), what);
            if let Some(entry) = self.rules.take(index, bytes, &mut wrong) {
                if let Err(what) = self.numbers.take(index, &entry, mac) {
                    let ends = ends_the_walk(&what);
                    wrong(what);
                    if ends {
                        return Ok(Break(()));
                    }
                }
                if registers(&entry) {
                    taken.registering.push(index);
                }
            }
            let commitment = bytes.get(Entry::LEN - Hash::LEN..);
            let commitment = commitment.and_then(Hash::from_slice).unwrap_or_default();
            taken.commitments.push(commitment);
            let arrays = &mut self.arrays;
            self.edge
                .push_observed(leaf_hash(bytes), &mut |level, number, hash| {
                    if level % 8 == 0 {
                        arrays.take(level / 8, number, &hash);
                    }
                });
            self.meet()?;
            at += Entry::LEN as u64;
        }
        Ok(Continue(taken))
    }

    /// What follows the last good frame of a segment: nothing, zeros, a torn tail, or corruption.
    fn after_last_frame(
        &mut self,
        place: &Place,
        error: FormatError,
    ) -> Result<ControlFlow<(), bool>, VerifyError> {
        let file = &place.entries;
        let Some(written) = self.window.first_not_zero(file, place.at)? else {
            return Ok(Continue(true));
        };
        let newer = matches!(error, FormatError::Version { .. });
        let search = if newer || !place.is_last {
            Search::Found
        } else {
            good_frame_after(&mut self.window, file, place.at)?
        };
        // A writer may be in the middle of a frame, but it writes them one after the other.
        if self.tail == Tail::BeingWritten
            && place.is_last
            && (search == Search::Nothing || self.is_whole_now(place)?)
        {
            let file = place.name.clone();
            self.not_checked.push(NotChecked::BeingWritten { file });
            return Ok(Continue(true));
        }
        let what = if search == Search::Found {
            MisdeedKind::FrameDamaged { error }
        } else if search == Search::GivenUp {
            MisdeedKind::DamageFollowed
        } else if written == place.at {
            let size = self.edge.size();
            MisdeedKind::TornTail { size }
        } else {
            MisdeedKind::NotZero
        };
        self.misdeed(&place.name, Some(written), what);
        Ok(Break(()))
    }

    /// Whether the frame that was not whole has become so.
    fn is_whole_now(&mut self, place: &Place) -> Result<bool, VerifyError> {
        self.window.clear();
        let rest = place.entries.len - place.at;
        let Ok(header) = self.frame_header(place, rest)? else {
            return Ok(false);
        };
        is_frame(&mut self.window, &place.entries, place.at, header)
    }

    /// What follows the payloads of a segment's last frame.
    fn payloads_end(&mut self, place: &Place) -> Result<(), VerifyError> {
        let Some(file) = &place.payloads else {
            return Ok(());
        };
        self.bytes_before = self.bytes_before.saturating_add(file.opened.len);
        let end = place.payload_at;
        if self.finished {
            let len = match self.tail {
                Tail::AtRest => file.opened.len,
                // Cut by the writer before the finish frame was written.
                Tail::BeingWritten => file.opened.again()?.len,
            };
            let count = len.saturating_sub(end);
            if count > 0 {
                let what = MisdeedKind::SurplusBytes { count };
                self.misdeed(&file.name, Some(end), what);
            }
        } else if self.tail == Tail::AtRest {
            self.window.clear();
            if let Some(at) = self.window.first_not_zero(&file.opened, end)? {
                self.misdeed(&file.name, Some(at), MisdeedKind::NotZero);
            }
        }
        Ok(())
    }

    fn raise_durable(&mut self, stated: TreeSize, name: &str, at: u64) {
        if stated < self.durable || stated > self.edge.size() {
            let (before, found) = (self.durable, stated);
            self.misdeed(name, Some(at), MisdeedKind::ArraysDurable { before, found });
        } else {
            self.durable = stated;
        }
    }

    /// Compares with what was signed at the tree's size, if anything was.
    fn meet(&mut self) -> Result<(), VerifyError> {
        if self.edge.size().0 != self.marks.next() {
            return Ok(());
        }
        let (size, root) = (self.edge.size(), self.edge.root());
        self.marks
            .meet(size, root, self.rules.ledger_time, &mut self.desk)
    }

    fn report_progress(&self, place: &Place) {
        let read = place.at.saturating_add(place.payload_at);
        (self.progress)(Progress {
            entries: self.edge.size().0,
            bytes: self.bytes_before.saturating_add(read),
            bytes_total: self.folder.segment_bytes,
        });
    }

    fn misdeed(&self, file: &str, at: Option<u64>, what: MisdeedKind) {
        self.desk.shared.misdeeds.add(file, at, what);
    }
}
