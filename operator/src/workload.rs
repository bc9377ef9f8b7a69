//! The Deployments of the slots: started with a new version, and scaled down.

use std::sync::Arc;
use std::time::Duration;

use cutover_engine::edge::EdgeError;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::edge::argo_rollouts::RolloutWorkload;
use crate::edge::{Endpoints, MANAGER, VERSION, Watched, told};
use crate::ledger::Ledger;
use crate::resource::EdgeSpec;
use crate::setup::Setup;

mod rollout;

/// Pause between two readings.
const PAUSE: Duration = Duration::from_millis(250);

/// How often a Deployment is changed again that somebody else has changed meanwhile.
const TRIES: u32 = 20;

/// How many Pods of a slot stay up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None.
    None,
    /// The number of the warm window.
    Warm,
}

/// A version whose Pods are ready.
#[derive(Clone, Debug)]
pub struct Started {
    /// What runs, in one line.
    pub what: String,
    /// What its Pods are made of, see [`Workloads::changed`]. `None`: nobody can tell.
    pub rollout: Option<String>,
}

/// The Deployments of the slots.
#[derive(Clone)]
pub struct Workloads {
    watched: Arc<Watched>,
    setup: Setup,
    ledger: Arc<Ledger>,
    /// The Rollout of Argo in their place.
    rollout: Option<RolloutWorkload>,
}

impl Workloads {
    /// Those of a setup. They are changed only while the ledger may be written.
    pub fn new(watched: Arc<Watched>, setup: Setup, ledger: Arc<Ledger>) -> Self {
        let rollout = match &setup.edge {
            EdgeSpec::ArgoRollouts(spec) => {
                let template = setup.template.clone();
                Some(RolloutWorkload::new(Arc::clone(&watched), setup.names(), spec, template))
            }
            _ => None,
        };
        Self { watched, setup, ledger, rollout }
    }

    /// Whether a slot has Pods of another version than the one that is to be started there.
    pub async fn has_another(&self, slot: &str) -> Result<bool, String> {
        if self.rollout.is_some() {
            // A ReplicaSet has Pods of one version only.
            return Ok(false);
        }
        let deployment = self.get(slot).await?;
        let template = |deployment: &Deployment| deployment.spec.as_ref().map(|spec| spec.template.clone());
        if template(&self.with_template(slot).await?) == template(&deployment) {
            return Ok(false);
        }
        let asked = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        Ok(asked != Some(0) || !self.endpoints(slot).await.map_err(|error| error.to_string())?.is_empty())
    }

