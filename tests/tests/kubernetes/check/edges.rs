//! Findings about what carries the route.

use cutover_tests::kubernetes::operator::{apply_slots, install};
use cutover_tests::kubernetes::{Cluster, Namespace, fetched};
use serde_json::{Value, json};

use super::slots::shop;
use super::{check, heals};

async fn shop_in(namespace: &Namespace<'_>) {
    install(namespace).await.unwrap();
    apply_slots(namespace, "shop:1", 0).await.unwrap();
}

fn ingress(name: &str, service: &str, annotations: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "ingressClassName": "nginx", "rules": [{ "host": "shop.test", "http": { "paths": [{
            "path": "/", "pathType": "Prefix", "backend": { "service": { "name": service, "port": { "name": "http" } } },
        }] } }] },
    })
}

#[test]
fn each_finding_about_a_canary_goes_with_what_it_proposes() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        shop_in(&namespace).await;
        let edge = |name: &str| json!({ "edge": { "ingressCanary": { "ingress": name } } });
        let field = ("BlueGreen", "shop", "spec.edge.ingressCanary.ingress");
        // There is no Ingress at all: one is proposed.
        heals(&namespace, &shop(&edge("shop")), field, "it has: none").await;
        // There is one: its name is proposed.
        let file = heals(&namespace, &shop(&edge("web")), field, "it has: shop").await;
        assert_eq!(file["spec"]["edge"], edge("shop")["edge"]);

        let apply = async |ingress: Value| namespace.kubectl().apply(&ingress.to_string()).await.unwrap();
        let key = "nginx.ingress.kubernetes.io/canary";
        apply(ingress("shop", "shop", json!({}))).await;
        apply(ingress("theirs", "shop-green", json!({ key: "true" }))).await;
        heals(&namespace, &file, ("Ingress", "theirs", ""), "a canary of somebody else").await;
        apply(ingress("shop", "shop", json!({ "nginx.ingress.kubernetes.io/affinity": "cookie" }))).await;
        let affinity = "metadata.annotations.nginx.ingress.kubernetes.io/affinity";
        heals(&namespace, &file, ("Ingress", "shop", affinity), "after a rollback").await;
        apply(ingress("shop", "api", json!({}))).await;
        heals(
            &namespace,
            &file,
            ("Ingress", "shop", "spec.rules"),
            "it has no backend with Service \"shop\"",
        )
        .await;
    });
}

