//! Times as people read them: how long ago, how long still, and the clock on the wall. JSON keeps UTC.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The current time and the local time zone.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Now {
    at: Timestamp,
    zone: TimeZone,
}

impl Now {
    /// As this machine has it.
    pub(in crate::cli) fn here() -> Self {
        Self { at: Timestamp::now(), zone: TimeZone::system() }
    }

    #[cfg(test)]
    pub(in crate::cli) fn of(at: &str, zone: &str) -> Self {
        Self { at: at.parse().unwrap(), zone: TimeZone::get(zone).unwrap() }
    }

    /// How long ago a time on the wire was, as in `42 min`. The text as it is if it is none.
    pub(in crate::cli) fn since(&self, time: &str) -> String {
        match time.parse::<Timestamp>() {
            Ok(then) => long(self.at.duration_since(then).max(SignedDuration::ZERO).unsigned_abs()),
            Err(_) => time.to_owned(),
        }
    }

    /// A time on the wire as the clock on the wall shows it, as in `14:32:05 CET`; with the date if that is another day.
    pub(in crate::cli) fn clock(&self, time: &str) -> String {
        let Ok(then) = time.parse::<Timestamp>() else { return time.to_owned() };
        let (then, now) =
            (then.to_zoned_datetime(self.zone.clone()), self.at.to_zoned_datetime(self.zone.clone()));
        let form = if then.date() == now.date() { "%H:%M:%S %Z" } else { "%Y-%m-%d %H:%M:%S %Z" };
        then.strftime(form).to_string()
    }

    /// A text in which times of the wire are shown as on the wall.
    pub(in crate::cli) fn local(&self, text: &str) -> String {
        let is_time =
            |word: &str| word.len() >= 20 && word.ends_with('Z') && word.parse::<Timestamp>().is_ok();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.');
        let mut shown = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (word, more) = rest.split_at_checked(end).unwrap_or((rest, ""));
            shown.push_str(&if is_time(word) { self.clock(word) } else { word.to_owned() });
            let mut others = more.chars();
            shown.extend(others.next());
            rest = others.as_str();
        }
        shown
    }
}

/// A duration in one or two units, as in `42 min` or `3 h 20 min`.
pub(in crate::cli) fn long(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) if minutes % 60 == 0 => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (_, _, _) if hours % 24 == 0 => format!("{days} d"),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, shown) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (12_000, "3 h 20 min"),
            (86_400, "1 d"),
            (100_000, "1 d 3 h"),
        ] {
            assert_eq!(long(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn times_of_the_wire_become_local() {
        let now = Now::of("2026-11-30T12:00:00Z", "Europe/Berlin");
        assert_eq!(now.since("2026-11-30T11:18:00.123Z"), "41 min");
        assert_eq!(now.since("2026-11-30T12:00:03Z"), "0 s", "the other clock is ahead");
        assert_eq!(now.clock("2026-11-30T11:18:00.123Z"), "12:18:00 CET");
        assert_eq!(now.clock("2026-07-01T11:18:00Z"), "2026-07-01 13:18:00 CEST");
        assert_eq!(
            now.local("slot \"blue\" stays warm until 2026-11-30T13:00:00.000Z; version 2026-11-30Z, shop-20261130-1200"),
            "slot \"blue\" stays warm until 14:00:00 CET; version 2026-11-30Z, shop-20261130-1200"
        );
        assert_eq!(now.local("é 1.2: a-b"), "é 1.2: a-b");
    }
}
