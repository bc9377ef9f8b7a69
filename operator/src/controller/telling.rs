//! The hook `switched`: a Job that is told where the traffic goes, whoever has moved it.
//!
//! ```text
//! look -> does status.told say the same? -> no: status.told with the name of a Job -> the Job -> its end -> look again
//! ```
//!
//! What it was told last is in the status, and is written before the Job is made, so it is told of each change at least once, also
//! by the next operator. One Job of a resource runs at a time; of what happens meanwhile, it is told the last state.

use std::collections::BTreeMap;

use cutover_core::deployment::Time;
use cutover_engine::clock::rfc3339;
use cutover_engine::commands::{Failed, Job as Step};
use cutover_engine::edge::Look;
use cutover_engine::policy::Command;
use cutover_engine::standing::Standing;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::json;

use super::{Context, Driven, Unreconciled};
use crate::edge::{is_final, told};
use crate::jobs::{JobState, Jobs};
use crate::metrics;
use crate::resource::{BlueGreen, BlueGreenStatus, SwitchedSpec, ToldStatus};
use crate::setup::Setup;

/// Its name in messages and in metrics.
const NAME: &str = "switched";

impl Context {
    /// Tells the hook of the route, if it does not know it. Waits for nothing, and fails only if the status cannot be written.
    pub(super) async fn tell(
        &self,
        resource: &BlueGreen,
        driven: &Driven,
        setup: &Setup,
        look: &Look,
    ) -> Result<(), Unreconciled> {
        let status = driven.ledger.status().await;
        let Some(hook) = resource.spec.hooks.as_ref().and_then(|hooks| hooks.switched.as_ref()) else {
            driven.ledger.write(|status| status.told = None).await?;
            return Ok(());
        };
        let at = self.clock.now();
        let Some(last) = &status.told else {
            // What was there before the hook is no change.
            let there = Standing::active(look).map(|active| telling_of(active, &status, at));
            driven.ledger.write(|status| status.told = there).await?;
            return Ok(());
        };
        let telling = match (&last.job, news(look, hook, &status, last, at)) {
            (Some(_), _) => last.clone(),
            (None, None) => return Ok(()),
            (None, Some(news)) => {
                let deployment = driven.running().map(|running| running.id.clone()).unwrap_or_default();
                let stamp: String = rfc3339(at).chars().filter(char::is_ascii_digit).collect();
                let job = Some(format!("{}-{NAME}-{stamp}", setup.name));
                let telling = ToldStatus { deployment, job, ..news };
                driven.ledger.write(|status| status.told = Some(telling.clone())).await?;
                telling
            }
        };
        self.follow_job(driven, setup, hook, &telling).await
    }

    /// Makes the Job that tells it, or looks whether it has ended.
    async fn follow_job(
        &self,
        driven: &Driven,
        setup: &Setup,
        hook: &SwitchedSpec,
        telling: &ToldStatus,
    ) -> Result<(), Unreconciled> {
        let Some(name) = &telling.job else { return Ok(()) };
        let jobs = Jobs::new(self.client.clone(), &setup.namespace);
        let failed = match jobs.state(name).await {
            JobState::Runs => return Ok(()),
            JobState::Ended(done) => done.err(),
            JobState::Missing => match self.begin_job(driven, setup, hook, telling, &jobs).await {
                Ok(()) => return Ok(()),
                Err(failed) => Some(failed),
            },
        };
        metrics::within(setup.namespace.clone(), async {
            cutover_engine::metrics::hook(&setup.name, NAME, failed.is_none());
        })
        .await;
        let reason = failed.as_ref().map(|failed| failed.reason.clone());
        let ended = ToldStatus { job: None, failed: reason, ..telling.clone() };
        driven.ledger.write(|status| status.told = Some(ended)).await?;
        if let Some(failed) = failed {
            let (reason, shown) = (&failed.reason, failed.below());
            let message = format!("the hook switched has failed, and nothing waits for it: {reason}{shown}");
            driven.ledger.publish("HookFailed", &message, true).await;
        }
        Ok(())
    }

