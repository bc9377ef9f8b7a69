//! The HTTP API of Prometheus: asks for the value of a query.
//!
//! A query is sent as a form, because a long one does not fit into a URL. Its result must be one number.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use cutover_core::smoke::Answer;
use cutover_core::token::{self, Facts};
use cutover_engine::policy::Signal;
use cutover_engine::signals::Signals;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use serde::Deserialize;

use crate::http::{Address, HttpError, ask};
use crate::tls::{HttpsHost, TlsClient, TlsSettings};

/// The call that evaluates a query at one moment.
const QUERY: &str = "/api/v1/query";

/// The longest part of a foreign text in an error.
const MOST: usize = 300;

/// A client of any Prometheus.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prometheus;

impl Signals for Prometheus {
    async fn value(&self, signal: &Signal, query: &str, ago: Duration) -> Result<Option<f64>, String> {
        let limit = signal.timeout.get();
        // The clock of Prometheus may differ from this one.
        let at = match ago {
            Duration::ZERO => None,
            ago => {
                one_number(&call(signal, "time()", None, limit).await?)?.map(|now| now - ago.as_secs_f64())
            }
        };
        one_number(&call(signal, query, at, limit).await?)
    }
}

/// The answer of Prometheus.
#[derive(Debug, Deserialize)]
struct Reply {
    status: String,
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Series>),
    Scalar((f64, String)),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
struct Series {
    /// Time and value. Absent for a native histogram.
    value: Option<(f64, String)>,
}

async fn call(signal: &Signal, query: &str, at: Option<f64>, limit: Duration) -> Result<Data, String> {
    let url = &signal.url;
    let request = request(signal, query, at, limit).await?;
    let answer = ask(&address(signal)?, request, limit).await;
    let answer = answer.map_err(|error| match error {
        HttpError::Connect(error) => format!("{url}: no connection: {error}"),
        HttpError::Broken(why) if why.contains("length limit") => {
            format!("{url}: the answer is too long: a signal needs one number, as of sum(..)")
        }
        error => format!("{url}: {error}"),
    })?;
    parse(&answer).map_err(|why| format!("{url}: {why}"))
}

fn address(signal: &Signal) -> Result<Address, String> {
    let url = &signal.url;
    if !url.is_https() {
        return Ok(Address::Tcp(url.address()));
    }
    let host = HttpsHost::of(url.uri()).ok_or_else(|| format!("{url}: this host has no valid name"))?;
    let section = format!("signal \"{}\"", signal.name);
    let settings = TlsSettings { ca: signal.ca.clone(), ..TlsSettings::new(section) };
    Ok(Address::Tls(TlsClient::new(host, settings)))
}

async fn request(
    signal: &Signal,
    query: &str,
    at: Option<f64>,
    limit: Duration,
) -> Result<Request<Full<Bytes>>, String> {
    // Prometheus itself gives a query up that nobody waits for any more.
    let mut body = format!("query={}&timeout={}ms", form(query), limit.as_millis().max(1));
    if let Some(at) = at {
        let _ = write!(body, "&time={at:.3}");
    }
    let mut request = Request::post(signal.url.path(QUERY))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::CONNECTION, "close");
    let is_given = |name: &header::HeaderName| {
        signal.headers.keys().any(|given| given.eq_ignore_ascii_case(name.as_str()))
    };
    for (name, value) in [(header::HOST, signal.url.host()), (header::USER_AGENT, "cutover")] {
        if !is_given(&name) {
            request = request.header(name, value);
        }
    }
    for (name, value) in &signal.headers {
        request = request.header(name, value);
    }
    if let Some(path) = &signal.token_file {
        let file = path.clone();
        // A slow disk must not block an async thread.
        let read = tokio::task::spawn_blocking(move || token(&file)).await;
        let token = read.unwrap_or_else(|failed| Err(format!("cannot be read: {failed}")));
        let token = token.map_err(|why| format!("token_file \"{}\" {why}", path.display()))?;
        request = request.header(header::AUTHORIZATION, token);
    }
    request.body(Full::from(body)).map_err(|error| format!("no query can be sent: {error}"))
}

/// Reads the token anew for each query, so that a new one needs no restart.
fn token(path: &Path) -> Result<HeaderValue, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let facts = fs::metadata(path).map_err(unreadable)?;
    if !facts.is_file() {
        // Reading a pipe would block.
        return Err("is not a regular file".to_owned());
    }
    let facts = Facts { owner: facts.uid(), mode: facts.mode(), length: facts.len() };
    facts.check(rustix::process::geteuid().as_raw()).map_err(|bad| bad.to_string())?;
    let content = fs::read(path).map_err(unreadable)?;
    let token = token::parse(&content).map_err(|bad| bad.to_string())?;
    let mut header = HeaderValue::from_bytes(&[b"Bearer ", token].concat())
        .map_err(|_| token::BadFile::Content.to_string())?;
    header.set_sensitive(true);
    Ok(header)
}

