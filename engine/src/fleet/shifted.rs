//! The outcome of a change on several edges.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::edge::Look;
use crate::shifting::Shifted;

/// The outcome of a change on all edges. A text about one edge of several names it.
#[derive(Clone, Debug)]
pub enum FleetShifted {
    /// All edges have confirmed it.
    Done(BTreeMap<String, Look>),
    /// It has moved nothing on any edge, and never will.
    NotDone(String),
    /// Somebody else moved the route of these edges, and this change has moved nothing.
    Elsewhere(BTreeMap<String, Look>),
    /// All edges have moved, but a power loss would move one back.
    NotDurable(String),
    /// It may have moved the route of some edges, or may still do so.
    Uncertain(String),
}

impl FleetShifted {
    /// The outcome of all. `None` of an edge: there was no certain answer in time.
    pub(super) fn of(outcomes: Vec<(String, Option<Shifted>)>, patience: Duration) -> Self {
        let is_several = outcomes.len() > 1;
        let told = |edge: &str, why: String| match is_several {
            true => format!("edge \"{edge}\": {why}"),
            false => why,
        };
        let (mut done, mut elsewhere) = (BTreeMap::new(), BTreeMap::new());
        let (mut not_done, mut not_durable, mut uncertain) = (Vec::new(), Vec::new(), Vec::new());
        for (edge, outcome) in outcomes {
            match outcome {
                Some(Shifted::Done(look)) => {
                    done.insert(edge, look);
                }
                Some(Shifted::Elsewhere(look)) => {
                    elsewhere.insert(edge, look);
                }
                Some(Shifted::NotDone(why)) => not_done.push(told(&edge, why)),
                Some(Shifted::NotDurable(why)) => not_durable.push(told(&edge, why)),
                Some(Shifted::Uncertain(why)) => uncertain.push(told(&edge, why)),
                None => {
                    let limit = humantime::format_duration(patience);
                    uncertain.push(told(&edge, format!("no certain answer within {limit}")));
                }
            }
        }
        let has_moved = !done.is_empty() || !not_durable.is_empty();
        if !uncertain.is_empty() {
            return Self::Uncertain(uncertain.join("; "));
        }
        match (not_done.is_empty(), elsewhere.is_empty()) {
            (true, true) if not_durable.is_empty() => Self::Done(done),
            (true, true) => Self::NotDurable(not_durable.join("; ")),
            _ if has_moved => {
                let moved = elsewhere.iter().map(|(edge, look)| told(edge, look.moved().text));
                let why: Vec<String> = not_done.into_iter().chain(moved).collect();
                Self::Uncertain(format!("only a part of the edges has moved: {}", why.join("; ")))
            }
            (_, false) => Self::Elsewhere(elsewhere),
            (false, true) => Self::NotDone(not_done.join("; ")),
        }
    }
}
