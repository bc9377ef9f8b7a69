//! The cache manager and the cache loader run the module's hooks but serve no requests. They must neither count requests nor
//! hold the lock, and they may be killed like other processes.

use cutover_tests::process::{self, Pid, Signal};
use cutover_tests::test_edge::{TestEdge, UPSTREAMS};
use cutover_tests::{Action, Client, Nginx, wait};

const LOCATIONS: &str = "
    location / { proxy_pass http://shop; add_header x-cutover-slot $cutover_slot always; }
    location /cached {
        proxy_cache answers;
        proxy_cache_valid 200 1m;
        proxy_cache_key $request_uri$cutover_slot;
        proxy_pass http://shop;
    }
";

async fn start() -> TestEdge {
    let cache = "proxy_cache_path %%prefix%%/cache levels=1:2 keys_zone=answers:1m inactive=1m;";
    let edge = TestEdge::start(&(TestEdge::http(UPSTREAMS, LOCATIONS) + cache)).await.unwrap();
    wait::until("both processes of the cache", || helpers(&edge.nginx).len() == 2).await.unwrap();
    edge
}

/// The cache manager and the cache loader.
fn helpers(nginx: &Nginx) -> Vec<Pid> {
    let is_helper = |pid: &Pid| process::title(*pid).starts_with("nginx: cache ");
    nginx.pids().into_iter().filter(is_helper).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_cache_processes_disturb_no_request() {
    let edge = start().await;
    edge.nginx.expect_in_log("exited on signal 9");
    let load = edge.load().unwrap();
    let work = async {
        for _ in 0..4 {
            let killed = helpers(&edge.nginx);
            killed.iter().try_for_each(|pid| process::signal(*pid, Signal::KILL))?;
            let is_new = |pid: &Pid| !killed.contains(pid) && process::title(*pid).contains("manager");
            wait::until("another cache manager", || helpers(&edge.nginx).iter().any(is_new)).await?;
            load.answers(50).await?;
            // A reload starts the loader again, too.
            edge.nginx.reload().await?;
            wait::until("the cache's new processes", || helpers(&edge.nginx).len() == 2).await?;
        }
        Ok(())
    };
    let switches = edge.switch_during(&load, work).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact(&format!("cache processes killed, {switches} switches"), &report).unwrap();
    edge.until_counted(report.total).await.unwrap();
}

/// The workers are killed during requests, some of which fill the cache. The live cache manager must not keep the gauge up.
#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_end_with_their_workers_while_the_cache_manager_lives() {
    let edge = start().await;
    edge.blue.on("/hang", Action::Hang);
    edge.blue.on("/cached/hang", Action::Hang);
    let address = edge.nginx.address("main").unwrap();
    let mut clients = Vec::new();
    for target in ["/hang", "/hang", "/hang", "/cached/hang?1", "/cached/hang?2", "/cached/hang?3"] {
        let mut client = Client::connect(address).await.unwrap();
        client.send("GET", target, &[]).await.unwrap();
        clients.push(client);
    }
    let in_flight = async |number: u64| {
        edge.nginx.admin().group("shop").await.unwrap().slot("blue").unwrap().counters.in_flight == number
    };
    wait::until_async(wait::PATIENCE, "6 in flight", async || in_flight(6).await).await.unwrap();
    edge.nginx.expect_in_log("exited on signal 9");
    let killed = edge.nginx.workers();
    killed.iter().for_each(|worker| process::signal(*worker, Signal::KILL).unwrap());
    wait::until("other workers", || {
        let now = edge.nginx.workers();
        now.len() == 2 && !now.iter().any(|worker| killed.contains(worker))
    })
    .await
    .unwrap();
    wait::until_async(wait::PATIENCE, "none in flight", async || in_flight(0).await).await.unwrap();
    // The gauge is correct for the next request.
    let mut client = Client::connect(address).await.unwrap();
    client.send("GET", "/cached/hang?4", &[]).await.unwrap();
    wait::until_async(wait::PATIENCE, "1 in flight", async || in_flight(1).await).await.unwrap();
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 6).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("after the workers' end", &report).unwrap();
}

/// The master and the workers are killed, but not the processes of the cache. nginx can start while those still run.
#[tokio::test(flavor = "multi_thread")]
async fn cache_processes_left_behind_hold_nothing() {
    let edge = start().await;
    edge.shop.switch().await.unwrap();
    let left = helpers(&edge.nginx);
    let master = edge.nginx.master().unwrap();
    let killed: Vec<Pid> = std::iter::once(master).chain(edge.nginx.workers()).collect();
    killed.iter().for_each(|pid| process::signal(*pid, Signal::KILL).unwrap());
    process::gone(&killed, wait::PATIENCE).await.unwrap();
    edge.nginx.start().await.unwrap();
    assert!(left.iter().all(|pid| process::alive(*pid)), "the cache processes still run");
    edge.shop.assert_settled().await.unwrap();
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 6).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("beside cache processes left behind", &report).unwrap();
    left.iter().for_each(|pid| process::signal(*pid, Signal::KILL).unwrap());
}
