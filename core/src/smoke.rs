//! The expected answer to a probe or a smoke test, and its comparison with the real one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod capture;
mod filled;
mod statuses;

pub use capture::Capture;
pub use statuses::Statuses;

/// The statuses that pass a check without an expected status. A redirect says nothing about the application behind it.
pub const OF_CHECK: Range<u16> = 200..300;

/// The statuses that pass a synthetic request without an expected status: users get redirects, too.
pub const OF_SYNTHETIC: Range<u16> = 200..400;

/// Maximum number of characters of an answer in an error message.
const EXCERPT: usize = 120;

/// The expected answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a table, as in { status = 200 }")]
pub struct Expectation {
    /// The statuses, as in 200, "200-299" or [200, "300-399"]. Without them, 200 to 299 is expected, and 200 to 399 of synthetic
    /// requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Statuses>,
    /// Headers and their values. A `content-type` without parameters also matches one with parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Text that the body contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// A regular expression that the body matches somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_matches: Option<String>,
    /// JSON pointers (RFC 6901) into the body and the values there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, Value>,
}

/// The parts of an answer that an expectation checks.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The values of a header, by its name in any case.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim())
    }
}

impl Expectation {
    /// Compares an answer with the expectation. `usual`: the statuses that pass if none is expected. The error lists all
    /// differences in one line.
    pub fn check(&self, answer: &Answer, usual: &Range<u16>) -> Result<(), String> {
        let mut wrong = Vec::new();
        self.check_status(answer.status, usual, &mut wrong);
        for (name, expected) in &self.headers {
            check_header(name, expected, answer, &mut wrong);
        }
        if let Some(text) = &self.body_contains
            && !contains(&answer.body, text.as_bytes())
        {
            wrong.push(format!("the body does not contain \"{text}\""));
        }
        if let Some(pattern) = &self.body_matches {
            match Regex::new(pattern) {
                Ok(matcher) if matcher.is_match(&answer.body) => {}
                Ok(_) => wrong.push(format!("the body does not match \"{pattern}\"")),
                Err(error) => wrong.push(format!("\"{pattern}\" is no regular expression: {error}")),
            }
        }
        self.check_json(&answer.body, &mut wrong);
        if wrong.is_empty() {
            return Ok(());
        }
        let mut line = wrong.join("; ");
        let looks_at_body =
            self.body_contains.is_some() || self.body_matches.is_some() || !self.json.is_empty();
        let start = excerpt(&answer.body);
        if looks_at_body && !start.is_empty() {
            let _ = write!(line, "; the body begins with: {start}");
        }
        Err(line)
    }

    fn check_status(&self, status: u16, usual: &Range<u16>, wrong: &mut Vec<String>) {
        match &self.status {
            Some(expected) if !expected.contain(status) => {
                wrong.push(format!("status {status} instead of {expected}"));
            }
            None if !usual.contains(&status) => {
                wrong.push(format!(
                    "status {status} instead of {} to {}",
                    usual.start,
                    usual.end.saturating_sub(1)
                ));
            }
            _ => {}
        }
    }

    fn check_json(&self, body: &[u8], wrong: &mut Vec<String>) {
        if self.json.is_empty() {
            return;
        }
        let value: Value = match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(error) => return wrong.push(format!("the body is not JSON: {error}")),
        };
        for (pointer, expected) in &self.json {
            match value.pointer(pointer) {
                Some(found) if equal(found, expected) => {}
                Some(found) => {
                    let found = excerpt(found.to_string().as_bytes());
                    wrong.push(format!("\"{pointer}\" is {found} instead of {expected}"));
                }
                None => wrong.push(format!("the body has no \"{pointer}\", expected {expected}")),
            }
        }
    }
}

fn check_header(name: &str, expected: &str, answer: &Answer, wrong: &mut Vec<String>) {
    let found: Vec<&str> = answer.header(name).collect();
    let without_parameters = name.eq_ignore_ascii_case("content-type") && !expected.contains(';');
    let same = |value: &&str| {
        let value = if without_parameters { value.split(';').next().unwrap_or("").trim_end() } else { value };
        if without_parameters {
            value.eq_ignore_ascii_case(expected.trim())
        } else {
            value == expected.trim()
        }
    };
    if found.is_empty() {
        wrong.push(format!("header \"{name}\" is missing, expected \"{expected}\""));
    } else if !found.iter().any(same) {
        wrong.push(format!("header \"{name}\" is \"{}\" instead of \"{expected}\"", found.join(", ")));
    }
}

