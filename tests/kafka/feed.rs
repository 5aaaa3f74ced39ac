//! A source of real records: the records of a shipped pgaudit sample over and over, each with a
//! session of its own whose number grows, appended to a file that an agent follows.
//!
//! Not here: what became of them (`check`).

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::program::{SAMPLES, sample};

/// A growing file of one source.
pub(crate) struct Feed {
    path: PathBuf,
    file: File,
    /// Each record in what stands before its session and behind it.
    records: Vec<(Vec<u8>, Vec<u8>)>,
    written: u64,
}

impl Feed {
    pub(crate) fn new(path: &Path) -> Feed {
        let mut open = OpenOptions::new();
        let file = open.create(true).append(true).open(path).unwrap();
        Feed {
            path: path.to_owned(),
            file,
            records: records(&std::fs::read(sample(SAMPLES[1])).unwrap()),
            written: 0,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many records were written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Appends the next `count` records.
    pub(crate) fn write(&mut self, count: u64) {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let at = usize::try_from(self.written).unwrap() % self.records.len();
            let (before, behind) = &self.records[at];
            self.written += 1;
            bytes.extend_from_slice(before);
            bytes.extend_from_slice(format!("{:x}.1", self.written).as_bytes());
            bytes.extend_from_slice(behind);
        }
        self.file.write_all(&bytes).unwrap();
    }
}

/// The records of a csvlog, without the session, which is the sixth column.
fn records(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    let (mut begin, mut quoted, mut commas) = (0, false, Vec::new());
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => commas.push(at),
            b'\n' if !quoted => {
                let (from, to) = (commas[4] + 1, commas[5]);
                records.push((text[begin..from].to_vec(), text[to..=at].to_vec()));
                begin = at + 1;
                commas.clear();
            }
            _ => {}
        }
    }
    records
}

#[test]
fn a_feed_writes_the_samples_records_with_numbers_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(&folder.path().join("audit.csv"));
    feed.write(100);
    feed.write(258);
    let text = std::fs::read(feed.path()).unwrap();
    let again = records(&text);
    assert_eq!(again.len(), 358);
    let sample = records(&std::fs::read(sample(SAMPLES[1])).unwrap());
    assert_eq!(sample.len(), 179);
    assert!(again[..179] == sample && again[179..] == sample);
    assert!(text.windows(7).any(|part| part == b",166.1,"), "the last");
}
