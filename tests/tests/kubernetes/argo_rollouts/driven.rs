//! The edge `argoRollouts`: the operator promotes a blue-green Rollout, and the real controller moves the traffic.

use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, text, until_ended, until_soaking, until_status,
};
use cutover_tests::kubernetes::{self, ArgoRollouts, Cluster, Kubelet, NODE, Namespace, Traefik};
use serde_json::{Value, json};

use crate::edges::{self, assert_all_answered, policy};
use crate::gateway;
use crate::operator::run_typed;

pub(crate) fn spec() -> Value {
    json!({
        "edge": { "argoRollouts": { "rollout": "shop" } },
        "slots": { "blue": {}, "green": {} },
        "policy": policy(&[]),
    })
}

/// A Rollout with version 1, which is active.
pub(crate) async fn rolled_out(namespace: &Namespace<'_>) {
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
            "spec": { "selector": { "app": "shop" }, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] },
        })
    };
    let labels = json!({ "app": "shop" });
    let container =
        json!({ "name": "shop", "image": "shop:1", "ports": [{ "name": "http", "containerPort": 8080 }] });
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": "shop" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "nodeName": NODE, "containers": [container] } },
            "strategy": { "blueGreen": {
                "activeService": "shop", "previewService": "shop-preview", "autoPromotionEnabled": false,
                "scaleDownDelaySeconds": 120,
            } },
        },
    });
    let list = json!({
        "apiVersion": "v1", "kind": "List", "items": [service("shop"), service("shop-preview"), rollout],
    });
    namespace.kubectl().apply(&list.to_string()).await.unwrap();
    until_healthy(namespace).await;
}

async fn rollout(namespace: &Namespace<'_>) -> Value {
    namespace.kubectl().get(&["rollout", "shop"]).await.unwrap()
}

pub(crate) async fn until_healthy(namespace: &Namespace<'_>) {
    let healthy = async || {
        let now = rollout(namespace).await;
        text(&now, "/status/phase") == "Healthy"
            && text(&now, "/status/stableRS") == text(&now, "/status/currentPodHash")
    };
    kubernetes::until("the Rollout to be healthy", healthy).await.unwrap();
}

/// The image of the Rollout.
pub(crate) async fn image(namespace: &Namespace<'_>) -> String {
    text(&rollout(namespace).await, "/spec/template/spec/containers/0/image").to_owned()
}

/// What Traefik is to serve: the active Service.
fn route() -> Value {
    gateway::route(&json!([{ "backendRefs": [{ "name": "shop", "port": 80 }] }]))
}

/// Argo, its Rollout, the operator over it, and a gateway before it.
pub(crate) async fn live(namespace: &Namespace<'_>) -> (ArgoRollouts, Kubelet, Operator, Traefik) {
    let argo = ArgoRollouts::start(namespace.cluster()).await.unwrap();
    rolled_out(namespace).await;
    let traefik = Traefik::start(namespace).await.unwrap();
    gateway::apply(namespace, &route()).await;
    let (kubelet, operator) = edges::live(namespace, &spec()).await;
    gateway::until_answered_by(&traefik, "1").await;
    (argo, kubelet, operator, traefik)
}

#[test]
fn a_rollout_is_promoted_when_its_preview_is_good_and_comes_back_when_it_is_bad() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let (_argo, _kubelet, _operator, traefik) = live(&namespace).await;
        let load = edges::load(traefik.address(), &["1", "2"]);
        load.answers(50).await.unwrap();
        apply_shop(&namespace, "2", &spec()).await.unwrap();
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!((text(&status, "/activeSlot"), text(&status, "/version")), ("green", "2"));
        assert_all_answered(&load.stop().await);
        assert_eq!(image(&namespace).await, "shop:2");
        until_healthy(&namespace).await;
        gateway::until_answered_by(&traefik, "2").await;

        apply_shop(&namespace, "3-broken", &spec()).await.unwrap();
        let status = until_ended(&namespace, "3-broken", "rolled_back").await.unwrap();
        assert!(text(&status, "/history/0/message").contains("500"), "{status}");
        assert_eq!(text(&status, "/activeSlot"), "green");
        assert_eq!(image(&namespace).await, "shop:2");
        until_healthy(&namespace).await;
        gateway::until_answered_by(&traefik, "2").await;

        // One that never becomes ready is not promoted, and its template is taken back.
        apply_shop(&namespace, "4-sick", &spec()).await.unwrap();
        until_ended(&namespace, "4-sick", "failed").await.unwrap();
        assert_eq!(image(&namespace).await, "shop:2");
        until_healthy(&namespace).await;

        apply_shop(&namespace, "5", &spec()).await.unwrap();
        let status = until_ended(&namespace, "5", "completed").await.unwrap();
        assert_eq!((text(&status, "/activeSlot"), text(&status, "/version")), ("blue", "5"));
        gateway::until_answered_by(&traefik, "5").await;
    });
}

