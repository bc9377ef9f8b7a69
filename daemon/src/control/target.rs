//! Chooses the slot that a deployment goes to.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::api::{Group as Seen, Shared, Traffic};
use cutover_core::deployment::{Known, NoTarget, Phase, Target, Time};
use cutover_core::shell::quoted;
use cutover_core::verdict::reading::Sample;
use cutover_engine::fleet::Fleet;
use cutover_engine::policy::Policy;
use cutover_engine::world::World;
use tokio::sync::MutexGuard;

use super::running::{Running, live};
use super::vigil::{Route, Served};
use super::{Control, LOOK_BACK, NotRun, Refusal};
use crate::journal::JournalError;

/// The first message does not mention a shorter time that the deployment compares with.
const SHORTEST: Duration = Duration::from_secs(1);

/// The slots of a deployment and what it gives up.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) from: String,
    pub(super) to: String,
    /// Counters of the old slot at the start, by edge.
    pub(super) served: BTreeMap<String, Sample>,
    /// What the old slot did before the start.
    pub(super) known: Option<Served>,
    /// What the deployment gives up, one clause each.
    pub(super) gives_up: Vec<String>,
}

impl Chosen {
    /// What the first message of the deployment says about it, one clause each.
    pub(super) fn clauses(&self) -> Vec<String> {
        match self.known.as_ref().filter(|known| known.took >= SHORTEST) {
            Some(known) if self.gives_up.is_empty() => vec![format!("compared with {known}")],
            Some(known) => vec![format!("{}; compared with {known}", self.gives_up.join(", "))],
            None => self.gives_up.clone(),
        }
    }
}

/// The slot that is kept warm.
struct Warm {
    slot: String,
    /// Its version; empty if the journal does not know it.
    version: String,
    /// How long it stays up.
    left: Duration,
}

impl<W: World> Control<W> {
    /// Chooses a slot without traffic. A refusal recommends a command where one helps.
    pub(super) async fn target(
        &self,
        group: &str,
        policy: &Policy,
        wanted: Option<&str>,
        (fleet, current): (&Fleet<'_, W::Edge>, &MutexGuard<'_, Option<Running>>),
    ) -> Result<Chosen, Refusal> {
        let groups = fleet.groups().await?;
        let Some(seen) = groups.iter().find(|seen| seen.name == group) else {
            return Err(Refusal::not_on_edge(&fleet.name(), group, &groups));
        };
        let view = fleet.look(group).await?;
        let warm = self.warm(current).await?;
        let stopping = self.stopping(current).await;
        let target = self.choose(seen, &groups, wanted, (warm.as_ref(), stopping.as_deref())).await?;
        let target = target.map_err(|why| refusal(seen, why))?;
        let within = seen.shared_within(&target.slot).filter(|_| policy.starts_or_stops());
        let shared = within.or_else(|| seen.shared_with(&target.slot, &groups));
        if let Some(shared) = shared.clone().filter(|shared| shared.traffic.is_routed()) {
            let helps = self.moves_away(seen, &target.slot, &shared, &groups).await;
            return Err(Refusal::Shared { slot: target.slot, shared: shared.into(), helps });
        }
        self.nobody_works_on(seen, &target.slot, &groups).await?;
        let from = seen.route.active.clone();
        let readings = view.readings(Some(&from), None);
        let served = readings.iter().filter_map(|one| Some((one.edge.clone(), one.new.clone()?))).collect();
        let mut gives_up = gives_up(&target, warm.as_ref(), policy);
        if let Some((shared, held)) = shared.and_then(|shared| Some((shared.group, shared.traffic.held()?))) {
            gives_up.push(format!("{held} of group \"{shared}\" will be cut off"));
        }
        let reading = self.reading(self.clock.now(), readings);
        let known = self.vigils.known(group, &Route::of(&view), &reading);
        Ok(Chosen { from, gives_up, to: target.slot, served, known })
    }

