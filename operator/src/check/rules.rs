//! The rights that the operator and its agents use: the list that the roles of the chart are made of.

use serde::{Deserialize, Serialize};

use crate::resource::{BlueGreenSpec, EdgeSpec};

/// Some rights, as a role has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rule {
    /// The groups of the API.
    pub(super) api_groups: Vec<String>,
    /// The resources, as in `bluegreens/status`.
    pub(super) resources: Vec<String>,
    /// Only the objects with these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) resource_names: Vec<String>,
    /// What may be done.
    pub(super) verbs: Vec<String>,
}

/// The lists by what needs them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rules {
    always: Vec<Rule>,
    migrations: Vec<Rule>,
    ingress_canary: Vec<Rule>,
    gateway: Vec<Rule>,
    argo_rollouts: Vec<Rule>,
    /// The operator, where ingress-nginx is.
    pub(super) agents: Vec<Rule>,
    /// An agent, where ingress-nginx is.
    pub(super) agent_at_home: Vec<Rule>,
    /// An agent, where BlueGreens are.
    pub(super) agent: Vec<Rule>,
}

/// What the operator needs for one spec, and the value of the chart that gives it.
pub(super) struct Needed<'a> {
    /// The name of a role that would give it.
    pub(super) name: &'static str,
    /// The value of the chart.
    pub(super) value: Option<&'static str>,
    /// The rights.
    pub(super) rules: &'a [Rule],
}

impl Rules {
    /// Those of this version.
    pub(super) fn read() -> Result<Self, serde_yaml::Error> {
        serde_yaml::from_str(include_str!("../../../charts/cutover/files/rules.yaml"))
    }

    /// What the operator needs in the namespace of a BlueGreen.
    pub(super) fn of_spec(&self, spec: &BlueGreenSpec) -> Vec<Needed<'_>> {
        let needed = |name, value, rules| Needed { name, value, rules };
        let mut all = vec![needed("cutover", None, self.always.as_slice())];
        if spec.migrations.is_some() || spec.hooks.is_some() {
            all.push(needed("cutover-migrations", Some("migrations=true"), &self.migrations));
        }
        match spec.edge {
            EdgeSpec::Service {} | EdgeSpec::IngressNginx(_) => {}
            EdgeSpec::IngressCanary(_) => {
                all.push(needed(
                    "cutover-ingress-canary",
                    Some("edges.ingressCanary=true"),
                    &self.ingress_canary,
                ));
            }
            EdgeSpec::Gateway(_) => {
                all.push(needed("cutover-gateway", Some("edges.gateway=true"), &self.gateway));
            }
            EdgeSpec::ArgoRollouts(_) => {
                all.push(needed(
                    "cutover-argo-rollouts",
                    Some("edges.argoRollouts=true"),
                    &self.argo_rollouts,
                ));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_chart_can_be_read() {
        let rules = Rules::read().unwrap();
        assert!(rules.always.iter().any(|rule| rule.resources == ["bluegreens/status"]));
        assert!(rules.agents.iter().any(|rule| rule.resource_names == ["cutover-agent"]));
    }
}
