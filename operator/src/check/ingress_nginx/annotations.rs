//! Annotations that the ConfigMap does not allow.
//!
//! An Ingress with an annotation above `annotations-risk-level` is not read at all, so its backends are missing. Snippets want
//! `allow-snippet-annotations`, too; without it the webhook refuses the Ingress, and a controller without webhook ignores them.
//! Source: internal/ingress/annotations and internal/ingress/controller of ingress-nginx 1.11.0.

use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use serde_json::json;

use super::super::finding::{At, Finding};
use super::config::Entries;
use super::ingresses::PREFIX;

/// How risky an annotation is, and how risky one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Risk {
    Low,
    Medium,
    High,
    Critical,
}

/// Those that let an author choose hosts, or parts of the configuration.
const HIGH: [&str; 11] = [
    "auth-signin",
    "auth-tls-error-page",
    "auth-tls-match-cn",
    "auth-url",
    "global-rate-limit-key",
    "mirror-host",
    "mirror-target",
    "modsecurity-transaction-id",
    "proxy-ssl-name",
    "server-alias",
    "upstream-hash-by",
];

const SNIPPET: &str = "-snippet";
const LEVEL: &str = "annotations-risk-level";
const ALLOW: &str = "allow-snippet-annotations";

impl Risk {
    /// Of an annotation without its prefix. Those of low and of medium risk are no matter here.
    fn of(key: &str) -> Option<Self> {
        match key {
            key if key.ends_with(SNIPPET) => Some(Self::Critical),
            key if HIGH.contains(&key) => Some(Self::High),
            _ => None,
        }
    }

    fn read(level: &str) -> Option<Self> {
        match level.to_lowercase().as_str() {
            "low" => Some(Self::Low),
            "medium" => Some(Self::Medium),
            "high" => Some(Self::High),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

/// Judges the annotations of Ingresses that make the group's backends. `map`: the ConfigMap.
pub(super) fn check<'a>(
    map: &At,
    entries: &Entries,
    ingresses: impl Iterator<Item = &'a Ingress>,
    findings: &mut Vec<Finding>,
) {
    // Without the entry it is the controller's own: Critical in 1.11, High since 1.12.
    let level = entries.get(LEVEL).map(String::as_str).unwrap_or_default();
    let most = Risk::read(level).unwrap_or(Risk::Critical);
    let is_allowed = entries.get(ALLOW).is_some_and(|value| value == "true");
    for ingress in ingresses {
        let at = At::object("Ingress", &ingress.namespace().unwrap_or_default(), &ingress.name_any());
        for key in ingress.annotations().keys() {
            let Some(short) = key.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            let Some(risk) = Risk::of(short) else { continue };
            let place = || at.clone().field(format!("metadata.annotations.{key}"));
            if risk > most {
                let text = format!(
                    "ConfigMap {}/{} has {LEVEL}: {level}, so the controller does not read this Ingress, and lacks its \
                     backends: allow {risk:?}, or remove the annotation",
                    map.namespace, map.name
                );
                let fix = map.patched(&json!({ "data": { LEVEL: format!("{risk:?}") } }));
                findings.push(Finding::problem(place(), text).fix(fix));
            } else if short.ends_with(SNIPPET) && !is_allowed {
                let text = format!(
                    "ConfigMap {}/{} has no {ALLOW}: \"true\", so the controller refuses or ignores it; a group needs \
                     no snippet of an Ingress",
                    map.namespace, map.name
                );
                findings.push(Finding::warning(place(), text).fix(at.without_annotation(key)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(annotation: &str, entries: &[(&str, &str)]) -> Vec<Finding> {
        let ingress = json!({ "metadata": { "name": "shop", "namespace": "web", "annotations": {
            (format!("{PREFIX}/{annotation}")): "x", "kubectl.kubernetes.io/auth-url": "y",
        } } });
        let ingress: Ingress = serde_json::from_value(ingress).unwrap();
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut findings = Vec::new();
        check(&At::object("ConfigMap", "edge", "mine"), &entries, [&ingress].into_iter(), &mut findings);
        findings
    }

    #[test]
    fn what_the_config_map_does_not_allow() {
        let level = |level| [(LEVEL, level), (ALLOW, "true")];
        for (annotation, entries, is_allowed) in [
            ("upstream-hash-by", &[][..], true),
            ("upstream-hash-by", &level("High"), true),
            ("upstream-hash-by", &level("Medium"), false),
            ("auth-url", &level("low"), false),
            ("rewrite-target", &level("Low"), true),
            ("configuration-snippet", &level("Critical"), true),
            ("configuration-snippet", &level("High"), false),
        ] {
            let found = found(annotation, entries);
            assert_eq!(found.is_empty(), is_allowed, "{annotation} {entries:?}: {found:?}");
            assert!(found.iter().all(Finding::is_problem), "{found:?}");
        }
        let ignored = found("server-snippet", &[]);
        assert!(ignored.len() == 1 && !ignored[0].is_problem(), "{ignored:?}");
    }
}
