//! The names of a log's files (DESIGN of the directory: docs/formats/segments.md).
//!
//! Not here: opening them.

use crate::ids::Index;

/// The signer's state and the newest checkpoint.
pub const LAST_NOTE: &str = "last-note";
/// The history of checkpoints that are kept.
pub const CHECKPOINTS: &str = "checkpoints";
/// The folder of hash arrays.
pub const HASHES: &str = "hashes";
/// Hashes in one array file.
pub const ARRAY_CHUNK: u64 = 1 << 24;

/// What a file name in a log's folder stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFile {
    /// Frames of the segment with this first index.
    Entries(Index),
    /// Payloads of that segment, and the generation.
    Payloads(Index, u32),
    /// [`LAST_NOTE`].
    LastNote,
    /// [`CHECKPOINTS`].
    Checkpoints,
    /// The folder [`HASHES`].
    Hashes,
}

/// `N.entries`, N the first index with 20 digits.
pub fn entries_name(first: Index) -> String {
    format!("{:020}.entries", first.0)
}

/// `N.payloads.g<generation>`.
pub fn payloads_name(first: Index, generation: u32) -> String {
    format!("{:020}.payloads.g{generation}", first.0)
}

/// The array file of tile level `level` that holds hashes `chunk`·2^24 and on: `<level>.<chunk>`,
/// the chunk with 8 digits.
pub fn array_name(level: u8, chunk: u64) -> String {
    format!("{level}.{chunk:08}")
}

/// Reads a name; `None` for any other spelling.
pub fn parse_name(name: &str) -> Option<LogFile> {
    let file = match name {
        LAST_NOTE => LogFile::LastNote,
        CHECKPOINTS => LogFile::Checkpoints,
        HASHES => LogFile::Hashes,
        _ => {
            let (digits, rest) = name.split_once('.')?;
            let first = Index(digits.parse().ok()?);
            match rest.split_once(".g") {
                None => LogFile::Entries(first),
                Some((_, generation)) => LogFile::Payloads(first, generation.parse().ok()?),
            }
        }
    };
    let spelled = match file {
        LogFile::Entries(first) => entries_name(first),
        LogFile::Payloads(first, generation) => payloads_name(first, generation),
        LogFile::LastNote | LogFile::Checkpoints | LogFile::Hashes => name.to_owned(),
    };
    (spelled == name).then_some(file)
}

/// Reads the name of an array file: its tile level and chunk.
pub fn parse_array_name(name: &str) -> Option<(u8, u64)> {
    let (level, chunk) = name.split_once('.')?;
    let (level, chunk) = (level.parse().ok()?, chunk.parse().ok()?);
    (array_name(level, chunk) == name).then_some((level, chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_are_refused_and_ours_read() {
        for bad in [
            "",
            "1.entries",
            "x",
            "last-note.new",
            "00000000000000000001.entries.bak",
        ] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
        assert_eq!(parse_name("00000000000000000001.payloads.g01"), None);
        for file in [
            LogFile::Entries(Index(0)),
            LogFile::Entries(Index(u64::MAX)),
        ] {
            let LogFile::Entries(first) = file else {
                continue;
            };
            assert_eq!(parse_name(&entries_name(first)), Some(file));
        }
        let payloads = LogFile::Payloads(Index(7), 3);
        assert_eq!(
            parse_name("00000000000000000007.payloads.g3"),
            Some(payloads)
        );
        assert_eq!(parse_array_name("0.00000001"), Some((0, 1)));
        for bad in ["0.1", "00.00000001", "0.00000001.tmp", "a.00000001"] {
            assert_eq!(parse_array_name(bad), None, "{bad}");
        }
    }
}