#[test]
fn each_finding_about_a_route_goes_with_what_it_proposes() {
    // Other tests have classes and Gateways.
    Cluster::alone(async |cluster| {
        cluster.kubectl().apply_folder(&fetched("gateway-api", "")).await.unwrap();
        let namespace = cluster.namespace().await.unwrap();
        shop_in(&namespace).await;
        let file = shop(&json!({ "edge": { "gateway": { "route": "shop" } } }));
        heals(&namespace, &file, ("HTTPRoute", "shop", ""), "it does not exist").await;
        let rules = ("HTTPRoute", "shop", "spec.rules");
        let set = async |backends: Value| {
            let patch = json!({ "spec": { "rules": [{ "backendRefs": backends }] } }).to_string();
            namespace
                .kubectl()
                .run(&["patch", "httproute", "shop", "--type=merge", "-p", &patch])
                .await
                .unwrap();
        };
        set(json!([{ "name": "shop", "port": 80 }])).await;
        heals(&namespace, &file, rules, "none of its backendRefs names Service").await;
        set(json!([{ "name": "shop-green", "port": 80, "weight": 5 }])).await;
        heals(&namespace, &file, rules, "must name the Service of each slot once").await;
        let route = namespace.kubectl().get(&["httproute", "shop"]).await.unwrap();
        let weights: Vec<&Value> = ["0", "1"]
            .iter()
            .map(|at| route.pointer(&format!("/spec/rules/0/backendRefs/{at}/weight")).unwrap())
            .collect();
        assert_eq!(weights, [0, 5]);
        let slot =
            |slot: &str, weight: u8| json!({ "name": format!("shop-{slot}"), "port": 80, "weight": weight });
        set(json!([slot("blue", 0), slot("green", 0)])).await;
        heals(&namespace, &file, rules, "both slots have weight 0").await;
        set(json!([slot("blue", 1), slot("green", 0), { "name": "shop", "port": 80, "weight": 1 }])).await;
        let field = "spec.rules[0].backendRefs";
        heals(&namespace, &file, ("HTTPRoute", "shop", field), "beside the slots it names shop").await;

        // No controller runs here: that is a finding, too.
        let found = check(&namespace, &file, &[]).await;
        let accepted = found.at(("HTTPRoute", "shop", "status.parents")).unwrap();
        assert!(
            accepted["text"].as_str().unwrap().contains("Gateway \"web\" has not accepted it"),
            "{accepted}"
        );
        // Nor is there a Gateway, or a class that it could be of.
        let (missing, class) = (("Gateway", "web", ""), ("Gateway", "web", "spec.gatewayClassName"));
        let says = found.at(missing).unwrap()["text"].as_str().unwrap();
        assert!(says.contains("install an implementation of the Gateway API first"), "{says}");
        let kubectl = namespace.kubectl();
        kubectl.apply(&gateway_class("some").to_string()).await.unwrap();
        heals(&namespace, &file, missing, "names it").await;
        let other = r#"{"spec":{"gatewayClassName":"other"}}"#;
        kubectl.run(&["patch", "gateway", "web", "--type=merge", "-p", other]).await.unwrap();
        heals(&namespace, &file, class, "name one that is installed").await;
        // Another Gateway is there: its name is proposed.
        let name = r#"{"spec":{"parentRefs":[{"name":"wbe"}]}}"#;
        kubectl.run(&["patch", "httproute", "shop", "--type=merge", "-p", name]).await.unwrap();
        let named = format!("name one that is there: {}/web", namespace.name());
        heals(&namespace, &file, ("Gateway", "wbe", ""), &named).await;
        kubectl.run(&["delete", "gatewayclass", "some"]).await.unwrap();
        let found = check(&namespace, &file, &[]).await;
        let says = found.at(class).unwrap()["text"].as_str().unwrap();
        assert!(says.contains("install an implementation of the Gateway API first"), "{says}");
    });
}

/// A class that no controller serves.
fn gateway_class(name: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": name },
        "spec": { "controllerName": "nobody.test/controller" },
    })
}

#[test]
fn each_finding_about_a_rollout_goes_with_what_it_proposes() {
    Cluster::shared(async |cluster| {
        cluster.kubectl().apply_folder(&fetched("argo-rollouts", "crds")).await.unwrap();
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        super::with_operator(&namespace, &["edges.argoRollouts=true"]).await;
        let edge = json!({ "argoRollouts": { "rollout": "shop" } });
        let file = shop(&json!({ "edge": edge, "slots": { "blue": {}, "green": {} } }));
        heals(&namespace, &file, ("Rollout", "shop", ""), "it does not exist").await;
        for service in ["shop", "shop-preview"] {
            heals(&namespace, &file, ("Service", service, ""), "it does not exist").await;
        }
        let field = |key: &str| format!("spec.strategy.blueGreen.{key}");
        for (key, value, says) in [
            ("activeService", json!("other"), "they must be the same"),
            ("previewService", Value::Null, "it has no previewService"),
            ("autoPromotionEnabled", json!(true), "it promotes a new version by itself"),
        ] {
            let patch = json!({ "spec": { "strategy": { "blueGreen": { key: value } } } }).to_string();
            namespace
                .kubectl()
                .run(&["patch", "rollout", "shop", "--type=merge", "-p", &patch])
                .await
                .unwrap();
            heals(&namespace, &file, ("Rollout", "shop", &field(key)), says).await;
        }
        let patch = json!({ "spec": { "strategy": { "blueGreen": null, "canary": {} } } }).to_string();
        namespace.kubectl().run(&["patch", "rollout", "shop", "--type=merge", "-p", &patch]).await.unwrap();
        heals(&namespace, &file, ("Rollout", "shop", "spec.strategy"), "no spec.strategy.blueGreen").await;
        let found = check(&namespace, &file, &[]).await;
        assert_eq!(found.code, 0, "{found:#?}");
    });
}
