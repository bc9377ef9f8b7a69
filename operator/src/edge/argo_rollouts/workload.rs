//! A new version of a Rollout: started by its image, and taken back by the template that has the traffic.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::errors::is_conflict;
use super::super::{Names, Watched};
use super::ArgoRolloutsSpec;
use super::reading::{Reading, SLOTS, text};
use super::rollout::{Rollout, annotate, with_annotations};
use crate::edge::errors::told;
use crate::edge::names::VERSION;
use crate::resource::TemplateSpec;

/// Pause between two readings.
const PAUSE: Duration = Duration::from_millis(250);

/// What starts and stops the versions of a Rollout.
#[derive(Clone)]
pub struct RolloutWorkload {
    rollout: Rollout,
    template: Option<TemplateSpec>,
}

impl RolloutWorkload {
    /// Those of a Rollout.
    pub fn new(
        watched: Arc<Watched>,
        names: Names,
        spec: &ArgoRolloutsSpec,
        template: Option<TemplateSpec>,
    ) -> Self {
        Self { rollout: Rollout::new(watched, names, spec), template }
    }

    /// Gives the Rollout the image of a version, and waits until its controller has Pods ready and waits for the promotion.
    pub async fn start(&self, slot: &str, version: &str, limit: Duration) -> Result<String, String> {
        let begin = Instant::now();
        let what = self.rollout.what();
        self.change_image(version).await?;
        loop {
            let reading = self.read().await?;
            let hash = reading.current_hash();
            let is_new = reading.is_seen() && !hash.is_empty() && *hash != reading.active_hash;
            if is_new && reading.is_paused() {
                let pods = self.rollout.pods(hash).await.map_err(|error| error.to_string())?.len();
                let slots = serde_json::to_string(&reading.slots_with(slot, hash));
                let slots = slots.map_err(|error| error.to_string())?;
                if self.patch(&reading, vec![annotate(SLOTS, &slots)]).await? {
                    return Ok(format!("{pods} Pods of ReplicaSet {hash} of {what} are ready"));
                }
            }
            if begin.elapsed() >= limit {
                let (phase, why) =
                    (text(&reading.object, "/status/phase"), text(&reading.object, "/status/message"));
                return Err(format!(
                    "{what} has not paused before its promotion within {}: it is {phase}, {why}; look at it: kubectl describe \
                     rollout {} -n {}",
                    humantime::format_duration(limit),
                    self.rollout.name(),
                    self.rollout.names().namespace,
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Takes back a template that did not get the traffic. Argo scales down by itself what has lost it. Returns one line.
    pub async fn stop(&self, slot: &str) -> Result<String, String> {
        loop {
            let reading = self.read().await?;
            if reading.active == slot {
                return Err(format!("slot \"{slot}\" has the traffic of {}", self.rollout.what()));
            }
            if reading.current_hash() == reading.active_hash {
                return Ok(format!("Argo Rollouts scales down what {} does not use", self.rollout.what()));
            }
            let template =
                self.rollout.template_of(&reading.active_hash).await.map_err(|error| error.to_string())?;
            let back = json!({ "op": "replace", "path": "/spec/template", "value": template });
            if self.patch(&reading, vec![back]).await? {
                return Ok(format!("{} has the template of its active Pods again", self.rollout.what()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The image and version that have the traffic.
    pub async fn running(&self) -> Result<(Option<String>, Option<String>), String> {
        let reading = self.read().await?;
        let template =
            self.rollout.template_of(&reading.active_hash).await.map_err(|error| error.to_string())?;
        let at = self.container(&template)?;
        let image = template.pointer(&format!("/spec/containers/{at}/image")).and_then(Value::as_str);
        let version = template
            .pointer("/metadata/annotations")
            .and_then(|all| all.get(VERSION))
            .and_then(Value::as_str);
        Ok((image.map(str::to_owned), version.map(str::to_owned)))
    }

    async fn change_image(&self, version: &str) -> Result<(), String> {
        let template = self.template.clone().unwrap_or_default();
        let image = template.image.as_ref().filter(|_| template.patch.is_empty()).ok_or_else(|| {
            "a Rollout gets a new version by spec.template.image alone: set it, and remove spec.template.patch".to_owned()
        })?;
        loop {
            let reading = self.read().await?;
            let now = reading.object.data.pointer("/spec/template").cloned().unwrap_or_default();
            let path = format!("/spec/template/spec/containers/{}/image", self.container(&now)?);
            let mut operations = vec![json!({ "op": "add", "path": path, "value": image })];
            // A version with the same image is another template, too.
            if now.pointer("/metadata/annotations").is_none() {
                operations
                    .push(json!({ "op": "add", "path": "/spec/template/metadata/annotations", "value": {} }));
            }
            let key = VERSION.replace('/', "~1");
            operations.push(json!({
                "op": "add", "path": format!("/spec/template/metadata/annotations/{key}"), "value": version,
            }));
            if self.patch(&reading, operations).await? {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The place of the container that gets the image.
    fn container(&self, template: &Value) -> Result<usize, String> {
        let containers =
            template.pointer("/spec/containers").and_then(Value::as_array).cloned().unwrap_or_default();
        let Some(wanted) = self.template.as_ref().and_then(|template| template.container.as_ref()) else {
            return Ok(0);
        };
        let names: Vec<&str> = containers.iter().filter_map(|one| one.get("name")?.as_str()).collect();
        names.iter().position(|name| name == wanted).ok_or_else(|| {
            format!(
                "{} has no container \"{wanted}\": spec.template.container must be one of {}",
                self.rollout.what(),
                names.join(", ")
            )
        })
    }

    async fn read(&self) -> Result<Reading, String> {
        self.rollout.read().await.map_err(|error| error.to_string())
    }

    /// Changes the Rollout. Returns false if it has changed since it was read.
    async fn patch(&self, reading: &Reading, operations: Vec<Value>) -> Result<bool, String> {
        let version = reading.object.resource_version().unwrap_or_default();
        let all = with_annotations(&reading.object).into_iter().chain(operations).collect();
        match self.rollout.patch(&version, all).await {
            Ok(_) => Ok(true),
            Err(error) if is_conflict(&error) => Ok(false),
            Err(error) => Err(format!("{} cannot be changed: {}", self.rollout.what(), told(&error))),
        }
    }
}
