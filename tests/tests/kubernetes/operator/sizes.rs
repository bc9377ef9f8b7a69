//! How many Pods a new version gets.

use cutover_tests::kubernetes::Cluster;
use cutover_tests::kubernetes::operator::{apply_shop, selected, text, until_ended, until_soaking};
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

#[test]
fn a_version_with_too_few_pods_gets_no_traffic_until_its_size_or_the_policy_is_another_one() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = |replicas: u32, capacity: &str| {
            json!({ "replicas": replicas, "policy": {
                "probe": { "interval": "200ms", "deadline": "4s" },
                "soak": { "duration": "1s", "interval": "200ms" },
                "drain": { "deadline": "1s" },
                "warm": "1s",
                "capacity": capacity,
            } })
        };
        let (_kubelet, _operator) = live(&namespace, &spec(2, "100%")).await;
        apply_shop(&namespace, "2", &spec(1, "100%")).await.unwrap();
        let status = until_ended(&namespace, "2", "failed").await.unwrap();
        let message = text(&status, "/history/0/message");
        assert!(
            message.contains("slot \"green\" has 1 healthy server, and slot \"blue\" has 2")
                && message.contains("start more Pods, or set a smaller spec.policy.capacity"),
            "{message}"
        );
        assert_eq!(selected(&namespace).await.unwrap(), "blue");

        // It does what the message says, the one and the other.
        apply_shop(&namespace, "3", &spec(1, "50%")).await.unwrap();
        until_ended(&namespace, "3", "completed").await.unwrap();
        apply_shop(&namespace, "4", &spec(2, "100%")).await.unwrap();
        until_ended(&namespace, "4", "completed").await.unwrap();
    });
}
