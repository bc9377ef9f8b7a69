//! The definition is replaced while a deployment is under way, and no new one begins while a resource is suspended.

use cutover_tests::flavour::program;
use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, apply_slots, install, selected, text, until_ended, until_soaking, until_status,
};
use cutover_tests::kubernetes::{Cluster, Kubelet, documents};
use serde_json::{Value, json};

use super::live;

/// The definition without what is newer than the first one: the keys of the policy, and hooks.
fn older() -> String {
    let printed =
        std::process::Command::new(program("cutover-operator").unwrap()).arg("crd").output().unwrap();
    let mut definition = documents(&String::from_utf8(printed.stdout).unwrap()).unwrap().remove(0);
    let schema = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties").unwrap();
    let spec = schema.get_mut("spec").unwrap();
    spec["properties"]["policy"] = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    spec["properties"].as_object_mut().unwrap().remove("hooks").unwrap();
    let rules = spec["x-kubernetes-validations"].as_array_mut().unwrap();
    let before = rules.len();
    rules.retain(|rule| !text(rule, "/rule").contains("policy") && !text(rule, "/rule").contains("hooks"));
    assert!(!rules.is_empty() && rules.len() < before);
    schema["status"]["properties"].as_object_mut().unwrap().remove("told").unwrap();
    definition.to_string()
}

#[test]
fn an_older_definition_is_replaced_in_mid_deployment() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        cluster.kubectl().apply(&older()).await.unwrap();
        cluster.kubectl().until_established(&["crd/bluegreens.cutover.dev"]).await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        let _kubelet = Kubelet::start(&namespace);
        let _operator =
            Operator::start_as(&namespace, "operator-0", namespace.kubectl().kubeconfig()).unwrap();
        apply_shop(&namespace, "1", &json!({})).await.unwrap();
        until_status(&namespace, "version 1", |status| text(status, "/version") == "1").await.unwrap();
        let policy = json!({ "policy": {
            "probe": { "interval": "200ms", "deadline": "60s" },
            "soak": { "duration": "8s", "interval": "200ms" },
            "drain": { "deadline": "1s" },
            "warm": "1s",
        } });
        apply_shop(&namespace, "2", &policy).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        install(&namespace).await.unwrap();
        until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "green");

        let typo = json!({ "policy": { "soak": { "duration": "soon" } } });
        let refused = apply_shop(&namespace, "3", &typo).await.unwrap_err().to_string();
        assert!(refused.contains("spec.policy.soak.duration"), "{refused}");
        let mut hooked = policy.clone();
        hooked["hooks"] = json!({ "switched": { "command": ["/bin/says"] } });
        apply_shop(&namespace, "3", &hooked).await.unwrap();
        until_ended(&namespace, "3", "completed").await.unwrap();
        until_status(&namespace, "the hook to be told", |status| text(status, "/told/to") == "blue")
            .await
            .unwrap();
    });
}

#[test]
fn a_suspended_resource_begins_no_deployment_and_ends_the_one_under_way() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let suspended = |suspend: bool| {
            json!({ "suspend": suspend, "policy": {
                "probe": { "interval": "200ms", "deadline": "60s" },
                "soak": { "duration": "3s", "interval": "200ms" },
                "drain": { "deadline": "1s" },
                "warm": "1s",
            } })
        };
        let (kubelet, _operator) = live(&namespace, &suspended(true)).await;
        apply_shop(&namespace, "2", &suspended(true)).await.unwrap();
        let waits =
            |status: &Value| text(status, "/message").contains("version 2 waits: spec.suspend is true");
        let status = until_status(&namespace, "it to wait", waits).await.unwrap();
        assert!(status.get("deployment").is_none() && status.get("history").is_none(), "{status}");
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
        assert!(!kubelet.tags().contains_key("2"));

        apply_shop(&namespace, "2", &suspended(false)).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        apply_shop(&namespace, "2", &suspended(true)).await.unwrap();
        until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "green");
    });
}
