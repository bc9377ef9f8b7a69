//! What is refused: by the API server, or by the operator in a condition.

use cutover_tests::kubernetes::Cluster;
use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, apply_slots, install, shop, text, until_status,
};
use serde_json::{Value, json};

use super::{events, live};

#[test]
fn each_rule_of_the_definition_says_what_would_be_right() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        let slot = |name: &str| json!({ "deployment": name, "service": name });
        let rollout = || json!({ "argoRollouts": { "rollout": "shop" } });
        for (key, value) in [
            ("migrations", json!({ "migrate": { "command": ["/x"] } })),
            ("hooks", json!({ "diagnose": { "command": ["/x"] } })),
            ("replicas", json!(3)),
            ("warmReplicas", json!(1)),
        ] {
            let more = json!({ "edge": rollout(), "slots": { "blue": {}, "green": {} }, key: value });
            let applied = apply_shop(&namespace, "1", &more).await;
            let why = applied.expect_err(&format!("{more} is accepted")).to_string();
            let said = "with spec.edge.argoRollouts there are no spec.migrations";
            assert!(why.contains(said) && why.contains(&format!("spec.{key}")), "{more}: {why}");
        }
        for (more, said) in [
            (json!({ "slots": { "blue": slot("a") } }), "spec.slots"),
            (json!({ "slots": { "a": slot("a"), "b": slot("b"), "c": slot("c") } }), "spec.slots"),
            (
                json!({ "slots": { "a": { "deployment": "a", "service": "x" }, "b": { "deployment": "b", "service": "x" } } }),
                "spec.slots: each slot needs a Service of its own",
            ),
            (
                json!({ "slots": { "a": { "deployment": "x", "service": "a" }, "b": { "deployment": "x", "service": "b" } } }),
                "spec.slots: each slot needs a Deployment of its own",
            ),
            (
                json!({ "slots": { "a": { "deployment": "a", "service": "shop" }, "b": slot("b") } }),
                "spec.slots: spec.service is the Service that users reach; a slot needs another one",
            ),
            (
                json!({ "slots": { "a": { "deployment": "a" }, "b": slot("b") } }),
                "spec.slots: each slot needs a deployment and a service; with spec.edge.argoRollouts neither",
            ),
            (
                json!({ "slots": { "a": slot("a"), "b": { "service": "b" } } }),
                "spec.slots: each slot needs a deployment and a service",
            ),
            (
                json!({ "edge": rollout(), "slots": { "blue": slot("a"), "green": {} } }),
                "spec.slots: each slot needs a deployment and a service; with spec.edge.argoRollouts neither",
            ),
            (json!({ "edge": {} }), "spec.edge"),
            (json!({ "edge": { "service": {}, "gateway": { "route": "r" } } }), "spec.edge"),
            (json!({ "edge": { "carrierPigeon": {} } }), "carrierPigeon"),
            (json!({ "version": "" }), "spec.version"),
            (json!({ "replicas": 0 }), "spec.replicas"),
            (json!({ "provisionDeadline": "soon" }), "spec.provisionDeadline"),
            (json!({ "promotion": "Perhaps" }), "Manual"),
            (
                json!({ "promotion": "Manual", "policy": { "steps": ["1% 5m", "100%"] } }),
                "write a step \"0.01% manual\" first",
            ),
            (
                json!({ "policy": { "trial": { "lease": "off" } } }),
                "spec.policy.trial: only nginx with the module",
            ),
            (json!({ "hooks": { "switched": { "command": [] } } }), "spec.hooks.switched.command"),
            (
                json!({ "hooks": { "diagnose": { "command": ["/x"], "deadline": "soon" } } }),
                "spec.hooks.diagnose.deadline",
            ),
        ] {
            let applied = apply_shop(&namespace, "1", &more).await;
            let why = applied.expect_err(&format!("{more} is accepted")).to_string();
            assert!(why.contains(said), "{more}: {why}");
        }
        apply_shop(&namespace, "1", &json!({})).await.unwrap();
        for (changed, said) in [
            (json!({ "service": "other" }), "spec.service cannot be changed"),
            (
                json!({ "slots": { "blue": slot("shop-blue"), "red": slot("shop-red") } }),
                "spec.slots cannot be changed",
            ),
        ] {
            let why = apply_shop(&namespace, "1", &changed).await.unwrap_err().to_string();
            assert!(why.contains(said), "{changed}: {why}");
        }
    });
}

