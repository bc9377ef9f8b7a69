//! The wall clock is set between two runs of the daemon: no deadline of an open deployment moves.

use std::time::Duration;

use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Backend, Nginx, SteppingClock, TestEdge, TestHost};

const DAY: i64 = 24 * 3600;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_ends_no_warm_window_and_prolongs_none() {
    let Some(clock) = SteppingClock::new().unwrap() else { return };
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    let nginx = Nginx::builder()
        .http(&TestEdge::http(UPSTREAMS, LOCATION))
        .set("blue", blue.address())
        .set("green", green.address());
    let mut host = TestHost::start(nginx, GROUP_WITHOUT_TRAFFIC).await.unwrap();
    assert_eq!(host.deploy("2").await.unwrap().code, 0);
    let shown = |host: &TestHost| host.daemon.status("shop").unwrap()["deployment"].clone();
    let before = shown(&host);
    assert_eq!(before["phase"], "warm");
    assert!(before["message"].as_str().unwrap().contains("stays warm until"), "{before}");
    host.daemon.set_variables(clock.variables());
    for seconds in [DAY, -DAY] {
        clock.set(seconds).unwrap();
        host.daemon.stop().await.unwrap();
        host.daemon.resume().await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = shown(&host);
        assert_eq!((&now["phase"], &now["message"]), (&before["phase"], &before["message"]), "{seconds}");
    }
    host.run("cutover rollback shop").unwrap();
    assert_eq!(host.active().await.unwrap(), "blue");
}
