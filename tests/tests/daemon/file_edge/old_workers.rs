//! Workers of nginx that are shutting down still reach the old slot.

use std::fs;
use std::time::Duration;

use cutover_tests::file_host::{FileSettings, GROUP};
use cutover_tests::{Action, Client, FileHost, wait};

const STOP: &str = "[group.shop.decommission]\ncommand = [\"/usr/bin/touch\", \"%%folder%%/stopped\"]\n";

/// A host whose old slot is stopped right after the drain, and a WebSocket to it.
async fn with_session(drain: &str) -> (FileHost, Client) {
    let group = GROUP.replace("warm = \"1h\"", "warm = \"0s\"").replace("deadline = \"10s\"", drain);
    let settings = FileSettings { groups: format!("{group}{STOP}"), ..FileSettings::default() };
    let host = FileHost::start(settings).await.unwrap();
    host.blue.on("/socket", Action::Upgrade);
    let mut socket = Client::connect(host.nginx.address("main").unwrap()).await.unwrap();
    let asked = socket.request("GET", "/socket", &[("connection", "upgrade"), ("upgrade", "echo")]).await;
    assert_eq!(asked.unwrap().status, 101);
    (host, socket)
}

fn message(host: &FileHost) -> String {
    let status = host.daemon.status("shop").unwrap();
    status.pointer("/deployment/message").and_then(|message| message.as_str()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_slot_is_not_stopped_before_they_have_gone() {
    let (host, mut socket) = with_session("deadline = \"60s\"").await;
    let mut deployment = host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("draining").await.unwrap();
    let blue = |host: &FileHost| host.daemon.status("shop").unwrap()["slots"][0]["traffic"].clone();
    let traffic = blue(&host);
    assert_eq!((&traffic["kind"], &traffic["workers"]), (&"old_workers".into(), &1.into()), "{traffic}");
    let grows = || blue(&host)["for_s"].as_u64() >= Some(2);
    wait::until("the worker to grow older", grows).await.unwrap();
    assert_eq!(socket.echo(b"still here").await.unwrap(), b"still here");
    assert!(!host.path("stopped").exists(), "{}", message(&host));
    drop(socket);
    deployment.finish().await.unwrap().assert_ended("completed", 0).unwrap();
    let stopped = host.path("stopped");
    wait::until("the old slot to be stopped", || stopped.exists()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_the_drain_ends_the_wait() {
    let (host, _socket) = with_session("deadline = \"500ms\"").await;
    let deployed = host.deploy("2").await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let said = deployed.events.iter().map(|event| event.message.as_str()).collect::<Vec<_>>().join("\n");
    assert!(
        said.contains(
            "slot \"blue\" still may get requests from 1 old worker of nginx, which has been shutting"
        ),
        "{said}"
    );
    let stopped = host.path("stopped");
    wait::until_within(Duration::from_secs(30), "the old slot to be stopped", || stopped.exists())
        .await
        .unwrap();
    fs::remove_file(stopped).unwrap();
}

/// A worker that was started after the last change knows only the present slot.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_for_another_reason_holds_nothing_up() {
    let (host, mut first) = with_session("deadline = \"20s\"").await;
    let changed = fs::metadata(host.file()).unwrap().modified().unwrap();
    let is_past = || changed.elapsed().is_ok_and(|elapsed| elapsed > Duration::from_secs(2));
    wait::until("the file to be older than the next worker", is_past).await.unwrap();
    host.nginx.reload().await.unwrap();
    let mut socket = Client::connect(host.nginx.address("main").unwrap()).await.unwrap();
    let asked = socket.request("GET", "/socket", &[("connection", "upgrade"), ("upgrade", "echo")]).await;
    assert_eq!(asked.unwrap().status, 101);
    host.nginx.reload().await.unwrap();
    let slots = host.daemon.status("shop").unwrap()["slots"].clone();
    assert_eq!(
        slots[1]["traffic"]["workers"], 1,
        "only the worker from before the file was written: {slots}"
    );
    assert_eq!(first.echo(b"a").await.unwrap(), b"a");
    assert_eq!(socket.echo(b"b").await.unwrap(), b"b");
}
