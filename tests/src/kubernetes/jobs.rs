//! What runs in the pods of Jobs: programs, played by stages of kwok.
//!
//! | command | behaviour |
//! |---|---|
//! | `/bin/says TEXT` | ends with exit code 0 |
//! | `/bin/fails TEXT` | ends with exit code 3 |
//! | `/bin/waits` | ends when a test says so, see [`end`] |
//! | any other | ends with exit code 0 |
//!
//! There are no logs. The text is the message of the container's end: what a kubelet makes of a log's end there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::namespace::Namespace;
use super::patience;

/// Longer than any test.
const NEVER: u64 = 24 * 3600 * 1000;

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

/// Writes the stages.
pub(super) fn write_stages(folder: &Path) -> Result<PathBuf> {
    let mut waits = stage("waits", 0, "Succeeded");
    if let Some(spec) = waits.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("delay".to_owned(), json!({ "durationMilliseconds": NEVER }));
    }
    let stages = [stage("says", 0, "Succeeded"), stage("fails", 3, "Failed"), waits];
    let stages = stages.map(|stage| stage.to_string());
    let path = folder.join("stages-of-jobs.yaml");
    fs::write(&path, stages.join("\n---\n"))?;
    Ok(path)
}

fn stage(program: &str, code: u8, phase: &str) -> Value {
    let has = |key: &str, values: &[&str]| json!({ "key": key, "operator": "In", "values": values });
    let template = format!(
        "{{{{ $now := Now }}}}
containerStatuses:
{{{{ range .spec.containers }}}}
- image: {{{{ .image | Quote }}}}
  name: {{{{ .name | Quote }}}}
  ready: false
  restartCount: 0
  started: false
  state:
    terminated:
      exitCode: {code}
      finishedAt: {{{{ $now | Quote }}}}
      message: {{{{ if .args }}}}{{{{ index .args 0 | Quote }}}}{{{{ else }}}}''{{{{ end }}}}
      startedAt: {{{{ $now | Quote }}}}
{{{{ end }}}}
phase: {phase}
"
    );
    json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": { "name": format!("pod-{program}") },
        "spec": {
            "resourceRef": { "apiGroup": "v1", "kind": "Pod" },
            // More than that of the stage that ends all other Jobs.
            "weight": 1,
            "selector": { "matchExpressions": [
                { "key": ".metadata.deletionTimestamp", "operator": "DoesNotExist" },
                has(".status.phase", &["Running"]),
                has(".spec.containers[0].command[0]", &[&format!("/bin/{program}")]),
            ] },
            "next": { "statusTemplate": template },
        },
    })
}
