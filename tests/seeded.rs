//! Random numbers of one seed, so that a run can be had again.
//!
//! Not here: what is drawn.

/// A generator with a seed that failures print (xorshift64*).
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new() -> Seeded {
        let seed = match std::env::var("CUSTODY_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => {
                let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
                u64::from(now.subsec_nanos()) << 20 | now.as_secs() & 0xf_ffff | 1
            }
        };
        println!("CUSTODY_SEED={seed}");
        Seeded(seed)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}
