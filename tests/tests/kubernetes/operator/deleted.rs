//! The resource is deleted in mid-deployment: its traffic is brought to a version that was found good, and then it goes.

use cutover_tests::kubernetes::operator::{apply_shop, apply_slots, selected};
use cutover_tests::kubernetes::{Cluster, Namespace, StatusWatch};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{edges, gateway, ingress_canary};

/// How many namespaces a small machine runs at once.
const AT_ONCE: usize = 4;

/// The version, the phase in which the resource is deleted, and the slot with the traffic afterwards.
const ROWS: [(&str, &str, &str); 9] = [
    ("2", "Provisioning", "blue"),
    ("2-sick", "Probing", "blue"),
    ("2-slow", "Smoking", "blue"),
    ("2-slow", "Switching", "blue"),
    ("2", "Soaking", "blue"),
    ("2-broken", "RollingBack", "blue"),
    // Its switch is made permanent, so it stays.
    ("2", "Draining", "green"),
    ("2", "Warm", "green"),
    ("2-sick", "TearingDown", "blue"),
];

fn policy(steps: &[&str]) -> Value {
    let mut policy = edges::policy(steps);
    policy["probe"]["deadline"] = json!("8s");
    policy["smoke"] = json!([{ "name": "ready", "path": "/health" }]);
    policy["warm"] = json!("60s");
    policy
}

/// Deploys a version, and deletes the resource in this phase. It is gone when this returns.
async fn delete(namespace: &Namespace<'_>, (version, phase): (&str, &str), spec: &Value) {
    let mut status = StatusWatch::begin(namespace.kubectl()).unwrap();
    apply_shop(namespace, version, spec).await.unwrap();
    loop {
        let seen = status.next().await.unwrap_or_else(|error| panic!("{phase} of {version}: {error:#}"));
        if seen.version == version && seen.phase == phase {
            break;
        }
    }
    let deleted = namespace.kubectl().run(&["delete", "bluegreen", "shop", "--timeout=90s"]).await;
    deleted.unwrap_or_else(|error| panic!("in {phase} of {version}: {error:#}"));
}

/// How many Pods of a slot are ready.
async fn ready(namespace: &Namespace<'_>, slot: &str) -> u64 {
    let deployment = namespace.kubectl().get(&["deployment", &format!("shop-{slot}")]).await.unwrap();
    deployment.pointer("/status/readyReplicas").and_then(Value::as_u64).unwrap_or_default()
}

#[test]
fn in_each_phase_the_traffic_ends_on_a_version_that_was_found_good() {
    Cluster::shared(async |cluster| {
        let rows = ROWS.into_iter().map(async |(version, phase, expected)| {
            let namespace = cluster.namespace().await.unwrap();
            apply_slots(&namespace, "shop:1", 1).await.unwrap();
            let spec = edges::spec(json!({ "service": {} }), policy(&[]));
            let (_kubelet, _operator) = edges::live(&namespace, &spec).await;
            delete(&namespace, (version, phase), &spec).await;
            assert_eq!(selected(&namespace).await.unwrap(), expected, "in {phase} of {version}");
            assert_eq!(ready(&namespace, expected).await, 1, "in {phase} of {version}");
        });
        stream::iter(rows).buffer_unordered(AT_ONCE).count().await;
    });
}

#[test]
fn in_a_step_the_share_is_taken_back_first() {
    Cluster::shared(async |cluster| {
        let canary = async {
            let namespace = cluster.namespace().await.unwrap();
            apply_slots(&namespace, "shop:1", 1).await.unwrap();
            ingress_canary::apply_users(&namespace).await;
            let spec = edges::spec(ingress_canary::edge(), policy(&["10% 60s", "100%"]));
            let (_kubelet, _operator) = edges::live(&namespace, &spec).await;
            delete(&namespace, ("2", "Soaking"), &spec).await;
            assert!(ingress_canary::canaries(&namespace).await.is_empty());
            assert_eq!(selected(&namespace).await.unwrap(), "blue");
        };
        let weights = async {
            let namespace = cluster.namespace().await.unwrap();
            let _traefik = gateway::served(&namespace, &gateway::weighted(100, 0)).await;
            let spec = edges::spec(gateway::edge(), policy(&["10% 60s", "100%"]));
            let (_kubelet, _operator) = edges::live(&namespace, &spec).await;
            delete(&namespace, ("2", "Soaking"), &spec).await;
            assert_eq!(gateway::weights(&namespace).await, gateway::all_on_blue());
        };
        tokio::join!(canary, weights);
    });
}
