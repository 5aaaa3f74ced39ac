//! Checks of `custody doctor` about what stands around a log: to whom its files belong, whether
//! each source has its key, whether agents can reach it, and what they last said.
//!
//! Not here: the log itself (`examine`); mending anything.

use std::fs;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keys_secret::Keystore;
use ledger_core::SourceId;
use ledger_log::{LogPaths, LogStatus};

use crate::access::{log_status, now};
use crate::config::Config;
use crate::error::one_line;
use crate::examine::Finding;
use crate::heard;
use crate::output::plural;

/// Files that are looked at; a log of a year has fewer.
const FILES_MAX: usize = 100_000;
/// How long an address may take to answer.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// Every check.
pub(crate) fn look_around(config: &Config) -> Vec<Finding> {
    let mut findings = vec![owner(config.paths.root())];
    let (status, served) = match log_status(config) {
        Ok(found) => found,
        // The checks of the log say what is wrong with it.
        Err(_) => return findings,
    };
    findings.push(source_keys(&config.paths, &status));
    findings.extend(agents(config, &status, served));
    if served {
        let steps = status.sources.iter();
        let steps = steps.flat_map(|source| heard::steps(source, now()));
        findings.extend(steps.map(|step| Finding::note("source", step)));
    }
    findings
}

/// All files belong to whom the folder belongs: a command that was run as another user leaves files
/// that the server cannot open.
fn owner(root: &Path) -> Finding {
    let wanted = match fs::metadata(root) {
        Ok(found) => found.uid(),
        Err(error) => return Finding::wrong("owner", one_line(&error)),
    };
    let (mut files, mut folders) = (0, vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        let items = match fs::read_dir(&folder) {
            Ok(items) => items,
            Err(error) => {
                let what = format!("{} cannot be read: {error}", folder.display());
                return Finding::wrong("owner", what);
            }
        };
        for item in items.flatten() {
            let Ok(found) = item.metadata() else { continue };
            files += 1;
            if found.uid() != wanted {
                return Finding::wrong("owner", foreign(root, &item.path(), found.uid(), wanted));
            }
            if found.is_dir() {
                folders.push(item.path());
            }
            if files >= FILES_MAX {
                let what = format!("looked at {FILES_MAX} files only, all of user {wanted}");
                return Finding::note("owner", what);
            }
        }
    }
    let own = rustix::process::geteuid().as_raw();
    if own != wanted && own != 0 {
        let what = format!("all files belong to user {wanted}, you are {own}: run as that user");
        return Finding::wrong("owner", what);
    }
    let files = plural(files as u64, "file", "files");
    Finding::well("owner", format!("{files} of user {wanted}"))
}

fn foreign(root: &Path, path: &Path, found: u32, wanted: u32) -> String {
    let inside: PathBuf = path.strip_prefix(root).unwrap_or(path).to_owned();
    format!(
        "{} belongs to user {found}, the folder to {wanted}: run chown -R --reference={root} \
         {root}, and commands as that user",
        inside.display(),
        root = root.display()
    )
}

/// A source whose key is lost can send nothing that is believed, and stops the log's next start.
fn source_keys(paths: &LogPaths, status: &LogStatus) -> Finding {
    let keyed = || status.sources.iter().filter(|source| source.keyed);
    let store = match Keystore::open(&paths.keys()) {
        Ok(store) => store,
        Err(error) => return Finding::wrong("sources", one_line(&error)),
    };
    for source in keyed() {
        if let Err(error) = store.source_key(SourceId(source.id)) {
            let what = format!("the key of {}: {}", source.name, one_line(&error));
            return Finding::wrong("sources", what);
        }
    }
    let all = plural(status.sources.len() as u64, "source", "sources");
    let what = format!("{all}, {} with a key, which is there", keyed().count());
    Finding::well("sources", what)
}

/// Whether agents of other machines find an address that answers.
fn agents(config: &Config, status: &LogStatus, served: bool) -> Option<Finding> {
    let keyed = status.sources.iter().any(|source| source.keyed);
    // Then they need no address here.
    let keyed = keyed && config.kafka.is_none();
    let Some(address) = config.http.agents_address() else {
        let what = "nothing listens for agents of other machines: set http.agents.listen if there \
                    are any";
        return keyed.then(|| Finding::note("agents", what.to_owned()));
    };
    let found = match address.to_socket_addrs() {
        Ok(found) => found.collect::<Vec<_>>(),
        Err(error) => {
            let what = format!("{address} has no address here: {error}; see http.agents.address");
            return Some(Finding::wrong("agents", what));
        }
    };
    if !served {
        let what = format!("sent to {address}, where a server would listen");
        return Some(Finding::well("agents", what));
    }
    let mut failed = None;
    for one in &found {
        match TcpStream::connect_timeout(one, CONNECT_WAIT) {
            Ok(_) => return Some(Finding::well("agents", format!("{address} answers"))),
            Err(error) => failed = Some(error),
        }
    }
    let why = failed.map_or_else(String::new, |error| format!(": {error}"));
    let what = format!("nobody answers on {address}{why}; see http.agents, and firewalls");
    Some(Finding::wrong("agents", what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examine::State;

    #[test]
    fn a_file_of_another_user_is_named_and_own_files_are_well() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("logs")).unwrap();
        fs::write(root.path().join("logs/x"), b"x").unwrap();
        let found = owner(root.path());
        assert_eq!(found.state, State::Well, "{}", found.what);
        let text = foreign(root.path(), &root.path().join("logs/x"), 0, 1000);
        assert!(text.starts_with("logs/x belongs to user 0"), "{text}");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(root.path().join("logs/x"), Some(1234), None).unwrap();
            let found = owner(root.path());
            assert_eq!(found.state, State::Wrong);
            assert!(
                found.what.contains("belongs to user 1234"),
                "{}",
                found.what
            );
        }
        fs::remove_dir_all(root.path()).unwrap();
        assert_eq!(owner(root.path()).state, State::Wrong);
    }
}
