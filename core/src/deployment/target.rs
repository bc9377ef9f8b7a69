//! The choice of the slot that a deployment goes to.

use super::Time;
use crate::api::{Group, Slot, Traffic};

/// The slot that a deployment goes to, and the cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The slot.
    pub slot: String,
    /// Whether the slot is the warm way back, which the deployment ends.
    pub ends_way_back: bool,
    /// Unfinished requests of the slot, which the deployment cuts off.
    pub cuts: Option<Traffic>,
}

/// Why no slot can be deployed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTarget {
    /// The group has no slot of the wanted name.
    Unknown(String),
    /// The group has one slot.
    OnlyOne,
    /// The wanted slot has traffic, or all slots have.
    HasTraffic(String, Traffic),
}

/// What the daemon knows about the slots in addition to the group that nginx reports.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a, F, G> {
    /// The slot that is kept warm as the way back.
    pub warm: Option<&'a str>,
    /// When a deployment or a switch last used a slot; zero if never.
    pub last_used: F,
    /// Whether something else needs a slot: it shares servers with a slot that receives requests of users, or a command stops it.
    pub is_taken: G,
}

impl Target {
    /// Chooses the wanted slot. Without one, it prefers the slot that has been idle longest, then a slot with unfinished
    /// requests, and last the warm slot. It never chooses a slot that receives requests of users, or may receive them at any
    /// moment.
    pub fn choose(
        group: &Group,
        wanted: Option<&str>,
        known: &Known<'_, impl Fn(&str) -> Time, impl Fn(&str) -> bool>,
    ) -> Result<Self, NoTarget> {
        let slot = match wanted {
            Some(name) => group.slot(name).ok_or_else(|| NoTarget::Unknown(name.to_owned()))?,
            None => best(group, known).ok_or(NoTarget::OnlyOne)?,
        };
        let traffic = group.has_traffic(&slot.name);
        match traffic {
            Some(routed) if routed.is_routed() => Err(NoTarget::HasTraffic(slot.name.clone(), routed)),
            cuts => {
                let ends_way_back = known.warm == Some(slot.name.as_str());
                Ok(Self { slot: slot.name.clone(), ends_way_back, cuts })
            }
        }
    }
}

