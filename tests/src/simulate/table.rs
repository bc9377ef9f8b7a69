//! The table of results.

use std::fmt::Write as _;

use crate::judge::ScenarioResult;

pub(crate) fn render(results: &[ScenarioResult]) -> String {
    let mut text = String::from(
        "
scenario                                   outcome      requests   failed   wrong slot   bad for
",
    );
    for result in results {
        let bad_for = match result.failed {
            0 => "-".to_owned(),
            _ => format!("{:.1} s", result.bad_for.as_secs_f64()),
        };
        let _ = writeln!(
            text,
            "{} {:<40} {:<12} {:>8} {:>8} {:>12} {:>9}  {}",
            result.number,
            result.title,
            result.outcome,
            result.requests,
            result.failed,
            result.wrong_slot,
            bad_for,
            if result.good() { "" } else { "WRONG" },
        );
    }
    text.push_str(
        "
failed: no answer, or not a whole one with the right status and content
wrong slot: answered by the slot that had lost the traffic before the request was sent, or had not got it yet
bad for: from the first failed request to the last
",
    );
    text
}
