//! `[[group.NAME.signal]]`: a query of Prometheus whose value has a limit.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cutover_core::placeholder::{Values, check_words, fill_words, has_version, has_word};
use cutover_core::verdict::OutsideLimit;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::expect::check_headers;
use super::ranges::longest_range;
use super::url::HttpUrl;
use super::value::{Duration, finite, not_zero};

/// What a query may contain in braces.
const WORDS: [&str; 4] = ["slot", "version", "group", "window"];

/// `[[group.NAME.signal]]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "RawSignal", into = "RawSignal")]
pub struct Signal {
    /// Its name, for messages.
    pub name: String,
    /// Where Prometheus listens.
    pub url: HttpUrl,
    /// What is always allowed.
    pub limit: f64,
    /// The time before its evaluation that the query speaks about.
    pub window: Duration,
    /// How long the value must be over its limit.
    pub lasting: Duration,
    /// Time between two readings.
    pub interval: Duration,
    /// Time limit of one reading.
    pub timeout: Duration,
    /// Whether what the old version does as well does not count.
    pub compare: Option<Compare>,
    /// Headers to send.
    pub headers: BTreeMap<String, String>,
    /// The file with a token, which is sent as `Authorization: Bearer`.
    pub token_file: Option<PathBuf>,
    /// A PEM file with the CAs that may sign the certificate of Prometheus. `None`: those that this host trusts.
    pub ca: Option<PathBuf>,
    promql: String,
}

/// What a value is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// The same query for the old version.
    Old,
}

impl Signal {
    /// The query for a slot. Fails with one line if it needs the version of the slot, and that is not known.
    pub fn query(&self, group: &str, values: &Values<'_>) -> Result<String, String> {
        if values.version.is_none() && self.needs_version() {
            return Err(format!("the version of slot \"{}\" is not known", values.slot));
        }
        Ok(fill_words(&self.promql, |word| match word {
            "slot" => Some(quoted(values.slot)),
            "version" => values.version.map(quoted),
            "group" => Some(quoted(group)),
            "window" => Some(range(self.window)),
            _ => None,
        }))
    }

    /// The limit for core.
    pub fn limit(&self) -> OutsideLimit {
        OutsideLimit {
            name: self.name.clone(),
            limit: self.limit,
            window: self.window.get(),
            lasting: self.lasting.get(),
            // One reading may be lost.
            gap: self.interval.get() * 2 + self.timeout.get(),
        }
    }

    /// Whether the query contains `{version}`.
    pub(super) fn needs_version(&self) -> bool {
        has_version(&self.promql)
    }

    /// The shortest soak in which its values can prove something.
    pub(super) fn shortest_soak(&self) -> std::time::Duration {
        let interval = self.interval.get();
        self.window.get() + self.lasting.get().max(interval * 2) + interval * 2
    }
}

/// All keys of a signal. `TryFrom` checks which are possible together.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct RawSignal {
    /// Its name, for messages. One line.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    name: String,
    /// The query, with one number as its result. {slot}, {version}, {group} and {window} are filled in.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    promql: String,
    /// Where Prometheus listens, as in "http://prometheus.monitoring:9090".
    url: HttpUrl,
    /// What is always allowed. More is bad.
    #[serde(deserialize_with = "finite")]
    limit: f64,
    /// How far the query looks back from its evaluation.
    #[serde(default = "minute", deserialize_with = "not_zero")]
    window: Duration,
    /// How long the value must be over its limit.
    #[serde(default = "quarter", deserialize_with = "not_zero", rename = "for")]
    lasting: Duration,
    /// Time between two readings.
    #[serde(default = "five", deserialize_with = "not_zero")]
    interval: Duration,
    /// Time limit of one reading.
    #[serde(default = "five", deserialize_with = "not_zero")]
    timeout: Duration,
    /// Whether what the old version does as well does not count. Without it, only the limit counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compare: Option<Compare>,
    /// Headers to send.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// The file with a token, which is sent as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^/")))]
    token_file: Option<PathBuf>,
    /// A PEM file with the CAs that may sign the certificate of Prometheus. Without it, those that this program trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^/")))]
    ca: Option<PathBuf>,
}