    /// Makes the Job. Fails if it can never be made.
    async fn begin_job(
        &self,
        driven: &Driven,
        setup: &Setup,
        hook: &SwitchedSpec,
        telling: &ToldStatus,
        jobs: &Jobs,
    ) -> Result<(), Failed> {
        let running = driven.running().filter(|running| running.id == telling.deployment);
        // The image of the new version, on its way back as well.
        let slot = running.map_or_else(|| telling.to.clone(), |running| running.slots.1.clone());
        let deployment = setup.slots.get(&slot).map(|slot| slot.deployment.as_str()).unwrap_or_default();
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &setup.namespace);
        let pods = match deployments.get(deployment).await {
            Ok(pods) => pods,
            Err(error) if !is_final(&error) => return Ok(()),
            Err(error) => {
                return Err(Failed::early(format!(
                    "Deployment \"{deployment}\" cannot be read: {}",
                    told(&error)
                )));
            }
        };
        let step = Step {
            name: NAME.to_owned(),
            // Not that of the deployment, whose end would end it.
            deployment: setup.name.clone(),
            command: command(hook).map_err(|error| Failed::early(format!("spec.hooks.switched: {error}")))?,
            environment: environment(&setup.name, telling),
        };
        jobs.begin(telling.job.as_deref().unwrap_or_default(), &step, &hook.job(), &pods).await
    }
}

/// What the engine calls a command: its Job does it.
fn command(hook: &SwitchedSpec) -> Result<Command, serde_json::Error> {
    serde_json::from_value(json!({ "command": ["/cutover/switched"], "timeout": hook.deadline }))
}

fn environment(group: &str, telling: &ToldStatus) -> BTreeMap<String, String> {
    [
        ("CUTOVER_GROUP", group.to_owned()),
        ("CUTOVER_FROM", telling.from.clone()),
        ("CUTOVER_FROM_VERSION", telling.from_version.clone()),
        ("CUTOVER_TO", telling.to.clone()),
        ("CUTOVER_TO_VERSION", telling.to_version.clone()),
        ("CUTOVER_SHARE", telling.percent.to_string()),
        ("CUTOVER_REASON", telling.reason.clone()),
        ("CUTOVER_DEPLOYMENT", telling.deployment.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What the hook is told of this.
fn telling_of(standing: Standing, status: &BlueGreenStatus, at: Time) -> ToldStatus {
    ToldStatus {
        to_version: version(status, &standing.slot),
        to: standing.slot,
        percent: standing.share.into(),
        reason: standing.reason,
        at: rfc3339(at),
        ..ToldStatus::default()
    }
}

/// What the hook does not know of the route. `None`: it knows all, or a share is not told.
fn news(
    look: &Look,
    hook: &SwitchedSpec,
    status: &BlueGreenStatus,
    last: &ToldStatus,
    at: Time,
) -> Option<ToldStatus> {
    let standing = if hook.each_step { Standing::step(look) } else { Standing::whole(look) }?;
    let last = last.last_told();
    if last.is_some_and(|last| standing.is_in(last, &version(status, &standing.slot))) {
        return None;
    }
    let (from, from_version) = match (&standing.rest, last) {
        (Some(rest), _) => (rest.clone(), version(status, rest)),
        (None, Some(last)) => standing.before(last),
        (None, None) => Default::default(),
    };
    Some(ToldStatus { from, from_version, ..telling_of(standing, status, at) })
}

fn version(status: &BlueGreenStatus, slot: &str) -> String {
    status.versions.get(slot).cloned().unwrap_or_default()
}

/// Whether its Job is to be looked at soon.
pub(super) fn is_telling(status: &BlueGreenStatus) -> bool {
    status.told.as_ref().is_some_and(|told| told.job.is_some())
}
