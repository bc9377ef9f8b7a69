//! The admin API: its replies, its errors, and its access control (promise 9).

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use cutover_core::api::ErrorCode;
use cutover_tests::flavour::Flavour;
use cutover_tests::nginx::Nginx;
use hyper::Method;

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream b { server 127.0.0.1:1; server 127.0.0.1:2 down; server 127.0.0.1:3 backup; }
    upstream g { %%zone%% server unix:%%prefix%%/app.sock; server 127.0.0.1:2 backup; }
    cutover shop { slot blue b; slot green g; active blue; }
    server {
        listen %%admin%%;
        location / { cutover_api write=on uid=%%uid%%; }
        location /read/ { cutover_api; }
    }
    server { listen %%listen:tcp%%; location / { cutover_api write=on; } }
";

/// Method, path, headers and body of a call; status, error code and a part of the message of its reply.
type Refusal<'a> = (&'a Method, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, ErrorCode, &'a str);

const JSON: (&str, &str) = ("content-type", "application/json");
const ROUTE: &str = "/v1/groups/shop/route";

async fn started() -> Nginx {
    // Without the zone module, the servers of both slots come from the configuration.
    let zones = !Flavour::from_env().unwrap().is_without("http_upstream_zone_module").unwrap();
    let zone = if zones { "zone g 64k;" } else { "" };
    Nginx::builder().set("uid", "daemon").set("zone", zone).http(HTTP).start().await.unwrap()
}

#[tokio::test]
async fn groups_show_their_route_and_peers() {
    let nginx = started().await;
    let groups = nginx.admin().groups().await.unwrap();
    assert_eq!(groups.module, env!("CARGO_PKG_VERSION"));
    assert!(groups.nginx.starts_with("1."), "{}", groups.nginx);
    let shop = nginx.admin().group("shop").await.unwrap();
    assert_eq!(groups.groups, std::slice::from_ref(&shop));
    let peers = |slot: &str| -> Vec<(String, bool, bool)> {
        let slot = shop.slot(slot).unwrap();
        slot.peers.iter().map(|peer| (peer.address.clone(), peer.backup, peer.down)).collect()
    };
    assert_eq!(
        peers("blue"),
        [
            ("127.0.0.1:1".into(), false, false),
            ("127.0.0.1:2".into(), false, true),
            ("127.0.0.1:3".into(), true, false)
        ]
    );
    let socket = format!("unix:{}", nginx.prefix().join("app.sock").display());
    assert_eq!(
        peers("green"),
        [(socket, false, false), ("127.0.0.1:2".into(), true, false)],
        "from the zone, if nginx has zones"
    );
}

#[tokio::test]
async fn a_switch_is_answered_with_the_new_state() {
    let nginx = started().await;
    let admin = nginx.admin();
    let body = r#"{"active":"green","reason":"release 2\nwith \"quotes\""}"#;
    let reply = admin.raw(Method::PUT, ROUTE, &[JSON, ("if-match", "\"0\"")], body).await.unwrap();
    assert_eq!((reply.status, reply.etag.as_deref()), (200, Some("\"1\"")));
    assert_eq!(reply.content_type.as_deref(), Some("application/json"));
    let log = nginx.error_log();
    let line = log.lines().find(|line| line.contains("switched")).unwrap();
    assert!(line.contains("[notice]"), "{line}");
    assert!(
        line.contains("group \"shop\" switched from \"blue\" to \"green\", generation 1, by uid 0"),
        "{line}"
    );
    assert!(line.contains(r#"reason: "release 2\nwith \"quotes\"""#), "{line}");

    // A switch to the active slot changes nothing.
    let again = admin.switch("shop", "green").await.unwrap();
    assert_eq!((again.route.active.as_str(), again.route.generation), ("green", 1));
    assert_eq!(admin.switch_if("shop", "blue", 1).await.unwrap().status, 200);
}

#[tokio::test]
async fn of_two_operators_one_is_told_where_the_traffic_is() {
    let nginx = started().await;
    let admin = nginx.admin();
    admin.switch("shop", "green").await.unwrap();
    let late = admin.switch_if("shop", "green", 0).await.unwrap();
    assert_eq!((late.status, late.etag.as_deref()), (412, Some("\"1\"")));
    let failure = late.failure().unwrap();
    assert_eq!(failure.error.code, ErrorCode::GenerationMismatch);
    assert_eq!(failure.group.unwrap().route.active, "green");

    // Of many concurrent calls with the same generation exactly one succeeds.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let admin = admin.clone();
        calls.spawn(async move { admin.switch_if("shop", "blue", 1).await.unwrap().status });
    }
    let mut answers = calls.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers, [vec![200], vec![412; 19]].concat());
}

