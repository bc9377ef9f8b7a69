//! Compares a scenario's observations with what it requires.

mod edges;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use cutover_tests::load::{Failure, Report};
use cutover_tests::site::{EdgeKind, SLOTS, Schema, TrafficReport};

use crate::scenario::{Accident, ExpectedOutcome, FailsBy, Scenario};

pub(crate) use edges::EdgeResult;

/// nginx chooses the slot this much later than a request is sent, at most.
const MOMENT: Duration = Duration::from_millis(100);

/// The observations of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Observations {
    pub(crate) ended: Ended,
    /// The slot with the traffic before.
    pub(crate) old: String,
    /// The schemas of the database, where releases change it.
    pub(crate) schemas: Option<Schemas>,
    /// When the daemon or the operator said that it goes back.
    pub(crate) noticed: Option<Instant>,
    /// When the daemon was killed.
    pub(crate) killed: Option<Instant>,
    pub(crate) edge: EdgeKind,
    /// The lease of each change, if there is one.
    pub(crate) lease: Option<Duration>,
    /// One, or several.
    pub(crate) edges: Vec<EdgeSeen>,
}

/// How a deployment ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: String,
    /// The exit code of the command that waits for it, and what it should be.
    pub(crate) code: i32,
    pub(crate) code_expected: i32,
    /// The last message.
    pub(crate) said: String,
}

/// The schema of the database over a deployment.
#[derive(Clone, Debug)]
pub(crate) struct Schemas {
    pub(crate) before: Schema,
    /// While the new release had the traffic, if it ever had.
    pub(crate) during: Option<Schema>,
    pub(crate) after: Schema,
}

/// The observations at one edge.
#[derive(Clone, Debug)]
pub(crate) struct EdgeSeen {
    pub(crate) name: String,
    pub(crate) seen: TrafficReport,
    /// The slot with the traffic after.
    pub(crate) active: String,
    /// The requests by slot that the module has counted, where each is one of the load and has an answer that names the slot.
    pub(crate) counted: Option<BTreeMap<String, u64>>,
}

/// Workers with the old file may answer for so long after it was changed.
const RELOAD: Duration = Duration::from_secs(1);

/// A row of the table, with remarks and objections.
#[derive(Clone, Debug)]
pub(crate) struct ScenarioResult {
    pub(crate) number: u8,
    pub(crate) title: &'static str,
    pub(crate) outcome: String,
    pub(crate) code: i32,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) wrong_slot: u64,
    pub(crate) bad_for: Duration,
    pub(crate) longest_wait: Duration,
    /// From the switch until the traffic was back.
    pub(crate) back_after: Option<Duration>,
    /// The most that may fail in the median of several runs.
    pub(crate) median_failed: Option<u64>,
    /// The last message of the daemon or the operator.
    pub(crate) said: String,
    /// The edges, if there are several.
    pub(crate) edges: Vec<EdgeResult>,
    /// The longest time in which two edges sent users to different versions.
    pub(crate) both_versions: Duration,
    remarks: Vec<String>,
    /// What does not hold.
    pub(crate) objections: Vec<String>,
}

impl ScenarioResult {
    /// Whether there is no objection.
    pub(crate) fn good(&self) -> bool {
        self.objections.is_empty()
    }
}

impl fmt::Display for ScenarioResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remarks = self.remarks.iter().map(|remark| format!("           {remark}"));
        let objections = self.objections.iter().map(|objection| format!("    WRONG: {objection}"));
        f.write_str(&remarks.chain(objections).collect::<Vec<_>>().join("\n"))
    }
}

