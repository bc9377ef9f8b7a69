//! The command that helps when the active slot is dead or bad.

use cutover_core::api::Group as Seen;
use cutover_core::deployment::Phase;
use cutover_core::shell::quoted;
use cutover_engine::policy::Policy;
use cutover_engine::world::World;

use super::health::{HealthState, HealthStatus};
use crate::control::{Control, LOOK_BACK, Refusal};

impl<W: World> Control<W> {
    /// The command that helps, or a sentence if there is none. It probes the other slots, and names only what would not be
    /// refused now.
    pub(super) async fn what_helps(&self, seen: &Seen, health: &HealthStatus, policy: &Policy) -> String {
        let group = quoted(&seen.name);
        if let Some(sentence) = self.under_way(&seen.name).await {
            return sentence;
        }
        if self.is_warm_way_back(seen).await {
            return format!("cutover rollback {group}");
        }
        let groups = self.fleet(&seen.name).groups().await.unwrap_or_default();
        let all = self.journal.history(Some(&seen.name), LOOK_BACK).await.unwrap_or_default();
        if let Some(slot) = self.slot_to_switch_to(seen, &groups, &all, policy).await {
            return format!("cutover switch {group} --to {}", quoted(&slot));
        }
        let is_dead = health.state == HealthState::Dead;
        let active = &seen.route.active;
        if is_dead
            && self.started_by(&seen.name, active, None).await.is_ok()
            && self.serves_nobody(seen, active).await.is_ok()
        {
            return format!("cutover run {group} provision");
        }
        let deploy = format!("deploy a version that works, as by: cutover deploy {group} --version VERSION");
        if is_dead { format!("start its servers, or {deploy}") } else { deploy }
    }

    /// What to do while a deployment does other work: its end lets the other commands be typed.
    async fn under_way(&self, group: &str) -> Option<String> {
        let current = self.current(group);
        let current = current.try_lock().ok()?;
        let busy = self.busy(group, &current).await?;
        match busy {
            Refusal::Busy(busy) if busy.may_abort => Some(format!("cutover abort {}", quoted(group))),
            _ => Some("wait for the end of the deployment that is under way".to_owned()),
        }
    }

    /// Whether a rollback to the warm version is possible and helps.
    async fn is_warm_way_back(&self, seen: &Seen) -> bool {
        let open = self.journal.open_deployments().await.unwrap_or_default();
        let warm = open.into_iter().find(|entry| {
            let plan = &entry.deployment.plan;
            let is_warm = matches!(entry.state.phase, Phase::Warm { .. });
            is_warm && plan.group == seen.name && plan.to == seen.route.active
        });
        match warm {
            Some(entry) => {
                let deployment = &entry.deployment;
                self.is_as_before(seen, (deployment, &entry.state), &deployment.policy).await.is_ok()
            }
            None => false,
        }
    }
}
