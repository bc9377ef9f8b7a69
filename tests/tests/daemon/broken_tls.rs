//! The client of the admin API over connections that break: what it says of a change is never wrong, and it never sends one again.

use std::net::SocketAddr;
use std::time::Duration;

use cutover_core::deployment::Revision;
use cutover_edges::module::{AdminAddress, Module};
use cutover_edges::tls::{ClientFiles, HttpsHost, ServerName, TlsSettings};
use cutover_engine::edge::{Edge, Look, Shift, ShiftError};
use cutover_tests::hosts::Host;
use cutover_tests::{Hosts, Network, Relay};

/// A relay before a host, and a client that uses it.
async fn relayed(hosts: &Hosts, host: &Host) -> (Relay, Module) {
    let relay = Relay::start(SocketAddr::from((Network::TEST, 9443)), host.admin_address()).await.unwrap();
    let url = format!("https://{}", relay.address());
    let client = ClientFiles { certificate: hosts.client.certificate.clone(), key: hosts.client.key.clone() };
    let tls = TlsSettings {
        ca: Some(hosts.authority.own.certificate.clone()),
        client: Some(client),
        server_name: Some(ServerName::try_from(host.address().to_string()).unwrap()),
        ..TlsSettings::new("edge.lyon".to_owned())
    };
    let admin = AdminAddress::Https(HttpsHost::parse(&url).unwrap());
    (relay, Module::new("lyon", &admin, Some(hosts.token())).with_tls(tls))
}

fn all_to(slot: &str) -> Shift {
    Shift { to: slot.to_owned(), share: None, reason: "a test".to_owned(), trial: None, fence: false }
}

async fn revision(host: &Host) -> Revision {
    Revision::new(format!("generation {}", host.group().await.unwrap().route.generation))
}

#[test]
fn a_change_whose_answer_is_cut_anywhere_is_sent_once_and_never_misjudged() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let (relay, module) = relayed(&hosts, host).await;
        for protocol in ["TLSv1.2", "TLSv1.3"] {
            host.nginx.write_http(&Hosts::http().replace("TLSv1.2 TLSv1.3", protocol)).unwrap();
            host.nginx.reload().await.unwrap();
            cut_everywhere(host, &relay, &module, protocol).await;
        }
    });
}

async fn cut_everywhere(host: &Host, relay: &Relay, module: &Module, protocol: &str) {
    let (mut not_sent, mut not_made, mut made, mut known) = (0, 0, 0, 0);
    // A full exchange has less than 4,000 bytes.
    for after in (50..4500).step_by(50) {
        let before = revision(host).await;
        let active = host.active().await.unwrap();
        let target = if active == "blue" { "green" } else { "blue" };
        let connections = relay.connections();
        relay.cut(1, after);
        let moved: Result<Look, ShiftError> = module.shift("shop", &all_to(target), &before).await;
        assert_eq!(relay.connections(), connections + 1, "cut after {after}: {moved:?}");
        let is_moved = host.active().await.unwrap() == target;
        match moved {
            Ok(look) => {
                assert!(is_moved && look.route().active == target, "cut after {after}: {look:?}");
                known += 1;
            }
            Err(ShiftError::NotSent(error)) => {
                assert!(!is_moved, "cut after {after}: {error}");
                not_sent += 1;
            }
            Err(ShiftError::Unknown(error)) => {
                let said = error.to_string();
                assert!(
                    said.contains("it was closed before the answer was complete"),
                    "cut after {after}: {said}"
                );
                *(if is_moved { &mut made } else { &mut not_made }) += 1;
            }
            Err(other) => panic!("cut after {after}: {other:?}"),
        }
    }
    println!("{protocol}: {not_sent} not sent; unknown: {made} made, {not_made} not made; {known} answered");
    assert!(not_sent > 0 && made > 0 && known > 0, "each outcome is met");
}

#[test]
fn a_slow_handshake_ends_before_anything_is_sent() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let (relay, module) = relayed(&hosts, host).await;
        let before = revision(host).await;
        relay.delay(Duration::from_secs(30));
        let moved = module.shift("shop", &all_to("green"), &before).await;
        let said = match moved {
            Err(ShiftError::NotSent(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(said.ends_with("no connection within 5s"), "{said}");
        // The handshake is done in time, and the answer is late: nobody knows.
        relay.delay(Duration::from_millis(1300));
        let moved = module.shift("shop", &all_to("green"), &before).await;
        let said = match moved {
            Err(ShiftError::Unknown(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(said.ends_with("no answer within 5s"), "{said}");
    });
}
