//! Slots that share servers.

use std::fmt;

use super::{Group, Slot, Traffic};

/// A slot that has traffic and shares a server or an upstream with another slot. The text completes `slot "green" ..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The group of that slot.
    pub group: String,
    /// The slot.
    pub slot: String,
    /// Why it has traffic.
    pub traffic: Traffic,
    /// The shared part, as in `server 127.0.0.1:3000` or `upstream shop_green`.
    pub what: String,
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, slot, traffic, what } = self;
        write!(f, "shares the {what} with slot \"{slot}\" of group \"{group}\", which {traffic}")
    }
}

impl Group {
    /// Finds a slot of another group that has traffic and shares an upstream or a server with `slot`. A command on `slot`
    /// would affect its users. A slot that receives new requests comes before one with unfinished requests only.
    pub fn shared_with(&self, slot: &str, groups: &[Self]) -> Option<Shared> {
        let ours = self.slot(slot)?;
        let others = groups.iter().filter(|other| other.name != self.name);
        let theirs = others.flat_map(|other| other.slots.iter().map(move |slot| (other, slot)));
        theirs
            .filter_map(|(other, theirs)| shared(ours, other, theirs))
            .min_by_key(|shared| !shared.traffic.is_routed())
    }

    /// Like [`Group::shared_with`], for the other slots of this group.
    pub fn shared_within(&self, slot: &str) -> Option<Shared> {
        let ours = self.slot(slot)?;
        let others = self.slots.iter().filter(|other| other.name != slot);
        others
            .filter_map(|theirs| shared(ours, self, theirs))
            .min_by_key(|shared| !shared.traffic.is_routed())
    }
}

impl Slot {
    /// What two slots share, as in `server 127.0.0.1:3000` or `upstream shop_green`.
    pub fn in_common_with(&self, other: &Self) -> Option<String> {
        if !self.upstream.is_empty() && self.upstream == other.upstream {
            return Some(format!("upstream {}", self.upstream));
        }
        let is_theirs = |address: &str| other.primaries().any(|peer| peer.address == address);
        self.primaries().find(|peer| is_theirs(&peer.address)).map(|peer| format!("server {}", peer.address))
    }
}

fn shared(ours: &Slot, other: &Group, theirs: &Slot) -> Option<Shared> {
    let what = ours.in_common_with(theirs)?;
    let traffic = other.has_traffic(&theirs.name)?;
    Some(Shared { group: other.name.clone(), slot: theirs.name.clone(), traffic, what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Peer, RouteState, Slot};

    fn group(name: &str, active: &str, slots: &[(&str, &str, &str, bool)]) -> Group {
        let slot = |(name, upstream, address, backup): &(&str, &str, &str, bool)| Slot {
            name: (*name).to_owned(),
            upstream: (*upstream).to_owned(),
            peers: vec![Peer { address: (*address).to_owned(), server: None, backup: *backup, down: false }],
            ..Slot::default()
        };
        Group {
            name: name.to_owned(),
            route: RouteState {
                active: active.to_owned(),
                generation: 0,
                split: None,
                trial: None,
                standby: None,
            },
            slots: slots.iter().map(slot).collect(),
            events: Vec::new(),
        }
    }

    #[test]
    fn what_is_shared_with_users_of_another_group() {
        let shop = group("shop", "blue", &[("blue", "sb", "a:1", false), ("green", "sg", "a:2", false)]);
        for (name, blog, shared) in [
            ("nothing in common", group("blog", "x", &[("x", "bx", "b:1", false)]), None),
            ("the upstream", group("blog", "x", &[("x", "sg", "a:2", false)]), Some("upstream sg")),
            (
                "an upstream without servers",
                group("blog", "x", &[("x", "sg", "", false)]),
                Some("upstream sg"),
            ),
            ("a server", group("blog", "x", &[("x", "bx", "a:2", false)]), Some("server a:2")),
            (
                "a server of an idle slot",
                group("blog", "y", &[("x", "bx", "a:2", false), ("y", "by", "b:1", false)]),
                None,
            ),
            ("a server that only stands in", group("blog", "x", &[("x", "bx", "a:2", true)]), None),
            ("the group itself", group("shop", "green", &[("green", "sg", "a:2", false)]), None),
        ] {
            let found = shop.shared_with("green", &[shop.clone(), blog]);
            assert_eq!(found.as_ref().map(|found| found.what.as_str()), shared, "{name}");
        }
    }

    #[test]
    fn what_is_shared_within_the_group() {
        let shop = group("shop", "blue", &[("blue", "sb", "a:1", false), ("green", "sg", "a:1", false)]);
        assert_eq!(shop.shared_within("green").unwrap().what, "server a:1");
        assert_eq!(shop.shared_within("blue"), None, "green has no traffic");
        let crossed = group("shop", "blue", &[("blue", "sb", "a:1", false), ("green", "sg", "a:1", true)]);
        assert_eq!(crossed.shared_within("green"), None, "a backup is no part of it");
    }

    #[test]
    fn requests_of_another_group_are_traffic_too() {
        let shop = group("shop", "blue", &[("green", "sg", "a:2", false)]);
        let mut blog = group("blog", "y", &[("x", "bx", "a:2", false), ("y", "by", "b:1", false)]);
        assert_eq!(shop.shared_with("green", std::slice::from_ref(&blog)), None);
        blog.slots[0].counters.in_flight = 2;
        let traffic = shop.shared_with("green", std::slice::from_ref(&blog)).unwrap().traffic;
        assert_eq!(traffic, Traffic::InFlight { requests: 2, upgraded: 0 });
        blog.slots[0].counters.in_flight = 0;
        blog.slots[0].previews.in_flight = 1;
        let traffic = shop.shared_with("green", &[blog]).unwrap().traffic;
        assert_eq!(traffic, Traffic::InFlight { requests: 1, upgraded: 0 }, "a preview");
    }

    #[test]
    fn it_is_said_in_one_line() {
        let shop = group("shop", "blue", &[("green", "sg", "a:2", false)]);
        let blog = group("blog", "x", &[("x", "bx", "a:2", false)]);
        let said = shop.shared_with("green", &[blog]).unwrap().to_string();
        assert_eq!(said, "shares the server a:2 with slot \"x\" of group \"blog\", which has the traffic");
    }
}
