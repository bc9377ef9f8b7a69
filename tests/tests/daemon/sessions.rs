//! A WebSocket outlives the warm window, and a restart of the daemon.

use cutover_tests::test_edge::UPSTREAMS;
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Action, Backend, Client, Nginx, TestEdge, TestHost, wait};

const LOCATION: &str = "location / {
    proxy_set_header Connection upgrade;
    proxy_set_header Upgrade $http_upgrade;
    proxy_pass http://shop;
}";

const STOP: &str = r#"
    [group.shop.decommission]
    command = ["/usr/bin/touch", "%%folder%%/stopped"]
    wait_for_sessions = "1h"
"#;

/// Whether `cutover status` says that the old slot waits for its session.
fn waits(host: &TestHost) -> bool {
    let status = host.daemon.status("shop").unwrap();
    let text = |pointer| status.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default();
    text("/deployment/phase") == "warm"
        && text("/deployment/message").contains("slot \"blue\" holds 1 connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_keeps_the_old_slot_up() {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    blue.on("/socket", Action::Upgrade);
    let nginx = Nginx::builder()
        .set("blue", blue.address())
        .set("green", green.address())
        .http(&TestEdge::http(UPSTREAMS, LOCATION));
    let group = GROUP_WITHOUT_TRAFFIC.replace("warm = \"1h\"", "warm = \"200ms\"");
    let drain = "[group.shop.drain]\ndeadline = \"100ms\"\n";
    let mut host = TestHost::start(nginx, &format!("{group}{drain}{STOP}")).await.unwrap();

    let mut socket = Client::connect(host.nginx.address("main").unwrap()).await.unwrap();
    let asked = socket.request("GET", "/socket", &[("connection", "upgrade"), ("upgrade", "echo")]).await;
    assert_eq!(asked.unwrap().status, 101);
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    wait::until("the warm window to be over", || waits(&host)).await.unwrap();

    host.daemon.kill().unwrap();
    host.daemon.resume().await.unwrap();
    wait::until("the restarted daemon to wait", || waits(&host)).await.unwrap();
    assert_eq!(socket.echo(b"still here").await.unwrap(), b"still here");
    let stopped = host.path("stopped");
    assert!(!stopped.exists(), "{}", host.daemon.log());

    drop(socket);
    wait::until("the old slot to be stopped", || stopped.exists()).await.unwrap();
    let over = || host.daemon.status("shop").unwrap()["deployment"]["phase"] == "completed";
    wait::until("the end of the deployment", over).await.unwrap();
}
