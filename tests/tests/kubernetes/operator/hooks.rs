//! Hooks: Jobs that are told what has happened, and can fail nothing.

use cutover_tests::kubernetes::operator::{
    apply_shop, condition, text, until_ended, until_soaking, until_status,
};
use cutover_tests::kubernetes::{self, Cluster, Namespace};
use serde_json::{Value, json};

use super::{events, live};

/// A spec with hooks, and a soak of so many seconds.
fn spec(hooks: &Value, soak: &str) -> Value {
    json!({ "hooks": hooks, "policy": {
        "probe": { "interval": "200ms", "deadline": "60s" },
        "smoke": [{ "name": "front page", "path": "/" }],
        "soak": { "duration": soak, "interval": "200ms" },
        "drain": { "deadline": "1s" },
        "warm": "1s",
    } })
}

/// The Jobs of the hook `switched`, the oldest first.
async fn told(namespace: &Namespace<'_>) -> Vec<Value> {
    let jobs = namespace.kubectl().get(&["jobs", "--selector=cutover.dev/deployment=shop"]).await.unwrap();
    let mut jobs = jobs.pointer("/items").and_then(Value::as_array).cloned().unwrap_or_default();
    jobs.sort_by_key(|job| text(job, "/metadata/name").to_owned());
    jobs
}

fn variable(job: &Value, name: &str) -> String {
    let all = job.pointer("/spec/template/spec/containers/0/env").and_then(Value::as_array);
    let found = all.into_iter().flatten().find(|variable| text(variable, "/name") == name);
    found.map(|variable| text(variable, "/value").to_owned()).unwrap_or_default()
}

#[test]
fn a_hook_is_told_of_each_change_forward_and_back() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let hooks = json!({ "switched": { "command": ["/bin/says"], "args": ["moved"], "deadline": "30s" } });
        let spec = spec(&hooks, "60s");
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        kubernetes::until("the hook to be told of the switch", async || told(&namespace).await.len() == 1)
            .await
            .unwrap();
        let status = until_soaking(&namespace).await.unwrap();
        let id = text(&status, "/deployment/id").to_owned();
        until_status(&namespace, "the end of the Job", |status| {
            text(status, "/told/to") == "green" && status.pointer("/told/job").is_none()
        })
        .await
        .unwrap();
        namespace
            .kubectl()
            .run(&["annotate", "bluegreen", "shop", "cutover.dev/abort=a test"])
            .await
            .unwrap();
        until_ended(&namespace, "2", "rolled_back").await.unwrap();
        kubernetes::until("the hook to be told of the way back", async || told(&namespace).await.len() == 2)
            .await
            .unwrap();
        let jobs = told(&namespace).await;
        for (job, from, to) in
            [(&jobs[0], ("blue", "1"), ("green", "2")), (&jobs[1], ("green", "2"), ("blue", "1"))]
        {
            let of = |name: &str| variable(job, name);
            assert_eq!(
                (of("CUTOVER_FROM"), of("CUTOVER_FROM_VERSION")),
                (from.0.to_owned(), from.1.to_owned())
            );
            assert_eq!((of("CUTOVER_TO"), of("CUTOVER_TO_VERSION")), (to.0.to_owned(), to.1.to_owned()));
            assert_eq!((of("CUTOVER_SHARE"), of("CUTOVER_DEPLOYMENT")), ("100".to_owned(), id.clone()));
            let container = job.pointer("/spec/template/spec/containers/0").unwrap();
            assert_eq!(text(container, "/image"), "shop:2", "the new version's image");
            assert_eq!(container.pointer("/command"), Some(&json!(["/bin/says"])));
            assert!(job.pointer("/spec/ttlSecondsAfterFinished").is_some_and(Value::is_number), "{job}");
            assert_eq!(job.pointer("/spec/activeDeadlineSeconds"), Some(&json!(30)));
            assert!(job.pointer("/metadata/labels/slot").is_none(), "no endpoint of a slot");
        }
        assert_eq!(events(&namespace, "HookFailed").await, "");
    });
}

#[test]
fn a_hook_that_fails_fails_nothing_and_its_last_lines_are_an_event() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let said = "connecting to the queue\nthe queue does not answer";
        let hooks = json!({ "switched": { "command": ["/bin/fails"], "args": [said] } });
        let spec = spec(&hooks, "1s");
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!(condition(&status, "Degraded"), "False");
        let failed =
            until_status(&namespace, "the end of the Job", |status| !text(status, "/told/failed").is_empty());
        assert!(
            text(&failed.await.unwrap(), "/told/failed").contains("exit code 3: the queue does not answer")
        );
        kubernetes::until("the event", async || !events(&namespace, "HookFailed").await.is_empty())
            .await
            .unwrap();
        let event = events(&namespace, "HookFailed").await;
        assert!(event.contains("nothing waits for it") && event.contains(said), "{event}");
        assert!(event.contains(&format!("-n {}", namespace.name())), "{event}");
    });
}

#[test]
fn what_diagnose_says_is_an_event_before_the_failed_version_is_stopped() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let said = "no table \"orders\"\nis the migration there?";
        let hooks = json!({ "diagnose": { "command": ["/bin/says"], "args": [said] } });
        let spec = spec(&hooks, "1s");
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        apply_shop(&namespace, "2-broken", &spec).await.unwrap();
        let status = until_ended(&namespace, "2-broken", "failed").await.unwrap();
        let id = text(&status, "/history/0/id").to_owned();
        let event = events(&namespace, "TearingDown").await;
        assert!(event.contains("diagnose of slot \"green\":") && event.contains(said), "{event}");
        let job = namespace.kubectl().get(&["job", &format!("{id}-diagnose")]).await.unwrap();
        assert_eq!(variable(&job, "CUTOVER_VERSION"), "2-broken");
        assert!(variable(&job, "CUTOVER_REASON").contains("smoke \"front page\""), "{job}");
    });
}
