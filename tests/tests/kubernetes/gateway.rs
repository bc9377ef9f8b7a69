//! The edge `gateway` over Traefik: the weights of an HTTPRoute.

use std::time::Duration;

use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, apply_slots, text, until_ended, until_soaking, until_status,
};
use cutover_tests::kubernetes::timeline::Timeline;
use cutover_tests::kubernetes::{self, Cluster, Kubelet, Namespace, Shop, Traefik};
use serde_json::{Value, json};

use crate::edges::{self, Stamps, assert_all_answered, live, policy, print_last_given};

pub(crate) fn edge() -> Value {
    json!({ "gateway": { "route": "shop" } })
}

fn backend(slot: &str, weight: u32) -> Value {
    json!({ "name": format!("shop-{slot}"), "port": 80, "weight": weight })
}

/// A route with these rules.
pub(crate) fn route(rules: &Value) -> Value {
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
pub(crate) fn weighted(blue: u32, green: u32) -> Value {
    route(&json!([{ "backendRefs": [backend("blue", blue), backend("green", green)] }]))
}

/// The weights of the rules in which the slots are, by rule.
pub(crate) async fn weights(namespace: &Namespace<'_>) -> Vec<Vec<(String, u64)>> {
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

pub(crate) fn all_on_blue() -> Vec<Vec<(String, u64)>> {
    vec![vec![("shop-blue".to_owned(), 100), ("shop-green".to_owned(), 0)]]
}

pub(crate) async fn until_answered_by(traefik: &Traefik, slot: &str) {
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

pub(crate) async fn apply(namespace: &Namespace<'_>, route: &Value) {
    namespace.kubectl().apply(&route.to_string()).await.unwrap();
}

/// Slots, and a gateway that gives all to blue.
pub(crate) async fn served(namespace: &Namespace<'_>, route: &Value) -> Traefik {
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
        let longest = print_last_given("gateway", &moments, &stamps.seen(), [("blue", "1"), ("green", "2")]);
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
        let object = namespace.kubectl().get(&["httproute", "shop"]).await.unwrap();
        assert_eq!(edges::stamp(&object).unwrap().generation, 2, "a share, and back: it has never got more");
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
        until_soaking(&namespace).await.unwrap();
        let by_hand = r#"[{"op":"replace","path":"/spec/rules/0/backendRefs/0/weight","value":70},
                          {"op":"replace","path":"/spec/rules/0/backendRefs/1/weight","value":30}]"#;
        namespace
            .kubectl()
            .run(&["patch", "httproute", "shop", "--type=json", "--patch", by_hand])
            .await
            .unwrap();
        let status =
            until_status(&namespace, "the end", |status| status.get("deployment").is_none()).await.unwrap();
        assert!(text(&status, "/history/0/message").contains("somebody else moved the route"), "{status}");
        let by_hand = vec![vec![("shop-blue".to_owned(), 70), ("shop-green".to_owned(), 30)]];
        assert_eq!(weights(&namespace).await, by_hand);
        let green = namespace.kubectl().get(&["deployment", "shop-green"]).await.unwrap();
        assert_eq!(green["spec"]["replicas"], 2, "a slot with a share is not stopped");
    });
}

#[test]
fn a_rule_that_names_one_slot_is_refused_with_what_to_do() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let one = route(&json!([
            { "backendRefs": [backend("blue", 100), backend("green", 0)] },
            { "matches": [{ "path": { "type": "PathPrefix", "value": "/api" } }], "backendRefs": [backend("blue", 1)] },
        ]));
        let traefik = served(&namespace, &one).await;
        let spec = edges::spec(edge(), policy(&[]));
        let kubelet = Kubelet::start(&namespace);
        let _operator = Operator::start(&namespace).await.unwrap();
        apply_shop(&namespace, "1", &spec).await.unwrap();
        let said = "spec.rules[1] must name the Service of each slot once in its backendRefs, shop-blue and shop-green: add \
                    what is missing, with weight 0";
        until_status(&namespace, "the reason", |status| status.to_string().contains(said)).await.unwrap();

        // It does what the message says, and nothing else of the route changes.
        let matches = json!([{ "path": { "type": "PathPrefix", "value": "/api" } }]);
        let set = json!([{ "name": "x-rule", "value": "api" }]);
        let filters = json!([{ "type": "RequestHeaderModifier", "requestHeaderModifier": { "set": set } }]);
        let exact = json!([{ "path": { "type": "Exact", "value": "/other" } }]);
        let all = json!([
            { "backendRefs": [backend("blue", 100), backend("green", 0)] },
            { "matches": matches, "filters": filters, "backendRefs": [backend("blue", 1), backend("green", 0)] },
            { "matches": exact, "backendRefs": [{ "name": "shop", "port": 80, "weight": 3 }] },
        ]);
        apply(&namespace, &route(&all)).await;
        until_status(&namespace, "version 1", |status| text(status, "/version") == "1").await.unwrap();
        until_answered_by(&traefik, "1").await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        until_ended(&namespace, "2", "completed").await.unwrap();
        let rules = namespace.kubectl().get(&["httproute", "shop"]).await.unwrap()["spec"]["rules"].clone();
        assert_eq!((&rules[1]["matches"], &rules[1]["filters"]), (&matches, &filters));
        let green = all_on_green().remove(0);
        let other = vec![("shop".to_owned(), 3)];
        assert_eq!(weights(&namespace).await, [green.clone(), green, other]);
        assert_eq!(kubelet.tags().get("2"), Some(&2));
    });
}

