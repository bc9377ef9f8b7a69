//! The daemon's metrics. Base units, no unbounded labels.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `cutover_deployments_total` | counter | `group`, `outcome` |
//! | `cutover_deployment_duration_seconds` | histogram | `group`, `outcome` |
//! | `cutover_phase` | gauge: 1 for the phase that is running | `group`, `phase` |
//! | `cutover_effect_duration_seconds` | histogram | `group`, `phase` |
//! | `cutover_switches_total` | counter: moves of the route by this daemon | `group`, `direction` (forward, back, manual) |
//! | `cutover_journal_failing` | gauge: 1 while the journal cannot be written | |
//! | `cutover_probes_total` | counter | `group`, `slot`, `result` (ok, failed) |

use std::time::Duration;

use cutover_core::deployment::Phase;
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// From a probe to a soak of an hour, in seconds.
const BUCKETS: [f64; 12] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0];

/// Begins to record; once per process.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?
        .install_recorder()?;
    metrics::describe_counter!("cutover_deployments_total", "Deployments that have ended, by outcome");
    metrics::describe_counter!("cutover_switches_total", "Moves of the route by this daemon");
    metrics::describe_counter!("cutover_probes_total", "Probes of peers, by result");
    metrics::describe_gauge!("cutover_phase", "1 for the phase of the deployment that is running");
    metrics::describe_gauge!("cutover_journal_failing", "1 while the journal cannot be written");
    journal_fails(false);
    Ok(handle)
}

/// Which phase runs; `None`: no deployment does.
pub(crate) fn phase(group: &str, running: Option<&'static str>) {
    for name in Phase::NAMES {
        let value = if running == Some(name) { 1.0 } else { 0.0 };
        gauge!("cutover_phase", "group" => group.to_owned(), "phase" => name).set(value);
    }
}

pub(crate) fn ended(group: &str, outcome: &'static str, took: Duration) {
    counter!("cutover_deployments_total", "group" => group.to_owned(), "outcome" => outcome).increment(1);
    let histogram = histogram!(
        "cutover_deployment_duration_seconds", "group" => group.to_owned(), "outcome" => outcome
    );
    histogram.record(took.as_secs_f64());
}

pub(crate) fn effect_took(group: &str, phase: &'static str, took: Duration) {
    histogram!("cutover_effect_duration_seconds", "group" => group.to_owned(), "phase" => phase)
        .record(took.as_secs_f64());
}

pub(crate) fn switched(group: &str, direction: &'static str) {
    counter!("cutover_switches_total", "group" => group.to_owned(), "direction" => direction).increment(1);
}

pub(crate) fn journal_fails(fails: bool) {
    gauge!("cutover_journal_failing").set(if fails { 1.0 } else { 0.0 });
}

pub(crate) fn probed(group: &str, slot: &str, ok: bool) {
    let result = if ok { "ok" } else { "failed" };
    counter!(
        "cutover_probes_total", "group" => group.to_owned(), "slot" => slot.to_owned(), "result" => result
    )
    .increment(1);
}
