//! The route of a group, and the stamp beside it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cutover_core::deployment::Revision;
use cutover_core::fraction::{Percent, Share};
use cutover_engine::edge::{Partial, Shift};
use serde::{Deserialize, Serialize};

/// The annotation of the object that carries a route.
pub const ANNOTATION: &str = "cutover.dev/route";

/// Which slots get the traffic.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Route {
    /// The slot that has what the other one leaves.
    pub(super) active: String,
    /// The slot with a share, and that share: neither nothing nor all.
    pub(super) second: Option<(String, Percent)>,
    /// The last change by Cutover.
    pub(super) stamp: Stamp,
}

/// The last change of a route by Cutover, as the annotation keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stamp {
    /// Counts the changes. 0: none yet.
    pub(super) generation: u64,
    /// The route after the change, as in `blue` or `blue, green 10 %`.
    pub(super) route: String,
    /// The revision before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) follows: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// When, in milliseconds since 1970.
    pub(super) at: u64,
}

impl Route {
    /// The route in one line.
    fn text(&self) -> String {
        match &self.second {
            None => self.active.clone(),
            Some((slot, percent)) => format!("{}, {slot} {percent}", self.active),
        }
    }

    /// The route of two weights. Neither says which slot keeps the rest: the stamp does, as long as it speaks of these weights.
    pub(super) fn of_weights(
        most: (String, Percent),
        least: Option<(String, Percent)>,
        stamp: Stamp,
    ) -> Self {
        let (active, percent) = most;
        let route = Self { active, second: least, stamp };
        let Some((slot, _)) = &route.second else { return route };
        let turned = Self {
            active: slot.clone(),
            second: Some((route.active.clone(), percent)),
            stamp: route.stamp.clone(),
        };
        if route.stamp.generation > 0 && turned.is_as_stamped() { turned } else { route }
    }

    /// Whether nobody has moved the route since the last change by Cutover.
    pub(super) fn is_as_stamped(&self) -> bool {
        self.stamp.generation == 0 || self.stamp.route == self.text()
    }

    /// What a change must expect.
    pub(super) fn revision(&self) -> Revision {
        let generation = self.stamp.generation;
        Revision::new(match (generation, self.is_as_stamped()) {
            (0, _) => format!("generation 0, on {}", self.text()),
            (_, true) => format!("generation {generation}"),
            (_, false) => format!("generation {generation}, then moved to {}", self.text()),
        })
    }

    /// Whether the traffic is the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.active, &self.second) == (&other.active, &other.second)
    }

    /// The route after a shift.
    pub(super) fn after(&self, shift: &Shift) -> Result<Self, String> {
        let (active, second) = match &shift.share {
            Some(Partial { percent, rest }) if percent.parts() < Share::WHOLE => {
                (rest.clone(), Some((shift.to.clone(), *percent)).filter(|(_, part)| part.parts() > 0))
            }
            _ => (shift.to.clone(), None),
        };
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut next = Self { active, second, stamp: Stamp::default() };
        next.stamp = Stamp {
            generation: self.stamp.generation + 1,
            route: next.text(),
            follows: Some(self.revision().as_str().to_owned()),
            reason: Some(shift.reason.clone()),
            at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        };
        Ok(next)
    }
}

impl Stamp {
    /// The slot with a share after the change, and that share.
    pub(super) fn share(&self) -> Option<(String, Percent)> {
        let (slot, percent) = self.route.split_once(", ")?.1.split_once(' ')?;
        let percent: f64 = percent.strip_suffix('%')?.trim().parse().ok()?;
        Some((slot.to_owned(), Percent::try_from(percent).ok()?))
    }

    /// How long ago the change was, by this clock. One that is to come was just now.
    pub(super) fn age(&self) -> Duration {
        let at = UNIX_EPOCH + Duration::from_millis(self.at);
        SystemTime::now().duration_since(at).unwrap_or_default()
    }

    /// Reads the annotation. One that is damaged counts as none, so that the revision differs from all that were stamped.
    pub(super) fn read(annotation: Option<&String>) -> Self {
        annotation.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The annotation.
    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_to(slot: &str) -> Shift {
        Shift { to: slot.to_owned(), share: None, reason: "a test".to_owned(), trial: None, fence: false }
    }

    fn blue() -> Route {
        Route { active: "blue".to_owned(), second: None, stamp: Stamp::default() }
    }

    #[test]
    fn a_change_by_somebody_else_is_another_revision() {
        let ours = blue().after(&all_to("green")).unwrap();
        assert_eq!(ours.revision().as_str(), "generation 1");
        let theirs = Route { active: "blue".to_owned(), ..ours.clone() };
        assert_eq!(theirs.revision().as_str(), "generation 1, then moved to blue");
        let again = theirs.after(&all_to("green")).unwrap();
        assert_eq!(again.revision().as_str(), "generation 2");
        assert_eq!(again.stamp.follows.as_deref(), Some("generation 1, then moved to blue"));
    }

    #[test]
    fn before_the_first_change_the_route_itself_is_the_revision() {
        assert_ne!(blue().revision(), Route { active: "green".to_owned(), ..blue() }.revision());
    }

    #[test]
    fn the_slot_that_keeps_the_rest_is_the_one_of_the_stamp() {
        let percent = |parts| Percent::from_parts(parts).unwrap();
        for (share, rest) in [(6_000, 4_000), (5_000, 5_000)] {
            let part = Some(Partial { percent: percent(share), rest: "blue".to_owned() });
            let split = blue().after(&Shift { share: part, ..all_to("green") }).unwrap();
            for (most, least) in
                [("green", "blue"), ("blue", "green")].into_iter().take(1 + usize::from(share == rest))
            {
                let (most, least) = ((most.to_owned(), percent(share)), (least.to_owned(), percent(rest)));
                let read = Route::of_weights(most, Some(least), split.stamp.clone());
                assert_eq!(read, split);
                assert_eq!(read.revision().as_str(), "generation 1");
            }
        }
        let by_hand = (("green".to_owned(), percent(7_000)), ("blue".to_owned(), percent(3_000)));
        let read =
            Route::of_weights(by_hand.0, Some(by_hand.1), blue().after(&all_to("blue")).unwrap().stamp);
        assert_eq!((read.active.as_str(), read.is_as_stamped()), ("green", false));
    }

    #[test]
    fn a_share() {
        let percent = Percent::from_parts(1_000).unwrap();
        let share = Some(Partial { percent, rest: "blue".to_owned() });
        let split = blue().after(&Shift { share, ..all_to("green") }).unwrap();
        assert_eq!((split.active.as_str(), &split.second), ("blue", &Some(("green".to_owned(), percent))));
        assert_eq!(split.stamp.route, "blue, green 10 %");
        assert_eq!(Stamp::read(Some(&split.stamp.write())), split.stamp);
        assert_eq!((split.stamp.share(), blue().stamp.share()), (split.second, None));
    }
}
