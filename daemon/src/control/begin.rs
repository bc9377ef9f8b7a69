//! The beginning of deployments: of one group, or of several that move together.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_core::deployment::{Companion, Plan, State, Step};
use cutover_engine::clock::rfc3339;
use cutover_engine::driver;
use cutover_engine::journal::Deployment;
use cutover_engine::policy::Policy;
use cutover_engine::world::World;
use tokio::sync::MutexGuard;

use super::edges::text_of_excluded;
use super::running::Running;
use super::target::Chosen;
use super::waiting::deploy_again;
use super::{Control, NewDeployment, Refusal};
use crate::journal::{Beginning, JournalError};
use crate::migrations::Planned;

/// A deployment that may begin, before its companions are known.
struct Draft {
    deployment: Deployment,
    /// What it gives up, one clause each.
    clauses: Vec<String>,
}

impl<W: World> Control<W> {
    /// Begins a deployment. Returns when its first record is on disk.
    pub async fn deploy(&self, group: &str, wanted: NewDeployment) -> Result<Deployment, Refusal> {
        let begun = self.deploy_together(&[group.to_owned()], wanted).await?;
        begun.into_iter().next().ok_or(Refusal::NoGroup)
    }

    /// Begins a deployment of each group. They move together. Returns when their first records are on disk; if one is refused, none
    /// begins.
    pub async fn deploy_together(
        &self,
        groups: &[String],
        wanted: NewDeployment,
    ) -> Result<Vec<Deployment>, Refusal> {
        self.leading()?;
        // In the order of the names, so that nobody waits for a group that another holds.
        let groups: Vec<String> = BTreeSet::from_iter(groups).into_iter().cloned().collect();
        if groups.is_empty() {
            return Err(Refusal::NoGroup);
        }
        let is_several = groups.len() > 1;
        let named = |group: &str, refusal: Refusal| match is_several {
            true => Refusal::OfGroup { group: group.to_owned(), refusal: Box::new(refusal) },
            false => refusal,
        };
        let (mut policies, mut planned) = (Vec::new(), Vec::new());
        for group in &groups {
            let policy = self.may_deploy(group, &wanted).await.map_err(|refusal| named(group, refusal))?;
            // A caller that waits for its turn asks again and again.
            if let Some(busy) = self.busy(group, &self.current(group).lock().await).await {
                return Err(named(group, busy));
            }
            // A database that does not answer must delay nobody else, so it is asked while nothing is locked.
            planned.push(Planned::of(&policy, &wanted.version).await);
            policies.push(policy);
        }
        let all: Vec<_> = groups.iter().map(|group| self.current(group)).collect();
        let mut currents = Vec::new();
        for current in &all {
            currents.push(current.lock().await);
        }
        for ((group, policy), current) in groups.iter().zip(&policies).zip(&currents) {
            let refusal = match self.busy(group, current).await {
                Some(busy) => Err(busy),
                None => self.may_come_now(group, policy, &wanted).await,
            };
            refusal.map_err(|refusal| named(group, refusal))?;
        }
        let _beginning = self.beginning.lock().await;
        for group in &groups {
            self.is_not_frozen(group).await.map_err(|refusal| named(group, refusal))?;
        }
        let mut drafts = Vec::new();
        for (((group, policy), current), planned) in groups.iter().zip(&policies).zip(&currents).zip(planned)
        {
            let draft = self.draft(group, policy, wanted.clone(), (current, planned)).await;
            drafts.push(draft.map_err(|refusal| named(group, refusal))?);
        }
        self.share_no_servers(&drafts.iter().map(|draft| &draft.deployment.plan).collect::<Vec<_>>()).await?;
        let beginnings = self.together_from(drafts)?;
        self.take_over(&mut currents, beginnings).await
    }

    /// Fails if no deployment of a group can begin, whatever runs now.
    async fn may_deploy(&self, group: &str, wanted: &NewDeployment) -> Result<Policy, Refusal> {
        let policy = self.policy(group)?;
        if let Some(key) = policy.needs_version().filter(|_| wanted.version.is_empty()) {
            return Err(Refusal::NeedsVersion { group: group.to_owned(), key, to: wanted.to.clone() });
        }
        self.is_not_frozen(group).await?;
        self.writable(&policy).await?;
        self.has_own_database(group)?;
        Ok(policy)
    }

