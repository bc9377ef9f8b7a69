//! Who gets the new version in the steps of a deployment: the same users in each, and of several slots only its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use cutover_tests::daemon::Deployment;
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Backend, Client, Nginx, TestHost, wait};

const SLOTS: [&str; 3] = ["blue", "green", "red"];

/// So many users that a share of 5 % is sure to have some of them, and not all.
const USERS: u32 = 300;

const STEPS: &str = "[\"5% manual\", \"40% manual\", \"100%\"]";

struct Site {
    host: TestHost,
    _slots: Vec<Backend>,
}

/// A group of three slots, with blue as the active one, whose users have a cookie.
async fn start() -> Site {
    let http = "cutover_state %%prefix%%/state;
        upstream shop_blue { server %%blue%%; }
        upstream shop_green { server %%green%%; }
        upstream shop_red { server %%red%%; }
        cutover shop {
            slot blue shop_blue; slot green shop_green; slot red shop_red;
            active blue;
            split_key $cookie_user;
        }
        server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
        server { listen %%admin%%; location / { cutover_api write=on; } }";
    let mut nginx = Nginx::builder().http(http);
    let mut slots = Vec::new();
    for name in SLOTS {
        let slot = Backend::start(name).await.unwrap();
        nginx = nginx.set(name, slot.address());
        slots.push(slot);
    }
    let groups = GROUP_WITHOUT_TRAFFIC.replace("warm = \"1h\"", &format!("warm = \"1h\"\nsteps = {STEPS}"));
    Site { host: TestHost::start(nginx, &groups).await.unwrap(), _slots: slots }
}

impl Site {
    async fn deploy_to(&self, slot: &str) -> Deployment {
        let mut deployment = self.host.daemon.begin_deploy_to("shop", "2", slot).unwrap();
        deployment.phase("soaking").await.unwrap();
        deployment
    }

    async fn until_share(&self, slot: &str, percent: f64) {
        wait::until_async(wait::PATIENCE, &format!("{slot} to have {percent} %"), async || {
            let split = self.host.nginx.admin().group("shop").await.unwrap().route.split;
            split.and_then(|split| split.get(slot).map(|share| f64::from(*share))) == Some(percent)
        })
        .await
        .unwrap();
    }

    /// The users whose requests `slot` answers. No other slot than it and blue may answer one.
    async fn users_of(&self, slot: &str) -> BTreeSet<u32> {
        let address = self.host.nginx.address("main").unwrap();
        let mut users = BTreeSet::new();
        for user in 0..USERS {
            let answered = answered(address, user).await;
            assert!(answered == slot || answered == "blue", "{answered} has answered user {user}");
            if answered == slot {
                users.insert(user);
            }
        }
        users
    }
}

/// The slot that answers a user.
async fn answered(address: SocketAddr, user: u32) -> String {
    let mut client = Client::connect(address).await.unwrap();
    let cookie = format!("user=session-{user}");
    let answer = client.request("GET", "/", &[("cookie", &cookie)]).await.unwrap();
    answer.head.header("x-slot").unwrap().to_owned()
}

/// Green for a deployment of two, red for one of three: the step goes to the slot of the deployment only.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_has_seen_the_new_version_keeps_it() {
    for target in ["green", "red"] {
        let site = start().await;
        assert!(site.users_of(target).await.is_empty(), "before");
        let deployment = site.deploy_to(target).await;
        site.until_share(target, 5.0).await;
        let few = site.users_of(target).await;
        assert_eq!(site.users_of(target).await, few, "the same users with each request");
        site.host.nginx.reload().await.unwrap();
        assert_eq!(site.users_of(target).await, few, "and after a reload");

        site.host.run("cutover promote shop").unwrap();
        site.until_share(target, 40.0).await;
        let more = site.users_of(target).await;
        assert!(!few.is_empty() && few.len() < more.len(), "{} and {}", few.len(), more.len());
        assert!(few.is_subset(&more), "back on blue: {:?}", few.difference(&more));
        assert!(more.len() < USERS as usize, "{}", more.len());

        site.host.run("cutover promote shop").unwrap();
        let deployed = deployment.finish().await.unwrap();
        assert_eq!(deployed.outcome, "completed", "{deployed:#?}");
        assert_eq!(site.users_of(target).await.len(), USERS as usize);
    }
}

/// Whoever has seen it goes back with all others, and a later deployment begins with the same users.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_in_a_step_takes_all_users_back() {
    let site = start().await;
    let deployment = site.deploy_to("red").await;
    site.until_share("red", 5.0).await;
    let first = site.users_of("red").await;
    site.host.run("cutover abort shop").unwrap();
    assert_eq!(deployment.finish().await.unwrap().outcome, "rolled_back");
    assert!(site.users_of("red").await.is_empty());

    let deployment = site.deploy_to("green").await;
    site.until_share("green", 5.0).await;
    assert_eq!(site.users_of("green").await, first);
    site.host.run("cutover abort shop").unwrap();
    assert_eq!(deployment.finish().await.unwrap().outcome, "rolled_back");
}
