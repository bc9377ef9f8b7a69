//! The scripts of docs/recipes/without-systemd.md: what they start survives the daemon, and they end it and nothing else.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use cutover_tests::process::{self, Pid};
use cutover_tests::wait;

use super::installed::Installed;

/// An installed recipe with versions 1 and 2, and nothing that runs.
fn installed() -> Installed {
    let recipe = Installed::new("node").unwrap();
    recipe.publish("1", &[]).unwrap();
    recipe.publish("2", &[]).unwrap();
    recipe
}

/// The application in a slot.
fn pid(recipe: &Installed, slot: &str) -> Result<Pid> {
    let text = fs::read_to_string(recipe.path(&format!("run/{slot}.pid")))?;
    let pid = text.split(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    anyhow::Context::context(pid, "no process id")
}

fn succeeds(recipe: &Installed, script: &str, version: &str) {
    let output = recipe.script(script, "blue", version).unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_replaces_what_runs_and_a_stop_can_be_repeated() {
    let recipe = installed();
    succeeds(&recipe, "shop-start", "1");
    let first = pid(&recipe, "blue").unwrap();
    wait::until("the script to become the application", || process::title(first).contains("server.js"))
        .await
        .unwrap();
    succeeds(&recipe, "shop-start", "2");
    let second = pid(&recipe, "blue").unwrap();
    // The threads of a killed process end a moment later.
    process::gone(&[first], wait::PATIENCE).await.unwrap();
    assert!(first != second && process::alive(second));
    assert!(fs::read_link(recipe.path("srv/slots/blue")).unwrap().ends_with("releases/2"));
    succeeds(&recipe, "shop-stop", "2");
    process::gone(&[second], wait::PATIENCE).await.unwrap();
    assert!(!recipe.runs("blue") && !recipe.path("srv/slots/blue").exists());
    succeeds(&recipe, "shop-stop", "2");
}

#[test]
fn the_process_of_another_program_with_the_same_id_is_left_alone() {
    let recipe = installed();
    let mut other = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    fs::write(recipe.path("run/blue.pid"), format!("{} 1\n", other.id())).unwrap();
    succeeds(&recipe, "shop-stop", "1");
    let running = other.try_wait().unwrap().is_none();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(running && !recipe.runs("blue"));
}

#[test]
fn an_application_that_ignores_sigterm_is_killed() {
    let recipe = installed();
    // Shorter, so that the test is.
    let stop = recipe.path("bin/shop-stop");
    let text = fs::read_to_string(&stop).unwrap();
    assert!(text.contains("patience=200"), "adapt the test: {text}");
    fs::write(&stop, text.replace("patience=200", "patience=5")).unwrap();
    let run = recipe.path("bin/shop-run");
    fs::write(&run, "#!/bin/sh\ntrap '' TERM\nsleep 60 &\nwait\n").unwrap();
    succeeds(&recipe, "shop-start", "1");
    let shell = pid(&recipe, "blue").unwrap();
    let start = Instant::now();
    succeeds(&recipe, "shop-stop", "1");
    assert!(!process::alive(shell) && !recipe.runs("blue"));
    assert!(start.elapsed() < Duration::from_secs(30), "it has ended by itself after {:?}", start.elapsed());
}

#[test]
fn a_version_that_is_no_release_starts_nothing_and_stops_nothing() {
    let recipe = installed();
    succeeds(&recipe, "shop-start", "1");
    let running = pid(&recipe, "blue").unwrap();
    for (version, says) in [
        ("3", "no release "),
        ("../1", "\"../1\" is no name of a folder in "),
        (".", "\".\" is no name of a folder in "),
        ("", "deploy with --version"),
    ] {
        let output = recipe.script("shop-start", "blue", version).unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(says), "{version}: {output:?}");
        assert!(process::alive(running), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_after_a_reboot_is_started_by_the_command_of_the_page() {
    let mut recipe = Installed::new("node").unwrap();
    recipe.start(std::convert::identity).await.unwrap();
    super::journey::good(&recipe).await.unwrap();
    process::kill_now(&[pid(&recipe, "green").unwrap()]);
    fs::remove_file(recipe.path("run/green.pid")).unwrap();
    let health = || recipe.daemon().unwrap().status("shop").unwrap()["health"].clone();
    wait::until("the slot to be dead", || health()["state"] == "dead").await.unwrap();
    let output = recipe.daemon().unwrap().cli(&["run", "shop", "provision"]).unwrap();
    assert!(output.status.success(), "{output:?}");
    let up = async || recipe.version().await.is_ok_and(|version| version == "2");
    wait::until_async(wait::PATIENCE, "version 2 to be back", up).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_outlives_the_daemon() {
    let mut recipe = Installed::new("node").unwrap();
    recipe.start(std::convert::identity).await.unwrap();
    super::journey::good(&recipe).await.unwrap();
    let application = pid(&recipe, "green").unwrap();
    recipe.stop_daemon().await.unwrap();
    assert!(process::alive(application));
    assert_eq!(recipe.version().await.unwrap(), "2");
}
