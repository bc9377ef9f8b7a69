//! The edge `ingressCanary` over the real controller of ingress-nginx.

use std::time::Duration;

use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, apply_slots, selected, text, until_ended, until_soaking, until_status,
};
use cutover_tests::kubernetes::timeline::Timeline;
use cutover_tests::kubernetes::{self, Cluster, IngressNginx, Kubelet, Namespace, Shop, Snippets};
use serde_json::{Value, json};

use crate::edges::{self, Stamps, assert_all_answered, live, policy, print_last_given};

pub(crate) fn edge() -> Value {
    json!({ "ingressCanary": { "ingress": "shop" } })
}

fn ingress(name: &str, class: &str, service: &str, annotations: &Value) -> Value {
    let backend = json!({ "service": { "name": service, "port": { "name": "http" } } });
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "ingressClassName": class, "rules": [
            { "host": Shop::HOST, "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] } },
        ] },
    })
}

/// Slots, and a controller that gives all to blue.
async fn served(namespace: &Namespace<'_>) -> IngressNginx {
    apply_slots(namespace, "shop:1", 2).await.unwrap();
    let nothing = Snippets { http: String::new(), location: String::new() };
    let controller = IngressNginx::start(namespace, &nothing).await.unwrap();
    let users = ingress("shop", controller.class(), "shop", &json!({}));
    namespace.kubectl().apply(&users.to_string()).await.unwrap();
    controller
}

async fn until_answered_by(controller: &IngressNginx, slot: &str) {
    kubernetes::until(&format!("ten answers of {slot} in a row"), async || {
        for _ in 0..10 {
            let answer = controller.get(Shop::HOST, "/").await;
            if !answer.is_ok_and(|answer| answer.status_and_slot() == (200, slot)) {
                return false;
            }
        }
        true
    })
    .await
    .unwrap();
}

/// The canaries that are there, by name and weight.
pub(crate) async fn canaries(namespace: &Namespace<'_>) -> Vec<(String, String)> {
    let all = namespace.kubectl().get(&["ingresses"]).await.unwrap();
    let weight = |one: &Value| {
        let annotations = &one["metadata"]["annotations"];
        let weight = annotations.get("nginx.ingress.kubernetes.io/canary-weight")?.as_str()?.to_owned();
        Some((one["metadata"]["name"].as_str()?.to_owned(), weight))
    };
    all["items"].as_array().unwrap().iter().filter_map(weight).collect()
}

fn ten_percent() -> Vec<(String, String)> {
    vec![("shop-canary".to_owned(), "1000".to_owned())]
}

/// The Ingress of the users, without a controller: what ingress-nginx does with a canary is seen elsewhere.
pub(crate) async fn apply_users(namespace: &Namespace<'_>) {
    let users = ingress("shop", "none", "shop", &json!({}));
    namespace.kubectl().apply(&users.to_string()).await.unwrap();
}

async fn until_ten_percent(namespace: &Namespace<'_>) {
    until_soaking(namespace).await.unwrap();
    assert_eq!(canaries(namespace).await, ten_percent());
}

#[test]
fn a_good_release_gets_its_shares_and_no_request_fails() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let controller = served(&namespace).await;
        let mut spec = edges::spec(edge(), policy(&["10% 3s", "60% 3s", "100%"]));
        spec["settle"] = json!("10s");
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        until_answered_by(&controller, "1").await;
        let stamps = Stamps::watch(namespace.kubectl(), ["service", "shop"]);
        let (load, timeline) = (
            edges::load(controller.address(), &["1", "2"]),
            Timeline::start(controller.address(), Shop::HOST),
        );
        load.answers(50).await.unwrap();
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!(text(&status, "/activeSlot"), "green");
        let (report, moments) = (load.stop().await, timeline.end());
        assert_all_answered(&report);
        assert_eq!(
            (selected(&namespace).await.unwrap().as_str(), canaries(&namespace).await),
            ("green", vec![])
        );
        assert_eq!(stamps.routes(), ["blue, green 10 %", "blue, green 60 %", "green"]);
        let longest =
            print_last_given("ingressCanary", &moments, &stamps.seen(), [("blue", "1"), ("green", "2")]);
        assert!(longest < Duration::from_secs(10), "{longest:?}");
        controller.stop().await.unwrap();
    });
}

#[test]
fn a_bad_release_goes_back_and_its_canary_is_gone() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let controller = served(&namespace).await;
        let spec = edges::spec(edge(), policy(&["10% 60s", "100%"]));
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        until_answered_by(&controller, "1").await;
        apply_shop(&namespace, "2-broken", &spec).await.unwrap();
        let status = until_ended(&namespace, "2-broken", "rolled_back").await.unwrap();
        let object = namespace.kubectl().get(&["service", "shop"]).await.unwrap();
        assert_eq!(edges::stamp(&object).unwrap().generation, 2, "a share, and back: it has never got more");
        assert!(text(&status, "/history/0/message").contains("500"), "{status}");
        assert_eq!(
            (selected(&namespace).await.unwrap().as_str(), canaries(&namespace).await),
            ("blue", vec![])
        );
        until_answered_by(&controller, "1").await;
    });
}

