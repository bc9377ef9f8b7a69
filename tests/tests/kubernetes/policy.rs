//! `spec.policy`: the API server knows its keys, and agrees with the engine.
//!
//! | value | API server | engine |
//! |---|---|---|
//! | right | takes it | takes it |
//! | of a wrong type, form or range | refuses it by its key | refuses it |
//! | wrong in another way, or of an unknown key | takes it | refuses it, so the operator says it in a condition |

use std::collections::BTreeMap;

use cutover_engine::policy::Policy;
use cutover_tests::kubernetes::operator::{install, shop};
use cutover_tests::kubernetes::{Cluster, Namespace};
use serde_json::{Map, Value, json};

mod values;

/// Whether the engine takes a policy.
pub(crate) fn taken_by_engine(policy: &Value) -> Result<(), String> {
    let read: Policy = serde_json::from_value(policy.clone()).map_err(|error| error.to_string())?;
    read.check_signals()?;
    read.check_synthetic().map_err(str::to_owned)
}

/// What the API server says against each policy, by its number.
async fn objections(namespace: &Namespace<'_>, policies: &[Value]) -> BTreeMap<usize, String> {
    let edge = json!({ "ingressNginx": {} });
    let items: Vec<Value> = policies
        .iter()
        .enumerate()
        .map(|(number, policy)| {
            let mut object = shop("1", &json!({ "edge": edge, "policy": policy }));
            object["metadata"]["name"] = json!(format!("p{number}"));
            object
        })
        .collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let said = namespace.kubectl().objections(&list.to_string()).await.unwrap();
    let mut by_number = BTreeMap::new();
    let mut last = None;
    for line in said.lines() {
        let named = line
            .split(['"', '/', ';'])
            .find_map(|word| word.strip_prefix('p')?.parse::<usize>().ok())
            .filter(|_| !line.starts_with('*'));
        last = named.or(last);
        let number = last.unwrap_or_else(|| panic!("it names no object: {said}"));
        by_number.entry(number).or_insert_with(String::new).push_str(line);
    }
    by_number
}

/// A policy with one value, by the path of its key, as in `soak.duration` or `smoke.0.path`.
fn with(path: &str, value: &Value) -> Value {
    let mut keys: Vec<&str> = path.split('.').collect();
    let mut nested = value.clone();
    while let Some(key) = keys.pop() {
        nested = match key.parse::<usize>() {
            Ok(_) => json!([nested]),
            Err(_) => Value::Object(Map::from_iter([(key.to_owned(), nested)])),
        };
    }
    // What the rest of its table needs.
    for (at, needed) in [
        ("/smoke/0", json!({ "name": "a" })),
        ("/signal/0", json!({ "name": "a", "promql": "up", "url": "http://p:9090", "limit": 1 })),
        ("/trial/guard", json!({ "min_requests": 5, "max_error_ratio": 0.5, "window": "3s" })),
    ] {
        if let (Some(table), Value::Object(needed)) =
            (nested.pointer_mut(at).and_then(Value::as_object_mut), needed)
        {
            for (key, value) in needed {
                table.entry(key).or_insert(value);
            }
        }
    }
    let test = nested.pointer_mut("/smoke/0").and_then(Value::as_object_mut);
    let is_request = |test: &Map<String, Value>| match test.get("kind") {
        Some(kind) => kind == "http",
        None => !test.contains_key("service"),
    };
    if let Some(test) = test.filter(|test| is_request(test)) {
        test.entry("path").or_insert(json!("/"));
    }
    // The shortest soak in which a signal can prove something.
    if nested.get("signal").is_some() {
        nested["soak"] = json!({ "duration": "100d" });
    }
    nested
}

#[test]
fn what_the_engine_takes_is_taken_by_the_api_server() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        let mut policies = vec![values::full()];
        for (keys, good, _) in values::by_kind() {
            for key in keys {
                policies.extend(good.iter().map(|value| with(key, value)));
            }
        }
        for policy in &policies {
            taken_by_engine(policy).unwrap_or_else(|why| panic!("{policy}: {why}"));
        }
        let said = objections(&namespace, &policies).await;
        let said: Vec<_> = said.iter().map(|(number, why)| format!("{}: {why}", policies[*number])).collect();
        assert!(said.is_empty(), "of {}: {}", policies.len(), said.join("\n"));
    });
}

