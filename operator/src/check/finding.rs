//! What a check has found: how bad it is, where, what is wrong, and what helps.

use std::fmt;

use cutover_core::shell::quoted;
use serde::Serialize;
use serde_json::{Value, json};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A deployment will fail, or users will get errors.
    Problem,
    /// A deployment or a way back may fail, or it could not be checked.
    Warning,
}

/// The place of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct At {
    /// The kind of the object.
    pub kind: String,
    /// Its namespace; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The field; empty: the object itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What helps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fix {
    /// Objects, for `kubectl apply -f -`.
    Apply(String),
    /// Keys of the BlueGreen in a file. `null`: the key goes.
    Write(String),
    /// A command.
    Type(String),
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    #[serde(flatten)]
    pub at: At,
    /// What stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What is wrong, and what would be right.
    pub text: String,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

impl At {
    /// An object of a namespace.
    pub fn object(kind: &str, namespace: &str, name: &str) -> Self {
        let (kind, namespace, name) = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        Self { kind, namespace, name, field: String::new() }
    }

    /// A field of it.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// A command of kubectl about the object, as in `kubectl -n web delete ingress shop`.
    fn kubectl(&self, verb: &str, rest: &str) -> String {
        let namespace = if self.namespace.is_empty() {
            String::new()
        } else {
            format!(" -n {}", quoted(&self.namespace))
        };
        format!("kubectl{namespace} {verb} {} {}{rest}", self.kind.to_lowercase(), quoted(&self.name))
    }

    /// The command that changes the object by a merge patch.
    pub fn patched(&self, patch: &Value) -> Fix {
        Fix::Type(self.kubectl("patch", &format!(" --type merge -p {}", quoted(&patch.to_string()))))
    }

    /// The same with lists that are merged by their keys, for the kinds of Kubernetes itself.
    pub fn patched_in_lists(&self, patch: &Value) -> Fix {
        Fix::Type(self.kubectl("patch", &format!(" -p {}", quoted(&patch.to_string()))))
    }

    /// The command that deletes the object.
    pub fn deleted(&self) -> Fix {
        Fix::Type(self.kubectl("delete", ""))
    }

    /// The command that removes an annotation.
    pub fn without_annotation(&self, key: &str) -> Fix {
        Fix::Type(self.kubectl("annotate", &format!(" {key}-")))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}", self.name)?;
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        Ok(())
    }
}

impl Fix {
    /// An object to apply.
    pub fn apply(object: &Value) -> Self {
        Self::Apply(yaml(object))
    }

    /// Several objects to apply.
    pub fn apply_all(objects: &[Value]) -> Self {
        Self::apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }))
    }

    /// Keys to write.
    pub fn write(keys: &Value) -> Self {
        Self::Write(yaml(keys))
    }
}

fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_default()
}

impl Finding {
    /// A deployment will fail.
    pub fn problem(at: At, text: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, at, value: None, text: text.into(), fix: None }
    }

    /// Something may fail.
    pub fn warning(at: At, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::problem(at, text) }
    }

    /// The same with what stands there.
    pub fn value(mut self, value: impl Into<Value>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// The same with what helps.
    pub fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    /// Whether a deployment will fail.
    pub fn is_problem(&self) -> bool {
        self.severity == Severity::Problem
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.is_problem() { "problem" } else { "warning" };
        write!(f, "{severity}: {}", self.at)?;
        match &self.value {
            Some(Value::String(text)) => write!(f, " \"{text}\"")?,
            Some(value) => write!(f, " {value}")?,
            None => {}
        }
        write!(f, ": {}", self.text)?;
        let (what, text) = match &self.fix {
            Some(Fix::Apply(yaml)) => ("apply", yaml),
            Some(Fix::Write(yaml)) => ("write in the BlueGreen", yaml),
            Some(Fix::Type(command)) => ("type", command),
            None => return Ok(()),
        };
        write!(f, "\n  {what}:")?;
        text.lines().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where_what_and_what_helps() {
        let at = At::object("Service", "web", "shop-green");
        let fix = at.patched(&json!({ "spec": { "selector": { "slot": "green" } } }));
        let finding =
            Finding::problem(at.field("spec.selector"), "it selects nothing").value(json!({ "a": "b" }));
        assert_eq!(
            finding.fix(fix).to_string(),
            "problem: Service web/shop-green, spec.selector {\"a\":\"b\"}: it selects nothing\n  type:\n    \
             kubectl -n web patch service shop-green --type merge -p '{\"spec\":{\"selector\":{\"slot\":\"green\"}}}'"
        );
    }

    #[test]
    fn what_is_to_be_written_is_indented_as_a_whole() {
        let fix = Fix::write(&json!({ "spec": { "port": "http" } }));
        let finding = Finding::warning(At::object("BlueGreen", "", "shop"), "which port?").fix(fix);
        assert_eq!(
            finding.to_string(),
            "warning: BlueGreen shop: which port?\n  write in the BlueGreen:\n    spec:\n      port: http"
        );
    }
}
