//! Commands that check servers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cutover_tests::temp::TempDir;
use cutover_tests::{process, wait};

use super::{backends, failed, group, host};

/// A script in this folder.
fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The processes whose command line names this folder: scripts and their watchers.
fn running(folder: &Path) -> Vec<process::Pid> {
    process::mentioning(&["health", "sleep", "exe", "cutover"], folder)
}

fn probe(script: &Path) -> String {
    format!("command = [\"{}\", \"an argument\"]\ntimeout = \"400ms\"", script.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_told_the_server_and_decides() {
    let folder = TempDir::new().unwrap();
    let seen = folder.path().join("seen");
    let (blue, green) = backends().await;
    let text = format!(
        "echo \"$1 $CUTOVER_PEER $CUTOVER_GROUP $CUTOVER_SLOT $CUTOVER_VERSION $COLOUR\" >> {}\n\
         echo looked; test ! -e {}/sick || {{ echo the queue is full; exit 3; }}",
        seen.display(),
        folder.path().display()
    );
    let path = script(folder.path(), "health", &text);
    let groups = group(&probe(&path)).replace("warm =", "env = { COLOUR = \"red\" }\nwarm =");
    let host = host(blue.address(), green.address(), &groups).await;
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    let lines = fs::read_to_string(&seen).unwrap();
    let line = format!("an argument {} shop green 2 red", green.address());
    assert!(lines.lines().any(|seen| seen == line), "{line:?} is not in:\n{lines}");

    fs::write(folder.path().join("sick"), "").unwrap();
    let deployed = host.deploy("3").await.unwrap();
    let why = failed(&deployed);
    assert!(
        why.contains(&format!(
            "{}: {} 'an argument': exit code 3: the queue is full",
            blue.address(),
            path.display()
        )),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_hangs_is_killed_with_its_children() {
    let folder = TempDir::new().unwrap();
    let (blue, green) = backends().await;
    // Both processes name the folder, so that they can be found.
    let text =
        format!("sleep 600 {0}/child & echo waiting; exec sleep 600 {0}/itself", folder.path().display());
    let sleeper = script(folder.path(), "sleep", "while :; do /bin/sleep 0.05; done");
    let text = text.replace("sleep 600", &sleeper.display().to_string());
    let path = script(folder.path(), "health", &text);
    let host = host(blue.address(), green.address(), &group(&probe(&path))).await;
    let deployed = host.deploy("2").await.unwrap();
    let why = failed(&deployed);
    assert!(why.contains("did not end within 400ms and was killed: waiting"), "{why}");
    drop(host);
    let left = || running(folder.path());
    wait::until("the commands to be gone", || left().is_empty()).await.unwrap();
}

/// Nobody would wait for it any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_does_not_outlive_a_killed_daemon() {
    let folder = TempDir::new().unwrap();
    let (blue, green) = backends().await;
    let sleeper = script(folder.path(), "sleep", "while :; do /bin/sleep 0.05; done");
    let probe = format!("command = [\"{}\"]\ntimeout = \"1h\"", sleeper.display());
    let mut host = host(blue.address(), green.address(), &group(&probe)).await;
    let left = || running(folder.path());
    wait::until("the vigil to run the command", || !left().is_empty()).await.unwrap();
    host.daemon.kill().unwrap();
    wait::until("the command to be gone", || left().is_empty()).await.unwrap();
}
