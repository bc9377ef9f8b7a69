//! The usual deployment of tests.

use std::time::Duration;

use cutover_core::api::Peer;
use cutover_core::deployment::{Plan, Time};
use cutover_core::verdict::reading::Sample;

use crate::journal::Deployment;
use crate::policy::Policy;

/// The policy of the usual deployment.
pub fn policy() -> Policy {
    let policy = serde_json::json!({
        "warm": "20s",
        "migrate": { "command": ["/bin/migrate"], "nothing_applied": 10 },
        "revert": { "command": ["/bin/revert"] },
        "provision": { "command": ["/bin/start"] },
        "decommission": { "command": ["/bin/stop"] },
        "probe": { "deadline": "10s" },
        "smoke": [{ "name": "products", "path": "/products" }],
        "soak": { "duration": "10s" },
        "drain": { "deadline": "5s" },
    });
    serde_json::from_value(policy).unwrap()
}

/// The usual deployment `shop-1` of version 2 from blue to green.
pub fn deployment() -> Deployment {
    let policy = policy();
    let plan = Plan {
        group: "shop".to_owned(),
        from: "blue".to_owned(),
        to: "green".to_owned(),
        migrate: true,
        provision: true,
        revert: true,
        decommission: true,
        probe_deadline: policy.probe.deadline.get(),
        steps: policy.steps.get(),
        soak: policy.soak.duration.get(),
        extend: Duration::ZERO,
        accept_inconclusive: false,
        drain: policy.drain.deadline.get(),
        warm: policy.warm.duration.get(),
        served: [("nginx".to_owned(), Sample::default())].into(),
        probes_only: false,
        known: Default::default(),
        excluded: Vec::new(),
        with: Vec::new(),
    };
    Deployment {
        id: "shop-1".to_owned(),
        version: "2".to_owned(),
        previous: "1".to_owned(),
        asked_by: "a test".to_owned(),
        reason: String::new(),
        started: Time(1_000),
        plan,
        policy,
    }
}

/// Lets a deployment move the traffic in steps.
pub fn in_steps(deployment: &mut Deployment, steps: &[&str]) {
    deployment.policy.steps = serde_json::from_value(serde_json::json!(steps)).unwrap();
    deployment.plan.steps = deployment.policy.steps.get();
}

/// A server on loopback.
pub fn peer(port: u16) -> Peer {
    Peer { address: format!("127.0.0.1:{port}"), server: None, backup: false, down: false }
}
