//! What the operator answers the kubelet and Prometheus.

use std::net::SocketAddr;

use cutover_tests::client;
use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, apply_slots, install, text, until_ended, until_status,
};
use cutover_tests::kubernetes::{Cluster, Kubelet};
use cutover_tests::wait::until_async;
use serde_json::json;

/// Several operators share the network of a cluster.
fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn get(at: SocketAddr, path: &str) -> (u16, String) {
    match client::get(at, path).await {
        Ok(answer) => (answer.status, String::from_utf8_lossy(&answer.body).into_owned()),
        Err(error) => (0, error.to_string()),
    }
}

async fn until_answered(at: SocketAddr, path: &str, status: u16) {
    let limit = std::time::Duration::from_secs(30);
    until_async(limit, &format!("{path} with {status}"), async || get(at, path).await.0 == status)
        .await
        .unwrap();
}

#[test]
fn the_phase_of_each_resource_is_a_metric_and_goes_with_it() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        let _kubelet = Kubelet::start(&namespace);
        install(&namespace).await.unwrap();
        let at = address(18_190);
        let kubeconfig = namespace.kubectl().kubeconfig();
        let _operator =
            Operator::start_with(&namespace, "operator-0", kubeconfig, &["--listen", &at.to_string()])
                .unwrap();
        until_answered(at, "/readyz", 200).await;
        assert_eq!(get(at, "/healthz").await.0, 200);

        let policy = json!({ "policy": {
            "probe": { "interval": "200ms" },
            "soak": { "duration": "3s", "interval": "200ms" },
            "warm": "0s",
        } });
        apply_shop(&namespace, "1", &policy).await.unwrap();
        until_status(&namespace, "version 1", |status| text(status, "/version") == "1").await.unwrap();
        apply_shop(&namespace, "2", &policy).await.unwrap();
        let series = |phase: &str| {
            format!(
                "cutover_bluegreen_phase{{namespace=\"{}\",name=\"shop\",phase=\"{phase}\"}} 1",
                namespace.name()
            )
        };
        let limit = std::time::Duration::from_secs(60);
        let soaks = async || get(at, "/metrics").await.1.contains(&series("Soaking"));
        until_async(limit, "the phase of the soak", soaks).await.unwrap();
        until_ended(&namespace, "2", "completed").await.unwrap();
        let page = get(at, "/metrics").await.1;
        let ended = format!(
            "cutover_deployments_total{{group=\"shop\",outcome=\"completed\",namespace=\"{}\"}} 1",
            namespace.name()
        );
        for line in [
            "cutover_operator_leader 1",
            &ended,
            "# TYPE cutover_reconciliation_duration_seconds histogram",
            "cutover_reconciliations_total{result=\"ok\"}",
        ] {
            assert!(page.lines().any(|one| one.starts_with(line)), "no line {line}:\n{page}");
        }
        assert!(!page.contains("phase=\"Soaking\"} 1\ncutover_bluegreen"), "two phases at once:\n{page}");
        namespace.kubectl().run(&["delete", "bluegreen", "shop", "--timeout=60s"]).await.unwrap();
        let gone = async || !get(at, "/metrics").await.1.contains("name=\"shop\"");
        until_async(limit, "the series of the deleted resource to go", gone).await.unwrap();
    });
}

#[test]
fn an_operator_is_alive_but_not_ready_without_the_api_server() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let at = address(18_191);
        let kubeconfig = namespace.kubectl().kubeconfig();
        let _operator =
            Operator::start_with(&namespace, "operator-0", kubeconfig, &["--listen", &at.to_string()])
                .unwrap();
        until_answered(at, "/readyz", 503).await;
        let (_, why) = get(at, "/readyz").await;
        assert!(why.starts_with("BlueGreens cannot be listed: the API server refuses"), "{why}");
        install(&namespace).await.unwrap();
        until_answered(at, "/readyz", 200).await;
        cluster.stop_api_server();
        until_answered(at, "/readyz", 503).await;
        assert_eq!(get(at, "/healthz").await.0, 200);
        cluster.start_api_server().await.unwrap();
        until_answered(at, "/readyz", 200).await;
    });
}
