//! What a deployment would do, step by step, in the words of a cluster.

use cutover_core::api::{Group, RouteState, Slot};
use cutover_engine::foreseen::DeploymentPlan;
use cutover_engine::policy::Policy;

use super::candidate::Candidate;
use super::finding::Finding;
use super::seen::{Seen, selector};
use crate::edge::abilities;
use crate::resource::{EdgeSpec, JobSpecOf, Promotion};
use crate::words;

/// The plan of the next deployment. The slot with the traffic is that of the status, or of the selector of the Service.
pub(super) fn plan(candidate: &Candidate, seen: &Seen, policy: &Policy) -> Option<DeploymentPlan> {
    let slots: Vec<String> = candidate.setup.slots.keys().cloned().collect();
    let status = candidate.resource.status.as_ref().and_then(|status| status.active_slot.clone());
    let active = status.or_else(|| selected(candidate, seen)).or_else(|| slots.first().cloned())?;
    let slot = |name: &String| Slot { name: name.clone(), ..Slot::default() };
    let route = RouteState { active, generation: 0, split: None, trial: None, standby: None };
    let name = candidate.setup.name.clone();
    let group = Group { name, route, slots: slots.iter().map(slot).collect(), events: Vec::new() };
    let mut plan = DeploymentPlan::of(policy, &group)?;
    let (from, to) = (plan.from.clone(), plan.to.clone());
    let driven = policy.plan(&candidate.setup.name, &from, &to);
    for step in &mut plan.steps {
        step.does = match step.step {
            "provision" => started(candidate, policy, &to),
            "decommission" => stopped(candidate, &from),
            "migrate" => {
                let migrate = candidate.setup.migrations.as_ref().map(|its| &its.migrate);
                migrate.map_or_else(String::new, |job| format!("a Job: {}", typed(job)))
            }
            "way back" => way_back(candidate, &from, &to),
            _ => words::of_cluster(&step.does, &driven, &candidate.setup)
                .replace("its servers", "each Pod")
                .replace("each server", "each Pod")
                .replace("the daemon", "the operator"),
        };
    }
    if candidate.spec().promotion == Promotion::Manual
        && let Some(first) = plan.steps.iter_mut().find(|step| step.step == "switch")
    {
        let promote = words::of_cluster(
            &format!("cutover promote {}", cutover_core::shell::quoted(&candidate.setup.name)),
            &driven,
            &candidate.setup,
        );
        first.does = format!("{}; before it, it waits for: {promote}", first.does);
    }
    Some(plan)
}

/// The slot whose selector the Service has that users reach.
fn selected(candidate: &Candidate, seen: &Seen) -> Option<String> {
    let now = seen.service(&candidate.setup.service).map(selector)?;
    let mut slots = candidate.setup.slots.iter();
    let found = slots.find(|(_, slot)| seen.service(&slot.service).is_some_and(|one| selector(one) == now));
    found.map(|(name, _)| name.clone())
}

fn started(candidate: &Candidate, policy: &Policy, slot: &str) -> String {
    let limit = policy.provision.as_ref().map(|command| command.timeout.to_string()).unwrap_or_default();
    let image = candidate.setup.template.as_ref().and_then(|template| template.image.as_deref());
    let image = image.map_or_else(String::new, |image| format!("image {image}, "));
    let what = match &candidate.setup.edge {
        EdgeSpec::ArgoRollouts(argo) => {
            format!("Rollout {} gets {image}and pauses before its promotion", argo.rollout)
        }
        _ => {
            let deployment =
                candidate.setup.slots.get(slot).map(|slot| slot.deployment.as_str()).unwrap_or_default();
            let pods = candidate.setup.replicas.map_or_else(
                || "as many Pods as the slot with the traffic".to_owned(),
                |number| format!("{number} Pods"),
            );
            format!("Deployment {deployment} gets {image}{pods}")
        }
    };
    format!("{what}; all must be ready within {limit}")
}

fn stopped(candidate: &Candidate, slot: &str) -> String {
    match &candidate.setup.edge {
        EdgeSpec::ArgoRollouts(argo) => format!("Rollout {} scales its old ReplicaSet down", argo.rollout),
        _ => {
            let deployment =
                candidate.setup.slots.get(slot).map(|slot| slot.deployment.as_str()).unwrap_or_default();
            format!("scale Deployment {deployment} of \"{slot}\" to 0")
        }
    }
}

fn way_back(candidate: &Candidate, from: &str, to: &str) -> String {
    let revert = candidate.setup.migrations.as_ref().and_then(|its| its.revert.as_ref());
    let revert = revert.map_or_else(String::new, |job| format!("; then a Job: {}", typed(job)));
    format!("if it is bad: all traffic to \"{from}\", wait for the requests on \"{to}\"{revert}")
}

fn typed(job: &JobSpecOf) -> String {
    let words = job.command.iter().chain(&job.args);
    words.map(|word| cutover_core::shell::quoted(word)).collect::<Vec<_>>().join(" ")
}

/// What the policy wants and the edge cannot do.
pub(super) fn abilities_of(candidate: &Candidate, policy: &Policy, findings: &mut Vec<Finding>) {
    let can = abilities(&candidate.spec().edge);
    if let Some(missing) = can.missing_for(&policy.plan(&candidate.setup.name, "", "")) {
        let text = format!("this edge {missing}: remove the steps, or use an edge with shares");
        let at = candidate.at("spec.policy.steps");
        let value = candidate.spec().policy.get("steps").cloned().unwrap_or_default();
        let without = serde_json::json!({ "policy": { "steps": null } });
        findings.push(Finding::problem(at, text).value(value).fix(candidate.change(&without)));
    }
    if can.leaves_probes_only(policy) && policy.smoke.is_empty() {
        let text = format!(
            "a new version is {} and no smoke test asks for what users need: add one, synthetic requests, or a signal",
            cutover_engine::edge::PROBES_ONLY
        );
        let smoke = serde_json::json!([{ "name": "the front page answers", "path": "/" }]);
        let with =
            serde_json::json!({ "policy": { "smoke": smoke, "soak": { "synthetic": { "smoke": true } } } });
        findings.push(Finding::warning(candidate.at("spec.policy"), text).fix(candidate.change(&with)));
    }
}
