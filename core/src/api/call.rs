//! Which call of the admin API a request is, and which generation it expects.

use super::{ErrorCode, Failure, RouteChange};

/// One call of the API. Names are as the client wrote them: whoever looks them up says whether they exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// `GET /v1/groups`
    Groups,
    /// `GET /v1/groups/NAME`
    Group(&'a str),
    /// `PUT /v1/groups/NAME/route`
    Switch(&'a str),
}

/// Reads method and path; the path begins with `/` and has no query. `HEAD` counts as `GET`.
pub fn parse_call<'a>(method: &str, path: &'a str) -> Result<Call<'a>, Failure> {
    let mut parts = path.trim_start_matches('/').split('/');
    let call = match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("v1"), Some("groups"), None | Some(""), None, None) => Call::Groups,
        (Some("v1"), Some("groups"), Some(name), None, None) => Call::Group(name),
        (Some("v1"), Some("groups"), Some(name), Some("route"), None) => Call::Switch(name),
        _ => {
            return Err(Failure::new(
                ErrorCode::NotFound,
                format!(
                    "no \"{path}\" here: there are /v1/groups, /v1/groups/NAME and /v1/groups/NAME/route"
                ),
            ));
        }
    };
    if call.allows().split(", ").any(|allowed| allowed == method) {
        Ok(call)
    } else {
        let allowed = call.allows();
        Err(Failure::new(ErrorCode::MethodNotAllowed, format!("\"{path}\" is for {allowed}, not {method}")))
    }
}

impl Call<'_> {
    /// Value of the header `Allow`.
    pub fn allows(&self) -> &'static str {
        match self {
            Self::Groups | Self::Group(_) => "GET, HEAD",
            Self::Switch(_) => "PUT",
        }
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

/// Reads the body of `PUT /v1/groups/NAME/route`.
pub fn parse_route_change(content_type: Option<&[u8]>, body: &[u8]) -> Result<RouteChange, Failure> {
    let media_type = content_type.and_then(|value| value.split(|byte| *byte == b';').next());
    if !media_type.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"application/json")) {
        return Err(Failure::new(
            ErrorCode::BadContentType,
            "the body must be sent with \"Content-Type: application/json\"",
        ));
    }
    serde_json::from_slice(body).map_err(|error| {
        let hint = "expected {\"active\": SLOT, \"reason\": TEXT, \"fence\": true|false}";
        Failure::new(ErrorCode::BadBody, format!("the body is not a route change: {error}; {hint}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        assert_eq!(parse_call("GET", "/v1/groups"), Ok(Call::Groups));
        assert_eq!(parse_call("GET", "/v1/groups/"), Ok(Call::Groups));
        assert_eq!(parse_call("HEAD", "/v1/groups/shop"), Ok(Call::Group("shop")));
        assert_eq!(parse_call("PUT", "/v1/groups/shop/route"), Ok(Call::Switch("shop")));
        for (method, path, code) in [
            ("GET", "/", ErrorCode::NotFound),
            ("GET", "/v1", ErrorCode::NotFound),
            ("GET", "/v2/groups", ErrorCode::NotFound),
            ("PUT", "/v1/groups/shop/route/x", ErrorCode::NotFound),
            ("GET", "/v1/groups/shop/route", ErrorCode::MethodNotAllowed),
            ("POST", "/v1/groups/shop/route", ErrorCode::MethodNotAllowed),
            ("DELETE", "/v1/groups/shop", ErrorCode::MethodNotAllowed),
        ] {
            assert_eq!(parse_call(method, path).unwrap_err().error.code, code, "{method} {path}");
        }
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
    fn route_changes() {
        let json = Some(&b"application/json; charset=utf-8"[..]);
        let change = parse_route_change(json, br#"{"active":"green","reason":"v2"}"#).unwrap();
        assert_eq!((change.active.as_str(), change.reason.as_deref()), ("green", Some("v2")));
        for bad in
            ["", "{}", "[]", "{\"active\":1}", "{\"active\":\"green\",\"actve\":1}", "{\"active\":\"a\"} x"]
        {
            let error = parse_route_change(json, bad.as_bytes()).unwrap_err();
            assert_eq!(error.error.code, ErrorCode::BadBody, "{bad}");
        }
        for wrong in [None, Some(&b"text/plain"[..]), Some(&b"application/x-www-form-urlencoded"[..])] {
            let error = parse_route_change(wrong, b"{}").unwrap_err();
            assert_eq!(error.error.code, ErrorCode::BadContentType);
        }
    }
}
