//! Smoke tests in the policy.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cutover_core::placeholder::{Values, fill};
use cutover_core::smoke::Expectation;
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::expect;
use super::value::{Argv, Duration, UrlPath};

/// `[[group.NAME.smoke]]`: one smoke test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawSmoke", into = "RawSmoke")]
pub struct Smoke {
    /// Its name, for messages.
    pub name: String,
    kind: SmokeKind,
}

impl Smoke {
    /// What it does.
    pub fn kind(&self) -> &SmokeKind {
        &self.kind
    }
}

/// What a smoke test does.
#[derive(Clone, Debug, PartialEq)]
pub enum SmokeKind {
    /// Sends a request to each server of the new slot and checks the answer.
    Request(Box<SmokeRequest>),
    /// Runs a command. Exit status 0 passes.
    Command(Command),
}

/// A request and the expected answer.
#[derive(Clone, Debug, PartialEq)]
pub struct SmokeRequest {
    /// The method.
    pub method: String,
    /// The path.
    pub path: UrlPath,
    /// Headers to send.
    pub headers: BTreeMap<String, String>,
    /// The body to send.
    pub body: Option<String>,
    /// Time limit of the request.
    pub timeout: Duration,
    /// The expected answer.
    pub expect: Expectation,
}

impl SmokeRequest {
    /// The test with values in place of the placeholders.
    pub fn filled(&self, values: &Values<'_>) -> Self {
        let headers = self.headers.iter().map(|(name, text)| (name.clone(), fill(text, values)));
        Self {
            method: self.method.clone(),
            path: self.path.filled(values),
            headers: headers.collect(),
            body: self.body.as_ref().map(|text| fill(text, values)),
            timeout: self.timeout,
            expect: self.expect.filled(values),
        }
    }
}

/// All keys of a smoke test. `TryFrom` checks which keys are allowed together.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSmoke {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<UrlPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<Expectation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<Argv>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<PathBuf>,
}

impl TryFrom<RawSmoke> for Smoke {
    type Error = String;

    fn try_from(raw: RawSmoke) -> Result<Self, String> {
        let name = raw.name;
        if name.is_empty() {
            return Err("a smoke test needs a name".to_owned());
        }
        if let Some(timeout) =
            raw.timeout.filter(|timeout| timeout.get() < std::time::Duration::from_millis(1))
        {
            return Err(format!("smoke \"{name}\": timeout \"{timeout}\" is too short: at least \"1ms\""));
        }
        if let Some(command) = raw.command {
            let unrecognised = [
                ("method", raw.method.is_some()),
                ("path", raw.path.is_some()),
                ("headers", raw.headers.is_some()),
                ("body", raw.body.is_some()),
                ("expect", raw.expect.is_some()),
            ];
            if let Some((key, _)) = unrecognised.iter().find(|(_, there)| *there) {
                return Err(format!("smoke \"{name}\" has a command, so \"{key}\" is not allowed"));
            }
            let timeout = raw.timeout.unwrap_or(Duration::seconds(60));
            return Ok(Self {
                name,
                kind: SmokeKind::Command(Command {
                    command,
                    timeout,
                    cwd: raw.cwd,
                    nothing_applied: None,
                    wait_for_sessions: None,
                }),
            });
        }
        let Some(path) = raw.path else {
            return Err(format!("smoke \"{name}\" needs a path or a command"));
        };
        if raw.cwd.is_some() {
            return Err(format!("smoke \"{name}\" has no command, so \"cwd\" is not allowed"));
        }
        let method = raw.method.unwrap_or_else(|| "GET".to_owned());
        if method.parse::<http::Method>().is_err() {
            return Err(format!("smoke \"{name}\": \"{method}\" is not a method, as in \"GET\""));
        }
        let headers = raw.headers.unwrap_or_default();
        expect::check_headers(&headers).map_err(|why| format!("smoke \"{name}\": {why}"))?;
        let timeout = raw.timeout.unwrap_or(Duration::seconds(5));
        let expect = raw.expect.unwrap_or_default();
        let request = SmokeRequest { method, path, headers, body: raw.body, timeout, expect };
        let checked =
            expect::check(&request.expect).and_then(|()| expect::check_placeholders(request.texts()));
        checked.map_err(|why| format!("smoke \"{name}\": {why}"))?;
        Ok(Self { name, kind: SmokeKind::Request(Box::new(request)) })
    }
}

impl From<Smoke> for RawSmoke {
    fn from(smoke: Smoke) -> Self {
        let raw = Self { name: smoke.name, ..Self::default() };
        match smoke.kind {
            SmokeKind::Command(Command { command, timeout, cwd, .. }) => {
                Self { command: Some(command), timeout: Some(timeout), cwd, ..raw }
            }
            SmokeKind::Request(request) => Self {
                method: Some(request.method),
                path: Some(request.path),
                headers: Some(request.headers),
                body: request.body,
                timeout: Some(request.timeout),
                expect: Some(request.expect),
                ..raw
            },
        }
    }
}
