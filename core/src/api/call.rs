//! Which call of the admin API a request is, and which generation it expects.

use serde::de::DeserializeOwned;

use super::{ErrorCode, Failure};

/// One call of the API. Names are as the client wrote them; whether they exist is for the caller to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// `GET /v1/groups`
    Groups,
    /// `GET /v1/groups/NAME`
    Group(&'a str),
    /// A change of a group.
    Change(Action, &'a str),
    /// `GET /metrics`
    Metrics,
}

/// What a change does to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `PUT /v1/groups/NAME/route`
    Switch,
    /// `POST /v1/groups/NAME/confirm`
    Confirm,
    /// `POST /v1/groups/NAME/renew`
    Renew,
    /// `PUT /v1/groups/NAME/standby`
    Standby,
}

/// Why method and path make no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCall {
    /// The answer.
    pub failure: Failure,
    /// The methods that the path has, where only the method is wrong: value of the header `Allow`.
    pub allow: Option<&'static str>,
}

/// Reads method and path; the path begins with `/` and has no query. `HEAD` counts as `GET`.
pub fn parse_call<'a>(method: &str, path: &'a str) -> Result<Call<'a>, BadCall> {
    let mut parts = path.trim_start_matches('/').split('/');
    let call = match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("v1"), Some("groups"), None | Some(""), None, None) => Call::Groups,
        (Some("v1"), Some("groups"), Some(name), None, None) => Call::Group(name),
        (Some("v1"), Some("groups"), Some(name), Some("route"), None) => Call::Change(Action::Switch, name),
        (Some("v1"), Some("groups"), Some(name), Some("confirm"), None) => {
            Call::Change(Action::Confirm, name)
        }
        (Some("v1"), Some("groups"), Some(name), Some("renew"), None) => Call::Change(Action::Renew, name),
        (Some("v1"), Some("groups"), Some(name), Some("standby"), None) => {
            Call::Change(Action::Standby, name)
        }
        (Some("metrics"), None, None, None, None) => Call::Metrics,
        _ => {
            let message = format!(
                "no \"{path}\" here: there are /v1/groups, /v1/groups/NAME, and route, confirm, renew and \
                 standby below it, and /metrics"
            );
            return Err(BadCall { failure: Failure::new(ErrorCode::NotFound, message), allow: None });
        }
    };
    call.check_method(method, &format!("\"{path}\" is"))?;
    Ok(call)
}

impl Call<'_> {
    /// Value of the header `Allow`.
    pub fn allows(&self) -> &'static str {
        match self {
            Self::Groups | Self::Group(_) | Self::Metrics => "GET, HEAD",
            Self::Change(Action::Switch | Action::Standby, _) => "PUT",
            Self::Change(Action::Confirm | Action::Renew, _) => "POST",
        }
    }

    /// Refuses another method; `subject` is what the message begins with, as in `metrics are`.
    pub fn check_method(&self, method: &str, subject: &str) -> Result<(), BadCall> {
        let allow = self.allows();
        if allow.split(", ").any(|allowed| allowed == method) {
            return Ok(());
        }
        let message = format!("{subject} for {allow}, not {method}");
        Err(BadCall { failure: Failure::new(ErrorCode::MethodNotAllowed, message), allow: Some(allow) })
    }
}

/// Reads `If-Match`: a quoted generation, or `*` for any. No header means any.
pub fn parse_if_match(header: Option<&[u8]>) -> Result<Option<u32>, Failure> {
    let Some(header) = header.map(<[u8]>::trim_ascii).filter(|value| *value != b"*") else {
        return Ok(None);
    };
    let quoted = header.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let digits = quoted.filter(|inner| !inner.is_empty() && inner.iter().all(u8::is_ascii_digit));
    let generation = digits.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    generation.map(Some).ok_or_else(|| {
        let shown = String::from_utf8_lossy(header);
        Failure::new(
            ErrorCode::BadIfMatch,
            format!("\"If-Match: {shown}\" is not a generation in quotes, as in \"7\""),
        )
    })
}

impl Action {
    /// What the body should hold, for people.
    fn expected_body(self) -> &'static str {
        match self {
            Self::Confirm => "{} or {\"reason\": TEXT}",
            Self::Renew => "{\"lease_ms\": MILLISECONDS}",
            Self::Standby => "{\"slot\": SLOT}",
            Self::Switch => {
                "{\"active\": SLOT, \"split\": {SLOT: PERCENT, SLOT: PERCENT}, \"guard\": {..}, \"lease_ms\": \
                 MILLISECONDS, \"rescue\": true|false, \"fence\": true|false, \"reason\": TEXT}"
            }
        }
    }
}

