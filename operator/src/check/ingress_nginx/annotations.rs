//! Annotations that the ConfigMap does not allow.
//!
//! An Ingress with an annotation above `annotations-risk-level` is not read at all, so its backends are missing. Snippets also need
//! `allow-snippet-annotations`; without it the webhook refuses the Ingress, and a controller without webhook ignores them.
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
    /// Of an annotation without its prefix. Those of low and of medium risk need no check.
    fn of(key: &str) -> Option<Self> {
        match key {
            key if key.ends_with(SNIPPET) => Some(Self::Critical),
            key if HIGH.contains(&key) => Some(Self::High),
            _ => None,
        }
    }

    /// The most that a controller of this version reads.
    fn most(entries: &Entries, controller: Option<&str>) -> Self {
        match entries.get(LEVEL).map(|level| level.to_lowercase()).as_deref() {
            Some("critical") => Self::Critical,
            Some("high") => Self::High,
            Some("medium") => Self::Medium,
            Some(_) => Self::Low,
            // Since 1.12 it is lower.
            None if controller.is_none_or(|version| version.starts_with("v1.11.")) => Self::Critical,
            None => Self::High,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }
}

/// Judges the annotations of Ingresses that make the group's backends. `controller`: its version, as in `v1.11.0`.
pub(super) fn check<'a>(
    (map, entries): (&At, &Entries),
    controller: Option<&str>,
    ingresses: impl Iterator<Item = &'a Ingress>,
    findings: &mut Vec<Finding>,
) {
    let most = Risk::most(entries, controller);
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
                    "{LEVEL} of ConfigMap {}/{} is {}, so the controller does not read this Ingress, and lacks its \
                     backends: allow {}, or remove the annotation",
                    map.namespace,
                    map.name,
                    most.as_str(),
                    risk.as_str()
                );
                // Snippets let the author of any Ingress write configuration for all.
                let fix = match risk {
                    Risk::Critical => at.without_annotation(key),
                    _ => map.patched(&json!({ "data": { LEVEL: risk.as_str() } })),
                };
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

    fn found(annotation: &str, controller: &str, entries: &[(&str, &str)]) -> Vec<Finding> {
        let ingress = json!({ "metadata": { "name": "shop", "namespace": "web", "annotations": {
            (format!("{PREFIX}/{annotation}")): "x", "kubectl.kubernetes.io/auth-url": "y",
        } } });
        let ingress: Ingress = serde_json::from_value(ingress).unwrap();
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut findings = Vec::new();
        let map = At::object("ConfigMap", "edge", "mine");
        check((&map, &entries), Some(controller), [&ingress].into_iter(), &mut findings);
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
            ("auth-url", &level("hihg"), false),
            ("rewrite-target", &level("Low"), true),
            ("configuration-snippet", &level("Critical"), true),
            ("configuration-snippet", &level("High"), false),
        ] {
            let found = found(annotation, "v1.11.0", entries);
            assert_eq!(found.is_empty(), is_allowed, "{annotation} {entries:?}: {found:?}");
            assert!(found.iter().all(Finding::is_problem), "{found:?}");
        }
        let snippet = &[(ALLOW, "true")];
        assert!(found("server-snippet", "v1.11.8", snippet).is_empty());
        assert_eq!(found("server-snippet", "v1.12.0", snippet).len(), 1, "High without an entry");
        let ignored = found("server-snippet", "v1.11.0", &[]);
        assert!(ignored.len() == 1 && !ignored[0].is_problem(), "{ignored:?}");
    }
}
