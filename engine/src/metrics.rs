//! Metrics of deployments, in base units and without unbounded labels. They go to the metrics recorder of the process.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `cutover_deployments_total` | counter | `group`, `outcome` |
//! | `cutover_deployment_duration_seconds` | histogram | `group`, `outcome` |
//! | `cutover_phase` | gauge: 1 for the phase that is running; `stuck` until no operator is needed any more | `group`, `phase` |
//! | `cutover_phase_duration_seconds` | histogram | `group`, `phase` |
//! | `cutover_switches_total` | counter: moves of the route by this daemon | `group`, `direction` (forward, back, manual) |
//! | `cutover_rolled_back_to_bad_total` | counter: rollbacks after which the old version was bad too | `group` |
//! | `cutover_journal_failing` | gauge: 1 while the journal cannot be written | |
//! | `cutover_probes_total` | counter | `group`, `slot`, `result` (ok, failed) |
//! | `cutover_active_slot_healthy` | gauge: 0 while no server of the active slot is healthy | `group`, `slot` |
//! | `cutover_active_slot_bad` | gauge: 1 while the answers of the active slot break a limit | `group`, `slot` |
//! | `cutover_edge_up` | gauge: 0 while an edge of several does not answer | `group`, `edge` |
//! | `cutover_edge_generation` | gauge: number of changes of the route on an edge of several | `group`, `edge` |
//! | `cutover_edges_differ` | gauge: 1 while the edges of a group do not have the same active slot | `group` |
//! | `cutover_edge_repairs_total` | counter: moves of one edge to the slot that the others are on | `group`, `edge` |
//! | `cutover_hooks_total` | counter: runs of a hook | `group`, `hook` (switched, diagnose), `result` (ok, failed) |
//! | `cutover_signal_value` | gauge: the last value of a signal, NaN outside of a soak and without a value | `group`, `signal` |
//! | `cutover_signal_limit` | gauge: its limit, NaN outside of a soak | `group`, `signal` |
//! | `cutover_signal_ok` | gauge: 0 while it is over the limit, 1 while it is not, NaN if that is not known | `group`, `signal` |

use std::time::Duration;

use cutover_core::deployment::Phase;
use cutover_core::verdict::OutsideFigure;
use metrics::{Gauge, counter, gauge, histogram};

use crate::fleet::View;
use crate::policy::Signal;

/// Describes them to the recorder of the process.
pub fn describe() {
    metrics::describe_counter!("cutover_deployments_total", "Deployments that ended, by outcome");
    metrics::describe_histogram!(
        "cutover_deployment_duration_seconds",
        metrics::Unit::Seconds,
        "Time from the start of a deployment to its outcome"
    );
    metrics::describe_histogram!(
        "cutover_phase_duration_seconds",
        metrics::Unit::Seconds,
        "Time that the work of a phase took"
    );
    metrics::describe_counter!(
        "cutover_rolled_back_to_bad_total",
        "Rollbacks after which the old version was bad too"
    );
    metrics::describe_counter!("cutover_switches_total", "Moves of the route by this daemon");
    metrics::describe_counter!("cutover_probes_total", "Probes of peers, by result");
    metrics::describe_gauge!(
        "cutover_phase",
        "1 for the phase of the deployment that is running; stuck until no operator is needed any more"
    );
    metrics::describe_gauge!("cutover_edge_up", "0 while an edge of several does not answer");
    metrics::describe_gauge!("cutover_edge_generation", "Changes of the route on an edge of several");
    metrics::describe_gauge!(
        "cutover_edges_differ",
        "1 while the edges of a group do not have the same active slot"
    );
    metrics::describe_counter!(
        "cutover_edge_repairs_total",
        "Moves of one edge to the slot that the others are on"
    );
    metrics::describe_counter!("cutover_hooks_total", "Runs of hooks, by result");
    metrics::describe_gauge!("cutover_journal_failing", "1 while the journal cannot be written");
    metrics::describe_gauge!(
        "cutover_active_slot_healthy",
        "0 while no server of the active slot passes its probes, 1 otherwise"
    );
    metrics::describe_gauge!(
        "cutover_active_slot_bad",
        "1 while the answers of the active slot break a limit of the group"
    );
    metrics::describe_gauge!(
        "cutover_signal_value",
        "The last value of a signal; NaN outside of a soak, and without a value"
    );
    metrics::describe_gauge!("cutover_signal_limit", "The limit of a signal; NaN outside of a soak");
    metrics::describe_gauge!(
        "cutover_signal_ok",
        "0 while a signal is over its limit and worse than the old version, 1 while it is not; NaN if that is not known"
    );
}