#[test]
fn a_route_that_no_gateway_accepts_gives_nobody_traffic() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let mut unserved = weighted(100, 0);
        unserved["spec"]["parentRefs"] = json!([{ "name": "nobody" }]);
        let _traefik = served(&namespace, &unserved).await;
        let spec = edges::spec(edge(), policy(&[]));
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let status = until_ended(&namespace, "2", "failed").await.unwrap();
        let message = text(&status, "/history/0/message");
        assert!(
            message.contains("Gateway \"nobody\" has not accepted it: does the Gateway exist"),
            "{message}"
        );
        assert_eq!(weights(&namespace).await, all_on_blue());
    });
}

#[test]
fn a_gateway_that_is_away_gets_the_old_weights_back_and_is_waited_for() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let traefik = served(&namespace, &weighted(100, 0)).await;
        let mut spec = edges::spec(edge(), policy(&[]));
        spec["promotion"] = json!("Manual");
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        until_answered_by(&traefik, "1").await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        until_status(&namespace, "the pause", |status| text(status, "/message").contains("paused before"))
            .await
            .unwrap();
        drop(traefik);
        let promote = ["annotate", "bluegreen", "shop", "cutover.dev/promote=alice"];
        namespace.kubectl().run(&promote).await.unwrap();
        let going_back =
            until_status(&namespace, "the way back", |status| text(status, "/phase") == "RollingBack");
        let status = going_back.await.unwrap();
        assert!(
            text(&status, "/message").contains("its new weights are not accepted within 30s"),
            "{status}"
        );
        kubernetes::until("the old weights", async || weights(&namespace).await == all_on_blue())
            .await
            .unwrap();
        // Nobody knows what a gateway serves that does not say so: version 2 stays up until it does.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let green = namespace.kubectl().get(&["deployment", "shop-green"]).await.unwrap();
        assert_eq!(green["spec"]["replicas"], 2);
        let traefik = Traefik::start(&namespace).await.unwrap();
        until_ended(&namespace, "2", "rolled_back").await.unwrap();
        assert_eq!(weights(&namespace).await, all_on_blue());
        until_answered_by(&traefik, "1").await;
    });
}

/// Says in the name of a mesh that it has accepted the newest generation of the route.
async fn accept_as_mesh(namespace: &Namespace<'_>) -> anyhow::Result<()> {
    let route = namespace.kubectl().get(&["httproute", "shop"]).await?;
    let generation = &route["metadata"]["generation"];
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": kind, "message": "", "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let parent = json!({
        "parentRef": { "group": "", "kind": "Service", "name": "shop" },
        "controllerName": "mesh.test/controller",
        "conditions": [condition("Accepted"), condition("ResolvedRefs")],
    });
    let patch = json!({ "status": { "parents": [parent] } }).to_string();
    let words = ["patch", "httproute", "shop", "--subresource=status", "--type=merge", "--patch", &patch];
    namespace.kubectl().run(&words).await.map(drop)
}

#[test]
fn a_route_of_a_mesh_has_a_service_as_its_parent() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let _traefik = served(&namespace, &weighted(100, 0)).await;
        let mut of_mesh = weighted(100, 0);
        of_mesh["spec"]["parentRefs"] = json!([{ "group": "", "kind": "Service", "name": "shop" }]);
        of_mesh["spec"].as_object_mut().unwrap().remove("hostnames");
        namespace.kubectl().run(&["delete", "httproute", "shop"]).await.unwrap();
        apply(&namespace, &of_mesh).await;
        let spec = edges::spec(edge(), policy(&["10% 2s", "100%"]));
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let mesh = async {
            loop {
                let _ = accept_as_mesh(&namespace).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        tokio::select! {
            status = until_ended(&namespace, "2", "completed") => status.map(drop).unwrap(),
            () = mesh => {}
        }
        assert_eq!(weights(&namespace).await, all_on_green());
        // A mesh that does not answer is no other than a gateway that does not.
        apply_shop(&namespace, "3", &spec).await.unwrap();
        let status = until_status(&namespace, "the reason", |status| {
            status.to_string().contains("Service \\\"shop\\\" has not seen its generation")
        });
        status.await.unwrap();
    });
}
