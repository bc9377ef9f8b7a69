//! A BlueGreen that is checked, from a file or from the cluster.

use cutover_engine::policy::Policy;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::finding::{At, Finding, Fix};
use crate::edge::Names;
use crate::resource::{BlueGreen, BlueGreenSpec};
use crate::setup::Setup;

/// A BlueGreen that is checked.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// The resource.
    pub(super) resource: BlueGreen,
    /// What the operator would make of it.
    pub(super) setup: Setup,
    /// Whether the cluster has it. Otherwise a file has.
    pub(super) is_applied: bool,
}

impl Candidate {
    /// One of the cluster.
    pub(super) fn applied(resource: BlueGreen) -> Self {
        Self { setup: Setup::of(&resource), resource, is_applied: true }
    }

    /// One of a file.
    pub(super) fn written(object: &Value) -> Result<Self, Box<Finding>> {
        let resource: BlueGreen = serde_json::from_value(object.clone()).map_err(|error| {
            let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let at = At::object("BlueGreen", text("/metadata/namespace"), text("/metadata/name"));
            let finding = Finding::problem(at, format!("it cannot be read: {error}"));
            Box::new(finding.fix(Fix::Type("kubectl explain bluegreen.spec".to_owned())))
        })?;
        Ok(Self { setup: Setup::of(&resource), resource, is_applied: false })
    }

    /// The spec.
    pub(super) fn spec(&self) -> &BlueGreenSpec {
        &self.resource.spec
    }

    /// The namespace.
    pub(super) fn namespace(&self) -> &str {
        &self.setup.namespace
    }

    /// The names for the edge.
    pub(super) fn names(&self) -> Names {
        self.setup.names()
    }

    /// The BlueGreen, and a field of it.
    pub(super) fn at(&self, field: impl Into<String>) -> At {
        At::object("BlueGreen", self.namespace(), &self.resource.name_any()).field(field)
    }

    /// The change of keys of the spec that helps.
    pub(super) fn change(&self, spec: &Value) -> Fix {
        let keys = json!({ "spec": spec });
        if self.is_applied { self.at("").patched(&keys) } else { Fix::write(&keys) }
    }

    /// The path of the probe, for examples.
    pub(super) fn probe_path(&self) -> String {
        let path = self.spec().policy.get("probe").and_then(|probe| probe.get("path"));
        path.and_then(Value::as_str).unwrap_or("/").to_owned()
    }
}

/// The engine's own reading of `spec.policy`.
pub(super) fn policy(candidate: &Candidate, findings: &mut Vec<Finding>) -> Option<Policy> {
    match crate::policy::policy(candidate.spec()) {
        Ok(policy) => Some(policy),
        Err(refused) => {
            let mut finding = Finding::problem(candidate.at(&refused.key), refused.why.clone());
            finding.value = value_at(&json!(candidate.spec()), &refused.key);
            // Without the key its default applies.
            if let Some(without) = without(&refused.key) {
                finding = finding.fix(candidate.change(&without));
            }
            findings.push(finding);
            None
        }
    }
}

/// What stands at a key, as in `spec.policy.soak`.
fn value_at(spec: &Value, key: &str) -> Option<Value> {
    let pointer = format!("/{}", key.strip_prefix("spec.")?.replace('.', "/"));
    spec.pointer(&pointer).cloned()
}

/// The change that removes a key of the spec.
fn without(key: &str) -> Option<Value> {
    let names = key.strip_prefix("spec.")?.split('.').rev();
    if key == "spec.policy" {
        return None;
    }
    Some(names.fold(Value::Null, |inner, name| json!({ name: inner })))
}
