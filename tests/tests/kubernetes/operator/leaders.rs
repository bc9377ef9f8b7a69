//! Several operators: one drives, and another goes on when it sleeps. `killed` has those that are killed.

use cutover_tests::kubernetes::operator::{Operator, apply_shop, selected, text, until_ended, until_status};
use cutover_tests::kubernetes::{self, Cluster, StatusWatch};
use cutover_tests::process::Signal;
use serde_json::{Value, json};

use super::live;

fn policy() -> Value {
    json!({ "policy": {
        "probe": { "interval": "200ms", "deadline": "20s" },
        "smoke": [{ "name": "front page", "path": "/" }],
        "soak": { "duration": "2s", "interval": "200ms" },
        "drain": { "deadline": "1s" },
        "warm": "2s",
    } })
}

/// It is stopped while it probes once more: the next thing it does when it wakes up is the move.
#[test]
fn a_leader_that_has_slept_cannot_write_and_cannot_move_traffic() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let mut policy = policy();
        policy["policy"]["warm"] = json!("60s");
        let (_kubelet, mut leader) = live(&namespace, &policy).await;
        let kubeconfig = namespace.kubectl().kubeconfig().clone();
        let _next = Operator::start_as(&namespace, "operator-1", &kubeconfig).unwrap();
        let mut watch = StatusWatch::begin(namespace.kubectl()).unwrap();
        apply_shop(&namespace, "2-slow", &policy).await.unwrap();
        while !watch.next().await.unwrap().message.contains("probing once more and switching") {}
        leader.server().signal(Signal::STOP).unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "blue", "it has moved before it slept");

        let warm = |status: &Value| text(status, "/phase") == "Warm";
        until_status(&namespace, "the next one to complete it", warm).await.unwrap();
        super::run_typed(&namespace, &format!("cutover-operator rollback shop -n {}", namespace.name()))
            .await;
        let status = until_ended(&namespace, "2-slow", "rolled_back").await.unwrap();
        let service = async || {
            let service = namespace.kubectl().get(&["service", "shop"]).await.unwrap();
            service.pointer("/metadata/resourceVersion").cloned()
        };
        let written = (status.get("epoch").cloned(), service().await);
        leader.server().signal(Signal::CONT).unwrap();
        // It ends when it sees that the Lease is another's.
        kubernetes::until("its end", async || !leader.server().runs()).await.unwrap();
        let status = until_status(&namespace, "the status", |_| true).await.unwrap();
        assert_eq!(
            (status.get("epoch").cloned(), service().await),
            written,
            "the one that slept has written"
        );
        assert_eq!(text(&status, "/history/0/outcome"), "rolled_back");
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
    });
}

#[test]
fn a_record_that_cannot_be_read_leaves_the_traffic_where_it_is_until_somebody_gives_it_up() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let (_kubelet, mut leader) = live(&namespace, &policy()).await;
        leader.server().kill();
        let damaged = json!({ "status": { "deployment": {
            "id": "shop-1", "version": "2", "slot": "green", "started": "2026-11-30T10:00:00.000Z",
            "entry": { "of": "a later version" }, "state": {},
        } } });
        let words = [
            "patch",
            "bluegreen",
            "shop",
            "--subresource=status",
            "--type=merge",
            "--patch",
            &damaged.to_string(),
        ];
        namespace.kubectl().run(&words).await.unwrap();
        let kubeconfig = namespace.kubectl().kubeconfig().clone();
        let _next = Operator::start_as(&namespace, "operator-1", &kubeconfig).unwrap();
        let advice = |status: &Value| {
            let conditions =
                status.pointer("/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
            let unread = conditions.iter().find(|one| text(one, "/reason") == "Unreadable").cloned();
            unread.and_then(|one| Some(text(&one, "/message").rsplit_once("type: ")?.1.to_owned()))
        };
        let status = until_status(&namespace, "the advice", |status| advice(status).is_some()).await.unwrap();
        apply_shop(&namespace, "3", &policy()).await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "blue");
        super::run_typed(&namespace, &advice(&status).unwrap()).await;
        until_ended(&namespace, "3", "completed").await.unwrap();
    });
}
