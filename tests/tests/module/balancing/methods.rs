//! Each balancing method, with two peers in each slot: it chooses peers as without a group, also over switches.

use cutover_tests::load::Request;
use cutover_tests::{Backend, Load, Nginx, Plan, Switcher};

/// How a slot's requests must be distributed over its peers.
#[derive(Clone, Copy, Debug)]
enum Distribution {
    /// Each peer gets requests.
    Both,
    /// All requests of the one client go to one peer.
    One,
    /// All requests with one key go to one peer, and each peer gets keys.
    ByKey,
}

const KEYS: u32 = 24;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_zone() {
    methods("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_zone() {
    methods("zone %%name%% 128k;").await;
}

async fn methods(zone: &str) {
    for (method, distribution) in [
        ("", Distribution::Both),
        ("least_conn;", Distribution::Both),
        ("random two;", Distribution::Both),
        ("random two least_conn;", Distribution::Both),
        ("ip_hash;", Distribution::One),
        ("hash $arg_k;", Distribution::ByKey),
        ("hash $arg_k consistent;", Distribution::ByKey),
        ("hash $arg_k consistent; keepalive 4;", Distribution::ByKey),
    ] {
        assert_distribution(&format!("{zone} {method}"), distribution).await;
    }
}

async fn assert_distribution(method: &str, distribution: Distribution) {
    let mut builder = Nginx::builder();
    let mut backends = Vec::new();
    for (slot, name) in [("blue", "b1"), ("blue", "b2"), ("green", "g1"), ("green", "g2")] {
        let backend = Backend::start(slot).await.unwrap();
        builder = builder.set(name, backend.address());
        backends.push(backend);
    }
    let upstream = |name: &str, one: &str, two: &str| {
        let method = method.replace("%%name%%", name);
        format!("upstream {name} {{ {method} server %%{one}%%; server %%{two}%%; }}\n")
    };
    let upstreams = upstream("shop_blue", "b1", "b2") + &upstream("shop_green", "g1", "g2");
    let location = "location / { proxy_pass http://shop; add_header x-cutover-slot $cutover_slot always; }";
    let nginx = builder.http(&cutover_tests::TestEdge::http(&upstreams, location)).start().await.unwrap();
    let shop = Switcher::new(&nginx, "shop", &["blue", "green"]);
    let requests = (0..KEYS).map(|key| Request::get(&format!("/{key}?k={key}"))).collect();
    let plan = Plan::new(nginx.address("main").unwrap()).requests(requests);
    let load = Load::start(plan, shop.oracle());
    shop.switch_times(&load, 6).await.unwrap();
    nginx.reload().await.unwrap();
    shop.switch_times(&load, 6).await.unwrap();
    let report = load.stop().await;
    println!("{method:?} on {}: {report}", nginx.flavour());
    assert_eq!((report.failed(), report.stale), (0, 0), "{method}: {report}");
    assert_eq!(backends.iter().map(|backend| backend.truth().requests).sum::<u64>(), report.total);

    for slot in backends.chunks_exact(2) {
        let truths: Vec<_> = slot.iter().map(Backend::truth).collect();
        let used = truths.iter().filter(|truth| truth.requests > 0).count();
        let keys: Vec<usize> = truths.iter().map(|truth| truth.targets.len()).collect();
        let targets: std::collections::BTreeSet<_> = truths.iter().flat_map(|t| t.targets.keys()).collect();
        match distribution {
            Distribution::Both => assert_eq!(used, 2, "{method}: {truths:?}"),
            Distribution::One => assert_eq!(used, 1, "{method}: {truths:?}"),
            Distribution::ByKey => {
                assert_eq!(used, 2, "{method}: {truths:?}");
                assert_eq!(
                    keys.iter().sum::<usize>(),
                    targets.len(),
                    "{method}: a key at two peers: {truths:?}"
                );
            }
        }
    }
}
