//! Runs the built program as people do, with its settings beside the log and nothing inherited that
//! could change what it does.
//!
//! Not here: what the program says (the tests that run it look).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::custody_bin;

/// The csvlog samples that ship with the formats.
pub(crate) const SAMPLES: [&str; 2] = [
    "pg15-pgaudit17-edge-rows-on-newyork.csv",
    "pg15-pgaudit17-rows-off-utc.csv",
];

/// Where a shipped sample lies.
pub(crate) fn sample(name: &str) -> PathBuf {
    crate::house::root()
        .join("collectors/formats/samples")
        .join(name)
}

/// An installation in a folder of its own, made by `custody init`.
pub(crate) struct Program {
    dir: tempfile::TempDir,
}

impl Program {
    pub(crate) fn init() -> Program {
        Program::init_as("db.example.org", "2026")
    }

    pub(crate) fn init_as(deployment: &str, label: &str) -> Program {
        let dir = tempfile::tempdir().unwrap();
        let program = Program { dir };
        let root = program.root().display().to_string();
        let args = ["init", &root, "--deployment", deployment, "--label", label];
        program.done(&args);
        program
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The trust file's path, as an argument.
    pub(crate) fn trust(&self) -> String {
        self.root().join("trust/main.policy").display().to_string()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(custody_bin());
        command
            .args(args)
            .env("CUSTODY_CONFIG", self.root().join("custody.toml"))
            .env("RUST_LOG", "trace")
            .env_remove("NOTIFY_SOCKET")
            .current_dir(self.root());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs it and expects exit code 0.
    pub(crate) fn done(&self, args: &[&str]) -> Output {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
        output
    }

    /// Ingests files as PostgreSQL sources named `source1`, `source2`, …
    pub(crate) fn ingest(&self, files: &[PathBuf]) -> Output {
        let sources: Vec<String> = (1..)
            .zip(files)
            .map(|(number, file)| format!("source{number}=postgresql:{}", file.display()))
            .collect();
        let mut args = vec!["ingest"];
        for source in &sources {
            args.extend(["--source", source]);
        }
        self.done(&args)
    }
}
