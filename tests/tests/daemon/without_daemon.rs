//! `cutover status` and `cutover switch` while the daemon is away: straight to nginx, with the same safety.

use std::fs;

use cutover_tests::nginx::Builder;
use cutover_tests::process::{self, Signal};
use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP;
use cutover_tests::{Action, Backend, Nginx, TestEdge, TestHost};

async fn backends() -> (Backend, Backend) {
    (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap())
}

fn nginx(blue: &Backend, green: &Backend) -> Builder {
    let http = TestEdge::http(UPSTREAMS, LOCATION);
    Nginx::builder().set("blue", blue.address()).set("green", green.address()).http(&http)
}

fn said(host: &TestHost, line: &str) -> (i32, String) {
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let output = host.daemon.cli(&words).unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_slot_is_seen_and_left_by_the_command_that_status_names() {
    let (mut blue, green) = backends().await;
    let mut host = TestHost::start(nginx(&blue, &green), GROUP).await.unwrap();
    host.daemon.kill().unwrap();
    blue.stop().await;
    let (code, text) = said(&host, "cutover status");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("the daemon is away: ") && text.contains("traffic is not affected"), "{text}");
    assert!(text.contains("slot \"blue\" is DEAD"), "{text}");
    let next = "cutover switch shop --to green";
    assert!(text.contains(next), "{text}");
    let json: serde_json::Value = host.daemon.status("shop").unwrap();
    assert!(json["daemon_away"].as_str().unwrap().contains("no daemon answers at "), "{json}");
    assert_eq!(
        (json["health"]["state"].as_str(), json["next"]["command"].as_str()),
        (Some("dead"), Some(next))
    );
    assert_eq!(json["exit_code"], 1, "{json}");
    let (code, text) = said(&host, "cutover status --json");
    let all: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((code, &all[0]["exit_code"]), (1, &1.into()), "{all}");
    let (code, text) = said(&host, &format!("{next} --reason outage"));
    assert_eq!(code, 0, "{text}");
    assert_eq!(host.active().await.unwrap(), "green");
    let events = host.nginx.admin().group("shop").await.unwrap().events;
    let reason = &events.last().unwrap().reason;
    assert_eq!(reason, "outage (by root, without the daemon)");
    // A slot that fails its probe gets no traffic.
    let (code, text) = said(&host, "cutover switch shop --to blue");
    assert!(code == 1 && text.contains("slot \"blue\" is not healthy"), "{text}");
    assert_eq!(host.active().await.unwrap(), "green");
    // The daemon goes on from there.
    host.daemon.resume().await.unwrap();
    let (_, text) = said(&host, "cutover status");
    assert!(text.contains("slot \"green\" has the traffic") && !text.contains("away"), "{text}");
}

/// A freeze outlives the daemon, so it also holds without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_group_is_left_alone_unless_it_is_forced() {
    let (blue, green) = backends().await;
    let mut host = TestHost::start(nginx(&blue, &green), GROUP).await.unwrap();
    for (freeze, said_of) in [("shop", "group \"shop\" is frozen"), ("--all", "all groups are frozen")] {
        let (code, text) = said(&host, &format!("cutover freeze {freeze} --reason sale"));
        assert_eq!(code, 0, "{text}");
        host.daemon.kill().unwrap();
        let (code, text) = said(&host, "cutover switch shop --to green");
        assert!(code == 1 && text.contains(said_of) && text.contains("by root, reason \"sale\""), "{text}");
        assert!(text.contains("if the traffic cannot wait: --force"), "{text}");
        assert_eq!(host.active().await.unwrap(), "blue");
        host.daemon.resume().await.unwrap();
        said(&host, &format!("cutover unfreeze {freeze}"));
    }
    said(&host, "cutover freeze shop");
    host.daemon.kill().unwrap();
    let (code, text) = said(&host, "cutover switch shop --to green --force");
    assert_eq!(code, 0, "{text}");
    assert_eq!(host.active().await.unwrap(), "green");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_moved_behind_the_back_of_a_daemon_that_hangs() {
    let (blue, green) = backends().await;
    let host = TestHost::start(nginx(&blue, &green), GROUP).await.unwrap();
    // A daemon whose socket is gone, but which lives.
    fs::remove_file(host.daemon.socket()).unwrap();
    let (code, text) = said(&host, "cutover switch shop --to green");
    assert!(code == 1 && text.contains("a daemon has locked daemon.state"), "{text}");
    assert_eq!(host.active().await.unwrap(), "blue");
    process::signal(host.daemon.pid().unwrap(), Signal::TERM).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_deployment_is_left_to_its_daemon_unless_it_is_forced() {
    let (blue, green) = backends().await;
    let long = GROUP.replace("duration = \"1500ms\"", "duration = \"60s\"");
    let mut host = TestHost::start(nginx(&blue, &green), &long).await.unwrap();
    let users = host.users().unwrap();
    users.more_good(20).await.unwrap();
    let mut deployment = host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    host.daemon.kill().unwrap();
    let (code, text) = said(&host, "cutover switch shop --to blue");
    assert!(code == 1 && text.contains("is in phase \"soaking\"") && text.contains("--force"), "{text}");
    assert_eq!(host.active().await.unwrap(), "green");
    let (code, text) = said(&host, "cutover switch shop --to blue --force");
    assert_eq!(code, 0, "{text}");
    assert_eq!(host.active().await.unwrap(), "blue");
    host.daemon.resume().await.unwrap();
    let id = deployment.finish().await.unwrap().events[0].deployment.clone();
    let ended = || host.daemon.outcome(&id).ok().flatten();
    let outcome =
        cutover_tests::wait::until_some(cutover_tests::wait::PATIENCE, "its end", ended).await.unwrap();
    assert_eq!(outcome, "stuck", "somebody else moved the route");
    assert_eq!(host.active().await.unwrap(), "blue");
    green.on("/", Action::status(200));
    let _ = blue;
}
