//! Promises 5 and 6: a deployment ends by itself, also when the daemon never comes back, and a bad version is taken back at request
//! speed.

use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Action, Backend, Nginx, TestHost, wait};

struct Site {
    host: TestHost,
    _blue: Backend,
    green: Backend,
}

async fn start(trial: &str) -> Site {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    let http = "cutover_state %%prefix%%/state;
        upstream shop_blue { server %%blue%%; }
        upstream shop_green { server %%green%%; }
        cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
        server {
            listen %%listen:main%%;
            location / { proxy_pass http://shop; proxy_next_upstream error timeout http_500; }
        }
        server { listen %%admin%%; location / { cutover_api write=on; } }";
    let nginx = Nginx::builder().http(http).set("blue", blue.address()).set("green", green.address());
    let groups = GROUP_WITHOUT_TRAFFIC.replace("duration = \"100ms\"", "duration = \"8s\"");
    let host = TestHost::start(nginx, &format!("{groups}\n[group.shop.trial]\n{trial}")).await.unwrap();
    Site { host, _blue: blue, green }
}

impl Site {
    async fn until_active(&self, slot: &str) {
        let what = format!("{slot} to have the traffic");
        let is_active = async || self.host.active().await.is_ok_and(|active| active == slot);
        wait::until_async(wait::PATIENCE, &what, is_active).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_for_good_leaves_the_traffic_on_the_old_version() {
    let mut site = start("lease = \"2s\"").await;
    let mut deployment = site.host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    site.until_active("green").await;
    site.host.daemon.kill().unwrap();
    site.until_active("blue").await;
    site.host.daemon.resume().await.unwrap();
    let deployed = deployment.finish().await.unwrap();
    assert_eq!((deployed.outcome.as_str(), deployed.code), ("rolled_back", 4), "{deployed:#?}");
    let message = &deployed.events.last().unwrap().message;
    assert!(message.contains("the lease of the last change"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_shorter_than_the_soak_is_renewed() {
    let site = start("lease = \"3s\"").await;
    let mut deployment = site.host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let route = site.host.nginx.admin().group("shop").await.unwrap().route;
    assert_eq!(route.active, "green");
    assert!(route.trial.is_some(), "it is on trial until the soak is over");
    site.host.run("cutover abort shop").unwrap();
    assert_eq!(deployment.finish().await.unwrap().outcome, "rolled_back");
}

/// Users start to get errors from the new version only. Rescue answers them from the old one, and the guard goes back.
#[tokio::test(flavor = "multi_thread")]
async fn no_user_sees_the_errors_of_a_bad_version() {
    let site = start("").await;
    let users = site.host.users().unwrap();
    let mut deployment = site.host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    users.more_good(5).await.unwrap();
    site.green.on("/", Action::status(500));
    let deployed = deployment.finish().await.unwrap();
    assert_eq!((deployed.outcome.as_str(), deployed.code), ("rolled_back", 4), "{deployed:#?}");
    assert_eq!(users.answers().1, 0, "errors that users saw");
}