#[test]
fn the_canary_is_gone_after_an_abort_and_after_a_killed_operator() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        apply_users(&namespace).await;
        let spec = edges::spec(edge(), policy(&["10% 5s", "100%"]));
        let (_kubelet, mut operator) = live(&namespace, &spec).await;

        apply_shop(&namespace, "2", &spec).await.unwrap();
        until_ten_percent(&namespace).await;
        let abort = ["annotate", "bluegreen", "shop", "cutover.dev/abort=alice"];
        namespace.kubectl().run(&abort).await.unwrap();
        until_ended(&namespace, "2", "rolled_back").await.unwrap();
        assert_eq!(
            (selected(&namespace).await.unwrap().as_str(), canaries(&namespace).await),
            ("blue", vec![])
        );

        apply_shop(&namespace, "3", &spec).await.unwrap();
        until_ten_percent(&namespace).await;
        operator.server().kill();
        assert_eq!(canaries(&namespace).await, ten_percent());
        let _next = Operator::start_as(&namespace, "operator-1", namespace.kubectl().kubeconfig()).unwrap();
        until_ended(&namespace, "3", "completed").await.unwrap();
        assert_eq!(
            (selected(&namespace).await.unwrap().as_str(), canaries(&namespace).await),
            ("green", vec![])
        );
    });
}

#[test]
fn a_canary_of_somebody_else_is_refused_and_left_alone() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        let annotations = json!({
            "nginx.ingress.kubernetes.io/canary": "true",
            "nginx.ingress.kubernetes.io/canary-weight": "7",
        });
        // It even has the name that the operator would choose.
        for (name, annotations) in [("shop", &json!({})), ("shop-canary", &annotations)] {
            let applied =
                ingress(name, "none", if name == "shop" { "shop" } else { "shop-green" }, annotations);
            namespace.kubectl().apply(&applied.to_string()).await.unwrap();
        }
        let spec = edges::spec(edge(), policy(&["10% 2s", "100%"]));
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let status = until_ended(&namespace, "2", "failed").await.unwrap();
        let message = text(&status, "/history/0/message");
        assert!(
            message.contains("Ingress \"shop-canary\"") && message.contains("canary of somebody else"),
            "{message}"
        );
        assert_eq!(canaries(&namespace).await, [("shop-canary".to_owned(), "7".to_owned())]);
        assert_eq!(selected(&namespace).await.unwrap(), "blue");

        // It does what the message says.
        namespace.kubectl().run(&["delete", "ingress", "shop-canary"]).await.unwrap();
        apply_shop(&namespace, "3", &spec).await.unwrap();
        until_ended(&namespace, "3", "completed").await.unwrap();
    });
}

/// Deploys version 2, lets somebody change the canary while it has its 10 %, and waits for the end: that is left alone. Returns the
/// spec, and what runs.
async fn left_alone(
    namespace: &Namespace<'_>,
    by_hand: &[&str],
    canaries_after: &[(&str, &str)],
) -> (Value, (Kubelet, Operator)) {
    apply_slots(namespace, "shop:1", 1).await.unwrap();
    apply_users(namespace).await;
    let spec = edges::spec(edge(), policy(&["10% 60s", "100%"]));
    let running = live(namespace, &spec).await;
    apply_shop(namespace, "2", &spec).await.unwrap();
    until_ten_percent(namespace).await;
    namespace.kubectl().run(by_hand).await.unwrap();
    let status =
        until_status(namespace, "the end", |status| status.get("deployment").is_none()).await.unwrap();
    assert!(text(&status, "/history/0/message").contains("somebody else moved the route"), "{status}");
    let after = canaries(namespace).await;
    let after: Vec<(&str, &str)> = after.iter().map(|(name, weight)| (&**name, &**weight)).collect();
    assert_eq!((selected(namespace).await.unwrap().as_str(), &*after), ("blue", canaries_after));
    (spec, running)
}

#[test]
fn somebody_who_deletes_the_canary_meanwhile_is_left_alone() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        left_alone(&namespace, &["delete", "ingress", "shop-canary"], &[]).await;
    });
}

#[test]
fn somebody_who_edits_the_weight_meanwhile_is_left_alone() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let weight = "nginx.ingress.kubernetes.io/canary-weight=5000";
        let words = ["annotate", "ingress", "shop-canary", weight, "--overwrite"];
        let (spec, _running) = left_alone(&namespace, &words, &[("shop-canary", "5000")]).await;
        // The slot that has half of the traffic stays up.
        namespace.until_size("shop-green", 1).await.unwrap();

        // Nothing begins before the traffic is on one slot again, and then all goes on.
        apply_shop(&namespace, "3", &spec).await.unwrap();
        let shared = |status: &Value| status.to_string().contains("give all traffic to one slot first");
        until_status(&namespace, "the refusal", shared).await.unwrap();
        namespace.kubectl().run(&["delete", "ingress", "shop-canary"]).await.unwrap();
        let begins = |status: &Value| text(status, "/deployment/version") == "3";
        until_status(&namespace, "the next deployment", begins).await.unwrap();
    });
}
