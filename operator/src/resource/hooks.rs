//! Hooks: Jobs that are told what has happened. They decide nothing, and nothing waits for them.

#![allow(unreachable_pub, reason = "the derive of the schema copies the struct into a function")]

use cutover_core::fraction::Percent;
use cutover_engine::standing::LastTold;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::DURATION;
use super::migrations::JobSpecOf;

/// Jobs that are told what has happened, and decide nothing. They run the image of the new version, in Pods like those of its
/// Deployment.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HooksSpec {
    /// Is told of each change of the route, forward and back, whoever has made it. It may be told the same twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched: Option<SwitchedSpec>,
    /// Looks at a version that has failed, before it is stopped. The end of its output is an event of the BlueGreen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnose: Option<DiagnoseSpec>,
}

/// The Job that is told of each change of the route.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchedSpec {
    /// The program in the image. Its environment has CUTOVER_FROM, CUTOVER_FROM_VERSION, CUTOVER_TO, CUTOVER_TO_VERSION,
    /// CUTOVER_SHARE, CUTOVER_REASON, CUTOVER_GROUP and CUTOVER_DEPLOYMENT.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The container of the Pod template whose image and environment it has. Without it, the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// How long it may take. The next change is told after it at the latest.
    #[serde(default = "a_minute")]
    #[schemars(extend("pattern" = DURATION))]
    pub deadline: String,
    /// Whether it is told of each share of a slot, too, and not only when a slot has all of the traffic.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub each_step: bool,
}

/// The Job that looks at a version that has failed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiagnoseSpec {
    /// The program in the image. Its environment has CUTOVER_SLOT, CUTOVER_VERSION, CUTOVER_PREVIOUS_VERSION, CUTOVER_REASON,
    /// CUTOVER_GROUP and CUTOVER_DEPLOYMENT.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The container of the Pod template whose image and environment it has. Without it, the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// How long it may take. It delays the stop of the new version by at most this, and no traffic.
    #[serde(default = "a_minute")]
    #[schemars(extend("pattern" = DURATION))]
    pub deadline: String,
}

/// What the hook `switched` was told last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToldStatus {
    /// The slot that had the traffic, or has the rest of it.
    pub from: String,
    /// Its version, as far as it is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from_version: String,
    /// The slot that got the traffic.
    pub to: String,
    /// Its version, as far as it is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to_version: String,
    /// How much of the traffic it has, in percent.
    pub percent: f64,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The deployment that was under way.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub deployment: String,
    /// When, in RFC 3339.
    pub at: String,
    /// The Job that tells it. Absent: it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Why it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl ToldStatus {
    /// What is compared with the route. `None`: somebody has written a share that is no percentage.
    pub fn last_told(&self) -> Option<LastTold<'_>> {
        let Self { from, from_version, to, to_version, percent, .. } = self;
        let share = Percent::try_from(*percent).ok()?;
        Some(LastTold { from, from_version, to, to_version, share })
    }
}

impl SwitchedSpec {
    /// What its Job runs.
    pub fn job(&self) -> JobSpecOf {
        job(&self.command, &self.args, self.container.as_ref())
    }
}

impl DiagnoseSpec {
    /// What its Job runs.
    pub fn job(&self) -> JobSpecOf {
        job(&self.command, &self.args, self.container.as_ref())
    }
}

fn job(command: &[String], args: &[String], container: Option<&String>) -> JobSpecOf {
    JobSpecOf {
        command: command.to_vec(),
        args: args.to_vec(),
        container: container.cloned(),
        nothing_applied: None,
    }
}

fn a_minute() -> String {
    "1m".to_owned()
}