#[test]
fn a_policy_that_cannot_be_is_refused_by_key_and_value() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        let _operator = Operator::start(&namespace).await.unwrap();
        for (policy, said) in [
            (json!({ "soak": { "durations": "1m" } }), "unknown field `durations`"),
            (
                json!({ "provision": { "command": ["/bin/true"] } }),
                "spec.policy.provision: this key is for hosts",
            ),
            (
                json!({ "steps": ["10% 5m", "100%"] }),
                "spec.policy.steps: this edge moves all traffic at once",
            ),
        ] {
            apply_shop(&namespace, "2", &json!({ "policy": policy })).await.unwrap();
            let message = |status: &serde_json::Value| {
                let conditions =
                    status.pointer("/conditions").and_then(|all| all.as_array()).cloned().unwrap_or_default();
                let ready = conditions.into_iter().find(|one| text(one, "/type") == "Ready");
                ready.map(|one| text(&one, "/message").to_owned()).unwrap_or_default()
            };
            until_status(&namespace, said, |status| message(status).contains(said)).await.unwrap();
        }
        // The operator runs no programs, and the definition knows it.
        let program = json!({ "policy": { "smoke": [{ "name": "x", "command": ["/bin/true"] }] } });
        let refused = apply_shop(&namespace, "2", &program).await.unwrap_err().to_string();
        let said = "spec.policy.smoke[0]: Invalid value: a smoke test needs a path, as in path: /, or a kind: tcp or grpc";
        assert!(refused.contains(said), "{refused}");
    });
}

/// The edge `service` has no shares. That stays until somebody changes the spec, and costs no further write.
#[test]
fn what_the_edge_cannot_do_is_said_once_and_stays() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let (_kubelet, _operator) = live(&namespace, &json!({})).await;
        apply_shop(&namespace, "2", &json!({ "policy": { "steps": ["10% 1s", "100%"] } })).await.unwrap();
        let is_unable = |status: &Value| {
            let all = status.get("conditions").and_then(Value::as_array).into_iter().flatten();
            all.into_iter().any(|one| text(one, "/type") == "Ready" && text(one, "/reason") == "Unable")
        };
        let status = until_status(&namespace, "the refusal", is_unable).await.unwrap();
        assert!(
            text(&status, "/message").contains("spec.policy.steps: this edge moves all traffic at once"),
            "{status}"
        );
        let version = async || {
            let shop = namespace.kubectl().get(&["bluegreen", "shop"]).await.unwrap();
            text(&shop, "/metadata/resourceVersion").to_owned()
        };
        // What else has changed in the status is written by now.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let before = version().await;
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        assert_eq!(version().await, before);
        assert_eq!(events(&namespace, "Unable").await.split("\n---\n").count(), 1);
    });
}

#[test]
fn two_resources_on_one_service_are_refused_by_name() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        let _operator = Operator::start(&namespace).await.unwrap();
        apply_shop(&namespace, "1", &json!({})).await.unwrap();
        until_status(&namespace, "version 1", |status| text(status, "/version") == "1").await.unwrap();
        // Creation times have whole seconds.
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        let mut second = shop("1", &json!({}));
        second["metadata"]["name"] = json!("second");
        namespace.kubectl().apply(&second.to_string()).await.unwrap();
        let limit = std::time::Duration::from_secs(60);
        let refused = async || {
            let status = namespace.kubectl().get(&["bluegreen", "second"]).await.unwrap();
            status.to_string().contains("Service \\\"shop\\\" belongs to BlueGreen \\\"shop\\\" already")
        };
        cutover_tests::wait::until_async(limit, "the second one to be refused", refused).await.unwrap();
    });
}
