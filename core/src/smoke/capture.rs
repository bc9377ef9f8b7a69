//! A value that a smoke test takes from an answer, for the tests after it.

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Answer, excerpt};

/// Where the value is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(
    rename_all = "lowercase",
    expecting = "one of { json = \"/id\" }, { header = \"location\" } and { regex = \"id=([0-9]+)\" }"
)]
pub enum Capture {
    /// At this JSON pointer of the body. A text without its quotes; other values as JSON.
    Json(String),
    /// In the header of this name, the first one.
    Header(String),
    /// What the first group of the regular expression matches in the body, or the whole match if it has no group.
    Regex(String),
}

impl Capture {
    /// Fails with one line if the capture can never succeed.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Json(pointer) if !pointer.is_empty() && !pointer.starts_with('/') => {
                Err(format!("json \"{pointer}\" is not a JSON pointer, as in \"/{pointer}\""))
            }
            Self::Header(name) if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(format!("header {name:?} is not the name of a header, as in \"location\""))
            }
            Self::Regex(pattern) => match Regex::new(pattern) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("regex \"{pattern}\" is no regular expression: {error}")),
            },
            Self::Json(_) | Self::Header(_) => Ok(()),
        }
    }

    /// Takes the value out of an answer. The error says what the answer lacks, in one line.
    pub fn take(&self, answer: &Answer) -> Result<String, String> {
        let begin = || match excerpt(&answer.body) {
            start if start.is_empty() => "it is empty".to_owned(),
            start => format!("it begins with: {start}"),
        };
        match self {
            Self::Json(pointer) => {
                let body: Value = serde_json::from_slice(&answer.body)
                    .map_err(|error| format!("the body is not JSON: {error}; {}", begin()))?;
                match body.pointer(pointer) {
                    Some(Value::String(text)) => Ok(text.clone()),
                    Some(value) => Ok(value.to_string()),
                    None => Err(format!("the body has no \"{pointer}\"; {}", begin())),
                }
            }
            Self::Header(name) => match answer.header(name).next() {
                Some(value) => Ok(value.to_owned()),
                None => Err(format!("the answer has no header \"{name}\"")),
            },
            Self::Regex(pattern) => {
                let matcher = Regex::new(pattern).map_err(|error| error.to_string())?;
                let found = matcher.captures(&answer.body);
                let part = found.as_ref().and_then(|found| found.get(1).or_else(|| found.get(0)));
                match part {
                    Some(part) => Ok(String::from_utf8_lossy(part.as_bytes()).into_owned()),
                    None => Err(format!("the body does not match \"{pattern}\"; {}", begin())),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Answer {
        Answer {
            status: 201,
            headers: vec![("location".to_owned(), "/orders/7".to_owned())],
            body: json!({ "id": 7, "token": "a b", "items": [{ "sku": "t1" }] }).to_string().into_bytes(),
        }
    }

    #[test]
    fn values_are_taken_from_json_headers_and_text() {
        for (from, value) in [
            (json!({ "json": "/token" }), "a b"),
            (json!({ "json": "/id" }), "7"),
            (json!({ "json": "/items/0" }), r#"{"sku":"t1"}"#),
            (json!({ "header": "Location" }), "/orders/7"),
            (json!({ "regex": r#""sku":"(\w+)""# }), "t1"),
            (json!({ "regex": r"t\d" }), "t1"),
        ] {
            let capture: Capture = serde_json::from_value(from.clone()).unwrap();
            assert_eq!(capture.check(), Ok(()));
            assert_eq!(capture.take(&answer()).as_deref(), Ok(value), "{from}");
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        for (from, said) in [
            (json!({ "json": "/name" }), "the body has no \"/name\"; it begins with: {\"id\":7"),
            (json!({ "header": "etag" }), "the answer has no header \"etag\""),
            (json!({ "regex": "x+" }), "the body does not match \"x+\"; it begins with: {"),
        ] {
            let capture: Capture = serde_json::from_value(from.clone()).unwrap();
            let error = capture.take(&answer()).unwrap_err();
            assert!(error.starts_with(said), "{from}: {error}");
        }
        let page = Answer { body: b"<html>".to_vec(), ..answer() };
        let error = Capture::Json("/id".to_owned()).take(&page).unwrap_err();
        assert!(error.starts_with("the body is not JSON"), "{error}");
    }

    #[test]
    fn what_can_never_succeed_is_refused() {
        for (wrong, said) in [
            (Capture::Json("id".to_owned()), "json \"id\" is not a JSON pointer, as in \"/id\""),
            (Capture::Header(String::new()), "header \"\" is not the name of a header"),
            (Capture::Regex("(".to_owned()), "regex \"(\" is no regular expression"),
        ] {
            let error = wrong.check().unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
