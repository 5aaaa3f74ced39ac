//! The fault farm: one broker, one ledger, one agent with some sources that never stop writing, and
//! a row of faults that a seed decides. Whatever happened, the end is the same: each record of each
//! source once and in order, and everything else told.
//!
//! `CUSTODY_SEED` replays a run; `CUSTODY_SOAK_MINUTES` makes it long (`make soak`). Not here:
//! single faults looked at closely (`cases`).

use std::time::{Duration, Instant};

use super::abuse::{Abuse, OTHER, wait_for};
use super::broker::Broker;
use super::proxy::Way;
use super::stage::Stage;
use crate::seeded::Seeded;

/// The tenant of the farm.
const TENANT: &str = "farm";
/// Sources of the agent.
const SOURCES: usize = 3;
/// Partitions: fewer than sources, so that two share one.
const PARTITIONS: i32 = 2;

/// What may go wrong in one round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    KillAgent,
    KillLedger,
    KillBroker,
    Cut,
    CutWithin,
    SlowIn,
    SlowOut,
    Stall,
    Refuse,
    Repeat,
    Forge,
    Renumber,
    Junk,
    OtherTenant,
    Headless,
    Abort,
    Lose,
    Recreate,
}

impl Fault {
    const ALL: [Fault; 18] = [
        Fault::KillAgent,
        Fault::KillLedger,
        Fault::KillBroker,
        Fault::Cut,
        Fault::CutWithin,
        Fault::SlowIn,
        Fault::SlowOut,
        Fault::Stall,
        Fault::Refuse,
        Fault::Repeat,
        Fault::Forge,
        Fault::Renumber,
        Fault::Junk,
        Fault::OtherTenant,
        Fault::Headless,
        Fault::Abort,
        Fault::Lose,
        Fault::Recreate,
    ];
}

/// What the log must tell at the end.
#[derive(Default, Debug)]
struct Expected {
    forged: u64,
    /// Records that are no messages of this log's sources.
    strange: u64,
}

struct Farm {
    random: Seeded,
    broker: Broker,
    stage: Stage,
    abuse: Abuse,
    expected: Expected,
}

impl Farm {
    fn new(random: Seeded) -> Farm {
        let broker = Broker::with_proxy();
        let stage = Stage::new(
            TENANT,
            SOURCES,
            &broker.proxied(),
            &broker.proxied(),
            &format!("partitions = {PARTITIONS}\n"),
        );
        let abuse = Abuse::new(&broker.direct(), TENANT);
        Farm {
            random,
            broker,
            stage,
            abuse,
            expected: Expected::default(),
        }
    }

    fn pause(&mut self, most_ms: u64) -> Duration {
        Duration::from_millis(self.random.below(most_ms))
    }

    /// Records come, one fault happens, and more records come.
    fn round(&mut self, fault: Fault) {
        let (before, behind) = (self.random.below(300), 1 + self.random.below(300));
        self.stage.write(before);
        self.happen(fault);
        self.stage.write(behind);
    }

    fn happen(&mut self, fault: Fault) {
        let wait = self.pause(800);
        match fault {
            Fault::KillAgent => {
                self.stage.end_agent();
                std::thread::sleep(wait);
                self.stage.start_agent();
            }
            Fault::KillLedger => {
                self.stage.end_ledger();
                std::thread::sleep(wait);
                self.stage.start_ledger();
            }
            Fault::KillBroker => {
                self.broker.kill();
                self.stage.write(50);
                self.broker.restart();
            }
            Fault::Cut => self.broker.proxy().cut(),
            Fault::CutWithin => {
                let bytes = u32::try_from(self.random.below(20_000)).unwrap();
                self.broker.proxy().cut_after(bytes);
            }
            Fault::SlowIn | Fault::SlowOut => {
                let way = if fault == Fault::SlowIn {
                    Way::In
                } else {
                    Way::Out
                };
                self.broker.proxy().delay(way, wait / 4);
                std::thread::sleep(wait);
                self.broker.proxy().heal();
            }
            Fault::Stall => {
                self.broker.proxy().stall(Way::Out);
                std::thread::sleep(wait * 2);
                self.broker.proxy().heal();
            }
            Fault::Refuse => {
                self.broker.proxy().refuse(true);
                std::thread::sleep(wait * 2);
                self.broker.proxy().heal();
            }
            Fault::Repeat => self.abuse.repeat(&mut self.random, 200),
            Fault::Forge => self.expected.forged += self.abuse.forge(&mut self.random),
            Fault::Renumber => self.expected.forged += self.abuse.renumber(&mut self.random),
            Fault::Junk => self.expected.strange += self.abuse.junk(),
            Fault::OtherTenant => self.expected.strange += self.abuse.other_tenant(),
            Fault::Headless => self.expected.strange += self.abuse.headless(),
            Fault::Abort => self.abuse.abort(),
            Fault::Lose => self.lose(),
            Fault::Recreate => self.abuse.recreate(PARTITIONS),
        }
    }

    /// What lies in the topic is deleted before the ledger has read it.
    fn lose(&mut self) {
        self.stage.end_ledger();
        let before = self.abuse.written();
        self.stage.write(200);
        wait_for("messages in the topic", || {
            (self.abuse.written() > before).then_some(())
        });
        self.abuse.delete_all();
        self.stage.start_ledger();
    }

    /// Every fault once, in an order of the seed.
    fn row(&mut self, faults: &[Fault]) {
        let mut row = faults.to_vec();
        while !row.is_empty() {
            let at = usize::try_from(self.random.below(row.len() as u64)).unwrap();
            self.round(row.swap_remove(at));
        }
    }

    /// Everything that was written is in, once and in order, and nothing that was not.
    fn finish(self) {
        let Farm {
            broker,
            stage,
            expected,
            ..
        } = self;
        broker.proxy().heal();
        let story = stage.finish("the farm");
        drop(broker);
        println!("{expected:?}\n{:?}", story.kinds);
        // Some of it may have been deleted with the topic before it was read.
        assert!(story.count("forged") <= expected.forged, "{story:?}");
        assert_eq!(story.count("conflict"), 0, "{story:?}");
        for strange in &story.notices {
            assert!(!strange.contains(OTHER), "{strange}");
        }
    }
}

/// How long the long run goes on.
const MINUTES: &str = "CUSTODY_SOAK_MINUTES";

#[test]
#[ignore = "needs servers"]
fn nothing_is_lost_repeated_or_reordered_whatever_fails() {
    let mut farm = Farm::new(Seeded::new());
    farm.stage.start_ledger();
    farm.stage.start_agent();
    farm.stage.write(200);
    farm.stage.settle("before any fault");
    farm.row(&Fault::ALL);
    if let Ok(minutes) = std::env::var(MINUTES) {
        let long = Duration::from_secs(60 * minutes.parse::<u64>().unwrap());
        let until = Instant::now() + long;
        let mut rows = 1_u32;
        while Instant::now() < until {
            farm.row(&Fault::ALL);
            rows += 1;
            // The agent forgets what is covered, so that its journal stays small.
            farm.broker.proxy().heal();
            farm.stage.settle(&format!("after row {rows}"));
            println!(
                "row {rows}: {} records a source",
                farm.stage.feeds[0].written()
            );
        }
    }
    farm.finish();
}
