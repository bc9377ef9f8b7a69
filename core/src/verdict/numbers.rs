//! Numbers as people read them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `9,310`
#[derive(Clone, Copy, Debug)]
pub struct Thousands(pub u64);

impl fmt::Display for Thousands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            return write!(f, "{}", self.0);
        }
        write!(f, "{},{:03}", Thousands(self.0 / 1000), self.0 % 1000)
    }
}

/// `4.85 %`: three digits, and not more than two behind the point.
#[derive(Clone, Copy, Debug)]
pub struct Percent(pub f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.0;
        let rounded =
            if percent < 10.0 { (percent * 100.0).round() / 100.0 } else { (percent * 10.0).round() / 10.0 };
        write!(f, "{rounded} %")
    }
}

/// `3`, `1.5`
pub(super) struct Plain(pub(super) f64);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", (self.0 * 100.0).round() / 100.0)
    }
}

/// `1.2 s`, `8 ms`, `500 us`: two digits.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.as_micros() as f64;
        let (value, unit) = match us {
            ..1e3 => (us, "us"),
            ..1e6 => (us / 1e3, "ms"),
            _ => (us / 1e6, "s"),
        };
        let rounded = if value < 10.0 { (value * 10.0).round() / 10.0 } else { value.round() };
        write!(f, "{rounded} {unit}")
    }
}

/// A number of any size, infinite ones included. It is shown with three digits, and serialised as a text, because JSON has no
/// infinite numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value(pub f64);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if size.is_infinite() {
            return f.write_str(if self.0 > 0.0 { "+Inf" } else { "-Inf" });
        }
        if size != 0.0 && !(1e-4..1e15).contains(&size) {
            return write!(f, "{:.2e}", self.0);
        }
        let behind_point = if size == 0.0 { 0.0 } else { (2.0 - size.log10().floor()).max(0.0) };
        let factor = 10_f64.powf(behind_point);
        write!(f, "{}", (self.0 * factor).round() / factor)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| de::Error::custom(format!("\"{text}\" is not a number")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_size() {
        for (value, shown) in [
            (0.0, "0"),
            (0.031_04, "0.031"),
            (0.01, "0.01"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (99.96, "100"),
            (123_456.7, "123457"),
            (1e20, "1.00e20"),
            (0.000_012_3, "1.23e-5"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(Value(value).to_string(), shown);
            let json = serde_json::to_string(&Value(value)).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), Value(value), "{json}");
        }
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(Thousands(1_234_567).to_string(), "1,234,567");
        assert_eq!(Thousands(1_007).to_string(), "1,007");
        assert_eq!(Percent(0.0005).to_string(), "0.05 %");
        assert_eq!(Percent(0.47368).to_string(), "47.4 %");
        assert_eq!(Time(Duration::from_micros(500)).to_string(), "500 us");
        assert_eq!(Time(Duration::from_secs(30)).to_string(), "30 s");
    }
}