    /// Ends the Pods of a slot, and waits until they are in no endpoints any more. They would answer the probes and the smoke tests
    /// in place of the new ones, for as long as they take to end. Fails with one line.
    pub async fn clear(&self, slot: &str, limit: Duration) -> Result<(), String> {
        let begin = Instant::now();
        let none = |seen: &Deployment| {
            let asked = seen.spec.as_ref().and_then(|spec| spec.replicas);
            Ok((asked != Some(0)).then(|| json!({ "spec": { "replicas": 0 } })))
        };
        self.change(slot, "scaled to 0", none).await?;
        loop {
            let left = self.endpoints(slot).await.map_err(|error| error.to_string())?.len();
            if left == 0 {
                return Ok(());
            }
            if begin.elapsed() >= limit {
                return Err(format!(
                    "{} is scaled to 0 for the new version, but {left} Pods of the version before were still in its \
                     endpoints after {}; look at them: kubectl get pods -n {}",
                    self.what(slot),
                    humantime::format_duration(limit),
                    self.setup.namespace
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Starts a version in a slot, and waits until its Pods are ready and in the endpoints of the slot's Service. Fails with
    /// one line.
    pub async fn start(&self, slot: &str, version: &str, limit: Duration) -> Result<Started, String> {
        if let Some(rollout) = &self.rollout {
            // Argo promotes no other ReplicaSet than the one that was ready.
            let what = rollout.start(slot, version, limit).await?;
            return Ok(Started { what, rollout: None });
        }
        let replicas = self.size(slot).await?;
        let what = self.what(slot);
        let patched = self
            .change(slot, "changed", |seen| {
                let mut spec = json!({ "replicas": replicas, "paused": false });
                if let (Some(spec), Some(template)) = (spec.as_object_mut(), self.template(seen)?) {
                    spec.insert("template".to_owned(), template);
                }
                Ok(Some(json!({ "metadata": { "annotations": { VERSION: version } }, "spec": spec })))
            })
            .await?;
        let name = patched.name_any();
        let generation = patched.metadata.generation.unwrap_or_default();
        let template = |deployment: &Deployment| deployment.spec.as_ref().map(|spec| spec.template.clone());
        let begin = Instant::now();
        loop {
            let why = match self.get(slot).await {
                Ok(now) if template(&now) != template(&patched) => return Err(self.changed_by(slot, &now)),
                Ok(now) => match self.unready(slot, &now, generation, replicas).await {
                    None => {
                        let what = format!("{replicas} Pods of {what} are ready");
                        return Ok(Started { what, rollout: rollout::rollout(&now) });
                    }
                    Some(why) => why,
                },
                Err(why) => why,
            };
            if begin.elapsed() >= limit {
                let pods = self.trouble(&name).await;
                return Err(format!(
                    "{what} was not ready within {}: {why}{pods}; look at its Pods: kubectl describe deployment {name} -n {}",
                    humantime::format_duration(limit),
                    self.setup.namespace,
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Scales a slot down. Returns one line.
    pub async fn stop(&self, slot: &str, wanted: Wanted) -> Result<String, String> {
        match (&self.rollout, wanted) {
            (Some(rollout), Wanted::None) => return rollout.stop(slot).await,
            (Some(_), Wanted::Warm) => return Ok("Argo Rollouts keeps the old ReplicaSet".to_owned()),
            (None, _) => {}
        }
        let what = self.what(slot);
        let wanted = |seen: &Deployment| {
            let live = size_of(seen);
            let replicas = match wanted {
                Wanted::None => 0,
                Wanted::Warm => self.setup.warm_replicas.map_or(live, |warm| warm.min(live)),
            };
            (live, replicas)
        };
        let before = self.get(slot).await?;
        let change = |seen: &Deployment| {
            let (live, replicas) = wanted(seen);
            Ok((replicas != live).then(|| json!({ "spec": { "replicas": replicas } })))
        };
        self.change(slot, "scaled down", change).await?;
        let (live, replicas) = wanted(&before);
        if replicas == live {
            return Ok(format!("{what} has {live} Pods"));
        }
        Ok(format!("{what} is scaled from {live} to {replicas} Pods"))
    }

    /// Scales a slot to the size of another one, and waits until its Pods are ready. A way back needs as many as users need now.
    pub async fn grow(&self, slot: &str, limit: Duration) -> Result<(), String> {
        if self.rollout.is_some() {
            // The way back does not move the traffic before Argo has the Pods.
            return Ok(());
        }
        let replicas = self.size(slot).await?;
        if size_of(&self.get(slot).await?) >= replicas {
            return Ok(());
        }
        let what = self.what(slot);
        let grown = |seen: &Deployment| {
            Ok((size_of(seen) < replicas).then(|| json!({ "spec": { "replicas": replicas } })))
        };
        let patched = self.change(slot, &format!("scaled to {replicas}"), grown).await?;
        let generation = patched.metadata.generation.unwrap_or_default();
        let begin = Instant::now();
        loop {
            let now = self.get(slot).await?;
            match self.unready(slot, &now, generation, replicas).await {
                None => return Ok(()),
                Some(why) if begin.elapsed() >= limit => return Err(format!("{what}: {why}")),
                Some(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Whether a slot's Pods are made of something else than they were when it was started, and who has changed that. The number of
    /// Pods does not matter.
    pub async fn changed(&self, slot: &str, started: &str) -> Result<Option<String>, String> {
        let now = self.get(slot).await?;
        let is_other = rollout::rollout(&now).is_some_and(|rollout| rollout != started);
        Ok(is_other.then(|| self.changed_by(slot, &now)))
    }

    fn changed_by(&self, slot: &str, now: &Deployment) -> String {
        let image = image(now, self.container()).unwrap_or_default();
        format!(
            "{} was changed by {} in mid-deployment: its Pods, now with image {image}, are not those that this deployment has \
             started and tested; write the change into spec.template with a new spec.version",
            self.what(slot),
            rollout::who(now),
        )
    }

    /// The image and version that a slot's Deployment has now.
    pub async fn running(&self, slot: &str) -> Result<(Option<String>, Option<String>), String> {
        if let Some(rollout) = &self.rollout {
            return rollout.running().await;
        }
        let deployment = self.get(slot).await?;
        let version = deployment.annotations().get(VERSION).cloned();
        Ok((image(&deployment, self.container()), version))
    }

    /// The Deployment of a slot as it is with the new version's template.
    pub async fn with_template(&self, slot: &str) -> Result<Deployment, String> {
        let deployment = self.get(slot).await?;
        let Some(template) = self.template(&deployment)? else { return Ok(deployment) };
        let patch = json!({ "spec": { "template": template } });
        let dry = PatchParams { dry_run: true, ..params() };
        let patched = self.api().patch(&deployment.name_any(), &dry, &Patch::Strategic(patch)).await;
        patched.map_err(|error| format!("{} cannot be changed: {}", self.what(slot), told(&error)))
    }

    /// How many Pods a new version gets: what the setup says, or as many as the other slot has, and no fewer than its autoscaler
    /// wants.
    async fn size(&self, slot: &str) -> Result<i32, String> {
        if let Some(replicas) = self.setup.replicas {
            return Ok(replicas);
        }
        let mut size = 1;
        for other in self.setup.slots.keys().filter(|other| *other != slot) {
            let deployment = self.get(other).await?;
            let live = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
            let asked = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
            size = size.max(live).max(asked);
        }
        let scalers: Api<HorizontalPodAutoscaler> =
            Api::namespaced(self.watched.client().clone(), &self.setup.namespace);
        let listed = scalers.list(&ListParams::default()).await;
        let listed =
            listed.map_err(|error| format!("HorizontalPodAutoscalers cannot be read: {}", told(&error)))?;
        let own = self.setup.slots.get(slot).map(|slot| slot.deployment.as_str());
        let least = listed.iter().filter_map(|scaler| scaler.spec.as_ref()).filter(|spec| {
            spec.scale_target_ref.kind == "Deployment" && Some(spec.scale_target_ref.name.as_str()) == own
        });
        Ok(least.filter_map(|spec| spec.min_replicas).fold(size, i32::max))
    }

    /// Why a slot is not ready. `None`: it is.
    async fn unready(&self, slot: &str, now: &Deployment, generation: i64, replicas: i32) -> Option<String> {
        let status = now.status.clone().unwrap_or_default();
        if status.observed_generation.unwrap_or_default() < generation {
            return Some("the Deployment controller has not seen the change yet".to_owned());
        }
        let failed = status
            .conditions
            .iter()
            .flatten()
            .find(|one| one.type_ == "ReplicaFailure" && one.status == "True");
        if let Some(failed) = failed {
            return Some(failed.message.clone().unwrap_or_default());
        }
        // An autoscaler may have changed the number in the meantime.
        let wanted = now.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(replicas).min(replicas);
        let (updated, ready) = (status.updated_replicas.unwrap_or(0), status.ready_replicas.unwrap_or(0));
        let all = status.replicas.unwrap_or(0);
        if updated < wanted || ready < wanted || all > updated {
            return Some(format!("{ready} of {wanted} Pods are ready, {updated} of them new"));
        }
        match self.endpoints(slot).await {
            Ok(found) if i32::try_from(found.len()).is_ok_and(|found| found >= wanted) => None,
            Ok(found) => {
                let service = self.service(slot);
                Some(format!("Service \"{service}\" has {} of {wanted} endpoints", found.len()))
            }
            Err(error) => Some(error.to_string()),
        }
    }

    fn service(&self, slot: &str) -> String {
        self.setup.slots.get(slot).map(|slot| slot.service.clone()).unwrap_or_default()
    }

    /// The Pods of a slot that are ready.
    async fn endpoints(&self, slot: &str) -> Result<Endpoints, EdgeError> {
        self.watched.endpoints(&self.setup.names(), &self.service(slot)).await
    }

    /// What the events of a Deployment's Pods complain of; empty if there is nothing.
    async fn trouble(&self, deployment: &str) -> String {
        let events: Api<Event> = Api::namespaced(self.watched.client().clone(), &self.setup.namespace);
        let warnings = ListParams::default().fields("type=Warning");
        let Ok(listed) = events.list(&warnings).await else { return String::new() };
        let prefix = format!("{deployment}-");
        let of_deployment = |event: &&Event| {
            event.involved_object.name.as_deref().is_some_and(|name| name.starts_with(&prefix))
        };
        let last = listed.items.iter().filter(of_deployment).max_by_key(|event| event.last_timestamp.clone());
        last.and_then(|event| event.message.clone())
            .map_or(String::new(), |message| format!("; last warning: {message}"))
    }

    /// The change of the Pod template. `None`: it stays.
    fn template(&self, deployment: &Deployment) -> Result<Option<Value>, String> {
        let Some(template) = &self.setup.template else { return Ok(None) };
        let mut patch = template.patch.clone();
        if let Some(image) = &template.image {
            let containers = containers(deployment);
            let container = match self.container() {
                Some(name) if containers.contains(&name) => name,
                Some(name) => {
                    return Err(format!(
                        "Deployment \"{}\" has no container \"{name}\": spec.template.container must be one of {}",
                        deployment.name_any(),
                        containers.join(", ")
                    ));
                }
                None => containers.first().copied().ok_or("the Deployment has no container")?,
            };
            let spec = patch.entry("spec").or_insert_with(|| Value::Object(Map::new()));
            let spec = spec.as_object_mut().ok_or("spec.template.patch.spec is not an object")?;
            let list = spec.entry("containers").or_insert_with(|| Value::Array(Vec::new()));
            let list = list.as_array_mut().ok_or("spec.template.patch.spec.containers is not a list")?;
            let named = |one: &&mut Value| one.get("name").and_then(Value::as_str) == Some(container);
            match list.iter_mut().find(named).and_then(Value::as_object_mut) {
                Some(own) => drop(own.insert("image".to_owned(), json!(image))),
                None => list.push(json!({ "name": container, "image": image })),
            }
        }
        Ok(Some(Value::Object(patch))
            .filter(|patch| patch.as_object().is_some_and(|patch| !patch.is_empty())))
    }

    fn container(&self) -> Option<&str> {
        self.setup.template.as_ref().and_then(|template| template.container.as_deref())
    }

    /// Changes the Deployment of a slot as it was just seen, if there is something to change, and only while this operator drives
    /// the resource. One that has slept may take a slot for the standby that has all of the traffic by now. Returns the
    /// Deployment; fails with one line.
    async fn change(
        &self,
        slot: &str,
        to_be: &str,
        change: impl Fn(&Deployment) -> Result<Option<Value>, String>,
    ) -> Result<Deployment, String> {
        let mut tries = 0;
        loop {
            let seen = self.get(slot).await?;
            self.ledger.verify().await.map_err(|error| error.to_string())?;
            let Some(mut patch) = change(&seen)? else { return Ok(seen) };
            let metadata =
                patch.as_object_mut().map(|patch| patch.entry("metadata").or_insert_with(|| json!({})));
            if let Some(metadata) = metadata.and_then(Value::as_object_mut) {
                metadata.insert("resourceVersion".to_owned(), json!(seen.resource_version()));
            }
            match self.api().patch(&seen.name_any(), &params(), &Patch::Strategic(patch)).await {
                // Its controller writes its status all the time.
                Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => tries += 1,
                patched => {
                    return patched
                        .map_err(|error| format!("{} cannot be {to_be}: {}", self.what(slot), told(&error)));
                }
            }
        }
    }

    async fn get(&self, slot: &str) -> Result<Deployment, String> {
        let slot_spec = self.setup.slots.get(slot).ok_or_else(|| format!("there is no slot \"{slot}\""))?;
        let got = self.api().get(&slot_spec.deployment).await;
        got.map_err(|error| match &error {
            kube::Error::Api(status) if status.code == 404 => format!(
                "{} does not exist: create it, or name the one that does in spec.slots.{slot}.deployment",
                self.what(slot)
            ),
            _ => format!("{} cannot be read: {}", self.what(slot), told(&error)),
        })
    }

    fn what(&self, slot: &str) -> String {
        let name = self.setup.slots.get(slot).map(|slot| slot.deployment.as_str()).unwrap_or_default();
        format!("Deployment \"{name}\"")
    }

    fn api(&self) -> Api<Deployment> {
        Api::namespaced(self.watched.client().clone(), &self.setup.namespace)
    }
}

/// How many Pods a Deployment is to have.
fn size_of(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn containers(deployment: &Deployment) -> Vec<&str> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.map(|pod| pod.containers.iter().map(|container| container.name.as_str()).collect())
        .unwrap_or_default()
}

fn image(deployment: &Deployment, container: Option<&str>) -> Option<String> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref())?;
    let wanted = |one: &&k8s_openapi::api::core::v1::Container| container.is_none_or(|name| one.name == name);
    pod.containers.iter().find(wanted)?.image.clone()
}
