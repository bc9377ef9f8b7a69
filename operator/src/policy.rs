//! The policy of a `BlueGreen`: the same as `[group.NAME]` has on hosts, with Deployments in place of commands.

use cutover_engine::policy::{Check, Policy, Smoke, SmokeKind};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::resource::{BlueGreenSpec, EdgeSpec, Promotion};

/// Keys of a group on hosts that make no sense here, and what is used in their place.
const ELSEWHERE: [(&str, &str); 12] = [
    ("edges", "spec.edge"),
    ("fleet", "spec.edge"),
    ("provision", "spec.template and spec.slots"),
    ("decommission", "spec.slots and spec.policy.warm"),
    ("env", "the Pod template"),
    ("trial", "spec.edge"),
    ("database", "spec.migrations"),
    ("migrate", "spec.migrations.migrate"),
    ("revert", "spec.migrations.revert"),
    ("plan", "spec.migrations"),
    ("diagnose", "spec.hooks.diagnose"),
    ("switched", "spec.hooks.switched"),
];

/// A key of a spec that cannot be. It is one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {why}")]
pub struct Refused {
    /// The key, as in `spec.policy.soak`.
    pub key: String,
    /// Why, and what would be right.
    pub why: String,
}

fn refused(key: impl Into<String>, why: impl Into<String>) -> Refused {
    Refused { key: key.into(), why: why.into() }
}

/// Reads the policy of a spec.
pub fn policy(spec: &BlueGreenSpec) -> Result<Policy, Refused> {
    let mut keys = spec.policy.clone();
    let has_trials = matches!(spec.edge, EdgeSpec::IngressNginx(_));
    let elsewhere = ELSEWHERE.into_iter().filter(|(key, _)| *key != "trial" || !has_trials);
    if let Some((key, used)) = elsewhere.into_iter().find(|(key, _)| keys.contains_key(*key)) {
        return Err(refused(format!("spec.policy.{key}"), format!("this key is for hosts; use {used}")));
    }
    if spec.promotion == Promotion::Manual && keys.get("steps").is_some() {
        let why = "Manual has no effect beside spec.policy.steps: write a step \"0.01% manual\" first";
        return Err(refused("spec.promotion", why));
    }
    if let Err(error) = humantime::parse_duration(&spec.settle) {
        let why = format!("\"{}\" is no time, as in \"10s\": {error}", spec.settle);
        return Err(refused("spec.settle", why));
    }
    if matches!(spec.edge, EdgeSpec::ArgoRollouts(_)) {
        beside_argo(spec)?;
    }
    keys.insert("provision".to_owned(), command("start", Some(&spec.provision_deadline)));
    keys.insert("decommission".to_owned(), command("stop", None));
    if let Some(migrations) = &spec.migrations {
        let mut migrate = command("migrate", Some(&migrations.deadline));
        if let (Some(keys), Some(code)) = (migrate.as_object_mut(), migrations.migrate.nothing_applied) {
            keys.insert("nothing_applied".to_owned(), json!(code));
        }
        keys.insert("migrate".to_owned(), migrate);
        if migrations.revert.is_some() {
            keys.insert("revert".to_owned(), command("revert", Some(&migrations.deadline)));
        }
    }
    if let Some(diagnose) = spec.hooks.as_ref().and_then(|hooks| hooks.diagnose.as_ref()) {
        keys.insert("diagnose".to_owned(), command("diagnose", Some(&diagnose.deadline)));
    }
    match has_trials {
        // nginx with the module can take a version back by itself. Where another one balances, it cannot rescue.
        true => drop(keys.entry("trial").or_insert_with(|| json!({ "rescue": false }))),
        false => {
            keys.insert("trial".to_owned(), json!({ "lease": "off", "guard": false, "rescue": false }));
        }
    }
    let policy: Policy = serde_json::from_value(Value::Object(keys))
        .map_err(|error| refused(wrong_key(&spec.policy), error.to_string()))?;
    policy.check_signals().map_err(|why| refused("spec.policy", why))?;
    policy.check_synthetic().map_err(|why| refused("spec.policy.soak", why))?;
    if let Some(key) = program(&policy) {
        let why = "the operator runs no programs: use a check of kind http, tcp or grpc";
        return Err(refused(format!("spec.policy.{key}"), why));
    }
    Ok(policy)
}

/// What a Rollout of Argo does by itself.
fn beside_argo(spec: &BlueGreenSpec) -> Result<(), Refused> {
    if spec.migrations.is_some() {
        let why = "there are no Jobs beside a Rollout of Argo: migrate in an init container, or use Deployments and another edge";
        return Err(refused("spec.migrations", why));
    }
    if spec.hooks.is_some() {
        let why =
            "there are no Jobs beside a Rollout of Argo: use its analyses, or Deployments and another edge";
        return Err(refused("spec.hooks", why));
    }
    for (key, number) in [("replicas", spec.replicas), ("warmReplicas", spec.warm_replicas)] {
        if number.is_some() {
            let why = "Argo Rollouts scales its ReplicaSets: set replicas in the Rollout";
            return Err(refused(format!("spec.{key}"), why));
        }
    }
    Ok(())
}

