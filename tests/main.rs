//! One binary for every test that crosses crates: one link, one place to look.
//!
//! Not here: what one crate can test by itself; that lies beside its code.

#[cfg(test)]
mod agents;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod databases;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixture_logs;
#[cfg(test)]
mod house;
#[cfg(test)]
mod idle;
#[cfg(test)]
mod kafka;
#[cfg(test)]
mod live;
#[cfg(test)]
mod oracles;
#[cfg(test)]
mod program;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod seeded;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tamper;
#[cfg(test)]
mod withheld;
