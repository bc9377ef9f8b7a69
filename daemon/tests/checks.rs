//! Commands that check servers, with the real program as the watcher.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use cutover::command::{Checker, Leader};
use cutover_engine::peers::{CheckError, Reply, What};

const LONG: Duration = Duration::from_secs(30);

async fn run(script: &str, limit: Duration) -> Result<Reply, CheckError> {
    let command = serde_json::from_value(serde_json::json!(["/bin/sh", "-c", script])).unwrap();
    let environment = BTreeMap::from([("CUTOVER_PEER".to_owned(), "127.0.0.1:1".to_owned())]);
    let checker = Checker::through(env!("CARGO_BIN_EXE_cutover").into());
    checker.run(What::Command { command, cwd: None, environment }, limit).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_decides_and_the_last_line_is_the_reason() {
    for (script, said) in [
        ("echo a; echo \"$CUTOVER_PEER is well\" >&2", Ok("127.0.0.1:1 is well")),
        ("true", Ok("")),
        ("echo a; echo; exit 7", Err("exit code 7: a")),
        ("env | grep -c CARGO; exit 1", Err("exit code 1: 0")),
        ("echo $HOME | grep -c ^/; exit 1", Err("exit code 1: 1")),
        ("kill -9 $$", Err("was ended by a signal")),
    ] {
        match (run(script, LONG).await, said) {
            (Ok(Reply::Succeeded(line)), Ok(said)) => assert_eq!(line, said, "{script}"),
            (Err(error), Err(said)) => assert_eq!(error.to_string(), said, "{script}"),
            (other, _) => panic!("{script}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_output_ends_with_the_limit() {
    let error = run("yes much", Duration::from_millis(300)).await.unwrap_err().to_string();
    assert!(error.starts_with("did not end within 300ms and was killed: m"), "{error}");
    assert!(error.len() < 5000, "{}", error.len());
}

/// A process that a probe leaves behind would be there anew after each probe.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_leaves_behind_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("/bin/sleep 600 & echo $! > {}; echo started", file.display());
    let begin = Instant::now();
    let Ok(Reply::Succeeded(line)) = run(&script, LONG).await else { panic!("it failed") };
    assert_eq!(line, "started");
    assert!(begin.elapsed() < LONG, "it waits for nobody who holds its output");
    let pid = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    while Leader::of(pid).is_some_and(|process| process.is_alive()) {
        assert!(begin.elapsed() < LONG, "process {pid} is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
