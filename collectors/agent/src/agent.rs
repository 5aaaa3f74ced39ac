//! The agent as a whole: one thread a source, until it is told to stop.
//!
//! Nothing is drained at the end: what is bound is sent by the next start. Not here: the
//! configuration's file, signals, how a bus is made (api/cli).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use collectors_bus::Bus;

use crate::clock::Clock;
use crate::config::Assignment;
use crate::follower::{FollowError, Follower, Step};

/// From look to look when nothing is to be done: at least four a second.
const PAUSE: Duration = Duration::from_millis(200);
/// After a failure of the disk.
const PAUSE_FAILED: Duration = Duration::from_secs(1);

/// Follows every source until `stop` is set; returns when all threads have ended.
///
/// # Errors
/// A source cannot be followed at all: nothing was begun.
pub fn run(
    sources: Vec<(Assignment, Box<dyn Bus>)>,
    clock: &Clock,
    stop: &AtomicBool,
) -> Result<(), FollowError> {
    let mut followers = Vec::new();
    for (assignment, bus) in sources {
        let follower = Follower::open(assignment.setup, assignment.tailing, bus)?;
        followers.push((assignment.name, follower));
    }
    thread::scope(|scope| {
        for (name, follower) in followers {
            scope.spawn(move || follow(&name, follower, clock, stop));
        }
    });
    Ok(())
}

fn follow(name: &str, mut follower: Follower, clock: &Clock, stop: &AtomicBool) {
    let mut failed: Option<String> = None;
    let mut batches = 0;
    while !stop.load(Ordering::Relaxed) {
        match follower.step(clock()) {
            Ok(step) => {
                // Reading ahead goes well on a full disk too: what shows is what was bound.
                let is_well = step == Step::Idle || follower.batches() > batches;
                if is_well && failed.take().is_some() {
                    tracing::info!(source = name, "the source is followed again");
                }
                if step == Step::Idle {
                    thread::sleep(PAUSE);
                }
            }
            Err(error) => {
                let error = error.to_string();
                if failed.as_ref() != Some(&error) {
                    tracing::error!(
                        source = name,
                        error,
                        "nothing can be bound: it is tried again"
                    );
                }
                failed = Some(error);
                batches = follower.batches();
                thread::sleep(PAUSE_FAILED);
            }
        }
    }
}