    /// Fails if a running deployment of another group uses servers of the target, because it will start or stop them or give
    /// them traffic.
    async fn nobody_works_on(&self, seen: &Seen, target: &str, groups: &[Seen]) -> Result<(), Refusal> {
        for other in groups.iter().filter(|other| other.name != seen.name) {
            let reruns = self.slots_of_reruns(&other.name);
            if let Some((_, which)) = reruns.iter().find(|(slot, _)| shares(seen, target, other, slot)) {
                return Err(NotRun::Rerunning {
                    group: other.name.clone(),
                    which,
                    ends: true,
                    by_force: None,
                }
                .into());
            }
        }
        for entry in self.journal.open_deployments().await? {
            let plan = &entry.deployment.plan;
            let other = groups.iter().find(|other| other.name == plan.group && other.name != seen.name);
            let Some(other) = other.filter(|_| !matches!(entry.state.phase, Phase::Warm { .. })) else {
                continue;
            };
            if [&plan.from, &plan.to].into_iter().any(|slot| shares(seen, target, other, slot)) {
                let (slot, group) = (target.to_owned(), plan.group.clone());
                return Err(Refusal::SharedBusy { slot, group, id: entry.deployment.id });
            }
        }
        Ok(())
    }

    /// The slot that the next deployment would go to.
    async fn choose(
        &self,
        seen: &Seen,
        groups: &[Seen],
        wanted: Option<&str>,
        (warm, stopping): (Option<&Warm>, Option<&str>),
    ) -> Result<Result<Target, NoTarget>, JournalError> {
        let last_used = self.last_used(&seen.name).await?;
        let reruns = self.slots_of_reruns(&seen.name);
        let known = Known {
            warm: warm.map(|warm| warm.slot.as_str()),
            last_used: |slot: &str| last_used.get(slot).copied().unwrap_or_default(),
            is_taken: |slot: &str| {
                let shared = seen.shared_with(slot, groups);
                let is_stopped = stopping == Some(slot) || reruns.iter().any(|(its, _)| its == slot);
                is_stopped || shared.is_some_and(|shared| shared.traffic.is_routed())
            },
        };
        Ok(Target::choose(seen, wanted, &known))
    }

    /// Directs previews of the standby to the slot of the next deployment. A failure is only logged. Does nothing while the
    /// group is locked, because the holder's work ends with another call.
    pub(super) async fn stand_by(&self, group: &str) {
        if !self.journal.leads() {
            return;
        }
        let current = self.current(group);
        if let Ok(current) = current.try_lock() {
            self.stand_by_for(group, &current).await;
        }
    }

    /// Like [`Control::stand_by`], for the holder of the group's lock.
    pub(super) async fn stand_by_for(&self, group: &str, current: &MutexGuard<'_, Option<Running>>) {
        if self.busy(group, current).await.is_some() {
            return;
        }
        let fleet = self.fleet(group);
        let Ok(groups) = fleet.groups().await else { return };
        let Some(seen) = groups.iter().find(|seen| seen.name == group) else { return };
        let Ok(warm) = self.warm(current).await else { return };
        let stopping = self.stopping(current).await;
        let known = (warm.as_ref(), stopping.as_deref());
        let Ok(Ok(Target { slot, .. })) = self.choose(seen, &groups, None, known).await else {
            return;
        };
        if seen.standby().is_none_or(|standby| standby.name != slot)
            && let Err(error) = fleet.stand_by(group, &slot).await
        {
            tracing::debug!(group, slot, %error, "failed to direct previews of the standby to this slot");
        }
    }

    /// The command that moves the users of another group off the shared servers. `None` if the daemon would refuse the command,
    /// or if it would lead to shared servers again.
    async fn moves_away(
        &self,
        seen: &Seen,
        target: &str,
        shared: &Shared,
        groups: &[Seen],
    ) -> Option<String> {
        let other = groups.iter().find(|other| other.name == shared.group && other.name != seen.name)?;
        self.policy(&other.name).ok()?;
        if self.busy(&other.name, &self.current(&other.name).try_lock().ok()?).await.is_some() {
            return None;
        }
        let is_apart = |slot: &str| !shares(seen, target, other, slot);
        let to = match shared.slot == other.route.active {
            // The slot has a share or is the fallback of a trial. Both end when the active slot gets all traffic.
            false => other.route.active.clone(),
            true => other
                .slots
                .iter()
                .map(|slot| slot.name.clone())
                .find(|slot| *slot != shared.slot && is_apart(slot))?,
        };
        Some(format!("cutover switch {} --to {}", quoted(&other.name), quoted(&to)))
    }

