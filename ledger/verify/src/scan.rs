//! Reading an entries file where its frames do not lead: its header, and whatever lies behind a
//! damaged place.
//!
//! Not here: what follows from it ([`crate::segments`]).

use ledger_core::bytes::FormatError;
use ledger_core::frame::{FRAME_BODY_MAX, Frame, FrameHeader};
use ledger_core::segment::SegmentHeader;

use crate::error::VerifyError;
use crate::files::{Opened, Window};

/// Bytes that are searched at once.
const STEP: usize = 1 << 16;
/// At most so many bytes are taken for bodies of frames, in one search: four of the longest.
const SEARCH_MAX: u64 = 4 * FRAME_BODY_MAX as u64;
/// Bytes of a segment header that say how long it is.
const PREFIX: usize = 12;

/// Reads a segment header and says how long it is.
pub(crate) fn read_header(
    window: &mut Window,
    file: &Opened,
) -> Result<Result<(SegmentHeader, usize), FormatError>, VerifyError> {
    let short = |needed: usize| FormatError::Short {
        what: "segment header",
        at: usize::try_from(file.len).unwrap_or(usize::MAX),
        needed,
    };
    let Some(prefix) = window.bytes(file, 0, PREFIX)? else {
        return Ok(Err(short(PREFIX)));
    };
    let length = match SegmentHeader::length(prefix) {
        Ok(length) => length,
        Err(error) => return Ok(Err(error)),
    };
    let Some(bytes) = window.bytes(file, 0, length)? else {
        return Ok(Err(short(length)));
    };
    Ok(SegmentHeader::decode(bytes).map(|header| (header, length)))
}

/// What a search for a good frame came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Search {
    Found,
    Nothing,
    /// There are more headers without a good frame than are looked at.
    GivenUp,
}

/// Whether a frame with good checksums begins anywhere after the byte at `at`. Headers may overlap
/// what others claim, so the bytes that are read for them are bounded.
pub(crate) fn good_frame_after(
    window: &mut Window,
    file: &Opened,
    at: u64,
) -> Result<Search, VerifyError> {
    // Bodies have a window of their own, so that the search goes on where it was.
    let mut bodies = Window::default();
    let mut left = SEARCH_MAX;
    let mut at = at.saturating_add(1);
    while at < file.len {
        let rest = usize::try_from(file.len - at).unwrap_or(usize::MAX);
        let step = rest.min(STEP);
        let bytes = window.bytes(file, at, step)?.unwrap_or_default();
        let mark = FrameHeader::MAGIC;
        let found = bytes.windows(mark.len()).position(|seen| seen == mark);
        match found {
            Some(found) => {
                at += found as u64;
                let header = window.bytes(file, at, FrameHeader::LEN)?;
                if let Some(Ok(header)) = header.map(FrameHeader::decode) {
                    let Some(less) = left.checked_sub(u64::from(header.body_len)) else {
                        return Ok(Search::GivenUp);
                    };
                    left = less;
                    if is_frame(&mut bodies, file, at, header)? {
                        return Ok(Search::Found);
                    }
                }
                at += 1;
            }
            // A mark may begin in the last bytes of this step.
            None => at += step.saturating_sub(mark.len() - 1).max(1) as u64,
        }
    }
    Ok(Search::Nothing)
}

/// Whether the body that belongs to the header at `at` is there and good.
pub(crate) fn is_frame(
    window: &mut Window,
    file: &Opened,
    at: u64,
    header: FrameHeader,
) -> Result<bool, VerifyError> {
    let body_at = at.saturating_add(FrameHeader::LEN as u64);
    let body = window.bytes(file, body_at, header.body_len as usize)?;
    Ok(body.is_some_and(|body| Frame::decode(header, body).is_ok()))
}
