//! What people ask for by `cutover-operator VERB`, and what comes of it.

use std::time::Duration;

use cutover_tests::kubernetes::operator::{
    apply_shop, selected, text, until_ended, until_soaking, until_status,
};
use cutover_tests::kubernetes::{self, Cluster, Namespace};
use serde_json::{Value, json};

use super::{events, live, run_typed};

/// A policy with so many probes before the switch, and this soak.
fn spec(probes: u32, soak: &str) -> Value {
    json!({ "policy": {
        "probe": { "interval": "200ms", "healthy": probes, "deadline": "60s" },
        "soak": { "duration": soak, "interval": "200ms" },
        "drain": { "deadline": "1s" },
        "warm": "1s",
    } })
}

/// Types a verb as somebody, and waits for the event that answers.
async fn ask(namespace: &Namespace<'_>, verb: &str, answer: &str) {
    run_typed(namespace, &format!("cutover-operator {verb} shop -n {} --by alice", namespace.name())).await;
    let reason = answer.split(": ").next().unwrap();
    let said = answer.strip_prefix(reason).unwrap().trim_start_matches(": ");
    let is_said = async || events(namespace, reason).await.lines().any(|line| line == said);
    if let Err(error) = kubernetes::until(answer, is_said).await {
        panic!("{error:#}: {}", events(namespace, reason).await);
    }
    let shop = namespace.kubectl().get(&["bluegreen", "shop"]).await.unwrap();
    let annotation = format!("cutover.dev/{verb}");
    assert!(shop["metadata"]["annotations"].get(&annotation).is_none(), "it is done once: {shop}");
}

#[test]
fn a_paused_deployment_waits_until_it_is_resumed() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = spec(30, "1s");
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        let refused = "alice asked to pause, which is refused: no deployment is under way";
        ask(&namespace, "pause", &format!("Refused: {refused}")).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        until_status(&namespace, "the probes", |status| text(status, "/phase") == "Probing").await.unwrap();
        ask(&namespace, "pause", "Asked: alice asked to pause").await;
        let is_paused = |status: &Value| text(status, "/message").contains("type: cutover-operator resume");
        let status = until_status(&namespace, "the pause", is_paused).await.unwrap();
        let typed = text(&status, "/message").rsplit_once("type: ").unwrap().1.to_owned();
        assert_eq!(typed, format!("cutover-operator resume shop -n {}", namespace.name()), "{status}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let status = until_status(&namespace, "the status", |_| true).await.unwrap();
        assert_eq!(
            (text(&status, "/phase"), selected(&namespace).await.unwrap().as_str()),
            ("Switching", "blue")
        );
        ask(&namespace, "resume", "Asked: alice asked to resume").await;
        until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "green");
    });
}

#[test]
fn a_version_that_was_taken_back_is_tried_again_by_the_command_that_the_message_says() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = spec(1, "8s");
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        let refused = "alice asked to retry, which is refused: there was no deployment yet";
        ask(&namespace, "retry", &format!("Refused: {refused}")).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        ask(&namespace, "abort", "Asked: alice asked to abort").await;
        until_ended(&namespace, "2", "rolled_back").await.unwrap();
        let advice = |status: &Value| {
            let (_, typed) = text(status, "/message").rsplit_once("type: ")?;
            Some(typed.to_owned()).filter(|typed| typed.starts_with("cutover-operator retry"))
        };
        let status = until_status(&namespace, "the advice", |status| advice(status).is_some()).await.unwrap();
        assert!(text(&status, "/message").contains("aborted by alice"), "{status}");
        run_typed(&namespace, &advice(&status).unwrap()).await;
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!(text(&status, "/history/1/outcome"), "rolled_back", "{status}");
        assert_eq!(selected(&namespace).await.unwrap(), "green");
    });
}
