//! Expected answers and placeholders in the policy.

use std::collections::BTreeMap;

use cutover_core::placeholder;
use cutover_core::smoke::Expectation;
use serde::{Deserialize, Deserializer, de};

use super::UrlPath;

/// Fails with one line if an answer can never fit, or if a placeholder does not exist.
pub(super) fn check(expect: &Expectation) -> Result<(), String> {
    if let Some(status) = expect.status.filter(|status| !(100..600).contains(status)) {
        return Err(format!("expect.status {status} is not a status from 100 to 599"));
    }
    if let Some(pointer) = expect.json.keys().find(|key| !key.is_empty() && !key.starts_with('/')) {
        return Err(format!("expect.json \"{pointer}\" is not a JSON pointer, as in \"/{pointer}\""));
    }
    check_placeholders(expect.texts()).map_err(|why| format!("expect: {why}"))
}

/// Fails if a placeholder in a text does not exist.
pub(super) fn check_placeholders<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    texts.into_iter().try_for_each(placeholder::check).map_err(|unknown| unknown.to_string())
}

/// Deserializes an expectation that fits.
pub(super) fn expectation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Expectation, D::Error> {
    let expect = Expectation::deserialize(deserializer)?;
    check(&expect).map_err(de::Error::custom)?;
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

/// Deserializes the path of a probe. It is the same for all versions, because it is asked of slots whose version is not known.
pub(super) fn fixed_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UrlPath, D::Error> {
    let path = path(deserializer)?;
    let text = path.as_str();
    let nowhere = placeholder::Values::default();
    if placeholder::fill(text, &nowhere) != text {
        return Err(de::Error::custom(format!(
            "\"{text}\": the path of a probe has no placeholders; expect the version in the answer, as in \
             probe.expect = {{ body_contains = \"{{version}}\" }}"
        )));
    }
    Ok(path)
}
