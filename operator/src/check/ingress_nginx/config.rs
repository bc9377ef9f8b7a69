//! The ConfigMap of the controller: what the module needs in it, for one group.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::super::finding::{At, Finding, Fix};
use super::directives::{self, Directive, named};

/// The values of the chart of ingress-nginx that this repository proposes.
const VALUES: &str = include_str!("../../../../charts/ingress-nginx.yaml");

/// The entries of a ConfigMap.
pub(super) type Entries = BTreeMap<String, String>;

/// A group as it should be: its name, the backends that users reach, and that of each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) backends: Vec<String>,
    pub(super) slots: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Values {
    controller: Controller,
}

#[derive(Deserialize)]
struct Controller {
    config: Entries,
}

impl Group {
    /// As nginx takes it.
    fn text(&self) -> String {
        let backends: String = self.backends.iter().map(|name| format!("    backend {name};\n")).collect();
        let slots: String =
            self.slots.iter().map(|(slot, name)| format!("    slot {slot} {name};\n")).collect();
        let active = self.slots.first().map(|(slot, _)| slot.as_str()).unwrap_or_default();
        format!("cutover {} {{\n{backends}{slots}    active {active};\n}}\n", self.name)
    }
}

/// Judges the ConfigMap. `group`: `None` if no Ingress says which backends there are, which was said.
pub(super) fn check(at: &At, entries: &Entries, group: Option<&Group>, findings: &mut Vec<Finding>) {
    let proposed: Entries =
        serde_yaml::from_str(VALUES).map(|values: Values| values.controller.config).unwrap_or_default();
    let missing = |key: &str, line: &str, text: String| {
        let entry = entries.get(key).map(String::as_str).unwrap_or_default();
        let fix = at.patched(&json!({ "data": { key: appended(entry, line) } }));
        Finding::problem(at.clone().field(format!("data.{key}")), text).fix(fix)
    };
    for (key, needed) in [("main-snippet", "load_module"), ("location-snippet", "set")] {
        let Some(all) = read(at, entries, key, findings) else { continue };
        let wanted = proposed.get(key).map(String::as_str).unwrap_or_default();
        let is_module = |one: &&Directive| match key {
            "main-snippet" => {
                one.parameter(0).is_some_and(|path| path.ends_with("ngx_http_cutover_module.so"))
            }
            _ => one.words == ["set", "$proxy_upstream_name", "$cutover_upstream"],
        };
        if !named(&all, needed).iter().any(is_module) {
            let what = if key == "main-snippet" {
                "nginx does not load the module"
            } else {
                "no request follows the route"
            };
            findings.push(missing(key, wanted, format!("{what}: add the line {}", wanted.trim_end())));
        }
    }
    let Some(all) = read(at, entries, "http-snippet", findings) else { return };
    let parts = proposed.get("http-snippet").map(String::as_str).unwrap_or_default();
    let ours = directives::read(parts).unwrap_or_default();
    let part =
        |name: &str| ours.iter().find(|one| one.name() == name).and_then(|one| parts.get(one.place.clone()));
    if named(&all, "cutover_state").is_empty() {
        let line = part("cutover_state").unwrap_or_default();
        findings.push(missing(
            "http-snippet",
            line,
            "it has no cutover_state: nginx does not know where routes are kept".to_owned(),
        ));
    }
    if !named(&all, "cutover_api").iter().any(|api| api.words.iter().any(|word| word == "write=on")) {
        let server = part("server").unwrap_or_default();
        let text = "it has no server with cutover_api write=on: the agent could not give nginx a route";
        findings.push(missing("http-snippet", server, text.to_owned()));
    }
    let Some(group) = group else { return };
    let found = all.iter().find(|one| one.name() == "cutover" && one.parameter(0) == Some(&group.name));
    match found {
        None => {
            let text =
                format!("it has no group {}, so no request follows the route of this BlueGreen", group.name);
            findings.push(missing("http-snippet", &group.text(), text));
        }
        Some(found) => findings.extend(differs(at, entries, found, group)),
    }
}

