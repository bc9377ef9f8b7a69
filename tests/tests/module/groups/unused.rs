//! The module is loaded, but the configuration has no group, or no group any more.

use std::fs;

use cutover_tests::test_edge::{TestEdge, UPSTREAMS};
use cutover_tests::{Backend, Load, Nginx, Plan, SlotOracle, client};

const PLAIN: &str = "
    upstream shop { server %%blue%%; keepalive 8; }
    server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
";

#[tokio::test(flavor = "multi_thread")]
async fn without_any_directive_of_the_module() {
    let blue = Backend::start("blue").await.unwrap();
    let nginx = Nginx::builder().set("blue", blue.address()).http(PLAIN).start().await.unwrap();
    let load = Load::start(Plan::new(nginx.address("main").unwrap()), &SlotOracle::new("blue"));
    for _ in 0..3 {
        load.answers(100).await.unwrap();
        nginx.reload().await.unwrap();
    }
    let old = nginx.begin_upgrade().await.unwrap();
    load.answers(100).await.unwrap();
    nginx.take_back(old).await.unwrap();
    nginx.upgrade().await.unwrap();
    load.answers(100).await.unwrap();
    let report = load.stop().await;
    assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
    assert_eq!(blue.truth().requests, report.total);
    nginx.kill_worker().await.unwrap();
    nginx.kill_all().await.unwrap();
    assert_eq!(
        fs::read_dir(nginx.prefix().join("state")).unwrap().count(),
        0,
        "no file is created without a group"
    );
    nginx.start().await.unwrap();
    assert_eq!(client::get(nginx.address("main").unwrap(), "/").await.unwrap().status, 200);
    nginx.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_http() {
    let text = "load_module %%module%%; user www-data; worker_processes 2;
        pid %%prefix%%/nginx.pid; error_log %%prefix%%/error.log info; events {}";
    let nginx = Nginx::builder().whole(text).start().await.unwrap();
    nginx.reload().await.unwrap();
    nginx.kill_worker().await.unwrap();
    nginx.upgrade().await.unwrap();
    // A reload adds `http {}`.
    nginx.write_http("server { listen %%listen:main%%; location / { return 204; } }").unwrap();
    nginx.reload().await.unwrap();
    assert_eq!(client::get(nginx.address("main").unwrap(), "/").await.unwrap().status, 204);
    nginx.stop().await.unwrap();
}

/// Reloads remove the group and `cutover_state` and add them again: the route is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_removed_and_added_keeps_its_route() {
    let with = TestEdge::http(UPSTREAMS, "location / { proxy_pass http://shop; }");
    let edge = TestEdge::start(&with).await.unwrap();
    let load = edge.load().unwrap();
    for number in 0..4 {
        edge.shop.switch_times(&load, 5).await.unwrap();
        let before = edge.nginx.admin().group("shop").await.unwrap();
        // As an operator who removes the group would do: `proxy_pass` straight to the active slot.
        let settled = edge.oracle().settled();
        edge.nginx.write_http(&PLAIN.replace("%%blue%%", &format!("%%{settled}%%"))).unwrap();
        edge.nginx.reload().await.unwrap();
        load.answers(200).await.unwrap();
        edge.nginx.write_http(&with).unwrap();
        if number % 2 == 0 {
            edge.nginx.reload().await.unwrap();
        } else {
            edge.nginx.upgrade().await.unwrap();
        }
        edge.shop.assert_settled().await.unwrap();
        let after = edge.nginx.admin().group("shop").await.unwrap();
        assert_eq!(after.events, before.events, "round {number}");
    }
    let report = load.stop().await;
    edge.assert_exact("groups that go and come back", &report).unwrap();
}

/// While at least one group is configured, all groups keep their counters, also a group that is removed and added again.
#[tokio::test]
async fn a_group_that_is_removed_and_added_keeps_its_counters() {
    let group = |name: &str| format!("cutover {name} {{ slot blue b; slot green b; active blue; }}\n");
    let http = |groups: &[&str]| {
        let groups: String = groups.iter().map(|name| group(name)).collect();
        format!(
            "cutover_state %%prefix%%/state; upstream b {{ server 127.0.0.1:1; }} {groups}
             server {{ listen %%listen:main%%; location / {{ proxy_pass http://$arg_to; }} }}
             server {{ listen %%admin%%; location / {{ cutover_api write=on; }} }}"
        )
    };
    let nginx = Nginx::builder().http(&http(&["shop", "blog"])).start().await.unwrap();
    let counted = async |name: &str| {
        let group = nginx.admin().group(name).await.unwrap();
        (group.slot("blue").unwrap().counters.requests, group.events.len())
    };
    for to in ["shop", "shop", "blog"] {
        let answer = client::get(nginx.address("main").unwrap(), &format!("/?to={to}")).await.unwrap();
        assert_eq!(answer.status, 502);
    }
    nginx.admin().switch("shop", "green").await.unwrap();
    for (groups, there) in [
        (&["blog"][..], "blog"),
        (&["new", "blog"], "blog"),
        (&["blog", "new", "shop"], "shop"),
        (&["shop", "blog"], "shop"),
    ] {
        nginx.write_http(&http(groups)).unwrap();
        nginx.reload().await.unwrap();
        assert_eq!(counted("blog").await, (1, 0), "{groups:?}");
        if there == "shop" {
            assert_eq!(counted("shop").await, (2, 1), "{groups:?}");
        }
        if groups.contains(&"new") {
            assert_eq!(counted("new").await, (0, 0), "{groups:?}");
        }
    }
}
