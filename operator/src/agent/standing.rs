//! Which change of a `BlueGreen` one nginx has made last, as the events of its group tell.
//!
//! An agent keeps no file. Each change that it makes carries a mark at the beginning of its reason, as in
//! `#7 of 1f3a9c2e: deployment ..`, and nginx keeps the last events of each group over a restart.

use cutover_core::api::Group;
use cutover_core::deployment::TakenBackBy;

/// Characters of a resource's unique id in a mark.
const KEPT: usize = 8;

/// What has moved the route of one nginx last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing that was this agent's.
    Other,
    /// The route has just moved, and nginx has not written down yet what has moved it.
    Unsettled,
    /// This change.
    At(i64),
    /// nginx itself, which took this change back.
    TakenBack(i64, TakenBackBy),
}

impl Standing {
    /// Reads it from the group as nginx shows it alone, with its events.
    pub(super) fn of(group: &Group, uid: &str) -> Self {
        let mut moves = group.events.iter().rev().filter(|event| event.is_of_route());
        let Some(last) = moves.next() else {
            return if group.route.generation == 0 { Self::Other } else { Self::Unsettled };
        };
        if last.generation < group.route.generation {
            return Self::Unsettled;
        }
        let Some(by) = last.taken_back_by() else {
            return seq(&last.reason, uid).map_or(Self::Other, Self::At);
        };
        let before = moves.next().and_then(|event| seq(&event.reason, uid));
        before.map_or(Self::Other, |seq| Self::TakenBack(seq, by))
    }

    /// The change that it is about.
    pub(super) fn seq(self) -> Option<i64> {
        match self {
            Self::At(seq) | Self::TakenBack(seq, _) => Some(seq),
            Self::Other | Self::Unsettled => None,
        }
    }
}

/// The reason of a change with its mark.
pub(super) fn marked(seq: i64, uid: &str, reason: &str) -> String {
    format!("#{seq} of {}: {reason}", short(uid))
}

fn seq(reason: &str, uid: &str) -> Option<i64> {
    let (seq, rest) = reason.strip_prefix('#')?.split_once(" of ")?;
    let (of, _) = rest.split_once(": ")?;
    (of == short(uid)).then(|| seq.parse().ok())?
}

fn short(uid: &str) -> &str {
    uid.char_indices().nth(KEPT).and_then(|(end, _)| uid.get(..end)).unwrap_or(uid)
}

#[cfg(test)]
mod tests {
    use cutover_core::api::RouteState;
    use cutover_core::event::{Kind, RouteEvent};

    use super::*;

    const UID: &str = "1f3a9c2e-0000-4000-8000-000000000001";

    fn group(generation: u32, events: &[(Kind, u32, &str)]) -> Group {
        let event = |(kind, generation, reason): &(Kind, u32, &str)| {
            RouteEvent::new(*kind, "blue", "green", *generation).by("token", reason)
        };
        Group {
            name: "shop".to_owned(),
            route: RouteState {
                active: "green".to_owned(),
                generation,
                split: None,
                trial: None,
                standby: None,
            },
            slots: Vec::new(),
            events: events.iter().map(event).collect(),
        }
    }

    #[test]
    fn what_the_last_events_tell() {
        let ours = marked(7, UID, "deployment shop-1: with a colon");
        let theirs = marked(7, "deadbeef-", "deployment shop-1");
        let (ours, theirs) = (ours.as_str(), theirs.as_str());
        for (name, generation, events, expected) in [
            ("never moved", 0, vec![], Standing::Other),
            ("our change", 3, vec![(Kind::Switch, 3, ours)], Standing::At(7)),
            ("our share", 3, vec![(Kind::Split, 3, ours)], Standing::At(7)),
            (
                "confirmed, which moves nothing",
                3,
                vec![(Kind::Switch, 3, ours), (Kind::Confirm, 3, "good")],
                Standing::At(7),
            ),
            (
                "held, which moves nothing",
                3,
                vec![(Kind::Switch, 3, ours), (Kind::Held, 3, "")],
                Standing::At(7),
            ),
            (
                "taken back by the guard",
                4,
                vec![(Kind::Switch, 3, ours), (Kind::Guard, 4, "5 of 9")],
                Standing::TakenBack(7, TakenBackBy::Guard),
            ),
            (
                "taken back by the lease",
                4,
                vec![(Kind::Split, 3, ours), (Kind::Lease, 4, "")],
                Standing::TakenBack(7, TakenBackBy::Lease),
            ),
            ("taken back, not written yet", 4, vec![(Kind::Switch, 3, ours)], Standing::Unsettled),
            ("the events are lost", 4, vec![], Standing::Unsettled),
            (
                "moved by hand since",
                4,
                vec![(Kind::Switch, 3, ours), (Kind::Switch, 4, "by hand")],
                Standing::Other,
            ),
            ("the change of another resource", 3, vec![(Kind::Switch, 3, theirs)], Standing::Other),
            (
                "somebody else's change taken back",
                4,
                vec![(Kind::Switch, 3, "by hand"), (Kind::Guard, 4, "")],
                Standing::Other,
            ),
        ] {
            assert_eq!(Standing::of(&group(generation, &events), UID), expected, "{name}");
        }
    }
}
