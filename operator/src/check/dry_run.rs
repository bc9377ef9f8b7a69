//! What the API server says to a resource that is not applied yet: its schema and its rules speak.

use kube::api::{Patch, PatchParams, ValidationDirective};
use kube::core::Status;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::finding::{At, Finding, Fix};
use super::source::unread;
use crate::resource::BlueGreen;

/// Asks the API server whether it would take the object. Nothing is written.
pub(super) async fn check(client: &Client, object: &Value, findings: &mut Vec<Finding>) {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let params = PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some("cutover-operator-check".to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let resources: Api<BlueGreen> = Api::namespaced(client.clone(), namespace);
    let at = At::object("BlueGreen", namespace, name);
    match resources.patch(name, &params, &Patch::Apply(object)).await {
        // What it has cannot be read here if a field of the answer is of another version: the definition is compared elsewhere.
        Ok(_) | Err(kube::Error::SerdeError(_)) => {}
        Err(kube::Error::Api(status)) => findings.extend(refusals(&at, &status, object)),
        Err(error) => findings.push(unread(at, &error)),
    }
}

/// A finding for each cause.
fn refusals(at: &At, status: &Status, object: &Value) -> Vec<Finding> {
    let details = status.details.as_ref();
    if status.code == 404 && details.is_some_and(|details| details.kind == "namespaces") {
        let create = format!("kubectl create namespace {}", at.namespace);
        let finding =
            Finding::problem(At::object("Namespace", "", &at.namespace), "it does not exist: create it");
        return vec![finding.fix(Fix::Type(create))];
    }
    // The definition is missing: that is said once for all.
    if status.code == 404 {
        return Vec::new();
    }
    if status.code == 403 {
        let text =
            format!("you may not apply it: {}; ask an administrator for the role edit here", status.message);
        return vec![Finding::warning(at.clone(), text)];
    }
    let causes = details.map(|details| details.causes.as_slice()).unwrap_or_default();
    let unknown = unknown_fields(&status.message);
    if causes.is_empty() && unknown.is_empty() {
        return vec![refusal(at.clone(), &status.message)];
    }
    let of_cause = |cause: &kube::core::response::StatusCause| {
        let field = cause.field.trim_start_matches("<nil>").to_owned();
        let mut finding = refusal(at.clone().field(field.clone()), &cause.message);
        finding.value = object.pointer(&format!("/{}", field.replace('.', "/"))).cloned();
        finding
    };
    let of_unknown = |field: &String| {
        let text = "there is no such field: correct its name, or remove it; it would be without effect";
        let names: Vec<&str> = field.split('.').collect();
        let gone = names.iter().rev().fold(Value::Null, |inner, name| json!({ *name: inner }));
        Finding::problem(at.clone().field(field.clone()), text).fix(Fix::write(&gone))
    };
    causes.iter().map(of_cause).chain(unknown.iter().map(of_unknown)).collect()
}

fn refusal(at: At, message: &str) -> Finding {
    let what = at.field.split('[').next().unwrap_or_default();
    let explain = if what.is_empty() { "spec" } else { what };
    let command = format!("kubectl explain bluegreen.{explain}");
    Finding::problem(at, format!("the API server refuses it: {message}")).fix(Fix::Type(command))
}

/// The fields that a strict decoding names, as in `.spec.polcy: field not declared in schema` or `unknown field "spec.polcy"`.
fn unknown_fields(message: &str) -> Vec<String> {
    let quoted = message.split("unknown field \"").skip(1);
    let quoted = quoted.filter_map(|rest| rest.split('"').next()).map(str::to_owned);
    let undeclared = message.split(": field not declared in schema");
    let last = message.matches(": field not declared in schema").count();
    let undeclared = undeclared.take(last).filter_map(|before| before.rsplit([' ', ':', '\n']).next());
    quoted.chain(undeclared.map(|field| field.trim_start_matches('.').to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_not_in_the_schema() {
        for message in [
            "strict decoding error: unknown field \"spec.polcy\"",
            "failed to create typed patch object (web/shop; cutover.dev/v1alpha1, Kind=BlueGreen): .spec.polcy: field not \
             declared in \
             schema",
        ] {
            assert_eq!(unknown_fields(message), ["spec.polcy"], "{message}");
        }
        assert!(unknown_fields("spec.version: Required value").is_empty());
    }
}
