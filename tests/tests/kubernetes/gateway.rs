//! The edge `gateway` over Traefik: the weights of an HTTPRoute.

use std::time::Duration;

use cutover_tests::kubernetes::operator::{apply_shop, apply_slots, text, until_ended, until_status};
use cutover_tests::kubernetes::timeline::Timeline;
use cutover_tests::kubernetes::{self, Cluster, Namespace, Shop, Traefik};
use serde_json::{Value, json};

use crate::edges::{self, Stamps, assert_all_answered, live, policy, print_last_given};

fn edge() -> Value {
    json!({ "gateway": { "route": "shop" } })
}

fn backend(slot: &str, weight: u32) -> Value {
    json!({ "name": format!("shop-{slot}"), "port": 80, "weight": weight })
}

/// A route with these rules.
fn route(rules: &Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": "shop" },
        "spec": {
            "parentRefs": [{ "name": Traefik::GATEWAY }],
            "hostnames": [Shop::HOST],
            "rules": rules,
        },
    })
}

/// A route with these weights of the slots.
fn weighted(blue: u32, green: u32) -> Value {
    route(&json!([{ "backendRefs": [backend("blue", blue), backend("green", green)] }]))
}

/// The weights of the rules in which the slots are, by rule.
async fn weights(namespace: &Namespace<'_>) -> Vec<Vec<(String, u64)>> {
    let route = namespace.kubectl().get(&["httproute", "shop"]).await.unwrap();
    let rules = route["spec"]["rules"].as_array().unwrap().clone();
    let of_rule = |rule: &Value| {
        let backends = rule["backendRefs"].as_array().cloned().unwrap_or_default();
        let named = |one: &Value| (one["name"].as_str().unwrap().to_owned(), one["weight"].as_u64().unwrap());
        backends.iter().map(named).collect()
    };
    rules.iter().map(of_rule).collect()
}

fn all_on_green() -> Vec<Vec<(String, u64)>> {
    vec![vec![("shop-blue".to_owned(), 0), ("shop-green".to_owned(), 100)]]
}

fn all_on_blue() -> Vec<Vec<(String, u64)>> {
    vec![vec![("shop-blue".to_owned(), 100), ("shop-green".to_owned(), 0)]]
}

async fn until_answered_by(traefik: &Traefik, slot: &str) {
    kubernetes::until(&format!("ten answers of {slot} in a row"), async || {
        for _ in 0..10 {
            let answer = traefik.get(Shop::HOST, "/").await;
            if !answer.is_ok_and(|answer| answer.status_and_slot() == (200, slot)) {
                return false;
            }
        }
        true
    })
    .await
    .unwrap();
}

async fn apply(namespace: &Namespace<'_>, route: &Value) {
    namespace.kubectl().apply(&route.to_string()).await.unwrap();
}

/// Slots, and a gateway that gives all to blue.
async fn served(namespace: &Namespace<'_>, route: &Value) -> Traefik {
    apply_slots(namespace, "shop:1", 2).await.unwrap();
    let traefik = Traefik::start(namespace).await.unwrap();
    apply(namespace, route).await;
    traefik
}

#[test]
fn a_good_release_gets_its_shares_and_no_request_fails() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let traefik = served(&namespace, &weighted(100, 0)).await;
        // Most of the traffic before all of it: the slot with less of it is the one that has it at the end, too.
        let spec = edges::spec(edge(), policy(&["10% 2s", "60% 2s", "100%"]));
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        until_answered_by(&traefik, "1").await;
        let stamps = Stamps::watch(namespace.kubectl(), ["httproute", "shop"]);
        let (load, timeline) =
            (edges::load(traefik.address(), &["1", "2"]), Timeline::start(traefik.address(), Shop::HOST));
        load.answers(50).await.unwrap();
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!(text(&status, "/activeSlot"), "green");
        let (report, moments) = (load.stop().await, timeline.end());
        assert_all_answered(&report);
        assert_eq!(weights(&namespace).await, all_on_green());
        assert_eq!(stamps.routes(), ["blue, green 10 %", "blue, green 60 %", "green"]);
        let longest =
            print_last_given("gateway", &moments, &stamps.seen(), [("blue", "1"), ("green", "2")]);
        assert!(longest < Duration::from_secs(3), "{longest:?}");
    });
}

#[test]
fn a_bad_release_goes_back() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let traefik = served(&namespace, &weighted(100, 0)).await;
        let spec = edges::spec(edge(), policy(&["10% 60s", "100%"]));
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        until_answered_by(&traefik, "1").await;
        apply_shop(&namespace, "2-broken", &spec).await.unwrap();
        let status = until_ended(&namespace, "2-broken", "rolled_back").await.unwrap();
        assert!(text(&status, "/history/0/message").contains("500"), "{status}");
        assert_eq!(text(&status, "/activeSlot"), "blue");
        assert_eq!(weights(&namespace).await, all_on_blue());
        until_answered_by(&traefik, "1").await;
    });
}

#[test]
fn somebody_who_edits_the_weights_meanwhile_is_left_alone() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let _traefik = served(&namespace, &weighted(100, 0)).await;
        let spec = edges::spec(edge(), policy(&["10% 60s", "100%"]));
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        until_status(&namespace, "the soak", |status| text(status, "/phase") == "Soaking").await.unwrap();
        let by_hand = r#"[{"op":"replace","path":"/spec/rules/0/backendRefs/0/weight","value":70},
                          {"op":"replace","path":"/spec/rules/0/backendRefs/1/weight","value":30}]"#;
        namespace.kubectl().run(&["patch", "httproute", "shop", "--type=json", "--patch", by_hand]).await.unwrap();
        let status =
            until_status(&namespace, "the end", |status| status.get("deployment").is_none()).await.unwrap();
        assert!(text(&status, "/history/0/message").contains("somebody else moved the route"), "{status}");
        let by_hand = vec![vec![("shop-blue".to_owned(), 70), ("shop-green".to_owned(), 30)]];
        assert_eq!(weights(&namespace).await, by_hand);
        let green = namespace.kubectl().get(&["deployment", "shop-green"]).await.unwrap();
        assert_eq!(green["spec"]["replicas"], 2, "a slot with a share is not stopped");
    });
}
