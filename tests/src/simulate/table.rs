//! The table of results.

use std::fmt::Write as _;
use std::time::Duration;

use cutover_tests::site::EdgeKind;

use crate::judge::ScenarioResult;

pub(crate) fn render(results: &[ScenarioResult], edge: EdgeKind) -> String {
    let mut text = String::from(
        "
 # scenario                                outcome      exit  requests  failed  bad for  longest wait  back after  wrong slot
",
    );
    for result in results {
        let _ = writeln!(
            text,
            "{:>2} {:<39} {:<12} {:>4} {:>9} {:>7} {:>8} {:>13} {:>11} {:>11}{}",
            result.number,
            result.title,
            result.outcome,
            result.code,
            result.requests,
            result.failed,
            shown((result.failed > 0).then_some(result.bad_for)),
            shown(Some(result.longest_wait)),
            shown(result.back_after),
            result.wrong_slot,
            if result.good() { "" } else { "  WRONG" },
        );
        let _ = writeln!(text, "   {}", result.said);
    }
    text.push_str(
        "
failed: no answer, or not a whole one with the right status and content
bad for: from the first request that failed to the last failure
longest wait: of a user, for an answer or a failure
back after: from the switch, or the first step, until the old version had all of the traffic again
wrong slot: answered by the slot that had lost the traffic before the request was sent, or had not got it yet
",
    );
    if edge == EdgeKind::File {
        let wrong: u64 = results.iter().map(|result| result.wrong_slot).sum();
        let _ = writeln!(
            text,
            "
stock nginx: {wrong} requests that were sent after the upstream file was changed were answered by the wrong slot. Workers with the
old file accept connections until the reload is over, some tenths of a second; then they finish what they have accepted. The module
has no such requests. The old slot is not stopped before these workers have gone, or before the limit of the drain.
left out: 12, because without the daemon nothing takes a version back; rescue and guard are the module's, too"
        );
    }
    text
}

fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
}
