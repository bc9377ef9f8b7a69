//! `[group.NAME.soak.synthetic]`: requests that the daemon itself sends to the new version during the soak.

use std::collections::BTreeMap;

use cutover_core::placeholder::{Values, fill};
use cutover_core::smoke::Expectation;
use serde::{Deserialize, Serialize};

use super::expect::{expectation, headers, path};
use super::value::{Duration, UrlPath, not_zero};

/// A GET to each primary of the new slot, again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table, as in { path = \"/\", interval = \"1s\" }")]
pub struct Synthetic {
    /// The path.
    #[serde(deserialize_with = "path")]
    pub path: UrlPath,
    /// Time between two requests to a server.
    #[serde(deserialize_with = "not_zero")]
    pub interval: Duration,
    /// Time limit of a request. One that takes longer is a failed answer.
    #[serde(deserialize_with = "not_zero")]
    pub timeout: Duration,
    /// Headers to send.
    #[serde(deserialize_with = "headers")]
    pub headers: BTreeMap<String, String>,
    /// The expected answer. Without a status, 200 to 399. Every other answer is a failed one.
    #[serde(deserialize_with = "expectation")]
    pub expect: Expectation,
}

impl Synthetic {
    /// The texts that may contain placeholders.
    pub(super) fn texts(&self) -> Vec<&str> {
        let sent = [self.path.as_str()].into_iter().chain(self.headers.values().map(String::as_str));
        sent.chain(self.expect.texts()).collect()
    }

    /// The request with values in place of the placeholders.
    pub fn filled(&self, values: &Values<'_>) -> Self {
        let headers = self.headers.iter().map(|(name, text)| (name.clone(), fill(text, values)));
        Self {
            path: self.path.filled(values),
            headers: headers.collect(),
            expect: self.expect.filled(values),
            ..*self
        }
    }
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            path: UrlPath::root(),
            interval: Duration::seconds(1),
            timeout: Duration::seconds(5),
            headers: BTreeMap::new(),
            expect: Expectation::default(),
        }
    }
}
