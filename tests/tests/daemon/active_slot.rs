//! The active slot without a deployment: what the daemon says about it, whether the command that it names helps, and what it
//! knows of it when the next deployment begins.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use cutover_tests::nginx::Builder;
use cutover_tests::site::{self, Release, Settings, Site, slot};
use cutover_tests::test_host::GROUP;
use cutover_tests::{Action, Backend, Daemon, Nginx, TestHost, client, ports, wait};
use serde_json::Value;

fn nginx(blue: &Backend, green: &Backend) -> Builder {
    let http = "
        cutover_state %%prefix%%/state;
        upstream shop_blue { server %%blue%%; }
        upstream shop_green { server %%green%%; }
        cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
        server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
        server { listen %%admin%%; location / { cutover_api write=on; } }";
    Nginx::builder().http(http).set("blue", blue.address()).set("green", green.address())
}

async fn backends() -> (Backend, Backend) {
    (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap())
}

/// Waits until `cutover status shop --json` has this state and, for trouble, the command that helps.
async fn until(daemon: &Daemon, state: &str) -> Value {
    let is_trouble = ["dead", "bad"].contains(&state);
    let health = || {
        let health = daemon.status("shop").ok()?.get("health")?.clone();
        let is_there = health.get("state")? == state && (!is_trouble || health.get("next").is_some());
        is_there.then_some(health)
    };
    let (limit, what) = (Duration::from_secs(60), format!("the active slot to be {state}"));
    let found = wait::until_some(limit, &what, health).await;
    found.with_context(|| format!("{:?}\n{}", daemon.status("shop"), daemon.log())).unwrap()
}

/// What `cutover status` prints.
fn text(daemon: &Daemon) -> String {
    String::from_utf8_lossy(&daemon.cli(&["status"]).unwrap().stdout).into_owned()
}

/// The lines of the log about the health of the active slot.
fn told(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    log.lines().filter(|line| line.contains("the active slot is ")).map(str::to_owned).collect()
}

/// Starts the daemon again with metrics, and returns their address.
async fn serve_metrics(daemon: &mut Daemon) -> SocketAddr {
    let address = ports::free().unwrap();
    daemon.stop().await.unwrap();
    let text = fs::read_to_string(daemon.config()).unwrap();
    let text = text.replacen("[daemon]", &format!("[daemon]\nmetrics = \"{address}\""), 1);
    fs::write(daemon.config(), text).unwrap();
    daemon.resume().await.unwrap();
    address
}

