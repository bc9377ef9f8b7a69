//! The capacity guard: traffic moves only to a slot with as many healthy servers as the active one, or a part of them.

use cutover_tests::test_edge::LOCATION;
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Backend, Daemon, Nginx, TestEdge, wait};

/// Blue has two servers and a backup, green has one and a backup.
const UPSTREAMS: &str = "
    upstream shop_blue { server %%blue%%; server %%blue2%%; server %%backup%% backup; }
    upstream shop_green { server %%green%%; server %%backup2%% backup; }
";

struct Host {
    daemon: Daemon,
    nginx: Nginx,
    blue2: Option<Backend>,
    _others: Vec<Backend>,
}

async fn host(keys: &str) -> Host {
    let mut builder = Nginx::builder().http(&TestEdge::http(UPSTREAMS, LOCATION));
    let mut others = Vec::new();
    for name in ["blue", "green", "backup", "backup2"] {
        let backend = Backend::start(name).await.unwrap();
        builder = builder.set(name, backend.address());
        others.push(backend);
    }
    let blue2 = Backend::start("blue").await.unwrap();
    let nginx = builder.set("blue2", blue2.address()).start().await.unwrap();
    let groups = GROUP_WITHOUT_TRAFFIC.replace("[group.shop]", &format!("[group.shop]\n{keys}"));
    let groups = groups.replace("path = \"/\"", "path = \"/\"\ndeadline = \"1s\"");
    let daemon = Daemon::start(nginx.prefix(), &groups).await.unwrap();
    Host { daemon, nginx, blue2: Some(blue2), _others: others }
}

impl Host {
    async fn active(&self) -> String {
        self.nginx.admin().group("shop").await.unwrap().route.active
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_slot_gets_no_traffic() {
    let host = host("").await;
    let deployed = host.daemon.deploy("shop", "2").await.unwrap();
    deployed.assert_ended("failed", 3).unwrap();
    let last = &deployed.events.last().unwrap().message;
    let said = "slot \"green\" has 1 healthy server, and slot \"blue\" has 2 healthy servers: capacity = \"100%\" wants at least 2";
    assert!(last.contains(said) && last.contains("set a smaller capacity in [group.shop]"), "{last}");
    assert_eq!(host.active().await, "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_enough_if_it_is_said_and_the_guard_can_be_off() {
    for keys in ["capacity = \"50%\"", "capacity = \"0\""] {
        let host = host(keys).await;
        host.daemon.deploy("shop", "2").await.unwrap().assert_ended("completed", 0).unwrap();
        assert_eq!(host.active().await, "green", "{keys}");
    }
}

/// One of the two old servers dies: the new slot is large enough for the users that the old one can serve. And the way back to a
/// slot of any size is never guarded.
#[tokio::test(flavor = "multi_thread")]
async fn dead_servers_of_the_old_slot_do_not_count_and_the_way_back_is_not_guarded() {
    let mut host = host("").await;
    host.blue2 = None;
    host.daemon.deploy("shop", "2").await.unwrap().assert_ended("completed", 0).unwrap();
    let back = host.daemon.cli(&["rollback", "shop"]).unwrap();
    assert!(back.status.success(), "{back:?}");
    wait::until_async(wait::PATIENCE, "the way back", async || host.active().await == "blue").await.unwrap();
}
