//! The admin API for other hosts: over TLS, with the token and a client certificate.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Daemon, Hosts, Network};

#[test]
fn a_daemon_deploys_to_another_host() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let daemon =
            Daemon::start_with(&hosts.folder(), &hosts.keys(host), GROUP_WITHOUT_TRAFFIC).await.unwrap();
        let deployed = daemon.deploy("shop", "2").await.unwrap();
        let group = host.group().await.unwrap();
        assert_eq!((deployed.code, group.route.active.as_str()), (0, "green"), "{deployed:?}");
        assert!(group.events.iter().all(|event| event.who == "token from 10.77.0.254"), "{:?}", group.events);
    });
}
