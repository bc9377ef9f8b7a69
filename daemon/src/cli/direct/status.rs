//! The status as nginx has it.

use std::time::Duration;

use crate::command::Checker;
use crate::peers::HostPeers;
use cutover_core::api::{Group as Seen, Slot};
use cutover_core::shell::quoted;
use cutover_engine::edge::EdgeError;
use cutover_engine::policy::{Check, Policy};
use cutover_engine::prober::Prober;
use cutover_engine::versions::Versions;
use futures_util::future::join_all;

use super::Host;
use crate::cli::{CliError, Place};
use crate::control::{GroupStatus, HealthState, HealthStatus, NextStep, Refusal, SlotStatus, share};

/// How long a probe may keep an operator waiting.
const PATIENCE: Duration = Duration::from_secs(3);

/// The status of one group or of all, from the edges. `why`: why there is no daemon to ask.
pub(in crate::cli) async fn status(
    place: &Place,
    group: Option<&str>,
    why: &str,
) -> Result<Vec<GroupStatus>, CliError> {
    let host = Host::of(place, true)?;
    let groups = &host.loaded.config.group;
    let mut all = Vec::new();
    for (name, policy) in groups {
        let name = name.as_str().to_owned();
        if group.is_none_or(|wanted| wanted == name) {
            all.push(of_group(&host, &name, policy, why).await);
        }
    }
    match (all.is_empty(), group) {
        (true, Some(group)) => {
            let known = groups.keys().map(|name| name.as_str().to_owned()).collect();
            Err(CliError::Refused(Refusal::UnknownGroup { group: group.to_owned(), known }))
        }
        _ => Ok(all),
    }
}

async fn of_group(host: &Host, group: &str, policy: &Policy, why: &str) -> GroupStatus {
    let fleet = host.fleet(&policy.edges);
    let (mut found, mut failed) = (Vec::new(), None);
    for (edge, groups) in fleet.survey().await {
        match groups {
            Ok(groups) => match groups.iter().find(|seen| seen.name == group) {
                Some(seen) => found.push(seen.clone()),
                None => failed = Some(Refusal::not_on_edge(&edge, group, &groups).to_string()),
            },
            Err(error) => failed = Some(error.to_string()),
        }
    }
    let seen = Seen::merged(&found.iter().collect::<Vec<_>>());
    let status = GroupStatus {
        group: group.to_owned(),
        edge_error: seen.is_none().then(|| failed.unwrap_or_else(|| EdgeError::NoEdge.to_string())),
        daemon_away: Some(why.to_owned()),
        ..GroupStatus::default()
    };
    let Some(seen) = seen else { return status };
    let slots: Vec<SlotStatus> = join_all(seen.slots.iter().map(|slot| of_slot(&seen, slot, policy))).await;
    let active = slots.iter().find(|slot| slot.active);
    let health = active.map(|slot| slot.health.clone()).unwrap_or_default();
    let next = next(group, &health, &slots);
    GroupStatus {
        active: Some(seen.route.active.clone()),
        generation: Some(seen.route.generation),
        trial: seen.route.trial.clone(),
        health,
        slots,
        next: Some(next),
        ..status
    }
}

/// The health of a slot by one probe. Unknown if the probe is a command, which runs as the daemon's user only, or takes long.
async fn health(seen: &Seen, slot: &Slot, policy: &Policy) -> HealthStatus {
    if matches!(policy.probe.check, Check::Command(_)) {
        return HealthStatus::default();
    }
    let peers = HostPeers::new(Checker::default());
    let prober = Prober { world: &peers, group: &seen.name, policy, versions: Versions::default() };
    let Ok(found) = tokio::time::timeout(PATIENCE, prober.found(slot)).await else {
        return HealthStatus::default();
    };
    let is_met = policy.probe.require.is_met(found.healthy, found.servers);
    let state = match (is_met, found.healthy) {
        (true, _) => HealthState::Healthy,
        (false, 0) => HealthState::Dead,
        (false, _) => HealthState::Degraded,
    };
    HealthStatus { state, why: Some(found.why).filter(|_| !is_met), ..HealthStatus::default() }
}

async fn of_slot(seen: &Seen, slot: &Slot, policy: &Policy) -> SlotStatus {
    let health = health(seen, slot, policy).await;
    SlotStatus {
        name: slot.name.clone(),
        active: slot.name == seen.route.active,
        traffic: seen.has_traffic(&slot.name),
        standby: seen.standby().is_some_and(|standby| standby.name == slot.name),
        share: share(seen, slot),
        peers: slot.peers.clone(),
        in_flight: slot.in_flight(),
        upgraded: slot.upgraded(),
        health,
        ..SlotStatus::default()
    }
}

/// What works without the daemon.
fn next(group: &str, health: &HealthStatus, slots: &[SlotStatus]) -> NextStep {
    let is_well = |slot: &&SlotStatus| !slot.active && slot.health.state == HealthState::Healthy;
    match slots.iter().find(is_well).filter(|_| health.state == HealthState::Dead) {
        Some(slot) => NextStep {
            command: Some(format!("cutover switch {} --to {}", quoted(group), quoted(&slot.name))),
            purpose: "serves the users again, without the daemon".to_owned(),
        },
        None => {
            NextStep { command: None, purpose: "start the daemon, as by: systemctl start cutover".to_owned() }
        }
    }
}
