//! The access log decides about a version.

use std::fs;

use cutover_tests::daemon::Deployed;
use cutover_tests::file_host::{FileSettings, GROUP};
use cutover_tests::process::{self, Signal};
use cutover_tests::{Action, FileHost, wait};

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_counted_and_compared() {
    let host = FileHost::start(FileSettings::with_log()).await.unwrap();
    let load = host.load().unwrap();
    load.answers(100).await.unwrap();
    let deployed = host.deploy("2").await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let first = deployed.events.first().unwrap();
    assert!(!first.message.contains("probes only"), "{}", first.message);
    let good = deployed.events.iter().find(|event| event.message.starts_with("good: ")).unwrap();
    assert!(good.message.contains(" answers of green, 0 of them errors"), "{}", good.message);
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_gives_errors_is_taken_back() {
    let host = FileHost::start(FileSettings::with_log()).await.unwrap();
    host.green.on("/", Action::status(500));
    host.green.on("/health", Action::status(200));
    let load = host.load().unwrap();
    load.answers(100).await.unwrap();
    let deployed = host.deploy("2").await.unwrap();
    deployed.assert_ended("rolled_back", 4).unwrap();
    let last = deployed.events.last().unwrap();
    assert!(last.message.contains("500"), "{}", last.message);
    assert_eq!(host.answering().await.unwrap(), "blue");
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_traffic_it_is_inconclusive() {
    let host = FileHost::start(FileSettings::with_log()).await.unwrap();
    host.deploy("2").await.unwrap().assert_ended("rolled_back", 4).unwrap();
}

/// The number of answers that the verdict counts.
fn counted(deployed: &Deployed) -> u64 {
    let good = deployed.events.iter().find_map(|event| event.message.strip_prefix("good: "));
    good.and_then(|text| text.split(' ').next()?.replace(',', "").parse().ok()).unwrap_or(0)
}

/// A soak that is long enough for a few rotations.
fn long() -> FileSettings {
    let groups = GROUP.replace("duration = \"500ms\"", "duration = \"3s\"");
    FileSettings { groups, ..FileSettings::with_log() }
}

/// logrotate renames the log. Workers write to the old file until nginx gets USR1.
#[tokio::test(flavor = "multi_thread")]
async fn rotation_loses_no_answer() {
    let host = FileHost::start(long()).await.unwrap();
    let load = host.load().unwrap();
    load.answers(50).await.unwrap();
    let mut deployment = host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    let log = host.path("access.log");
    for round in 0..3 {
        fs::rename(&log, host.path(&format!("access.log.{round}"))).unwrap();
        load.answers(50).await.unwrap();
        process::signal(host.nginx.master().unwrap(), Signal::USR1).unwrap();
        wait::until("nginx to open its new log", || log.exists()).await.unwrap();
        load.answers(50).await.unwrap();
    }
    let answered = load.report().by_slot["green"];
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    assert!(counted(&deployed) >= answered, "{} counted of {answered}", counted(&deployed));
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report}");
}

/// `copytruncate` of logrotate: the same file is cut short. Lines between two readings are lost, and none is counted twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_cut_short_is_read_on() {
    let host = FileHost::start(long()).await.unwrap();
    let load = host.load().unwrap();
    load.answers(50).await.unwrap();
    let mut deployment = host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    load.answers(50).await.unwrap();
    fs::OpenOptions::new().write(true).open(host.path("access.log")).unwrap().set_len(0).unwrap();
    let before = load.report().by_slot["green"];
    load.answers(400).await.unwrap();
    let after = load.report().by_slot["green"];
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let all = load.stop().await.by_slot["green"];
    let counted = counted(&deployed);
    assert!(counted >= after - before && counted <= all, "{counted} counted of {all}, {before} and {after}");
}
