//! Groups, and slots of one group, that share peers or upstreams: each has its own route and counters.

use cutover_core::api::Group;
use cutover_tests::test_edge::{TestEdge, UPSTREAMS};
use cutover_tests::{Load, Nginx, Plan, Switcher, client, wait};

/// A second group, with its own `server`.
const BLOG: &str = "
    cutover blog { slot blue blog_blue; slot green blog_green; active green; }
    server {
        listen %%listen:blog%%;
        location / { proxy_pass http://blog; add_header x-cutover-slot $cutover_slot always; }
    }
";

#[tokio::test(flavor = "multi_thread")]
async fn two_groups_share_their_peers() {
    let blog = "
        upstream blog_blue { zone blog_blue 64k; server %%blue%%; keepalive 4; }
        upstream blog_green { least_conn; server %%green%%; }
    ";
    assert_apart(&format!("{blog}{BLOG}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_groups_share_their_upstreams() {
    assert_apart(&BLOG.replace("blog_blue", "shop_blue").replace("blog_green", "shop_green")).await;
}

/// Switches both groups at different rates, over reloads.
async fn assert_apart(blog: &str) {
    let location = "location / { proxy_pass http://shop; add_header x-cutover-slot $cutover_slot always; }";
    let edge = TestEdge::start(&format!("{}{blog}", TestEdge::http(UPSTREAMS, location))).await.unwrap();
    let blog = Switcher::new(&edge.nginx, "blog", &["green", "blue"]);
    let shop_load = edge.load().unwrap();
    let blog_load =
        Load::start(Plan::new(edge.nginx.address("blog").unwrap()).connections(3, 1), blog.oracle());
    for number in 0..30 {
        edge.shop.switch_times(&shop_load, 1).await.unwrap();
        if number % 3 == 0 {
            blog.switch_times(&blog_load, 1).await.unwrap();
        }
        if number % 10 == 9 {
            edge.nginx.reload().await.unwrap();
        }
    }
    let (shop_report, blog_report) = (shop_load.stop().await, blog_load.stop().await);
    edge.assert_exact("30 switches of one group", &shop_report).unwrap();
    edge.assert_exact("10 switches of the other", &blog_report).unwrap();
    edge.shop.assert_settled().await.unwrap();
    blog.assert_settled().await.unwrap();
    let requests = edge.blue.truth().requests + edge.green.truth().requests;
    assert_eq!(requests, shop_report.total + blog_report.total);
    counted(&edge.nginx, "shop", shop_report.total).await;
    counted(&edge.nginx, "blog", blog_report.total).await;
}

/// Two slots can stand for the same version, for example while the second version does not exist yet.
#[tokio::test(flavor = "multi_thread")]
async fn two_slots_share_an_upstream() {
    let http =
        TestEdge::http(UPSTREAMS, "location / { proxy_pass http://both; add_header x-is $cutover_slot; }");
    let both = "cutover both { slot one shop_blue; slot two shop_blue; active one; }";
    let edge = TestEdge::start(&format!("{http}{both}")).await.unwrap();
    let address = edge.nginx.address("main").unwrap();
    for (number, slot) in ["one", "two", "one", "two"].into_iter().enumerate() {
        edge.nginx.admin().switch("both", slot).await.unwrap();
        for _ in 0..5 {
            let answer = client::get(address, "/").await.unwrap();
            assert_eq!(
                (answer.head.header("x-is"), answer.head.header("x-slot")),
                (Some(slot), Some("blue"))
            );
        }
        counted(&edge.nginx, "both", 5 * (number as u64 + 1)).await;
    }
    let group = edge.nginx.admin().group("both").await.unwrap();
    assert!(group.slots.iter().all(|slot| slot.counters.requests == 10), "{group:?}");
}

/// Waits until all slots of the group together have answered this many requests and were given no others.
async fn counted(nginx: &Nginx, group: &str, requests: u64) -> Group {
    let sum = |group: &Group| {
        let slots = group.slots.iter().map(|slot| slot.counters);
        slots.fold((0, 0, 0), |sum, now| {
            (sum.0 + now.requests, sum.1 + now.responses.success, sum.2 + now.in_flight)
        })
    };
    let ended = async || sum(&nginx.admin().group(group).await.unwrap()) == (requests, requests, 0);
    let what = format!("{requests} requests of {group} in the counters");
    wait::until_async(wait::PATIENCE, &what, ended).await.unwrap();
    nginx.admin().group(group).await.unwrap()
}
