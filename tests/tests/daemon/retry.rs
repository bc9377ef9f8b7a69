//! A CI job that deploys a bad version again after it was taken back.

use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP;
use cutover_tests::{Action, Backend, Nginx, TestEdge, TestHost};

#[tokio::test(flavor = "multi_thread")]
async fn users_see_a_bad_version_once() {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    green.on("/", Action::status(500));
    green.on("/health/ready", Action::status(200));
    let nginx = Nginx::builder()
        .set("blue", blue.address())
        .set("green", green.address())
        .http(&TestEdge::http(UPSTREAMS, LOCATION));
    let host = TestHost::start(nginx, GROUP).await.unwrap();
    let users = host.users().unwrap();
    users.more(15).await.unwrap();
    host.deploy("2").await.unwrap().assert_ended("rolled_back", 4).unwrap();
    let seen = green.truth().answered.get(&500).copied();
    let again = host.deploy("2").await.unwrap();
    assert_eq!((again.code, again.outcome.as_str()), (1, ""), "{again:?}");
    let advice = again.stderr.trim_end().rsplit_once("to deploy it again: ").unwrap().1;
    assert_eq!(advice, "cutover deploy shop --version 2 --again");
    assert_eq!(green.truth().answered.get(&500).copied(), seen);
    green.on("/", Action::status(200));
    host.run(advice).unwrap();
    assert_eq!(host.active().await.unwrap(), "green");
}
