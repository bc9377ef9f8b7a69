//! Which Pods a Deployment has: a change of its template makes others.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;

use crate::edge::MANAGER;

/// Counts the templates of a Deployment. Its controller writes it, and it stays when only the number of Pods changes.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// What the Deployment's Pods are made of, as `UID/REVISION`. `None`: its controller has not seen the last change yet.
pub(super) fn rollout(deployment: &Deployment) -> Option<String> {
    let seen = deployment.status.as_ref().and_then(|status| status.observed_generation)?;
    if seen < deployment.metadata.generation? {
        return None;
    }
    Some(format!("{}/{}", deployment.uid()?, deployment.annotations().get(REVISION)?))
}

/// Who has changed the template last beside the operator, as far as the API server says so.
pub(super) fn who(deployment: &Deployment) -> String {
    let has_template = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.and_then(|fields| fields.pointer("/f:spec/f:template")).is_some()
    };
    let others = deployment.managed_fields().iter().filter(|entry| entry.manager.as_deref() != Some(MANAGER));
    let last = others.filter(has_template).max_by_key(|entry| entry.time.clone());
    last.map_or_else(
        || "somebody".to_owned(),
        |last| {
            let manager = last.manager.as_deref().unwrap_or_default();
            let at = last.time.as_ref().map(|time| format!(" at {}", time.0)).unwrap_or_default();
            format!("\"{manager}\"{at}")
        },
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(generation: i64, revision: Option<&str>) -> Deployment {
        let entry = |manager: &str, time: &str, fields: Value| json!({ "manager": manager, "time": time, "fieldsV1": fields });
        let template = || json!({ "f:spec": { "f:template": {} } });
        serde_json::from_value(json!({
            "metadata": {
                "name": "shop-green", "uid": "u", "generation": generation,
                "annotations": revision.map(|revision| json!({ REVISION: revision })),
                "managedFields": [
                    entry("kubectl-set", "2026-01-02T00:00:00Z", template()),
                    entry("kubectl-client-side-apply", "2026-01-01T00:00:00Z", template()),
                    entry("hpa", "2026-01-03T00:00:00Z", json!({ "f:spec": { "f:replicas": {} } })),
                    entry(MANAGER, "2026-01-04T00:00:00Z", template()),
                ],
            },
            "status": { "observedGeneration": 3 },
        }))
        .unwrap()
    }

    #[test]
    fn the_rollout_is_that_of_the_last_change_that_was_seen() {
        assert_eq!(rollout(&deployment(3, Some("7"))).as_deref(), Some("u/7"));
        assert_eq!(rollout(&deployment(4, Some("7"))), None, "not seen yet");
        assert_eq!(rollout(&deployment(3, None)), None);
    }

    #[test]
    fn who_has_changed_the_template_last() {
        assert_eq!(who(&deployment(3, None)), "\"kubectl-set\" at 2026-01-02T00:00:00Z");
        assert_eq!(who(&Deployment::default()), "somebody");
    }
}
