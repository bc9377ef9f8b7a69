//! What operators can ask for: one deployment of a group at a time, and what may be done beside it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use cutover_core::api::Group as Seen;
use cutover_core::deployment::{Event, Phase, Plan};
use cutover_core::probe::Quorum;
use tokio::sync::{Mutex, MutexGuard, oneshot};
use tokio::task::JoinHandle;

use crate::clock::{Clock, rfc3339};
use crate::config::{Config, Group};
use crate::driver::{self, Ask, Driver, Reins};
use crate::edge::SwitchError;
use crate::journal::{Deployment, Entry, Journal, JournalError};
use crate::metrics;
use crate::probe::Prober;
use crate::world::World;

mod refusal;
mod status;
#[cfg(test)]
mod tests;

pub use refusal::Refusal;
pub use status::{DeploymentStatus, GroupStatus, SlotStatus};

/// What an operator wants deployed.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The version; empty if the commands know it.
    pub version: String,
    /// The slot; absent: the first one that is not active.
    pub to: Option<String>,
    /// Who asks.
    pub asked_by: String,
}

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

/// The daemon's heart. Clones share it.
#[derive(Debug)]
pub struct Control<W> {
    config: Arc<Config>,
    world: Arc<W>,
    journal: Journal,
    clock: Clock,
    seats: Arc<std::sync::Mutex<BTreeMap<String, Arc<Seat>>>>,
}

impl<W> Clone for Control<W> {
    fn clone(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            world: Arc::clone(&self.world),
            journal: self.journal.clone(),
            clock: self.clock,
            seats: Arc::clone(&self.seats),
        }
    }
}

/// How long a driver may take to tell its phase; a journal that cannot be written holds it up.
const SETTLING: std::time::Duration = std::time::Duration::from_secs(5);

/// Whoever holds it decides about the group.
type Seat = Mutex<Option<Running>>;

#[derive(Debug)]
struct Running {
    id: String,
    reins: Reins,
    task: JoinHandle<()>,
}

impl Running {
    /// The phase that the journal says: a record is on disk, and seen by followers, a moment before the driver acts by it.
    async fn phase(&self) -> Phase {
        let _ = tokio::time::timeout(SETTLING, self.tell(None)).await;
        self.reins.state.borrow().phase.clone()
    }

    async fn ask(&self, event: Event) -> Result<(), Refusal> {
        match self.tell(Some(event)).await {
            Ok(()) => Ok(()),
            Err(why) => Err(self.refusal(why).await),
        }
    }

    async fn tell(&self, event: Option<Event>) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let over = || "it has just ended".to_owned();
        self.reins.asks.send(Ask { event, reply }).await.map_err(|_| over())?;
        answer.await.unwrap_or_else(|_| Err(over()))
    }

    async fn refusal(&self, why: String) -> Refusal {
        Refusal::Unfit { id: self.id.clone(), phase: self.phase().await.name().to_owned(), why }
    }

    async fn is_live(&self) -> bool {
        !self.phase().await.is_final() && !self.reins.asks.is_closed()
    }
}

impl<W: World> Control<W> {
    /// Takes over what the journal holds: deployments that were under way go on.
    pub async fn resume(
        config: Config,
        world: Arc<W>,
        journal: Journal,
        clock: Clock,
    ) -> Result<Self, JournalError> {
        let control = Self { config: Arc::new(config), world, journal, clock, seats: Arc::default() };
        for entry in control.journal.open_deployments().await? {
            let group = entry.deployment.plan.group.clone();
            tracing::info!(
                deployment = entry.deployment.id,
                group,
                phase = entry.state.phase.name(),
                "going on with it"
            );
            let seat = control.seat(&group);
            *seat.lock().await = Some(control.drive(entry));
        }
        Ok(control)
    }

    /// The journal, to follow deployments.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Begins a deployment.
    pub async fn deploy(&self, group: &str, wanted: Wanted) -> Result<Deployment, Refusal> {
        let config = self.group_config(group)?;
        let seat = self.seat(group);
        let mut seat = seat.lock().await;
        if let Some(running) = self.not_warm(&seat).await {
            return Err(running);
        }
        let seen = self.world.group(group).await?;
        let to = standby(&seen, wanted.to.as_deref())?;
        let from = seen.route.active.clone();
        self.supersede(&mut seat).await?;
        let deployment = self.planned(group, config, wanted, from, to).await?;
        let (state, _) = deployment.plan.begin(self.clock.now());
        let message = driver::first_message(&deployment, &state);
        let deployment = self.journal.begin(deployment, &state, &message).await?;
        tracing::info!(deployment = deployment.id, group, phase = state.phase.name(), "{message}");
        let entry = Entry {
            deployment: deployment.clone(),
            updated: deployment.started,
            state,
            outcome: None,
            message,
        };
        *seat = Some(self.drive(entry));
        Ok(deployment)
    }

