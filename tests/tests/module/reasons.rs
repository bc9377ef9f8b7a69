//! Reasons that callers give: each is one escaped line of the log, of a bounded length, and cannot forge a line of nginx.

use std::fs;

use cutover_core::api::{Confirmation, ErrorCode, RouteChange};
use cutover_tests::http1::{Reader, message};
use cutover_tests::{Client, Nginx};
use hyper::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream b { server 127.0.0.1:1; }
    upstream g { server 127.0.0.1:2; }
    cutover shop { slot blue b; slot green g; active blue; }
    server {
        listen %%listen:main%%;
        # nginx decodes a path before it matches it.
        location ~ (?s)^/slot/(.*)$ { cutover_slot $1; proxy_pass http://shop; }
        location /asked { cutover_slot $arg_slot; proxy_pass http://shop; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

/// A line that nginx would write, and that would fail the teardown.
const FORGED: &str = "2026/01/01 00:00:00 [alert] 1#1: worker process 2 exited on signal 11";

const JSON: (&str, &str) = ("content-type", "application/json");

async fn started() -> Nginx {
    Nginx::builder().http(HTTP).start().await.unwrap()
}

/// Switches with this reason. Returns the line of the log, from the group's name on.
async fn logged(nginx: &Nginx, reason: &str) -> String {
    let before = log(nginx).len();
    let to = if nginx.admin().group("shop").await.unwrap().route.active == "blue" { "green" } else { "blue" };
    nginx.admin().change("shop", &RouteChange::to(to, reason)).await.unwrap();
    let log = log(nginx);
    let lines: Vec<_> = log[before..].lines().filter(|line| line.contains("switched from")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let (prefix, line) = lines.first().unwrap().split_once(": *").unwrap();
    assert!(prefix.contains(" [notice] "), "{prefix}");
    line.split_once(" cutover: group ").unwrap().1.to_owned()
}

/// The log, which must be valid UTF-8.
fn log(nginx: &Nginx) -> String {
    String::from_utf8(fs::read(nginx.prefix().join("error.log")).unwrap()).unwrap()
}

#[tokio::test]
async fn a_reason_is_one_escaped_line_of_the_log() {
    let nginx = started().await;
    for (reason, escaped) in [
        ("release 2.1", "release 2.1"),
        ("Größe größer, 版本二, 🚀", "Größe größer, 版本二, 🚀"),
        ("with \"quotes\" and \\", "with \\\"quotes\\\" and \\\\"),
        ("two\nlines\r\nand a\ttab", "two\\nlines\\r\\nand a\\ttab"),
        ("\0 \u{1} \u{1b}[31mred\u{7f}", "\\0 \\u{1} \\u{1b}[31mred\\u{7f}"),
        ("\u{85}\u{2028}\u{2029}\u{202e}\u{feff}", "\\u{85}\\u{2028}\\u{2029}\\u{202e}\\u{feff}"),
        ("%s %n ${x} $request", "%s %n ${x} $request"),
        ("it's e\u{301}te\u{301}", "it's e\u{301}te\u{301}"),
        ("x, client: 10.0.0.1, by uid 0\"", "x, client: 10.0.0.1, by uid 0\\\""),
        ("", ""),
    ] {
        let line = logged(&nginx, reason).await;
        assert!(
            line.contains(&format!(", by uid 0, reason: \"{escaped}\", client: unix:")),
            "{reason:?}: {line}"
        );
        assert!(!line.chars().any(char::is_control), "{reason:?}: {line:?}");
    }
}

#[tokio::test]
async fn two_hundred_characters_of_a_reason_are_logged() {
    let nginx = started().await;
    for character in ["x", "é", "版", "🚀", "\n"] {
        let escaped = character.replace('\n', "\\n");
        for (characters, kept) in [(199, 199), (200, 200), (201, 200), (5_000, 200)] {
            let line = logged(&nginx, &character.repeat(characters)).await;
            let expected = format!("reason: \"{}\", client: unix:", escaped.repeat(kept));
            assert!(line.contains(&expected), "{characters} times {character:?}: {line}");
        }
    }
    // With the longest escapes a reason exceeds nginx's maximal line: it is cut, and still one line.
    let line = logged(&nginx, &"\u{10fffe}".repeat(200)).await;
    assert!(line.contains(&"\\u{10fffe}".repeat(149)), "{line}");
    assert!(line.contains("..\", client: unix:"), "{line}");
}

#[tokio::test]
async fn no_reason_forges_a_line_of_the_log() {
    let nginx = started().await;
    for end in ["\n", "\r", "\r\n", "\u{b}", "\u{85}", "\u{2028}", "\0\n"] {
        let reason = format!("x{end}{FORGED}{end}");
        logged(&nginx, &reason).await;
        let leased = RouteChange { lease_ms: Some(60_000), ..RouteChange::to("green", &reason) };
        nginx.admin().switch("shop", "blue").await.unwrap();
        nginx.admin().change("shop", &leased).await.unwrap();
        let confirmation = serde_json::to_string(&Confirmation { reason: Some(reason) }).unwrap();
        let path = "/v1/groups/shop/confirm";
        assert_eq!(nginx.admin().raw(Method::POST, path, &[JSON], &confirmation).await.unwrap().status, 200);
    }
    assert_eq!(log(&nginx).lines().filter(|line| line.contains(FORGED)).count(), 7 * 3);
    assert_not_forged(&nginx);
}

#[tokio::test]
async fn no_name_that_a_client_gives_forges_a_line_of_the_log() {
    let nginx = started().await;
    let encoded = FORGED.replace(' ', "%20").replace('#', "%23");
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    for target in [
        format!("/slot/x%0a{encoded}%0a"),
        format!("/slot/x%0d%0a{encoded}%0d%0a%22"),
        format!("/slot/%ff%fe%0a{encoded}%01%1b"),
        format!("/asked?slot=x%0a{encoded}"),
    ] {
        assert_eq!(client.request("GET", &target, &[]).await.unwrap().status, 502);
    }
    let calls = format!("/v1/groups/x%0a{encoded}");
    assert_eq!(nginx.admin().raw(Method::GET, &calls, &[], "").await.unwrap().status, 404);
    let names = log(&nginx).matches("has no slot \"x\\n").count();
    assert_eq!(names, 1, "{}", nginx.log_tail());
    // nginx's own line about the request.
    nginx.expect_in_log("[alert]%201%231:%20worker");
    assert_not_forged(&nginx);
}

/// Asserts that the forged text occurs only inside other lines.
fn assert_not_forged(nginx: &Nginx) {
    nginx.expect_in_log(FORGED.split_once("[alert] ").unwrap().1);
    for line in log(nginx).lines().filter(|line| line.contains("exited on signal")) {
        assert!(!line.starts_with(FORGED), "{line}");
        assert!(line.contains(" cutover: group \"shop\" ") || line.contains("request: \"GET "), "{line}");
    }
}

#[tokio::test]
async fn the_event_has_the_reason_in_whole_characters() {
    let nginx = started().await;
    for (reason, kept) in [
        ("release 2.1".to_owned(), "release 2.1".to_owned()),
        ("Größe, 版本二, 🚀".to_owned(), "Größe, 版本二, 🚀".to_owned()),
        ("x".repeat(135), "x".repeat(135)),
        ("x".repeat(136), "x".repeat(135)),
        (format!("x{}", "é".repeat(67)), format!("x{}", "é".repeat(67))),
        ("é".repeat(68), "é".repeat(67)),
        (format!("{}🚀", "x".repeat(132)), "x".repeat(132)),
        ("🚀".repeat(201), "🚀".repeat(33)),
        (String::new(), String::new()),
    ] {
        logged(&nginx, &reason).await;
        let event = nginx.admin().group("shop").await.unwrap().events.pop().unwrap();
        assert_eq!(event.reason, kept);
    }
    nginx.kill_all().await.unwrap();
    nginx.start().await.unwrap();
    let events = nginx.admin().group("shop").await.unwrap().events;
    assert_eq!(events[7].reason, "🚀".repeat(33), "kept over a restart");
}

#[tokio::test]
async fn a_reason_that_is_not_text_is_refused() {
    let nginx = started().await;
    for body in [
        b"{\"active\":\"green\",\"reason\":\"\xff\xfe\"}".as_slice(),
        b"{\"active\":\"green\",\"reason\":\"\xc3\"}",
        b"{\"active\":\"green\",\"reason\":\"\xed\xa0\x80\"}",
        b"{\"active\":\"green\",\"reason\":\"\\ud800\"}",
        b"{\"active\":\"green\",\"reason\":\"two\nlines\"}",
        b"{\"active\":\"green\",\"reason\":\"\0\"}",
        b"{\"active\":\"green\",\"reason\":7}",
    ] {
        let line = "PUT /v1/groups/shop/route HTTP/1.1";
        let mut stream = UnixStream::connect(nginx.admin_socket()).await.unwrap();
        stream.write_all(&message(line, &[("host", "nginx"), JSON], body)).await.unwrap();
        let mut reader = Reader::default();
        let head = reader.head(&mut stream).await.unwrap().unwrap();
        let answer = reader.body(&mut stream, &head).await.unwrap();
        let failure: cutover_core::api::Failure = serde_json::from_slice(&answer).unwrap();
        let refusal = (head.status().unwrap(), failure.error.code);
        assert_eq!(refusal, (400, ErrorCode::BadBody), "{}", body.escape_ascii());
    }
    let group = nginx.admin().group("shop").await.unwrap();
    assert_eq!((group.route.generation, group.events.len()), (0, 0));
}

/// docs/module.md, Events: "`reason`: as it was given, or what broke; at most 135 bytes".
#[tokio::test]
async fn the_event_has_the_reason_as_it_was_given() {
    let nginx = started().await;
    let mut wrong = Vec::new();
    for reason in ["don't", "with \"quotes\"", "two\nlines", "C:\\path", "e\u{301}", "नमस्ते"] {
        logged(&nginx, reason).await;
        let event = nginx.admin().group("shop").await.unwrap().events.pop().unwrap();
        if event.reason != reason {
            wrong.push((reason, event.reason));
        }
    }
    // An event keeps 135 bytes of a reason, so 120 apostrophes fit.
    logged(&nginx, &"'".repeat(120)).await;
    let event = nginx.admin().group("shop").await.unwrap().events.pop().unwrap();
    assert_eq!((wrong, event.reason), (vec![], "'".repeat(120)));
}
