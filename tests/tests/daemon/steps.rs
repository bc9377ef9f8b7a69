//! Deployments in steps over a real nginx: shares, promotions, pauses, and what goes wrong in them.

use std::time::Duration;

use cutover_tests::daemon::Deployment;
use cutover_tests::process::{self, Pid, Signal};
use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Action, Admin, Backend, Nginx, TestEdge, TestHost, wait};
use hyper::Method;
use serde_json::Value;

struct Site {
    host: TestHost,
    _blue: Backend,
    green: Backend,
}

async fn start(steps: &str) -> Site {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    let nginx = Nginx::builder()
        .http(&TestEdge::http(UPSTREAMS, LOCATION))
        .set("blue", blue.address())
        .set("green", green.address());
    let groups = GROUP_WITHOUT_TRAFFIC
        .replace("warm = \"1h\"", &format!("warm = \"1h\"\nsteps = {steps}"))
        .replace("duration = \"100ms\"", "duration = \"1s\"");
    Site { host: TestHost::start(nginx, &groups).await.unwrap(), _blue: blue, green }
}

impl Site {
    fn deploy(&self) -> Deployment {
        self.host.daemon.begin_deploy("shop", "2").unwrap()
    }

    /// The share of green in percent.
    async fn share(&self) -> Option<f64> {
        let route = self.host.nginx.admin().group("shop").await.unwrap().route;
        route.split.and_then(|split| split.get("green").map(|percent| f64::from(*percent)))
    }

    async fn until_share(&self, percent: f64) {
        let what = format!("green to have {percent} %");
        wait::until_async(wait::PATIENCE, &what, async || self.share().await == Some(percent)).await.unwrap();
    }

