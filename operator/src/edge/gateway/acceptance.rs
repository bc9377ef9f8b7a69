//! Whether the parents of a route have accepted it, as its status says.

use std::fmt;

use serde_json::Value;

/// A parent of a route, as the spec or the status names it. What is left out is the usual.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parent {
    kind: String,
    name: String,
    namespace: Option<String>,
    section: Option<String>,
    port: Option<u64>,
}

impl Parent {
    fn of(reference: &Value) -> Self {
        let text = |key| reference.get(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            kind: text("kind").unwrap_or_else(|| "Gateway".to_owned()),
            name: text("name").unwrap_or_default(),
            namespace: text("namespace"),
            section: text("sectionName"),
            port: reference.get("port").and_then(Value::as_u64),
        }
    }

    /// A status may write out the namespace that the spec leaves out.
    fn is(&self, other: &Self) -> bool {
        let is_near =
            self.namespace.is_none() || other.namespace.is_none() || self.namespace == other.namespace;
        let own = (&self.kind, &self.name, &self.section, self.port);
        is_near && own == (&other.kind, &other.name, &other.section, other.port)
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.kind, self.name)
    }
}

/// Fails with the reason if a parent has not accepted this generation of the route.
pub fn acceptance(object: &Value, generation: i64) -> Result<(), String> {
    let wanted = list(object, "/spec/parentRefs");
    if wanted.is_empty() {
        return Err("it has no spec.parentRefs, so nothing serves it: name a Gateway".to_owned());
    }
    let answers = list(object, "/status/parents");
    for parent in wanted.iter().map(Parent::of) {
        let is_its = |answer: &&Value| {
            answer.get("parentRef").is_some_and(|reference| Parent::of(reference).is(&parent))
        };
        let mut of_parent = answers.iter().filter(is_its).peekable();
        if of_parent.peek().is_none() {
            return Err(format!(
                "{parent} has not accepted it: does the {} exist, and does its controller run?",
                parent.kind
            ));
        }
        for answer in of_parent {
            conditions(answer, generation).map_err(|why| format!("{parent} {why}"))?;
        }
    }
    Ok(())
}

fn conditions(answer: &Value, generation: i64) -> Result<(), String> {
    let conditions = list(answer, "/conditions");
    for kind in ["Accepted", "ResolvedRefs"] {
        let condition = conditions.iter().find(|one| one.get("type").and_then(Value::as_str) == Some(kind));
        let text = |key| condition.and_then(|one| one.get(key)).and_then(Value::as_str).unwrap_or_default();
        let seen = condition.and_then(|one| one.get("observedGeneration")).and_then(Value::as_i64);
        if seen.unwrap_or_default() < generation {
            return Err(format!("has not seen its generation {generation} yet: does its controller run?"));
        }
        if text("status") != "True" {
            return Err(format!("says {kind}: {}, {}: {}", text("status"), text("reason"), text("message")));
        }
    }
    Ok(())
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(parent: &Value, generation: i64, status: &str) -> Value {
        let condition = |kind| {
            json!({
                "type": kind, "status": status, "observedGeneration": generation, "reason": "No", "message": "why",
            })
        };
        json!({ "parentRef": parent, "conditions": [condition("Accepted"), condition("ResolvedRefs")] })
    }

    fn route(wanted: &[Value], answers: &[Value]) -> Value {
        json!({ "spec": { "parentRefs": wanted }, "status": { "parents": answers } })
    }

    #[test]
    fn it_is_that_of_this_generation() {
        let web = json!({ "name": "web" });
        let of = |generation, status| route(std::slice::from_ref(&web), &[answer(&web, generation, status)]);
        assert_eq!(acceptance(&of(3, "True"), 3), Ok(()));
        let late = acceptance(&of(2, "True"), 3).unwrap_err();
        assert_eq!(late, "Gateway \"web\" has not seen its generation 3 yet: does its controller run?");
        let refused = acceptance(&of(3, "False"), 3).unwrap_err();
        assert_eq!(refused, "Gateway \"web\" says Accepted: False, No: why");
        let nobody = acceptance(&route(&[web], &[]), 3).unwrap_err();
        assert!(
            nobody.starts_with("Gateway \"web\" has not accepted it: does the Gateway exist"),
            "{nobody}"
        );
    }

    #[test]
    fn each_parent_counts_and_a_status_may_write_out_the_namespace() {
        let (web, mesh) =
            (json!({ "name": "web" }), json!({ "kind": "Service", "group": "", "name": "shop" }));
        let there = json!({ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web", "namespace": "here" });
        let one = route(&[web.clone(), mesh.clone()], &[answer(&there, 1, "True")]);
        assert!(acceptance(&one, 1).unwrap_err().starts_with("Service \"shop\" has not accepted it"));
        let both =
            route(&[web.clone(), mesh.clone()], &[answer(&there, 1, "True"), answer(&mesh, 1, "True")]);
        assert_eq!(acceptance(&both, 1), Ok(()));
        let other = json!({ "name": "web", "sectionName": "https" });
        assert!(acceptance(&route(&[web], &[answer(&other, 1, "True")]), 1).is_err());
    }
}
