//! Whether the definition of BlueGreen is installed, and is that of this version.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, CustomResourceExt};
use serde_json::{Value, json};

use super::finding::{At, Finding, Fix};
use super::source::unread;
use crate::resource::BlueGreen;

/// The command that installs the definition of this version.
const INSTALL: &str = "cutover-operator crd | kubectl apply --server-side --force-conflicts -f -";

/// Compares the definition of the cluster with this program's.
pub(super) async fn check(client: &Client, findings: &mut Vec<Finding>) {
    let ours = BlueGreen::crd();
    let name = ours.metadata.name.clone().unwrap_or_default();
    let at = At::object("CustomResourceDefinition", "", &name);
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    match definitions.get_opt(&name).await {
        Ok(found) => findings.extend(judge(at, &ours, found.as_ref())),
        Err(error) => findings.push(unread(at, &error)),
    }
}

fn judge(
    at: At,
    ours: &CustomResourceDefinition,
    found: Option<&CustomResourceDefinition>,
) -> Option<Finding> {
    let install = Fix::Type(INSTALL.to_owned());
    let Some(found) = found else {
        let text = "it is not installed, so the cluster knows no BlueGreen: install the chart, or the definition alone";
        return Some(Finding::problem(at, text).fix(install));
    };
    let difference = difference("spec", &schema(found), &schema(ours))?;
    let text = format!(
        "it is not the one of this program, version {}: the API server cuts or refuses what the other one does not know; use the \
         program of the version that is installed, or install the definition of this one, in a release of helm by helm upgrade",
        env!("CARGO_PKG_VERSION")
    );
    Some(Finding::problem(at.field(difference), text).fix(install))
}

/// What BlueGreens may be, by version.
fn schema(definition: &CustomResourceDefinition) -> Value {
    let versions = definition.spec.versions.iter();
    let schemas = versions.map(|version| (version.name.clone(), json!(version.schema)));
    Value::Object(schemas.collect())
}

/// The first place where two values differ.
fn difference(at: &str, one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
            let inner = |key: &String| {
                let at = format!("{at}.{key}");
                difference(
                    &at,
                    ours.get(key).unwrap_or(&Value::Null),
                    theirs.get(key).unwrap_or(&Value::Null),
                )
            };
            keys.into_iter().find_map(inner)
        }
        _ => (one != other).then(|| at.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_of_another_version_is_told_by_the_place_that_differs() {
        let at = || At::object("CustomResourceDefinition", "", "bluegreens.cutover.dev");
        let ours = BlueGreen::crd();
        assert_eq!(judge(at(), &ours, Some(&ours)), None);
        assert!(judge(at(), &ours, None).unwrap().text.starts_with("it is not installed"));
        let mut older = json!(ours);
        older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            .as_object_mut()
            .unwrap()
            .remove("settle");
        let older = serde_json::from_value(older).unwrap();
        let found = judge(at(), &ours, Some(&older)).unwrap();
        assert_eq!(found.at.field, "spec.v1alpha1.openAPIV3Schema.properties.spec.properties.settle");
    }
}
