//! Slots of several groups that lead to the same servers.

use std::fmt;

use super::{Group, Traffic};

/// A slot of another group that has traffic at servers of ours. Text completes `slot "green" ..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The other group.
    pub group: String,
    /// Its slot.
    pub slot: String,
    /// Why that slot has traffic.
    pub traffic: Traffic,
    /// What both have, as in `server 127.0.0.1:3000` or `upstream shop_green`.
    pub what: String,
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, slot, traffic, what } = self;
        write!(f, "shares the {what} with slot \"{slot}\" of group \"{group}\", which {traffic}")
    }
}

impl Group {
    /// The first slot of another group that users' requests go to, or may at any moment, and that has an upstream or a server in
    /// common with one of ours: what is done to ours is done to its users.
    pub fn shared_with(&self, slot: &str, groups: &[Self]) -> Option<Shared> {
        let ours = self.slot(slot)?;
        let others = groups.iter().filter(|other| other.name != self.name);
        others.flat_map(|other| other.slots.iter().map(move |theirs| (other, theirs))).find_map(
            |(other, theirs)| {
                let what = if !ours.upstream.is_empty() && ours.upstream == theirs.upstream {
                    format!("upstream {}", ours.upstream)
                } else {
                    let both = ours
                        .primaries()
                        .find(|peer| theirs.primaries().any(|their| their.address == peer.address))?;
                    format!("server {}", both.address)
                };
                let traffic = other.route.routes_to(&theirs.name)?;
                Some(Shared { group: other.name.clone(), slot: theirs.name.clone(), traffic, what })
            },
        )
    }
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
    fn it_is_said_in_one_line() {
        let shop = group("shop", "blue", &[("green", "sg", "a:2", false)]);
        let blog = group("blog", "x", &[("x", "bx", "a:2", false)]);
        let said = shop.shared_with("green", &[blog]).unwrap().to_string();
        assert_eq!(said, "shares the server a:2 with slot \"x\" of group \"blog\", which has the traffic");
    }
}
