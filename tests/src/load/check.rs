//! Checks a single answer.
//!
//! A backend names its slot in header `x-slot` and as `slot` in the JSON body, and the request as `request_id`. So a mixture
//! of two answers, or the answer to another request, does not pass. A `checksum` in the body is that of the request's body.
//! An answer that nginx generated belongs to no slot, unless the configuration adds `x-cutover-slot`.

use crate::http1::Head;

/// The outcome of one request.
#[derive(Clone, Debug)]
pub struct RequestOutcome {
    /// The slot that answered, or for which nginx answered, if known.
    pub slot: Option<String>,
    /// Whether the slot answered for another one, which had failed (rescue). The oracle knows nothing of such answers.
    pub rescued: bool,
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// The application's version, if the answer names one in `x-version`.
    pub version: Option<String>,
    /// What is wrong with it.
    pub wrong: Option<String>,
}

impl RequestOutcome {
    /// The outcome of a request without a complete answer.
    pub fn lost(why: String) -> Self {
        Self { slot: None, rescued: false, status: None, version: None, wrong: Some(why) }
    }
}

/// Checks the answer to the request with this id and the body `sent`.
pub fn check(id: u64, sent: &[u8], head: &Head, body: &[u8]) -> RequestOutcome {
    let status = head.status().ok();
    let own = head.header("x-slot");
    let slot =
        own.or_else(|| head.header("x-cutover-slot")).filter(|slot| !slot.is_empty()).map(str::to_owned);
    let version = head.header("x-version").map(str::to_owned);
    // The servers of all attempts, as in "127.0.0.1:1, 127.0.0.1:2"; " : " stands between internal redirects.
    let rescued = head.header("x-cutover-attempts").is_some_and(|servers| servers.contains(", "));
    RequestOutcome { wrong: wrong(id, sent, status, own, head, body), slot, rescued, status, version }
}

fn wrong(
    id: u64,
    sent: &[u8],
    status: Option<u16>,
    slot: Option<&str>,
    head: &Head,
    body: &[u8],
) -> Option<String> {
    match status {
        Some(200 | 201) => {}
        Some(status) => return Some(format!("status {status}")),
        None => return Some("no status".to_owned()),
    }
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else {
        return Some("the body is not JSON".to_owned());
    };
    let id = id.to_string();
    let named = |key: &str| body.get(key).and_then(serde_json::Value::as_str);
    if slot.is_none() || named("slot") != slot {
        return Some(format!("header names slot {slot:?}, body {:?}", named("slot")));
    }
    if head.header("x-cutover-slot").is_some_and(|routed| Some(routed) != slot) {
        return Some(format!("routed to {:?}, answered by {slot:?}", head.header("x-cutover-slot")));
    }
    if named("request_id") != Some(&id) {
        return Some(format!("answer to request {:?}, not {id}", named("request_id")));
    }
    let checksum = body.get("checksum").and_then(serde_json::Value::as_u64);
    if checksum.is_some_and(|checksum| checksum != u64::from(crc32fast::hash(sent))) {
        return Some(format!("another body than the {} bytes that were sent", sent.len()));
    }
    None
}