    /// Ends the deployment of a group and undoes what it did. The answer is its id.
    pub async fn abort(&self, group: &str, asked_by: &str) -> Result<String, Refusal> {
        let seat = self.seat(group);
        let seat = seat.lock().await;
        let Some(running) = live(&seat).await else { return Err(Refusal::NothingToAbort(group.to_owned())) };
        if running.phase().await.outcome().is_some() {
            return Err(Refusal::AlreadyCompleted { id: running.id.clone(), group: group.to_owned() });
        }
        let why = format!("aborted by {asked_by}");
        running.ask(Event::Abort(why)).await?;
        Ok(running.id.clone())
    }

    /// Brings the old version of a group back. The answer is the deployment that is rolled back.
    pub async fn rollback(&self, group: &str, asked_by: &str) -> Result<String, Refusal> {
        let seat = self.seat(group);
        let seat = seat.lock().await;
        let Some(running) = live(&seat).await else {
            return Err(self.no_way_back(group).await?);
        };
        match running.phase().await {
            Phase::Warm { .. } => self.verify_way_back(group, &running.id).await?,
            Phase::Soaking { .. } | Phase::Draining { .. } => {}
            Phase::Decommissioning(_) => return Err(self.no_way_back(group).await?),
            Phase::RollingBack { .. } | Phase::TearingDown { .. } => {
                return Err(running.refusal("it is being undone already".to_owned()).await);
            }
            _ => {
                return Err(Refusal::NotSwitchedYet { id: running.id.clone(), group: group.to_owned() });
            }
        }
        let why = format!("rolled back by {asked_by}");
        running.ask(Event::Rollback(why)).await?;
        Ok(running.id.clone())
    }

