//! Servers whose name resolves to an IPv4 and an IPv6 address. An application often listens on only one of them. nginx skips
//! the dead address, so users see no error. But the slot never becomes healthy if `probe.require` demands all servers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use cutover_core::api::Slot;

/// A server of a slot with addresses of both families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Families {
    /// The server as in nginx's configuration, such as `localhost:3000`.
    pub server: String,
    /// Its IPv4 addresses in nginx's format.
    pub v4: Vec<String>,
    /// Its IPv6 addresses in nginx's format.
    pub v6: Vec<String>,
    /// One of the addresses that answers, if known.
    pub answers: Option<String>,
}

impl Families {
    /// Sets `answers` to the first of `addresses` that belongs to this server.
    pub fn answering<'a>(mut self, mut addresses: impl Iterator<Item = &'a str>) -> Self {
        self.answers = addresses
            .find(|address| self.v4.iter().chain(&self.v6).any(|known| known == address))
            .map(str::to_owned);
        self
    }
}

/// Advice for the operator.
impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, v4, v6, answers } = self;
        let example = answers.as_ref().or(v4.first());
        write!(
            f,
            "\"server {server}\" resolves to {} and {}: if the application listens on only one of them, write that address into \
             nginx's configuration, as in \"server {}\", or set probe.require = \"one\"",
            v4.join(", "),
            v6.join(", "),
            example.map_or("", String::as_str)
        )
    }
}

/// The first server of a slot that has addresses of both families.
pub fn of_slot(slot: &Slot) -> Option<Families> {
    slot.primaries().filter_map(|peer| peer.server.as_deref()).find_map(|server| of_server(slot, server))
}

fn of_server(slot: &Slot, server: &str) -> Option<Families> {
    let addresses = slot
        .primaries()
        .filter(|peer| peer.server.as_deref() == Some(server))
        .filter_map(|peer| Some((peer.address.clone(), peer.address.parse::<SocketAddr>().ok()?.ip())));
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.partition(|(_, ip)| matches!(ip, IpAddr::V4(_)));
    let names = |family: Vec<(String, IpAddr)>| family.into_iter().map(|(address, _)| address).collect();
    (!v4.is_empty() && !v6.is_empty()).then(|| Families {
        server: server.to_owned(),
        v4: names(v4),
        v6: names(v6),
        answers: None,
    })
}

#[cfg(test)]
mod tests {
    use cutover_core::api::Peer;

    use super::*;

    fn slot(peers: &[(&str, Option<&str>)]) -> Slot {
        let peer = |(address, server): &(&str, Option<&str>)| Peer {
            address: (*address).to_owned(),
            server: server.map(str::to_owned),
            backup: false,
            down: false,
        };
        Slot { peers: peers.iter().map(peer).collect(), ..Slot::default() }
    }

    #[test]
    fn only_a_name_can_have_two() {
        for (peers, found) in [
            (vec![("127.0.0.1:1", None), ("[::1]:1", None)], false),
            (vec![("127.0.0.1:1", Some("localhost:1")), ("[::1]:1", Some("localhost:1"))], true),
            (vec![("127.0.0.1:1", Some("a:1")), ("[::1]:1", Some("b:1"))], false),
            (vec![("10.0.0.1:1", Some("app:1")), ("10.0.0.2:1", Some("app:1"))], false),
            (vec![("unix:/a", Some("app:1")), ("[::1]:1", Some("app:1"))], false),
            (vec![], false),
        ] {
            assert_eq!(of_slot(&slot(&peers)).is_some(), found, "{peers:?}");
        }
    }

    #[test]
    fn it_says_what_to_write() {
        let peers = [("[::1]:32021", Some("localhost:32021")), ("127.0.0.1:32021", Some("localhost:32021"))];
        let only_v6 = of_slot(&slot(&peers)).unwrap().answering(["[::1]:32021"].into_iter()).to_string();
        assert!(only_v6.contains("as in \"server [::1]:32021\""), "{only_v6}");
        let said = of_slot(&slot(&peers)).unwrap().to_string();
        assert!(said.contains("\"server 127.0.0.1:32021\""), "{said}");
        assert!(
            said.starts_with("\"server localhost:32021\" resolves to 127.0.0.1:32021 and [::1]:32021"),
            "{said}"
        );
    }
}
