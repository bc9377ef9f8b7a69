//! A site without users: the daemon sends requests of its own during the soak.

use cutover_tests::daemon::Deployed;
use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP;
use cutover_tests::{Action, Backend, Nginx, TestEdge, TestHost};

const SYNTHETIC: &str = r#"
    [group.shop.soak.synthetic]
    path = "/page?of={slot}"
    interval = "100ms"
    timeout = "1s"
    headers = { x-request-id = "version {version}" }
"#;

/// Deploys version 2, which does this on its page. Returns the result, green's server and the requests that nginx has counted.
async fn deployed(action: impl Into<Action>) -> (Deployed, Backend, u64) {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    green.on("/page?of=green", action);
    let nginx = Nginx::builder()
        .set("blue", blue.address())
        .set("green", green.address())
        .http(&TestEdge::http(UPSTREAMS, LOCATION));
    let host = TestHost::start(nginx, &format!("{GROUP}{SYNTHETIC}")).await.unwrap();
    let deployed = host.deploy("2").await.unwrap();
    assert_eq!(blue.truth().targets.get("/page"), None, "only the new slot is asked");
    let group = host.nginx.admin().group("shop").await.unwrap();
    (deployed, green, group.slots.iter().map(|slot| slot.counters.requests).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_completes() {
    let (deployed, green, counted) = deployed(Action::status(200)).await;
    deployed.assert_ended("completed", 0).unwrap();
    let good = deployed.events.iter().find(|event| event.message.starts_with("good: ")).unwrap();
    assert!(good.message.contains(" of them synthetic, 0 of them errors"), "{}", good.message);
    assert!(green.truth().ids["version 2"] >= 5, "{:?}", green.truth());
    assert_eq!(counted, 0, "nginx does not see them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_is_taken_back() {
    let (deployed, ..) = deployed(Action::status(503)).await;
    deployed.assert_ended("rolled_back", 4).unwrap();
    let said = &deployed.events.last().unwrap().message;
    assert!(said.contains(" times 503)") && said.contains(" of them synthetic"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_hangs_is_taken_back() {
    let (deployed, ..) = deployed(Action::Hang).await;
    deployed.assert_ended("rolled_back", 4).unwrap();
}
