//! Reproducible random numbers: `CUTOVER_SEED` takes the seed that an earlier run has printed.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// A pseudo-random number generator (SplitMix64).
#[derive(Clone, Debug)]
pub struct SeededRng(u64);

impl SeededRng {
    /// Uses the seed in `CUTOVER_SEED`, or the time, and prints the seed.
    pub fn from_env() -> Result<Self> {
        let seed = match std::env::var("CUTOVER_SEED") {
            Ok(text) => text.parse().with_context(|| format!("failed to read CUTOVER_SEED={text:?}"))?,
            Err(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
                now.as_secs() << 20 | u64::from(now.subsec_micros())
            }
        };
        println!("CUTOVER_SEED={seed}");
        Ok(Self(seed))
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }

    /// A random element.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(usize::try_from(self.below(from.len() as u64)).unwrap_or_default())
    }
}
