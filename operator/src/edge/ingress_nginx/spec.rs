//! What the user says about the controller.

#![allow(unreachable_pub, reason = "the derive of the schema copies the struct into a function")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The port on which agents answer, unless the spec names another one.
pub const AGENT_PORT: u16 = 18181;

/// ingress-nginx with Cutover's module.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressNginxSpec {
    /// The group in nginx: `cutover NAME { .. }` in the controller's ConfigMap. Without it, the name of the BlueGreen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub group: Option<String>,
    /// The Pods of the controller.
    #[serde(default)]
    pub controller: ControllerSpec,
}

/// The Pods of the controller.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerSpec {
    /// Their namespace.
    #[serde(default = "namespace")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Their labels.
    #[serde(default = "selector")]
    #[schemars(extend("minProperties" = 1))]
    pub selector: BTreeMap<String, String>,
    /// The port on which the agent in each Pod answers.
    #[serde(default = "agent_port")]
    #[schemars(range(min = 1))]
    pub agent_port: u16,
}

impl Default for ControllerSpec {
    fn default() -> Self {
        Self { namespace: namespace(), selector: selector(), agent_port: agent_port() }
    }
}

impl IngressNginxSpec {
    /// The group in nginx of the `BlueGreen` with this name.
    pub fn group_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.group.as_deref().unwrap_or(name)
    }
}

impl ControllerSpec {
    /// Whether a Pod of this namespace with these labels is one of them.
    pub fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespace == namespace && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The selector as the API takes it, as in `app=shop,slot=blue`.
    pub fn query(&self) -> String {
        let pairs = self.selector.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(",")
    }
}

fn namespace() -> String {
    "ingress-nginx".to_owned()
}

fn selector() -> BTreeMap<String, String> {
    [("app.kubernetes.io/component".to_owned(), "controller".to_owned())].into()
}

fn agent_port() -> u16 {
    AGENT_PORT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_chart() {
        let spec: IngressNginxSpec = serde_json::from_str("{}").unwrap();
        assert_eq!(spec, IngressNginxSpec::default());
        assert_eq!(spec.group_of("shop"), "shop");
        assert_eq!(spec.controller.query(), "app.kubernetes.io/component=controller");
        let labels = |value: &str| [("app.kubernetes.io/component".to_owned(), value.to_owned())].into();
        assert!(spec.controller.selects("ingress-nginx", &labels("controller")));
        assert!(!spec.controller.selects("ingress-nginx", &labels("admission-webhook")));
        assert!(!spec.controller.selects("default", &labels("controller")));
    }
}