    /// Fails if this version should not be deployed after what has happened to the group.
    async fn may_come_now(
        &self,
        group: &str,
        policy: &Policy,
        wanted: &NewDeployment,
    ) -> Result<(), Refusal> {
        let again = deploy_again(group, &wanted.version, wanted.to.as_deref());
        self.nothing_went_back(group, wanted.waiting.as_ref(), &again).await?;
        self.was_not_taken_back(group, policy, wanted).await
    }

    /// Plans the deployment of one group.
    async fn draft(
        &self,
        group: &str,
        policy: &Policy,
        wanted: NewDeployment,
        (current, planned): (&MutexGuard<'_, Option<Running>>, Result<Option<Planned>, String>),
    ) -> Result<Draft, Refusal> {
        let excluded = self.missing_edges(group, policy).await?;
        let fleet = self.fleet(group).without(&excluded);
        let chosen = self.target(group, policy, wanted.to.as_deref(), (&fleet, current)).await?;
        self.nothing_stops(group, &chosen.to, current).await?;
        self.nothing_reruns_on(group, &chosen.to)?;
        let mut deployment = self.planned(group, policy, wanted, &chosen).await?;
        deployment.plan.excluded = excluded;
        deployment.plan.probes_only = fleet.abilities().leaves_probes_only(policy);
        if let Some(missing) = fleet.abilities().missing_for(&deployment.plan) {
            return Err(Refusal::Unable { edge: fleet.name(), group: group.to_owned(), missing });
        }
        let planned =
            planned.and_then(|planned| planned.map(|its| its.clause(&deployment.previous)).transpose());
        let planned = planned.map_err(Refusal::Database)?;
        let without = fleet.abilities().goes_without(policy).into_iter().map(str::to_owned);
        let alone = text_of_excluded(&deployment.plan.excluded);
        let clauses = chosen.clauses().into_iter().chain(without).chain(alone).chain(planned).collect();
        Ok(Draft { deployment, clauses })
    }

    /// Makes deployments move together. Fails if their steps do not fit.
    fn together_from(&self, drafts: Vec<Draft>) -> Result<Vec<Beginning>, Refusal> {
        let shares = |plan: &Plan| plan.steps.iter().map(|step: &Step| step.share).collect::<Vec<_>>();
        let plans: Vec<Plan> = drafts.iter().map(|draft| draft.deployment.plan.clone()).collect();
        for pair in plans.windows(2) {
            if let [one, other] = pair
                && shares(one) != shares(other)
            {
                return Err(Refusal::StepsDiffer { groups: [one, other].map(|plan| plan.group.clone()) });
            }
        }
        let all: Vec<Companion> = drafts
            .iter()
            .map(|Draft { deployment, .. }| Companion {
                group: deployment.plan.group.clone(),
                deployment: deployment.id.clone(),
            })
            .collect();
        // The ways back end together.
        let warm = plans.iter().map(|plan| plan.warm).max().unwrap_or(Duration::ZERO);
        let beginning = |Draft { mut deployment, mut clauses }: Draft| {
            let others = all.iter().filter(|other| other.deployment != deployment.id);
            deployment.plan.with = others.cloned().collect();
            deployment.plan.warm = warm;
            let names: Vec<&str> =
                deployment.plan.with.iter().map(|companion| companion.group.as_str()).collect();
            if !names.is_empty() {
                clauses.push(format!("together with \"{}\"", names.join("\", \"")));
            }
            let state: State = deployment.plan.begin(self.clock.now());
            let message = driver::first_message(&deployment, &clauses, &state);
            Beginning { superseded: None, deployment, state, message }
        };
        Ok(drafts.into_iter().map(beginning).collect())
    }

    async fn planned(
        &self,
        group: &str,
        policy: &Policy,
        wanted: NewDeployment,
        Chosen { from, to, served, known, .. }: &Chosen,
    ) -> Result<Deployment, JournalError> {
        let started = self.clock.now();
        let stamp: String = rfc3339(started).chars().take(19).filter(char::is_ascii_alphanumeric).collect();
        let id = self.journal.free_id(format!("{group}-{}", stamp.replace('T', "-"))).await?;
        let previous = self.journal.version_in(group, from).await?.unwrap_or_default();
        let plan = Plan {
            served: served.clone(),
            known: known.as_ref().map(|known| known.evidence.clone()).unwrap_or_default(),
            ..policy.plan(group, from, to)
        };
        let NewDeployment { version, asked_by, reason, .. } = wanted;
        Ok(Deployment { id, version, previous, asked_by, reason, started, plan, policy: policy.clone() })
    }
}
