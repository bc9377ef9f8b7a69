//! Migrations: Jobs of the new version's image.

use cutover_tests::kubernetes::operator::{apply_shop, selected, text, until_ended, until_soaking};
use cutover_tests::kubernetes::{self, Cluster, Namespace};
use serde_json::{Value, json};

use super::{events, live, run_typed, until_events};
use crate::edges;

/// A spec whose revert is this program, with a soak that somebody ends.
fn spec(revert: &str) -> Value {
    json!({
        "migrations": {
            "migrate": { "command": ["/bin/says"], "args": ["2 migrations applied"] },
            "revert": { "command": [revert], "args": ["the table\nis locked"] },
            "deadline": "30s",
        },
        "policy": {
            "probe": { "interval": "200ms", "deadline": "60s" },
            "soak": { "duration": "60s", "interval": "200ms" },
            "drain": { "deadline": "1s" },
            "warm": "1s",
        },
    })
}

/// Deploys version 2, and takes it back in its soak. Returns the deployment's name.
async fn taken_back(namespace: &Namespace<'_>, spec: &Value, outcome: &str) -> String {
    apply_shop(namespace, "2", spec).await.unwrap();
    let soaks = until_soaking(namespace).await.unwrap();
    let id = text(&soaks, "/deployment/id").to_owned();
    let migrated = namespace.kubectl().get(&["job", &format!("{id}-migrate")]).await.unwrap();
    assert_eq!(migrated.pointer("/status/succeeded"), Some(&json!(1)), "before it got traffic: {migrated}");
    let abort = format!("cutover-operator abort shop -n {}", namespace.name());
    run_typed(namespace, &abort).await;
    until_ended(namespace, "2", outcome).await.unwrap();
    assert_eq!(selected(namespace).await.unwrap(), "blue");
    id
}

#[test]
fn what_a_bad_version_has_migrated_is_reverted_after_the_traffic_is_back() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = spec("/bin/says");
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        let id = taken_back(&namespace, &spec, "rolled_back").await;
        let reverted = namespace.kubectl().get(&["job", &format!("{id}-revert")]).await.unwrap();
        assert_eq!(reverted.pointer("/status/succeeded"), Some(&json!(1)), "{reverted}");
        let container = reverted.pointer("/spec/template/spec/containers/0").unwrap();
        assert_eq!(text(container, "/image"), "shop:2", "the new version's image");
        until_events(&namespace, "Normal", &["Migrating"]).await;
        let revert = format!("cutover-operator revert shop -n {}", namespace.name());
        run_typed(&namespace, &revert).await;
        kubernetes::until("the refusal", async || {
            events(&namespace, "Refused").await.contains("no deployment has left anything in the database")
        })
        .await
        .unwrap();
    });
}

#[test]
fn a_revert_that_fails_is_tried_again_by_the_command_that_the_message_says() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = spec("/bin/fails");
        let (_kubelet, _operator) = live(&namespace, &spec).await;
        let id = taken_back(&namespace, &spec, "stuck").await;
        until_events(&namespace, "Warning", &["RollingBack", "Stuck"]).await;
        let shop = namespace.kubectl().get(&["bluegreen", "shop"]).await.unwrap();
        let message = text(&shop, "/status/history/0/message").to_owned();
        let typed = message.split_once("type: ").unwrap_or_else(|| panic!("{message}")).1;
        let typed = typed.split([';', '\n']).next().unwrap().to_owned();
        assert_eq!(typed, format!("cutover-operator revert shop -n {}", namespace.name()), "{message}");
        run_typed(&namespace, &typed).await;
        kubernetes::until("the second failure", async || {
            !events(&namespace, "RevertFailed").await.is_empty()
        })
        .await
        .unwrap();
        let said = events(&namespace, "RevertFailed").await;
        assert!(said.contains("the migration of version 2 is not reverted"), "{said}");
        assert!(said.contains(&typed) && said.contains("the table\nis locked"), "{said}");

        let shop = namespace.kubectl().get(&["bluegreen", "shop"]).await.unwrap();
        assert_eq!(text(&shop, "/status/phase"), "RevertFailed", "{shop}");
        assert!(text(&shop, "/status/unreverted/0/failed").contains("exit code 3: is locked"), "{shop}");

        // Somebody has freed the table, and reverts it by the Job that the operator would make.
        let job = format!("{id}-revert-2");
        let mut object = namespace.kubectl().get(&["job", &job]).await.unwrap();
        namespace.kubectl().run(&["delete", "job", &job]).await.unwrap();
        for pointer in ["/spec/selector", "/spec/template/metadata/labels", "/status", "/metadata/uid"] {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
        }
        object["metadata"]["resourceVersion"] = Value::Null;
        object["metadata"]["name"] = json!(format!("{id}-revert-3"));
        object["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["/bin/says"]);
        namespace.kubectl().apply(&object.to_string()).await.unwrap();
        run_typed(&namespace, &typed).await;
        kubernetes::until("the end of the revert", async || !events(&namespace, "Reverted").await.is_empty())
            .await
            .unwrap();
        let shop = namespace.kubectl().get(&["bluegreen", "shop"]).await.unwrap();
        assert!(shop.pointer("/status/unreverted").is_none(), "{shop}");
        assert_eq!(text(&shop, "/status/phase"), "Reverted", "{shop}");
    });
}

/// Deploys a version that answers its first users with errors, until it is taken back. Returns the Jobs of the deployment.
async fn taken_back_by_itself(namespace: &Namespace<'_>, version: &str, migrate: &Value) -> Vec<String> {
    let spec = json!({
        "migrations": { "migrate": migrate, "revert": { "command": ["/bin/says"] } },
        "policy": edges::policy(&[]),
    });
    apply_shop(namespace, version, &spec).await.unwrap();
    let status = until_ended(namespace, version, "rolled_back").await.unwrap();
    assert!(text(&status, "/history/0/message").contains("500"), "{status}");
    assert!(status.get("left").is_none(), "{status}");
    assert_eq!(selected(namespace).await.unwrap(), "blue");
    let id = text(&status, "/history/0/id");
    let of_it = format!("--selector=cutover.dev/deployment={id}");
    let jobs = namespace.kubectl().run(&["get", "jobs", &of_it, "--output=name"]).await.unwrap();
    let names = jobs.lines().filter_map(|line| line.rsplit_once('-'));
    names.map(|(_, step)| step.to_owned()).collect()
}

#[test]
fn a_version_that_fails_by_itself_has_what_it_has_migrated_reverted() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let (_kubelet, _operator) = live(&namespace, &json!({ "policy": edges::policy(&[]) })).await;
        let nothing = json!({ "command": ["/bin/fails"], "nothingApplied": 3 });
        let jobs = taken_back_by_itself(&namespace, "2-broken", &nothing).await;
        assert_eq!(jobs, ["migrate"], "exit code 3 says that nothing was applied");
        let jobs = taken_back_by_itself(&namespace, "3-broken", &json!({ "command": ["/bin/says"] })).await;
        assert_eq!(jobs, ["migrate", "revert"]);
    });
}
