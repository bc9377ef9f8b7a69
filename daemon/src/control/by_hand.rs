//! Switches by hand.
//!
//! The route moves first, and then the warm window of the last deployment ends, so a failed switch keeps the way back. If the
//! reply of the edge is lost, a fence follows, so a switch that is reported as failed cannot take effect later.

use std::time::Duration;

use cutover_core::api::{Group as Seen, reason_with};
use cutover_core::deployment::{Event, Phase};
use cutover_core::shell::quoted;
use cutover_engine::edge::{Look, Shift};
use cutover_engine::metrics;
use cutover_engine::policy::Policy;
use cutover_engine::shifting::Fit;
use cutover_engine::world::World;
use tokio::sync::MutexGuard;

use super::running::{Running, SETTLING, live};
use super::{Control, Refusal, Waiting};
use crate::journal::Switch;

mod route;

pub use route::move_route;

/// A warm window with less time left ends before the switch, because its end would stop the slot that gets the traffic.
const MARGIN: Duration = Duration::from_secs(60);

/// A request for a switch by hand.
#[derive(Clone, Debug)]
pub struct ManualSwitch {
    /// The slot.
    pub to: String,
    /// The reason, for the log and the history.
    pub reason: String,
    /// Whether to switch even if the slot is not healthy.
    pub force: bool,
    /// Who requests it.
    pub asked_by: String,
    /// What a caller that waits for its turn has seen.
    pub waiting: Option<Waiting>,
}

/// Checks before each try that the slot is still healthy. Without a policy there is no check.
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
    /// Moves the traffic of a group by hand. Returns the group after the switch, when the switch is on disk.
    pub async fn switch(&self, group: &str, wanted: ManualSwitch) -> Result<Seen, Refusal> {
        self.leading()?;
        let policy = self.policy_or_last(group).await?;
        self.writable(&policy).await?;
        let current = self.current(group);
        let mut current = current.lock().await;
        if let Some(busy) = self.busy(group, &current).await {
            return Err(busy);
        }
        self.nothing_stops(group, &wanted.to, &current).await?;
        let look = self.fleet(group).look(group).await?.whole()?;
        if look.group.slot(&wanted.to).is_none() {
            return Err(Refusal::no_such_slot(&look.group, &wanted.to));
        }
        self.leads_back_or_is_not_frozen(&look.group, &wanted.to).await?;
        let again = format!("cutover switch {} --to {}", quoted(group), quoted(&wanted.to));
        self.nothing_went_back(group, wanted.waiting.as_ref(), &again).await?;
        let reason = reason_with(&wanted.reason, &format!(" (by {})", wanted.asked_by));
        let shift = Shift { to: wanted.to.clone(), reason, share: None, trial: None, fence: false };
        if look.route().is_all_on(&wanted.to) {
            // This moves nothing. The edge answers when the route is on disk.
            let fit = StillFit { control: self, slot: &wanted.to, policy: None };
            return move_route(&self.fleet(group), &look, &shift, &fit).await;
        }
        self.may_switch_beside(group, &wanted.to, wanted.force)?;
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
            Err(why) => return Err(Refusal::Sick { slot: wanted.to, group: group.to_owned(), why }),
        }
        // The probes have taken their time.
        self.nothing_stops(group, &wanted.to, &current).await?;
        self.may_switch_beside(group, &wanted.to, wanted.force)?;
        if self.is_ending(&current).await {
            self.supersede(&mut current).await?;
        }
        let fit =
            StillFit { control: self, slot: &wanted.to, policy: Some(&policy).filter(|_| !wanted.force) };
        // If this daemon dies, the next leader fences the group.
        self.journal.moving(group).await?;
        let shifted = move_route(&self.fleet(group), &look, &shift, &fit).await;
        if !matches!(shifted, Err(Refusal::SwitchUnknown { .. }))
            && let Err(error) = self.journal.moved(group).await
        {
            tracing::warn!(group, %error, "failed to record the end of a switch by hand");
        }
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
            if let Some((running, phase)) = live(&current).await
                && phase.only_watches()
            {
                // If the driver does not answer in time, it notices by itself that the route has moved.
                let _ = tokio::time::timeout(SETTLING, running.ask(Event::Supersede)).await;
            }
            let how = format!("switched by hand to slot \"{to}\" by {}", wanted.asked_by);
            self.settle_by_hand(group, to, &how).await;
            self.stand_by_for(group, &current).await;
            self.nudge(group).await;
        }
        shifted
    }

    /// Whether the warm window may end during the switch.
    async fn is_ending(&self, current: &MutexGuard<'_, Option<Running>>) -> bool {
        match live(current).await {
            Some((_, Phase::Warm { until, .. })) => self.clock.now().until(until) < MARGIN,
            // Other work does not touch the slot that gets the traffic.
            _ => false,
        }
    }
}
