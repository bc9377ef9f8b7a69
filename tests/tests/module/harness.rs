//! Tests of the harness on stock nginx: its fixtures work, and its checks find failures.

use std::time::Duration;

use cutover_tests::nginx::Nginx;
use cutover_tests::process::{self, Signal};
use cutover_tests::{Action, Backend, Load, Plan, SlotOracle};

const HTTP: &str = "
    upstream shop { server %%active%%; keepalive 16; }
    server {
        listen %%listen:main%%;
        location / { proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection ''; }
    }
";

#[tokio::test(flavor = "multi_thread")]
async fn reload_and_upgrade_lose_no_request() {
    let blue = Backend::start("blue").await.unwrap();
    let nginx =
        Nginx::builder().without_module().set("active", blue.address()).http(HTTP).start().await.unwrap();
    let load = Load::start(Plan::new(nginx.address("main").unwrap()), &SlotOracle::new("blue"));
    for _ in 0..3 {
        load.answers(500).await.unwrap();
        nginx.reload().await.unwrap();
    }
    for _ in 0..2 {
        load.answers(500).await.unwrap();
        nginx.upgrade().await.unwrap();
    }
    load.answers(500).await.unwrap();
    let report = load.stop().await;
    println!("{report}");
    assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
    assert!(report.reconnects > 0, "a reload closes idle connections: {report}");
    assert_eq!(blue.truth().requests, report.total);
}

/// A reload is acknowledged before all workers use the new configuration. The oracle must find the stale answers.
#[tokio::test(flavor = "multi_thread")]
async fn stale_answers_are_found() {
    let blue = Backend::start("blue").await.unwrap();
    let green = Backend::start("green").await.unwrap();
    let nginx =
        Nginx::builder().without_module().set("active", blue.address()).http(HTTP).start().await.unwrap();
    let expected = SlotOracle::new("blue");
    let load = Load::start(Plan::new(nginx.address("main").unwrap()), &expected);
    load.answers(200).await.unwrap();
    nginx.set("active", green.address());
    nginx.write_http(HTTP).unwrap();
    let switch = expected.announce("green");
    process::signal(nginx.master().unwrap(), Signal::HUP).unwrap();
    switch.acknowledge();
    load.answers(2000).await.unwrap();
    let report = load.stop().await;
    println!("{report}");
    assert!(report.stale > 0, "{report}");
    assert_eq!(report.failed(), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_answers_are_found() {
    let mut blue = Backend::start("blue").await.unwrap();
    let nginx =
        Nginx::builder().without_module().set("active", blue.address()).http(HTTP).start().await.unwrap();
    let load = Load::start(Plan::new(nginx.address("main").unwrap()), &SlotOracle::new("blue"));
    load.answers(100).await.unwrap();
    assert_eq!(load.report().failed(), 0, "{}", load.report());
    for action in [Action::status(503).into(), Action::Cut, Action::CutBody] {
        let before = load.report().failed();
        blue.on("/", action);
        load.answers(50).await.unwrap();
        assert!(load.report().failed() >= before + 30, "{}", load.report());
    }
    blue.on("/", Action::status(200));
    blue.stop().await;
    let before = load.report().failed();
    load.answers(50).await.unwrap();
    assert!(load.report().failed() >= before + 30, "{}", load.report());
    blue.resume().await.unwrap();
    let report = load.stop().await;
    assert!(report.failures.iter().all(|failure| failure.outcome.wrong.is_some()));
    cutover_tests::wait::until("the backend to finish", || blue.truth().in_flight == 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn users_keep_arriving_while_others_wait_and_give_up() {
    let blue = Backend::start("blue").await.unwrap();
    let nginx =
        Nginx::builder().without_module().set("active", blue.address()).http(HTTP).start().await.unwrap();
    blue.on("/", Action::Hang);
    let patience = Duration::from_millis(500);
    let plan = Plan::new(nginx.address("main").unwrap()).arrivals(Duration::from_millis(5)).limit(patience);
    let load = Load::start(plan, &SlotOracle::new("blue"));
    cutover_tests::wait::until("many users to wait", || blue.truth().in_flight >= 20).await.unwrap();
    load.answers(20).await.unwrap();
    let report = load.stop().await;
    assert_eq!(report.failed(), report.total, "{report}");
    assert!(report.failures.iter().all(|failure| failure.outcome.status.is_none()), "{report}");
    assert!(report.longest_wait >= patience && report.bad_for() >= patience, "{report}");
    cutover_tests::wait::until("the backend to finish", || blue.truth().in_flight == 0).await.unwrap();
}

#[tokio::test]
async fn a_killed_worker_fails_the_teardown_unless_expected() {
    let nginx =
        Nginx::builder().without_module().set("active", "127.0.0.1:9").http(HTTP).start().await.unwrap();
    let victim = nginx.workers()[0];
    process::signal(victim, Signal::KILL).unwrap();
    cutover_tests::wait::until("the alert", || !nginx.complaints().is_empty()).await.unwrap();
    nginx.expect_in_log("exited on signal 9");
    assert_eq!(nginx.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn everything_can_be_killed_and_started_again() {
    let nginx =
        Nginx::builder().without_module().set("active", "127.0.0.1:9").http(HTTP).start().await.unwrap();
    nginx.kill_all().await.unwrap();
    assert_eq!(nginx.pids(), []);
    nginx.start().await.unwrap();
    nginx.kill_worker().await.unwrap();
    nginx.stop().await.unwrap();
    assert_eq!(nginx.pids(), []);
}

#[tokio::test]
async fn a_refused_configuration_is_an_error() {
    let nginx =
        Nginx::builder().without_module().set("active", "127.0.0.1:9").http(HTTP).start().await.unwrap();
    nginx.write_http("nonsense;").unwrap();
    assert!(!nginx.check().unwrap().ok);
    assert!(nginx.reload().await.is_err());
    nginx.expect_in_log("unknown directive \"nonsense\"");
}
