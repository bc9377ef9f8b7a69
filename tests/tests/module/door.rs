//! Access to the admin API: tokens over TCP, browser pages, clients on other hosts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cutover_core::api::{ErrorCode, Failure};
use cutover_tests::{Client, Nginx, wait};
use hyper::Method;

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream b { server 127.0.0.1:1; }
    upstream g { server 127.0.0.1:2; }
    cutover shop { slot blue b; slot green g; active blue; }
    server {
        listen %%listen:open%%;
        location / { cutover_api write=on; }
        location /v10/ { cutover_api; }
        location /if/ { cutover_api; if ($arg_x) { set $y $arg_x; } }
    }
    server { listen %%listen:closed%%; location / { cutover_api write=on token_file=%%prefix%%/token; } }
    server { listen %%listen:reader%%; location / { cutover_api token_file=%%prefix%%/token; } }
    # A client can pretend to be on another host.
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Real-IP;
    server { listen %%admin%%; location / { cutover_api write=on token_file=%%prefix%%/token; } }
";

const TOKEN: &str = "c2VjcmV0IG9mIHRoZSBzaG9w";

/// Status and error code of a reply.
type StatusAndCode = (u16, Option<ErrorCode>);

struct AdminListeners {
    nginx: Nginx,
}

impl AdminListeners {
    async fn start() -> Self {
        let nginx = Nginx::builder().http(HTTP).build().unwrap();
        let listeners = Self { nginx };
        listeners.write_token(TOKEN, 0o600);
        listeners.nginx.start().await.unwrap();
        listeners
    }

    fn token_file(&self) -> PathBuf {
        self.nginx.prefix().join("token")
    }

    fn write_token(&self, token: &str, mode: u32) {
        fs::write(self.token_file(), format!("{token}\n")).unwrap();
        fs::set_permissions(self.token_file(), fs::Permissions::from_mode(mode)).unwrap();
    }

    async fn get(&self, listener: &str, headers: &[(&str, &str)]) -> StatusAndCode {
        self.get_at(listener, "/v1/groups/shop", headers).await
    }

    async fn get_at(&self, listener: &str, target: &str, headers: &[(&str, &str)]) -> StatusAndCode {
        let mut client = Client::connect(self.nginx.address(listener).unwrap()).await.unwrap();
        let mut all = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "host") {
            all.push(("host", "localhost"));
        }
        answer(client.request("GET", target, &all).await.unwrap())
    }

    async fn put(&self, listener: &str, headers: &[(&str, &str)]) -> StatusAndCode {
        let mut client = Client::connect(self.nginx.address(listener).unwrap()).await.unwrap();
        let mut all = vec![("content-type", "application/json"), ("host", "localhost")];
        all.extend_from_slice(headers);
        let body = r#"{"active":"green","fence":true}"#;
        answer(client.request_with("PUT", "/v1/groups/shop/route", &all, body).await.unwrap())
    }
}

