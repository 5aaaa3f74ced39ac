//! What can be seen of a source's files: those that are named, their rotated siblings, and those
//! that are known by their inode whatever they are called now.
//!
//! Not here: which of them was read how far (`tailer`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::DirEntryExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::content::{Stat, real_path};
use crate::position::FileId;

/// Looks until two in a row agree. Names do not move that often, so this is never the end; if it
/// is, the order of reading is what the last look found.
const LOOKS_MAX: usize = 50;

/// Which files a source is read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    folder: PathBuf,
    /// The last component: a name, or a pattern with `*` and `?`.
    pattern: String,
    is_pattern: bool,
}

/// Why files cannot be named so.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilesError {
    /// There is no last component, or it is not UTF-8.
    #[error("{0:?} names no file: give an absolute path that ends with a file's name")]
    NoName(PathBuf),
    /// A pattern in a folder's name.
    #[error("{0:?} has a pattern in a folder's name: only the file's name may have one")]
    PatternInFolder(PathBuf),
}

impl Files {
    /// One file, by its name.
    ///
    /// # Errors
    /// A path without a name.
    pub fn named(path: &Path) -> Result<Files, FilesError> {
        Files::new(path, false)
    }

    /// The files whose name fits: `*` stands for any characters, `?` for one.
    ///
    /// # Errors
    /// A path without a name, or with a pattern before it.
    pub fn pattern(path: &Path) -> Result<Files, FilesError> {
        Files::new(path, true)
    }

    fn new(path: &Path, is_pattern: bool) -> Result<Files, FilesError> {
        let none = || FilesError::NoName(path.to_owned());
        let pattern = path.file_name().and_then(OsStr::to_str).ok_or_else(none)?;
        let folder = path
            .parent()
            .filter(|folder| folder.is_absolute())
            .ok_or_else(none)?;
        if is_pattern && folder.to_string_lossy().contains(['*', '?']) {
            return Err(FilesError::PatternInFolder(path.to_owned()));
        }
        Ok(Files {
            folder: folder.to_owned(),
            pattern: pattern.to_owned(),
            is_pattern,
        })
    }

    /// The folder that they lie in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What a name in the folder is to the source.
    fn class(&self, name: &str) -> Option<Class> {
        let fits = if self.is_pattern {
            fits(self.pattern.as_bytes(), name.as_bytes())
        } else {
            name == self.pattern
        };
        if fits {
            return Some(Class::Named);
        }
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        if self.is_pattern {
            let of_one = plain != name && self.class(plain) == Some(Class::Named);
            return of_one.then_some(Class::Sibling);
        }
        is_rotated(&self.pattern, plain, plain != name).then_some(Class::Sibling)
    }
}

/// What a file is to the source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Class {
    /// The configuration names it.
    Named,
    /// It has the name of a rotated one.
    Sibling,
    /// It is known by its inode only.
    Known,
}

/// One file that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) path: PathBuf,
    pub(crate) class: Class,
    pub(crate) gzip: bool,
    pub(crate) stat: Stat,
    /// `N` of a name that ends with `.N`: the higher, the older.
    rank: u64,
}

/// What a look at the folder gave.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sight {
    /// One item a file, however many names it has, in the order of reading: oldest first.
    pub(crate) files: Vec<Seen>,
    /// Named by the configuration, but no file.
    pub(crate) refused: BTreeMap<PathBuf, &'static str>,
}

/// Looks at the folder. `known` says whether an inode is one that was read, and `elsewhere` are
/// paths that such were last found at.
///
/// Names that move while one looks can hide a file: `log.1` was looked at, `log` is renamed to it,
/// and a new `log` is looked at. The hidden one would be met by the next look, and read after the
/// newer one. So a look counts when the one before found the same files by the same names: then
/// all of them had these names at the moment between the two. `None` if the names do not come to
/// rest: then it is looked again by the next poll, and nothing is concluded from this one.
pub(crate) fn look(
    files: &Files,
    known: &dyn Fn(u64) -> bool,
    elsewhere: &[PathBuf],
) -> io::Result<Option<Sight>> {
    let mut sight = look_once(files, known, elsewhere)?;
    for _ in 0..LOOKS_MAX {
        let next = look_once(files, known, elsewhere)?;
        let same = next.names() == sight.names();
        sight = next;
        if same {
            return Ok(Some(sight));
        }
    }
    Ok(None)
}

