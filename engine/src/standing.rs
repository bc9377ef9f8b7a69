//! Where the traffic of a group goes, as its hook `switched` is told it.

use cutover_core::api::RouteState;
use cutover_core::fraction::{Percent, Share};

use crate::edge::Look;
use crate::fleet::View;

/// The slot that has the traffic, or that gets a share of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The slot.
    pub slot: String,
    /// How much of the traffic it has.
    pub share: Percent,
    /// The slot that has the rest.
    pub rest: Option<String>,
    /// Why the traffic goes there, in the words of the edge.
    pub reason: String,
}

/// What a hook was told last. A version is empty where it was not known.
#[derive(Clone, Copy, Debug)]
pub struct LastTold<'a> {
    /// The slot that had the traffic, or has the rest of it.
    pub from: &'a str,
    /// Its version.
    pub from_version: &'a str,
    /// The slot that got the traffic.
    pub to: &'a str,
    /// Its version.
    pub to_version: &'a str,
    /// How much of the traffic it has.
    pub share: Percent,
}

impl Standing {
    /// Where all edges that have answered send the traffic. `None` if they differ, or if one sends it nowhere that is told.
    pub fn of(view: &View, on: impl Fn(&Look) -> Option<Self>) -> Option<Self> {
        let mut looks = view.edges.values();
        let first = on(looks.next()?)?;
        let is_same = |look: &Look| {
            on(look).is_some_and(|other| (&other.slot, other.share) == (&first.slot, first.share))
        };
        looks.all(is_same).then_some(first)
    }

    /// The active slot, as if it had all of the traffic.
    pub fn active(look: &Look) -> Option<Self> {
        let share = Percent::from_parts(Share::WHOLE)?;
        Some(Self { slot: look.route().active.clone(), share, rest: None, reason: look.why() })
    }

    /// The slot that has all of the traffic.
    pub fn whole(look: &Look) -> Option<Self> {
        Self::active(look).filter(|_| second(look.route()).is_none())
    }

    /// The slot that has a share, or all of the traffic.
    pub fn step(look: &Look) -> Option<Self> {
        match second(look.route()) {
            Some((slot, share)) => {
                Some(Self { slot, share, rest: Some(look.route().active.clone()), reason: look.why() })
            }
            None => Self::active(look),
        }
    }

    /// Whether the hook knows this. The same slot with another version is news: it has changed while nobody looked.
    pub fn is_in(&self, last: LastTold<'_>, version: &str) -> bool {
        let is_same_version = last.to_version.is_empty() || version.is_empty() || last.to_version == version;
        last.to == self.slot && last.share == self.share && is_same_version
    }

    /// The slot that had the traffic before, and its version: the other one of what was told last.
    pub fn before(&self, last: LastTold<'_>) -> (String, String) {
        let (slot, version) = match last.to == self.slot && last.share != self.share {
            // The last step: the rest was on the slot that the earlier steps came from.
            true => (last.from, last.from_version),
            false => (last.to, last.to_version),
        };
        (slot.to_owned(), version.to_owned())
    }
}

/// The slot besides the active one, and its share.
fn second(route: &RouteState) -> Option<(String, Percent)> {
    let others = route.split.iter().flatten();
    let mut others = others.filter(|(slot, share)| **slot != route.active && share.parts() > 0);
    others.next().map(|(slot, share)| (slot.clone(), *share))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(number: u16) -> Percent {
        Percent::from_parts(number * 100).unwrap()
    }

    fn told(from: &'static str, to: &'static str, to_version: &'static str, share: u16) -> LastTold<'static> {
        LastTold { from, from_version: "0", to, to_version, share: percent(share) }
    }

    fn standing(slot: &str, share: u16) -> Standing {
        Standing { slot: slot.to_owned(), share: percent(share), rest: None, reason: String::new() }
    }

    #[test]
    fn what_is_news() {
        for (told, now, version, is_known) in [
            (told("blue", "green", "2", 100), standing("green", 100), "2", true),
            (told("blue", "green", "2", 20), standing("green", 100), "2", false),
            (told("blue", "green", "2", 100), standing("blue", 100), "1", false),
            // It went to blue and back while nobody looked, or the hook hung.
            (told("blue", "green", "2", 100), standing("green", 100), "4", false),
            (told("blue", "green", "", 100), standing("green", 100), "2", true),
            (told("blue", "green", "2", 100), standing("green", 100), "", true),
        ] {
            assert_eq!(now.is_in(told, version), is_known, "{told:?} {now:?}");
        }
    }

    #[test]
    fn where_the_traffic_was_before() {
        for (last, now, from) in [
            (told("", "blue", "1", 100), standing("green", 100), "blue"),
            (told("blue", "green", "2", 20), standing("green", 100), "blue"),
            (told("blue", "green", "2", 20), standing("blue", 100), "green"),
            (told("blue", "green", "2", 100), standing("green", 100), "green"),
        ] {
            assert_eq!(now.before(last).0, from, "{last:?} {now:?}");
        }
    }
}
