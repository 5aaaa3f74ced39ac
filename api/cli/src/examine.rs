//! The checks of `custody doctor`: each looks at one thing and says how it is and what to do.
//!
//! Not here: mending anything.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use api_http::{SOCKET_PATH_MAX, answers};
use keys_public::{Note, TrustFile};
use keys_secret::Keystore;
use ledger_core::{Index, TreeSize, verify_inclusion};
use ledger_log::{LogPaths, Reader};

use crate::access::now;
use crate::config::Config;
use crate::error::one_line;
use crate::output::{count, plural, size};

/// How one thing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// As it should be.
    Well,
    /// Worth knowing.
    Note,
    /// Wrong.
    Wrong,
}

/// What one check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: &'static str,
    /// How it is.
    pub(crate) state: State,
    /// What was seen, and what to do if it is wrong.
    pub(crate) what: String,
}

impl Finding {
    /// As it should be.
    pub(crate) fn well(check: &'static str, what: String) -> Finding {
        Finding {
            check,
            state: State::Well,
            what,
        }
    }

    /// Worth knowing.
    pub(crate) fn note(check: &'static str, what: String) -> Finding {
        Finding {
            check,
            state: State::Note,
            what,
        }
    }

    /// Wrong.
    pub(crate) fn wrong(check: &'static str, what: String) -> Finding {
        Finding {
            check,
            state: State::Wrong,
            what,
        }
    }
}

/// Less free disk than this is wrong: a segment may grow by so much at once.
const DISK_FREE_MIN: u64 = 256 << 20;
/// A clock that is so far behind the last entry stops the log.
const CLOCK_BEHIND_MAX_NS: i64 = 300 * 1_000_000_000;

/// Every check, in the order in which things stand on each other.
pub(crate) fn examine(config: &Config) -> Vec<Finding> {
    let paths = &config.paths;
    let mut findings = vec![folder(paths.root()), disk(paths.root()), keys(paths)];
    let (trust, finding) = trust(paths);
    findings.push(finding);
    findings.extend([socket(paths), lock(paths)]);
    let reader = match Reader::open(paths) {
        Ok(reader) => reader,
        Err(error) => {
            findings.push(Finding::wrong("log", one_line(&error)));
            return findings;
        }
    };
    findings.extend([entries(&reader), clock(paths, &reader)]);
    findings.extend(restored(paths));
    findings.push(checkpoint(&reader, trust.as_ref()));
    findings.push(hashes(&reader));
    findings
}

fn folder(root: &Path) -> Finding {
    let shown = root.display();
    match fs::metadata(root) {
        Err(error) => Finding::wrong("folder", format!("{shown} cannot be read: {error}")),
        Ok(found) if !found.is_dir() => Finding::wrong(
            "folder",
            format!("{shown} is no folder: set `dir` in the settings"),
        ),
        Ok(found) if found.mode() & 0o022 != 0 => {
            let mode = found.mode() & 0o7777;
            let what =
                format!("{shown} has mode {mode:04o}: others may write; run chmod go-w on it");
            Finding::wrong("folder", what)
        }
        Ok(_) => Finding::well("folder", shown.to_string()),
    }
}

fn disk(root: &Path) -> Finding {
    match rustix::fs::statvfs(root) {
        Err(error) => Finding::wrong("disk", format!("cannot be asked for its space: {error}")),
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let read_only = found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
            let text = format!("{} free", size(free));
            if read_only {
                Finding::wrong(
                    "disk",
                    "mounted read-only: nothing can be appended".to_owned(),
                )
            } else if free < DISK_FREE_MIN {
                Finding::wrong("disk", format!("{text}: make room before the log stops"))
            } else {
                Finding::well("disk", text)
            }
        }
    }
}

fn keys(paths: &LogPaths) -> Finding {
    let check = || -> Result<usize, keys_secret::KeystoreError> {
        let store = Keystore::open(&paths.keys())?;
        store.log_signing_keys(paths.origin())?;
        store.evidence_keys(paths.origin())?;
        store.pseudonym_key(paths.tenant())?;
        Ok(store.list()?.len())
    };
    match check() {
        Ok(files) => Finding::well(
            "keys",
            format!(
                "{} for their owner only",
                plural(files as u64, "file", "files")
            ),
        ),
        Err(error) => Finding::wrong("keys", one_line(&error)),
    }
}

fn trust(paths: &LogPaths) -> (Option<TrustFile>, Finding) {
    let path = paths.trust();
    let shown = path.display();
    let wrong = |what: String| (None, Finding::wrong("trust", what));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            return wrong(format!(
                "{shown} cannot be read: {error}; anyone's copy will do"
            ));
        }
    };
    let trust = match TrustFile::parse(&text) {
        Ok(trust) => trust,
        Err(error) => return wrong(format!("{shown}: {}", one_line(&error))),
    };
    if trust.origin() != paths.origin() {
        let (found, expected) = (trust.origin(), paths.origin());
        return wrong(format!(
            "{shown} is of the log {found}, the settings name {expected}"
        ));
    }
    let own =
        Keystore::open(&paths.keys()).and_then(|store| store.log_signing_keys(paths.origin()));
    if own.is_ok_and(|own| own.public() != trust.keys()) {
        return wrong(format!(
            "{shown} names other keys than keys/ holds: restore one of them"
        ));
    }
    let print = trust.fingerprint();
    (
        Some(trust),
        Finding::well("trust", format!("{shown}, SHA-256 {print}")),
    )
}

