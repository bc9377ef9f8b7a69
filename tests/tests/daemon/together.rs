//! Two groups of one nginx that are deployed together: both move, or none, and users see one version of both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cutover_tests::daemon::Deployment;
use cutover_tests::test_host::GROUP;
use cutover_tests::{Action, Backend, Nginx, TestHost, client::Client, wait};
use tokio::task::JoinHandle;

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream shop_blue { server %%shop_blue%%; }
    upstream shop_green { server %%shop_green%%; }
    upstream api_blue { server %%api_blue%%; }
    upstream api_green { server %%api_green%%; }
    cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
    cutover api { slot blue api_blue; slot green api_green; active blue; }
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    add_header x-cutover-slot $cutover_slot always;
    server {
        listen %%listen:main%%;
        keepalive_requests 1000000;
        location /shop { proxy_pass http://shop; }
        location /api { proxy_pass http://api; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

const GROUPS: [&str; 2] = ["shop", "api"];

/// A machine that runs tests may stop a process for this long between two changes that were sent at the same moment.
const SLOW: Duration = Duration::from_millis(100);

struct Both {
    host: TestHost,
    api_green: Backend,
    _others: [Backend; 3],
}

/// An answer to a user.
#[derive(Clone, Debug)]
struct Seen {
    group: usize,
    sent: Instant,
    answered: Instant,
    status: u16,
    slot: String,
}

/// Users of both groups. They send the next request as soon as they have an answer.
struct Users {
    stop: Arc<AtomicBool>,
    /// The answers that the user of each group has.
    answers: [Arc<AtomicUsize>; 2],
    tasks: Vec<JoinHandle<Vec<Seen>>>,
}

impl Both {
    async fn start(change: impl Fn(String) -> String) -> Self {
        let mut builder = Nginx::builder().http(HTTP);
        let mut backends = Vec::new();
        for name in ["shop_blue", "shop_green", "api_blue", "api_green"] {
            let backend = Backend::start(name.split_once('_').unwrap().1).await.unwrap();
            builder = builder.set(name, backend.address());
            backends.push(backend);
        }
        let groups =
            GROUPS.map(|group| change(GROUP.replace("group.shop", &format!("group.{group}")))).concat();
        let host = TestHost::start(builder, &groups).await.unwrap();
        let api_green = backends.pop().unwrap();
        let _others = backends.try_into().unwrap();
        Self { host, api_green, _others }
    }

    fn deploy(&self) -> Deployment {
        self.host.daemon.begin_deploy_together(&GROUPS, "2").unwrap()
    }

    async fn active(&self) -> [String; 2] {
        let admin = self.host.nginx.admin();
        let mut slots = Vec::new();
        for group in GROUPS {
            slots.push(admin.group(group).await.unwrap().route.active);
        }
        slots.try_into().unwrap()
    }

    fn users(&self) -> Users {
        let address = self.host.nginx.address("main").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let answers: [Arc<AtomicUsize>; 2] = Default::default();
        let tasks = [0, 1]
            .map(|group| tokio::spawn(ask(address, group, Arc::clone(&answers[group]), Arc::clone(&stop))));
        Users { stop, answers, tasks: tasks.into() }
    }

    fn phases(&self) -> [String; 2] {
        GROUPS.map(|group| {
            let status = self.host.daemon.status(group).unwrap();
            status["deployment"]["phase"].as_str().unwrap_or_default().to_owned()
        })
    }
}

async fn ask(
    address: SocketAddr,
    group: usize,
    answers: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut client = Client::connect(address).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let answer = client.request("GET", &format!("/{}", GROUPS[group]), &[]).await.unwrap();
        let (status, slot) = answer.status_and_slot();
        seen.push(Seen { group, sent, answered: Instant::now(), status, slot: slot.to_owned() });
        answers.fetch_add(1, Ordering::Relaxed);
    }
    seen
}

impl Users {
    /// Waits until the user of each group has so many answers.
    async fn have(&self, many: usize) {
        let have = || self.answers.iter().all(|answers| answers.load(Ordering::Relaxed) >= many);
        wait::until("the users to have answers", have).await.unwrap();
    }

    async fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await.unwrap());
        }
        all.sort_by_key(|seen| seen.answered);
        all
    }
}

