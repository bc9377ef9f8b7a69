//! Soaks with signals of a real Prometheus, which scrapes the module's metrics and the application's.

mod asking;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cutover_tests::daemon::{Deployed, Deployment};
use cutover_tests::process::Signal;
use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::Users;
use cutover_tests::{Action, Backend, Nginx, Prometheus, TestEdge, TestHost, client, ports, wait};
use serde_json::json;
use tokio::task::JoinHandle;

const GROUP: &str = r#"
    [group.shop]
    warm = "1h"
    retry_after = "0s"
    [group.shop.probe]
    path = "/"
    interval = "100ms"
    [group.shop.drain]
    deadline = "1s"
    [group.shop.soak]
    duration = "7s"
    interval = "100ms"
    min_requests = 5
"#;

const SIGNAL: &str = r#"
    [[group.shop.signal]]
    name = "checkout errors"
    url = "%%prometheus%%"
    promql = '''
      (sum(rate(shop_checkouts_total{slot="{slot}",result="failed"}[{window}])) or vector(0))
        / sum(rate(shop_checkouts_total{slot="{slot}"}[{window}]))
    '''
    limit = 0.1
    window = "3s"
    for = "1s"
    interval = "500ms"
    timeout = "1s"
"#;

/// A slot of the shop: it answers every page with 200, also when each of its checkouts fails.
struct Shop {
    backend: Arc<Backend>,
    fails: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Shop {
    async fn start(slot: &str, version: u32) -> Self {
        let backend = Arc::new(Backend::start(slot).await.unwrap());
        let fails = Arc::new(AtomicBool::new(false));
        let (counted, its) = (Arc::clone(&backend), Arc::clone(&fails));
        let task = tokio::spawn(async move {
            let (mut ok, mut failed) = (0, 0);
            loop {
                *(if its.load(Ordering::Relaxed) { &mut failed } else { &mut ok }) += 1;
                let mut page = format!(
                    "shop_checkouts_total{{result=\"ok\",version=\"{version}\"}} {ok}\nshop_queue_length 3\n"
                );
                if failed > 0 {
                    let line =
                        format!("shop_checkouts_total{{result=\"failed\",version=\"{version}\"}} {failed}\n");
                    page.push_str(&line);
                }
                counted.on("/metrics", Action::status(200).body(&page));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Self { backend, fails, task }
    }

    fn fail(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Site {
    // The daemon ends before what it asks.
    host: TestHost,
    users: Users,
    prometheus: Prometheus,
    blue: Shop,
    green: Shop,
}

impl Site {
    /// Version 1 in blue, users, and a daemon with these tables. `%%prometheus%%` in them is the URL of Prometheus.
    async fn start(groups: &str) -> Self {
        let (blue, green) = (Shop::start("blue", 1).await, Shop::start("green", 2).await);
        let metrics = "server { listen %%listen:metrics%%; location /metrics { cutover_metrics; } }";
        let nginx = Nginx::builder()
            .http(&format!("{} {metrics}", TestEdge::http(UPSTREAMS, LOCATION)))
            .set("blue", blue.backend.address())
            .set("green", green.backend.address())
            .start()
            .await
            .unwrap();
        let targets = [
            (nginx.address("metrics").unwrap(), json!({})),
            (blue.backend.address(), json!({ "slot": "blue" })),
            (green.backend.address(), json!({ "slot": "green" })),
        ];
        let prometheus = Prometheus::start(&targets).await.unwrap();
        for slot in ["blue", "green"] {
            // Also for the time shortly before a deployment.
            let query = format!("rate(shop_checkouts_total{{slot=\"{slot}\"}}[3s] offset 1s)");
            prometheus.until(&query).await.unwrap();
        }
        let groups = groups.replace("%%prometheus%%", &prometheus.url());
        let daemon = cutover_tests::Daemon::start(nginx.prefix(), &groups).await.unwrap();
        let host = TestHost { daemon, nginx };
        let users = host.users().unwrap();
        Self { host, users, prometheus, blue, green }
    }

    fn deploy(&self, version: &str) -> Deployment {
        self.host.daemon.begin_deploy("shop", version).unwrap()
    }

    /// Deploys a version until its soak has begun.
    async fn soaking(&self, version: &str) -> Deployment {
        let mut deployment = self.deploy(version);
        deployment.phase("soaking").await.unwrap();
        deployment
    }
}

fn last(deployed: &Deployed) -> &str {
    &deployed.events.last().unwrap().message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_that_only_the_signal_sees_is_taken_back() {
    let mut site = Site::start(&format!("{GROUP}{SIGNAL}")).await;
    let metrics = serve_metrics(&mut site.host).await;
    site.green.fail();
    let deployment = site.soaking("2").await;
    until_gauges(metrics, ["1", "0.1", "0"]).await;
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("rolled_back", 4).unwrap();
    let said = last(&deployed);
    let why = "rolled back to slot \"blue\": signal \"checkout errors\" is 1, above its limit 0.1, for 1";
    assert!(said.contains(why), "{said}");
    assert_eq!(site.host.active().await.unwrap(), "blue");
    assert_eq!(site.users.answers().1, 0, "no user has got an error");
    until_gauges(metrics, ["NaN", "NaN", "NaN"]).await;
}

/// The same version without the signal: nothing else sees it.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_signal_it_completes() {
    let site = Site::start(&GROUP.replace("7s", "2s")).await;
    site.green.fail();
    let mut deployment = site.deploy("2");
    deployment.phase("warm").await.unwrap();
    assert_eq!(site.host.active().await.unwrap(), "green");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_completes_and_its_values_are_shown() {
    let mut site = Site::start(&format!("{GROUP}{SIGNAL}")).await;
    let metrics = serve_metrics(&mut site.host).await;
    let deployment = site.soaking("2").await;
    let signal = "signal \"checkout errors\" 0 (limit 0.1)";
    let shown = || {
        let status = site.host.daemon.cli(&["status", "shop"]).unwrap();
        String::from_utf8_lossy(&status.stdout).into_owned()
    };
    wait::until("the value in the status", || shown().contains(signal)).await.unwrap();
    assert!(shown().contains(": soaking ") && shown().contains(" answers, 0 5xx"), "{}", shown());
    let status = site.host.daemon.status("shop").unwrap();
    assert_eq!(status["deployment"]["figures"]["signals"][0]["value"], "0", "{status}");
    until_gauges(metrics, ["0", "0.1", "1"]).await;
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let good = deployed.events.iter().find(|event| event.message.starts_with("good: ")).unwrap();
    assert!(good.message.contains(&format!("; {signal}")), "{}", good.message);
    until_gauges(metrics, ["NaN", "NaN", "NaN"]).await;
}

/// Waits until value, limit and "ok" of the signal are these in the daemon's metrics.
async fn until_gauges(metrics: SocketAddr, wanted: [&str; 3]) {
    wait::until_async(wait::PATIENCE, &format!("the gauges {wanted:?}"), async || {
        let Ok(page) = client::get(metrics, "/metrics").await else { return false };
        let page = String::from_utf8_lossy(&page.body).into_owned();
        ["value", "limit", "ok"].iter().zip(wanted).all(|(name, value)| {
            let labels = "group=\"shop\",signal=\"checkout errors\"";
            page.contains(&format!("cutover_signal_{name}{{{labels}}} {value}\n"))
        })
    })
    .await
    .unwrap();
}

/// Starts the daemon again with metrics, and returns their address.
async fn serve_metrics(host: &mut TestHost) -> SocketAddr {
    let address = ports::free().unwrap();
    host.daemon.stop().await.unwrap();
    let text = fs::read_to_string(host.daemon.config()).unwrap();
    let text = text.replacen("[daemon]", &format!("[daemon]\nmetrics = \"{address}\""), 1);
    fs::write(host.daemon.config(), text).unwrap();
    host.daemon.resume().await.unwrap();
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_is_paused_delays_nothing_and_proves_nothing() {
    let site = Site::start(&format!("{GROUP}{SIGNAL}")).await;
    let deployment = site.soaking("2").await;
    let begun = Instant::now();
    site.prometheus.signal(Signal::STOP).unwrap();
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("rolled_back", 4).unwrap();
    let said = last(&deployed);
    let why = "soak inconclusive: signal \"checkout errors\" has no value: ";
    assert!(said.contains(why) && said.contains("no answer within 1s"), "{said}");
    // The rollback watches the old version for as long as the soak.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());

    // A version that is bad for users goes back all the same, and not because the time is over.
    let mut deployment = site.soaking("3").await;
    site.green.backend.on("/", Action::status(500));
    deployment.phase("rolling_back").await.unwrap();
    site.green.backend.on("/", Action::status(200));
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("rolled_back", 4).unwrap();
    assert!(!last(&deployed).contains("inconclusive"), "{}", last(&deployed));

    site.prometheus.signal(Signal::CONT).unwrap();
    site.prometheus.until("rate(shop_checkouts_total{slot=\"green\"}[3s])").await.unwrap();
    site.deploy("4").finish().await.unwrap().assert_ended("completed", 0).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_is_killed_and_comes_back_is_asked_on() {
    let extend = GROUP.replace("min_requests", "on_inconclusive = \"extend\"\nmin_requests");
    let mut site = Site::start(&format!("{extend}{SIGNAL}")).await;
    let mut deployment = site.soaking("2").await;
    site.prometheus.kill().unwrap();
    let said = loop {
        let event = deployment.next().await.unwrap().unwrap();
        if event.message.contains("the soak goes on until there is a verdict") {
            break event.message;
        }
    };
    assert!(
        said.contains("signal \"checkout errors\" has no value: ") && said.contains("no connection: "),
        "{said}"
    );
    site.prometheus.resume().await.unwrap();
    deployment.finish().await.unwrap().assert_ended("completed", 0).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_old_version_does_as_well_does_not_count() {
    let site = Site::start(&format!("{GROUP}{SIGNAL}    compare = \"old\"\n")).await;
    site.blue.fail();
    site.green.fail();
    // The old version is judged by the time before the switch.
    let failing =
        "min_over_time(rate(shop_checkouts_total{result=\"failed\",slot=\"blue\"}[3s])[3s:500ms]) > 0";
    site.prometheus.until(failing).await.unwrap();
    let no_more = "max_over_time(rate(shop_checkouts_total{result=\"ok\",slot=\"blue\"}[3s])[3s:500ms]) == 0";
    site.prometheus.until(no_more).await.unwrap();
    let deployed = site.deploy("2").finish().await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let good = deployed.events.iter().find(|event| event.message.starts_with("good: ")).unwrap();
    assert!(good.message.contains(" 1 (limit 0.1; the old version 1)"), "{}", good.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_old_version_does_not_do_counts() {
    let site = Site::start(&format!("{GROUP}{SIGNAL}    compare = \"old\"\n")).await;
    site.green.fail();
    let deployed = site.deploy("2").finish().await.unwrap();
    deployed.assert_ended("rolled_back", 4).unwrap();
    assert!(last(&deployed).contains("; the old version: 0"), "{}", last(&deployed));
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_go_on_after_a_restart_of_the_daemon() {
    let mut site = Site::start(&format!("{GROUP}{SIGNAL}")).await;
    let deployment = site.soaking("2").await;
    site.host.daemon.kill().unwrap();
    site.green.fail();
    site.host.daemon.resume().await.unwrap();
    let deployed = site.host.daemon.follow(deployment).await.unwrap();
    assert_eq!(deployed.outcome, "rolled_back", "{deployed:#?}");
    let status = site.host.daemon.status("shop").unwrap();
    let said = status["deployment"]["message"].as_str().unwrap();
    assert!(said.contains("rolled back to slot \"blue\": signal \"checkout errors\" is "), "{said}");
}
