//! Smoke tests in the policy.

use std::collections::BTreeMap;

use cutover_core::placeholder::{OF_CHECKS, UnknownPlaceholder, has_version, words};
use cutover_core::smoke::Capture;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::check::{Check, RawCheck, keys_of_check};
use super::command::Command;
use super::value::Duration;

/// `[[group.NAME.smoke]]`: one smoke test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "RawSmoke", into = "RawSmoke")]
pub struct Smoke {
    /// Its name, for messages.
    pub name: String,
    /// What later tests use of the answer, by its word.
    pub capture: BTreeMap<String, Capture>,
    kind: SmokeKind,
}

impl Smoke {
    /// What it does.
    pub fn kind(&self) -> &SmokeKind {
        &self.kind
    }

    /// Whether a text contains `{version}`.
    pub(super) fn needs_version(&self) -> bool {
        match &self.kind {
            SmokeKind::Check { check, .. } => check.needs_version(),
            SmokeKind::Hurl(hurl) => has_version(&hurl.file),
            SmokeKind::Command(_) => false,
        }
    }

    /// The texts that may contain placeholders.
    fn texts(&self) -> Vec<&str> {
        match &self.kind {
            SmokeKind::Check { check, .. } => check.texts(),
            SmokeKind::Hurl(hurl) => vec![&hurl.file],
            SmokeKind::Command(_) => Vec::new(),
        }
    }

    /// The words that must have been captured before.
    pub(super) fn uses(&self) -> Vec<&str> {
        let all = self.texts().into_iter().flat_map(words);
        all.filter(|word| !OF_CHECKS.contains(word)).collect()
    }
}

/// What a smoke test does.
#[derive(Clone, Debug, PartialEq)]
pub enum SmokeKind {
    /// Checks each server of the new slot.
    Check {
        /// What is asked.
        check: Check,
        /// Time limit for one server.
        timeout: Duration,
    },
    /// Runs the program `hurl` with a file, once for each server of the new slot.
    Hurl(Hurl),
    /// Runs a command. Exit status 0 passes.
    Command(Command),
}

/// A file of requests for the program `hurl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hurl {
    /// An absolute path. It may contain placeholders.
    pub file: String,
    /// Time limit for one server.
    pub timeout: Duration,
}

keys_of_check! {
    /// All keys of a smoke test. `TryFrom` checks which keys are allowed together.
    #[derive(Default, Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    #[serde(deny_unknown_fields, default)]
    #[cfg_attr(feature = "schema", schemars(extend("required" = ["name"])))]
    struct RawSmoke {
        /// What it shows, for messages.
        #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
        name: String,
        /// Time limit for one server. Without it, "5s".
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<Duration>,
        /// Values of the answer for the tests after it: {NAME} stands for the value in their texts.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        capture: BTreeMap<String, Capture>,
        #[cfg_attr(feature = "schema", schemars(skip))]
        #[serde(skip_serializing_if = "Option::is_none")]
        hurl: Option<String>,
    }
}

impl TryFrom<RawSmoke> for Smoke {
    type Error = String;

    fn try_from(raw: RawSmoke) -> Result<Self, String> {
        if raw.name.is_empty() {
            return Err("a smoke test needs a name".to_owned());
        }
        let name = raw.name.clone();
        parsed(raw).map_err(|why| match why.starts_with(':') {
            true => format!("smoke \"{name}\"{why}"),
            false => format!("smoke \"{name}\" {why}"),
        })
    }
}

/// The error follows the name of the test.
fn parsed(mut raw: RawSmoke) -> Result<Smoke, String> {
    if let Some(timeout) = raw.timeout.filter(|timeout| timeout.get() < std::time::Duration::from_millis(1)) {
        return Err(format!(": timeout \"{timeout}\" is too short: at least \"1ms\""));
    }
    let check = raw.take_check();
    let RawSmoke { name, timeout, capture, hurl, .. } = raw;
    let timeout_or = |usual: u64| timeout.unwrap_or(Duration::seconds(usual));
    let kind = match hurl {
        Some(file) => SmokeKind::Hurl(hurl_of(check, file, timeout_or(60))?),
        None => match check.check(None)? {
            Check::Command(command) => SmokeKind::Command(Command {
                command: command.command,
                timeout: timeout_or(60),
                cwd: command.cwd,
                nothing_applied: None,
                wait_for_sessions: None,
            }),
            check => SmokeKind::Check { check, timeout: timeout_or(5) },
        },
    };
    check_capture(&kind, &capture)?;
    Ok(Smoke { name, capture, kind })
}

