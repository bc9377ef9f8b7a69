//! Servers of a slot whose names nginx resolves at run time: `server NAME resolve` in a `zone`, nginx 1.27.3 and newer.

use std::net::{Ipv4Addr, SocketAddr};

use cutover_tests::test_edge::{LOCATION, TestEdge};
use cutover_tests::{Backend, Flavour, Load, Nginx, Plan, Switcher, ports, wait};

use super::dns::DnsServer;

const UPSTREAMS: &str = "
    resolver %%dns%% valid=1s ipv6=off;
    upstream shop_blue { zone blue 128k; server blue.test:%%port%% resolve; keepalive 8; }
    upstream shop_green { zone green 128k; least_conn; server green.test:%%port%% resolve; }
";

const OLD_BLUE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NEW_BLUE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const GREEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

#[tokio::test(flavor = "multi_thread")]
async fn a_name_moves_to_another_address_under_switches() {
    let flavour = Flavour::from_env().unwrap();
    let version = flavour.version().unwrap();
    if version < (1, 27, 3) {
        println!(
            "SKIPPED: nginx {version:?} cannot resolve the names of an upstream; run it with CUTOVER_NGINX=source"
        );
        return;
    }
    let port = ports::free().unwrap().port();
    let mut old_blue = Backend::start_at("blue", SocketAddr::from((OLD_BLUE, port))).await.unwrap();
    let new_blue = Backend::start_at("blue", SocketAddr::from((NEW_BLUE, port))).await.unwrap();
    let green = Backend::start_at("green", SocketAddr::from((GREEN, port))).await.unwrap();
    let dns = DnsServer::start().await;
    dns.set("blue.test", OLD_BLUE);
    dns.set("green.test", GREEN);
    let builder = Nginx::builder().set("dns", dns.address()).set("port", port);
    let nginx = builder.http(&TestEdge::http(UPSTREAMS, LOCATION)).start().await.unwrap();
    peers(&nginx, "blue", SocketAddr::from((OLD_BLUE, port))).await;
    peers(&nginx, "green", SocketAddr::from((GREEN, port))).await;

    let shop = Switcher::new(&nginx, "shop", &["blue", "green"]);
    let load = Load::start(Plan::new(nginx.address("main").unwrap()), shop.oracle());
    shop.switch_times(&load, 10).await.unwrap();
    // A reload takes the resolved addresses over.
    nginx.reload().await.unwrap();
    shop.switch_times(&load, 10).await.unwrap();
    dns.set("blue.test", NEW_BLUE);
    let moved = async {
        peers(&nginx, "blue", SocketAddr::from((NEW_BLUE, port))).await;
        // The old server can stop once its last request has ended.
        wait::until("the old server to be idle", || old_blue.truth().in_flight == 0).await.unwrap();
    };
    tokio::join!(moved, async { shop.switch_times(&load, 10).await.unwrap() });
    old_blue.stop().await;
    shop.switch_times(&load, 10).await.unwrap();
    let report = load.stop().await;
    println!("names resolved at run time on {}: {report}", nginx.flavour());
    assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
    let (old, new) = (old_blue.truth().requests, new_blue.truth().requests);
    assert!(old > 0 && new > 0, "{old} requests at the old address, {new} at the new one");
    assert_eq!(old + new + green.truth().requests, report.total);
}

/// Waits until the admin API shows this one peer for the slot.
async fn peers(nginx: &Nginx, slot: &str, address: SocketAddr) {
    let resolved = async || {
        let group = nginx.admin().group("shop").await.unwrap();
        let peers: Vec<_> = group.slot(slot).unwrap().peers.iter().map(|peer| peer.address.clone()).collect();
        peers == [address.to_string()]
    };
    wait::until_async(wait::PATIENCE, &format!("{slot} at {address}"), resolved).await.unwrap();
}
