//! The edge ingressNginx: its controller, its ConfigMap, and the Ingresses that make its backends.

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use kube::{Api, ResourceExt};

use super::candidate::Candidate;
use super::finding::{At, Finding, Fix};
use super::operators::Account;
use super::seen::Seen;
use super::source::{Source, unread};
use crate::edge::ingress_nginx::{ControllerSpec, IngressNginxSpec, NONE, TOKEN};

mod annotations;
mod config;
mod directives;
mod ingresses;
mod nginx_test;

pub use nginx_test::TestedBy;

/// The command that gives a controller the module and the agent. `more`: further words of it.
fn upgrade(namespace: &str, more: &str) -> Fix {
    Fix::Type(format!(
        "helm upgrade --install ingress-nginx ingress-nginx/ingress-nginx --reuse-values --values \
         charts/ingress-nginx.yaml{more} --namespace {namespace}"
    ))
}

/// The controllers whose nginx is known, one a line.
const KNOWN: &str = include_str!("../../../container/controllers.tsv");

/// Judges the controller, and all that it reads. Returns as whom its agents run.
pub(super) async fn check(
    source: &Source,
    candidate: &Candidate,
    spec: &IngressNginxSpec,
    seen: &Seen,
    nginx: Option<&TestedBy>,
    findings: &mut Vec<Finding>,
) -> Option<Account> {
    let group = ingresses::check(candidate, spec.group_of(&candidate.setup.name), seen, findings);
    let there = &spec.controller.namespace;
    check_token(source, there, findings).await;
    let pods: Vec<Pod> = match source.list(there).await {
        Ok(pods) => pods,
        Err(finding) => {
            findings.push(*finding);
            return None;
        }
    };
    let is_its = |pod: &&Pod| {
        spec.controller.selects(there, pod.labels()) && pod.metadata.deletion_timestamp.is_none()
    };
    let Some(pod) = pods.iter().find(is_its) else {
        let at = candidate.at("spec.edge.ingressNginx.controller");
        let text = format!("{there} has no Pod with labels {}: {NONE}", spec.controller.query());
        findings.push(Finding::problem(at, text).fix(upgrade(there, "")));
        return None;
    };
    check_agent(pod, &spec.controller, findings);
    let name = config_map(pod, there);
    let at = At::object("ConfigMap", &name.0, &name.1);
    match source.list::<ConfigMap>(&name.0).await {
        Ok(all) => match all.into_iter().find(|one| one.name_any() == name.1) {
            Some(found) => {
                let entries = found.data.unwrap_or_default();
                let before = findings.len();
                config::check(&at, &entries, group.as_ref(), findings);
                match nginx {
                    Some(nginx) if findings.len() == before => nginx.check(&at, &entries, findings).await,
                    // nginx would say the same in other words.
                    Some(_) => findings.push(Finding::warning(
                        at.clone(),
                        "nginx has not read its snippets: mend what is found in them first, and check again",
                    )),
                    None => {}
                }
                let ingresses = ingresses::of_group(candidate, seen);
                annotations::check((&at, &entries), version_of(pod).as_deref(), ingresses, findings);
            }
            None => {
                let text = format!("it does not exist, and Pod {} reads it", pod.name_any());
                let empty = serde_json::json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name.1, "namespace": name.0 },
                });
                findings.push(Finding::problem(at, text).fix(Fix::apply(&empty)));
            }
        },
        Err(finding) => findings.push(*finding),
    }
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    Some(Account { namespace: there.clone(), name: account.unwrap_or_else(|| "default".to_owned()) })
}

/// The Secret that agents, module and operator share. Its content is not read.
async fn check_token(source: &Source, namespace: &str, findings: &mut Vec<Finding>) {
    let secrets: Api<Secret> = Api::namespaced(source.client().clone(), namespace);
    let at = At::object("Secret", namespace, TOKEN);
    match secrets.get_metadata_opt(TOKEN).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            let text = "it does not exist: agents, module and operator share the token in it";
            let create = format!(
                "kubectl -n {namespace} create secret generic {TOKEN} --from-literal=token=\"$(openssl rand -hex 32)\""
            );
            findings.push(Finding::problem(at, text).fix(Fix::Type(create)));
        }
        Err(error) => findings.push(unread(at, &error)),
    }
}

