//! Findings about the slots, the policy and the Service that users reach.

use cutover_tests::kubernetes::operator::{self, apply_slots, install};
use cutover_tests::kubernetes::{Cluster, NODE, Namespace};
use serde_json::{Value, json};

use super::{check, heals};

/// The file of a BlueGreen over the slots of `apply_slots`, with keys of the spec beside the usual ones.
pub(super) fn shop(more: &Value) -> Value {
    operator::shop("2", more)
}

/// Does something to the cluster.
async fn patched(namespace: &Namespace<'_>, object: &[&str], patch: &Value) {
    let patch = patch.to_string();
    let words = [&["patch"], object, &["--type", "strategic", "-p", &patch]].concat();
    namespace.kubectl().run(&words).await.unwrap();
}

async fn gone(namespace: &Namespace<'_>, object: &[&str]) {
    namespace.kubectl().run(&[&["delete"], object].concat()).await.unwrap();
}

#[test]
fn each_finding_about_a_slot_goes_with_what_it_proposes() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        let file = shop(&json!({}));

        gone(&namespace, &["deployment", "shop-green"]).await;
        heals(&namespace, &file, ("Deployment", "shop-green", ""), "it does not exist").await;
        for service in ["shop", "shop-green"] {
            gone(&namespace, &["service", service]).await;
            heals(&namespace, &file, ("Service", service, ""), "it does not exist").await;
        }
        let of_green = ["service", "shop-green"];
        let selector = ("Service", "shop-green", "spec.selector");
        patched(&namespace, &of_green, &json!({ "spec": { "selector": { "slot": "yellow", "x": "y" } } }))
            .await;
        heals(&namespace, &file, selector, "it does not select the Pods of Deployment shop-green").await;
        patched(&namespace, &of_green, &json!({ "spec": { "selector": { "slot": null } } })).await;
        heals(&namespace, &file, selector, "both versions would answer as slot green").await;
        patched(&namespace, &["service", "shop"], &json!({ "spec": { "selector": { "slot": "x" } } })).await;
        heals(&namespace, &file, ("Service", "shop", "spec.selector"), "that of no slot's Service").await;
        let service = namespace.kubectl().get(&["service", "shop"]).await.unwrap();
        assert_eq!(service["spec"]["selector"], json!({ "app": "shop", "slot": "blue" }));

        patched(
            &namespace,
            &of_green,
            &json!({ "spec": { "ports": [{ "port": 80, "targetPort": "web" }] } }),
        )
        .await;
        let port = ("Service", "shop-green", "spec.ports.targetPort");
        heals(&namespace, &file, port, "no container of Deployment shop-green has a port of this name").await;
        let probe = ("Deployment", "shop-green", "spec.template.spec.containers");
        heals(&namespace, &file, probe, "no container has a readinessProbe").await;
        patched(&namespace, &["service", "shop"], &json!({ "spec": { "sessionAffinity": "ClientIP" } }))
            .await;
        heals(&namespace, &file, ("Service", "shop", "spec.sessionAffinity"), "each switch").await;
    });
}

#[test]
fn slots_whose_pods_are_alike_are_told_apart_by_what_it_proposes() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        gone(&namespace, &["deployment", "shop-green"]).await;
        let labels = json!({ "app": "shop", "slot": "blue" });
        let alike = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "shop-green" },
            "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": {
                "metadata": { "labels": labels },
                "spec": { "nodeName": NODE, "containers": [
                    { "name": "shop", "image": "shop:1", "ports": [{ "name": "http", "containerPort": 8080 }] },
                ] },
            } },
        });
        namespace.kubectl().apply(&alike.to_string()).await.unwrap();
        super::with_operator(&namespace, &[]).await;
        let place = ("Deployment", "shop-green", "spec.selector.matchLabels");
        let file =
            heals(&namespace, &shop(&json!({})), place, "cannot be told from those of Deployment shop-blue")
                .await;
        assert_eq!(check(&namespace, &file, &[]).await.code, 0);
    });
}

