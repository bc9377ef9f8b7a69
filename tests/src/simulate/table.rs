//! The table at the end.

use std::fmt::Write as _;

use crate::judge::Verdict;

pub(crate) fn render(verdicts: &[Verdict]) -> String {
    let mut text = String::from(
        "
scenario                                   outcome      requests   failed   wrong slot   bad for
",
    );
    for verdict in verdicts {
        let bad_for = match verdict.failed {
            0 => "-".to_owned(),
            _ => format!("{:.1} s", verdict.bad_for.as_secs_f64()),
        };
        let _ = writeln!(
            text,
            "{} {:<40} {:<12} {:>8} {:>8} {:>12} {:>9}  {}",
            verdict.number,
            verdict.title,
            verdict.outcome,
            verdict.requests,
            verdict.failed,
            verdict.wrong_slot,
            bad_for,
            if verdict.good() { "" } else { "WRONG" },
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
