//! Starts the version of the active slot again, as after a reboot: nginx is back, and the application is not.

use std::time::Duration;

use cutover_core::api::Group as Seen;
use cutover_core::deployment::Outcome;
use cutover_engine::commands::Job;
use cutover_engine::driver;
use cutover_engine::policy::Policy;
use cutover_engine::prober::{Found, Prober};
use cutover_engine::world::World;

use super::{Left, Rerun};
use crate::control::{Control, LOOK_BACK, NotRun, Refusal};
use crate::journal::Entry;

/// Answers of users in this time show that a slot serves.
const MOMENT: Duration = Duration::from_secs(1);

impl<W: World> Control<W> {
    /// The command that starts the version of the active slot. Fails if a server of the slot is healthy.
    pub(super) async fn dead_active(
        &self,
        group: &str,
        policy: &Policy,
        wanted: Option<&str>,
    ) -> Result<Left, Refusal> {
        let seen = self.fleet(group).look(group).await?.group;
        let slot = seen.route.active.clone();
        let (entry, job) = self.started_by(group, &slot, wanted).await?;
        let is_alive = |found: &Found| found.healthy > 0;
        let versions = self.versions_in(&seen).await?;
        let prober = Prober { world: &*self.world, group, policy, versions };
        let found = prober.look(&seen, &slot, is_alive).await.map_err(|why| {
            // The route names a slot that the group does not have.
            NotRun::NeverStarted { group: group.to_owned(), slot: slot.clone(), why }
        })?;
        if is_alive(&found) {
            let Found { healthy, servers, .. } = found;
            return Err(NotRun::Alive { group: group.to_owned(), slot, healthy, servers }.into());
        }
        self.serves_nobody(&seen, &slot).await?;
        Ok(Left { entry, job, slot: Some(slot) })
    }

    /// Fails if the slot answers users although its probes fail, or shares its servers with a slot of another group that does.
    pub(in crate::control) async fn serves_nobody(&self, seen: &Seen, slot: &str) -> Result<(), Refusal> {
        tokio::time::sleep(MOMENT).await;
        let groups = self.fleet(&seen.name).groups().await?;
        let good = |group: &Seen| {
            group.slot(slot).map_or(0, |slot| slot.counters.answered() - slot.counters.errors())
        };
        let now = groups.iter().find(|group| group.name == seen.name).map_or(0, good);
        let answers = now.saturating_sub(good(seen));
        if answers > 0 {
            return Err(NotRun::Serving { group: seen.name.clone(), slot: slot.to_owned(), answers }.into());
        }
        match seen
            .shared_with(slot, &groups)
            .filter(|shared| shared.group != seen.name && shared.traffic.is_routed())
        {
            Some(shared) => {
                Err(Refusal::Shared { slot: slot.to_owned(), shared: shared.into(), helps: None })
            }
            None => Ok(()),
        }
    }

    /// The deployment that put the version into a slot, and the command that starts it.
    pub(in crate::control) async fn started_by(
        &self,
        group: &str,
        slot: &str,
        wanted: Option<&str>,
    ) -> Result<(Entry, Job), Refusal> {
        let never = |why: &str| {
            Refusal::from(NotRun::NeverStarted {
                group: group.to_owned(),
                slot: slot.to_owned(),
                why: why.to_owned(),
            })
        };
        // A deployment that failed before it started anything did not change the slot.
        let changed = |entry: &Entry| {
            let is_there = entry.outcome != Some(Outcome::Failed) || entry.state.provisioned;
            entry.deployment.plan.to == slot && is_there
        };
        let all = self.journal.history(Some(group), LOOK_BACK).await?;
        let Some(last) = all.into_iter().find(changed) else {
            return Err(never("no deployment has started it"));
        };
        if matches!(last.outcome, Some(Outcome::Failed | Outcome::RolledBack)) {
            return Err(never("the last deployment to it did not go through"));
        }
        if wanted.is_some_and(|wanted| wanted != last.deployment.id) {
            let which = Rerun::Provision.as_str();
            let wanted = wanted.map(str::to_owned);
            return Err(NotRun::NothingToRun { group: group.to_owned(), which, wanted }.into());
        }
        match driver::jobs(&last.deployment).provision_new {
            Some(job) => Ok((last, job)),
            None => Err(never("the group had no provision command when it was deployed")),
        }
    }
}