#[test]
fn each_finding_about_the_spec_goes_with_what_it_proposes() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        apply_slots(&namespace, "shop:1", 0).await.unwrap();
        for (more, field, says) in [
            (json!({ "port": "web" }), "spec.port", "Service shop-blue has no such port"),
            (json!({ "template": { "container": "web" } }), "spec.template.container", "it has: shop"),
            (json!({ "polcy": {} }), "spec.polcy", "there is no such field"),
            (
                json!({ "policy": { "steps": ["10% 5m", "100%"] } }),
                "spec.policy.steps",
                "moves all traffic at once",
            ),
            (
                json!({ "policy": { "provision": {} } }),
                "spec.policy.provision",
                "use spec.template and spec.slots",
            ),
            (json!({ "policy": { "soak": { "duration": "soon" } } }), "spec.policy.soak", "soon"),
            (json!({ "policy": {} }), "spec.policy", "watched by probes only"),
            (
                json!({ "promotion": "Manual", "policy": { "steps": ["10% 5m", "100%"] } }),
                "spec.promotion",
                "Manual has no effect beside",
            ),
        ] {
            heals(&namespace, &shop(&more), ("BlueGreen", "shop", field), says).await;
        }
        // What only a person can choose: the command shows what may stand there.
        for (more, field, says) in [
            (json!({ "version": "" }), "spec.version", "should be at least 1 chars"),
            (json!({ "provisionDeadline": "soon" }), "spec.provisionDeadline", "should match"),
            (json!({ "edge": {} }), "spec.edge", "at least 1 properties"),
        ] {
            let found = check(&namespace, &shop(&more), &[]).await;
            let finding = found.at(("BlueGreen", "shop", field)).unwrap_or_else(|| panic!("{found:#?}"));
            assert!(finding["text"].as_str().unwrap().contains(says), "{says}: {finding}");
            let shown = super::type_command(&namespace, finding["fix"]["type"].as_str().unwrap()).await;
            assert!(shown.contains("FIELD"), "{shown}");
        }
        let two = json!({ "spec": { "ports": [
            { "name": "http", "port": 80, "targetPort": "http" },
            { "name": "more", "port": 81, "targetPort": 8081 },
        ] } });
        patched(&namespace, &["service", "shop-blue"], &two).await;
        let place = ("BlueGreen", "shop", "spec.port");
        heals(&namespace, &shop(&json!({})), place, "Service shop-blue has 2 ports, so say which one").await;
    });
}

#[test]
fn what_two_have_in_common_is_found_in_the_cluster_and_in_the_files() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        apply_slots(&namespace, "shop:1", 0).await.unwrap();
        let mut other = shop(&json!({}));
        other["metadata"]["name"] = json!("other");
        namespace.kubectl().apply(&other.to_string()).await.unwrap();
        let file = shop(&json!({}));
        let says = "Service \"shop\" belongs to BlueGreen \"other\" already";
        heals(&namespace, &file, ("BlueGreen", "shop", "spec"), says).await;
        let both = json!({ "apiVersion": "v1", "kind": "List", "items": [file, other] });
        let found = check(&namespace, &both, &[]).await;
        assert!(found.at(("BlueGreen", "shop", "spec")).is_some(), "{found:?}");
    });
}

#[test]
fn an_autoscaler_of_one_slot_only_is_found() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        apply_slots(&namespace, "shop:1", 0).await.unwrap();
        let words = ["autoscale", "deployment", "shop-blue", "--min=2", "--max=5"];
        namespace.kubectl().run(&words).await.unwrap();
        let place = ("Deployment", "shop-green", "");
        heals(&namespace, &shop(&json!({})), place, "Deployment shop-blue has shop-blue").await;
    });
}

#[test]
fn a_selector_that_somebody_else_has_changed_is_found_with_his_name() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        apply_slots(&namespace, "shop:1", 0).await.unwrap();
        let stamp = json!({ "generation": 1, "route": "green", "at": 0 }).to_string();
        let annotation = format!("cutover.dev/route={stamp}");
        namespace.kubectl().run(&["annotate", "service", "shop", &annotation]).await.unwrap();
        let says = "somebody else has changed the selector since: kubectl";
        heals(&namespace, &shop(&json!({})), ("Service", "shop", "spec.selector"), says).await;
    });
}
