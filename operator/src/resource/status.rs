//! The status: what the operator has done.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hooks::ToldStatus;
use super::route::{AgentStatus, PendingRoute, RouteStatus};

/// What the operator has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreenStatus {
    /// The generation of the spec that the operator has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The phase of the last deployment, or `Ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What is being done, or what happened last, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The slot that has the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_slot: Option<String>,
    /// The version that users get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the spec wanted when the live version was deployed, in a few characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    /// The same of the version before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The deployment whose version is to be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<String>,
    /// The version in each slot, as far as it is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, String>,
    /// The percent of the traffic by slot.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, f64>,
    /// Counts the operators that have driven this resource. One with an older number cannot write any more.
    #[serde(default)]
    pub epoch: i64,
    /// The deployment that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<JournalEntry>,
    /// Deployments that did not complete and have left their migrations in the database, the newest first. The verb `revert` undoes
    /// the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub unreverted: Vec<UnrevertedStatus>,
    /// What the last deployment goes without on its edge, one clause each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// The route, if the edge has agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub route: Option<RouteStatus>,
    /// The last number that a change of the route was given, made or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<i64>,
    /// The change of the route that the agents are asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub pending: Option<PendingRoute>,
    /// What the hook `switched` was told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub told: Option<ToldStatus>,
    /// The agents, each written by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"]))]
    pub agents: Vec<AgentStatus>,
    /// Past deployments, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<PastDeployment>,
    /// Standard conditions: `Ready`, `Progressing`, `Completed`, `Degraded`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A deployment that is under way, and its journal. The operator writes each state before it acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// One owner: a part of it that somebody else has written would stay when the rest goes.
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct JournalEntry {
    /// Its name, as in `shop-20261130-100501`.
    pub id: String,
    /// The version.
    pub version: String,
    /// The slot that it is deployed to.
    pub slot: String,
    /// When it began, in RFC 3339.
    pub started: String,
    /// Plan, policy, and what was wanted, for the operator alone.
    #[schemars(schema_with = "opaque")]
    pub entry: Value,
    /// The state, for the operator alone.
    #[schemars(schema_with = "opaque")]
    pub state: Value,
    /// What the Pods of the new version are made of: the unique id of their Deployment, and its revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

/// A deployment that has left its migrations in the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnrevertedStatus {
    /// The deployment.
    pub deployment: JournalEntry,
    /// How many Jobs have tried to revert them.
    #[serde(default)]
    pub tries: u32,
    /// The Job that reverts them. Absent: none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Why the last one has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// A deployment that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastDeployment {
    /// Its name.
    pub id: String,
    /// The version.
    pub version: String,
    /// The slot that it was deployed to.
    pub slot: String,
    /// How it ended: `completed`, `failed`, `rolled_back` or `stuck`.
    pub outcome: String,
    /// Why, in one line.
    pub message: String,
    /// Who wanted it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requested_by: String,
    /// When it began, in RFC 3339.
    pub started: String,
    /// When it ended, in RFC 3339.
    pub ended: String,
    /// What the spec wanted. The same is not tried again by itself.
    pub wanted: String,
}

fn opaque(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-map-type": "atomic",
    })
}