#[test]
fn somebody_who_undoes_the_rollout_meanwhile_is_left_alone() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let (_argo, _kubelet, _operator, traefik) = live(&namespace).await;
        let mut long = spec();
        long["policy"]["soak"]["duration"] = json!("60s");
        apply_shop(&namespace, "2", &long).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        gateway::until_answered_by(&traefik, "2").await;
        // Version 1 as somebody would deploy it again.
        let by_hand = json!([
            { "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop:1" },
            { "op": "remove", "path": "/spec/template/metadata/annotations" },
        ]);
        let words = ["patch", "rollout", "shop", "--type=json", "--patch", &by_hand.to_string()];
        namespace.kubectl().run(&words).await.unwrap();
        let status =
            until_status(&namespace, "the end", |status| status.get("deployment").is_none()).await.unwrap();
        assert!(text(&status, "/history/0/message").contains("somebody else moved the route"), "{status}");
        gateway::until_answered_by(&traefik, "1").await;
    });
}

/// Deploys a version that waits before its switch.
async fn until_previewed(namespace: &Namespace<'_>, version: &str) {
    let mut manual = spec();
    manual["promotion"] = json!("Manual");
    apply_shop(namespace, version, &manual).await.unwrap();
    let waits = |status: &Value| {
        text(status, "/message").contains("paused before") && text(status, "/deployment/version") == version
    };
    until_status(namespace, "the pause", waits).await.unwrap();
}

/// What the plugin of Argo for kubectl writes.
async fn patch_status(namespace: &Namespace<'_>, status: Value) {
    let patch = json!({ "status": status }).to_string();
    let words = ["patch", "rollout", "shop", "--subresource=status", "--type=merge", "--patch", &patch];
    namespace.kubectl().run(&words).await.unwrap();
}

async fn until_over(namespace: &Namespace<'_>, version: &str) -> Value {
    let is_over =
        |status: &Value| status.get("deployment").is_none() && text(status, "/history/0/version") == version;
    until_status(namespace, "the end", is_over).await.unwrap()
}

#[test]
fn somebody_who_aborts_or_promotes_the_rollout_meanwhile_is_left_alone() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let (_argo, _kubelet, _operator, traefik) = live(&namespace).await;
        let promote = format!("cutover-operator promote shop -n {}", namespace.name());

        until_previewed(&namespace, "2").await;
        patch_status(&namespace, json!({ "abort": true })).await;
        let is_aborted = async || text(&rollout(&namespace).await, "/status/phase") == "Degraded";
        kubernetes::until("the abort", is_aborted).await.unwrap();
        run_typed(&namespace, &promote).await;
        let status = until_over(&namespace, "2").await;
        assert_eq!(text(&status, "/history/0/outcome"), "failed");
        assert!(text(&status, "/history/0/message").contains("has moved no traffic"), "{status}");
        gateway::until_answered_by(&traefik, "1").await;

        until_previewed(&namespace, "3").await;
        patch_status(&namespace, json!({ "promoteFull": true })).await;
        gateway::until_answered_by(&traefik, "3").await;
        run_typed(&namespace, &promote).await;
        let status = until_over(&namespace, "3").await;
        assert!(text(&status, "/history/0/message").contains("somebody else moved the route"), "{status}");
        gateway::until_answered_by(&traefik, "3").await;
    });
}

#[test]
fn a_rollout_that_promotes_by_itself_is_refused_with_what_to_do() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let _argo = ArgoRollouts::start(cluster).await.unwrap();
        rolled_out(&namespace).await;
        let by_itself = r#"{"spec":{"strategy":{"blueGreen":{"autoPromotionEnabled":true}}}}"#;
        namespace
            .kubectl()
            .run(&["patch", "rollout", "shop", "--type=merge", "--patch", by_itself])
            .await
            .unwrap();
        let _kubelet = Kubelet::start(&namespace);
        let _operator = Operator::start(&namespace).await.unwrap();
        apply_shop(&namespace, "1", &spec()).await.unwrap();
        let said = "it promotes a new version by itself: set autoPromotionEnabled to false";
        until_status(&namespace, "the reason", |status| status.to_string().contains(said)).await.unwrap();
        let not = by_itself.replace("true", "false");
        namespace
            .kubectl()
            .run(&["patch", "rollout", "shop", "--type=merge", "--patch", &not])
            .await
            .unwrap();
        until_status(&namespace, "version 1", |status| text(status, "/version") == "1").await.unwrap();
    });
}
