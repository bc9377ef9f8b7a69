//! What a deployment is about, as it was when it began. A change of the spec in the meantime does not change it.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::edge::Names;
use crate::resource::{BlueGreen, EdgeSpec, HooksSpec, MigrationsSpec, SlotSpec, TemplateSpec, ten_seconds};

/// What a deployment is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// The namespace.
    pub namespace: String,
    /// The name of the `BlueGreen`.
    pub name: String,
    /// The Service that users reach.
    pub service: String,
    /// The port of the slots' Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The slots.
    pub slots: BTreeMap<String, SlotSpec>,
    /// What moves the traffic.
    pub edge: EdgeSpec,
    /// The version.
    pub version: String,
    /// What its Pods differ in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateSpec>,
    /// Jobs that change the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<MigrationsSpec>,
    /// Jobs that are told what has happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<HooksSpec>,
    /// How many Pods it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// How many Pods of the old version stay up in the warm window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_replicas: Option<i32>,
    /// How long after a change of the route a slot stays up that has lost its traffic, as in `10s`.
    #[serde(default = "ten_seconds")]
    pub settle: String,
}

impl Setup {
    /// The setup that a resource asks for now.
    pub fn of(resource: &BlueGreen) -> Self {
        let spec = &resource.spec;
        let port = spec.port.as_ref().map(|port| match port {
            Value::String(name) => name.clone(),
            number => number.to_string(),
        });
        Self {
            namespace: resource.namespace().unwrap_or_default(),
            name: resource.name_any(),
            service: spec.service.clone(),
            port,
            slots: spec.slots.clone(),
            edge: spec.edge.clone(),
            version: spec.version.clone(),
            template: spec.template.clone(),
            migrations: spec.migrations.clone(),
            hooks: spec.hooks.clone(),
            replicas: spec.replicas,
            warm_replicas: spec.warm_replicas,
            settle: spec.settle.clone(),
        }
    }

    /// The names for the edge.
    pub fn names(&self) -> Names {
        Names {
            namespace: self.namespace.clone(),
            group: self.name.clone(),
            service: self.service.clone(),
            port: self.port.clone(),
            slots: self.slots.iter().map(|(name, slot)| (name.clone(), slot.service.clone())).collect(),
        }
    }

    /// What the user wants to run, in a few characters. Two that are equal are the same version.
    pub fn wanted(&self) -> String {
        let what = serde_json::json!([self.version, self.template]);
        let digest = Sha256::digest(what.to_string());
        digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}
