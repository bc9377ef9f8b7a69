//! What nobody reads in statuses, events and logs: the token of the agents, and the values of headers of probes.

use cutover_tests::kubernetes::front::with_edge;
use cutover_tests::kubernetes::operator::{apply_shop, text, until_ended, until_soaking};
use cutover_tests::kubernetes::{Cluster, Front, Kubelet, Namespace, Snippets, TOKEN};
use serde_json::{Value, json};

/// The values of headers of the policy.
const HEADERS: [&str; 3] =
    ["Bearer of-the-probe-4711", "Bearer of-the-smoke-4712", "Bearer of-the-soak-4713"];

fn spec() -> Value {
    let [probe, smoke, soak] = HEADERS.map(|value| json!({ "Authorization": value }));
    json!({ "policy": {
        "probe": { "interval": "200ms", "deadline": "5s", "headers": probe },
        "smoke": [{ "name": "front page", "path": "/", "headers": smoke }],
        "soak": {
            "duration": "2s", "interval": "200ms", "on_inconclusive": "promote",
            "synthetic": { "path": "/", "headers": soak },
        },
        "drain": { "deadline": "1s" },
        "warm": "1s",
    } })
}

/// Fails if a text has one of the secrets.
fn assert_none(secrets: &[&str], what: &str, text: &str) {
    for secret in secrets {
        let at = text.find(secret);
        let around = at.map(|at| text.chars().skip(at.saturating_sub(300)).take(600).collect::<String>());
        assert_eq!(around, None, "{what} has \"{secret}\"");
    }
}

/// The status, in which the journal of a deployment that is under way has the spec as it was at its beginning.
async fn assert_none_in_status(namespace: &Namespace<'_>, mut status: Value) {
    assert_none(&[TOKEN], "the status", &status.to_string());
    if let Some(entry) = status.pointer_mut("/deployment/entry") {
        entry.take();
    }
    assert_none(&HEADERS, "the status", &status.to_string());
    let events = namespace.kubectl().run(&["get", "events", "--output=json"]).await.unwrap();
    assert_none(&[TOKEN], "an event", &events);
    assert_none(&HEADERS, "an event", &events);
}

#[test]
fn no_status_event_or_log_has_a_token_or_the_value_of_a_header() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let snippets = [Snippets::of_shop(&namespace)];
        let kubelet = Kubelet::start(&namespace);
        let mut front = Front::start(&namespace, kubelet, &snippets, ("1", &spec(), "/")).await.unwrap();
        let spec = with_edge(&namespace, &spec());
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let soaks = until_soaking(&namespace);
        assert_none_in_status(&namespace, soaks.await.unwrap()).await;
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        assert_none_in_status(&namespace, status).await;
        for (version, said) in [("3-broken", "smoke \"front page\""), ("4-sick", "503")] {
            apply_shop(&namespace, version, &spec).await.unwrap();
            let status = until_ended(&namespace, version, "failed").await.unwrap();
            assert!(text(&status, "/history/0/message").contains(said), "{status}");
            assert_none_in_status(&namespace, status).await;
        }
        for (what, server) in
            [("the operator's log", front.operator.server()), ("the agent's log", front.agents[0].server())]
        {
            let log = server.log();
            assert!(!log.is_empty(), "{what}");
            assert_none(&[TOKEN], what, &log);
            assert_none(&HEADERS, what, &log);
        }
        front.stop().await.unwrap();
    });
}