fn minute() -> Duration {
    Duration::seconds(60)
}

fn quarter() -> Duration {
    Duration::seconds(15)
}

fn five() -> Duration {
    Duration::seconds(5)
}

impl TryFrom<RawSignal> for Signal {
    type Error = String;

    fn try_from(raw: RawSignal) -> Result<Self, String> {
        let name = raw.name.clone();
        check(&raw).map_err(|why| format!("signal \"{}\": {why}", name.escape_debug()))?;
        let RawSignal { name, promql, url, limit, window, lasting, interval, timeout, .. } = raw;
        let RawSignal { compare, headers, token_file, ca, .. } = raw;
        Ok(Self {
            name,
            url,
            limit,
            window,
            lasting,
            interval,
            timeout,
            compare,
            headers,
            token_file,
            ca,
            promql,
        })
    }
}

impl From<Signal> for RawSignal {
    fn from(signal: Signal) -> Self {
        let Signal { name, url, limit, window, lasting, interval, timeout, .. } = signal;
        let Signal { compare, headers, token_file, ca, promql, .. } = signal;
        Self {
            name,
            promql,
            url,
            limit,
            window,
            lasting,
            interval,
            timeout,
            compare,
            headers,
            token_file,
            ca,
        }
    }
}

fn check(raw: &RawSignal) -> Result<(), String> {
    if raw.name.is_empty() || raw.name.chars().any(char::is_control) {
        return Err("its name must be one line that is not empty, as in \"checkout errors\"".to_owned());
    }
    if raw.promql.trim().is_empty() {
        return Err("promql is empty: expected a query with one number as its result".to_owned());
    }
    check_words(&raw.promql, &WORDS).map_err(|unknown| unknown.to_string())?;
    if raw.compare.is_some() && !has_word(&raw.promql, "slot") && !has_version(&raw.promql) {
        return Err(
            "compare = \"old\" needs {slot} or {version} in promql: without one, the query is the same for both versions"
                .to_owned(),
        );
    }
    let filled = fill_words(&raw.promql, |word| (word == "window").then(|| range(raw.window)));
    if let Some((text, _)) = longest_range(&filled).filter(|(_, range)| *range > raw.window.get()) {
        let window = raw.window;
        return Err(format!(
            "promql looks back [{text}], which is more than its window of {window}, so values from before the switch \
             would count: write [{{window}}] in promql, or set window = \"{text}\""
        ));
    }
    check_headers(&raw.headers)?;
    match &raw.ca {
        Some(path) if !path.is_absolute() => {
            return Err(format!("ca \"{}\" is not an absolute path", path.display()));
        }
        Some(_) if !raw.url.is_https() => {
            return Err(format!("ca is for an https URL, but url is \"{}\"", raw.url));
        }
        _ => {}
    }
    match &raw.token_file {
        Some(path) if !path.is_absolute() => {
            Err(format!("token_file \"{}\" is not an absolute path", path.display()))
        }
        Some(_) if raw.headers.keys().any(|name| name.eq_ignore_ascii_case("authorization")) => {
            Err("headers has \"authorization\", and so has token_file: expected one of them".to_owned())
        }
        Some(_) if !raw.url.is_loopback() && !raw.url.is_https() => Err(format!(
            "token_file needs an https url, or one on this host, as in \"http://127.0.0.1:9090\": \"{}\" would carry the \
             token over the network in clear text",
            raw.url
        )),
        _ => Ok(()),
    }
}

/// Signals with names that differ.
pub(super) fn signals<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Signal>, D::Error> {
    let signals = Vec::<Signal>::deserialize(deserializer)?;
    let twice = signals
        .iter()
        .enumerate()
        .find(|(at, signal)| signals.iter().take(*at).any(|earlier| earlier.name == signal.name));
    match twice {
        Some((_, signal)) => Err(de::Error::custom(format!(
            "two signals have the name \"{}\": expected a name of its own for each",
            signal.name
        ))),
        None => Ok(signals),
    }
}

