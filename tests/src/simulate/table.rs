//! The table of results.

use std::fmt::Write as _;
use std::time::Duration;

use cutover_tests::site::EdgeKind;

use crate::judge::{EdgeResult, ScenarioResult};

/// Where the deployments were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    Hosts(EdgeKind),
    Kubernetes,
}

pub(crate) fn render(results: &[ScenarioResult], platform: Platform) -> String {
    let mut text = String::from(
        "
 # scenario                                outcome      exit  requests  failed  bad for  longest wait  back after  wrong slot",
    );
    let has_edges = results.iter().any(|result| !result.edges.is_empty());
    text.push_str(if has_edges { "  wrong version  both versions\n" } else { "\n" });
    for result in results {
        let _ = writeln!(
            text,
            "{:>2} {:<39} {:<12} {:>4} {:>9} {:>7} {:>8} {:>13} {:>11} {:>11}{}{}",
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
            if has_edges {
                format!("{:>15} {:>14}", wrong_version(result), shown(Some(result.both_versions)))
            } else {
                String::new()
            },
            if result.good() { "" } else { "  WRONG" },
        );
        for edge in &result.edges {
            let _ = writeln!(text, "{}", edge_row(edge));
        }
        let _ = writeln!(text, "   {}", result.said);
        for objection in &result.objections {
            let _ = writeln!(text, "   WRONG: {objection}");
        }
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
    if has_edges {
        text.push_str(
            "wrong version: of these, sent after all edges had been seen without traffic for that slot
both versions: the longest time in which two edges sent users to different versions, from their routes, read each 5 ms
",
        );
    }
    if platform == Platform::Kubernetes {
        text.push_str(
            "
exit: of kubectl wait --for=condition=Completed bluegreen/shop
left out: migrations and rescue: Jobs run no program here, and the balancer of ingress-nginx sends the requests, not the module
",
        );
    }
    if platform == Platform::Hosts(EdgeKind::File) {
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

/// The columns of the table for one of several edges.
fn edge_row(edge: &EdgeResult) -> String {
    format!(
        "     {:<54} {:>9} {:>7} {:>8} {:>13} {:>11} {:>11}{:>15}",
        edge.name,
        edge.requests,
        edge.failed,
        shown((edge.failed > 0).then_some(edge.bad_for)),
        shown(Some(edge.longest_wait)),
        shown(edge.back_after),
        edge.wrong_slot,
        edge.wrong_version,
    )
}

fn wrong_version(result: &ScenarioResult) -> usize {
    result.edges.iter().map(|edge| edge.wrong_version).sum()
}