/// The time in which users may have seen both versions, for each way that the traffic went: from the first answer of the slot that
/// gets it to the last request that the other slot has answered. `to`: the slots that got the traffic, in order.
fn moments(all: &[Seen], to: &[&str]) -> Vec<Duration> {
    let mut rest = all;
    to.iter()
        .map(|slot| {
            let first = rest.iter().position(|seen| seen.slot == *slot).expect("the slot has answered");
            // The next way begins when both groups answer from this slot.
            let is_turn = |many: &[Seen]| {
                let of = |group| many.iter().filter(|seen| seen.group == group).count();
                many.iter().all(|seen| seen.slot == *slot) && of(0) > 2 && of(1) > 2
            };
            let turn = rest[first..].windows(20).position(is_turn);
            let end = first + turn.expect("both groups are on the slot");
            let begin = rest[first].answered;
            let last = rest[..end].iter().filter(|seen| seen.slot != *slot).map(|seen| seen.sent).max();
            rest = &rest[end..];
            last.map_or(Duration::ZERO, |last| last.saturating_duration_since(begin))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_groups_move_at_the_same_moment() {
    let both = Both::start(|group| group).await;
    let users = both.users();
    users.have(200).await;
    let deployed = both.deploy().finish().await.unwrap();
    assert_eq!(deployed.code, 0, "{deployed:#?}");
    assert_eq!(both.active().await, ["green"; 2]);
    let all = users.stop().await;
    assert!(all.iter().all(|seen| seen.status == 200));
    for group in [0, 1] {
        let slots: Vec<&str> =
            all.iter().filter(|seen| seen.group == group).map(|seen| seen.slot.as_str()).collect();
        let first = slots.iter().position(|slot| *slot == "green").unwrap();
        let stale = slots[first..].iter().filter(|slot| **slot != "green").count();
        assert!(first >= 200 && stale == 0, "{}: {stale} stale after {first}", GROUPS[group]);
    }
    let moments = moments(&all, &["green"]);
    println!("{} answers; users had two versions for at most {:?}", all.len(), moments[0]);
    assert!(moments[0] < SLOW, "{moments:?}");
    let said: String = deployed.events.iter().map(|event| format!("{}\n", event.message)).collect();
    assert!(said.contains("together with \"api\"") && said.contains("together with \"shop\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_group_takes_both_back() {
    let both = Both::start(|group| group).await;
    both.api_green.on("/api", Action::status(500));
    let users = both.users();
    let deployed = both.deploy().finish().await.unwrap();
    assert_eq!(deployed.code, 4, "{deployed:#?}");
    assert_eq!(both.active().await, ["blue"; 2]);
    let all = users.stop().await;
    let failed = all.iter().filter(|seen| seen.status != 200 && seen.slot != "green").count();
    assert_eq!(failed, 0, "only the bad version fails");
    assert!(all.iter().any(|seen| seen.group == 0 && seen.slot == "green"), "both have moved");
    let moments = moments(&all, &["green", "blue"]);
    println!("two versions for {moments:?}, forward and back");
    assert!(moments[0] < SLOW, "{moments:?}");
    let said: Vec<&str> = deployed.events.iter().map(|event| event.message.as_str()).collect();
    let followed = "rolled back to slot \"blue\": group \"api\", which moves with this one, goes back: ";
    assert!(said.iter().any(|message| message.contains(followed)), "{said:#?}");
    // The version of the shop is not to blame: it may be deployed alone at once. That of the api may not.
    let refused = both.host.refused("cutover deploy shop api --version 2").unwrap();
    assert!(
        refused.contains("group \"api\": version \"2\"") && refused.contains("nothing is done"),
        "{refused}"
    );
    both.host.run("cutover deploy shop --version 2 --detach").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_goes_on_with_both() {
    for phase in ["probing", "switching", "soaking", "confirming", "draining"] {
        let mut both = Both::start(|group| group).await;
        let users = both.users();
        let mut deployment = both.deploy();
        deployment.phase(phase).await.unwrap();
        both.host.daemon.kill().unwrap();
        both.host.daemon.resume().await.unwrap();
        wait::until_async(Duration::from_secs(60), "both deployments to end", async || {
            both.phases()
                .iter()
                .all(|phase| ["warm", "completed", "decommissioning"].contains(&phase.as_str()))
        })
        .await
        .unwrap();
        assert_eq!(both.active().await, ["green"; 2], "killed in {phase}");
        let all = users.stop().await;
        assert!(all.iter().all(|seen| seen.status == 200), "killed in {phase}");
        println!("killed in {phase}: two versions for {:?}", moments(&all, &["green"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_takes_both_back() {
    let both = Both::start(|group| group.replace("warm = \"1s\"", "warm = \"1h\"")).await;
    let users = both.users();
    let deployed = both.deploy().finish().await.unwrap();
    assert_eq!(deployed.code, 0, "{deployed:#?}");
    both.host.run("cutover rollback api").unwrap();
    assert_eq!(both.active().await, ["blue"; 2]);
    let all = users.stop().await;
    assert!(all.iter().all(|seen| seen.status == 200));
    let moments = moments(&all, &["green", "blue"]);
    println!("two versions for {moments:?}, forward and back");
    let history = both.host.daemon.cli(&["history"]).unwrap();
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    assert!(history.contains("(together with \"shop\")"), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_move_together_does_not_begin() {
    let both = Both::start(|group| match group.contains("group.api") {
        true => group.replace("warm = \"1s\"", "warm = \"1s\"\nsteps = [\"10% 1s\", \"100%\"]"),
        false => group,
    })
    .await;
    for (line, said) in [
        (
            "cutover deploy shop api --version 2",
            "the steps of groups \"api\" and \"shop\" give different shares",
        ),
        ("cutover deploy shop apo --version 2", "group \"apo\": no group \"apo\""),
        ("cutover deploy shop api --version 2 --to red", "group \"api\": group \"api\" has no slot \"red\""),
    ] {
        let refused = both.host.refused(line).unwrap();
        assert!(refused.contains(said), "{refused}");
    }
    assert_eq!(both.phases(), [""; 2]);
}