/// A duration as PromQL writes it.
fn range(duration: Duration) -> String {
    let duration = duration.get();
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// A text within a string of PromQL, in double or single quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\x22"),
            '\'' => quoted.push_str("\\x27"),
            '\\' => quoted.push_str("\\x5c"),
            other => quoted.push(other),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(changes: serde_json::Value) -> Result<Signal, String> {
        let mut all = json!({ "name": "errors", "promql": "up", "url": "http://127.0.0.1:9090", "limit": 1 });
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(all).map_err(|error| error.to_string())
    }

    #[test]
    fn a_query_is_filled_in_and_quoted() {
        let promql =
            r#"sum(rate(errors{group="{group}",slot="{slot}",version='{version}',path=~"a{2}"}[{window}]))"#;
        let signal = parse(json!({ "promql": promql, "window": "90s" })).unwrap();
        let query = signal
            .query("shop", &Values { version: Some(r#"2"\'"#), slot: "green", ..Values::default() })
            .unwrap();
        let filled =
            r#"sum(rate(errors{group="shop",slot="green",version='2\x22\x5c\x27',path=~"a{2}"}[90s]))"#;
        assert_eq!(query, filled);
        let unknown = signal.query("shop", &Values { slot: "blue", ..Values::default() }).unwrap_err();
        assert_eq!(unknown, "the version of slot \"blue\" is not known");
    }

    #[test]
    fn it_survives_the_journal() {
        let signal = parse(json!({
            "promql": "x{slot=\"{slot}\"}", "limit": 0.01, "window": "1m 30s", "for": "30s", "interval": "2s", "timeout": "500ms",
            "compare": "old", "headers": { "x-scope": "shop" }, "token_file": "/etc/token",
            "url": "http://localhost:9090/prometheus/",
        }))
        .unwrap();
        let json = serde_json::to_string(&signal).unwrap();
        assert_eq!(serde_json::from_str::<Signal>(&json).unwrap(), signal);
        assert_eq!(signal.url.to_string(), "http://localhost:9090/prometheus");
        assert_eq!(signal.url.path("/api/v1/query"), "/prometheus/api/v1/query");
    }

    #[test]
    fn errors_name_the_signal_and_say_what_is_right() {
        for (changes, said) in [
            (json!({ "name": "" }), "signal \"\": its name must be one line"),
            (json!({ "promql": " " }), "signal \"errors\": promql is empty"),
            (
                json!({ "promql": "up{slot=\"{slto}\"}" }),
                "\"{slto}\" is not a placeholder: expected {slot} or {version} or {group} or {window}; for the text",
            ),
            (json!({ "compare": "old" }), "compare = \"old\" needs {slot} or {version} in promql"),
            (json!({ "compare": "new" }), "unknown variant `new`, expected `old`"),
            (json!({ "limit": "1" }), "expected a number, as in 0.01"),
            (
                json!({ "promql": "rate(x[5m])" }),
                "promql looks back [5m], which is more than its window of 1m, so values from before the switch would \
                 count: write [{window}] in promql, or set window = \"5m\"",
            ),
            (
                json!({ "url": "127.0.0.1:9090" }),
                "\"127.0.0.1:9090\" is not a URL, as in \"http://127.0.0.1:9090\"",
            ),
            (json!({ "url": "ftp://prometheus" }), "\"ftp://prometheus\" is not a URL, as in"),
            (json!({ "ca": "/ca.pem" }), "ca is for an https URL, but url is \"http://"),
            (json!({ "ca": "ca.pem", "url": "https://a" }), "ca \"ca.pem\" is not an absolute path"),
            (
                json!({ "url": "http://a/api/v1/query?query=up" }),
                "has a query: expected where Prometheus listens",
            ),
            (json!({ "url": "http://me:secret@a" }), "a URL with a user or a password is not possible"),
            (json!({ "headers": { "a b": "c" } }), "signal \"errors\": \"a b: c\" is not a header"),
            (json!({ "token_file": "token" }), "token_file \"token\" is not an absolute path"),
            (
                json!({ "token_file": "/token", "url": "http://prometheus:9090" }),
                "\"http://prometheus:9090\" would carry the token over the network in clear text",
            ),
            (json!({ "interval": "0s" }), "\"0s\" is too short"),
            (json!({ "windw": "1m" }), "unknown field `windw`"),
        ] {
            let error = parse(changes.clone()).unwrap_err();
            assert!(error.contains(said), "{changes}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
