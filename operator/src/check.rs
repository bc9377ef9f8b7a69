//! The checks of `cutover-operator check`: what would go wrong, before anything is applied.
//!
//! ```text
//! source       objects of files, then those of the cluster
//! rooms        each reads a little, and judges it purely: definition, dry_run, slots, ports, rights, edge, ingress_nginx, ..
//! findings     each with what helps
//! plan         what a deployment would do
//! ```

mod candidate;
mod definition;
mod dry_run;
mod edge;
mod examples;
mod finding;
mod ingress_nginx;
mod operators;
mod plan;
mod ports;
mod rights;
mod rules;
mod seen;
mod slots;
mod source;

use cutover_engine::foreseen::DeploymentPlan;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::clash::clash;
use crate::edge::told;
use crate::resource::{BlueGreen, EdgeSpec};
use candidate::Candidate;
pub use finding::{At, Finding, Fix, Severity};
pub use ingress_nginx::TestedBy;
pub use operators::Account;
use operators::Operator;
use rules::Rules;
use seen::Seen;
use source::Source;
pub use source::documents;

/// What is checked.
#[derive(Clone, Debug)]
pub enum What {
    /// The BlueGreens among these objects, which may not be applied yet.
    Written(Vec<Value>),
    /// Those that the cluster has: of one namespace, or of all.
    Applied(Option<String>),
}

/// What was found.
#[derive(Debug, Default)]
pub struct Checked {
    /// How many BlueGreens were checked.
    pub resources: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What a deployment of each would do.
    pub plans: Vec<DeploymentPlan>,
}

/// How to check.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// As whom the operator runs, if its Deployment does not tell.
    pub account: Option<Account>,
    /// The nginx that reads the snippets of ingress-nginx's ConfigMap.
    pub nginx: Option<TestedBy>,
}

/// Runs all checks. Fails if there is nothing to check.
pub async fn check(client: Client, what: What, settings: Settings) -> Result<Checked, String> {
    let mut checked = Checked::default();
    definition::check(&client, &mut checked.findings).await;
    let (files, candidates) = match what {
        What::Written(objects) => (objects.clone(), written(&client, &objects, &mut checked).await?),
        What::Applied(namespace) => (Vec::new(), applied(&client, namespace.as_deref(), &checked).await?),
    };
    let source = Source::new(client, files);
    let mut operators = Vec::new();
    match settings.account {
        Some(account) => operators.push(Operator::with(account)),
        None => operators = operators::find(source.client(), &mut checked.findings).await,
    }
    let rules = Rules::read().map_err(|error| error.to_string())?;
    let cluster = Cluster { source, operators, rules, nginx: settings.nginx };
    for (number, candidate) in candidates.iter().enumerate() {
        let others = candidates.iter().enumerate().filter(|(other, _)| *other != number);
        let others: Vec<&BlueGreen> = others.map(|(_, other)| &other.resource).collect();
        cluster.check(candidate, &others, &mut checked).await;
    }
    checked.resources = checked.resources.max(candidates.len());
    // Two BlueGreens can meet the same finding.
    let mut said: Vec<Finding> = Vec::new();
    for finding in checked.findings {
        if !said.contains(&finding) {
            said.push(finding);
        }
    }
    checked.findings = said;
    Ok(checked)
}

/// The BlueGreens of files, after the API server has said what it thinks of each.
async fn written(
    client: &Client,
    objects: &[Value],
    checked: &mut Checked,
) -> Result<Vec<Candidate>, String> {
    let is_one = |object: &&Value| object.get("kind").and_then(Value::as_str) == Some("BlueGreen");
    let resources: Vec<&Value> = objects.iter().filter(is_one).collect();
    if resources.is_empty() {
        return Err(
            "the files have no object of kind BlueGreen: give one with -f, or none to check the cluster's"
                .to_owned(),
        );
    }
    checked.resources = resources.len();
    let mut candidates = Vec::new();
    for object in resources {
        let before = checked.findings.len();
        dry_run::check(client, object, &mut checked.findings).await;
        match Candidate::written(object) {
            Ok(candidate) => candidates.push(candidate),
            // The API server has said it better.
            Err(_) if checked.findings.len() > before => {}
            Err(finding) => checked.findings.push(*finding),
        }
    }
    Ok(candidates)
}

