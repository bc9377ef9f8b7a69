//! Numbers as people read them.

use std::fmt;
use std::time::Duration;

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
pub(super) struct Percent(pub(super) f64);

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
pub(super) struct Time(pub(super) Duration);

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

#[cfg(test)]
mod tests {
    use super::*;

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