/// A value of a form.
fn form(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

fn parse(answer: &Answer) -> Result<Data, String> {
    let reply = serde_json::from_slice::<Reply>(&answer.body);
    match reply {
        Ok(Reply { status, data: Some(data), .. }) if status == "success" => Ok(data),
        // Its own words name the place in the query.
        Ok(Reply { error: Some(error), .. }) => {
            Err(format!("Prometheus refuses the query: {}", one_line(&error)))
        }
        _ if matches!(answer.status, 401 | 403) => Err(format!(
            "status {}: it does not let the daemon in; set token_file, or headers",
            answer.status
        )),
        _ => {
            let text = String::from_utf8_lossy(&answer.body);
            Err(format!(
                "status {} and no answer of Prometheus: expected the address of its HTTP API: {}",
                answer.status,
                one_line(&text)
            ))
        }
    }
}

fn one_number(data: &Data) -> Result<Option<f64>, String> {
    let value = match data {
        Data::Scalar((_, value)) => value,
        Data::Vector(series) => match series.as_slice() {
            [] => return Ok(None),
            [Series { value: Some((_, value)) }] => value,
            [Series { value: None }] => {
                return Err("the result is a histogram: a signal needs one number, as of \
                            histogram_quantile(0.99, ..)"
                    .to_owned());
            }
            more => {
                return Err(format!(
                    "the result has {} series: a signal needs one number; aggregate them, as in sum(..) or max(..)",
                    more.len()
                ));
            }
        },
        Data::Matrix(_) => {
            return Err("the result is a range: a signal needs one number, as of rate(..) or \
                        avg_over_time(..)"
                .to_owned());
        }
        Data::String(_) => return Err("the result is a text: a signal needs one number".to_owned()),
    };
    // Prometheus writes +Inf, -Inf and NaN.
    value.parse().map(Some).map_err(|_| format!("\"{}\" is not a number", one_line(value)))
}

/// The beginning of a foreign text, in one line.
fn one_line(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    line.join(" ").chars().filter(|character| !character.is_control()).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(body: &str) -> Result<Option<f64>, String> {
        let answer = Answer { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec() };
        parse(&answer).and_then(|data| one_number(&data))
    }

    fn success(kind: &str, result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    }

    #[test]
    fn one_number_is_a_value() {
        for (kind, result, expected) in [
            ("vector", r#"[{"metric":{"a":"b"},"value":[1435781430.781,"0.031"]}]"#, Some(0.031)),
            ("vector", "[]", None),
            ("scalar", r#"[1435781430,"2"]"#, Some(2.0)),
            ("scalar", r#"[1435781430.5,"+Inf"]"#, Some(f64::INFINITY)),
            ("scalar", r#"[1435781430.5,"-Inf"]"#, Some(f64::NEG_INFINITY)),
        ] {
            assert_eq!(value(&success(kind, result)), Ok(expected), "{result}");
        }
        assert!(value(&success("scalar", r#"[1,"NaN"]"#)).unwrap().unwrap().is_nan());
    }

    #[test]
    fn anything_else_says_what_is_right() {
        let two = r#"[{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"2"]}]"#;
        for (body, said) in [
            (
                success("vector", two),
                "the result has 2 series: a signal needs one number; aggregate them, as in sum(..)",
            ),
            (success("matrix", "[]"), "the result is a range: a signal needs one number, as of rate(..)"),
            (success("string", r#"[1,"a"]"#), "the result is a text"),
            (success("vector", r#"[{"metric":{},"histogram":[1,{}]}]"#), "the result is a histogram"),
            (
                r#"{"status":"error","errorType":"bad_data","error":"1:5: parse error:\n unclosed"}"#
                    .to_owned(),
                "Prometheus refuses the query: 1:5: parse error: unclosed",
            ),
            ("<html>\n404</html>".to_owned(), "status 200 and no answer of Prometheus: expected the address"),
            (success("scalar", r#"[1,"x"]"#), "\"x\" is not a number"),
        ] {
            let error = value(&body).unwrap_err();
            assert!(error.starts_with(said), "{body}: {error}");
        }
    }

    #[test]
    fn a_query_as_a_form() {
        assert_eq!(form("a{b=\"ü\"} + 1"), "a%7Bb%3D%22%C3%BC%22%7D%20%2B%201");
    }
}
