//! Checks across the groups of nginx: servers that two groups share, and names that keep nginx from starting.

use std::net::IpAddr;

use cutover_core::api::Group as Seen;

use super::Finding;

/// Servers of this group that a group after it has, too. A slot with traffic is reported elsewhere.
pub(super) fn check_shared(seen: &Seen, all: &[Seen], findings: &mut Vec<Finding>) {
    let after = all.iter().skip_while(|other| other.name != seen.name).skip(1);
    for other in after {
        let pairs = seen.slots.iter().flat_map(|ours| other.slots.iter().map(move |theirs| (ours, theirs)));
        for (ours, theirs) in pairs {
            // One of them has traffic, the other does not: `check_slots` says why a deployment is refused now.
            let is_said = (ours.name == seen.route.active) != (theirs.name == other.route.active);
            if let Some(what) = ours.in_common_with(theirs).filter(|_| !is_said) {
                findings.push(Finding::Warning(format!(
                    "group.{}, slot \"{}\": it shares the {what} with slot \"{}\" of group \"{}\": a deployment of one group \
                     starts and stops servers of the other, so it is refused while the other one has traffic there; give each \
                     group servers of its own, or deploy them together (docs/groups-together.md)",
                    seen.name, ours.name, theirs.name, other.name
                )));
            }
        }
    }
}

/// Servers that nginx knows by a name. nginx resolves it when it starts or reloads, and does not start without an address.
pub(super) fn check_names(seen: &Seen, findings: &mut Vec<Finding>) {
    for slot in &seen.slots {
        let named = slot.peers.iter().filter_map(|peer| peer.server.as_deref());
        let mut named: Vec<&str> = named.filter(|server| is_looked_up(server)).collect();
        named.sort_unstable();
        named.dedup();
        for server in named {
            findings.push(Finding::Hint(format!(
                "group.{}, slot \"{}\": \"server {server}\" of upstream {} is a name: unless it has \"resolve\", nginx does \
                 not start or reload when the name has no address, as when the slot's container is gone; write an address, or \
                 from nginx 1.27.3 on \"server {server} resolve;\" with \"zone\" and \"resolver\"",
                seen.name, slot.name, slot.upstream
            )));
        }
    }
}

/// Whether a server is a name of the network. `localhost` always has an address.
fn is_looked_up(server: &str) -> bool {
    if server.starts_with("unix:") || server.starts_with('[') {
        return false;
    }
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    host.parse::<IpAddr>().is_err() && host != "localhost" && !host.is_empty()
}

#[cfg(test)]
mod tests {
    use cutover_core::api::{Peer, RouteState, Slot};

    use super::*;

    fn group(name: &str, slots: &[(&str, &str, Option<&str>)]) -> Seen {
        let slot = |(name, address, server): &(&str, &str, Option<&str>)| Slot {
            name: (*name).to_owned(),
            upstream: format!("u_{name}"),
            peers: vec![Peer {
                address: (*address).to_owned(),
                server: server.map(str::to_owned),
                backup: false,
                down: false,
            }],
            ..Slot::default()
        };
        let active = slots.first().map_or("", |(name, ..)| name).to_owned();
        Seen {
            name: name.to_owned(),
            route: RouteState { active, generation: 0, split: None, trial: None, standby: None },
            slots: slots.iter().map(slot).collect(),
            events: Vec::new(),
        }
    }

    #[test]
    fn two_groups_with_one_server() {
        let shop = group("shop", &[("a", "10.0.0.1:1", None), ("b", "10.0.0.2:1", None)]);
        let blog = group("blog", &[("c", "10.0.0.3:1", None), ("d", "10.0.0.2:1", None)]);
        let all = [shop.clone(), blog.clone()];
        let mut findings = Vec::new();
        check_shared(&shop, &all, &mut findings);
        check_shared(&blog, &all, &mut findings);
        let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let [one] = said.as_slice() else { panic!("{said:?}") };
        let begin = "warning: group.shop, slot \"b\": it shares the server 10.0.0.2:1 with slot \"d\" of group \"blog\"";
        assert!(one.starts_with(begin), "{one}");
    }

    #[test]
    fn a_name_is_looked_up_and_an_address_is_not() {
        for (server, is) in [
            (Some("app-green:3000"), true),
            (Some("app.example"), true),
            (Some("localhost:3000"), false),
            (Some("127.0.0.1"), false),
            (Some("[::1]:80"), false),
            (Some("unix:/run/a.sock"), false),
            (None, false),
        ] {
            let mut findings = Vec::new();
            check_names(&group("shop", &[("a", "10.0.0.1:1", server)]), &mut findings);
            assert_eq!(!findings.is_empty(), is, "{server:?}");
        }
    }
}
