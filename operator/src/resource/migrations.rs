//! Jobs that change the database.

#![allow(unreachable_pub, reason = "the derive of the schema copies the struct into a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::duration::{DURATION, five_minutes};

/// Jobs that change the database. They run the image of the new version, in Pods like those of its Deployment.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationsSpec {
    /// Applies what is missing. It runs before the new version starts, so the old version must live with it.
    pub migrate: JobSpecOf,
    /// Undoes what `migrate` of this deployment has done. It runs only when no traffic can reach the new version any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<JobSpecOf>,
    /// How long each may take.
    #[serde(default = "five_minutes")]
    #[schemars(extend("pattern" = DURATION))]
    pub deadline: String,
}

/// What a Job runs.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSpecOf {
    /// The program in the image.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The container of the Pod template whose image and environment it has. Without it, the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// For `migrate`: the exit code that means that there was nothing to apply, so there is nothing to revert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Kubernetes knows no format of one byte.
    #[schemars(with = "Option<i32>", range(min = 1, max = 255))]
    pub nothing_applied: Option<u8>,
}
