use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

#[test]
fn a_socket_that_is_not_for_this_user_is_no_daemon_that_is_down() {
    let said = |kind: ErrorKind| {
        ClientError::at_socket("/run/c.sock".as_ref(), HttpError::Connect(kind.into())).to_string()
    };
    let closed = said(ErrorKind::PermissionDenied);
    assert!(closed.starts_with("this user may not use the daemon's socket /run/c.sock"), "{closed}");
    for kind in [ErrorKind::NotFound, ErrorKind::ConnectionRefused] {
        let down = said(kind);
        assert!(down.ends_with("is `cutover serve` running?"), "{down}");
    }
}

/// A daemon that gives each connection its next answer, or none if that is empty. Returns the number of requests.
fn daemon(folder: &Path, name: &str, answers: &[&str]) -> (Host, Arc<AtomicUsize>) {
    let path = folder.join(name);
    let listener = UnixListener::bind(&path).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let turn = counter.fetch_add(1, Ordering::SeqCst);
            let answer = answers.get(turn).or(answers.last()).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (Host::Unix(path), asked)
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn refusal(code: &str) -> String {
    answer(409, &format!("{{\"code\":\"{code}\",\"message\":\"why\"}}"))
}

/// Sends one change to two daemons of which the first gives this answer. Returns the result, and how often each was asked.
async fn changed(first: &str) -> (Result<String, ClientError>, (usize, usize)) {
    let folder = tempfile::tempdir().unwrap();
    let (one, asked_one) = daemon(folder.path(), "one", &[first]);
    let (two, asked_two) = daemon(folder.path(), "two", &[&answer(200, "\"done\"")]);
    let done = Client::of_hosts(vec![one, two]).post("/v1/x", &()).await;
    (done, (asked_one.load(Ordering::SeqCst), asked_two.load(Ordering::SeqCst)))
}

#[tokio::test]
async fn a_change_goes_on_to_the_daemon_that_leads() {
    let (done, asked) = changed(&refusal(NOT_LEADER)).await;
    assert_eq!((done.unwrap().as_str(), asked), ("done", (1, 1)));
}

#[tokio::test]
async fn a_change_that_was_refused_or_may_have_been_taken_is_sent_to_nobody_else() {
    let failed = answer(500, "{\"code\":\"journal\",\"message\":\"disk full\"}");
    for (first, part) in [
        (
            "",
            "it may have taken the request, so it is not sent again; to see whether it has: cutover --host unix:",
        ),
        ("HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\n\"do", "it may have taken the request"),
        (&refusal("busy"), "why"),
        (&failed, "disk full"),
    ] {
        let (done, asked) = changed(first).await;
        let error = done.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert_eq!(asked, (1, 0), "{first}");
    }
}

#[tokio::test]
async fn the_host_that_has_answered_is_asked_first_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let (two, asked) = daemon(folder.path(), "two", &[&answer(200, "1")]);
    let (three, never) = daemon(folder.path(), "three", &[&answer(200, "1")]);
    let client = Client::of_hosts(vec![Host::Unix(folder.path().join("gone")), two, three]);
    for _ in 0..2 {
        let _: u8 = client.get("/v1/x").await.unwrap();
    }
    assert_eq!(client.answered.load(Ordering::SeqCst), 1);
    assert_eq!((asked.load(Ordering::SeqCst), never.load(Ordering::SeqCst)), (2, 0));
}

#[tokio::test]
async fn the_last_error_says_that_no_host_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (two, _) = daemon(folder.path(), "two", &[&refusal(NOT_LEADER)]);
    let client = Client::of_hosts(vec![Host::Unix(folder.path().join("gone")), two]);
    let error = client.post::<u8>("/v1/x", &()).await.unwrap_err();
    assert!(error.to_string().ends_with("two: why; no host is left to ask"), "{error}");
    assert!(error.may_pass(), "the first host may come back");
}

#[tokio::test]
async fn a_daemon_that_does_not_know_a_deployment_is_not_the_last_to_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (one, _) = daemon(folder.path(), "one", &[&refusal(UNKNOWN_DEPLOYMENT)]);
    let (two, _) = daemon(folder.path(), "two", &[&answer(200, "line\n")]);
    let mut lines = Client::of_hosts(vec![one, two]).lines("/v1/x").await.unwrap();
    assert_eq!(lines.next().await.unwrap().as_deref(), Some("line"));
}