/// Sets the phase that is running. `None` means that no deployment runs.
pub fn phase(group: &str, running: Option<&'static str>) {
    for name in Phase::NAMES {
        let value = if running == Some(name) { 1.0 } else { 0.0 };
        gauge!("cutover_phase", "group" => group.to_owned(), "phase" => name).set(value);
    }
}

/// Counts a deployment that has ended, and records its duration.
pub fn ended(group: &str, outcome: &'static str, took: Duration) {
    counter!("cutover_deployments_total", "group" => group.to_owned(), "outcome" => outcome).increment(1);
    let histogram = histogram!(
        "cutover_deployment_duration_seconds", "group" => group.to_owned(), "outcome" => outcome
    );
    histogram.record(took.as_secs_f64());
}

/// Records how long the work of a phase took.
pub fn phase_took(group: &str, phase: &'static str, took: Duration) {
    histogram!("cutover_phase_duration_seconds", "group" => group.to_owned(), "phase" => phase)
        .record(took.as_secs_f64());
}

/// Counts a move of the route: `forward`, `back` or `manual`.
pub fn switched(group: &str, direction: &'static str) {
    counter!("cutover_switches_total", "group" => group.to_owned(), "direction" => direction).increment(1);
}

/// Counts a rollback after which the old version was bad too.
pub fn rolled_back_to_bad(group: &str) {
    counter!("cutover_rolled_back_to_bad_total", "group" => group.to_owned()).increment(1);
}

/// Sets whether the journal cannot be written.
pub fn journal_fails(fails: bool) {
    gauge!("cutover_journal_failing").set(if fails { 1.0 } else { 0.0 });
}

/// Counts a probe.
pub fn probed(group: &str, slot: &str, ok: bool) {
    let result = if ok { "ok" } else { "failed" };
    counter!(
        "cutover_probes_total", "group" => group.to_owned(), "slot" => slot.to_owned(), "result" => result
    )
    .increment(1);
}

/// Sets what each of several edges says. `view` is `None` if none answers.
pub fn edges(group: &str, names: &[&str], view: Option<&View>, differ: bool) {
    for name in names {
        let look = view.and_then(|view| view.edges.get(*name));
        let labels = [("group", group.to_owned()), ("edge", (*name).to_owned())];
        gauge!("cutover_edge_up", &labels).set(if look.is_some() { 1.0 } else { 0.0 });
        if let Some(look) = look {
            gauge!("cutover_edge_generation", &labels).set(f64::from(look.route().generation));
        }
    }
    gauge!("cutover_edges_differ", "group" => group.to_owned()).set(if differ { 1.0 } else { 0.0 });
}

/// Counts an edge that was moved to the slot that the others are on.
pub fn repaired(group: &str, edge: &str) {
    let labels = [("group", group.to_owned()), ("edge", edge.to_owned())];
    counter!("cutover_edge_repairs_total", &labels).increment(1);
}

/// Counts a run of a hook.
pub fn hook(group: &str, hook: &'static str, ok: bool) {
    let result = if ok { "ok" } else { "failed" };
    counter!("cutover_hooks_total", "group" => group.to_owned(), "hook" => hook, "result" => result)
        .increment(1);
}

/// Sets the health of the active slot. A slot that is no longer active is healthy and not bad, so that nobody is alerted.
pub fn active_slot(group: &str, slot: &str, healthy: bool, bad: bool) {
    for (name, value) in [("cutover_active_slot_healthy", healthy), ("cutover_active_slot_bad", bad)] {
        gauge!(name, "group" => group.to_owned(), "slot" => slot.to_owned()).set(if value {
            1.0
        } else {
            0.0
        });
    }
}

/// The gauges of a signal while it is asked. Without it they are NaN, because a gauge cannot be removed.
#[derive(Debug)]
pub struct SignalGauges {
    value: Gauge,
    limit: Gauge,
    ok: Gauge,
}

impl SignalGauges {
    /// The gauges of a signal that is asked from now on.
    pub fn new(group: &str, signal: &Signal) -> Self {
        let gauge = |name| gauge!(name, "group" => group.to_owned(), "signal" => signal.name.clone());
        let gauges = Self {
            value: gauge("cutover_signal_value"),
            limit: gauge("cutover_signal_limit"),
            ok: gauge("cutover_signal_ok"),
        };
        gauges.limit.set(signal.limit);
        gauges.set(None);
        gauges
    }

    /// Sets them to a reading.
    pub fn set(&self, figure: Option<&OutsideFigure>) {
        let read = figure.filter(|figure| figure.missing.is_none());
        let value = read.and_then(|figure| figure.value);
        self.value.set(value.map_or(f64::NAN, |value| value.0));
        self.ok.set(read.map_or(f64::NAN, |figure| if figure.is_over { 0.0 } else { 1.0 }));
    }
}

impl Drop for SignalGauges {
    fn drop(&mut self) {
        self.set(None);
        self.limit.set(f64::NAN);
    }
}