/// Compares values. 1 and 1.0 are equal.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()
        }
        (a, b) => a == b,
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// The beginning of a body, in one line.
pub fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut short: String =
        text.chars().take(EXCERPT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(EXCERPT).is_some() {
        short.push_str("..");
    }
    short
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn products() -> Answer {
        Answer {
            status: 200,
            headers: vec![
                ("content-type".to_owned(), "application/json; charset=utf-8".to_owned()),
                ("x-version".to_owned(), "2".to_owned()),
            ],
            body: json!([{"name": "tea", "price": 3}, {"a/b": null}]).to_string().into_bytes(),
        }
    }

    fn check(expectation: Value) -> Result<(), String> {
        serde_json::from_value::<Expectation>(expectation).unwrap().check(&products(), &OF_CHECK)
    }

    #[test]
    fn what_fits_passes() {
        for fits in [
            json!({}),
            json!({"status": 200}),
            json!({"headers": {"Content-Type": "application/json", "x-version": "2"}}),
            json!({"headers": {"content-type": "application/json; charset=utf-8"}}),
            json!({"body_contains": "tea"}),
            json!({"body_contains": ""}),
            json!({"body_matches": r#""price":\d+"#}),
            json!({"json": {"/0/name": "tea", "/0/price": 3, "/1/a~1b": null}}),
            json!({"json": {"/0/price": 3.0, "/0": {"name": "tea", "price": 3}}}),
        ] {
            assert_eq!(check(fits.clone()), Ok(()), "{fits}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        for (wrong, said) in [
            (json!({"status": 204}), "status 200 instead of 204"),
            (json!({"headers": {"x-other": "1"}}), "header \"x-other\" is missing, expected \"1\""),
            (json!({"headers": {"x-version": "3"}}), "header \"x-version\" is \"2\" instead of \"3\""),
            (
                json!({"body_contains": "coffee"}),
                "the body does not contain \"coffee\"; the body begins with: [{",
            ),
            (json!({"body_matches": "^tea"}), "the body does not match \"^tea\"; the body begins with: [{"),
            (json!({"json": {"/0/name": "Tea"}}), "\"/0/name\" is \"tea\" instead of \"Tea\""),
            (json!({"json": {"/0/price": "3"}}), "\"/0/price\" is 3 instead of \"3\""),
            (json!({"json": {"/7": 1}}), "the body has no \"/7\", expected 1"),
        ] {
            let found = check(wrong.clone()).unwrap_err();
            assert!(found.starts_with(said), "{wrong}: {found}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let found = check(json!({"status": 500, "body_contains": "coffee"})).unwrap_err();
        assert!(found.contains("status 200") && found.contains("coffee"), "{found}");
    }

    #[test]
    fn without_expectations_an_error_is_still_wrong() {
        let answer = Answer { status: 503, ..Answer::default() };
        let found = Expectation::default().check(&answer, &OF_CHECK).unwrap_err();
        assert_eq!(found, "status 503 instead of 200 to 299");
        let moved = Answer { status: 302, ..Answer::default() };
        assert_eq!(Expectation::default().check(&moved, &OF_SYNTHETIC), Ok(()));
        for (status, said) in [
            (json!(200), Some("status 302 instead of 200")),
            (json!([200, "400-499"]), Some("status 302 instead of 200 or 400 to 499")),
            (json!([200, 302]), None),
            (json!("200-399"), None),
        ] {
            let expected: Expectation = serde_json::from_value(json!({ "status": status })).unwrap();
            assert_eq!(expected.check(&moved, &OF_SYNTHETIC).err().as_deref(), said, "{status}");
        }
    }

    #[test]
    fn a_body_that_is_not_json() {
        let expectation =
            Expectation { json: [("/a".to_owned(), json!(1))].into(), ..Expectation::default() };
        let answer = Answer { status: 200, body: b"<html>\n".to_vec(), ..Answer::default() };
        let found = expectation.check(&answer, &OF_CHECK).unwrap_err();
        assert!(found.starts_with("the body is not JSON") && found.ends_with("<html> "), "{found}");
    }
}
