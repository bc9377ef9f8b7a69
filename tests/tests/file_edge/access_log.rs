//! The access log decides about a version.

use std::fs;

use cutover_tests::file_host::FileSettings;
use cutover_tests::process::{self, Signal};
use cutover_tests::{Action, FileHost};

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

/// logrotate renames the log and sends USR1, or copies it and cuts it short, over and over.
#[tokio::test(flavor = "multi_thread")]
async fn rotation_loses_no_answer() {
    let host = FileHost::start(FileSettings::with_log()).await.unwrap();
    let load = host.load().unwrap();
    load.answers(50).await.unwrap();
    let mut deployment = host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    let log = host.path("access.log");
    for round in 0..4 {
        if round % 2 == 0 {
            fs::rename(&log, host.path("access.log.1")).unwrap();
            load.answers(20).await.unwrap();
            process::signal(host.nginx.master().unwrap(), Signal::USR1).unwrap();
        } else {
            fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
        }
        load.answers(50).await.unwrap();
    }
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report}");
}