/// The BlueGreens of the cluster.
async fn applied(
    client: &Client,
    namespace: Option<&str>,
    checked: &Checked,
) -> Result<Vec<Candidate>, String> {
    let resources: Api<BlueGreen> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    match resources.list(&ListParams::default()).await {
        Ok(found) => Ok(found.into_iter().map(Candidate::applied).collect()),
        // The definition is missing, which was said.
        Err(kube::Error::Api(status)) if status.code == 404 && !checked.findings.is_empty() => Ok(Vec::new()),
        Err(error) if namespace.is_none() => {
            Err(format!("{}; to check one namespace, give --namespace NAME", told(&error)))
        }
        Err(error) => Err(told(&error)),
    }
}

/// The cluster, as far as it is the same for all.
struct Cluster {
    source: Source,
    operators: Vec<Operator>,
    rules: Rules,
    nginx: Option<TestedBy>,
}

impl Cluster {
    /// Checks one BlueGreen. `others` are those of the same files.
    async fn check(&self, candidate: &Candidate, others: &[&BlueGreen], checked: &mut Checked) {
        let findings = &mut checked.findings;
        if !self.has_namespace(candidate).await {
            return;
        }
        let policy = candidate::policy(candidate, findings);
        let seen = Seen::read(&self.source, candidate.namespace(), findings).await;
        self.check_clash(candidate, others, findings).await;
        slots::check(candidate, &seen, findings);
        slots::check_scalers(candidate, &seen, findings);
        if let Some(policy) = &policy {
            plan::abilities_of(candidate, policy, findings);
        }
        edge::check(&self.source, candidate, &seen, findings).await;
        if let EdgeSpec::IngressNginx(spec) = &candidate.spec().edge {
            let nginx = self.nginx.as_ref();
            let agents = ingress_nginx::check(&self.source, candidate, spec, &seen, nginx, findings).await;
            if let Some(agents) = agents {
                self.check_agents(candidate, &spec.controller.namespace, &agents, findings).await;
            }
        }
        self.check_rights(candidate, findings).await;
        checked.plans.extend(policy.and_then(|policy| plan::plan(candidate, &seen, &policy)));
    }

    /// A dry run has said so if there is none.
    async fn has_namespace(&self, candidate: &Candidate) -> bool {
        let namespaces: Api<Namespace> = Api::all(self.source.client().clone());
        !matches!(namespaces.get_opt(candidate.namespace()).await, Ok(None))
    }

    async fn check_clash(&self, candidate: &Candidate, others: &[&BlueGreen], findings: &mut Vec<Finding>) {
        // It fails if the definition is missing, which was said.
        let applied = self.source.list::<BlueGreen>(candidate.namespace()).await.unwrap_or_default();
        let name = candidate.resource.name_any();
        let known = others.iter().filter(|other| other.namespace().as_deref() == Some(candidate.namespace()));
        let all = known.map(|other| (*other).clone()).chain(applied);
        for other in all.filter(|other| other.name_any() != name) {
            let Some(clash) = clash(candidate.spec(), &other) else { continue };
            let at = At::object("BlueGreen", candidate.namespace(), &clash.owner);
            let finding =
                Finding::problem(candidate.at("spec"), clash.to_string()).value(clash.name.as_str());
            findings.push(finding.fix(at.deleted()));
            return;
        }
    }

    /// As whom the agents run, they may follow the BlueGreens.
    async fn check_agents(
        &self,
        candidate: &Candidate,
        there: &str,
        account: &Account,
        findings: &mut Vec<Finding>,
    ) {
        let value = Some("edges.ingressNginx.enabled=true");
        let of = |name, rules| rules::Needed { name, value, rules };
        let (follow, home) =
            (of("cutover-agent", &self.rules.agent), of("cutover-agent-pods", &self.rules.agent_at_home));
        for (namespace, needed) in [(candidate.namespace(), follow), (there, home)] {
            rights::check(self.source.client(), account, namespace, &needed, findings).await;
        }
    }

    async fn check_rights(&self, candidate: &Candidate, findings: &mut Vec<Finding>) {
        let namespace = candidate.namespace();
        let driving = operators::of_namespace(&self.operators, namespace);
        if driving.is_empty() {
            return findings.push(operators::nobody(&self.operators, namespace));
        }
        let client = self.source.client();
        for operator in driving {
            for needed in self.rules.of_spec(candidate.spec()) {
                rights::check(client, &operator.account, namespace, &needed, findings).await;
            }
            if let EdgeSpec::IngressNginx(spec) = &candidate.spec().edge {
                let value = Some("edges.ingressNginx.enabled=true");
                let needed = rules::Needed { name: "cutover-agents", value, rules: &self.rules.agents };
                let there = &spec.controller.namespace;
                rights::check(client, &operator.account, there, &needed, findings).await;
            }
        }
    }
}
