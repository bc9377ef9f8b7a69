//! What runs in the pods of Jobs: programs, played by stages of kwok.
//!
//! | command | behaviour |
//! |---|---|
//! | `/bin/says TEXT` | ends with exit code 0 |
//! | `/bin/fails TEXT` | ends with exit code 3 |
//! | `/bin/waits` | ends when a test says so, see `jobs::end` |
//! | any other | ends with exit code 0 |
//!
//! There are no logs. The text is the message of the container's end: what a kubelet makes of a log's end there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

/// Longer than any test.
const NEVER: u64 = 24 * 3600 * 1000;

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
