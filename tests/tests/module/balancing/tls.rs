//! TLS to the slots under switches: certificates are verified and sessions are reused, as counted by the servers.

use std::fs;

use cutover_tests::test_edge::{LOCATION, TestEdge};
use cutover_tests::{Nginx, certificate, temp::TempDir};

/// The slots' TLS servers, in the same nginx, in front of the backends.
const SERVERS: &str = "
    log_format session $ssl_session_reused;
    server {
        listen %%listen:tls-blue%% ssl; ssl_certificate %%cert%%; ssl_certificate_key %%key%%;
        access_log %%prefix%%/blue.log session;
        location / { proxy_pass http://%%blue%%; }
    }
    server {
        listen %%listen:tls-green%% ssl; ssl_certificate %%cert%%; ssl_certificate_key %%key%%;
        access_log %%prefix%%/green.log session;
        location / { proxy_pass http://%%green%%; }
    }
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate %%cert%%;
    proxy_ssl_name shop.example;
";

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_reused() {
    assert_reused("server %%listen:tls-NAME%%;").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_reused_with_a_zone() {
    assert_reused("zone NAME 128k; random; server %%listen:tls-NAME%%;").await;
}

async fn assert_reused(upstream: &str) {
    let folder = TempDir::new().unwrap();
    let made = certificate::make(folder.path(), "shop.example").unwrap();
    let upstreams: String = ["blue", "green"]
        .map(|slot| format!("upstream shop_{slot} {{ {} }}", upstream.replace("NAME", slot)))
        .concat();
    // Only a new connection can reuse a session, and newer nginx keeps connections by default.
    let location = LOCATION.replace("http://shop", "https://shop; proxy_set_header Connection close");
    let builder = Nginx::builder().set("cert", made.certificate.display()).set("key", made.key.display());
    let http = TestEdge::http(&upstreams, &location) + SERVERS;
    let edge = TestEdge::start_with(builder.http(&http)).await.unwrap();
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 20).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("TLS, 20 switches", &report).unwrap();
    edge.nginx.stop().await.unwrap();
    for slot in ["blue", "green"] {
        let log = fs::read_to_string(edge.nginx.prefix().join(format!("{slot}.log"))).unwrap();
        let (all, again) = (log.lines().count(), log.lines().filter(|line| *line == "r").count());
        println!("{slot}: {again} of {all} sessions reused");
        // Each worker begins with a few concurrent full handshakes.
        assert!(all > 100 && again * 2 > all, "{slot}: {again} of {all} sessions reused");
    }
}
