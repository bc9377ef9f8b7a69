//! Deployments of several groups that move together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cutover_core::api::Group as Seen;
use cutover_core::deployment::{Cause, CauseKind, Companion, Phase, Plan, State};
use cutover_engine::companions::Companions;
use cutover_engine::journal::{Deployment, Unfinished};
use cutover_engine::world::World;
use tokio::sync::MutexGuard;

use super::running::{Current, Running};
use super::target::shares;
use super::{Control, Refusal};
use crate::journal::{Entry, JournalError};

/// A group and the groups of the deployments that move together with its running deployment.
pub(super) struct Locked {
    group: String,
    /// In the order of the names, so that nobody waits for a group that another holds.
    all: BTreeMap<String, Arc<Current>>,
}

impl Locked {
    /// Locks all groups: the group itself, and the others.
    pub(super) async fn guards(
        &self,
    ) -> (MutexGuard<'_, Option<Running>>, Vec<MutexGuard<'_, Option<Running>>>) {
        let (mut own, mut others) = (None, Vec::new());
        for (group, current) in &self.all {
            match *group == self.group {
                true => own = Some(current.lock().await),
                false => others.push(current.lock().await),
            }
        }
        match own {
            Some(own) => (own, others),
            // The map has the group.
            None => std::future::pending().await,
        }
    }
}

impl Running {
    /// The deployments that move together with this one and have not ended.
    pub(super) fn companions_in<'a>(
        &'a self,
        others: &'a [MutexGuard<'_, Option<Running>>],
    ) -> impl Iterator<Item = &'a Running> {
        let is_ours = |other: &&Running| {
            let is_live = !other.handle.requests.is_closed();
            is_live && self.plan().with.iter().any(|companion| companion.deployment == other.id)
        };
        others.iter().filter_map(|other| other.as_ref()).filter(is_ours)
    }
}

impl<W: World> Control<W> {
    /// The group, and the groups that its running deployment moves together with.
    pub(super) async fn moving_with(&self, group: &str) -> Locked {
        let current = self.current(group);
        let with = match current.lock().await.as_ref() {
            Some(running) => running.plan().with.clone(),
            None => Vec::new(),
        };
        let mut all = BTreeMap::from([(group.to_owned(), current)]);
        for Companion { group, .. } in with {
            let current = self.current(&group);
            all.insert(group, current);
        }
        Locked { group: group.to_owned(), all }
    }

    /// The deployments that move together with the last one of a group, if that has not ended, and have not ended themselves.
    pub async fn companions(&self, group: &str) -> Result<Vec<Companion>, Refusal> {
        let locked = self.moving_with(group).await;
        let (current, others) = locked.guards().await;
        let Some(running) = current.as_ref().filter(|running| !running.handle.requests.is_closed()) else {
            return Ok(Vec::new());
        };
        let companion =
            |other: &Running| Companion { group: other.plan().group.clone(), deployment: other.id.clone() };
        Ok(running.companions_in(&others).map(companion).collect())
    }

    /// What the drivers of open deployments share with those of their companions, by the id of the deployment.
    pub(super) async fn together(
        &self,
        open: &[Entry],
    ) -> Result<BTreeMap<String, Companions>, JournalError> {
        let mut known = BTreeMap::<String, Companions>::new();
        for entry in open.iter().filter(|entry| !entry.deployment.plan.with.is_empty()) {
            if known.contains_key(&entry.deployment.id) {
                continue;
            }
            // A second try of a resumption that failed in between.
            if let Some(companions) = self.companions_of_drivers(&entry.deployment).await {
                known.insert(entry.deployment.id.clone(), companions);
                continue;
            }
            let mut entries = vec![unfinished(entry.clone())];
            for companion in &entry.deployment.plan.with {
                entries.push(self.companion(entry, companion).await?);
            }
            let ids: Vec<String> = entries.iter().map(|entry| entry.deployment.id.clone()).collect();
            let companions = Companions::new(entries);
            known.extend(ids.into_iter().map(|id| (id, companions.clone())));
        }
        Ok(known)
    }

    /// What the running drivers of a deployment and of its companions share, if there are any.
    async fn companions_of_drivers(&self, deployment: &Deployment) -> Option<Companions> {
        let Deployment { id, plan, .. } = deployment;
        let own = Companion { group: plan.group.clone(), deployment: id.clone() };
        for Companion { group, deployment } in plan.with.iter().chain([&own]) {
            let current = self.current(group);
            let current = current.lock().await;
            if let Some(running) = current.as_ref().filter(|running| running.id == *deployment) {
                return running.companions.clone();
            }
        }
        None
    }

    /// A companion as the journal has it.
    async fn companion(&self, of: &Entry, companion: &Companion) -> Result<Unfinished, JournalError> {
        let phase = match self.journal.entry(&companion.deployment).await {
            Ok(Some(entry)) => return Ok(unfinished(entry)),
            // It ended long ago and is forgotten.
            Ok(None) => Phase::Completed { note: None },
            Err(JournalError::Unreadable { why, .. }) => {
                let text = format!("its record cannot be read: {why}");
                Phase::Failed(Cause { kind: CauseKind::Companion, text, blames_version: false })
            }
            Err(error) => return Err(error),
        };
        let mut deployment = of.deployment.clone();
        deployment.id.clone_from(&companion.deployment);
        deployment.plan.group.clone_from(&companion.group);
        Ok(Unfinished { deployment, state: State::new(phase) })
    }

    /// Fails if deployments that would move together use the same servers: each would start or stop them.
    pub(super) async fn share_no_servers(&self, plans: &[&Plan]) -> Result<(), Refusal> {
        if plans.len() < 2 {
            return Ok(());
        }
        let groups = self.world.fleet(&[]).groups().await?;
        let seen = |plan: &Plan| groups.iter().find(|seen| seen.name == plan.group);
        for (number, one) in plans.iter().enumerate() {
            for other in plans.iter().skip(number + 1) {
                let (Some(ours), Some(theirs)) = (seen(one), seen(other)) else { continue };
                if let Some(slot) = shared_slot((ours, one), (theirs, other)) {
                    let groups = [one.group.clone(), other.group.clone()];
                    return Err(Refusal::SharedTogether { slot, groups });
                }
            }
        }
        Ok(())
    }
}

/// A slot of the first deployment that has servers of a slot of the other.
fn shared_slot((ours, one): (&Seen, &Plan), (theirs, other): (&Seen, &Plan)) -> Option<String> {
    let slots = BTreeSet::from([&one.to, &one.from]);
    let is_shared =
        |slot: &&&String| [&other.to, &other.from].into_iter().any(|their| shares(ours, slot, theirs, their));
    slots.iter().find(is_shared).map(|slot| (*slot).clone())
}

fn unfinished(entry: Entry) -> Unfinished {
    Unfinished { deployment: entry.deployment, state: entry.state }
}