fn check_agent(pod: &Pod, controller: &ControllerSpec, findings: &mut Vec<Finding>) {
    let is_agent = |one: &Container| {
        let port =
            one.ports.iter().flatten().any(|port| port.container_port == i32::from(controller.agent_port));
        port || one.args.iter().flatten().any(|word| word == "agent")
    };
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let name = pod.name_any();
    if !containers.iter().any(is_agent) {
        let text = format!(
            "no container of it is an agent, and none has port {}: nothing would give its nginx a route",
            controller.agent_port
        );
        let at = At::object("Pod", &controller.namespace, &name).field("spec.containers");
        findings.push(Finding::problem(at, text).fix(upgrade(&controller.namespace, "")));
    }
    let modules = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let module =
        modules.filter(|one| one.name.contains("cutover")).find_map(|one| version(one.image.as_deref()?));
    let Some(own) = version_of(pod) else { return };
    let known: Vec<&str> = controllers().collect();
    if let (Some(first), Some(last)) = (known.first(), known.last())
        && !known.contains(&&*own)
    {
        let text =
            format!("no module can be built for this controller: only {first} to {last} are supported");
        let at = At::object("Pod", &controller.namespace, &name).field("spec.containers.image");
        // The charts of ingress-nginx have the versions of their controllers, as in 4.15.1.
        let chart = last.replacen("v1.", "4.", 1);
        let upgrade = upgrade(&controller.namespace, &format!(" --version {chart}"));
        let found = match module.as_deref() == Some(&*own) {
            // Somebody has built one for it.
            true => Finding::warning(at, text),
            false => Finding::problem(at, text),
        };
        findings.push(found.value(&*own).fix(upgrade));
        return;
    }
    let Some(module) = module else { return };
    if module != own {
        let text = format!(
            "the module is for controller {module}, and this one is {own}: it can load, and read wrong memory; build the \
             module for \
             this version: docker build --target ingress-module --build-arg CONTROLLER={own}"
        );
        let at = At::object("Pod", &controller.namespace, &name).field("spec.initContainers.image");
        findings.push(Finding::problem(at, text).value(module).fix(upgrade(&controller.namespace, "")));
    }
}

/// The version of the controller in a Pod, as far as its image tells.
fn version_of(pod: &Pod) -> Option<String> {
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    version(containers.find(|one| one.name == "controller")?.image.as_deref()?)
}

/// The versions of the controller for which `scripts/build-ingress-module` builds the module, in order.
fn controllers() -> impl Iterator<Item = &'static str> {
    let lines = KNOWN.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split('\t').next())
}

/// The version of an image, as in `v1.11.0`.
fn version(image: &str) -> Option<String> {
    let tag = image.split('@').next()?.rsplit_once(':')?.1;
    let is_version = tag.starts_with('v') && tag.split('.').count() == 3;
    is_version.then(|| tag.trim_end_matches("-chroot").to_owned())
}

/// The ConfigMap that a controller reads: its namespace and name.
fn config_map(pod: &Pod, namespace: &str) -> (String, String) {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut arguments = containers.flat_map(|one| one.args.iter().flatten());
    let named = arguments.find_map(|argument| argument.trim_start_matches('-').strip_prefix("configmap="));
    let named =
        named.unwrap_or("$(POD_NAMESPACE)/ingress-nginx-controller").replace("$(POD_NAMESPACE)", namespace);
    match named.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => (namespace.to_owned(), named),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(controller: &str, module: &str, more: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "controller-1" },
            "spec": {
                "initContainers": [{ "name": "cutover", "image": module }],
                "containers": [{ "name": "controller", "image": controller, "args": more }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_module_of_another_version_is_found() {
        let controller = ControllerSpec::default();
        let of = |own: &str, module: &str| {
            let mut findings = Vec::new();
            check_agent(&pod(own, module, &json!(["agent"])), &controller, &mut findings);
            findings.into_iter().map(|finding| finding.text).collect::<String>()
        };
        let right = "registry.k8s.io/ingress-nginx/controller-chroot:v1.11.0@sha256:abc";
        assert_eq!(of(right, "registry.example.com:5000/cutover-ingress-module:v1.11.0"), "");
        assert!(
            of(right, "cutover-ingress-module:v1.12.0").starts_with("the module is for controller v1.12.0")
        );
        assert_eq!(of("mirror/controller:latest", "cutover-ingress-module:v1.12.0"), "");
        for (own, says) in
            [("v1.15.1", ""), ("v1.10.6", "no module can be built"), ("v1.16.0", "only v1.11.0 to v1.15.1")]
        {
            let found = of(&format!("controller:{own}"), &format!("cutover-ingress-module:{own}"));
            assert!(if says.is_empty() { found.is_empty() } else { found.contains(says) }, "{own}: {found}");
        }
    }

    #[test]
    fn the_controllers_are_in_order_and_whole() {
        let numbers = |version: &str| -> Vec<u32> {
            let parts = version.trim_start_matches('v').split('.');
            parts.map(|number| number.parse().unwrap()).collect()
        };
        let all: Vec<_> = controllers().map(numbers).collect();
        assert!(all.len() > 30 && all.is_sorted(), "{all:?}");
        for line in KNOWN.lines().filter(|line| !line.starts_with('#')) {
            let [_, nginx, folder, checksum] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            assert!(
                numbers(nginx).len() == 3 && folder.ends_with("rootfs/patches") && checksum.len() == 64,
                "{line}"
            );
        }
    }

    #[test]
    fn a_pod_without_an_agent_is_found_and_its_config_map_is_that_of_its_arguments() {
        let mut findings = Vec::new();
        let one = pod("c", "m", &json!(["/nginx-ingress-controller", "--configmap=$(POD_NAMESPACE)/mine"]));
        check_agent(&one, &ControllerSpec::default(), &mut findings);
        assert!(findings[0].text.contains("no container of it is an agent"), "{findings:?}");
        assert_eq!(config_map(&one, "web"), ("web".to_owned(), "mine".to_owned()));
        let usual = ("web".to_owned(), "ingress-nginx-controller".to_owned());
        assert_eq!(config_map(&pod("c", "m", &json!([])), "web"), usual);
    }
}
