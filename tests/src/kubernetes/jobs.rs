//! Jobs that end when a test says so: those whose program is `/bin/waits`, and those of Pods that never start.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::namespace::Namespace;
use super::patience;

/// Ends the Pod of the Job that has not ended, once it is there, with an exit code.
pub async fn end(namespace: &Namespace<'_>, code: u8) -> Result<()> {
    let mut found = None;
    patience::until("the Pod of a Job that has not ended", async || {
        let pods = namespace.kubectl().get(&["pods", "--selector", "batch.kubernetes.io/job-name"]).await;
        let pods = pods.unwrap_or_default();
        let mut pods = pods.get("items").and_then(Value::as_array).into_iter().flatten();
        found = pods.find(|pod| runs(pod)).cloned();
        found.is_some()
    })
    .await?;
    let text = |pointer: &str| found.as_ref().and_then(|pod| pod.pointer(pointer)?.as_str());
    let container = text("/spec/containers/0/name").context("a Pod without container")?;
    let status = json!({ "status": {
        "phase": if code == 0 { "Succeeded" } else { "Failed" },
        "containerStatuses": [{
            "name": container, "image": container, "imageID": "", "ready": false, "restartCount": 0,
            "state": { "terminated": { "exitCode": code } },
        }],
    } });
    let pod = text("/metadata/name").context("a Pod without name")?;
    let words = ["patch", "pod", pod, "--subresource=status", "--patch", &status.to_string()];
    namespace.kubectl().run(&words).await?;
    Ok(())
}

fn runs(pod: &Value) -> bool {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str);
    pod.pointer("/metadata/deletionTimestamp").is_none() && matches!(phase, Some("Pending" | "Running"))
}
