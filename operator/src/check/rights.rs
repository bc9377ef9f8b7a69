//! Whether a ServiceAccount may do what its program will ask for: the API server is asked for each right.

use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::finding::{At, Finding, Fix};
use super::operators::Account;
use super::rules::{Needed, Rule};
use super::source::unread;

/// Asks for each right in a namespace. `who`: what the rights are for.
pub(super) async fn check(
    client: &Client,
    account: &Account,
    namespace: &str,
    needed: &Needed<'_>,
    findings: &mut Vec<Finding>,
) {
    let singles: Vec<Rule> = needed.rules.iter().flat_map(singles).collect();
    let answers = join_all(singles.iter().map(|right| may(client, account, namespace, right))).await;
    let mut missing: Vec<Rule> = Vec::new();
    for (right, answer) in singles.into_iter().zip(answers) {
        match answer {
            Ok(true) => {}
            Ok(false) => add(&mut missing, right),
            Err(error) => {
                let at = At::object("ServiceAccount", &account.namespace, &account.name);
                return findings
                    .push(unread(at.field(format!("its rights in namespace {namespace}")), &error));
            }
        }
    }
    if !missing.is_empty() {
        findings.push(judged(account, namespace, needed, &missing));
    }
}

/// A rule for each right.
fn singles(rule: &Rule) -> Vec<Rule> {
    let verbs =
        rule.resources.iter().flat_map(|resource| rule.verbs.iter().map(move |verb| (resource, verb)));
    let all = rule
        .api_groups
        .iter()
        .flat_map(|group| verbs.clone().map(move |(resource, verb)| (group, resource, verb)));
    all.map(|(group, resource, verb)| Rule {
        api_groups: vec![group.clone()],
        resources: vec![resource.clone()],
        resource_names: rule.resource_names.clone(),
        verbs: vec![verb.clone()],
    })
    .collect()
}

/// Adds a right to the rule about the same resource.
fn add(rules: &mut Vec<Rule>, right: Rule) {
    let is_same = |rule: &&mut Rule| {
        (&rule.api_groups, &rule.resources, &rule.resource_names)
            == (&right.api_groups, &right.resources, &right.resource_names)
    };
    match rules.iter_mut().find(is_same) {
        Some(rule) => rule.verbs.extend(right.verbs),
        None => rules.push(right),
    }
}

/// Whether a ServiceAccount has one right.
async fn may(client: &Client, account: &Account, namespace: &str, right: &Rule) -> Result<bool, kube::Error> {
    let first = |list: &[String]| list.first().cloned();
    let resource = first(&right.resources).unwrap_or_default();
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, sub)) => (resource.to_owned(), Some(sub.to_owned())),
        None => (resource, None),
    };
    let home = &account.namespace;
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{home}:{}", account.name)),
            groups: Some(vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{home}"),
                "system:authenticated".to_owned(),
            ]),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                group: first(&right.api_groups),
                resource: Some(resource),
                subresource,
                name: first(&right.resource_names),
                verb: first(&right.verbs),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answered = reviews.create(&PostParams::default(), &review).await?;
    Ok(answered.status.is_some_and(|status| status.allowed))
}

fn judged(account: &Account, namespace: &str, needed: &Needed<'_>, missing: &[Rule]) -> Finding {
    let told: Vec<String> = missing
        .iter()
        .map(|rule| format!("{} of {}", rule.verbs.join(", "), rule.resources.join(", ")))
        .collect();
    let value =
        needed.value.map_or_else(String::new, |value| format!(", which the chart gives with {value}"));
    let text = format!(
        "it lacks rights in namespace {namespace}{value}: {}; set the value and upgrade the release, or give the rights by a role",
        told.join("; ")
    );
    let at = At::object("ServiceAccount", &account.namespace, &account.name);
    Finding::problem(at, text).fix(Fix::apply_all(&role(account, namespace, needed.name, missing)))
}

/// The role with these rights, and its binding.
fn role(account: &Account, namespace: &str, name: &str, rules: &[Rule]) -> [Value; 2] {
    let metadata = json!({ "name": name, "namespace": namespace });
    let api = "rbac.authorization.k8s.io";
    [
        json!({ "apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": metadata, "rules": rules }),
        json!({
            "apiVersion": format!("{api}/v1"),
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": { "apiGroup": api, "kind": "Role", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": account.name, "namespace": account.namespace }],
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_taken_apart_and_put_together() {
        let rule = Rule {
            api_groups: vec!["apps".to_owned()],
            resources: vec!["deployments".to_owned()],
            resource_names: Vec::new(),
            verbs: vec!["get".to_owned(), "patch".to_owned()],
        };
        let mut whole = Vec::new();
        singles(&rule).into_iter().for_each(|right| add(&mut whole, right));
        assert_eq!(whole, [rule]);
    }
}
