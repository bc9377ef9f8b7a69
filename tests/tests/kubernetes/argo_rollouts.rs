//! The real controller of Argo Rollouts: our verdict as its metric, and a Rollout that the operator drives.

pub(crate) mod driven;

use cutover_tests::kubernetes::operator::{apply_shop, text, until_ended, until_soaking, until_status};
use cutover_tests::kubernetes::{self, ArgoRollouts, Cluster, Namespace};
use serde_json::{Value, json};

use crate::verdicts::{answering, block, spec};

/// Starts an analysis with the metrics of a template.
async fn analyse(namespace: &Namespace<'_>, name: &str, at: std::net::SocketAddr, version: &str) {
    let template = namespace.kubectl().get(&["analysistemplate", "cutover-verdict"]).await.unwrap();
    let mut metrics = template["spec"]["metrics"].clone();
    metrics[0]["interval"] = json!("1s");
    let arguments = [
        ("operator", at.to_string()),
        ("namespace", namespace.name().to_owned()),
        ("bluegreen", "shop".to_owned()),
        ("version", version.to_owned()),
    ];
    let arguments = arguments.map(|(name, value)| json!({ "name": name, "value": value }));
    let run = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisRun",
        "metadata": { "name": name },
        "spec": { "args": arguments, "metrics": metrics },
    });
    namespace.kubectl().apply(&run.to_string()).await.unwrap();
}

async fn phase(namespace: &Namespace<'_>, name: &str) -> (String, Value) {
    let run = namespace.kubectl().get(&["analysisrun", name]).await.unwrap();
    (text(&run, "/status/phase").to_owned(), run)
}

async fn until_phase(namespace: &Namespace<'_>, name: &str, wanted: &str) -> Value {
    let mut last = Value::Null;
    let what = format!("analysis {name} to be {wanted}");
    let waited = kubernetes::until(&what, async || {
        let (phase, run) = phase(namespace, name).await;
        last = run;
        phase == wanted
    });
    waited.await.unwrap_or_else(|error| panic!("{error:#}: {last}"));
    last
}

#[test]
fn the_template_of_the_docs_waits_for_the_verdict_and_follows_it() {
    Cluster::shared(async |cluster| {
        let argo = ArgoRollouts::start(cluster).await.unwrap();
        let namespace = cluster.namespace().await.unwrap();
        let (_kubelet, _operator, at) = answering(&namespace).await;
        namespace.kubectl().apply(&block("argo-rollouts.md", "yaml")).await.unwrap();

        // It is there before the version, and goes on asking.
        let mut slow = spec();
        slow["policy"]["soak"] = json!({ "duration": "8s", "interval": "200ms" });
        analyse(&namespace, "good", at, "2").await;
        apply_shop(&namespace, "2", &slow).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        let inconclusive = async || {
            let (_, run) = phase(&namespace, "good").await;
            run.pointer("/status/metricResults/0/inconclusive").and_then(Value::as_u64) > Some(2)
        };
        kubernetes::until("measurements without a verdict", inconclusive).await.unwrap();
        assert_eq!(phase(&namespace, "good").await.0, "Running", "{}", argo.log());
        let run = until_phase(&namespace, "good", "Successful").await;
        until_status(&namespace, "the warm window", |status| text(status, "/phase") == "Warm").await.unwrap();
        assert_eq!(run.pointer("/status/metricResults/0/successful"), Some(&json!(1)), "{run}");

        analyse(&namespace, "bad", at, "3-broken").await;
        apply_shop(&namespace, "3-broken", &slow).await.unwrap();
        until_ended(&namespace, "3-broken", "failed").await.unwrap();
        until_phase(&namespace, "bad", "Failed").await;
    });
}
