//! A switch by hand.
//!
//! The route moves first, and only then does the warm window of the deployment before end: a switch that nginx does not carry
//! out costs no way back. A lost answer is followed by a fence, so that "nothing has moved" stays true.

use std::time::Duration;

use cutover_core::api::{Group as Seen, RouteChange, reason_with};
use cutover_core::deployment::{Event, Phase};
use tokio::sync::MutexGuard;

use super::{Control, Refusal, Running, SETTLING, live};
use crate::edge::SwitchError;
use crate::journal::Switch;
use crate::metrics;
use crate::world::World;

/// Calls of nginx until a switch is given up whose answers are lost, or that does not get on disk.
const MOST_TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// A warm window that ends before a switch does would stop the very slot that gets the traffic.
const MARGIN: Duration = Duration::from_secs(60);

/// Where an operator wants the traffic.
#[derive(Clone, Debug)]
pub struct WantedSwitch {
    /// The slot.
    pub to: String,
    /// Why, for the log.
    pub reason: String,
    /// Although it is not healthy.
    pub force: bool,
    /// Who asks.
    pub asked_by: String,
}

impl<W: World> Control<W> {
    /// Moves the traffic of a group by hand. The answer is the group after it, when nginx has the switch on disk.
    pub async fn switch(&self, group: &str, wanted: WantedSwitch) -> Result<Seen, Refusal> {
        let config = self.group_config(group)?;
        self.writable().await?;
        let seat = self.seat(group);
        let mut seat = seat.lock().await;
        if let Some(running) = self.not_warm(&seat).await {
            return Err(running);
        }
        let seen = self.world.group(group).await?;
        if seen.slot(&wanted.to).is_none() {
            return Err(Refusal::no_such_slot(&seen, &wanted.to));
        }
        let reason = reason_with(&wanted.reason, &format!(" (by {})", wanted.asked_by));
        let change = RouteChange::to(&wanted.to, reason.clone());
        if seen.route.is_all_on(&wanted.to) {
            // Moves nothing, and is answered when the route is on disk.
            return self.store(&seen, &wanted.to, change).await;
        }
        self.nothing_reruns_on(group, &wanted.to)?;
        match self.is_fit(&seen, &wanted.to, config).await {
            Ok(()) => {}
            Err(why) if wanted.force => {
                tracing::warn!(
                    group,
                    slot = wanted.to,
                    why,
                    "switching by force to a slot that is not healthy"
                );
            }
            Err(why) => return Err(Refusal::Sick { slot: wanted.to, why }),
        }
        if self.is_ending(&seat).await {
            self.supersede(&mut seat).await?;
        }
        let stored = self.store(&seen, &wanted.to, change).await;
        if let Ok(_) | Err(Refusal::NotOnDisk { .. }) = &stored {
            metrics::switched(group, "manual");
            let (from, to) = (&seen.route.active, &wanted.to);
            tracing::info!(group, from, to, reason, "switched by hand");
            let switch = Switch {
                group: group.to_owned(),
                at: self.clock.now(),
                from: from.clone(),
                to: to.clone(),
                reason: wanted.reason.clone(),
                asked_by: wanted.asked_by.clone(),
            };
            if let Err(error) = self.journal.switched(switch).await {
                tracing::warn!(group, %error, "failed to write the switch down");
            }
            if let Some(running) = live(&seat).await {
                // It sees for itself that the route has moved, should it not get to hear this.
                let _ = tokio::time::timeout(SETTLING, running.ask(Event::Supersede)).await;
            }
            self.stand_by_for(group, &seat).await;
        }
        stored
    }

    /// Whether a warm window may end while a switch is under way.
    async fn is_ending(&self, seat: &MutexGuard<'_, Option<Running>>) -> bool {
        match live(seat).await {
            Some(running) => match running.phase().await {
                Phase::Warm { until, .. } => self.clock.now().until(until) < MARGIN,
                _ => true,
            },
            None => false,
        }
    }

    /// Stores a change until nginx has confirmed it, or until it is certain that it never will be carried out.
    async fn store(&self, seen: &Seen, to: &str, wanted: RouteChange) -> Result<Seen, Refusal> {
        let mut change = wanted.clone();
        let mut now = seen.clone();
        let mut uncertain = false;
        let mut why = String::new();
        for _ in 0..MOST_TRIES {
            let error = match self.world.switch(&seen.name, &change, now.route.generation).await {
                Ok(now) if now.route.is_all_on(to) => return Ok(now),
                Ok(now) => {
                    let at = now.route.active;
                    return Err(Refusal::NotSwitched(format!(
                        "its answer was lost, nothing has moved, and \"{at}\" keeps the traffic"
                    )));
                }
                Err(error) => error,
            };
            why = error.to_string();
            match error {
                SwitchError::Unknown(_) | SwitchError::NotDurable(_) => uncertain = true,
                _ if !uncertain => return Err(Refusal::NotSwitched(why)),
                _ => {}
            }
            tokio::time::sleep(PAUSE).await;
            // Unread, it is asked for once more as it was: the generation sees to it that it is done at most once.
            let Ok(read) = self.world.group(&seen.name).await else { continue };
            now = read;
            let done = now.route.is_all_on(to);
            change = RouteChange { active: Some(now.route.active.clone()), fence: !done, ..wanted.clone() };
        }
        let (slot, group) = (to.to_owned(), seen.name.clone());
        Err(match now.route.is_all_on(to) {
            true => Refusal::NotOnDisk { slot, group, why },
            false => Refusal::SwitchUnknown { group, why },
        })
    }
}
