//! The ledger of a measurement: `custody serve` as a process of its own, so that what it costs is
//! its own and nothing of whoever fills the topic.
//!
//! Not here: what is in the topic, and what the figures are compared with.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ledger_log::LogPaths;
use ledger_log::bench::measure::{Cost, cost_of};

use super::{LOOK, PipelineError, STILL};

/// A server that runs; it ends with this.
pub(super) struct Served {
    child: Child,
    paths: LogPaths,
}

impl Served {
    /// Starts `program` on the log, with a topic of so many partitions.
    pub(super) fn start(
        program: &Path,
        paths: &LogPaths,
        (brokers, partitions): (&str, u32),
    ) -> Result<Served, PipelineError> {
        let settings = paths.root().join("custody.toml");
        let text = format!(
            "deployment = \"{}\"\ntenant = \"{}\"\nlabel = \"{}\"\n\
             [bus.kafka]\nbrokers = \"{brokers}\"\npartitions = {partitions}\n",
            paths.deployment(),
            paths.tenant(),
            paths.label()
        );
        fs::write(&settings, text)?;
        let said = fs::File::create(paths.root().join("serve.log"))?;
        let child = Command::new(program)
            .args(["serve", "--config"])
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()?;
        Ok(Served {
            child,
            paths: paths.clone(),
        })
    }

    /// Returns when a checkpoint covers so many entries.
    pub(super) fn covers(&mut self, size: u64) -> Result<(), PipelineError> {
        let (mut best, mut moved) = (0, Instant::now());
        loop {
            let covered = self.covered()?;
            if covered >= size {
                return Ok(());
            }
            if covered > best {
                (best, moved) = (covered, Instant::now());
            }
            if moved.elapsed() > STILL || self.child.try_wait()?.is_some() {
                let said = fs::read_to_string(self.paths.root().join("serve.log"))?;
                let why = said.lines().last().unwrap_or("it said nothing").to_owned();
                return Err(PipelineError::Still { why });
            }
            thread::sleep(LOOK);
        }
    }

    /// How many entries its last checkpoint covers: the second line of the note.
    fn covered(&self) -> io::Result<u64> {
        let note = fs::read_to_string(self.paths.file("last-note"))?;
        let size = note.lines().nth(1).and_then(|line| line.parse().ok());
        Ok(size.unwrap_or(0))
    }

    /// What it has cost so far.
    pub(super) fn cost(&self) -> io::Result<Cost> {
        cost_of(&self.child.id().to_string())
    }

    /// Asks it to end; gives how long that took.
    pub(super) fn stop(mut self) -> Result<Duration, PipelineError> {
        let started = Instant::now();
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-s", "TERM", &pid]).status()?;
        self.child.wait()?;
        Ok(started.elapsed())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
