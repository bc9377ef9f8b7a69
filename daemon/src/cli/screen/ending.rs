//! The end of a deployment that did not complete: what, why, and what to type.

use super::{Line, Now, Style};
use crate::control::Ending;

/// Three lines. `cutover`: the program with its hosts, as it is typed here.
pub(in crate::cli) fn lines(ending: &Ending, cutover: &str, now: &Now) -> Vec<Line> {
    let next = match ending.next.strip_prefix("cutover ") {
        Some(rest) => format!("{cutover} {rest}"),
        None => ending.next.clone(),
    };
    vec![
        Line::new(6).add(Style::Bad, "what  ").add(Style::Bad, now.local(&ending.what)),
        Line::new(6).add(Style::Bold, "why   ").text(now.local(&ending.why)),
        Line::new(6).add(Style::Bold, "type  ").text(next).whole(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_lines_and_a_command_for_this_host() {
        let ending = Ending {
            what: "version 2 was rolled back".to_owned(),
            why: "too many errors".to_owned(),
            next: "cutover deploy shop --version VERSION".to_owned(),
        };
        let now = Now::of("2026-11-30T12:00:00Z", "UTC");
        let rows: Vec<String> = lines(&ending, "cutover --host ssh://a", &now)
            .iter()
            .flat_map(|line| line.rows(Some(80), false))
            .collect();
        assert_eq!(
            rows,
            [
                "what  version 2 was rolled back",
                "why   too many errors",
                "type  cutover --host ssh://a deploy shop --version VERSION"
            ]
        );
    }
}
