//! The beginning of a deployment.

use cutover_core::deployment::{Event, Phase, State};
use cutover_engine::clock::rfc3339;
use cutover_engine::driver::first_message;
use cutover_engine::edge::{Abilities, Edge, Look};
use cutover_engine::journal::{Deployment, Unfinished};
use cutover_engine::policy::Policy;
use kube::ResourceExt;

use super::{Context, Driven, Unreconciled};
use crate::journal::record;
use crate::resource::{BlueGreen, Promotion};
use crate::setup::Setup;
use crate::world::ClusterWorld;
use crate::{conditions, words};

impl Context {
    /// Begins the deployment of the version that the spec asks for. Returns whether the resource is ready for it.
    pub(super) async fn begin(
        &self,
        resource: &BlueGreen,
        driven: &Driven,
        look: &Look,
        (setup, policy): (Setup, Policy),
    ) -> Result<bool, Unreconciled> {
        let route = look.route();
        let from = route.active.clone();
        let Some(to) = setup.slots.keys().find(|slot| **slot != from).cloned() else {
            return self.not_ready(driven, resource, "NoStandby", "there is no slot without traffic").await;
        };
        if !route.is_all_on(&from) {
            let why = format!(
                "somebody has given slot \"{to}\" a share of the traffic: {route}; give all traffic to one slot first"
            );
            return self.not_ready(driven, resource, "Shared", &why).await;
        }
        let world = ClusterWorld::new(&self.watched, &setup, &driven.ledger);
        let abilities = world.edge().abilities();
        let deployment = self.planned(resource, driven, (&from, &to), (&setup, &policy), abilities).await;
        if let Some(missing) = abilities.missing_for(&deployment.plan) {
            let why =
                format!("spec.policy.steps: this edge {missing}: remove the steps, or use another edge");
            return self.not_ready(driven, resource, "Unable", &why).await;
        }
        if let Some(running) = driven.running() {
            if let Err(why) = running.ask(Event::TakeOver).await {
                tracing::debug!(deployment = running.id, why, "the last deployment goes on for now");
                return Ok(true);
            }
            driven.running.lock().take();
        }
        let mut state = deployment.plan.begin(self.clock.now());
        if resource.spec.promotion == Promotion::Manual {
            state.paused = Some("spec.promotion: Manual".to_owned());
        }
        self.write_first(resource, driven, (&deployment, &setup, &state), abilities).await?;
        let read = (Unfinished { deployment, state }, setup);
        *driven.running.lock() = Some(self.start(&driven.ledger, read, false));
        Ok(true)
    }

    async fn planned(
        &self,
        resource: &BlueGreen,
        driven: &Driven,
        (from, to): (&str, &str),
        (setup, policy): (&Setup, &Policy),
        abilities: Abilities,
    ) -> Deployment {
        let started = self.clock.now();
        let stamp: String = rfc3339(started).chars().take(19).filter(char::is_ascii_alphanumeric).collect();
        let mut plan = policy.plan(&setup.name, from, to);
        plan.probes_only = abilities.leaves_probes_only(policy);
        let status = driven.ledger.status().await;
        Deployment {
            id: format!("{}-{}", setup.name, stamp.replace('T', "-")),
            version: setup.version.clone(),
            previous: status.versions.get(from).cloned().unwrap_or_default(),
            asked_by: who(resource),
            reason: String::new(),
            started,
            plan,
            policy: policy.clone(),
        }
    }

    async fn write_first(
        &self,
        resource: &BlueGreen,
        driven: &Driven,
        (deployment, setup, state): (&Deployment, &Setup, &State),
        abilities: Abilities,
    ) -> Result<(), Unreconciled> {
        let said = |text: &str| words::of_cluster(text, &deployment.plan, setup);
        let without: Vec<String> = abilities.goes_without(&deployment.policy).into_iter().map(said).collect();
        let message = said(&first_message(deployment, &without, state));
        let entry = record(deployment, setup.clone(), state)?;
        let at = self.clock.now();
        driven
            .ledger
            .write(|status| {
                status.observed_generation = resource.metadata.generation;
                status.phase = Some(words::phase(&state.phase));
                conditions::say(status, &message);
                status.before = status.live.clone();
                status.versions.insert(deployment.plan.to.clone(), deployment.version.clone());
                status.deployment = Some(entry);
                status.retry = None;
                status.without.clone_from(&without);
                conditions::of_state(status, state, at, &message);
            })
            .await?;
        tracing::info!(deployment = deployment.id, "{message}");
        let reason = words::phase(&state.phase);
        driven.ledger.publish(&reason, &message, matches!(state.phase, Phase::Stuck { .. })).await;
        Ok(())
    }
}

/// Who has changed the spec last, as far as the API server says so: the manager of its fields.
fn who(resource: &BlueGreen) -> String {
    let managers = resource.managed_fields().iter();
    let of_spec = managers.filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.and_then(|fields| fields.get("f:spec")).and_then(|spec| spec.get("f:version")).is_some()
    });
    let last = of_spec.max_by_key(|entry| entry.time.clone()).and_then(|entry| entry.manager.clone());
    last.unwrap_or_else(|| "the spec".to_owned())
}