fn look_once(
    files: &Files,
    known: &dyn Fn(u64) -> bool,
    elsewhere: &[PathBuf],
) -> io::Result<Sight> {
    let mut sight = Sight::default();
    for item in fs::read_dir(&files.folder)? {
        let item = item?;
        let name = item.file_name();
        let class = name.to_str().and_then(|name| files.class(name));
        let Some(class) = class.or_else(|| known(item.ino()).then_some(Class::Known)) else {
            continue;
        };
        sight.add(files.folder.join(&name), class);
    }
    for path in elsewhere
        .iter()
        .filter(|path| path.parent() != Some(&files.folder))
    {
        sight.add(path.clone(), Class::Known);
    }
    let key = |seen: &Seen| {
        let name = seen.path.file_name().map(OsStr::to_owned);
        (seen.stat.changed, u64::MAX - seen.rank, name)
    };
    sight.files.sort_by_key(key);
    Ok(sight)
}

impl Sight {
    /// Which file has which name.
    fn names(&self) -> BTreeMap<&Path, &FileId> {
        (self.files.iter())
            .map(|seen| (seen.path.as_path(), &seen.stat.id))
            .collect()
    }

    fn add(&mut self, path: PathBuf, class: Class) {
        // A name that vanished meanwhile is as good as never seen.
        let Ok(metadata) = fs::metadata(&path) else {
            return;
        };
        let kind = metadata.file_type();
        if !kind.is_file() {
            if class == Class::Named {
                let what = if kind.is_dir() {
                    "a folder"
                } else if kind.is_fifo() {
                    "a named pipe"
                } else if kind.is_socket() {
                    "a socket"
                } else {
                    "a device"
                };
                self.refused.insert(path, what);
            }
            return;
        }
        let stat = Stat::of(&metadata);
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let gzip = name.ends_with(".gz");
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        let rank = plain
            .rsplit_once('.')
            .and_then(|(_, n)| n.parse().ok())
            .unwrap_or(0);
        let linked = fs::symlink_metadata(&path).is_ok_and(|m| m.file_type().is_symlink());
        let seen = Seen {
            path: if linked { real_path(&path) } else { path },
            class,
            gzip,
            stat,
            rank,
        };
        match self
            .files
            .iter_mut()
            .find(|other| other.stat.id.same_inode(&stat.id))
        {
            // Another name of the same file: the one that is asked for counts.
            Some(other) if seen.class < other.class => *other = seen,
            Some(_) => {}
            None => self.files.push(seen),
        }
    }

    /// The file of an inode.
    pub(crate) fn find(&self, id: &FileId) -> Option<&Seen> {
        self.files.iter().find(|seen| seen.stat.id.may_be(id))
    }
}

/// Whether `name` (without `.gz`) is `base` as rotation renames it: `base.1`, `base-20260101`,
/// `base.old`, and `stem-20260101.ext` for `stem.ext`.
fn is_rotated(base: &str, name: &str, gzip: bool) -> bool {
    if name == base {
        return gzip;
    }
    let dated = |middle: &str| {
        let rest = middle.trim_start_matches(['.', '-', '_']);
        let count = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | 'T' | 'Z' | ':');
        rest.len() < middle.len()
            && (rest == "old"
                || (rest.starts_with(|c: char| c.is_ascii_digit()) && rest.chars().all(count)))
    };
    if name.strip_prefix(base).is_some_and(dated) {
        return true;
    }
    base.rsplit_once('.').is_some_and(|(stem, extension)| {
        let ending = format!(".{extension}");
        let inner = name
            .strip_prefix(stem)
            .and_then(|rest| rest.strip_suffix(&ending));
        inner.is_some_and(dated)
    })
}

