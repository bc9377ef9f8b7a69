//! The chart as helm renders it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::audit::Right;
use super::programs::helm;
use crate::flavour::root;

/// Rendered objects.
#[derive(Clone, Debug)]
pub struct Chart {
    yaml: String,
    objects: Vec<Value>,
}

impl Chart {
    /// Renders `charts/cutover` for a release named `cutover` in a namespace, with values as `--set` takes them.
    pub fn render(namespace: &str, values: &[&str]) -> Result<Self> {
        let folder = root().join("charts/cutover").display().to_string();
        let mut words = vec!["template", "cutover", &folder, "--namespace", namespace];
        words.extend(values.iter().flat_map(|value| ["--set", value]));
        Self::of(helm(&words)?)
    }

    /// Objects that helm has printed.
    pub fn of(yaml: String) -> Result<Self> {
        let objects = documents(&yaml)?;
        Ok(Self { yaml, objects })
    }

    /// As helm printed it.
    pub fn yaml(&self) -> &str {
        &self.yaml
    }

    /// The objects of a kind.
    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.objects.iter().filter(|one| text(one, "/kind") == kind).collect()
    }

    /// The only object of a kind.
    pub fn only(&self, kind: &str) -> Result<&Value> {
        match self.of_kind(kind)[..] {
            [one] => Ok(one),
            ref all => bail!("the chart has {} objects of kind {kind}", all.len()),
        }
    }

    /// All rights that roles give to a service account.
    pub fn rights_of(&self, service_account: &str) -> Result<BTreeSet<Right>> {
        let mut rights = BTreeSet::new();
        for binding in self.of_kind("RoleBinding").into_iter().chain(self.of_kind("ClusterRoleBinding")) {
            if text(binding, "/subjects/0/name") != service_account {
                continue;
            }
            let (kind, name) = (text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
            let role = self.of_kind(kind).into_iter().find(|role| text(role, "/metadata/name") == name);
            let role = role.with_context(|| format!("{kind} {name} is bound, but not there"))?;
            for rule in role.pointer("/rules").and_then(Value::as_array).into_iter().flatten() {
                for group in texts(rule, "apiGroups") {
                    for resource in texts(rule, "resources") {
                        for verb in texts(rule, "verbs") {
                            let (group, resource) = (group.clone(), resource.clone());
                            rights.insert(Right { group, resource, verb });
                        }
                    }
                }
            }
        }
        Ok(rights)
    }
}

/// The documents of a YAML file that are not empty.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        match serde::Deserialize::deserialize(document)? {
            Value::Null => {}
            object => objects.push(object),
        }
    }
    Ok(objects)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn texts(rule: &Value, key: &str) -> Vec<String> {
    let list = rule.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}
