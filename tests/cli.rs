//! The program as people and scripts meet it: whole commands, refusals first, with the server up and
//! down.
//!
//! Not here: what one room can test by itself.

mod agents;
mod checks;
mod frame;
mod served;
mod sources;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::house::root;
use crate::support::custody_bin;

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Ended with `code`; a refusal has one line on stderr that holds `word`, and the program's name.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, word: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "one line: {self:?}");
        assert!(self.err.starts_with("custody: "), "{self:?}");
        assert!(self.err.contains(word), "{word:?} is not in {self:?}");
    }

    /// Ended with `code`; gives stdout.
    #[track_caller]
    pub(crate) fn ended(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{self:?}");
        &self.out
    }

    /// Ended with 0; gives stdout as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.ended(0)).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A folder to work in, and the program run in it.
pub(crate) struct Room {
    folder: tempfile::TempDir,
    tenant: String,
}

impl Room {
    pub(crate) fn new() -> Room {
        Room {
            folder: tempfile::tempdir().expect("a folder"),
            tenant: "main".to_owned(),
        }
    }

    /// A room with a log in `ledger`.
    pub(crate) fn with_log() -> Room {
        Room::with_tenant("main")
    }

    /// A room with a log of this tenant in `ledger`.
    pub(crate) fn with_tenant(tenant: &str) -> Room {
        let room = Room {
            tenant: tenant.to_owned(),
            ..Room::new()
        };
        let deployment = ["--deployment", "db.example.org", "--label", "2026"];
        let init = ["init", "ledger", "--tenant", tenant];
        room.run(&[&init[..], &deployment].concat()).ended(0);
        room
    }

    /// A room with a log that holds the first sample as the source `pg`.
    pub(crate) fn with_records() -> Room {
        let room = Room::with_log();
        room.log(&["ingest", "--source", &sample("pg", ROWS_OFF)])
            .ended(0);
        room
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(custody_bin());
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("NO_COLOR", "1")
            .env_remove("CUSTODY_CONFIG")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        command
    }

    /// The same below another program, such as strace with its arguments; below nothing if `wrapper`
    /// is empty.
    pub(crate) fn command_below(&self, wrapper: &[impl AsRef<OsStr>], args: &[&str]) -> Command {
        let plain = self.command(args);
        let [program, more @ ..] = wrapper else {
            return plain;
        };
        let mut command = Command::new(program);
        command
            .args(more)
            .arg(plain.get_program())
            .args(plain.get_args())
            .current_dir(self.folder.path());
        command
    }

    /// Runs a command in the folder.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(&mut self.command(args))
    }

    /// Runs a command with the settings of the log.
    pub(crate) fn log(&self, args: &[&str]) -> Ran {
        let mut all = args.to_vec();
        all.extend(["--config", "ledger/custody.toml"]);
        self.run(&all)
    }

    /// `custody verify` of the log.
    pub(crate) fn verify(&self, more: &[&str]) -> Ran {
        let trust = format!("ledger/trust/{}.policy", self.tenant);
        let mut args = vec!["verify", "ledger", "--trust", &trust];
        args.extend(more);
        self.run(&args)
    }

    pub(crate) fn size(&self) -> u64 {
        self.log(&["status", "--json"]).json()["size"]
            .as_u64()
            .expect("a size")
    }

    /// Starts the server; it has said that it is ready when this returns.
    pub(crate) fn serve(&self, env: &[(&str, &str)], args: &[&str]) -> Served {
        let notify = self.path("notify.sock");
        let _ = fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).expect("a socket");
        let log = fs::File::create(self.path("serve.log")).expect("a file");
        let mut all = vec!["serve", "--config", "ledger/custody.toml"];
        all.extend(args);
        let child = self
            .command(&all)
            .env("NOTIFY_SOCKET", &notify)
            .env("CUSTODY__MESSAGES__FORM", "json")
            .envs(env.iter().copied())
            .stderr(log)
            .spawn()
            .expect("the server");
        let served = Served {
            child,
            log: self.path("serve.log"),
        };
        let mut message = [0; 256];
        let patience = std::time::Duration::from_secs(60);
        socket.set_read_timeout(Some(patience)).expect("a time-out");
        let len = socket.recv(&mut message).unwrap_or_else(|error| {
            panic!(
                "the server did not say that it is ready ({error}): {}",
                served.messages()
            )
        });
        assert_eq!(&message[..len], b"READY=1\n");
        served
    }
}

/// A running server.
pub(crate) struct Served {
    child: Child,
    log: PathBuf,
}

impl Served {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn messages(&self) -> String {
        fs::read_to_string(&self.log).expect("messages")
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn stop(mut self, signal: &str) -> i32 {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .expect("kill");
        assert!(sent.success());
        self.child.wait().expect("an end").code().unwrap_or(-1)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // After `stop` there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("the program");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

pub(crate) const ROWS_OFF: &str = "pg15-pgaudit17-rows-off-utc.csv";
pub(crate) const ROWS_ON: &str = "pg15-pgaudit17-edge-rows-on-newyork.csv";

pub(crate) fn sample_path(file: &str) -> PathBuf {
    root().join("collectors/formats/samples").join(file)
}

/// `NAME=postgresql:PATH` of a sample.
pub(crate) fn sample(name: &str, file: &str) -> String {
    source(name, &sample_path(file))
}

pub(crate) fn source(name: &str, path: &Path) -> String {
    format!("{name}=postgresql:{}", path.display())
}

/// Every line as JSON.
#[track_caller]
pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Changes one byte of the file whose name ends so, in a log's folder.
pub(crate) fn damage(folder: &Path, ending: &str, at: usize) {
    let file = fs::read_dir(folder)
        .expect("a folder")
        .map(|item| item.expect("an item").path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .max_by_key(|path| path.metadata().expect("metadata").len())
        .expect("such a file");
    let mut bytes = fs::read(&file).expect("bytes");
    bytes[at] ^= 1;
    fs::write(&file, bytes).expect("a file");
}