pub(crate) fn judge(scenario: &Scenario, observations: Observations) -> ScenarioResult {
    let mut judging =
        Judging { scenario, seen: &observations, edge: None, remarks: Vec::new(), objections: Vec::new() };
    judging.outcome();
    judging.answers();
    let both_versions = judging.both_versions();
    let mut edges = Vec::new();
    for edge in &observations.edges {
        // The only edge needs no name.
        judging.edge = (observations.edges.len() > 1).then_some(edge.name.as_str());
        judging.traffic(edge);
        let back_after = judging.way_back(edge);
        judging.failures(edge);
        judging.counters(edge);
        edges.push(EdgeResult::new(edge, back_after, observations.wrong_version(edge)));
    }
    judging.edge = None;
    judging.schema();
    let Judging { remarks, objections, .. } = judging;
    let failures = || observations.reports().flat_map(|report| &report.failures);
    let first = failures().map(|failure| failure.sent).min();
    let last = failures().map(|failure| failure.at).max();
    ScenarioResult {
        number: scenario.number,
        title: scenario.title,
        outcome: observations.ended.outcome.replace('_', " "),
        code: observations.ended.code,
        requests: observations.reports().map(|report| report.total).sum(),
        failed: failures().count() as u64,
        wrong_slot: observations.reports().map(|report| report.stale).sum(),
        bad_for: first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first),
        longest_wait: observations.reports().map(|report| report.longest_wait).max().unwrap_or_default(),
        back_after: edges.iter().filter_map(|edge| edge.back_after).max(),
        median_failed: scenario.median_failed,
        said: observations.ended.said.clone(),
        edges: if edges.len() > 1 { edges } else { Vec::new() },
        both_versions,
        remarks,
        objections,
    }
}

impl Observations {
    fn reports(&self) -> impl Iterator<Item = &Report> {
        self.edges.iter().map(|edge| &edge.seen.report)
    }
}

struct Judging<'a> {
    scenario: &'a Scenario,
    seen: &'a Observations,
    /// The edge that is looked at, one of several.
    edge: Option<&'a str>,
    remarks: Vec<String>,
    objections: Vec<String>,
}

