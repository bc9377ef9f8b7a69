//! What the operator answers programs that ask for its verdict.

use std::net::SocketAddr;

use cutover_tests::client::Client;
use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, apply_slots, install, text, until_ended, until_soaking, until_status,
};
use cutover_tests::kubernetes::{Cluster, Kubelet, Namespace};
use cutover_tests::{client, ports};
use serde_json::{Value, json};

/// Keys of a spec for a release that stays warm, and fails its smoke test if it is broken.
pub(crate) fn spec() -> Value {
    json!({ "policy": {
        "probe": { "interval": "200ms", "deadline": "20s" },
        "smoke": [{ "name": "front page", "path": "/" }],
        "soak": { "duration": "3s", "interval": "200ms" },
        "drain": { "deadline": "1s" },
        "warm": "1h",
    } })
}

/// Version 1 is live, and the operator answers there.
pub(crate) async fn answering(namespace: &Namespace<'_>) -> (Kubelet, Operator, SocketAddr) {
    apply_slots(namespace, "shop:1", 1).await.unwrap();
    install(namespace).await.unwrap();
    let (kubelet, at) = (Kubelet::start(namespace), ports::free().unwrap());
    let kubeconfig = namespace.kubectl().kubeconfig();
    let listen = ["--listen", &at.to_string()];
    let operator = Operator::start_with(namespace, "operator-0", kubeconfig, &listen).unwrap();
    apply_shop(namespace, "1", &spec()).await.unwrap();
    until_status(namespace, "version 1 to be live", |status| text(status, "/version") == "1").await.unwrap();
    (kubelet, operator, at)
}

async fn verdict(at: SocketAddr, namespace: &Namespace<'_>, rest: &str) -> (u16, Value) {
    let path = format!("/v1/verdicts/{}/{rest}", namespace.name());
    let answer = client::get(at, &path).await.unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// A webhook of Flagger, with the fields that `CanaryWebhookPayload` has.
async fn webhook(at: SocketAddr, namespace: &Namespace<'_>, hook: &str, metadata: &Value) -> (u16, String) {
    let payload = json!({
        "name": "shop", "namespace": namespace.name(), "phase": "Progressing", "checksum": "7f9d8c5b", "metadata": metadata,
    });
    let mut client = Client::connect(at).await.unwrap();
    let json = [("content-type", "application/json")];
    let path = format!("/v1/flagger/{hook}");
    let answer = client.request_with("POST", &path, &json, &payload.to_string()).await.unwrap();
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

/// The answers to all hooks.
async fn hooks(at: SocketAddr, namespace: &Namespace<'_>, metadata: &Value) -> [u16; 3] {
    let mut codes = [0; 3];
    for (code, hook) in codes.iter_mut().zip(["confirm-rollout", "confirm-promotion", "rollback"]) {
        *code = webhook(at, namespace, hook, metadata).await.0;
    }
    codes
}

#[test]
fn the_verdict_over_each_version_is_answered_to_argo_and_to_flagger() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let (_kubelet, _operator, at) = answering(&namespace).await;
        let (status, live) = verdict(at, &namespace, "shop").await;
        assert_eq!((status, &live["verdict"], &live["version"]), (200, &json!("good"), &json!("1")));
        let of = |version: &str| json!({ "version": version });
        assert_eq!(verdict(at, &namespace, "shop?version=2").await.1["verdict"], "unknown");
        assert_eq!(hooks(at, &namespace, &of("2")).await, [200, 409, 409]);

        apply_shop(&namespace, "2", &spec()).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        assert_eq!(verdict(at, &namespace, "shop?version=2").await.1["verdict"], "pending");
        assert_eq!(hooks(at, &namespace, &of("2")).await, [200, 409, 409]);
        until_status(&namespace, "the warm window", |status| text(status, "/phase") == "Warm").await.unwrap();
        let (_, good) = verdict(at, &namespace, "shop").await;
        assert_eq!(
            (&good["verdict"], &good["version"], &good["phase"]),
            (&json!("good"), &json!("2"), &json!("Warm"))
        );
        assert_eq!(hooks(at, &namespace, &json!({})).await, [200, 200, 409]);

        apply_shop(&namespace, "3-broken", &spec()).await.unwrap();
        until_ended(&namespace, "3-broken", "failed").await.unwrap();
        let (_, bad) = verdict(at, &namespace, "shop?version=3-broken").await;
        assert_eq!(bad["verdict"], "bad");
        assert!(bad["message"].as_str().unwrap().contains("smoke \"front page\""), "{bad}");
        assert_eq!(hooks(at, &namespace, &of("3-broken")).await, [409, 409, 200]);
        let (_, why) = webhook(at, &namespace, "confirm-rollout", &of("3-broken")).await;
        assert!(why.starts_with("BlueGreen \"shop\": version 3-broken is bad: "), "{why}");
        assert_eq!(verdict(at, &namespace, "shop?version=2").await.1["verdict"], "good");

        let (status, nobody) = verdict(at, &namespace, "nobody").await;
        let said = format!(
            "there is no BlueGreen \"nobody\" in namespace \"{}\"; to see all: kubectl get bluegreens -A",
            namespace.name()
        );
        assert_eq!((status, &nobody["error"]), (404, &json!(said)));
        let (status, _) = webhook(at, &namespace, "rollback", &json!({ "bluegreen": "nobody" })).await;
        assert_eq!(status, 404);
    });
}

/// The first block of a language of a page.
pub(crate) fn block(page: &str, language: &str) -> String {
    let path = cutover_tests::flavour::root().join("docs/kubernetes").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

#[test]
fn the_canary_of_the_docs_is_one_that_flagger_would_take() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let definition = cutover_tests::kubernetes::fetched("flagger", "");
        cluster.kubectl().apply_folder(&definition).await.unwrap();
        namespace.kubectl().apply(&block("flagger.md", "yaml")).await.unwrap();
        let canary = namespace.kubectl().get(&["canary", "shop"]).await.unwrap();
        let hooks = canary["spec"]["analysis"]["webhooks"].as_array().unwrap().clone();
        let types: Vec<&str> = hooks.iter().filter_map(|hook| hook["type"].as_str()).collect();
        assert_eq!(types, ["confirm-rollout", "confirm-promotion", "rollback"]);
        for hook in &hooks {
            let url = hook["url"].as_str().unwrap();
            assert!(url.ends_with(&format!("/v1/flagger/{}", hook["type"].as_str().unwrap())), "{url}");
        }
    });
}