/// Reads the body of a change.
pub fn parse_change<T: DeserializeOwned>(
    action: Action,
    content_type: Option<&[u8]>,
    body: &[u8],
) -> Result<T, Failure> {
    let media_type = content_type.and_then(|value| value.split(|byte| *byte == b';').next());
    if !media_type.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"application/json")) {
        return Err(Failure::new(
            ErrorCode::BadContentType,
            "the body must be sent with \"Content-Type: application/json\"",
        ));
    }
    let bad = |why: &dyn std::fmt::Display| {
        let expected = action.expected_body();
        Failure::new(ErrorCode::BadBody, format!("the body cannot be used: {why}; expected {expected}"))
    };
    // serde would also take an array of values in the order of the fields.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(bad(&"it is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| bad(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Renewal, RouteChange};

    #[test]
    fn calls() {
        assert_eq!(parse_call("GET", "/v1/groups"), Ok(Call::Groups));
        assert_eq!(parse_call("GET", "/v1/groups/"), Ok(Call::Groups));
        assert_eq!(parse_call("HEAD", "/v1/groups/shop"), Ok(Call::Group("shop")));
        assert_eq!(parse_call("PUT", "/v1/groups/shop/route"), Ok(Call::Change(Action::Switch, "shop")));
        assert_eq!(parse_call("POST", "/v1/groups/shop/confirm"), Ok(Call::Change(Action::Confirm, "shop")));
        assert_eq!(parse_call("POST", "/v1/groups/shop/renew"), Ok(Call::Change(Action::Renew, "shop")));
        assert_eq!(parse_call("PUT", "/v1/groups/shop/standby"), Ok(Call::Change(Action::Standby, "shop")));
        assert_eq!(parse_call("GET", "/metrics"), Ok(Call::Metrics));
        for (method, path, code) in [
            ("GET", "/", ErrorCode::NotFound),
            ("GET", "/v1", ErrorCode::NotFound),
            ("GET", "/v2/groups", ErrorCode::NotFound),
            ("PUT", "/v1/groups/shop/route/x", ErrorCode::NotFound),
            ("GET", "/v1/groups/shop/route", ErrorCode::MethodNotAllowed),
            ("POST", "/v1/groups/shop/route", ErrorCode::MethodNotAllowed),
            ("DELETE", "/v1/groups/shop", ErrorCode::MethodNotAllowed),
            ("PUT", "/v1/groups/shop/confirm", ErrorCode::MethodNotAllowed),
            ("GET", "/v1/groups/shop/renew", ErrorCode::MethodNotAllowed),
            ("POST", "/v1/groups/shop/standby", ErrorCode::MethodNotAllowed),
            ("GET", "/metrics/x", ErrorCode::NotFound),
        ] {
            assert_eq!(parse_call(method, path).unwrap_err().failure.error.code, code, "{method} {path}");
        }
    }

    #[test]
    fn a_wrong_method_names_the_right_ones() {
        for (path, allow) in [
            ("/v1/groups", "GET, HEAD"),
            ("/v1/groups/shop", "GET, HEAD"),
            ("/v1/groups/shop/route", "PUT"),
            ("/v1/groups/shop/confirm", "POST"),
            ("/v1/groups/shop/renew", "POST"),
            ("/v1/groups/shop/standby", "PUT"),
            ("/metrics", "GET, HEAD"),
        ] {
            assert_eq!(parse_call("DELETE", path).unwrap_err().allow, Some(allow), "{path}");
        }
        assert_eq!(parse_call("GET", "/metrics/x").unwrap_err().allow, None);
    }

    #[test]
    fn if_match() {
        assert_eq!(parse_if_match(None), Ok(None));
        assert_eq!(parse_if_match(Some(b"*")), Ok(None));
        assert_eq!(parse_if_match(Some(b" \"7\" ")), Ok(Some(7)));
        for bad in ["7", "\"\"", "\"+7\"", "\"-1\"", "\"4294967296\"", "W/\"7\"", "\"7\", \"8\""] {
            let error = parse_if_match(Some(bad.as_bytes())).unwrap_err();
            assert_eq!(error.error.code, ErrorCode::BadIfMatch, "{bad}");
            assert!(error.error.message.contains(bad), "{}", error.error.message);
        }
    }

    #[test]
    fn bodies() {
        let json = Some(&b"application/json; charset=utf-8"[..]);
        let put = Action::Switch;
        let change: RouteChange = parse_change(put, json, br#"{"active":"green","reason":"v2"}"#).unwrap();
        assert_eq!(change, RouteChange::to("green", "v2"));
        let split: RouteChange =
            parse_change(put, json, br#"{"split":{"blue":99.99,"green":0.01}}"#).unwrap();
        assert_eq!(split.split.unwrap()["green"].parts(), 1);
        for (bad, named) in [
            ("", "not a JSON object"),
            ("[\"green\"]", "not a JSON object"),
            ("{\"active\":", "EOF"),
            ("{\"active\":1}", "invalid type"),
            ("{\"active\":\"green\",\"actve\":1}", "actve"),
            ("{\"active\":\"a\"} x", "trailing"),
            ("{\"split\":{\"a\":0.001,\"b\":99.999}}", "0.001 is not a percentage"),
            ("{\"active\":\"a\",\"guard\":{\"min_requests\":5}}", "window_ms"),
            (
                "{\"active\":\"a\",\"guard\":{\"min_requests\":5,\"window_ms\":900,\"max_error_ratio\":2}}",
                "2 is not a ratio",
            ),
            ("{\"active\":\"a\",\"lease_ms\":-1}", "-1"),
        ] {
            let error = parse_change::<RouteChange>(put, json, bad.as_bytes()).unwrap_err();
            assert_eq!(error.error.code, ErrorCode::BadBody, "{bad}");
            assert!(error.error.message.contains(named), "{bad}: {}", error.error.message);
        }
        let renew = parse_change::<Renewal>(Action::Renew, json, b"{}").unwrap_err();
        assert!(renew.error.message.contains("lease_ms"), "{}", renew.error.message);
        for wrong in [None, Some(&b"text/plain"[..]), Some(&b"application/x-www-form-urlencoded"[..])] {
            let error = parse_change::<RouteChange>(put, wrong, b"{}").unwrap_err();
            assert_eq!(error.error.code, ErrorCode::BadContentType);
        }
    }
}
