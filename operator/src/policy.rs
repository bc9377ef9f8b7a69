//! The policy of a `BlueGreen`: the same as `[group.NAME]` has on hosts, with Deployments in place of commands.

use cutover_engine::policy::{Check, Policy, Smoke, SmokeKind};
use serde_json::{Map, Value, json};

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
    ("diagnose", "the events and logs of the Pods"),
    ("switched", "the events of the BlueGreen"),
];

/// Reads the policy of a spec. The error is one line and names the key.
pub fn policy(spec: &BlueGreenSpec) -> Result<Policy, String> {
    let mut keys = spec.policy.clone();
    let has_trials = matches!(spec.edge, EdgeSpec::IngressNginx(_));
    let elsewhere = ELSEWHERE.into_iter().filter(|(key, _)| *key != "trial" || !has_trials);
    if let Some((key, used)) = elsewhere.into_iter().find(|(key, _)| keys.contains_key(*key)) {
        return Err(format!("spec.policy.{key}: this key is for hosts; use {used}"));
    }
    if spec.promotion == Promotion::Manual && keys.get("steps").is_some() {
        return Err("spec.promotion: Manual has no effect beside spec.policy.steps: write a step \"0.01% manual\" first".to_owned());
    }
    if let Err(error) = humantime::parse_duration(&spec.settle) {
        return Err(format!("spec.settle: \"{}\" is no time, as in \"10s\": {error}", spec.settle));
    }
    if matches!(spec.edge, EdgeSpec::ArgoRollouts(_)) {
        if spec.migrations.is_some() {
            return Err(
                "spec.migrations: there are no Jobs beside a Rollout of Argo: migrate in an init container, or use Deployments \
                 and another edge"
                    .to_owned(),
            );
        }
        if spec.replicas.is_some() || spec.warm_replicas.is_some() {
            return Err(
                "spec.replicas and spec.warmReplicas: Argo Rollouts scales its ReplicaSets: set replicas in the Rollout"
                    .to_owned(),
            );
        }
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
    match has_trials {
        // nginx with the module can take a version back by itself. Where another one balances, it cannot rescue.
        true => drop(keys.entry("trial").or_insert_with(|| json!({ "rescue": false }))),
        false => {
            keys.insert("trial".to_owned(), json!({ "lease": "off", "guard": false, "rescue": false }));
        }
    }
    let policy: Policy =
        serde_json::from_value(Value::Object(keys)).map_err(|error| format!("spec.policy: {error}"))?;
    policy.check_signals().map_err(|why| format!("spec.policy: {why}"))?;
    policy.check_synthetic().map_err(|why| format!("spec.policy.soak.{why}"))?;
    if let Some(key) = program(&policy) {
        return Err(format!(
            "spec.policy.{key}: the operator runs no programs: use a check of kind http, tcp or grpc"
        ));
    }
    Ok(policy)
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
