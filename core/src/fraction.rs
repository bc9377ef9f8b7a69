//! Parts of a whole, exact to 1/10000: the share of a split, and percentages and fractions on the wire.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// A ratio on the wire: 0 to 1, in steps of 0.0001.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Fraction(u16);

impl Fraction {
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

    /// Whether `part` of `whole` is more than this.
    pub fn is_exceeded(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(Share::WHOLE) > u128::from(whole) * u128::from(self.0)
    }
}

impl TryFrom<f64> for Fraction {
    type Error = String;

    fn try_from(ratio: f64) -> Result<Self, String> {
        parts(ratio * f64::from(Share::WHOLE))
            .map(Self)
            .ok_or_else(|| format!("{ratio} is not a ratio: expected 0 to 1, in steps of 0.0001"))
    }
}

impl From<Fraction> for f64 {
    fn from(ratio: Fraction) -> f64 {
        f64::from(ratio.0) / f64::from(Share::WHOLE)
    }
}

impl fmt::Debug for Fraction {
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
    fn fractions() {
        let one_in_hundred = serde_json::from_str::<Fraction>("0.01").unwrap();
        assert!(!one_in_hundred.is_exceeded(1, 100));
        assert!(one_in_hundred.is_exceeded(2, 100));
        assert!(!one_in_hundred.is_exceeded(0, 0));
        assert!(Fraction::from_parts(0).unwrap().is_exceeded(1, 1_000_000));
        assert!(
            serde_json::from_str::<Fraction>("1.5").unwrap_err().to_string().contains("1.5 is not a ratio")
        );
    }
}
