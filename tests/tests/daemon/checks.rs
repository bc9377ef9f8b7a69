//! Probes and smoke tests of every kind, against real servers.

mod commands;
mod door;
mod grpc;
#[path = "../module/protocols/packets.rs"]
mod packets;
mod redirects;
mod smoke;
mod tls;

use std::net::SocketAddr;

use cutover_tests::daemon::Deployed;
use cutover_tests::nginx::Builder;
use cutover_tests::{Backend, Nginx, TestHost};

/// The group with a probe of these keys. The soak needs no users.
fn group(probe: &str) -> String {
    format!(
        "[group.shop]
        warm = \"1h\"
        [group.shop.probe]
        {probe}
        interval = \"20ms\"
        deadline = \"2s\"
        [group.shop.soak]
        duration = \"100ms\"
        interval = \"50ms\"
        on_inconclusive = \"promote\"
        "
    )
}

/// nginx over these two servers, and the daemon.
async fn host(blue: SocketAddr, green: SocketAddr, groups: &str) -> TestHost {
    TestHost::start(nginx(blue, green, "proxy_pass http://shop;"), groups).await.unwrap()
}

fn nginx(blue: SocketAddr, green: SocketAddr, pass: &str) -> Builder {
    Nginx::builder().set("blue", blue).set("green", green).set("pass", pass).http(
        "cutover_state %%prefix%%/state;
        upstream shop_blue { server %%blue%%; }
        upstream shop_green { server %%green%%; }
        cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
        server { listen %%listen:main%%; location / { %%pass%% } }
        server { listen %%admin%%; location / { cutover_api write=on; } }",
    )
}

async fn backends() -> (Backend, Backend) {
    (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap())
}

/// Whether a message of the deployment contains this.
fn said(deployed: &Deployed, text: &str) -> bool {
    deployed.events.iter().any(|event| event.message.contains(text))
}

/// The last message, of a deployment that must fail before the switch.
fn failed(deployed: &Deployed) -> &str {
    deployed.assert_ended("failed", 3).unwrap();
    &deployed.events.last().unwrap().message
}