fn answer(answer: cutover_tests::client::Answer) -> StatusAndCode {
    (answer.status, serde_json::from_slice::<Failure>(&answer.body).ok().map(|failure| failure.error.code))
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

const UNAUTHORIZED: StatusAndCode = (401, Some(ErrorCode::Unauthorized));
const FORBIDDEN: StatusAndCode = (403, Some(ErrorCode::Forbidden));
const OK: StatusAndCode = (200, None);

#[tokio::test]
async fn without_a_token_tcp_reads_and_does_not_write() {
    let listeners = AdminListeners::start().await;
    assert_eq!(listeners.get("open", &[]).await, OK);
    assert_eq!(listeners.put("open", &[]).await, FORBIDDEN);
}

#[tokio::test]
async fn with_a_token_file_everything_needs_the_token() {
    let listeners = AdminListeners::start().await;
    let right = bearer(TOKEN);
    assert_eq!(listeners.get("closed", &[]).await, UNAUTHORIZED);
    assert_eq!(listeners.put("closed", &[]).await, UNAUTHORIZED);
    for wrong in [
        bearer(&TOKEN[1..]),
        bearer(&format!("{TOKEN}x")),
        bearer(""),
        bearer(&TOKEN.to_lowercase()),
        format!("Basic {TOKEN}"),
        TOKEN.to_owned(),
    ] {
        assert_eq!(listeners.get("closed", &[("authorization", &wrong)]).await, UNAUTHORIZED, "{wrong}");
    }
    assert_eq!(listeners.get("closed", &[("authorization", &right)]).await, OK);
    assert_eq!(listeners.put("closed", &[("authorization", &right)]).await, OK);
    let reader = listeners.put("reader", &[("authorization", &right)]).await;
    assert_eq!(
        reader,
        (403, Some(ErrorCode::ReadOnly)),
        "a token does not allow changes in a read-only location"
    );
    let event = listeners.nginx.admin().group("shop").await.unwrap().events.pop().unwrap();
    assert_eq!(event.who, "token");
    assert!(!listeners.nginx.error_log().contains(&TOKEN[..8]), "no token in the log");
}

#[tokio::test]
async fn a_unix_socket_checks_the_user_and_not_the_token() {
    let listeners = AdminListeners::start().await;
    listeners.nginx.admin().switch("shop", "green").await.unwrap();
}

#[tokio::test]
async fn a_new_token_counts_from_the_next_reload() {
    let listeners = AdminListeners::start().await;
    let (old, new) = (bearer(TOKEN), bearer("YW5vdGhlciBzZWNyZXQ"));
    listeners.write_token("YW5vdGhlciBzZWNyZXQ", 0o640);
    assert_eq!(listeners.get("closed", &[("authorization", &old)]).await, OK);
    listeners.nginx.reload().await.unwrap();
    assert_eq!(listeners.get("closed", &[("authorization", &old)]).await, UNAUTHORIZED);
    assert_eq!(listeners.get("closed", &[("authorization", &new)]).await, OK);
}

#[tokio::test]
async fn a_readable_or_malformed_token_file_is_refused() {
    let listeners = AdminListeners::start().await;
    for (token, mode, why) in [
        (TOKEN, 0o604, "can be read or written by others (mode 0604)"),
        (TOKEN, 0o660, "can be read or written by others (mode 0660)"),
        ("short", 0o600, "holds no token"),
        ("two words of a token", 0o600, "holds no token"),
        ("", 0o600, "holds no token"),
    ] {
        listeners.write_token(token, mode);
        let answer = listeners.nginx.check().unwrap();
        assert!(!answer.ok && answer.output.contains(why), "{token}: {}", answer.output);
        assert!(token.is_empty() || !answer.output.contains(&format!("\"{token}\"")), "{}", answer.output);
        listeners.nginx.expect_in_log(why);
    }
    listeners.write_token(TOKEN, 0o600);
    listeners.nginx.reload().await.unwrap();
}

/// `nginx -s` reads the configuration only for the path of the pid file.
#[tokio::test]
async fn signals_work_with_a_bad_token_file() {
    let listeners = AdminListeners::start().await;
    listeners.write_token(TOKEN, 0o644);
    let why = "can be read or written by others (mode 0644)";
    listeners.nginx.expect_in_log(why);
    assert!(!listeners.nginx.check().unwrap().ok);
    let reopened = listeners.nginx.signal("reopen").unwrap();
    assert!(reopened.ok, "{}", reopened.output);
    let twice = HTTP.replace(
        "token_file=%%prefix%%/token; } }\n    server { listen %%listen:reader",
        "token_file=%%prefix%%/token token_file=/x; } }\n    server { listen %%listen:reader",
    );
    listeners.write_token(TOKEN, 0o600);
    listeners.nginx.write_http(&twice).unwrap();
    listeners.nginx.expect_in_log("\"token_file\" is duplicate in \"cutover_api\"");
    assert!(!listeners.nginx.check().unwrap().ok);
}

#[tokio::test]
async fn pages_of_browsers_are_refused_everywhere() {
    let listeners = AdminListeners::start().await;
    let page = (403, Some(ErrorCode::FromAPage));
    for origin in ["https://evil.test", "null", "http://127.0.0.1"] {
        assert_eq!(listeners.get("open", &[("origin", origin)]).await, page);
        assert_eq!(
            listeners.put("closed", &[("origin", origin), ("authorization", &bearer(TOKEN))]).await,
            page
        );
        for call in ["route", "confirm", "renew"] {
            let (path, method) =
                (format!("/v1/groups/shop/{call}"), if call == "route" { Method::PUT } else { Method::POST });
            let headers = [("content-type", "application/json"), ("origin", origin)];
            let reply = listeners.nginx.admin().raw(method, &path, &headers, "{}").await.unwrap();
            assert_eq!(
                (reply.status, reply.failure().unwrap().error.code),
                (403, ErrorCode::FromAPage),
                "{call}"
            );
        }
    }
}

#[tokio::test]
async fn the_paths_begin_where_the_location_ends() {
    let listeners = AdminListeners::start().await;
    for target in ["/v1/groups", "/v10/v1/groups", "/if/v1/groups", "/if/v1/groups?x=1"] {
        assert_eq!(listeners.get_at("open", target, &[]).await.0, 200, "{target}");
    }
    assert_eq!(listeners.get_at("open", "/v11/groups", &[]).await.0, 404);
}

/// A page whose host name resolves to this host (DNS rebinding) sends no `Origin` with a GET.
#[tokio::test]
async fn without_a_token_the_host_header_must_be_local() {
    let listeners = AdminListeners::start().await;
    for (host, status) in [
        ("evil.test", 403),
        ("localhost.evil.test:80", 403),
        ("localhost", 200),
        ("localhost:8082", 200),
        ("127.0.0.1", 200),
        ("[::1]:8082", 200),
    ] {
        assert_eq!(listeners.get("open", &[("host", host)]).await.0, status, "{host}");
    }
    assert_eq!(
        listeners.get("closed", &[("host", "edge.test"), ("authorization", &bearer(TOKEN))]).await.0,
        200
    );
}

#[tokio::test]
async fn clients_of_other_hosts_are_refused_also_with_the_token() {
    let listeners = AdminListeners::start().await;
    let right = bearer(TOKEN);
    let elsewhere = ("x-real-ip", "192.0.2.7");
    assert_eq!(listeners.get("open", &[elsewhere]).await, FORBIDDEN);
    assert_eq!(listeners.get("closed", &[elsewhere, ("authorization", &right)]).await, FORBIDDEN);
    wait::until("the refusal in the log", || {
        listeners.nginx.error_log().contains("a client that is not on this host refused")
    })
    .await
    .unwrap();
}
