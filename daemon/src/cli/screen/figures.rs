//! Figures as people read them.

use std::time::Duration;

use cutover_core::fraction::Fraction;
use cutover_core::rates::Rates;
use cutover_core::verdict::Glance;
use cutover_core::verdict::numbers::{Percent, Thousands, Time};

/// Text as in `12 ms`; `-` without a value.
pub(super) fn took(us: Option<u64>) -> String {
    us.map_or_else(|| "-".to_owned(), |us| Time(Duration::from_micros(us)).to_string())
}

/// The rates of a window in columns: requests/s, 5xx, p50, p99.
pub(super) fn rates(rates: &Rates) -> [String; 4] {
    let Rates { answers, errors, requests_per_s, .. } = rates;
    let share = match (errors, answers) {
        (0, _) | (_, 0) => String::new(),
        (errors, answers) => format!(" ({})", Percent(*errors as f64 / *answers as f64)),
    };
    [
        format!("{requests_per_s:.1}/s"),
        format!("{} 5xx{share}", Thousands(*errors)),
        format!("p50 {}", took(rates.p50_us)),
        format!("p99 {}", took(rates.p99_us)),
    ]
}

/// What a new version has done, in parts of which the last ones can be left out.
pub(super) fn glance(glance: &Glance) -> Vec<String> {
    let Glance { answers, errors, unanswered, limit, p99_us, old_p99_us, .. } = glance;
    let limit = limit.map(|limit| format!(" (limit {})", percent(limit))).unwrap_or_default();
    let mut parts = vec![
        format!("{} answer{}", Thousands(*answers), if *answers == 1 { "" } else { "s" }),
        format!("{} 5xx{limit}", Thousands(errors.saturating_sub(*unanswered))),
    ];
    if *unanswered > 0 {
        parts.push(format!("{} unanswered", Thousands(*unanswered)));
    }
    match (old_p99_us, p99_us) {
        (None, None) => {}
        (None, new) => parts.push(format!("p99 {}", took(*new))),
        (old, new) => parts.push(format!("p99 old {} new {}", took(*old), took(*new))),
    }
    parts
}

fn percent(limit: Fraction) -> Percent {
    Percent(f64::from(limit.parts()) / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soak_in_one_line() {
        let limit = Fraction::from_parts(100);
        let one = Glance {
            answers: 480,
            limit,
            p99_us: Some(14_000),
            old_p99_us: Some(12_100),
            ..Glance::default()
        };
        assert_eq!(glance(&one).join(", "), "480 answers, 0 5xx (limit 1 %), p99 old 12 ms new 14 ms");
        let bad = Glance { answers: 1, errors: 9, unanswered: 4, ..Glance::default() };
        assert_eq!(glance(&bad).join(", "), "1 answer, 5 5xx, 4 unanswered");
    }

    #[test]
    fn rates_in_columns() {
        let some = Rates {
            seconds: 10.0,
            requests: 201,
            requests_per_s: 20.1,
            answers: 200,
            errors: 3,
            p50_us: Some(900),
            ..Rates::default()
        };
        assert_eq!(rates(&some), ["20.1/s", "3 5xx (1.5 %)", "p50 900 us", "p99 -"]);
    }
}
