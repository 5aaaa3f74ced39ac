//! Live databases: a working day of their administrators on real servers, followed by a real agent
//! and taken by a real server, both killed again and again. At the end the log holds exactly the
//! records that the database wrote, once each and in order, and no secret is in anything written,
//! said or sent.
//!
//! Not here: what one record means (collectors/formats), and the agent in trouble step by step
//! (collectors/agent).

mod mariadb;
mod postgresql;
mod proxy;
mod story;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Numbers that one seed decides, by xorshift64*.
pub(crate) struct Dice(u64);

impl Dice {
    /// The seed of `CUSTODY_SEED`, else a new one; printed either way.
    pub(crate) fn new() -> Dice {
        let given = std::env::var("CUSTODY_SEED").ok();
        let seed = given.map_or_else(
            || {
                let now = std::time::SystemTime::now();
                let since = now.duration_since(std::time::UNIX_EPOCH).expect("a clock");
                u64::from(since.subsec_nanos()) ^ since.as_secs()
            },
            |text| text.parse().expect("CUSTODY_SEED is a number"),
        );
        println!("CUSTODY_SEED={seed}");
        Dice(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// A client's run: its program with arguments and a password, and what is typed into it. What it
/// answers is of no interest: refusals belong to the day.
fn typed(command: &mut Command, script: &[u8]) {
    let mut client = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a client");
    // A client that was refused reads nothing.
    let _ = client.stdin.take().expect("a pipe").write_all(script);
    client.wait().expect("an end");
}

/// Ends a day that others work on when it goes out of scope, also when a check failed.
struct EndOfDay<'a>(&'a AtomicBool);

impl Drop for EndOfDay<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does it again and again, with the number of the round, until told to stop; once at least.
fn again_and_again(stop: &AtomicBool, pause: Duration, mut round: impl FnMut(usize)) {
    for number in 1.. {
        round(number);
        if stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(pause);
    }
}