/// A group that leads elsewhere.
fn differs(at: &At, entries: &Entries, found: &Directive, group: &Group) -> Option<Finding> {
    let of = |name| found.block.iter().filter(move |one| one.name() == name);
    let backends: Vec<&str> =
        of("backend").flat_map(|one| one.words.iter().skip(1)).map(String::as_str).collect();
    let slots: BTreeMap<&str, &str> =
        of("slot").filter_map(|one| Some((one.parameter(0)?, one.parameter(1)?))).collect();
    let lacks_backend = group.backends.iter().find(|name| !backends.contains(&name.as_str()));
    let wrong_slot = group.slots.iter().find(|(slot, name)| slots.get(slot.as_str()) != Some(&name.as_str()));
    let why = match (lacks_backend, wrong_slot) {
        (Some(name), _) => format!("has no backend {name}, which is what the Ingress of users leads to"),
        (None, Some((slot, name))) => {
            format!("has no slot {slot} with backend {name}, which is what an Ingress calls its Service")
        }
        (None, None) => return None,
    };
    let text = entries.get("http-snippet").map(String::as_str).unwrap_or_default();
    let mut whole = text.to_owned();
    whole.replace_range(found.place.clone(), group.text().trim_end());
    let fix = at.patched(&json!({ "data": { "http-snippet": whole } }));
    let value = text.get(found.place.clone()).unwrap_or_default();
    let text = format!(
        "group {} {why}: names are NAMESPACE-SERVICE-PORT, with the port as the Ingress writes it",
        group.name
    );
    Some(Finding::problem(at.clone().field("data.http-snippet"), text).value(value).fix(fix))
}

/// The directives of an entry. One that is missing has none.
fn read(at: &At, entries: &Entries, key: &str, findings: &mut Vec<Finding>) -> Option<Vec<Directive>> {
    let text = entries.get(key).map(String::as_str).unwrap_or_default();
    match directives::read(text) {
        Ok(all) => Some(all),
        Err(why) => {
            let edit = Fix::Type(format!("kubectl -n {} edit configmap {}", at.namespace, at.name));
            let text =
                format!("it {why}: nginx refuses it, and each later change of an Ingress has no effect");
            findings.push(Finding::problem(at.clone().field(format!("data.{key}")), text).fix(edit));
            None
        }
    }
}

fn appended(entry: &str, line: &str) -> String {
    let before = entry.trim_end();
    let separator = if before.is_empty() { "" } else { "\n" };
    format!("{before}{separator}{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        let slot = |slot: &str| (slot.to_owned(), format!("shop-shop-{slot}-http"));
        Group {
            name: "shop".to_owned(),
            backends: vec!["shop-shop-http".to_owned()],
            slots: vec![slot("blue"), slot("green")],
        }
    }

    fn found(entries: &Entries) -> Vec<Finding> {
        let mut findings = Vec::new();
        let at = At::object("ConfigMap", "ingress-nginx", "ingress-nginx-controller");
        check(&at, entries, Some(&group()), &mut findings);
        findings
    }

    /// The entries after the merge patch of a finding.
    fn patched(entries: &Entries, finding: &Finding) -> Entries {
        let Some(Fix::Type(command)) = &finding.fix else { panic!("{finding}") };
        let patch = command.split_once(" -p '").unwrap().1.trim_end_matches('\'').replace("'\\''", "'");
        let patch: serde_json::Value = serde_json::from_str(&patch).unwrap();
        let mut entries = entries.clone();
        for (key, text) in patch["data"].as_object().unwrap() {
            entries.insert(key.clone(), text.as_str().unwrap().to_owned());
        }
        entries
    }

    #[test]
    fn the_proposed_values_are_right() {
        let values: Values = serde_yaml::from_str(VALUES).unwrap();
        assert_eq!(found(&values.controller.config), []);
    }

    #[test]
    fn an_empty_one_becomes_right_by_what_is_proposed() {
        let mut entries = Entries::new();
        for left in (1..=5).rev() {
            let findings = found(&entries);
            assert_eq!(findings.len(), left, "{findings:#?}");
            entries = patched(&entries, &findings[0]);
        }
        assert_eq!(found(&entries), []);
    }

    #[test]
    fn a_group_that_leads_elsewhere_is_written_anew_in_its_place() {
        let mut entries: Entries = serde_yaml::from_str::<Values>(VALUES).unwrap().controller.config;
        let text = entries.get_mut("http-snippet").unwrap();
        *text = text.replace("shop-shop-green-http", "shop-shop-green-80");
        let findings = found(&entries);
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].text.contains("has no slot green with backend shop-shop-green-http"),
            "{}",
            findings[0]
        );
        let after = patched(&entries, &findings[0]);
        assert_eq!(found(&after), []);
        assert!(
            after["http-snippet"].contains("cutover_state") && after["http-snippet"].contains("cutover_api")
        );
    }

    #[test]
    fn what_nginx_cannot_read_is_told_with_its_line() {
        let mut entries: Entries = serde_yaml::from_str::<Values>(VALUES).unwrap().controller.config;
        entries.get_mut("http-snippet").unwrap().push_str("}\n");
        let findings = found(&entries);
        assert!(findings[0].text.contains("has a \"}\" too much"), "{}", findings[0]);
    }
}
