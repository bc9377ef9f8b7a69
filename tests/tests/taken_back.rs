//! An operator puts a change on trial during a soak, and the module takes the traffic back: the rest of the rollback follows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Backend, Nginx, TestHost, wait};

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_change_during_the_soak_brings_the_rest_of_the_rollback() {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    let http = "cutover_state %%prefix%%/state;
        upstream shop_blue { server %%blue%%; }
        upstream shop_green { server %%green%%; }
        cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
        server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
        server { listen %%admin%%; location / { cutover_api write=on; } }";
    let nginx = Nginx::builder().http(http).set("blue", blue.address()).set("green", green.address());
    // The daemon looks every 5 s, so it does not see the change before the module has taken it back.
    let groups = GROUP_WITHOUT_TRAFFIC
        .replace("duration = \"100ms\"", "duration = \"30s\"")
        .replace("interval = \"50ms\"", "interval = \"5s\"");
    let host = TestHost::start(nginx, &groups).await.unwrap();
    let mut deployment = host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    // Twice, as a change to the slot that has the traffic has no fallback.
    host.nginx.admin().change_json("shop", r#"{ "active": "blue" }"#).await.unwrap();
    let trial = r#"{ "active": "green", "lease_ms": 1000 }"#;
    host.nginx.admin().change_json("shop", trial).await.unwrap();
    wait::until_async(wait::PATIENCE, "the lease to end", async || {
        host.nginx.admin().group("shop").await.is_ok_and(|group| group.route.active == "blue")
    })
    .await
    .unwrap();
    let deployed = deployment.finish().await.unwrap();
    assert_eq!((deployed.outcome.as_str(), deployed.code), ("rolled_back", 4), "{deployed:#?}");
    let said: Vec<_> = deployed.events.iter().map(|event| event.message.as_str()).collect();
    assert!(said.iter().any(|said| said.contains("the lease of the last change")), "{said:#?}");
    assert_eq!(host.active().await.unwrap(), "blue");
}
