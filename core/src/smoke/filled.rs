//! Placeholders in an expectation.

use serde_json::Value;

use super::Expectation;
use crate::placeholder::{Values, fill, fill_pattern, has_version};

impl Expectation {
    /// The texts that may contain placeholders: values of headers, the texts for the body, and strings in JSON.
    pub fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self
            .headers
            .values()
            .chain(&self.body_contains)
            .chain(&self.body_matches)
            .map(String::as_str)
            .collect();
        self.json.values().for_each(|value| strings(value, &mut texts));
        texts
    }

    /// The expectation with values in place of the placeholders. What contains `{version}` is left out if the version is not
    /// known.
    pub fn filled(&self, values: &Values<'_>) -> Self {
        let is_known = |text: &str| values.version.is_some() || !has_version(text);
        let headers = self.headers.iter().filter(|(_, text)| is_known(text));
        let is_json_known = |value: &Value| {
            let mut texts = Vec::new();
            strings(value, &mut texts);
            texts.into_iter().all(is_known)
        };
        let json = self.json.iter().filter(|(_, value)| is_json_known(value));
        Self {
            status: self.status.clone(),
            headers: headers.map(|(name, text)| (name.clone(), fill(text, values))).collect(),
            body_contains: self
                .body_contains
                .as_ref()
                .filter(|text| is_known(text))
                .map(|text| fill(text, values)),
            body_matches: self
                .body_matches
                .as_ref()
                .filter(|text| is_known(text))
                .map(|text| fill_pattern(text, values)),
            json: json.map(|(pointer, value)| (pointer.clone(), filled(value, values))).collect(),
        }
    }
}

fn strings<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(members) => members.values().for_each(|member| strings(member, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn filled(value: &Value, values: &Values<'_>) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text, values)),
        Value::Array(items) => items.iter().map(|item| filled(item, values)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), filled(member, values))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expectation() -> Expectation {
        serde_json::from_value(json!({
            "status": 200,
            "headers": {"x-version": "v{version}", "x-slot": "{slot}"},
            "body_contains": "version {version}",
            "body_matches": "^version {version}",
            "json": {"/a": {"b": ["{version}", 1]}, "/slot": "{slot}"},
        }))
        .unwrap()
    }

    #[test]
    fn every_text_is_filled() {
        let filled =
            expectation().filled(&Values { version: Some("2.0"), slot: "green", ..Values::default() });
        let wanted = json!({
            "status": 200,
            "headers": {"x-version": "v2.0", "x-slot": "green"},
            "body_contains": "version 2.0",
            "body_matches": r"^version 2\.0",
            "json": {"/a": {"b": ["2.0", 1]}, "/slot": "green"},
        });
        assert_eq!(serde_json::to_value(filled).unwrap(), wanted);
        let texts = expectation();
        assert_eq!(
            texts.texts(),
            ["{slot}", "v{version}", "version {version}", "^version {version}", "{version}", "{slot}"]
        );
    }

    #[test]
    fn a_version_that_is_not_known_is_not_expected() {
        let filled = expectation().filled(&Values { slot: "green", ..Values::default() });
        let wanted = json!({ "status": 200, "headers": {"x-slot": "green"}, "json": {"/slot": "green"} });
        assert_eq!(serde_json::to_value(filled).unwrap(), wanted);
    }
}