#[test]
fn a_wrong_value_is_refused_by_both_and_the_api_server_names_its_key() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        let mut policies = Vec::new();
        for (keys, _, bad) in values::by_kind() {
            for key in keys {
                policies.extend(bad.iter().map(|value| (key, with(key, value))));
            }
        }
        let all: Vec<Value> = policies.iter().map(|(_, policy)| policy.clone()).collect();
        let said = objections(&namespace, &all).await;
        for (number, (key, policy)) in policies.iter().enumerate() {
            assert!(taken_by_engine(policy).is_err(), "the engine takes {policy}");
            let why = said.get(&number).unwrap_or_else(|| panic!("the API server takes {policy}"));
            let named = key.replace(".0", "[0]");
            assert!(why.contains(&format!("spec.policy.{named}")), "{policy}: {why}");
        }
    });
}

#[test]
fn a_rule_over_several_keys_says_what_would_be_right() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        let rules = values::rules();
        let policies: Vec<Value> = rules.iter().map(|(policy, _)| policy.clone()).collect();
        let said = objections(&namespace, &policies).await;
        for (number, (policy, wanted)) in rules.iter().enumerate() {
            assert!(taken_by_engine(policy).is_err(), "the engine takes {policy}");
            let why = said.get(&number).unwrap_or_else(|| panic!("the API server takes {policy}"));
            assert!(why.contains(wanted), "{policy}: {why}");
        }
    });
}

#[test]
fn a_mistyped_key_is_kept_for_the_operator_to_refuse() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        for place in [
            "",
            "soak.",
            "probe.",
            "drain.",
            "warm.",
            "smoke.0.",
            "smoke.0.expect.",
            "signal.0.",
            "trial.guard.",
        ] {
            let policy = with(&format!("{place}typo"), &json!({ "kept": 1 }));
            assert!(taken_by_engine(&policy).unwrap_err().contains("unknown field `typo`"), "{policy}");
            let object = shop("1", &json!({ "edge": { "ingressNginx": {} }, "policy": policy }));
            namespace.kubectl().apply(&object.to_string()).await.unwrap();
            let stored = namespace.kubectl().get(&["bluegreen", "shop"]).await.unwrap();
            assert_eq!(stored.pointer("/spec/policy"), Some(&policy));
        }
    });
}

#[test]
fn kubectl_explains_each_key_with_its_default() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        for (key, words) in [
            ("", ["soak", "same keys", "underscores"]),
            (".soak", ["duration", "Default: \"1m\"", "min_requests"]),
            (".soak.duration", ["How long the new version is watched", "Default: \"1m\"", "string"]),
            (
                ".soak.on_inconclusive",
                ["`extend`: It goes on", "extend rollback promote", "Default: \"rollback\""],
            ),
            (".soak.signals.p99.max", ["fast enough", "string", "MAX"]),
            (".warm", ["a time, or a table", "on_bad", "duration"]),
            (".smoke.expect.status", ["[200, \"300-399\"]", "200-299", "STATUS"]),
            (".probe.port", ["one for each slot", "Another port", "PORT"]),
            (".trial.guard.window", ["How far back", "string", "WINDOW"]),
        ] {
            let asked = format!("bluegreen.spec.policy{key}");
            let said = namespace.kubectl().run(&["explain", &asked]).await.unwrap();
            let one_line = said.split_whitespace().collect::<Vec<_>>().join(" ");
            for word in words {
                assert!(
                    one_line.contains(word) || one_line.contains(&word.to_lowercase()),
                    "{key}: no {word} in {said}"
                );
            }
        }
    });
}

#[test]
fn the_definition_is_small_enough_for_an_annotation() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        let stored = cluster.kubectl().get(&["crd", "bluegreens.cutover.dev"]).await.unwrap();
        let size = stored.get("spec").unwrap().to_string().len();
        // `kubectl apply` without --server-side keeps all of it in an annotation, which may have 262144 bytes.
        assert!(size < 131_072, "{size}");
    });
}
