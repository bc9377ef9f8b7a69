//! The spec: what the user wants.

#![allow(unreachable_pub, reason = "the derive of the schema copies the struct into a function")]
#![allow(clippy::duplicated_attributes, reason = "each printer column has a type")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::duration::{DURATION, five_minutes, ten_seconds};
use super::migrations::MigrationsSpec;
use super::{BlueGreenStatus, HooksSpec};
use crate::edge::argo_rollouts::ArgoRolloutsSpec;
use crate::edge::gateway::GatewaySpec;
use crate::edge::ingress_canary::IngressCanarySpec;
use crate::edge::ingress_nginx::IngressNginxSpec;

/// An application with two slots behind one Service.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cutover.dev",
    version = "v1alpha1",
    kind = "BlueGreen",
    namespaced,
    status = "BlueGreenStatus",
    shortname = "bg",
    category = "all",
    derive = "PartialEq",
    doc = "An application that is deployed blue-green: two slots behind one Service.",
    printcolumn(name = "Active", type_ = "string", json_path = ".status.activeSlot"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Deploying", type_ = "string", json_path = ".status.deployment.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("size(self.slots) == 2").message("spec.slots must have exactly two slots, as in blue and green"))]
#[x_kube(validation = Rule::new("self.slots.all(a, self.slots.all(b, a == b || \
    !has(self.slots[a].service) || !has(self.slots[b].service) || \
    self.slots[a].service != self.slots[b].service))").message("\
    spec.slots: each slot needs a Service of its own, and two have the same"))]
#[x_kube(validation = Rule::new("self.slots.all(a, self.slots.all(b, a == b || \
    !has(self.slots[a].deployment) || !has(self.slots[b].deployment) || \
    self.slots[a].deployment != self.slots[b].deployment))").message("\
    spec.slots: each slot needs a Deployment of its own, and two have the same"))]
#[x_kube(validation = Rule::new("self.slots.all(name, !has(self.slots[name].service) || \
    self.slots[name].service != self.service)").message("\
    spec.slots: spec.service is the Service that users reach; a slot needs another one"))]
#[x_kube(validation = Rule::new("has(self.edge.argoRollouts) ? \
    self.slots.all(name, !has(self.slots[name].service) && !has(self.slots[name].deployment)) : \
    self.slots.all(name, has(self.slots[name].service) && has(self.slots[name].deployment))").message("spec.slots: each slot \
    needs a deployment and a service; with spec.edge.argoRollouts neither, because its slots are ReplicaSets of the Rollout"))]
#[x_kube(validation = Rule::new("has(self.edge.ingressNginx) || !has(self.policy) || !has(self.policy.trial)").message("\
    spec.policy.trial: only nginx with the module takes a version back by itself: remove it, or use spec.edge.ingressNginx"))]
#[x_kube(validation = Rule::new("!has(self.promotion) || self.promotion != 'Manual' || \
    !has(self.policy) || !has(self.policy.steps)").message("spec.promotion: Manual has no effect beside \
    spec.policy.steps: write a step \"0.01% manual\" first"))]
#[x_kube(validation = Rule::new("!has(self.edge.argoRollouts) || !has(self.migrations) && !has(self.hooks) && \
    !has(self.replicas) && !has(self.warmReplicas)").message("with spec.edge.argoRollouts there are no spec.migrations, \
    spec.hooks, spec.replicas and spec.warmReplicas: migrate in an init container, and set replicas in the Rollout"))]
pub struct BlueGreenSpec {
    /// The Service that the users' Ingress, HTTPRoute or other Pods name.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.service cannot be changed: create another BlueGreen"))]
    pub service: String,
    /// The port of the slots' Services that requests go to, by name or number. Needed if a Service has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "port")]
    pub port: Option<Value>,
    /// The two slots by name.
    #[schemars(extend("minProperties" = 2, "maxProperties" = 2))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.slots cannot be changed: create another BlueGreen"))]
    pub slots: BTreeMap<String, SlotSpec>,
    /// What moves the traffic. Exactly one kind.
    pub edge: EdgeSpec,
    /// The version that users are to get. A change of it begins a deployment.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// What the Pods of the new version differ in. Without it, the Deployment of the standby is used as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateSpec>,
    /// Jobs that change the database for the new version, and back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<MigrationsSpec>,
    /// Jobs that are told what has happened, and decide nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<HooksSpec>,
    /// How many Pods the new version gets. Without it, as many as the active slot has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub replicas: Option<i32>,
    /// How many Pods of the old version stay up in the warm window. Without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub warm_replicas: Option<i32>,
    /// How long the Pods of a new version may take to become ready.
    #[serde(default = "five_minutes")]
    #[schemars(extend("pattern" = DURATION))]
    pub provision_deadline: String,
    /// How long after a change of the route a slot stays up that has lost its traffic, and its database is not reverted: proxies
    /// learn of a change with delay.
    #[serde(default = "ten_seconds")]
    #[schemars(extend("pattern" = DURATION))]
    pub settle: String,
    /// Whether the traffic moves by itself once the new version is ready.
    #[serde(default)]
    pub promotion: Promotion,
    /// No new deployment begins. One that is under way goes on to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// How a version is deployed: the same keys as `[group.NAME]` has on hosts, so they have underscores.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "super::policy::schema")]
    pub policy: Map<String, Value>,
}

/// A slot: the Deployment that runs its Pods, and the Service that selects them. Empty for a Rollout of Argo.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotSpec {
    /// The Deployment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(min = 1, max = 253))]
    pub deployment: String,
    /// The Service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(min = 1, max = 63))]
    pub service: String,
}

/// What moves the traffic.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub enum EdgeSpec {
    /// The selector of `spec.service`: all traffic at once, as fast as the endpoints are propagated.
    Service {},
    /// A canary Ingress of ingress-nginx, and then the selector of `spec.service`.
    IngressCanary(IngressCanarySpec),
    /// ingress-nginx with Cutover's module, and an agent in each of its Pods.
    IngressNginx(IngressNginxSpec),
    /// The weights of an HTTPRoute of the Gateway API.
    Gateway(GatewaySpec),
    /// A blue-green Rollout of Argo, which the operator promotes. Its slots are ReplicaSets of the Rollout.
    ArgoRollouts(ArgoRolloutsSpec),
}

/// What the Pods of the new version differ in.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateSpec {
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The container that gets the image. Without it, the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// A strategic merge patch of the Pod template.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "anything")]
    pub patch: Map<String, Value>,
}

/// Whether the traffic moves by itself once the new version is ready.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Promotion {
    /// It moves when the smoke tests have passed.
    #[default]
    Automatic,
    /// It waits until somebody promotes the version.
    Manual,
}

fn port(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "x-kubernetes-int-or-string": true })
}

fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