/// A caller that does not know the outcome of an earlier call can make that call fail.
#[tokio::test]
async fn a_fence_makes_older_changes_too_late() {
    let nginx = started().await;
    let admin = nginx.admin();
    let fence = r#"{"active":"blue","fence":true}"#;
    for generation in 0..3 {
        let if_match = format!("\"{generation}\"");
        let reply = admin.raw(Method::PUT, ROUTE, &[JSON, ("if-match", &if_match)], fence).await.unwrap();
        assert_eq!(reply.etag, Some(format!("\"{}\"", generation + 1)), "{}", reply.body);
    }
    assert_eq!(admin.switch_if("shop", "green", 2).await.unwrap().status, 412);
    assert_eq!(admin.group("shop").await.unwrap().route.active, "blue");
}

#[tokio::test]
async fn every_refusal_has_a_code_and_a_sentence() {
    let nginx = started().await;
    let admin = nginx.admin();
    let good = r#"{"active":"green"}"#;
    let large = format!(r#"{{"active":"green","reason":"{}"}}"#, "x".repeat(70_000));
    let get = Method::GET;
    let put = Method::PUT;
    let cases: [Refusal<'_>; 17] = [
        (&get, "/", &[], "", 404, ErrorCode::NotFound, "/v1/groups"),
        (&get, "/v1/group", &[], "", 404, ErrorCode::NotFound, "no \"/v1/group\" here"),
        (
            &get,
            "/v1/groups/blog",
            &[],
            "",
            404,
            ErrorCode::UnknownGroup,
            "no group \"blog\"; the configuration has: shop",
        ),
        (&put, "/v1/groups/blog/route", &[JSON], good, 404, ErrorCode::UnknownGroup, "no group \"blog\""),
        (&get, ROUTE, &[], "", 405, ErrorCode::MethodNotAllowed, "is for PUT, not GET"),
        (&Method::POST, ROUTE, &[JSON], good, 405, ErrorCode::MethodNotAllowed, "is for PUT, not POST"),
        (&Method::DELETE, "/v1/groups/shop", &[], "", 405, ErrorCode::MethodNotAllowed, "is for GET, HEAD"),
        (&put, ROUTE, &[], good, 415, ErrorCode::BadContentType, "application/json"),
        (
            &put,
            ROUTE,
            &[("content-type", "text/plain")],
            good,
            415,
            ErrorCode::BadContentType,
            "application/json",
        ),
        (&put, ROUTE, &[JSON], "", 400, ErrorCode::BadBody, "not a JSON object"),
        (&put, ROUTE, &[JSON], "{\"active\":", 400, ErrorCode::BadBody, "EOF"),
        (&put, ROUTE, &[JSON], r#"{"active":"green","to":1}"#, 400, ErrorCode::BadBody, "unknown field `to`"),
        (
            &put,
            ROUTE,
            &[JSON],
            r#"{"active":"red"}"#,
            422,
            ErrorCode::UnknownSlot,
            "group \"shop\" has no slot \"red\"; it has: blue, green",
        ),
        (
            &put,
            ROUTE,
            &[JSON, ("if-match", "1")],
            good,
            400,
            ErrorCode::BadIfMatch,
            "not a generation in quotes",
        ),
        (
            &put,
            ROUTE,
            &[JSON, ("if-match", "\"7\"")],
            good,
            412,
            ErrorCode::GenerationMismatch,
            "at generation 0, not 7",
        ),
        (&put, ROUTE, &[JSON], &large, 413, ErrorCode::BodyTooLarge, "65536"),
        (&put, "/read/v1/groups/shop/route", &[JSON], good, 403, ErrorCode::ReadOnly, "write=on"),
    ];
    for (method, path, headers, body, status, code, words) in cases {
        let reply = admin.raw(method.clone(), path, headers, body).await.unwrap();
        let failure = reply.failure().unwrap();
        assert_eq!((reply.status, failure.error.code), (status, code), "{method} {path} {}", reply.body);
        assert!(failure.error.message.contains(words), "{method} {path}: {}", failure.error.message);
        assert_eq!(reply.content_type.as_deref(), Some("application/json"));
        let allow = (status == 405).then_some(if path == ROUTE { "PUT" } else { "GET, HEAD" });
        assert_eq!(reply.allow.as_deref(), allow, "{method} {path}");
    }
    assert_eq!(admin.group("shop").await.unwrap().route.generation, 0, "no refused call changes the route");
    assert_eq!(admin.raw(get, "/read/v1/groups/shop", &[], "").await.unwrap().status, 200);
}

#[tokio::test]
async fn bodies_come_in_every_shape() {
    let nginx = started().await;
    // Larger than nginx's buffer, so nginx writes it to a file. Then in chunks, slowly.
    let reason = "x".repeat(30_000);
    let reply = nginx
        .admin()
        .raw(Method::PUT, ROUTE, &[JSON], &format!(r#"{{"active":"green","reason":"{reason}"}}"#))
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let socket = nginx.admin_socket();
    let chunked = raw_exchange(
        &socket,
        &[
            "PUT /v1/groups/shop/route HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n",
            "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            "a\r\n{\"active\":\r\n",
            "7\r\n\"blue\"}\r\n0\r\n\r\n",
        ],
    )
    .await;
    assert!(chunked.starts_with("HTTP/1.1 200"), "{chunked}");
    assert!(chunked.contains("\"active\":\"blue\""), "{chunked}");
}

#[tokio::test]
async fn a_body_has_64_kb_at_most() {
    let nginx = started().await;
    let change = r#"{"active":"green"}"#;
    let body = |size: usize| format!("{change}{}", " ".repeat(size - change.len()));
    for (size, status) in [(65_536, 200), (65_537, 413)] {
        let reply = nginx.admin().raw(Method::PUT, ROUTE, &[JSON], &body(size)).await.unwrap();
        assert_eq!(reply.status, status, "{size} bytes: {}", reply.body);
        let head = format!("PUT {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
        let chunk = format!("{size:x}\r\n{}\r\n0\r\n\r\n", body(size));
        let parts = [&head, "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n", &chunk];
        let chunked = raw_exchange(&nginx.admin_socket(), &parts).await;
        assert!(chunked.starts_with(&format!("HTTP/1.1 {status}")), "{size} bytes in a chunk: {chunked}");
    }
}

#[tokio::test]
async fn a_client_that_disconnects_early_affects_no_other_call() {
    let nginx = started().await;
    for part in [
        "PUT /v1/groups/shop/route HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    ] {
        let stream = tokio::net::UnixStream::connect(nginx.admin_socket()).await.unwrap();
        stream.writable().await.unwrap();
        stream.try_write(part.as_bytes()).unwrap();
    }
    // Complete calls whose client closes without waiting for the reply: the client is gone when the flush has finished.
    for n in 0..50 {
        let body = format!("{{\"active\":\"{}\"}}", if n % 2 == 0 { "green" } else { "blue" });
        let text = format!(
            "PUT {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let stream = tokio::net::UnixStream::connect(nginx.admin_socket()).await.unwrap();
        stream.writable().await.unwrap();
        stream.try_write(text.as_bytes()).unwrap();
    }
    nginx.reload().await.unwrap();
    let group = nginx.admin().switch("shop", "green").await.unwrap();
    assert_eq!(group.route.active, "green");
}

#[tokio::test]
async fn other_users_are_refused_and_logged() {
    let nginx = started().await;
    std::fs::set_permissions(nginx.prefix(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let as_user = |user: &str, path: &str| {
        let output = Command::new("setpriv")
            .args(["--reuid", user, "--regid", "65534", "--clear-groups", "curl", "-s", "--unix-socket"])
            .arg(nginx.admin_socket())
            .args(["-H", "content-type: application/json", "-X"])
            .args(if path == ROUTE { ["PUT", "-d", r#"{"active":"green"}"#].as_slice() } else { &["GET"] })
            .arg(format!("http://cutover{path}"))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for path in ["/v1/groups", ROUTE] {
        let answer = as_user("nobody", path);
        assert!(answer.contains("\"code\":\"forbidden\""), "{answer}");
    }
    assert_eq!(nginx.admin().group("shop").await.unwrap().route.generation, 0);
    assert!(nginx.error_log().contains("cutover_api: user with id 65534 refused"));
    assert!(as_user("daemon", ROUTE).contains("\"generation\":1"), "uid= allows it");
    assert!(nginx.error_log().contains("by uid 1, reason: none given"));
}

#[tokio::test]
async fn tcp_without_a_token_is_read_only() {
    let nginx = started().await;
    let url = format!("http://{}", nginx.address("tcp").unwrap());
    let curl = |arguments: &[&str], path: &str| {
        let output =
            Command::new("curl").arg("-s").args(arguments).arg(format!("{url}{path}")).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(curl(&[], "/v1/groups/shop").contains("\"active\":\"blue\""));
    let put = ["-X", "PUT", "-H", "content-type: application/json", "-d", r#"{"active":"green"}"#];
    assert!(curl(&put, ROUTE).contains("need a token"));
    assert_eq!(nginx.admin().group("shop").await.unwrap().route.generation, 0);
}

async fn raw_exchange(socket: &std::path::Path, parts: &[&str]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    for part in parts {
        stream.write_all(part.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn another_slot_can_be_chosen_as_standby() {
    let nginx = three_slots().await;
    let standby = async || nginx.admin().group("shop").await.unwrap().route.standby.unwrap();
    let choose = async |slot: &str, headers: &[(&str, &str)]| {
        let body = format!("{{\"slot\":\"{slot}\"}}");
        let headers = [&[JSON], headers].concat();
        nginx.admin().raw(Method::PUT, "/v1/groups/shop/standby", &headers, &body).await.unwrap().status
    };
    assert_eq!(standby().await, "green");
    assert_eq!(choose("red", &[]).await, 200);
    assert_eq!(standby().await, "red");
    for (slot, headers, status) in [
        ("violet", &[][..], 422),
        ("blue", &[], 422),
        ("green", &[("if-match", "\"7\"")], 412),
        ("red", &[("if-match", "\"0\"")], 200),
    ] {
        assert_eq!(choose(slot, headers).await, status, "{slot}");
        assert_eq!(standby().await, "red", "after {slot}");
    }
    nginx.reload().await.unwrap();
    assert_eq!(standby().await, "red", "kept over a reload");
    nginx.admin().switch("shop", "red").await.unwrap();
    assert_eq!(standby().await, "blue", "the active slot is not the standby");
    nginx.admin().switch("shop", "blue").await.unwrap();
    nginx.kill_all().await.unwrap();
    nginx.start().await.unwrap();
    assert_eq!(standby().await, "green", "lost in a restart of nginx");
}

async fn three_slots() -> Nginx {
    let http = "
        cutover_state %%prefix%%/state;
        upstream b { server 127.0.0.1:1; }
        cutover shop { slot blue b; slot green b; slot red b; active blue; }
        server { listen %%admin%%; location / { cutover_api write=on; } }
    ";
    Nginx::builder().http(http).start().await.unwrap()
}
