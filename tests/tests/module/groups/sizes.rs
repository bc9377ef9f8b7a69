//! The smallest group and the largest.

use cutover_tests::test_edge::{TestEdge, UPSTREAMS};
use cutover_tests::{Backend, Load, Nginx, Plan, Switcher, client};

const NAMES: [&str; 8] = ["s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8"];

/// A group can be configured before there is a second version to switch to.
#[tokio::test(flavor = "multi_thread")]
async fn one_slot_takes_everything() {
    let location = "location / { proxy_pass http://alone; add_header x-cutover-slot $cutover_slot always; }
        location /standby { cutover_slot standby; proxy_pass http://alone; }";
    let alone = "cutover alone { slot blue shop_blue; active blue; }";
    let edge = TestEdge::start(&format!("{}{alone}", TestEdge::http(UPSTREAMS, location))).await.unwrap();
    let alone = Switcher::new(&edge.nginx, "alone", &["blue"]);
    let load = Load::start(edge.plan().unwrap(), alone.oracle());
    for _ in 0..3 {
        alone.switch_times(&load, 5).await.unwrap();
        edge.nginx.reload().await.unwrap();
    }
    edge.nginx.upgrade().await.unwrap();
    alone.switch_times(&load, 5).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("one slot", &report).unwrap();
    assert_eq!((edge.blue.truth().requests, edge.green.truth().requests), (report.total, 0));
    // The first switch writes the configured route to the state file; the others change nothing.
    assert_eq!(edge.nginx.admin().group("alone").await.unwrap().route.generation, 1);
    let answer = client::get(edge.nginx.address("main").unwrap(), "/standby").await.unwrap();
    assert_eq!(answer.head.header("x-slot"), Some("blue"), "the next slot is the only one");
    edge.nginx.kill_all().await.unwrap();
    edge.nginx.start().await.unwrap();
    alone.assert_settled().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_slots_take_turns() {
    let mut backends = Vec::new();
    let mut builder = Nginx::builder();
    for name in NAMES {
        let backend = Backend::start(name).await.unwrap();
        builder = builder.set(name, backend.address());
        backends.push(backend);
    }
    let upstreams: String =
        NAMES.map(|name| format!("upstream {name} {{ server %%{name}%%; keepalive 4; }}\n")).concat();
    let slots: String = NAMES.map(|name| format!("slot {name} {name}; ")).concat();
    let http = format!(
        "cutover_state %%prefix%%/state; {upstreams}
        cutover shop {{ {slots} active s1; }}
        proxy_http_version 1.1; proxy_set_header Connection '';
        server {{
            listen %%listen:main%%;
            location / {{ proxy_pass http://shop; add_header x-cutover-slot $cutover_slot always; }}
        }}
        server {{ listen %%admin%%; location / {{ cutover_api write=on; }} }}"
    );
    let nginx = builder.http(&http).start().await.unwrap();
    let shop = Switcher::new(&nginx, "shop", &NAMES);
    let load = Load::start(Plan::new(nginx.address("main").unwrap()), shop.oracle());
    shop.switch_times(&load, 16).await.unwrap();
    nginx.reload().await.unwrap();
    shop.switch_times(&load, 9).await.unwrap();
    let report = load.stop().await;
    println!("25 switches over 8 slots on {}: {report}", nginx.flavour());
    assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
    assert_eq!(report.by_slot.len(), 8, "{report}");
    assert_eq!(backends.iter().map(|backend| backend.truth().requests).sum::<u64>(), report.total);
    let group = nginx.admin().group("shop").await.unwrap();
    assert_eq!((group.route.active.as_str(), group.route.generation), ("s2", 25));
    assert!(group.slots.iter().all(|slot| slot.counters.requests > 0), "{group:?}");
    nginx.kill_all().await.unwrap();
    nginx.start().await.unwrap();
    shop.assert_settled().await.unwrap();
}
