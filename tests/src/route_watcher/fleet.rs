//! Several edges, each with a watcher: for how long they sent users to different slots.

use std::time::{Duration, Instant};

use super::ObservedSwitches;

/// What the watchers of all edges have seen.
#[derive(Clone, Debug)]
pub struct Fleet<'a> {
    edges: Vec<&'a ObservedSwitches>,
}

impl<'a> Fleet<'a> {
    /// Of all edges.
    pub fn new(edges: impl IntoIterator<Item = &'a ObservedSwitches>) -> Self {
        Self { edges: edges.into_iter().collect() }
    }

    /// The longest time in which two edges sent users to different slots. Two edges with shares for the same two slots do not
    /// differ. An edge that does not answer sends users nowhere.
    pub fn longest_difference(&self) -> Duration {
        let mut times: Vec<_> =
            self.edges.iter().flat_map(|edge| edge.routes.iter().map(|(at, _)| *at)).collect();
        times.sort_unstable();
        let mut longest = Duration::ZERO;
        let mut since = None::<Instant>;
        for at in times {
            if let Some(since) = since {
                longest = longest.max(at - since);
            }
            since = self.differ(at).then(|| since.unwrap_or(at));
        }
        longest
    }

    /// Whether all edges were seen without traffic for `slot` at this time.
    pub fn is_off(&self, slot: &str, at: Instant) -> bool {
        self.edges
            .iter()
            .all(|edge| edge.slots_at(at).is_some_and(|slots| !slots.iter().any(|one| one == slot)))
    }

    fn differ(&self, at: Instant) -> bool {
        let mut routes = self
            .edges
            .iter()
            .filter_map(|edge| edge.slots_at(at))
            .filter(|slots| !slots.is_empty())
            .map(sorted);
        routes.next().is_some_and(|first| routes.any(|other| other != first))
    }
}

impl ObservedSwitches {
    /// The slots that users were sent to at this time; `None` before the first query.
    fn slots_at(&self, at: Instant) -> Option<&[String]> {
        self.routes.iter().rev().find(|(since, _)| *since <= at).map(|(_, slots)| slots.as_slice())
    }
}

fn sorted(slots: &[String]) -> Vec<&str> {
    let mut slots: Vec<_> = slots.iter().map(String::as_str).collect();
    slots.sort_unstable();
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a watcher has seen, at these milliseconds.
    fn edge(start: Instant, routes: &[(u64, &[&str])]) -> ObservedSwitches {
        let routes = routes.iter().map(|(ms, slots)| {
            (start + Duration::from_millis(*ms), slots.iter().map(|slot| (*slot).to_owned()).collect())
        });
        ObservedSwitches { routes: routes.collect(), ..ObservedSwitches::default() }
    }

    #[test]
    fn edges_differ_from_the_first_switch_to_the_last() {
        let start = Instant::now();
        let one = edge(start, &[(0, &["blue"]), (100, &["green"]), (500, &["blue"]), (900, &["blue"])]);
        let two = edge(start, &[(1, &["blue"]), (130, &["green"]), (510, &["blue"]), (901, &["blue"])]);
        let fleet = Fleet::new([&one, &two]);
        assert_eq!(fleet.longest_difference(), Duration::from_millis(30));
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!fleet.is_off("blue", at(120)), "the second edge has not switched yet");
        assert!(fleet.is_off("blue", at(140)));
        assert!(!fleet.is_off("blue", at(505)), "the first edge is back");
    }

    #[test]
    fn a_difference_that_lasts_to_the_end_counts() {
        let start = Instant::now();
        let one = edge(start, &[(0, &["blue"]), (100, &["green"]), (400, &["green"])]);
        let two = edge(start, &[(0, &["blue"]), (390, &["blue"])]);
        assert_eq!(Fleet::new([&one, &two]).longest_difference(), Duration::from_millis(300));
    }

    #[test]
    fn an_edge_that_is_away_differs_from_nobody() {
        let start = Instant::now();
        let one = edge(start, &[(0, &["green"]), (200, &["blue"]), (1_000, &["blue"])]);
        let two = edge(start, &[(0, &["green"]), (100, &[]), (600, &["green"]), (650, &["blue"])]);
        assert_eq!(Fleet::new([&one, &two]).longest_difference(), Duration::from_millis(50));
    }

    #[test]
    fn a_share_of_one_edge_is_a_difference_and_shares_of_both_are_none() {
        let start = Instant::now();
        let one =
            edge(start, &[(0, &["blue"]), (100, &["blue", "green"]), (900, &["green"]), (950, &["green"])]);
        let two =
            edge(start, &[(0, &["blue"]), (120, &["green", "blue"]), (910, &["green"]), (950, &["green"])]);
        assert_eq!(Fleet::new([&one, &two]).longest_difference(), Duration::from_millis(20));
    }
}
