//! Two groups of one nginx that are deployed together: both move, or none, and users see one version of both.

mod killed;
pub(crate) mod users;

use std::time::Duration;

use cutover_tests::daemon::Deployment;
use cutover_tests::test_host::GROUP;
use cutover_tests::{Action, Backend, Nginx, TestHost};

use users::{GROUPS, Users, longest, moments};

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

/// A machine that runs tests may stop a process for this long between two changes that were sent at the same moment.
const SLOW: Duration = Duration::from_millis(100);

/// If nginx takes one group back by its guard, the other one follows after the next reading and the probes of its old version.
const GUARDED: Duration = Duration::from_secs(5);

/// One nginx with both groups, and the daemon.
struct Both {
    host: TestHost,
    api_green: Backend,
    _others: [Backend; 3],
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
        Users::start(&[self.host.nginx.address("main").unwrap()], Duration::ZERO)
    }

    fn phases(&self) -> [String; 2] {
        GROUPS.map(|group| {
            let status = self.host.daemon.status(group).unwrap();
            status["deployment"]["phase"].as_str().unwrap_or_default().to_owned()
        })
    }
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
    let moments = moments(&all);
    println!("{} answers; two versions for {moments:?}", all.len());
    assert!(longest(&moments) < SLOW, "{moments:?}");
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
    let moments = moments(&all);
    println!("two versions for {moments:?}, forward and back");
    assert!(longest(&moments) < GUARDED, "{moments:?}");
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
async fn an_operator_takes_both_back() {
    let both = Both::start(|group| group.replace("warm = \"1s\"", "warm = \"1h\"")).await;
    let users = both.users();
    let deployed = both.deploy().finish().await.unwrap();
    assert_eq!(deployed.code, 0, "{deployed:#?}");
    both.host.run("cutover rollback api").unwrap();
    assert_eq!(both.active().await, ["blue"; 2]);
    let all = users.stop().await;
    assert!(all.iter().all(|seen| seen.status == 200));
    let moments = moments(&all);
    println!("two versions for {moments:?}, forward and back");
    assert!(longest(&moments) < SLOW, "{moments:?}");
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