fn hurl_of(check: RawCheck, file: String, timeout: Duration) -> Result<Hurl, String> {
    if let Some(foreign) = check.given().first() {
        return Err(format!("has a file of hurl, so \"{foreign}\" is not allowed"));
    }
    if !file.starts_with('/') {
        return Err(format!(": hurl \"{file}\" is not an absolute path, as in \"/srv/shop/smoke.hurl\""));
    }
    Ok(Hurl { file, timeout })
}

fn check_capture(kind: &SmokeKind, capture: &BTreeMap<String, Capture>) -> Result<(), String> {
    let is_request = matches!(kind, SmokeKind::Check { check: Check::Http(_), .. });
    if !is_request && !capture.is_empty() {
        return Err("is no HTTP request, so \"capture\" is not allowed".to_owned());
    }
    for (word, from) in capture {
        let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !is_word {
            return Err(format!(
                ": capture \"{word}\" is no word of letters and underscores, as in \"token\""
            ));
        }
        if OF_CHECKS.contains(&word.as_str()) {
            return Err(format!(
                ": capture \"{word}\": {{{word}}} has a meaning already, choose another word"
            ));
        }
        from.check().map_err(|why| format!(": capture \"{word}\": {why}"))?;
    }
    Ok(())
}

/// Deserializes smoke tests whose placeholders exist: those of every check, and what an earlier test captures.
pub(super) fn smoke_tests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Smoke>, D::Error> {
    let tests = Vec::<Smoke>::deserialize(deserializer)?;
    let mut captured: Vec<&str> = Vec::new();
    for test in &tests {
        if let Some(word) = test.uses().into_iter().find(|word| !captured.contains(word)) {
            let later = tests.iter().find(|test| test.capture.contains_key(word));
            let hint = match later {
                Some(later) if later.name == test.name => {
                    "; a test cannot use what it captures itself".to_owned()
                }
                Some(later) => {
                    format!(
                        "; smoke \"{}\", which captures it, comes later: put it before this one",
                        later.name
                    )
                }
                None => String::new(),
            };
            let known: Vec<String> =
                OF_CHECKS.iter().chain(&captured).map(|word| format!("{{{word}}}")).collect();
            let unknown = UnknownPlaceholder { word: word.to_owned(), expected: known.join(" or ") };
            let is_expected = match test.kind() {
                SmokeKind::Check { check, .. } => {
                    !check.sent_texts().into_iter().flat_map(words).any(|sent| sent == word)
                }
                _ => false,
            };
            let place = if is_expected { "expect: " } else { "" };
            return Err(de::Error::custom(format!("smoke \"{}\": {place}{unknown}{hint}", test.name)));
        }
        captured.extend(test.capture.keys().map(String::as_str));
    }
    Ok(tests)
}

impl From<Smoke> for RawSmoke {
    fn from(smoke: Smoke) -> Self {
        let raw = Self { name: smoke.name, capture: smoke.capture, ..Self::default() };
        match smoke.kind {
            SmokeKind::Command(Command { command, timeout, cwd, .. }) => {
                let check = RawCheck { command: Some(command), cwd, ..RawCheck::default() };
                Self { timeout: Some(timeout), ..raw }.with_check(check)
            }
            SmokeKind::Hurl(Hurl { file, timeout }) => {
                Self { hurl: Some(file), timeout: Some(timeout), ..raw }
            }
            SmokeKind::Check { check, timeout } => {
                Self { timeout: Some(timeout), ..raw }.with_check(RawCheck::from(check))
            }
        }
    }
}
