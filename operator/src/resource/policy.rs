//! The schema of `spec.policy`: that of the engine's policy as Kubernetes takes it, with rules over several keys.

use cutover_engine::policy::Policy;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::structural::structural;

/// A rule in CEL.
struct Rule {
    /// Where it is, in the schema.
    at: &'static str,
    rule: &'static str,
    message: &'static str,
}

/// The rules of the engine over several keys that CEL says well. The engine checks them, too.
const RULES: [Rule; 9] = [
    Rule {
        at: "/properties/steps",
        rule: r"self[size(self) - 1].matches('^\\s*[+]?0*100([.]0*)?%\\s*$|[eE][+-]?[0-9]')",
        message: "the last step is \"100%\", and spec.policy.soak.duration says how long it is watched, as in \
                  [\"10% 5m\", \"100%\"]",
    },
    Rule {
        at: "/properties/soak/properties/synthetic",
        rule: "!has(self.smoke) || !self.smoke || !(has(self.path) || has(self.headers) || has(self.expect))",
        message: "with smoke: true the smoke tests say what is sent, so path, headers and expect are not allowed",
    },
    Rule { at: "/properties/probe", rule: TCP, message: TCP_MESSAGE },
    Rule { at: "/properties/smoke/items", rule: TCP, message: TCP_MESSAGE },
    Rule { at: "/properties/probe", rule: GRPC, message: GRPC_MESSAGE },
    Rule { at: "/properties/smoke/items", rule: GRPC, message: GRPC_MESSAGE },
    Rule {
        at: "/properties/smoke/items",
        rule: "has(self.path) || has(self.kind) && self.kind != 'http' || has(self.service)",
        message: "a smoke test needs a path, as in path: /, or a kind: tcp or grpc",
    },
    Rule { at: "/properties/probe/properties/tls", rule: TLS, message: TLS_MESSAGE },
    Rule { at: "/properties/smoke/items/properties/tls", rule: TLS, message: TLS_MESSAGE },
];

// CEL sees no key that may have several types, such as `through`.
const TCP: &str = "!(has(self.kind) && self.kind == 'tcp') || !(has(self.path) || has(self.method) || has(self.headers) || \
                   has(self.body) || has(self.expect) || has(self.http2) || has(self.service))";
const TCP_MESSAGE: &str = "a check of kind tcp has no other keys of a check than port and tls";

const GRPC: &str = "!(has(self.kind) ? self.kind == 'grpc' : has(self.service)) || !(has(self.path) || has(self.method) || \
                    has(self.body) || has(self.expect) || has(self.http2))";
const GRPC_MESSAGE: &str =
    "a check of kind grpc has no other keys of a check than service, headers, port, tls and through";

const TLS: &str =
    "has(self.client_cert) == has(self.client_key) && !(has(self.insecure) && self.insecure && has(self.ca))";
const TLS_MESSAGE: &str = "client_cert and client_key belong together; with insecure: true every certificate is accepted, so ca is \
                           not allowed";

/// The schema of `spec.policy`.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let mut policy = Policy::json_schema(generator).to_value();
    structural(&mut policy);
    for Rule { at, rule, message } in RULES {
        let place = policy.pointer_mut(at).and_then(Value::as_object_mut);
        let rules = place.map(|keys| keys.entry("x-kubernetes-validations").or_insert_with(|| json!([])));
        let rules = rules.and_then(Value::as_array_mut);
        rules.into_iter().for_each(|rules| rules.push(json!({ "rule": rule, "message": message })));
    }
    Schema::try_from(policy).unwrap_or_default()
}
