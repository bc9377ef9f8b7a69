//! The operator with the edge `service`: good releases, bad ones, and what people do meanwhile.

use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, apply_slots, condition, selected, text, until_ended, until_soaking, until_status,
};
use cutover_tests::kubernetes::{self, Cluster, Kubelet, Namespace};
use serde_json::{Value, json};

mod deleted;
mod hooks;
mod invalid;
mod jobs;
mod leaders;
mod migrations;
mod outage;
mod sizes;
mod standby;
mod upgrade;
mod verbs;

/// Version 1 is live in blue.
async fn live(namespace: &Namespace<'_>, more: &Value) -> (Kubelet, Operator) {
    apply_slots(namespace, "shop:1", 2).await.unwrap();
    let kubelet = Kubelet::start(namespace);
    let operator = Operator::start(namespace).await.unwrap();
    apply_shop(namespace, "1", more).await.unwrap();
    until_status(namespace, "version 1 to be live", |status| text(status, "/version") == "1").await.unwrap();
    (kubelet, operator)
}

/// The events with a reason, as one text.
async fn events(namespace: &Namespace<'_>, reason: &str) -> String {
    let all = events_of(namespace, reason).await;
    all.iter().map(|event| text(event, "/message").to_owned()).collect::<Vec<_>>().join("\n---\n")
}

async fn events_of(namespace: &Namespace<'_>, reason: &str) -> Vec<Value> {
    let field = format!("--field-selector=reason={reason}");
    let events = namespace.kubectl().get(&["events", &field]).await.unwrap();
    events.pointer("/items").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Waits until each of these phases is an event of this type. The last one comes a moment after the status.
async fn until_events(namespace: &Namespace<'_>, kind: &str, phases: &[&str]) {
    for phase in phases {
        kubernetes::until(&format!("an event {phase}"), async || {
            !events_of(namespace, phase).await.is_empty()
        })
        .await
        .unwrap();
        let all = events_of(namespace, phase).await;
        assert!(all.iter().any(|event| text(event, "/type") == kind), "{phase} is no {kind}: {all:?}");
    }
}

#[test]
fn a_good_release_takes_the_traffic_and_the_old_version_goes_after_its_warm_window() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let (kubelet, _operator) = live(&namespace, &json!({})).await;
        apply_shop(&namespace, "2", &json!({})).await.unwrap();
        let waited = namespace.kubectl().run(&[
            "wait",
            "--for=condition=Completed",
            "bluegreen/shop",
            "--timeout=90s",
        ]);
        waited.await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "green");
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!((text(&status, "/activeSlot"), text(&status, "/version")), ("green", "2"));
        let without =
            "this edge tells its proxies, so some may use the old slot for a moment after the change";
        assert_eq!(status["without"], json!([without, "watched by probes only"]), "it stays in the status");
        let described = namespace.kubectl().run(&["describe", "bluegreen", "shop"]).await.unwrap();
        assert!(described.contains(without), "{described}");
        assert_eq!(condition(&status, "Ready"), "True");
        let blue = namespace.kubectl().get(&["deployment", "shop-blue"]).await.unwrap();
        assert_eq!(blue.pointer("/spec/replicas").and_then(Value::as_i64), Some(0));
        namespace.until_size("shop", 2).await.unwrap();
        assert_eq!(kubelet.tags().get("2"), Some(&2));

        let table = namespace.kubectl().run(&["get", "bluegreens"]).await.unwrap();
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().take(4).collect();
        assert_eq!(row, ["shop", "green", "2", "Completed"], "{table}");
        let phases =
            ["Provisioning", "Probing", "Smoking", "Switching", "Soaking", "Confirming", "Draining", "Warm"];
        until_events(&namespace, "Normal", &phases).await;
        until_events(&namespace, "Normal", &["Decommissioning", "Completed"]).await;
    });
}

#[test]
fn a_version_that_fails_its_smoke_test_gets_no_traffic_and_is_not_tried_again() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let policy = json!({ "policy": {
            "probe": { "interval": "200ms", "deadline": "10s" },
            "smoke": [{ "name": "front page", "path": "/" }],
            "soak": { "duration": "1s", "interval": "200ms" },
            "warm": "1s",
        } });
        let (kubelet, _operator) = live(&namespace, &policy).await;
        apply_shop(&namespace, "2-broken", &policy).await.unwrap();
        let status = until_ended(&namespace, "2-broken", "failed").await.unwrap();
        assert!(text(&status, "/history/0/message").contains("smoke \"front page\""), "{status}");
        assert_eq!((text(&status, "/activeSlot"), text(&status, "/version")), ("blue", "1"));
        assert_eq!((condition(&status, "Completed"), condition(&status, "Degraded")), ("False", "True"));
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
        let green = namespace.kubectl().get(&["deployment", "shop-green"]).await.unwrap();
        assert_eq!(green.pointer("/spec/replicas").and_then(Value::as_i64), Some(0));
        let status = until_status(&namespace, "the reason why it is not tried again", |status| {
            text(status, "/message").contains("is not tried again")
        });
        let status = status.await.unwrap();
        let typed = text(&status, "/message").rsplit_once("type: ").unwrap().1.to_owned();
        assert_eq!(typed, format!("cutover-operator retry shop -n {}", namespace.name()));
        assert!(!kubelet.tags().contains_key("2-broken"));
        until_events(&namespace, "Warning", &["TearingDown", "Failed"]).await;

        apply_shop(&namespace, "3", &policy).await.unwrap();
        until_ended(&namespace, "3", "completed").await.unwrap();
    });
}