/// The key of the policy that cannot be read by itself.
fn wrong_key(keys: &Map<String, Value>) -> String {
    let alone = |(key, value): &(&String, &Value)| {
        let only: Map<String, Value> = [((*key).clone(), (*value).clone())].into_iter().collect();
        serde_json::from_value::<Policy>(Value::Object(only)).is_err()
    };
    keys.iter().find(alone).map_or("spec.policy".to_owned(), |(key, _)| format!("spec.policy.{key}"))
}

/// What the engine calls a command: the operator does it by itself.
fn command(what: &str, timeout: Option<&str>) -> Value {
    let mut command = Map::new();
    command.insert("command".to_owned(), json!([format!("/cutover/{what}")]));
    if let Some(timeout) = timeout {
        command.insert("timeout".to_owned(), json!(timeout));
    }
    Value::Object(command)
}

/// The first key that would run a program.
fn program(policy: &Policy) -> Option<String> {
    if matches!(policy.probe.check, Check::Command(_)) {
        return Some("probe".to_owned());
    }
    let runs = |smoke: &&Smoke| !matches!(smoke.kind(), SmokeKind::Check { check, .. } if !matches!(check, Check::Command(_)));
    policy.smoke.iter().find(runs).map(|smoke| format!("smoke \"{}\"", smoke.name))
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;

    use super::*;
    use crate::resource::BlueGreen;

    fn spec(edge: &Value, trial: Option<Value>) -> BlueGreenSpec {
        let slot = |name: &str| json!({ "deployment": name, "service": name });
        let mut spec = json!({
            "service": "shop",
            "slots": { "blue": slot("blue"), "green": slot("green") },
            "edge": edge,
            "version": "1",
        });
        if let Some(trial) = trial {
            spec["policy"] = json!({ "trial": trial });
        }
        serde_json::from_value(spec).unwrap()
    }

    /// The keys that the engine names when it meets one that it does not know.
    fn known(place: &str) -> Vec<String> {
        let mut policy = json!({ "nonexistent": 1 });
        for key in place.split('.').rev().filter(|key| !key.is_empty()) {
            policy = if key == "0" { json!([policy]) } else { json!({ key: policy }) };
        }
        let said = serde_json::from_value::<Policy>(policy).unwrap_err().to_string();
        let (_, expected) = said.split_once("expected ").unwrap_or_else(|| panic!("{place}: {said}"));
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn each_key_of_the_engine_is_in_the_definition_or_has_another_place() {
        let definition = serde_json::to_value(BlueGreen::crd()).unwrap();
        let policy = definition
            .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/policy")
            .unwrap();
        let elsewhere: Vec<&str> =
            ELSEWHERE.iter().map(|(key, _)| *key).filter(|key| *key != "trial").collect();
        let programs = ["command", "cwd", "hurl"];
        for (place, without, least) in [
            ("", &elsewhere[..], 20),
            ("probe", &programs, 15),
            ("probe.expect", &[], 5),
            ("probe.tls", &[], 5),
            ("smoke.0", &programs, 15),
            ("smoke.0.expect", &[], 5),
            ("smoke.0.tls", &[], 5),
            ("smoke.0.capture.word", &[], 3),
            ("warmup", &[], 5),
            ("soak", &[], 14),
            ("soak.synthetic", &[], 6),
            ("soak.synthetic.expect", &[], 5),
            ("soak.signals", &[], 11),
            ("signal.0", &[], 12),
            ("trial", &[], 3),
            ("trial.guard", &[], 3),
            ("warm", &[], 2),
            ("drain", &[], 1),
        ] {
            let at: String = place
                .split('.')
                .filter(|key| !key.is_empty())
                .map(|key| match key {
                    "0" => "/items".to_owned(),
                    "word" => "/additionalProperties".to_owned(),
                    key => format!("/properties/{key}"),
                })
                .collect();
            let schema = policy.pointer(&format!("{at}/properties")).unwrap().as_object().unwrap();
            let known = known(place);
            assert!(known.len() >= least, "{place}: {known:?}");
            for key in &known {
                let is_there = schema.contains_key(key);
                assert_ne!(is_there, without.contains(&key.as_str()), "{place}: {key}");
                let says = schema.get(key).and_then(|key| key.get("description")).and_then(Value::as_str);
                assert!(
                    !is_there || says.is_some_and(|says| says.len() > 10),
                    "{place}: nobody says what {key} is"
                );
            }
            assert!(schema.keys().all(|key| known.contains(key)), "{place}: {:?}", schema.keys());
        }
    }

    #[test]
    fn only_an_edge_that_can_take_a_version_back_has_trials() {
        let (service, nginx) = (json!({ "service": {} }), json!({ "ingressNginx": {} }));
        let lease = || Some(json!({ "lease": "7s" }));
        let refused = policy(&spec(&service, lease())).unwrap_err().to_string();
        assert!(refused.starts_with("spec.policy.trial: this key is for hosts"), "{refused}");
        assert!(!policy(&spec(&service, None)).unwrap().wants_trial());
        let usual = policy(&spec(&nginx, None)).unwrap();
        assert!(usual.wants_trial() && !usual.rescues() && usual.trial.lease.is_some());
        let own = policy(&spec(&nginx, lease())).unwrap();
        assert_eq!(own.trial.lease.map(|lease| lease.get()), Some(std::time::Duration::from_secs(7)));
    }
}