    fn phase(&self) -> String {
        let status = self.host.daemon.status("shop").unwrap();
        status["deployment"]["phase"].as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_gets_more_and_more_and_no_request_fails() {
    let site = start("[\"1% 500ms\", \"10% 500ms\", \"100%\"]").await;
    let users = site.host.users().unwrap();
    let deployed = site.deploy().finish().await.unwrap();
    assert_eq!((deployed.outcome.as_str(), deployed.code), ("completed", 0), "{deployed:#?}");
    assert_eq!(users.answers().1, 0, "failed requests");
    assert_eq!(site.host.active().await.unwrap(), "green");
    let said: Vec<&str> = deployed.events.iter().map(|event| event.message.as_str()).collect();
    for line in
        ["slot \"green\" has 1 % of the traffic", "slot \"green\" has 10 % of the traffic", "switched to"]
    {
        assert!(said.iter().any(|message| message.contains(line)), "{line}: {said:#?}");
    }
    let group = site.host.nginx.admin().group("shop").await.unwrap();
    assert!(group.route.trial.is_none() && group.route.split.is_none(), "{:?}", group.route);
}

/// Promoted, paused and resumed by what the messages advise, over a reload of nginx and restarts of the daemon.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_decides_when_the_next_step_begins() {
    let mut site = start("[\"5% manual\", \"50% manual\", \"100%\"]").await;
    let mut deployment = site.deploy();
    deployment.phase("soaking").await.unwrap();
    site.until_share(5.0).await;
    let why = site.host.refused("cutover resume shop").unwrap();
    assert!(why.contains("waits for the next step: cutover promote shop"), "{why}");
    site.host.nginx.reload().await.unwrap();
    site.host.daemon.kill().unwrap();
    site.host.daemon.resume().await.unwrap();
    assert_eq!((site.phase().as_str(), site.share().await), ("soaking", Some(5.0)));

    site.host.run("cutover promote shop").unwrap();
    site.until_share(50.0).await;
    site.host.run("cutover pause shop").unwrap();
    let why = site.host.refused("cutover pause shop").unwrap();
    assert!(why.contains("it is paused already") && why.contains("cutover resume shop"), "{why}");
    let status = site.host.daemon.cli(&["status", "shop"]).unwrap();
    let shown = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(shown.contains(": soaking, step 2 of 3, paused by root"), "{shown}");
    let why = site.host.refused("cutover deploy shop --version 3").unwrap();
    assert!(why.contains("to follow it: cutover watch shop; to end it: cutover abort shop"), "{why}");
    site.host.daemon.stop().await.unwrap();
    site.host.daemon.resume().await.unwrap();
    site.host.run("cutover resume shop").unwrap();
    assert_eq!(site.share().await, Some(50.0), "a resumed deployment waits for its promotion");
    site.host.run("cutover promote shop").unwrap();
    wait::until_async(wait::PATIENCE, "green to have all", async || {
        site.host.active().await.is_ok_and(|active| active == "green")
    })
    .await
    .unwrap();
    let deployed = site.host.daemon.follow(deployment).await.unwrap();
    assert_eq!(deployed.outcome, "completed", "{deployed:#?}");
    let why = site.host.refused("cutover promote shop").unwrap();
    assert!(why.contains("cutover rollback shop"), "{why}");
    site.host.run("cutover rollback shop").unwrap();
    assert_eq!(site.host.active().await.unwrap(), "blue");
    let why = site.host.refused("cutover pause shop").unwrap();
    assert!(why.contains("no deployment under way: there is nothing to pause"), "{why}");
}

/// Two operators who promote at once end one step, not two: a promotion names its step.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_of_another_step_is_refused() {
    let site = start("[\"5% manual\", \"50% manual\", \"100%\"]").await;
    let mut deployment = site.deploy();
    deployment.phase("soaking").await.unwrap();
    let daemon = Admin::new(site.host.path("cutover.sock"));
    let promote = async |step: usize| {
        let path = format!("/v1/groups/shop/promote?step={step}");
        daemon.raw(Method::POST, &path, &[("Content-Type", "application/json")], "null").await.unwrap()
    };
    let refused = async |step: usize, why: &str| {
        let reply = promote(step).await;
        assert!(reply.status == 409 && reply.body.contains(why), "{reply:?}");
    };
    refused(2, "step 2 is not under way: step 1 is").await;
    assert_eq!(site.share().await, Some(5.0));
    assert_eq!(promote(1).await.status, 202);
    site.until_share(50.0).await;
    refused(1, "step 1 is not under way: step 2 is").await;
    assert_eq!(site.share().await, Some(50.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_bad_for_a_share_is_taken_back_from_all() {
    let site = start("[\"50% manual\", \"100%\"]").await;
    let users = site.host.users().unwrap();
    let mut deployment = site.deploy();
    deployment.phase("soaking").await.unwrap();
    site.until_share(50.0).await;
    users.more_good(5).await.unwrap();
    site.green.on("/", Action::status(500));
    let deployed = deployment.finish().await.unwrap();
    assert_eq!((deployed.outcome.as_str(), deployed.code), ("rolled_back", 4), "{deployed:#?}");
    let route = site.host.nginx.admin().group("shop").await.unwrap().route;
    assert!(route.is_all_on("blue"), "{route:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn aborts_and_switches_by_hand_in_a_step() {
    let site = start("[\"10% manual\", \"100%\"]").await;
    let mut deployment = site.deploy();
    deployment.phase("soaking").await.unwrap();
    site.until_share(10.0).await;
    let why = site.host.refused("cutover switch shop --to green").unwrap();
    assert!(why.contains("is soaking"), "{why}");
    site.host.run("cutover abort shop").unwrap();
    assert_eq!(deployment.finish().await.unwrap().outcome, "rolled_back");
    assert!(site.host.nginx.admin().group("shop").await.unwrap().route.is_all_on("blue"));

    let mut deployment = site.deploy();
    deployment.phase("soaking").await.unwrap();
    site.until_share(10.0).await;
    // Somebody else, who does not ask the daemon.
    site.host.nginx.admin().switch("shop", "blue").await.unwrap();
    let deployed = deployment.finish().await.unwrap();
    assert_eq!((deployed.outcome.as_str(), deployed.code), ("stuck", 5), "{deployed:#?}");
}

/// A daemon that is killed in a step and does not come back leaves all users on the old version.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_gone_for_good_takes_its_share_with_it() {
    let mut site = start("[\"10% manual\", \"100%\"]\n[group.shop.trial]\nlease = \"2s\"").await;
    let mut deployment = site.deploy();
    deployment.phase("soaking").await.unwrap();
    site.until_share(10.0).await;
    site.host.daemon.kill().unwrap();
    wait::until_async(wait::PATIENCE, "all traffic on blue", async || {
        site.host.nginx.admin().group("shop").await.is_ok_and(|group| group.route.is_all_on("blue"))
    })
    .await
    .unwrap();
    site.host.daemon.resume().await.unwrap();
    let deployed = site.host.daemon.follow(deployment).await.unwrap();
    assert_eq!(deployed.outcome, "rolled_back", "{deployed:#?}");
}

/// `cutover watch` shows a deployment from its beginning. Whoever interrupts it is told how to go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_watched_again_after_an_interruption() {
    let site = start("[\"10% manual\", \"100%\"]").await;
    let mut deployment = site.deploy();
    deployment.phase("soaking").await.unwrap();
    let mut watch = site.host.daemon.command(&["watch", "shop"]);
    let watch =
        watch.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let pid = Pid::from_raw(i32::try_from(watch.id()).unwrap()).unwrap();
    process::signal(pid, Signal::INT).unwrap();
    let ended = watch.wait_with_output().unwrap();
    let (out, why) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.code(), Some(130), "{out}\n{why}");
    assert!(out.contains("deploying version \"2\"") && out.contains("10 % of the traffic"), "{out}");
    assert!(why.contains("to follow it: cutover watch shop; to end it: cutover abort shop"), "{why}");
    assert_eq!(site.phase(), "soaking", "the deployment goes on");
    let again = site.host.daemon.begin_watch("shop").unwrap();
    site.host.run("cutover promote shop").unwrap();
    let (seen, deployed) = (again.finish().await.unwrap(), deployment.finish().await.unwrap());
    assert_eq!((seen.outcome.as_str(), seen.code), ("completed", 0), "{seen:#?}");
    assert_eq!(deployed.outcome, "completed");
    let status: Value = site.host.daemon.status("shop").unwrap();
    assert_eq!(status["active"], "green", "{status}");
}