impl Judging<'_> {
    fn demand(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.objections.push(self.named(otherwise()));
        }
    }

    fn remark(&mut self, remark: String) {
        self.remarks.push(self.named(remark));
    }

    fn named(&self, text: String) -> String {
        self.edge.map_or(text.clone(), |edge| format!("{edge}: {text}"))
    }

    /// The outcome, the exit code, and what was said about it.
    fn outcome(&mut self) {
        let Ended { outcome, code, code_expected: exit, said } = &self.seen.ended;
        let (word, says) = (self.scenario.expected.word(), self.scenario.says);
        self.demand(outcome == word && code == exit, || {
            format!("ended {outcome:?} with code {code}, not {word:?} with {exit}")
        });
        let says_it = says.is_empty() || says.iter().any(|text| said.contains(text));
        self.demand(says_it, || format!("the last message is {said:?}, and none of {says:?}"));
    }

    /// Whether the new version answered only where it had to.
    fn answers(&mut self) {
        let version = self.scenario.version;
        let answers = self.seen.reports().filter_map(|report| report.by_version.get(version)).sum::<u64>();
        let switched = self.scenario.expected != ExpectedOutcome::Failed;
        self.demand((answers > 0) == switched, || format!("{answers} answers from {version}"));
        if switched {
            let doubts = self.seen.edges.iter().map(|edge| edge.seen.watched.longest_doubt);
            let doubt = doubts.max().unwrap_or_default().as_secs_f64() * 1e3;
            self.remark(format!(
                "{answers} answers from {version}; each switch is known to within {doubt:.0} ms"
            ));
        }
    }

    /// Which slots answered.
    fn traffic(&mut self, edge: &EdgeSeen) {
        let (old, EdgeSeen { active, seen: TrafficReport { report, watched, .. }, .. }) =
            (&self.seen.old, edge);
        let (moved, switches) = match self.scenario.expected {
            ExpectedOutcome::Completed => (true, 1),
            ExpectedOutcome::Failed => (false, 0),
            ExpectedOutcome::RolledBack | ExpectedOutcome::Stuck => (false, 2),
        };
        self.demand((active != old) == moved, || format!("{active} has the traffic; it was {old}"));
        // A fence changes the generation only.
        let mut slots: Vec<&String> = std::iter::once(old).chain(&watched.switches).collect();
        slots.dedup();
        self.demand(slots.len() == switches + 1, || format!("the traffic went from slot to slot: {slots:?}"));
        match self.seen.edge {
            EdgeKind::Module => {
                self.demand(report.stale == 0, || format!("answers from the wrong slot: {report}"));
            }
            // A reload is not exact: old workers know only the old file.
            EdgeKind::File if report.stale > 0 => {
                self.remark(format!(
                    "{} answers from the wrong slot, by workers with the old file",
                    report.stale
                ));
            }
            EdgeKind::File => {}
        }
    }

    /// How long the traffic was away.
    fn way_back(&mut self, edge: &EdgeSeen) -> Option<Duration> {
        let (left, back) = edge.seen.watched.away_from(&self.seen.old)?;
        let (after, limit) = (back - left, self.scenario.back_within);
        self.demand(after <= limit, || format!("the traffic was back after {after:?}, not within {limit:?}"));
        if let (Accident::DaemonGone { back_within }, Some(killed)) =
            (self.scenario.accident, self.seen.killed)
        {
            let after = back.saturating_duration_since(killed);
            self.remark(format!("nginx alone moved the traffic back {after:.1?} after SIGKILL"));
            self.demand(!after.is_zero() && after <= back_within, || {
                format!("the traffic was back {after:?} after SIGKILL, not within {back_within:?}")
            });
        }
        if let (Accident::None, Some(noticed)) = (self.scenario.accident, self.seen.noticed) {
            let (noticed, stale) =
                (noticed.saturating_duration_since(left), edge.seen.report.stale_since(back));
            self.remark(format!(
                "noticed after {noticed:.2?}, back after {after:.2?}, {stale} answers from the wrong slot after that"
            ));
        }
        Some(after)
    }

    /// Whether the module has counted what the users have seen.
    fn counters(&mut self, edge: &EdgeSeen) {
        let Some(counted) = &edge.counted else { return };
        let answered = &edge.seen.report.by_slot;
        self.demand(counted == answered, || {
            format!("nginx has counted {counted:?}, and {answered:?} answered")
        });
        self.remark(format!("nginx has counted as many requests as users have answers: {counted:?}"));
    }

    /// How many requests failed, and because of whom.
    fn failures(&mut self, edge: &EdgeSeen) {
        let (report, version) = (&edge.seen.report, self.scenario.version);
        let unreachable = self.outage(edge);
        let failures = || report.failures.iter().filter(|failure| !edges::is_in(failure, &unreachable));
        let (failed, most) = (failures().count() as u64, self.scenario.most_failed);
        self.demand(failed <= most, || format!("{failed} failed requests, more than {most}"));
        let foreign = failures().filter(|failure| !self.is_own(edge, failure)).count();
        self.demand(foreign == 0, || {
            format!("{foreign} failures that {version} did not produce itself: {report}")
        });
        if failed > 0 && foreign == 0 {
            self.remark(format!("all {failed} failed requests had gone to {version}"));
        }
    }

    /// Whether the new release has failed this request: an answer names its version, or is nginx's own and names its slot. A
    /// request without any answer must have been sent while the new slot had the traffic.
    fn is_own(&self, edge: &EdgeSeen, failure: &Failure) -> bool {
        let (outcome, old) = (&failure.outcome, &self.seen.old);
        let hundred = match (self.scenario.fails_by, outcome.status) {
            (FailsBy::Nothing, _) | (FailsBy::Status(_), None) => return false,
            (FailsBy::Silence, None) => {
                let oracle = &edge.seen.oracle;
                let mut others = SLOTS.iter().filter(|slot| *slot != old);
                let from = match self.seen.edge {
                    EdgeKind::Module => failure.sent,
                    EdgeKind::File => failure.sent.checked_sub(RELOAD).unwrap_or(failure.sent),
                };
                return others.any(|slot| oracle.allows(slot, from, failure.sent + MOMENT));
            }
            (FailsBy::Silence, Some(_)) => 5,
            (FailsBy::Status(hundred), Some(_)) => hundred,
        };
        outcome.status.is_some_and(|status| status / 100 == hundred)
            && outcome.version.as_deref().is_none_or(|version| version == self.scenario.version)
            && outcome.slot.as_deref().is_some_and(|slot| slot != old)
    }

    /// What the migration has left.
    fn schema(&mut self) {
        let Some(Schemas { before, during, after }) = &self.seen.schemas else { return };
        if self.scenario.expected == ExpectedOutcome::Completed {
            self.demand(after.version >= before.version, || "the schema went backwards".to_owned());
            return;
        }
        self.demand(after == before, || {
            format!("the schema is another one: more {:?}", after.beyond(before))
        });
        if let (ExpectedOutcome::RolledBack | ExpectedOutcome::Stuck, Some(middle)) =
            (self.scenario.expected, during)
            && middle != before
        {
            self.remarks.push(format!(
                "the schema was at version {} with {}; it is at {} again, without",
                middle.version,
                middle.beyond(before),
                after.version
            ));
        }
    }
}