/// The best slot. If all slots have traffic, it returns one other than the active slot, because its refusal is more helpful.
fn best<'a>(
    group: &'a Group,
    known: &Known<'_, impl Fn(&str) -> Time, impl Fn(&str) -> bool>,
) -> Option<&'a Slot> {
    let active = group.slots.iter().position(|slot| slot.name == group.route.active).unwrap_or(0);
    let slots = group.slots.len();
    let others = group.slots.iter().enumerate().filter(|(_, slot)| slot.name != group.route.active);
    let best = others.min_by_key(|(at, slot)| {
        let traffic = group.has_traffic(&slot.name);
        let is_routed = traffic.as_ref().is_some_and(Traffic::is_routed);
        let is_taken = is_routed || (known.is_taken)(&slot.name);
        let is_warm = known.warm == Some(slot.name.as_str());
        let after_active = (at + slots - active) % slots.max(1);
        (is_taken, is_warm, traffic.is_some(), (known.last_used)(&slot.name), after_active)
    });
    best.map(|(_, slot)| slot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{RouteState, Shares};
    use crate::counters::Counters;
    use crate::fraction::Percent;

    /// Slots with the requests that they hold; the first one is active.
    fn group(slots: &[(&str, u64)]) -> Group {
        let slot = |(name, in_flight): &(&str, u64)| Slot {
            name: (*name).to_owned(),
            counters: Counters { in_flight: *in_flight, ..Counters::default() },
            ..Slot::default()
        };
        Group {
            name: "shop".to_owned(),
            route: RouteState {
                active: slots[0].0.to_owned(),
                generation: 1,
                split: None,
                trial: None,
                standby: None,
            },
            slots: slots.iter().map(slot).collect(),
            events: Vec::new(),
        }
    }

    fn share(group: &mut Group, slot: &str) {
        let half = Percent::from_parts(5_000).unwrap();
        let shares: Shares = [(group.route.active.clone(), half), (slot.to_owned(), half)].into();
        group.route.split = Some(shares);
    }

    fn choose(
        group: &Group,
        wanted: Option<&str>,
        warm: Option<&str>,
        used: &[&str],
    ) -> Result<Target, NoTarget> {
        let last_used = |slot: &str| {
            let place = used.iter().position(|known| *known == slot);
            Time(place.map_or(0, |place| place as u64 + 1))
        };
        Target::choose(group, wanted, &Known { warm, last_used, is_taken: |slot: &str| slot == "shared" })
    }

    #[test]
    fn an_idle_slot_first_and_the_warm_one_last() {
        for (slots, warm, used, chosen) in [
            (vec![("a", 9), ("b", 0)], None, vec![], "b"),
            (vec![("a", 9), ("b", 0), ("c", 0)], None, vec![], "b"),
            (vec![("b", 9), ("a", 0), ("c", 0)], Some("a"), vec!["a", "b"], "c"),
            (vec![("b", 9), ("a", 1), ("c", 0)], None, vec!["a", "b"], "c"),
            (vec![("c", 9), ("a", 1), ("b", 0)], Some("b"), vec!["a", "b", "c"], "a"),
            (vec![("c", 9), ("a", 0), ("b", 0)], None, vec!["b", "a", "c"], "b"),
            (vec![("c", 9), ("a", 5), ("b", 0)], None, vec!["a", "b", "c"], "b"),
            (vec![("b", 9), ("a", 3)], Some("a"), vec!["a", "b"], "a"),
            (vec![("a", 9), ("shared", 0), ("c", 0)], Some("c"), vec![], "c"),
            (vec![("a", 9), ("shared", 0)], None, vec![], "shared"),
            (vec![("red", 9), ("blue", 0), ("green", 0)], Some("blue"), vec!["red"], "green"),
        ] {
            let found = choose(&group(&slots), None, warm, &used).unwrap();
            assert_eq!(found.slot, chosen, "{slots:?} warm {warm:?} used {used:?}");
        }
    }

    #[test]
    fn it_says_what_is_given_up() {
        let found = choose(&group(&[("b", 9), ("a", 3)]), None, Some("a"), &[]).unwrap();
        assert!(found.ends_way_back);
        assert_eq!(found.cuts.unwrap().to_string(), "holds 3 requests");
        let found = choose(&group(&[("b", 9), ("a", 0), ("c", 0)]), Some("c"), Some("a"), &[]).unwrap();
        assert_eq!(found, Target { slot: "c".to_owned(), ends_way_back: false, cuts: None });
    }

    #[test]
    fn no_slot_that_users_go_to() {
        let mut shop = group(&[("a", 9), ("b", 0), ("c", 0)]);
        let refused = |shop: &Group, wanted| choose(shop, wanted, None, &[]).unwrap_err();
        assert_eq!(refused(&shop, Some("a")), NoTarget::HasTraffic("a".to_owned(), Traffic::Active));
        assert_eq!(refused(&shop, Some("d")), NoTarget::Unknown("d".to_owned()));
        share(&mut shop, "b");
        assert!(
            matches!(refused(&shop, Some("b")), NoTarget::HasTraffic(slot, Traffic::Share { .. }) if slot == "b")
        );
        assert_eq!(choose(&shop, None, None, &[]).unwrap().slot, "c", "the one that has none");
        let mut shop = group(&[("a", 9), ("b", 0)]);
        share(&mut shop, "b");
        assert!(
            matches!(refused(&shop, None), NoTarget::HasTraffic(slot, Traffic::Share { .. }) if slot == "b")
        );
        assert_eq!(refused(&group(&[("a", 9)]), None), NoTarget::OnlyOne);
    }
}
