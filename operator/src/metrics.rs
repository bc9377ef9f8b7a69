//! Metrics of the operator. [`cutover_engine::metrics`] has those of deployments, which get the label `namespace` here.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `cutover_operator_leader` | gauge: 1 while this operator drives | |
//! | `cutover_bluegreen_phase` | gauge: 1 for the phase in the status; gone with the resource | `namespace`, `name`, `phase` |
//! | `cutover_reconciliations_total` | counter | `result` (ok, failed) |
//! | `cutover_reconciliation_duration_seconds` | histogram | |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

mod by_namespace;

pub use by_namespace::within;

use by_namespace::ByNamespace;

/// Bounds of histograms in seconds, from a reconciliation to a soak of an hour.
const BUCKETS: [f64; 12] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0];

/// The phases by namespace and name. A gauge of the recorder could not be removed with its resource.
static PHASES: Mutex<BTreeMap<(String, String), String>> = Mutex::new(BTreeMap::new());

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// The recorder cannot be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The process has one already.
    #[error("the process has a recorder already")]
    Second,
}

/// The page that Prometheus reads.
#[derive(Clone, Debug)]
pub struct Page(PrometheusHandle);

impl Page {
    /// Installs the recorder of the process. Fails on a second call.
    pub fn install() -> Result<Self, NotRecorded> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(ByNamespace(recorder)).map_err(|_| NotRecorded::Second)?;
        cutover_engine::metrics::describe();
        metrics::describe_gauge!("cutover_operator_leader", "1 while this operator drives");
        metrics::describe_counter!("cutover_reconciliations_total", "Reconciliations, by result");
        metrics::describe_histogram!(
            "cutover_reconciliation_duration_seconds",
            metrics::Unit::Seconds,
            "Time that a reconciliation took"
        );
        leads(false);
        Ok(Self(handle))
    }

    /// The page in the text format.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        let mut page = self.0.render();
        phases(&mut page, &PHASES.lock());
        page
    }
}

/// Whether this operator drives.
pub fn leads(is_leader: bool) {
    gauge!("cutover_operator_leader").set(if is_leader { 1.0 } else { 0.0 });
}

/// The phase in the status of a resource. `None`: the resource is gone.
pub fn phase(namespace: &str, name: &str, phase: Option<&str>) {
    let key = (namespace.to_owned(), name.to_owned());
    match phase {
        Some(phase) => drop(PHASES.lock().insert(key, phase.to_owned())),
        None => drop(PHASES.lock().remove(&key)),
    }
}

/// A reconciliation has ended.
pub fn reconciled(is_ok: bool, took: Duration) {
    counter!("cutover_reconciliations_total", "result" => if is_ok { "ok" } else { "failed" }).increment(1);
    histogram!("cutover_reconciliation_duration_seconds").record(took.as_secs_f64());
}

/// Writes the phases. Names of the API and of phases need no escaping.
fn phases(page: &mut String, phases: &BTreeMap<(String, String), String>) {
    page.push_str("# HELP cutover_bluegreen_phase 1 for the phase in the status of a BlueGreen\n");
    page.push_str("# TYPE cutover_bluegreen_phase gauge\n");
    for ((namespace, name), phase) in phases {
        let labels = format!("namespace=\"{namespace}\",name=\"{name}\",phase=\"{phase}\"");
        // Writing to a string cannot fail.
        let _ = writeln!(page, "cutover_bluegreen_phase{{{labels}}} 1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_has_one_phase() {
        let key = |name: &str| ("web".to_owned(), name.to_owned());
        let known = [(key("shop"), "Soaking".to_owned()), (key("api"), "Ready".to_owned())].into();
        let mut page = String::new();
        phases(&mut page, &known);
        let series: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            series,
            [
                "cutover_bluegreen_phase{namespace=\"web\",name=\"api\",phase=\"Ready\"} 1",
                "cutover_bluegreen_phase{namespace=\"web\",name=\"shop\",phase=\"Soaking\"} 1",
            ]
        );
    }
}
