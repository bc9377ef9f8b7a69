//! A weighted split: which part of the requests goes to a second slot, and which requests these are.
//!
//! A request draws a number, by hash of its key or by chance, and goes to the second slot if the number is below the share.
//! The number of a key never changes. So while a share grows, keys move to the second slot and none moves back; while it
//! shrinks, the same keys return in the opposite order.

use std::cell::Cell;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::route::SlotId;

/// A part of a whole in 1/10000: 1 is 0.01 %. Neither nothing nor all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// What stands for the whole.
    pub const WHOLE: u16 = 10_000;

    /// 1 to 9999.
    pub fn new(parts: u16) -> Option<Self> {
        (1..Self::WHOLE).contains(&parts).then_some(Self(parts))
    }

    /// The number of 1/10000.
    pub fn get(self) -> u16 {
        self.0
    }
}

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
        draw.0 < u64::from(self.share.0)
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

/// A percentage on the wire, to 0.01 %.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percent(u16);

impl Percent {
    /// 1/10000 of the whole each; at most all of it.
    pub fn from_parts(parts: u16) -> Option<Self> {
        (parts <= Share::WHOLE).then_some(Self(parts))
    }

    /// In 1/10000.
    pub fn parts(self) -> u16 {
        self.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = String;

    fn try_from(percent: f64) -> Result<Self, String> {
        parts(percent * 100.0)
            .map(Self)
            .ok_or_else(|| format!("{percent} is not a percentage: expected 0 to 100, in steps of 0.01"))
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> f64 {
        f64::from(percent.0) / 100.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(*self))
    }
}

impl fmt::Debug for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A ratio on the wire: 0 to 1, to 0.0001.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Ratio(u16);

impl Ratio {
    /// A half.
    pub const HALF: Self = Self(Share::WHOLE / 2);

    /// 1/10000 each; at most 1.
    pub fn from_parts(parts: u16) -> Option<Self> {
        (parts <= Share::WHOLE).then_some(Self(parts))
    }

    /// In 1/10000.
    pub fn parts(self) -> u16 {
        self.0
    }

    /// Whether `part` of `whole` is more than this ratio.
    pub fn is_exceeded(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(Share::WHOLE) > u128::from(whole) * u128::from(self.0)
    }
}

impl TryFrom<f64> for Ratio {
    type Error = String;

    fn try_from(ratio: f64) -> Result<Self, String> {
        parts(ratio * f64::from(Share::WHOLE))
            .map(Self)
            .ok_or_else(|| format!("{ratio} is not a ratio: expected 0 to 1, in steps of 0.0001"))
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> f64 {
        f64::from(ratio.0) / f64::from(Share::WHOLE)
    }
}

impl fmt::Debug for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(*self))
    }
}

/// A whole number of parts, 0 to [`Share::WHOLE`], but for the rounding of a decimal fraction.
fn parts(value: f64) -> Option<u16> {
    let whole = value.round();
    let fits = (0.0..=f64::from(Share::WHOLE)).contains(&whole) && (value - whole).abs() < 1e-6;
    fits.then_some(whole as u16)
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

    #[test]
    fn shares_and_percentages() {
        assert_eq!(Share::new(0), None);
        assert_eq!(Share::new(10_000), None);
        assert_eq!(serde_json::from_str::<Percent>("0.01").unwrap().parts(), 1);
        assert_eq!(serde_json::from_str::<Percent>("99.99").unwrap().parts(), 9_999);
        assert_eq!(serde_json::from_str::<Percent>("33.33").unwrap().parts(), 3_333);
        assert_eq!(serde_json::from_str::<Percent>("95").unwrap().parts(), 9_500);
        assert_eq!(serde_json::to_string(&Percent::from_parts(1234).unwrap()).unwrap(), "12.34");
        for bad in ["0.005", "-1", "100.01", "\"5\"", "1e300"] {
            assert!(serde_json::from_str::<Percent>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ratios() {
        let one_in_hundred = serde_json::from_str::<Ratio>("0.01").unwrap();
        assert!(!one_in_hundred.is_exceeded(1, 100));
        assert!(one_in_hundred.is_exceeded(2, 100));
        assert!(!one_in_hundred.is_exceeded(0, 0));
        assert!(Ratio::from_parts(0).unwrap().is_exceeded(1, 1_000_000));
        assert!(serde_json::from_str::<Ratio>("1.5").unwrap_err().to_string().contains("1.5 is not a ratio"));
    }
}
