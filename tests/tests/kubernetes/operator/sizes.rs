//! How many Pods a new version gets.

use cutover_tests::kubernetes::Cluster;
use cutover_tests::kubernetes::operator::{apply_shop, until_ended, until_soaking};
use serde_json::{Value, json};

use super::live;

/// An autoscaler. None of its controllers runs here: what is seen is what the operator reads.
fn autoscaler(name: &str, kind: &str, target: &str, least: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": name },
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": kind, "name": target },
            "minReplicas": least, "maxReplicas": 9,
        },
    })
}

#[test]
fn a_version_gets_as_many_pods_as_its_autoscaler_wants_at_least() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let (kubelet, _operator) = live(&namespace, &json!({})).await;
        let all = [
            autoscaler("green", "Deployment", "shop-green", 3),
            // Of others.
            autoscaler("blue", "Deployment", "shop-blue", 5),
            autoscaler("set", "StatefulSet", "shop-green", 7),
        ];
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": all });
        namespace.kubectl().apply(&list.to_string()).await.unwrap();
        apply_shop(&namespace, "2", &json!({})).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        assert_eq!(kubelet.tags(), [("1".to_owned(), 2), ("2".to_owned(), 3)].into());
        until_ended(&namespace, "2", "completed").await.unwrap();
        namespace.until_size("shop", 3).await.unwrap();
    });
}
