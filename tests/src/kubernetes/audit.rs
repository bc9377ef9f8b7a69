//! What service accounts have asked the API server for, from its audit log.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The audit log in the folder of a cluster.
pub(super) fn log(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

/// Writes what the API server is to log: each request of a service account, but for those of the cluster's own controllers.
pub(super) fn write_policy(folder: &Path) -> Result<PathBuf> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        // A watch ends only when its client ends, so its begin is logged.
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "None", "userGroups": ["system:serviceaccounts:kube-system"] },
            { "level": "Metadata", "userGroups": ["system:serviceaccounts"] },
            { "level": "None" },
        ],
    });
    let path = folder.join("audit-policy.json");
    fs::write(&path, policy.to_string())?;
    Ok(path)
}

/// A right as roles have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The group of the API; empty for the first one.
    pub group: String,
    /// The resource, with its subresource as in `pods/log`.
    pub resource: String,
    /// As in `get`.
    pub verb: String,
}

/// What a user has asked for.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// The rights that it took.
    pub rights: BTreeSet<Right>,
    /// What was forbidden, in the words of the API server.
    pub forbidden: BTreeSet<String>,
}

/// Reads what a user has asked for, as in `system:serviceaccount:NAMESPACE:NAME`.
pub(super) fn used_by(folder: &Path, user: &str) -> Result<Used> {
    let log = fs::read_to_string(log(folder)).context("failed to read the audit log")?;
    let mut used = Used::default();
    // The last line may be half written.
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let text = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/user/username") != user || text("/objectRef/resource").is_empty() {
            continue;
        }
        let resource = match text("/objectRef/subresource") {
            "" => text("/objectRef/resource").to_owned(),
            sub => format!("{}/{sub}", text("/objectRef/resource")),
        };
        let right = |verb: &str| Right {
            group: text("/objectRef/apiGroup").to_owned(),
            resource: resource.clone(),
            verb: verb.to_owned(),
        };
        let code = event.pointer("/responseStatus/code").and_then(Value::as_u64);
        if code == Some(403) {
            used.forbidden.insert(format!("{:?}: {}", right(text("/verb")), text("/responseStatus/message")));
        }
        // An apply that makes the object needs the right to create it, too.
        if code == Some(201) && text("/verb") == "patch" {
            used.rights.insert(right("create"));
        }
        used.rights.insert(right(text("/verb")));
    }
    Ok(used)
}