    async fn stopping(&self, current: &MutexGuard<'_, Option<Running>>) -> Option<String> {
        let (running, _) = live(current).await?;
        running.stopping().await
    }

    async fn warm(&self, current: &MutexGuard<'_, Option<Running>>) -> Result<Option<Warm>, JournalError> {
        let Some((running, Phase::Warm { until, .. })) = live(current).await else { return Ok(None) };
        let entry = self.journal.entry(&running.id).await?;
        let way_back = entry.filter(|entry| !entry.state.has_nothing_before());
        Ok(way_back.map(|entry| Warm {
            slot: entry.deployment.plan.from,
            version: entry.deployment.previous,
            left: self.clock.now().until(until),
        }))
    }

    /// When a deployment or a switch by hand last used each slot.
    async fn last_used(&self, group: &str) -> Result<BTreeMap<String, Time>, JournalError> {
        let mut last = BTreeMap::<String, Time>::new();
        let mut used = |slot: String, at: Time| {
            let known = last.entry(slot).or_default();
            *known = (*known).max(at);
        };
        for entry in self.journal.history(Some(group), LOOK_BACK).await? {
            let plan = entry.deployment.plan;
            used(plan.from, entry.updated);
            used(plan.to, entry.updated);
        }
        for switch in self.journal.switches(Some(group), LOOK_BACK).await? {
            used(switch.from, switch.at);
            used(switch.to, switch.at);
        }
        Ok(last)
    }
}

fn gives_up(target: &Target, warm: Option<&Warm>, policy: &Policy) -> Vec<String> {
    let mut clauses = Vec::new();
    if target.ends_way_back {
        let slot = &target.slot;
        clauses.push(match warm {
            Some(Warm { version, left, .. }) => {
                let holds =
                    if version.is_empty() { "an unknown version" } else { &format!("version {version}") };
                let left = minutes(*left);
                format!("slot \"{slot}\" holds {holds}, warm for {left}: this deployment ends that way back")
            }
            None => format!("this deployment ends the way back to slot \"{slot}\""),
        });
    }
    let cuts = target.cuts.as_ref().filter(|_| policy.starts_or_stops()).and_then(Traffic::held);
    clauses.extend(cuts.map(|held| format!("{held} will be cut off")));
    clauses
}

/// Text as in `40 min` or `30 s`.
fn minutes(left: Duration) -> String {
    match left.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

fn refusal(seen: &Seen, why: NoTarget) -> Refusal {
    let group = seen.name.clone();
    match why {
        NoTarget::Unknown(slot) => Refusal::no_such_slot(seen, &slot),
        NoTarget::OnlyOne => Refusal::NoStandby(group),
        NoTarget::HasTraffic(slot, Traffic::Active) => {
            let standby = seen.standby().map(|standby| standby.name.clone());
            Refusal::Active { slot, group, standby }
        }
        NoTarget::HasTraffic(slot, traffic) => {
            let switch = |to: &str| format!("cutover switch {} --to {}", quoted(&group), quoted(to));
            let active = &seen.route.active;
            let helps = match &traffic {
                // The trial is still open, so the message offers both ways.
                Traffic::Fallback { .. } => {
                    format!(
                        "to end the trial: {}; or, if that version is bad: {}",
                        switch(active),
                        switch(&slot)
                    )
                }
                _ => format!("to give all traffic to the active slot: {}", switch(active)),
            };
            Refusal::HasTraffic { slot, group, traffic, helps }
        }
    }
}

/// Whether two slots share a server or an upstream.
pub(super) fn shares(seen: &Seen, slot: &str, other: &Seen, theirs: &str) -> bool {
    let (Some(ours), Some(theirs)) = (seen.slot(slot), other.slot(theirs)) else { return false };
    ours.in_common_with(theirs).is_some()
}