/// Waits until the gauges `cutover_active_slot_healthy` and `cutover_active_slot_bad` of a slot have these values.
async fn until_gauges(metrics: SocketAddr, slot: &str, healthy: u8, bad: u8) {
    let is_so = async || {
        let Ok(page) = client::get(metrics, "/metrics").await else { return false };
        let page = String::from_utf8_lossy(&page.body).into_owned();
        let has = |gauge: &str, value: u8| {
            let line = format!("cutover_active_slot_{gauge}{{group=\"shop\",slot=\"{slot}\"}} {value}");
            page.lines().any(|there| there == line)
        };
        has("healthy", healthy) && has("bad", bad)
    };
    wait::until_async(wait::PATIENCE, "the gauges of the active slot", is_so).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_dies_is_told_and_the_command_helps() {
    let (mut blue, mut green) = backends().await;
    let mut host = TestHost::start(nginx(&blue, &green), GROUP).await.unwrap();
    let metrics = serve_metrics(&mut host.daemon).await;
    let users = host.users().unwrap();
    until(&host.daemon, "healthy").await;
    assert!(text(&host.daemon).contains("  healthy for "), "{}", text(&host.daemon));
    until_gauges(metrics, "blue", 1, 0).await;
    blue.stop().await;
    let dead = until(&host.daemon, "dead").await;
    assert!(dead["why"].as_str().unwrap().starts_with(&blue.address().to_string()), "{dead}");
    let next = dead["next"].as_str().unwrap();
    assert_eq!(next, "cutover switch shop --to green");
    until_gauges(metrics, "blue", 0, 0).await;
    let said = text(&host.daemon);
    assert!(said.starts_with("shop: slot \"blue\" is DEAD for "), "{said}");
    assert!(said.contains(&format!("  next       {next}  ")), "{said}");
    host.run(next).unwrap();
    users.more_good(20).await.unwrap();
    until(&host.daemon, "healthy").await;
    until_gauges(metrics, "blue", 1, 0).await;
    green.stop().await;
    until(&host.daemon, "dead").await;
    green.resume().await.unwrap();
    until(&host.daemon, "healthy").await;
    until_gauges(metrics, "green", 1, 0).await;
    let told = told(&host.daemon);
    let [first, second, last] = told.as_slice() else { panic!("one line for each change: {told:#?}") };
    assert!(first.contains("ERROR") && first.contains(&format!("next, type: {next}")), "{first}");
    assert!(second.contains("the active slot is dead: "), "{second}");
    assert!(last.contains("INFO") && last.contains("the active slot is healthy again"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_fail_users_are_told_although_the_health_page_is_fine() {
    let (blue, green) = backends().await;
    let mut host = TestHost::start(nginx(&blue, &green), GROUP).await.unwrap();
    let metrics = serve_metrics(&mut host.daemon).await;
    green.on("/", Action::status(503));
    let users = host.users().unwrap();
    users.more_good(50).await.unwrap();
    until(&host.daemon, "healthy").await;
    blue.on("/", Action::status(500));
    blue.on("/health/ready", Action::status(200));
    let bad = until(&host.daemon, "bad").await;
    let why = bad["why"].as_str().unwrap();
    assert!(
        why.contains(" answers of blue are errors, ") && why.contains(" times 500); limit: 1 %"),
        "{why}"
    );
    assert_eq!(
        bad["next"], "deploy a version that works, as by: cutover deploy shop --version VERSION",
        "the other slot is not healthy"
    );
    until_gauges(metrics, "blue", 1, 1).await;
    assert!(text(&host.daemon).starts_with("shop: slot \"blue\" is BAD for "), "{}", text(&host.daemon));
    // A version that works is deployed, as it says.
    green.on("/", Action::status(200));
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    until(&host.daemon, "healthy").await;
    until_gauges(metrics, "blue", 1, 0).await;
    until_gauges(metrics, "green", 1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_dies_in_its_warm_window_is_rolled_back_by_the_command() {
    let (blue, mut green) = backends().await;
    let warm = GROUP.replace("warm = \"1s\"", "warm = \"1h\"");
    let host = TestHost::start(nginx(&blue, &green), &warm).await.unwrap();
    let users = host.users().unwrap();
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    until(&host.daemon, "healthy").await;
    green.stop().await;
    let dead = until(&host.daemon, "dead").await;
    assert_eq!(dead["next"], "cutover rollback shop");
    host.run(dead["next"].as_str().unwrap()).unwrap();
    users.more_good(20).await.unwrap();
    assert_eq!(host.active().await.unwrap(), "blue");
}

/// The host is started again: nginx and the daemon are enabled, the application is not.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_the_application_is_started_by_the_command() {
    let mut site = Site::start(Settings { min_requests: 5, ..Settings::default() }).await.unwrap();
    let prefix = site.prefix().unwrap().to_owned();
    Release::new("2.0.0", 2, None).publish(&prefix).unwrap();
    let traffic = site.traffic().await.unwrap();
    let deployed = site.daemon().unwrap().deploy(site::GROUP, "2.0.0").await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    traffic.stop().await.unwrap();
    site.daemon().unwrap().kill().unwrap();
    site.nginx().unwrap().stop().await.unwrap();
    for slot in site::SLOTS {
        slot::stop(&prefix, slot).unwrap();
    }
    site.nginx().unwrap().start().await.unwrap();
    site.daemon().unwrap().resume().await.unwrap();
    let daemon = site.daemon().unwrap();
    let dead = until(daemon, "dead").await;
    let next = dead["next"].as_str().unwrap().to_owned();
    assert_eq!(next, "cutover run shop provision");
    assert!(text(daemon).starts_with("shop: slot \"green\" is DEAD for "), "{}", text(daemon));
    wait::until("the log to say it", || told(daemon).iter().any(|line| line.contains(&next))).await.unwrap();
    let words: Vec<&str> = next.split_whitespace().skip(1).collect();
    let done = daemon.cli(&words).unwrap();
    assert!(done.status.success(), "{done:?}");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(said, format!("provision of deployment {} succeeded\n", deployed.events[0].deployment));
    until(daemon, "healthy").await;
    let again = daemon.cli(&words).unwrap();
    let refused = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        refused.contains("slot \"green\" has the traffic, and 1 of its 1 servers is healthy"),
        "{refused}"
    );
    assert!(slot::running(&prefix, "green").is_some() && slot::running(&prefix, "blue").is_none());
    let traffic = site.traffic().await.unwrap();
    let seen = traffic.stop().await.unwrap();
    assert_eq!(seen.report.failed(), 0, "{}", seen.report);
}

/// Four good answers and a bad one, again and again.
async fn users(address: SocketAddr, rounds: usize) {
    for _ in 0..rounds {
        for target in ["/", "/", "/", "/", "/broken"] {
            let _ = client::get(address, target).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A version that everybody knows to fail each fifth request is followed by one that does the same. Nobody sends requests in the
/// few moments between the begin of the deployment and the switch.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_compared_with_the_minutes_before_its_deployment() {
    for (baseline, outcome) in [("10m", "completed"), ("0s", "rolled_back")] {
        let (blue, green) = backends().await;
        let group = GROUP.replace("interval = \"100ms\"\n    min", &format!(
            "interval = \"100ms\"\n    baseline = \"{baseline}\"\n    signals = {{ attempts = false, p50 = false, p95 = false, \
             p99 = false, whole_p95 = false }}\n    min"
        ));
        let trial = "[group.shop.trial]\nguard = false\nrescue = false\n";
        let host = TestHost::start(nginx(&blue, &green), &format!("{group}{trial}")).await.unwrap();
        blue.on("/broken", Action::status(500));
        green.on("/broken", Action::status(500));
        let address = host.nginx.address("main").unwrap();
        until(&host.daemon, "healthy").await;
        users(address, 60).await;
        wait::until("the daemon to have read the counters", || {
            host.daemon.status("shop").is_ok_and(|status| status["health"]["state"] == "bad")
        })
        .await
        .unwrap();
        let mut deployment = host.daemon.begin_deploy("shop", "2").unwrap();
        let first = deployment.next().await.unwrap().unwrap().message;
        let compared = first.contains(" s of slot \"blue\", 300 answers; ");
        assert_eq!(compared, outcome == "completed", "{first}");
        deployment.phase("soaking").await.unwrap();
        let more = tokio::spawn(users(address, usize::MAX));
        let ended = deployment.finish().await.unwrap();
        more.abort();
        assert_eq!(ended.outcome, outcome, "baseline {baseline}: {ended:#?}");
    }
}
