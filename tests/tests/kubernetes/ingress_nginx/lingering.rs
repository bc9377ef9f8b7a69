//! Pods of the version that a slot had before, which end slowly: nobody takes them for the new version.

use cutover_tests::kubernetes::front::with_edge;
use cutover_tests::kubernetes::operator::{apply_shop, text, until_status};
use cutover_tests::kubernetes::{Cluster, Front, Kubelet, Namespace, Snippets, StatusWatch};
use serde_json::{Value, json};

fn spec() -> Value {
    json!({ "policy": {
        "probe": { "interval": "100ms", "healthy": 1, "deadline": "8s" },
        "smoke": [{ "name": "front page", "path": "/" }],
        "soak": { "duration": "1s", "interval": "200ms", "on_inconclusive": "promote" },
        "drain": { "deadline": "1s" },
        "warm": "60s",
    } })
}

/// The names of the Pods of a slot.
async fn pods(namespace: &Namespace<'_>, slot: &str) -> Vec<String> {
    let label = format!("slot={slot}");
    let pods = namespace.kubectl().get(&["pods", "-l", &label]).await.unwrap();
    pods["items"].as_array().unwrap().iter().map(|pod| text(pod, "/metadata/name").to_owned()).collect()
}

/// Sets the finalizers of Pods. With one of them a Pod that is deleted goes on until it has none.
async fn set_finalizers(namespace: &Namespace<'_>, pods: &[String], finalizers: Value) {
    let patch = json!({ "metadata": { "finalizers": finalizers } }).to_string();
    for pod in pods {
        namespace.kubectl().run(&["patch", "pod", pod, "--type=merge", "--patch", &patch]).await.unwrap();
    }
}

#[test]
fn a_sick_version_does_not_pass_because_the_one_before_it_still_answers() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let kubelet = Kubelet::start(&namespace);
        let snippets = [Snippets::of_shop(&namespace)];
        let front = Front::start(&namespace, kubelet, &snippets, ("1", &spec(), "/")).await.unwrap();
        let spec = with_edge(&namespace, &spec());
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let warm = |status: &Value| text(status, "/phase") == "Warm";
        until_status(&namespace, "the warm window", warm).await.unwrap();

        let old = pods(&namespace, "blue").await;
        assert_eq!(old.len(), 2);
        set_finalizers(&namespace, &old, json!(["cutover.test/lingers"])).await;
        let mut watch = StatusWatch::begin(namespace.kubectl()).unwrap();
        let first = watch.next().await.unwrap().past;
        apply_shop(&namespace, "3-sick", &spec).await.unwrap();
        let mut phases = Vec::new();
        loop {
            let seen = watch.next().await.unwrap();
            if seen.version == "3-sick" && phases.last() != Some(&seen.phase) {
                phases.push(seen.phase);
            }
            // That of version 2 comes in between.
            if seen.past != first && seen.outcome != "completed" {
                break;
            }
        }
        assert!(front.kubelet.tags().contains_key("1"), "they have ended");
        set_finalizers(&namespace, &old, Value::Null).await;
        phases.retain(|phase| phase != "Failed");
        assert_eq!(phases, ["Provisioning", "Probing", "TearingDown"]);
        assert_eq!(front.slots().await.unwrap(), ["green"]);
        front.stop().await.unwrap();
    });
}