    /// Moves the traffic of a group by hand. The answer is the group after it.
    pub async fn switch(&self, group: &str, wanted: WantedSwitch) -> Result<Seen, Refusal> {
        let config = self.group_config(group)?;
        let seat = self.seat(group);
        let mut seat = seat.lock().await;
        if let Some(running) = self.not_warm(&seat).await {
            return Err(running);
        }
        let seen = self.world.group(group).await?;
        if seen.slot(&wanted.to).is_none() {
            return Err(no_such_slot(&seen, &wanted.to));
        }
        if seen.route.active == wanted.to {
            return Ok(seen);
        }
        let prober = Prober { world: &*self.world, group, config };
        match prober.verify(&seen, &wanted.to, Quorum::All).await {
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
        self.supersede(&mut seat).await?;
        let reason = format!("{} (by {})", wanted.reason, wanted.asked_by);
        let generation = seen.route.generation;
        let group_now = match self.world.switch(group, &wanted.to, generation, &reason).await {
            Ok(now) => now,
            Err(SwitchError::Unknown(_)) => {
                let now = self.world.group(group).await?;
                if now.route.active != wanted.to {
                    return Err(Refusal::NotSwitched(
                        "its answer was lost, and nothing has moved".to_owned(),
                    ));
                }
                now
            }
            Err(error) => return Err(Refusal::NotSwitched(error.to_string())),
        };
        metrics::switched(group, "manual");
        let (from, to) = (&seen.route.active, &wanted.to);
        tracing::info!(group, from, to, generation = group_now.route.generation, reason, "switched by hand");
        Ok(group_now)
    }

    /// Stops all drivers where they are, then ends their commands: a command that is ended must not look as if it had failed.
    /// Whoever resumes the journal goes on.
    pub async fn stop(&self) {
        let seats: Vec<Arc<Seat>> =
            self.seats.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect();
        for seat in seats {
            let mut seat = seat.lock().await;
            if let Some(running) = seat.take() {
                running.task.abort();
                let _ = running.task.await;
            }
        }
        for entry in self.journal.open_deployments().await.unwrap_or_default() {
            if let Err(error) = self.world.end_commands(&entry.deployment.id).await {
                tracing::warn!(deployment = entry.deployment.id, %error, "failed to end its commands");
            }
        }
    }

    fn drive(&self, entry: Entry) -> Running {
        let id = entry.deployment.id.clone();
        let (world, journal) = (Arc::clone(&self.world), self.journal.clone());
        let (driver, reins) = Driver::new(world, journal, self.clock, entry.deployment, entry.state);
        let name = id.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = driver.run().await {
                tracing::error!(deployment = name, %error, "stopped: the journal cannot be written");
            }
        });
        Running { id, reins, task }
    }

    async fn planned(
        &self,
        group: &str,
        config: &Group,
        wanted: Wanted,
        from: String,
        to: String,
    ) -> Result<Deployment, JournalError> {
        let started = self.clock.now();
        let stamp: String = rfc3339(started).chars().take(19).filter(char::is_ascii_alphanumeric).collect();
        let id = self.journal.free_id(format!("{group}-{}", stamp.replace('T', "-"))).await?;
        let previous = self.journal.version_in(group, &from).await?.unwrap_or_default();
        let plan = Plan {
            group: group.to_owned(),
            from,
            to,
            migrate: config.migrate.is_some(),
            provision: config.provision.is_some(),
            revert: None,
            decommission: None,
            probe_deadline: config.probe.deadline.get(),
            soak: config.soak.duration.get(),
            accept_inconclusive: config.soak.accepts_inconclusive(),
            drain: config.drain.deadline.get(),
            warm: config.warm.get(),
        };
        let Wanted { version, asked_by, .. } = wanted;
        let mut deployment =
            Deployment { id, version, previous, asked_by, started, plan, config: config.clone() };
        let jobs = driver::jobs(&deployment);
        deployment.plan.revert = jobs.revert.map(|job| job.typed());
        deployment.plan.decommission = jobs.tear_down_new.map(|job| job.typed());
        Ok(deployment)
    }

    fn group_config(&self, group: &str) -> Result<&Group, Refusal> {
        self.config.group(group).ok_or_else(|| Refusal::UnknownGroup {
            group: group.to_owned(),
            known: self.config.group.keys().map(|name| name.as_str().to_owned()).collect(),
        })
    }

    fn seat(&self, group: &str) -> Arc<Seat> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(seats.entry(group.to_owned()).or_default())
    }

    /// A refusal when the group has a deployment that must not be interrupted.
    async fn not_warm(&self, seat: &MutexGuard<'_, Option<Running>>) -> Option<Refusal> {
        let running = live(seat).await?;
        let phase = running.phase().await;
        (!matches!(phase, Phase::Warm { .. }))
            .then(|| Refusal::Busy { id: running.id.clone(), phase: phase.name().to_owned() })
    }

    /// Ends the warm window of the deployment before, if there is one.
    async fn supersede(&self, seat: &mut MutexGuard<'_, Option<Running>>) -> Result<(), Refusal> {
        if let Some(running) = live(seat).await {
            running.ask(Event::Supersede).await?;
        }
        if let Some(running) = seat.take() {
            let _ = running.task.await;
        }
        Ok(())
    }

    async fn verify_way_back(&self, group: &str, id: &str) -> Result<(), Refusal> {
        let Some(entry) = self.journal.entry(id).await? else { return Ok(()) };
        let seen = self.world.group(group).await?;
        let slot = entry.deployment.plan.from;
        let prober = Prober { world: &*self.world, group, config: &entry.deployment.config };
        prober.verify(&seen, &slot, Quorum::Majority).await.map_err(|why| Refusal::Sick { slot, why })
    }

    async fn no_way_back(&self, group: &str) -> Result<Refusal, JournalError> {
        let last = self.journal.history(Some(group), 1).await?.pop();
        Ok(Refusal::NoWayBack {
            group: group.to_owned(),
            previous: last.map(|entry| entry.deployment.previous).filter(|version| !version.is_empty()),
        })
    }
}

async fn live<'a>(seat: &'a MutexGuard<'_, Option<Running>>) -> Option<&'a Running> {
    match seat.as_ref() {
        Some(running) if running.is_live().await => Some(running),
        _ => None,
    }
}

fn standby(seen: &Seen, wanted: Option<&str>) -> Result<String, Refusal> {
    let active = &seen.route.active;
    match wanted {
        Some(slot) if slot == active => {
            Err(Refusal::Active { slot: slot.to_owned(), group: seen.name.clone() })
        }
        Some(slot) if seen.slot(slot).is_none() => Err(no_such_slot(seen, slot)),
        Some(slot) => Ok(slot.to_owned()),
        None => {
            let other = seen.slots.iter().find(|slot| slot.name != *active);
            other.map(|slot| slot.name.clone()).ok_or_else(|| Refusal::NoStandby(seen.name.clone()))
        }
    }
}

fn no_such_slot(seen: &Seen, slot: &str) -> Refusal {
    Refusal::UnknownSlot {
        slot: slot.to_owned(),
        group: seen.name.clone(),
        known: seen.slots.iter().map(|slot| slot.name.clone()).collect(),
    }
}
