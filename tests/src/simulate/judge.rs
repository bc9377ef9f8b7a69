//! Compares a scenario's observations with what it requires.

use std::fmt;
use std::time::Duration;

use cutover_tests::load::Report;
use cutover_tests::load::check::RequestOutcome;
use cutover_tests::site::{Schema, TrafficReport};

use crate::scenario::{ExpectedOutcome, Scenario};

/// The observations of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Observations {
    /// The outcome that `cutover deploy` printed.
    pub(crate) outcome: String,
    /// Its exit code.
    pub(crate) code: i32,
    /// The slot with the traffic before.
    pub(crate) old: String,
    /// The slot with the traffic after.
    pub(crate) active: String,
    pub(crate) schema_before: Schema,
    /// The schema while the new release had the traffic, if it ever had.
    pub(crate) schema_during: Option<Schema>,
    pub(crate) schema_after: Schema,
    pub(crate) seen: TrafficReport,
}

/// A row of the table, with remarks and objections.
#[derive(Clone, Debug)]
pub(crate) struct ScenarioResult {
    pub(crate) number: u8,
    pub(crate) title: &'static str,
    pub(crate) outcome: String,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) wrong_slot: u64,
    pub(crate) bad_for: Duration,
    remarks: Vec<String>,
    objections: Vec<String>,
}

impl ScenarioResult {
    /// Whether there is no objection.
    pub(crate) fn good(&self) -> bool {
        self.objections.is_empty()
    }
}

impl fmt::Display for ScenarioResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for remark in &self.remarks {
            writeln!(f, "           {remark}")?;
        }
        for objection in &self.objections {
            writeln!(f, "    WRONG: {objection}")?;
        }
        Ok(())
    }
}

pub(crate) fn judge(scenario: &Scenario, observations: Observations) -> ScenarioResult {
    let mut objections = Vec::new();
    let mut demand = |holds: bool, otherwise: String| {
        if !holds {
            objections.push(otherwise);
        }
    };
    let Observations { outcome, code, old, active, schema_before, schema_during, schema_after, seen } =
        observations;
    let TrafficReport { report, watched } = seen;

    let (word, exit) = scenario.expected.word_and_code();
    demand(
        outcome == word && code == exit,
        format!("ended {outcome:?} with code {code}, not {word:?} with {exit}"),
    );
    let moved = scenario.expected == ExpectedOutcome::Completed;
    demand((active != old) == moved, format!("{active} has the traffic; it was {old}"));
    let switches = match scenario.expected {
        ExpectedOutcome::Completed => 1,
        ExpectedOutcome::Failed => 0,
        ExpectedOutcome::RolledBack => 2,
    };
    // A fence after a move back changes the generation only.
    let mut slots = watched.switches.clone();
    slots.dedup();
    demand(slots.len() == switches, format!("the traffic went to {slots:?}"));
    let answers = report.by_version.get(scenario.version).copied().unwrap_or_default();
    demand((answers > 0) == (switches > 0), format!("{answers} answers from {}", scenario.version));

    demand(report.stale == 0, format!("answers from the wrong slot: {report}"));
    let foreign = failures_of_others(&report, scenario, &old);
    demand(
        foreign == 0,
        format!("{foreign} failures that {} did not produce itself: {report}", scenario.version),
    );

    let mut remarks = Vec::new();
    if switches > 0 {
        let doubt = watched.longest_doubt.as_secs_f64() * 1e3;
        remarks.push(format!(
            "{answers} answers from {}; each switch is known to within {doubt:.0} ms",
            scenario.version
        ));
    }
    if moved {
        demand(schema_after.version >= schema_before.version, "the schema went backwards".to_owned());
    } else {
        demand(
            schema_after == schema_before,
            format!("the schema is another one: more {:?}", schema_after.beyond(&schema_before)),
        );
    }
    if let (ExpectedOutcome::RolledBack, Some(middle)) = (scenario.expected, schema_during)
        && middle != schema_before
    {
        remarks.push(format!(
            "the schema was at version {} with {}; it is at {} again, without",
            middle.version,
            middle.beyond(&schema_before),
            schema_after.version
        ));
    }
    if report.failed() > 0 && foreign == 0 {
        remarks.push(format!("all {} failed requests had gone to {}", report.failed(), scenario.version));
    }
    ScenarioResult {
        number: scenario.number,
        title: scenario.title,
        outcome: outcome.replace('_', " "),
        requests: report.total,
        failed: report.failed(),
        wrong_slot: report.stale,
        bad_for: report.bad_for(),
        remarks,
        objections,
    }
}

/// The number of failures that the new release did not cause. Its own failures are answers that name its version, and answers
/// of nginx that name its slot. A request without any answer is never its own failure.
fn failures_of_others(report: &Report, scenario: &Scenario, old: &str) -> usize {
    let own = |outcome: &RequestOutcome| {
        scenario.expected == ExpectedOutcome::RolledBack
            && outcome.status.is_some_and(|status| status >= 500)
            && outcome.version.as_deref().is_none_or(|version| version == scenario.version)
            && outcome.slot.as_deref().is_some_and(|slot| slot != old)
    };
    report.failures.iter().filter(|failure| !own(&failure.outcome)).count()
}
