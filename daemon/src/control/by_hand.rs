//! A switch by hand.
//!
//! The route moves first. Only then does the warm window of the deployment before it end: a switch that the edge does not carry out
//! costs no way back. If the reply stays lost, a fence follows, so that "nothing has moved" stays true.

use std::time::Duration;

use cutover_core::api::{Group as Seen, reason_with};
use cutover_core::deployment::{Event, Phase};
use cutover_engine::edge::{Look, Shift};
use cutover_engine::metrics;
use cutover_engine::policy::Policy;
use cutover_engine::shifting::{Fit, ShiftRequest, Shifted, shift_until_known};
use cutover_engine::world::World;
use tokio::sync::MutexGuard;

use super::{Control, Refusal, Running, SETTLING, live};
use crate::journal::Switch;

/// Tries of a switch until it is given up.
const MOST_TRIES: u32 = 4;
/// An operator waits: an edge that does not answer is not asked for long.
const PATIENCE: Duration = Duration::from_secs(2);
/// A warm window that ends before a switch does would stop the very slot that gets the traffic.
const MARGIN: Duration = Duration::from_secs(60);

/// Where an operator wants the traffic.
#[derive(Clone, Debug)]
pub struct ManualSwitch {
    /// The slot.
    pub to: String,
    /// Why, for the log.
    pub reason: String,
    /// Although it is not healthy.
    pub force: bool,
    /// Who asks.
    pub asked_by: String,
}

/// The slot was good enough when the switch was asked for. It must be so still. Without a policy nothing is asked of it.
struct StillFit<'a, W> {
    control: &'a Control<W>,
    slot: &'a str,
    policy: Option<&'a Policy>,
}

impl<W: World> Fit for StillFit<'_, W> {
    async fn check(&self, look: &Look) -> Result<(), String> {
        match self.policy {
            Some(policy) => self.control.is_fit(&look.group, self.slot, policy).await,
            None => Ok(()),
        }
    }
}

impl<W: World> Control<W> {
    /// Moves the traffic of a group by hand. The answer is the group after it, when nginx has the switch on disk.
    pub async fn switch(&self, group: &str, wanted: ManualSwitch) -> Result<Seen, Refusal> {
        let policy = self.policy_or_last(group).await?;
        self.writable().await?;
        let current = self.current(group);
        let mut current = current.lock().await;
        if let Some(running) = self.not_warm(&current).await {
            return Err(running);
        }
        let look = self.world.look(group).await?;
        if look.group.slot(&wanted.to).is_none() {
            return Err(Refusal::no_such_slot(&look.group, &wanted.to));
        }
        let reason = reason_with(&wanted.reason, &format!(" (by {})", wanted.asked_by));
        let shift = Shift { to: wanted.to.clone(), reason, fence: false };
        if look.route().is_all_on(&wanted.to) {
            // Moves nothing, and is answered when the route is on disk.
            let fit = StillFit { control: self, slot: &wanted.to, policy: None };
            return self.shift(&look, &shift, &fit).await;
        }
        self.nothing_reruns_on(group, &wanted.to)?;
        match self.is_fit(&look.group, &wanted.to, &policy).await {
            Ok(()) => {}
            Err(why) if wanted.force => {
                tracing::warn!(
                    group,
                    slot = wanted.to,
                    why,
                    "switching to a slot that is not healthy, as --force demands"
                );
            }
            Err(why) => return Err(Refusal::Sick { slot: wanted.to, why }),
        }
        if self.is_ending(&current).await {
            self.supersede(&mut current).await?;
        }
        let fit =
            StillFit { control: self, slot: &wanted.to, policy: Some(&policy).filter(|_| !wanted.force) };
        let shifted = self.shift(&look, &shift, &fit).await;
        if let Ok(_) | Err(Refusal::NotOnDisk { .. }) = &shifted {
            metrics::switched(group, "manual");
            let (from, to) = (&look.route().active, &wanted.to);
            tracing::info!(group, from, to, reason = shift.reason, "switched by hand");
            let switch = Switch {
                group: group.to_owned(),
                at: self.clock.now(),
                from: from.clone(),
                to: to.clone(),
                reason: wanted.reason.clone(),
                asked_by: wanted.asked_by.clone(),
            };
            if let Err(error) = self.journal.switched(switch).await {
                tracing::warn!(group, %error, "failed to record the switch");
            }
            if let Some(running) = live(&current).await {
                // It sees for itself that the route has moved, should it not get to hear this.
                let _ = tokio::time::timeout(SETTLING, running.ask(Event::Supersede)).await;
            }
            self.stand_by_for(group, &current).await;
        }
        shifted
    }

    /// Whether a warm window may end while a switch is under way.
    async fn is_ending(&self, current: &MutexGuard<'_, Option<Running>>) -> bool {
        match live(current).await {
            Some(running) => match running.phase().await {
                Phase::Warm { until, .. } => self.clock.now().until(until) < MARGIN,
                _ => true,
            },
            None => false,
        }
    }

    /// Moves the route until the edge has confirmed it, or until it is certain that the switch will never be carried out.
    async fn shift(&self, seen: &Look, shift: &Shift, fit: &StillFit<'_, W>) -> Result<Seen, Refusal> {
        let group = &seen.group.name;
        let request =
            ShiftRequest { group, shift, expected: &seen.revision, tries: MOST_TRIES, patience: PATIENCE };
        let (slot, group) = (shift.to.clone(), group.clone());
        match shift_until_known(&*self.world, &request, fit).await {
            Shifted::Done(now) => Ok(now.group),
            Shifted::NotDone(why) => Err(Refusal::NotSwitched(why)),
            Shifted::Elsewhere(now) => Err(Refusal::NotSwitched(now.moved().text)),
            Shifted::NotDurable(why) => Err(Refusal::NotOnDisk { slot, group, why }),
            Shifted::Uncertain(why) => match self.fence(&group, &shift.reason).await {
                // The reply was lost, the switch was not.
                Some(now) if now.route().is_all_on(&slot) => Ok(now.group),
                Some(now) => Err(Refusal::NotSwitched(format!(
                    "{why}; nothing has moved, and \"{}\" keeps the traffic",
                    now.route().active
                ))),
                None => Err(Refusal::SwitchUnknown { group, why }),
            },
        }
    }

    /// Keeps the traffic where it is, under a new revision: a switch that is still under way cannot be carried out after
    /// that. `None`: the edge has not confirmed it.
    async fn fence(&self, group: &str, reason: &str) -> Option<Look> {
        let now = self.world.look(group).await.ok()?;
        let to = now.route().active.clone();
        let shift = Shift { to, reason: reason.to_owned(), fence: true };
        self.world.shift(group, &shift, &now.revision).await.ok()
    }
}
