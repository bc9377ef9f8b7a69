//! A weighted split: which part of the requests goes to a second slot, and which requests these are.
//!
//! A request draws a number, by hash of its key or by chance, and goes to the second slot if the number is below the share.
//! The number of a key never changes. So while a share grows, keys move to the second slot and none moves back; while it
//! shrinks, the same keys return in the opposite order.

use std::cell::Cell;

use crate::fraction::Share;
use crate::slot::SlotId;

/// A second slot and its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    second: SlotId,
    share: Share,
}

impl Split {
    /// `None` if the second slot is the active one.
    pub fn new(active: SlotId, second: SlotId, share: Share) -> Option<Self> {
        (active != second).then_some(Self { second, share })
    }

    /// The slot that takes the share.
    pub fn second(self) -> SlotId {
        self.second
    }

    /// How much it takes.
    pub fn share(self) -> Share {
        self.share
    }

    /// Whether a request that drew this number goes to the second slot.
    #[inline]
    pub fn takes(self, draw: Draw) -> bool {
        draw.0 < u64::from(self.share.get())
    }
}

/// What a request drew: 0 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw(u64);

impl Draw {
    /// Always the same for a key, on every host and in every version.
    pub fn of_key(key: &[u8]) -> Self {
        Self::scaled(xxhash_rust::xxh3::xxh3_64(key))
    }

    fn scaled(random: u64) -> Self {
        Self(((u128::from(random) * u128::from(Share::WHOLE)) >> u64::BITS) as u64)
    }
}

/// Draws by chance; each process has its own. SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
/// Generators, OOPSLA 2014).
#[derive(Debug, Default)]
pub struct Dice(Cell<u64>);

impl Dice {
    /// Processes with different seeds draw different numbers.
    pub fn seed(&self, seed: u64) {
        self.0.set(seed);
    }

    /// The next draw.
    pub fn draw(&self) -> Draw {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.0.get();
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Draw::scaled(z ^ z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(share: u16) -> Split {
        let id = |id| SlotId::new(id).unwrap();
        Split::new(id(1), id(2), Share::new(share).unwrap()).unwrap()
    }

    /// Pearson's test over 100 equal classes: 99 degrees of freedom, for which 1 in 10^4 exceeds 161.3 by chance. The draws
    /// are fixed, so this holds or does not.
    fn chi_square(draws: impl Iterator<Item = Draw>) -> f64 {
        let mut classes = [0u32; 100];
        let mut total = 0.0;
        for draw in draws {
            classes[draw.0 as usize / 100] += 1;
            total += 1.0;
        }
        let expected = total / 100.0;
        classes.iter().map(|seen| (f64::from(*seen) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn a_million_keys_are_spread_evenly() {
        let keys = (0..1_000_000u32).map(|n| Draw::of_key(format!("session-{n}").as_bytes()));
        assert!(chi_square(keys) < 161.3);
        let numbers = (0..1_000_000u32).map(|n| Draw::of_key(&n.to_le_bytes()));
        assert!(chi_square(numbers) < 161.3);
    }

    #[test]
    fn a_million_draws_are_spread_evenly() {
        for seed in [0, 1, u64::MAX] {
            let dice = Dice::default();
            dice.seed(seed);
            assert!(chi_square((0..1_000_000).map(|_| dice.draw())) < 161.3, "seed {seed}");
        }
    }

    #[test]
    fn the_smallest_and_the_largest_share_are_real() {
        let dice = Dice::default();
        let draws: Vec<Draw> = (0..1_000_000).map(|_| dice.draw()).collect();
        let taken = |share| draws.iter().filter(|draw| split(share).takes(**draw)).count();
        // 100 and 999,900 expected, sigma 10.
        assert!((70..=130).contains(&taken(1)), "{}", taken(1));
        assert!((999_870..=999_930).contains(&taken(9_999)), "{}", taken(9_999));
    }

    #[test]
    fn keys_move_one_way_while_a_share_grows() {
        for n in 0..10_000u32 {
            let draw = Draw::of_key(&n.to_le_bytes());
            let moved: Vec<bool> = (1..10_000).step_by(7).map(|share| split(share).takes(draw)).collect();
            assert!(moved.is_sorted(), "key {n}");
        }
    }

    #[test]
    fn the_number_of_a_key_never_changes() {
        let draws = ["", "a", "session-1", "session-2"].map(|key| Draw::of_key(key.as_bytes()).0);
        assert_eq!(draws, [1758, 9014, 7519, 7560]);
    }
}
