//! Reading an entries file where its frames do not lead: its header, and whatever lies behind a
//! damaged place.
//!
//! Not here: what follows from it ([`crate::segments`]).

use ledger_core::bytes::FormatError;
use ledger_core::frame::{Frame, FrameHeader};
use ledger_core::segment::SegmentHeader;

use crate::error::VerifyError;
use crate::files::{Opened, Window};

/// Bytes that are searched at once.
const STEP: usize = 1 << 16;
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

/// Whether a frame with good checksums begins anywhere after the byte at `at`.
pub(crate) fn good_frame_after(
    window: &mut Window,
    file: &Opened,
    at: u64,
) -> Result<bool, VerifyError> {
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
                if is_frame(window, file, at)? {
                    return Ok(true);
                }
                at += 1;
            }
            // A mark may begin in the last bytes of this step.
            None => at += step.saturating_sub(mark.len() - 1).max(1) as u64,
        }
    }
    Ok(false)
}

fn is_frame(window: &mut Window, file: &Opened, at: u64) -> Result<bool, VerifyError> {
    let bytes = window.bytes(file, at, FrameHeader::LEN)?;
    let Some(Ok(header)) = bytes.map(FrameHeader::decode) else {
        return Ok(false);
    };
    let body_at = at.saturating_add(FrameHeader::LEN as u64);
    let body = window.bytes(file, body_at, header.body_len as usize)?;
    Ok(body.is_some_and(|body| Frame::decode(header, body).is_ok()))
}
