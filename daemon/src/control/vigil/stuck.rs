//! A stuck deployment goes on being watched. It ends when its group is well, or when an operator has moved the traffic.

use cutover_core::api::Group as Seen;
use cutover_core::deployment::Time;
use cutover_engine::metrics;
use cutover_engine::policy::Policy;
use cutover_engine::world::World;

use super::{Kept, Vigils};
use crate::control::Control;
use crate::journal::{Entry, JournalError};

/// What is known of the last deployment of a group.
#[derive(Debug, Default)]
pub(super) enum Last {
    /// The journal has not been asked since the last deployment began.
    #[default]
    Unknown,
    /// It needs no operator.
    Fine,
    /// It is stuck.
    Stuck(Box<Entry>),
}

impl Vigils {
    /// Whether the driver of the last deployment has ended stuck.
    fn ended_stuck(&self, group: &str) -> bool {
        self.deployments.lock().get(group).is_some_and(|state| state.borrow().phase.needs_operator())
    }

    /// Another deployment is the last one of the group now.
    pub(super) fn forget_last(&self, group: &str) {
        if let Some(kept) = self.groups.lock().get(group) {
            *kept.last.lock() = Last::Unknown;
        }
    }
}

impl<W: World> Control<W> {
    /// Ends the last deployment of a group, if it is stuck and an operator has moved the traffic by hand.
    pub(in crate::control) async fn settle_by_hand(&self, group: &str, active: &str, how: &str) {
        if let Ok(Some(entry)) = self.stuck(group).await {
            self.end_stuck(&entry, active, how).await;
        }
        self.vigils.forget_last(group);
    }

    /// The last deployment of a group has stopped to be stuck, and the journal has that.
    pub(in crate::control) fn no_longer_stuck(&self, group: &str) {
        metrics::phase(group, None);
        // The driver's last state still says stuck.
        let mut deployments = self.vigils.deployments.lock();
        deployments.retain(|name, state| name != group || !state.borrow().phase.needs_operator());
        drop(deployments);
        self.vigils.forget_last(group);
    }

    /// Ends a stuck deployment once its group has been well for as long as a soak: the active slot is healthy since `well`, and
    /// has all the traffic for good.
    pub(super) async fn settle(
        &self,
        group: &str,
        policy: &Policy,
        kept: &Kept,
        seen: &Seen,
        well: Option<Time>,
    ) {
        if !self.journal.leads() {
            return;
        }
        let entry = match &*kept.last.lock() {
            Last::Fine if !self.vigils.ended_stuck(group) => return,
            Last::Stuck(entry) => Some(entry.clone()),
            Last::Fine | Last::Unknown => None,
        };
        let entry = match entry {
            Some(entry) => entry,
            None => match self.stuck(group).await {
                Ok(Some(entry)) => {
                    metrics::phase(group, Some(entry.state.phase.name()));
                    Box::new(entry)
                }
                Ok(None) => {
                    *kept.last.lock() = Last::Fine;
                    return;
                }
                Err(_) => return,
            },
        };
        let is_settled = seen.route.is_all_on(&seen.route.active);
        let since = well.filter(|_| is_settled).map(|well| well.max(entry.updated));
        let is_long = since.is_some_and(|since| since.until(self.clock.now()) >= policy.soak.duration.get());
        *kept.last.lock() = match is_long {
            true => {
                let slot = &seen.route.active;
                let how = format!("slot \"{slot}\" has all the traffic and is healthy");
                self.end_stuck(&entry, slot, &how).await;
                Last::Unknown
            }
            false => Last::Stuck(entry),
        };
    }

    /// The last deployment of a group, if it needs an operator.
    async fn stuck(&self, group: &str) -> Result<Option<Entry>, JournalError> {
        let last = self.journal.history(Some(group), 1).await?.pop();
        Ok(last.filter(|entry| entry.state.phase.needs_operator()))
    }

    /// Writes that a stuck deployment needs no operator any more.
    async fn end_stuck(&self, entry: &Entry, active: &str, how: &str) {
        let (id, group) = (&entry.deployment.id, &entry.deployment.plan.group);
        let state = entry.state.clone().settled(how.to_owned());
        let message = format!("no longer stuck: {how}{}", entry.deployment.plan.leaves(&state, active));
        match self.journal.append(id, self.clock.now(), &state, &message).await {
            Ok(()) => {
                tracing::info!(deployment = id, group, "{message}");
                metrics::phase(group, None);
                // The driver's last state still says stuck.
                let mut deployments = self.vigils.deployments.lock();
                deployments.retain(|name, state| name != group || !state.borrow().phase.needs_operator());
            }
            Err(error) => tracing::warn!(deployment = id, group, %error, "failed to end a stuck deployment"),
        }
    }
}
