//! The metrics recorder for Prometheus. [`cutover_engine::metrics`] lists the metrics.

use cutover_engine::metrics::journal_fails;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Histogram buckets in seconds, from a probe to a soak of an hour.
const BUCKETS: [f64; 12] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0];

/// Installs the recorder. Fails on a second call in a process.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?
        .install_recorder()?;
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
    metrics::describe_gauge!("cutover_store_leader", "1 while this daemon leads; only with a store in etcd");
    metrics::describe_gauge!("cutover_store_epoch", "The epoch of the daemon that leads");
    metrics::describe_counter!("cutover_store_errors_total", "Calls to etcd that no member has answered");
    journal_fails(false);
    Ok(handle)
}

/// Which daemon leads: whether this one does, and the epoch.
pub fn store_leads(is_me: bool, epoch: i64) {
    metrics::gauge!("cutover_store_leader").set(if is_me { 1.0 } else { 0.0 });
    // Exact up to 2^53, which is more than the writes that etcd can count.
    metrics::gauge!("cutover_store_epoch").set(epoch as f64);
}

/// This daemon does not lead any more.
pub fn store_lost() {
    metrics::gauge!("cutover_store_leader").set(0.0);
}

/// A call to the store was answered by no member.
pub fn store_failed() {
    metrics::counter!("cutover_store_errors_total").increment(1);
}