fn socket(paths: &LogPaths) -> Finding {
    let path = paths.socket();
    let shown = path.display();
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        let what = format!("{shown} is longer than {SOCKET_PATH_MAX} bytes: move the folder");
        return Finding::wrong("socket", what);
    }
    match fs::symlink_metadata(&path) {
        Err(_) => Finding::well("socket", "no server is running".to_owned()),
        Ok(found) if found.mode() & 0o077 != 0 => {
            let what =
                format!("{shown} is open to others: stop the server, chmod 600, start again");
            Finding::wrong("socket", what)
        }
        Ok(_) if answers(&path) => Finding::well("socket", format!("a server answers on {shown}")),
        Ok(_) => Finding::note(
            "socket",
            format!("{shown} was left by a server that was killed; the next one replaces it"),
        ),
    }
}

fn lock(paths: &LogPaths) -> Finding {
    let path = paths.lock();
    let held = fs::File::open(&path)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)));
    match (held, answers(&paths.socket())) {
        (false, _) => Finding::well("lock", "free".to_owned()),
        (true, true) => Finding::well("lock", "held by the server".to_owned()),
        (true, false) => Finding::note(
            "lock",
            "held by a process without a socket: an ingest, or a server that starts or stops; if \
             it stays so, look for the process with `fuser custody.lock`"
                .to_owned(),
        ),
    }
}

fn entries(reader: &Reader) -> Finding {
    let entries = reader.size();
    let ends = [Some(0), entries.0.checked_sub(1)];
    for index in ends.into_iter().flatten() {
        if let Err(error) = reader.entry(Index(index)) {
            return Finding::wrong("log", one_line(&error));
        }
    }
    Finding::well(
        "log",
        format!(
            "{}, the first and the last can be read",
            plural(entries.0, "entry", "entries")
        ),
    )
}

fn clock(paths: &LogPaths, reader: &Reader) -> Finding {
    if paths.root().join("state").join("clock-stopped").exists() {
        let what = "stopped the log: set it right, then start with --accept-clock".to_owned();
        return Finding::wrong("clock", what);
    }
    let last = reader
        .size()
        .0
        .checked_sub(1)
        .and_then(|last| reader.entry(Index(last)).ok());
    let behind = last.map_or(0, |last| last.entry.ledger_time.0.saturating_sub(now().0));
    if behind > CLOCK_BEHIND_MAX_NS {
        let seconds = count(u64::try_from(behind / 1_000_000_000).unwrap_or_default());
        let what = format!(
            "{seconds} s before the last entry: set it right; if the entry was wrong, start with \
             --accept-clock"
        );
        return Finding::wrong("clock", what);
    }
    Finding::well("clock", "not before the last entry".to_owned())
}

/// Whether something showed that the log was restored from an older copy.
fn restored(paths: &LogPaths) -> Option<Finding> {
    let mark = paths.root().join("state").join("log-restored");
    mark.exists().then(|| {
        let what = "an agent or the acks topic has proof of entries that the log lacks: restore \
                    the newer copy, or start with --accept-restored; see \
                    docs/operating/recovery.md";
        Finding::wrong("log", what.to_owned())
    })
}

fn checkpoint(reader: &Reader, trust: Option<&TrustFile>) -> Finding {
    let (checkpoint, note) = match reader.published() {
        Ok(published) => published,
        Err(error) => return Finding::wrong("checkpoint", one_line(&error)),
    };
    if let Some(trust) = trust {
        let verified = Note::parse(&note)
            .map_err(|error| one_line(&error))
            .and_then(|note| trust.verify(&note).map_err(|error| one_line(&error)));
        if let Err(error) = verified {
            return Finding::wrong("checkpoint", format!("{error}; run custody verify"));
        }
    }
    let TreeSize(entries) = reader.size();
    match entries.checked_sub(checkpoint.size.0) {
        None => {
            let what = format!(
                "covers {} entries, the log has {entries}: it was cut or restored from an old \
                 copy; see docs/operating/recovery.md",
                checkpoint.size
            );
            Finding::wrong("checkpoint", what)
        }
        Some(0) => Finding::well(
            "checkpoint",
            format!("covers all {} entries", count(entries)),
        ),
        Some(waiting) => Finding::note(
            "checkpoint",
            format!(
                "{} wait for the next one",
                plural(waiting, "entry", "entries")
            ),
        ),
    }
}

/// The stored hashes, along two paths to the signed root.
fn hashes(reader: &Reader) -> Finding {
    let Ok((checkpoint, _)) = reader.published() else {
        return Finding::note(
            "hashes",
            "cannot be compared without a checkpoint".to_owned(),
        );
    };
    let TreeSize(published) = checkpoint.size;
    for index in [Some(0), published.checked_sub(1)].into_iter().flatten() {
        let index = Index(index);
        if index.0 >= published {
            continue;
        }
        let proof = reader.inclusion(index, checkpoint.size);
        let entry = reader.entry(index);
        let held = match (&proof, &entry) {
            (Ok(proof), Ok(stored)) => {
                let leaf = stored.entry.leaf();
                verify_inclusion(index, checkpoint.size, &leaf, proof, &checkpoint.root).is_ok()
            }
            _ => false,
        };
        if !held {
            let what = format!(
                "do not lead from entry {index} to the signed root: run custody verify; if only \
                 hashes/ is damaged or behind, custody rebuild mends it"
            );
            return Finding::wrong("hashes", what);
        }
    }
    Finding::well("hashes", "lead to the signed root".to_owned())
}
