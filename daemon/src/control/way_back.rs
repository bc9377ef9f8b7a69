//! Checks the way back for a rollback or a switch by hand, and recommends a command if there is none.

use cutover_core::api::Group as Seen;
use cutover_core::deployment::{Now, Outcome, Phase, State, WayBack};
use cutover_engine::journal::Deployment;
use cutover_engine::policy::Policy;
use cutover_engine::prober::{Found, Prober};
use cutover_engine::versions::Versions;
use cutover_engine::world::World;

use super::running::Running;
use super::{Control, LOOK_BACK, Refusal};
use crate::journal::{Entry, JournalError};

impl<W: World> Control<W> {
    /// Fails if traffic would have to go back and the old slot is not better. If nginx cannot be read during the soak, the
    /// rollback itself decides.
    pub(super) async fn verify_way_back(&self, group: &str, running: &Running) -> Result<(), Refusal> {
        let phase = running.phase().await;
        if !matches!(
            phase,
            Phase::Soaking { .. } | Phase::Confirming(_) | Phase::Draining { .. } | Phase::Warm { .. }
        ) {
            return Ok(());
        }
        let (deployment, state) = (&running.deployment, running.state().await);
        // In a step the old slot has most of the users. Only a share goes back, and whoever asks for that knows why.
        if deployment.plan.steps.get(state.step).is_some() && matches!(phase, Phase::Soaking { .. }) {
            return Ok(());
        }
        let seen = match self.fleet(group).look(group).await {
            Ok(look) => look.group,
            Err(_) if matches!(phase, Phase::Soaking { .. } | Phase::Confirming(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let before = self.is_as_before(&seen, (deployment, &state), &deployment.policy).await;
        before.map_err(|why| Refusal::NoBetter {
            slot: deployment.plan.from.clone(),
            phase: phase.name(),
            why,
        })
    }

    /// Checks a slot for a switch by hand. It must be as healthy as a new version must be. The old slot of the last deployment
    /// need only be as healthy as it was before that deployment. The error says why it is not.
    pub(super) async fn is_fit(&self, seen: &Seen, slot: &str, policy: &Policy) -> Result<(), String> {
        let last = self.journal.history(Some(&seen.name), 1).await.ok().and_then(|mut last| last.pop());
        let was_live = |entry: &Entry| {
            entry.deployment.plan.from == slot
                && entry.deployment.plan.to == seen.route.active
                && entry.state.marks.as_ref().is_some_and(|marks| marks.old.healthy > 0)
        };
        match last.filter(was_live) {
            Some(entry) => self.is_as_before(seen, (&entry.deployment, &entry.state), policy).await,
            None => {
                let versions = self.versions_in(seen).await.map_err(|error| error.to_string())?;
                Prober { world: &*self.world, group: &seen.name, policy, versions }.verify(seen, slot).await
            }
        }
    }

    /// The versions in the slots of a group, as far as the journal knows.
    pub(super) async fn versions_in(&self, seen: &Seen) -> Result<Versions, JournalError> {
        let mut known = Vec::new();
        for slot in &seen.slots {
            let version = self.journal.version_in(&seen.name, &slot.name).await?;
            known.extend(version.map(|version| (slot.name.clone(), version)));
        }
        Ok(known.into_iter().collect())
    }

    /// Checks that the old slot of a deployment is as healthy as before, or healthier than the new one. Counters do not matter
    /// here, because the operator may know better which version is worse.
    pub(super) async fn is_as_before(
        &self,
        seen: &Seen,
        (deployment, state): (&Deployment, &State),
        policy: &Policy,
    ) -> Result<(), String> {
        let plan = &deployment.plan;
        let versions = Versions::of(deployment);
        let prober = Prober { world: &*self.world, group: &seen.name, policy, versions };
        let new_healthy = match seen.slot(&plan.to) {
            Some(new) => prober.found(new).await.healthy,
            None => 0,
        };
        let old = state.marks.as_ref().map(|marks| marks.old).unwrap_or_default();
        let is_open = |found: &Found| {
            let (old_servers, old_healthy) = (found.servers, found.healthy);
            old.way_back(&Now { old_servers, old_healthy, new_healthy, ..Now::default() }) == WayBack::Open
        };
        let found = prober.look(seen, &plan.from, is_open).await?;
        if is_open(&found) { Ok(()) } else { Err(found.why) }
    }

    /// The refusal of a rollback without a warm version. It recommends a switch to a healthy slot, or a deployment of the
    /// previous version.
    pub(super) async fn no_way_back(&self, group: &str, policy: &Policy) -> Result<Refusal, JournalError> {
        let all = self.journal.history(Some(group), LOOK_BACK).await?;
        let groups = self.fleet(group).groups().await.unwrap_or_default();
        let Some(seen) = groups.iter().find(|seen| seen.name == group) else {
            return Ok(Refusal::NoWayBack { group: group.to_owned(), previous: None, up: None });
        };
        let up = self.slot_to_switch_to(seen, &groups, &all, policy).await;
        let live = all.into_iter().find(|entry| {
            entry.deployment.plan.to == seen.route.active && entry.outcome == Some(Outcome::Completed)
        });
        let previous = live.map(|entry| entry.deployment.previous).filter(|version| !version.is_empty());
        Ok(Refusal::NoWayBack { group: group.to_owned(), previous, up })
    }

    /// A slot that a switch by hand can give the traffic. `all` has the group's deployments, the newest first.
    pub(super) async fn slot_to_switch_to(
        &self,
        seen: &Seen,
        groups: &[Seen],
        all: &[Entry],
        policy: &Policy,
    ) -> Option<String> {
        for slot in seen.slots.iter().filter(|slot| slot.name != seen.route.active) {
            // A slot that shares servers with another group may run that group's version.
            let is_ours = seen.shared_with(&slot.name, groups).is_none() && !was_given_up(all, &slot.name);
            if is_ours && self.is_fit(seen, &slot.name, policy).await.is_ok() {
                return Some(slot.name.clone());
            }
        }
        None
    }
}

/// Whether a slot holds a version that was rolled back, or one that the last deployment could not go back to. `all` has the newest
/// deployment first.
fn was_given_up(all: &[Entry], slot: &str) -> bool {
    let is_stuck =
        |entry: &Entry| entry.outcome == Some(Outcome::Stuck) && entry.deployment.plan.from == slot;
    // A deployment that failed before it started anything did not change the slot.
    let is_there = |entry: &&Entry| entry.outcome != Some(Outcome::Failed) || entry.state.provisioned;
    let mut deployed_there = all.iter().filter(|entry| entry.deployment.plan.to == slot);
    let last_there = deployed_there.find(is_there);
    all.first().is_some_and(is_stuck)
        || last_there.is_some_and(|entry| entry.outcome != Some(Outcome::Completed))
}