/// Whether `name` fits a pattern of `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || name.get(n) == Some(c) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
        }
    }
    pattern
        .get(p..)
        .is_none_or(|rest| rest.iter().all(|c| *c == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Content;

    #[test]
    fn names_are_told_apart() {
        let one = Files::named(Path::new("/v/audit.log")).unwrap();
        let many = Files::pattern(Path::new("/v/pg-*.csv")).unwrap();
        for (files, name, class) in [
            (&one, "audit.log", Some(Class::Named)),
            (&one, "audit.log.1", Some(Class::Sibling)),
            (&one, "audit.log.12.gz", Some(Class::Sibling)),
            (&one, "audit.log-20260101.gz", Some(Class::Sibling)),
            (&one, "audit-20260101-12.log", Some(Class::Sibling)),
            (&one, "audit.log.old", Some(Class::Sibling)),
            (&one, "audit.log.gz", Some(Class::Sibling)),
            (&one, "audit.log.new", None),
            (&one, "audit-errors.log", None),
            (&one, "audit.logs", None),
            (&one, "audit.log.", None),
            (&one, "other.log.1", None),
            (&many, "pg-Mon.csv", Some(Class::Named)),
            (&many, "pg-.csv", Some(Class::Named)),
            (&many, "pg-Mon.csv.gz", Some(Class::Sibling)),
            (&many, "pg-Mon.log", None),
            (&many, "xpg-Mon.csv", None),
        ] {
            assert_eq!(files.class(name), class, "{name}");
        }
        assert!(fits(b"a*b?c*", b"aXXbbbYc"));
        assert!(!fits(b"a*b?c", b"aXXbbbYcd"));
    }

    /// Renames every file to the next number and makes a new one, whose length is its age.
    fn rotate(folder: &Path, length: usize) {
        for number in (0..length).rev() {
            let name = |number| match number {
                0 => folder.join("audit.log"),
                number => folder.join(format!("audit.log.{number}")),
            };
            fs::rename(name(number), name(number + 1)).unwrap();
        }
        fs::write(folder.join("audit.log"), vec![b'x'; length]).unwrap();
    }

    #[test]
    fn no_file_is_hidden_by_names_that_move() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("audit.log"), "").unwrap();
        let files = Files::named(&folder.path().join("audit.log")).unwrap();
        std::thread::scope(|scope| {
            let rotates = scope.spawn(|| {
                for length in 1..150 {
                    rotate(folder.path(), length);
                    std::thread::yield_now();
                }
            });
            let mut looked = 0;
            while !rotates.is_finished() {
                let Some(sight) = look(&files, &|_| false, &[]).unwrap() else {
                    continue;
                };
                let mut ages: Vec<u64> = sight.files.iter().map(|seen| seen.stat.size).collect();
                ages.sort_unstable();
                // The newest is made a moment before it gets its length.
                ages.retain(|age| *age > 0);
                let newest = ages.last().copied().unwrap_or(0);
                let all: Vec<u64> = (1..=newest).collect();
                assert_eq!(ages, all, "after {looked} looks");
                looked += 1;
            }
            assert!(looked > 5, "{looked}");
        });
    }

    #[test]
    fn a_file_that_got_the_name_after_the_look_is_not_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        fs::write(&path, "one").unwrap();
        let files = Files::named(&path).unwrap();
        let sight = look(&files, &|_| false, &[]).unwrap().unwrap();
        let seen = &sight.files[0];
        assert!(Content::open_seen(seen).is_ok(), "the twin");
        fs::rename(&path, folder.path().join("audit.log.1")).unwrap();
        fs::write(&path, "another").unwrap();
        let moved = Content::open_seen(seen).unwrap_err();
        assert_eq!(moved.kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn paths_without_a_name_are_refused() {
        for path in ["/", "audit.log", ""] {
            assert!(Files::named(Path::new(path)).is_err(), "{path}");
        }
        assert!(Files::pattern(Path::new("/v/*/a.csv")).is_err());
        assert!(Files::named(Path::new("/v/*/a.csv")).is_ok());
    }
}
