//! The operators of the cluster: Deployments with the labels of the chart.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::finding::{At, Finding, Fix};
use super::seen::containers;
use super::source::unread;

/// The labels of the chart.
const LABELS: &str = "app.kubernetes.io/name=cutover,app.kubernetes.io/component=operator";

/// A ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    /// Its Deployment.
    pub(super) deployment: String,
    /// As whom it runs.
    pub(super) account: Account,
    /// The only namespace that it drives. `None`: all.
    pub(super) only: Option<String>,
}

impl Operator {
    /// One of which only this is known.
    pub(super) fn with(account: Account) -> Self {
        Self { deployment: String::new(), account, only: None }
    }
}

impl Account {
    /// Reads `NAMESPACE/NAME`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("\"{text}\" is no ServiceAccount: write NAMESPACE/NAME, as in cutover/cutover")),
        }
    }
}

/// The operators of the cluster.
pub(super) async fn find(client: &Client, findings: &mut Vec<Finding>) -> Vec<Operator> {
    let deployments: Api<Deployment> = Api::all(client.clone());
    match deployments.list(&ListParams::default().labels(LABELS)).await {
        Ok(found) => found.iter().map(operator).collect(),
        Err(error) => {
            let mut finding = unread(At::object("Deployment", "", "*"), &error);
            finding.text.push_str(
                "; to check the rights of an operator, name its ServiceAccount with --service-account \
             NAMESPACE/NAME",
            );
            findings.push(finding);
            Vec::new()
        }
    }
}

fn operator(deployment: &Deployment) -> Operator {
    let pods = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let account =
        pods.and_then(|pods| pods.service_account_name.clone()).unwrap_or_else(|| "default".to_owned());
    let first = containers(deployment).first();
    let arguments = first.and_then(|container| container.args.as_deref()).unwrap_or_default();
    let only = arguments.iter().find_map(|argument| argument.strip_prefix("--namespace=")).map(str::to_owned);
    Operator {
        deployment: deployment.name_any(),
        account: Account { namespace: deployment.namespace().unwrap_or_default(), name: account },
        only,
    }
}

/// Those that drive the BlueGreens of a namespace.
pub(super) fn of_namespace<'a>(operators: &'a [Operator], namespace: &str) -> Vec<&'a Operator> {
    let drives = |one: &&Operator| one.only.as_deref().is_none_or(|only| only == namespace);
    operators.iter().filter(drives).collect()
}

/// Nobody drives the BlueGreens of this namespace.
pub(super) fn nobody(operators: &[Operator], namespace: &str) -> Finding {
    let at = At::object("Namespace", "", namespace);
    let Some(operator) = operators.first() else {
        let text = "no Deployment of the cluster has the labels of an operator, so nothing drives its BlueGreens: install the \
         chart";
        let install = "helm install cutover charts/cutover --namespace cutover --create-namespace --set \
                       image.repository=registry.example.com/cutover-operator";
        return Finding::warning(at, text).fix(Fix::Type(install.to_owned()));
    };
    let Operator { deployment, account, only, .. } = operator;
    let text = format!(
        "no operator drives its BlueGreens: Deployment {}/{deployment} drives those of namespace {} only; install another \
         release for \
         this one",
        account.namespace,
        only.as_deref().unwrap_or_default(),
    );
    let install = format!(
        "helm install cutover charts/cutover --namespace {namespace} --set namespace={namespace},crd.install=false"
    );
    Finding::problem(at, text).fix(Fix::Type(install))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operator_of_one_namespace_drives_no_other() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "cutover", "namespace": "home" },
            "spec": { "selector": {}, "template": { "spec": {
                "serviceAccountName": "driver",
                "containers": [{ "name": "operator", "image": "i", "args": ["run", "--namespace=shop"] }],
            } } },
        }))
        .unwrap();
        let all = [operator(&deployment)];
        assert_eq!(all[0].account, Account::parse("home/driver").unwrap());
        assert_eq!((of_namespace(&all, "shop").len(), of_namespace(&all, "web").len()), (1, 0));
        assert!(nobody(&all, "web").text.contains("drives those of namespace shop only"));
        assert!(!nobody(&[], "web").is_problem());
        assert!(Account::parse("driver").is_err());
    }
}
