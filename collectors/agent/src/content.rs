//! The bytes of one file, plain or gzip: read on, compared with what is known, told apart.
//!
//! A file is opened without waiting, as a named pipe would make one do, and only if it is regular.
//! Not here: records (`reading`), which file it is (`tailer`).

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flate2::bufread::MultiGzDecoder;

use crate::position::{FileId, FilePosition, HASHED_BYTES, digest};
use crate::segment::read_at;
use crate::sight::Seen;

/// What is asked of the system about a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stat {
    pub(crate) id: FileId,
    pub(crate) size: u64,
    /// Last change of the bytes, in ns since 1970.
    pub(crate) changed: i128,
}

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Stat {
        let born = metadata.created().ok().and_then(|time| {
            let since = time.duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(since.as_nanos()).ok()
        });
        Stat {
            id: FileId {
                device: metadata.dev(),
                inode: metadata.ino(),
                born,
            },
            size: metadata.len(),
            changed: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
        }
    }
}

/// A file that is open.
#[derive(Debug)]
pub(crate) struct Content {
    file: File,
    gzip: Option<Gzip>,
}

/// A gzip file can be read in one direction only.
#[derive(Debug)]
struct Gzip {
    decoder: MultiGzDecoder<BufReader<File>>,
    at: u64,
}

impl Content {
    pub(crate) fn open(path: &Path, gzip: bool) -> io::Result<Content> {
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let gzip = gzip.then(|| Gzip::new(&file)).transpose()?;
        Ok(Content { file, gzip })
    }

    /// The file that was seen, and no other: between the look and now another may have got its
    /// name, and what that one holds says nothing about this one.
    pub(crate) fn open_seen(seen: &Seen) -> io::Result<Content> {
        Content::open_as(&seen.path, seen.gzip, &seen.stat.id)
    }

    /// The file at `path`, if it is the one with this identity.
    pub(crate) fn open_as(path: &Path, gzip: bool, id: &FileId) -> io::Result<Content> {
        let content = Content::open(path, gzip)?;
        if content.stat()?.id.may_be(id) {
            Ok(content)
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    }

    pub(crate) fn is_gzip(&self) -> bool {
        self.gzip.is_some()
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        Ok(Stat::of(&self.file.metadata()?))
    }

    /// At most `len` bytes from `at` on; none at the end. A gzip file is cheap to read onwards
    /// only.
    pub(crate) fn read(&mut self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        match &mut self.gzip {
            None => read_at(&self.file, at, len),
            Some(gzip) => {
                if gzip.at > at {
                    *gzip = Gzip::new(&self.file)?;
                }
                let at_most = at - gzip.at;
                let read = gzip.pass(at_most).and_then(|()| gzip.take(len));
                if read.is_err() {
                    // Nobody knows where the decoder stands: the next read begins anew.
                    gzip.at = u64::MAX;
                }
                read
            }
        }
    }

    /// Whether it begins with, and holds before the offset, what the position says. A position at
    /// 0 says nothing, so nothing is it.
    pub(crate) fn is_at(&mut self, position: &FilePosition) -> io::Result<bool> {
        let len = position.hashed();
        if len == 0 {
            return Ok(false);
        }
        if digest(&self.read(0, len)?) != position.head {
            return Ok(false);
        }
        let tail = self.read(position.offset - len as u64, len)?;
        Ok(digest(&tail) == position.tail)
    }
}

impl Gzip {
    fn new(file: &File) -> io::Result<Gzip> {
        let mut file = file.try_clone()?;
        // The clone shares the offset, and nothing else moves it.
        io::Seek::rewind(&mut file)?;
        Ok(Gzip {
            decoder: MultiGzDecoder::new(BufReader::new(file)),
            at: 0,
        })
    }

    fn pass(&mut self, count: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.decoder.by_ref().take(count), &mut io::sink())?;
        self.at += passed;
        Ok(())
    }

    fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let taken = self
            .decoder
            .by_ref()
            .take(len as u64)
            .read_to_end(&mut bytes);
        self.at += bytes.len() as u64;
        match taken {
            // What was decoded before the damage is given first.
            Err(error) if bytes.is_empty() => Err(error),
            _ => Ok(bytes),
        }
    }
}

/// Whether a gzip file can be read to its end: whoever writes it is done.
pub(crate) fn is_whole_gzip(path: &Path) -> bool {
    let read = Content::open(path, true).and_then(|mut content| match &mut content.gzip {
        Some(gzip) => gzip.pass(u64::MAX),
        None => Ok(()),
    });
    read.is_ok()
}

/// Whether the file at `path` is a copy of the beginning of `original`, which is open: its first
/// and its last bytes are there at the same place.
pub(crate) fn is_beginning_of(path: &Path, gzip: bool, original: &mut Content) -> io::Result<bool> {
    let mut copy = Content::open(path, gzip)?;
    let head = copy.read(0, HASHED_BYTES)?;
    if head.is_empty() || head != original.read(0, head.len())? {
        return Ok(false);
    }
    if gzip {
        return Ok(true);
    }
    let size = copy.stat()?.size;
    let from = size.saturating_sub(HASHED_BYTES as u64);
    let tail = copy.read(from, HASHED_BYTES)?;
    Ok(tail == original.read(from, tail.len())?)
}

/// The file behind links, for a name that stays when a link is switched.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