#[test]
fn a_version_that_becomes_sick_in_its_soak_is_taken_back() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let policy = json!({ "policy": {
            "probe": { "interval": "200ms", "deadline": "10s" },
            "soak": { "duration": "60s", "interval": "200ms" },
            "drain": { "deadline": "1s" },
            "warm": "1s",
        } });
        let (_kubelet, _operator) = live(&namespace, &policy).await;
        apply_shop(&namespace, "2", &policy).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "green");
        // No pod of version 2 is left.
        namespace.kubectl().run(&["scale", "deployment", "shop-green", "--replicas=0"]).await.unwrap();
        let status = until_ended(&namespace, "2", "rolled_back").await.unwrap();
        assert_eq!(text(&status, "/activeSlot"), "blue", "{status}");
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
        until_events(&namespace, "Warning", &["RollingBack", "RolledBack"]).await;
    });
}

#[test]
fn somebody_who_moves_the_selector_meanwhile_is_left_alone() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let policy = json!({ "policy": {
            "probe": { "interval": "200ms" },
            "soak": { "duration": "60s", "interval": "200ms" },
            "warm": "1s",
        } });
        let (_kubelet, _operator) = live(&namespace, &policy).await;
        apply_shop(&namespace, "2", &policy).await.unwrap();
        until_soaking(&namespace).await.unwrap();
        let by_hand = r#"{"spec":{"selector":{"app":"shop","slot":"blue"}}}"#;
        namespace.kubectl().run(&["patch", "service", "shop", "--patch", by_hand]).await.unwrap();
        let status =
            until_status(&namespace, "the end", |status| status.get("deployment").is_none()).await.unwrap();
        assert!(text(&status, "/history/0/message").contains("somebody else moved the route"), "{status}");
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
    });
}

#[test]
fn people_promote_pause_and_roll_back_by_the_commands_that_the_messages_say() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = json!({
            "promotion": "Manual",
            "policy": {
                "probe": { "interval": "200ms" },
                "soak": { "duration": "1s", "interval": "200ms" },
                "drain": { "deadline": "1s" },
                "warm": "1h",
            },
        });
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let paused = until_status(&namespace, "the pause", |status| {
            text(status, "/message").contains("paused before")
        });
        let status = paused.await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
        let typed = text(&status, "/message").rsplit_once("type: ").unwrap().1.to_owned();
        run_typed(&namespace, &typed).await;
        until_status(&namespace, "the warm window", |status| text(status, "/phase") == "Warm").await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "green");
        run_typed(&namespace, &format!("cutover-operator rollback shop -n {}", namespace.name())).await;
        let status = until_ended(&namespace, "2", "rolled_back").await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
        assert_eq!(text(&status, "/activeSlot"), "blue");
    });
}

/// Types a command of a message.
pub(crate) async fn run_typed(namespace: &Namespace<'_>, typed: &str) {
    let mut words = typed.split_whitespace();
    assert_eq!(words.next(), Some("cutover-operator"), "{typed}");
    let program = cutover_tests::flavour::program("cutover-operator").unwrap();
    let ran = tokio::process::Command::new(program)
        .args(words)
        .env("KUBECONFIG", namespace.kubectl().kubeconfig())
        .output()
        .await
        .unwrap();
    assert!(ran.status.success(), "{typed}: {}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn a_version_that_the_spec_takes_back_in_the_warm_window_is_rolled_back() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = json!({ "warmReplicas": 1, "policy": {
            "probe": { "interval": "200ms" },
            "soak": { "duration": "1s", "interval": "200ms" },
            "drain": { "deadline": "1s" },
            "warm": "1h",
        } });
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        until_status(&namespace, "the warm window", |status| text(status, "/phase") == "Warm").await.unwrap();
        namespace.until_size("shop-blue", 1).await.unwrap();
        apply_shop(&namespace, "1", &spec).await.unwrap();
        let status = until_ended(&namespace, "2", "rolled_back").await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
        let blue = namespace.kubectl().get(&["deployment", "shop-blue"]).await.unwrap();
        let ready = blue.pointer("/status/readyReplicas").and_then(Value::as_i64);
        assert_eq!(ready, Some(2), "the way back has the full size: {status}");
        namespace.until_size("shop", 2).await.unwrap();
        // Version 1 is live again: it is not deployed once more.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let shop = namespace.kubectl().get(&["bluegreen", "shop"]).await.unwrap();
        assert!(shop.pointer("/status/deployment").is_none(), "{shop}");
        assert_eq!((text(&shop, "/status/version"), text(&shop, "/status/history/0/version")), ("1", "2"));
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
    });
}
