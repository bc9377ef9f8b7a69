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
    cutover_engine::metrics::describe();
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
