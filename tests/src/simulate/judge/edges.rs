//! What is judged when a site has several edges.

use std::time::{Duration, Instant};

use cutover_tests::load::Failure;
use cutover_tests::route_watcher::Fleet;

use super::{EdgeSeen, Judging, Observations};
use crate::scenario::Accident;

/// What the users of one edge saw.
#[derive(Clone, Debug)]
pub(crate) struct EdgeResult {
    pub(crate) name: String,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) bad_for: Duration,
    pub(crate) longest_wait: Duration,
    /// From the switch of this edge until its traffic was back.
    pub(crate) back_after: Option<Duration>,
    /// Answers of a slot that had lost the traffic of this edge.
    pub(crate) wrong_slot: u64,
    /// Those of them to requests that were sent after all edges had been moved.
    pub(crate) wrong_version: usize,
}

impl EdgeResult {
    pub(super) fn new(edge: &EdgeSeen, back_after: Option<Duration>, wrong_version: usize) -> Self {
        let report = &edge.seen.report;
        Self {
            name: edge.name.clone(),
            requests: report.total,
            failed: report.failed(),
            bad_for: report.bad_for(),
            longest_wait: report.longest_wait,
            back_after,
            wrong_slot: report.stale,
            wrong_version,
        }
    }
}

impl Observations {
    fn fleet(&self) -> Fleet<'_> {
        Fleet::new(self.edges.iter().map(|edge| &edge.seen.watched))
    }

    /// The requests that an edge sent to a version although all edges had left it.
    pub(super) fn wrong_version(&self, edge: &EdgeSeen) -> usize {
        let fleet = self.fleet();
        edge.seen.report.stale_answers().filter(|(slot, sent)| fleet.is_off(slot, *sent)).count()
    }
}

impl Judging<'_> {
    /// For how long the edges sent users to different versions, and whether all ended with the same one.
    pub(super) fn both_versions(&mut self) -> Duration {
        let (both, lease) = (self.seen.fleet().longest_difference(), self.seen.lease);
        self.demand(lease.is_none_or(|lease| both <= lease), || {
            format!(
                "two edges sent users to different versions for {both:?}, longer than the lease of {lease:?}"
            )
        });
        let actives: Vec<_> = self.seen.edges.iter().map(|edge| edge.active.as_str()).collect();
        let agree = actives.windows(2).all(|pair| pair.first() == pair.last());
        self.demand(agree, || format!("the edges end with different slots: {actives:?}"));
        both
    }

    /// When the edge was away because the scenario killed it. Any other time when it did not answer is an objection.
    pub(super) fn outage(&mut self, edge: &EdgeSeen) -> Vec<(Instant, Instant)> {
        let outages = edge.seen.watched.outages.clone();
        let is_killed = self.scenario.accident == Accident::EdgeKilled
            && self.seen.edges.last().is_some_and(|last| last.name == edge.name);
        self.demand(outages.len() == usize::from(is_killed), || {
            format!("did not answer {} times, and was killed {} times", outages.len(), u8::from(is_killed))
        });
        if is_killed {
            let unreachable =
                edge.seen.report.failures.iter().filter(|failure| is_in(failure, &outages)).count();
            let length: Duration = outages.iter().map(|(from, to)| *to - *from).sum();
            self.remark(format!(
                "{unreachable} requests found no nginx in the {length:.1?} in which it was down"
            ));
            return outages;
        }
        Vec::new()
    }
}

/// Whether this request failed without any answer while the edge was down. A request that was sent after its first answer to a
/// query must not fail.
pub(super) fn is_in(failure: &Failure, outages: &[(Instant, Instant)]) -> bool {
    let met = |(from, to): &(Instant, Instant)| failure.at >= *from && failure.sent <= *to;
    failure.outcome.status.is_none() && outages.iter().any(met)
}

#[cfg(test)]
mod tests {
    use cutover_tests::load::check::RequestOutcome;

    use super::*;

    #[test]
    fn only_a_request_without_an_answer_in_the_outage_is_excused() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let failure = |sent, failed, status| Failure {
            sent: at(sent),
            at: at(failed),
            outcome: RequestOutcome { status, ..RequestOutcome::lost("lost".to_owned()) },
        };
        let outages = [(at(100), at(900))];
        assert!(is_in(&failure(90, 110, None), &outages), "in flight when the edge was killed");
        assert!(is_in(&failure(500, 500, None), &outages));
        assert!(!is_in(&failure(500, 500, Some(502)), &outages), "nginx has answered");
        assert!(!is_in(&failure(80, 90, None), &outages));
        assert!(!is_in(&failure(910, 920, None), &outages));
        assert!(!is_in(&failure(500, 500, None), &[]));
    }
}
