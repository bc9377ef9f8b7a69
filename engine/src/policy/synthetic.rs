//! `[group.NAME.soak.synthetic]`: requests that the daemon itself sends to the new version during the soak.

use std::collections::BTreeMap;
use std::ops::Range;

use cutover_core::smoke::{Expectation, OF_CHECK, OF_SYNTHETIC};
use serde::{Deserialize, Serialize};

use super::check::{Check, HttpCheck};
use super::expect::{expectation, headers, path};
use super::probe::Probe;
use super::smoke::{Smoke, SmokeKind};
use super::value::{Duration, UrlPath, not_zero};

/// A GET to each primary of the new slot, again and again; or the group's smoke tests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a table, as in { path = \"/\", interval = \"1s\" }")]
pub struct Synthetic {
    /// Whether the smoke tests are repeated, in place of a GET of the path. Only those that read: GET and HEAD.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub smoke: bool,
    /// The path of a GET.
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

    /// The checks, with the time limit of each and the statuses that pass unless it says which.
    pub fn checks(&self, smoke: &[Smoke], probe: &Probe) -> Vec<(Check, Duration, Range<u16>)> {
        if self.smoke {
            return repeated(smoke).map(|(check, timeout)| (check.clone(), timeout, OF_CHECK)).collect();
        }
        let (headers, expect) = (self.headers.clone(), self.expect.clone());
        let check = HttpCheck { headers, expect, ..probe.get_as_users(self.path.clone()) };
        vec![(Check::Http(Box::new(check)), self.timeout, OF_SYNTHETIC)]
    }

    /// Fails if the smoke tests are to be repeated and cannot be.
    pub(super) fn check(&self, smoke: &[Smoke]) -> Result<(), &'static str> {
        let Self { path, headers, expect, .. } = Self::default();
        if !self.smoke {
            return Ok(());
        }
        if (&self.path, &self.headers, &self.expect) != (&path, &headers, &expect) {
            return Err(
                "soak.synthetic: with smoke = true the smoke tests say what is sent, so path, headers and expect are not \
                        allowed",
            );
        }
        match repeated(smoke).next() {
            Some(_) => Ok(()),
            None => Err(
                "soak.synthetic: smoke = true needs a smoke test with a path that only reads: GET or HEAD",
            ),
        }
    }
}

/// The smoke tests that may be sent again and again, because they only read. One that needs what another one captures is left out:
/// that may not be valid for long.
fn repeated(smoke: &[Smoke]) -> impl Iterator<Item = (&Check, Duration)> {
    smoke.iter().filter_map(|test| match test.kind() {
        SmokeKind::Check { check: check @ Check::Http(http), timeout }
            if matches!(http.method.as_str(), "GET" | "HEAD") && test.uses().is_empty() =>
        {
            Some((check, *timeout))
        }
        _ => None,
    })
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            smoke: false,
            path: UrlPath::fixed("/"),
            interval: Duration::seconds(1),
            timeout: Duration::seconds(5),
            headers: BTreeMap::new(),
            expect: Expectation::default(),
        }
    }
}
