//! Expected answers and placeholders in the policy.

use std::collections::BTreeMap;

use cutover_core::placeholder;
use cutover_core::smoke::{Expectation, Statuses};
use serde::{Deserialize, Deserializer, de};

use super::UrlPath;

/// Fails with one line if an answer can never fit.
pub(super) fn check(expect: &Expectation) -> Result<(), String> {
    if let Some(status) = expect.status.as_ref().and_then(Statuses::impossible) {
        return Err(format!("expect.status {status} is not a status from 100 to 599"));
    }
    if let Some(pointer) = expect.json.keys().find(|key| !key.is_empty() && !key.starts_with('/')) {
        return Err(format!("expect.json \"{pointer}\" is not a JSON pointer, as in \"/{pointer}\""));
    }
    if let Some(pattern) = &expect.body_matches {
        // A value stands for itself, so a word takes its place here.
        let example = placeholder::Values { version: Some("1"), slot: "slot", peer: "peer", captured: None };
        let filled = placeholder::fill_pattern(pattern, &example);
        regex::Regex::new(&filled).map_err(|error| {
            format!("expect.body_matches \"{pattern}\" is no regular expression: {error}")
        })?;
    }
    Ok(())
}

/// Fails if a placeholder in a text does not exist.
pub(super) fn check_placeholders<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    texts.into_iter().try_for_each(placeholder::check).map_err(|unknown| unknown.to_string())
}

/// Deserializes an expectation that fits.
pub(super) fn expectation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Expectation, D::Error> {
    let expect = Expectation::deserialize(deserializer)?;
    let placeholders = || check_placeholders(expect.texts()).map_err(|why| format!("expect: {why}"));
    check(&expect).and_then(|()| placeholders()).map_err(de::Error::custom)?;
    Ok(expect)
}

/// Fails with one line if a header cannot be sent.
pub(super) fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in headers {
        if name.parse::<http::HeaderName>().is_err() || value.parse::<http::HeaderValue>().is_err() {
            return Err(format!("\"{name}: {value}\" is not a header"));
        }
    }
    Ok(())
}

/// Deserializes headers that can be sent, whose placeholders exist.
pub(super) fn headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let headers = BTreeMap::<String, String>::deserialize(deserializer)?;
    let checked =
        check_headers(&headers).and_then(|()| check_placeholders(headers.values().map(String::as_str)));
    checked.map_err(de::Error::custom)?;
    Ok(headers)
}

/// Deserializes a path whose placeholders exist.
pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UrlPath, D::Error> {
    let path = UrlPath::deserialize(deserializer)?;
    check_placeholders([path.as_str()]).map_err(de::Error::custom)?;
    Ok(path)
}
