//! How far a query of PromQL looks back: its ranges, as in `[5m]` or `[5m:10s]`.

use std::time::Duration;

/// The longest range that is written in a query, and its text. Brackets within strings are no ranges.
pub(super) fn longest_range(promql: &str) -> Option<(String, Duration)> {
    let mut longest: Option<(String, Duration)> = None;
    let mut quote = None;
    let mut characters = promql.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            // A backquoted string has no escapes.
            (Some(open), '\\') if open != '`' => drop(characters.next()),
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(character),
            (None, '[') => {
                let inside = promql.get(at + 1..).unwrap_or_default();
                let text = inside.split([']', ':']).next().unwrap_or_default().trim();
                if let Some(range) = duration(text)
                    && longest.as_ref().is_none_or(|(_, before)| range > *before)
                {
                    longest = Some((text.to_owned(), range));
                }
            }
            _ => {}
        }
    }
    longest
}

/// A duration as in `1h30m`, or a number of seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return None,
        };
        sum += Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(milliseconds)?);
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_one_counts() {
        for (promql, seconds) in [
            ("up", None),
            ("rate(a[30s]) / rate(b[1m])", Some(60)),
            ("max_over_time(rate(a[1m])[1h30m:10s])", Some(5_400)),
            ("rate(a[ 90 ])", Some(90)),
            ("a{path=~\"[5d]\"}", None),
            ("a{path=~'\\'[5d]', b=`[5d]\\`} + rate(c[2m])", Some(120)),
            ("rate(a[5 parsecs])", None),
            ("rate(a[", None),
        ] {
            let found = longest_range(promql).map(|(_, range)| range.as_secs());
            assert_eq!(found, seconds, "{promql}");
        }
    }
}
