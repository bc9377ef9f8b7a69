//! What goes on in every group between readings of an operator: the counters of each slot, once a second, and the health of the
//! slots without traffic.
//!
//! ```text
//! each edge --all groups in one request--> LastMinute of each slot -> requests/s, errors, p50, p99 in `status`
//!                                      +-> the last reading ---------> probes of the slots without traffic
//! ```
//!
//! Nothing here decides anything or moves traffic. A single reader of an edge keeps the readings in the order of their time.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::api::Group as Seen;
use cutover_core::deployment::Time;
use cutover_core::rates::{LastMinute, Rates};
use cutover_core::verdict::Sample;
use cutover_engine::edge::Edge;
use cutover_engine::fleet::{Fleet, Member};
use cutover_engine::world::World;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::{Control, HealthStatus};

mod rounds;
mod standbys;

use standbys::Standbys;

/// How often the counters are read.
const INTERVAL: Duration = Duration::from_secs(1);
/// An older reading is no longer what goes on now.
const FRESH: Duration = Duration::from_secs(5);

/// The last readings of all edges.
#[derive(Debug, Default)]
pub(super) struct Samples {
    tasks: Mutex<Vec<AbortHandle>>,
    /// The groups of each edge, and when they were read.
    edges: Mutex<BTreeMap<String, (Time, Vec<Seen>)>>,
    /// By group and slot.
    minutes: Mutex<BTreeMap<(String, String), LastMinute>>,
    standbys: Standbys,
}

/// What a slot did in the last seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Recently {
    pub(super) last_10_s: Option<Rates>,
    pub(super) last_60_s: Option<Rates>,
}

impl Samples {
    /// Adds a reading of an edge. Without counters only the groups are kept.
    fn add(&self, now: Time, edge: &str, groups: Vec<Seen>, has_counters: bool) {
        if has_counters {
            let at = Duration::from_millis(now.0);
            let mut minutes = self.minutes.lock();
            for group in &groups {
                for slot in &group.slots {
                    let minute = minutes.entry((group.name.clone(), slot.name.clone())).or_default();
                    minute.observe(at, edge, &Sample::from(slot));
                }
            }
        }
        self.edges.lock().insert(edge.to_owned(), (now, groups));
    }

    /// What a slot did in the last seconds.
    pub(super) fn recently(&self, now: Time, group: &str, slot: &str) -> Recently {
        let at = Duration::from_millis(now.0);
        let minutes = self.minutes.lock();
        let minute = minutes.get(&(group.to_owned(), slot.to_owned()));
        let rates = |seconds| minute.and_then(|minute| minute.rates(at, Duration::from_secs(seconds)));
        Recently { last_10_s: rates(10), last_60_s: rates(60) }
    }

    /// A group over the edges that have answered just now. `None`: none of them.
    fn seen<'a>(&self, now: Time, group: &str, edges: impl Iterator<Item = &'a str>) -> Option<Seen> {
        let all = self.edges.lock();
        let fresh = edges.filter_map(|edge| all.get(edge)).filter(|(read, _)| read.until(now) <= FRESH);
        let groups: Vec<&Seen> =
            fresh.filter_map(|(_, groups)| groups.iter().find(|seen| seen.name == group)).collect();
        Seen::merged(&groups)
    }

    /// The health of a slot without traffic. Unknown if it is not probed now.
    pub(super) fn health(&self, now: Time, group: &str, slot: &str) -> HealthStatus {
        self.standbys.health(now, group, slot)
    }

    /// Forgets groups that no edge has any more.
    fn forget(&self) {
        let edges = self.edges.lock();
        let is_there = |group: &String, slot: &String| {
            let mut groups = edges.values().flat_map(|(_, groups)| groups);
            groups.any(|seen| seen.name == *group && seen.slot(slot).is_some())
        };
        self.minutes.lock().retain(|(group, slot), _| is_there(group, slot));
    }

    /// Ends all readings.
    pub(super) fn stop(&self) {
        std::mem::take(&mut *self.tasks.lock()).iter().for_each(AbortHandle::abort);
    }
}

impl<W: World> Control<W> {
    /// Begins to read the counters of each edge, and to probe the slots without traffic.
    pub fn keep_sampling(&self) {
        let mut tasks = self.samples.tasks.lock();
        for edge in 0..self.world.edges().len() {
            tasks.push(tokio::spawn(self.clone().sample_edge(edge)).abort_handle());
        }
        tasks.push(tokio::spawn(self.clone().probe_standbys()).abort_handle());
    }

    /// Reads one edge for ever. An edge that does not answer delays no other one.
    async fn sample_edge(self, edge: usize) {
        let Some(member) = self.world.edges().get(edge) else { return };
        loop {
            self.sample(member).await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn sample(&self, member: &Member<W::Edge>) {
        let names = [member.name().to_owned()];
        let survey = Fleet::new(self.world.edges(), &names).survey().await;
        for (edge, groups) in survey {
            if let Ok(groups) = groups {
                self.samples.add(self.clock.now(), &edge, groups, member.edge().abilities().counters);
                self.samples.forget();
            }
        }
    }

    /// A group as its edges were read last.
    fn sampled(&self, group: &str) -> Option<Seen> {
        let fleet = self.fleet(group);
        self.samples.seen(self.clock.now(), group, fleet.names())
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::api::{RouteState, Slot};
    use cutover_core::counters::{Counters, Responses};

    use super::*;

    fn group(requests: u64) -> Seen {
        let responses = Responses { success: requests, ..Responses::default() };
        let counters = Counters { requests, attempts: requests, responses, ..Counters::default() };
        let slot = |name: &str| Slot { name: name.to_owned(), counters, ..Slot::default() };
        let active = "blue".to_owned();
        Seen {
            name: "shop".to_owned(),
            route: RouteState { active, generation: 1, split: None, trial: None, standby: None },
            slots: vec![slot("blue")],
            events: Vec::new(),
        }
    }

    #[test]
    fn two_edges_are_added_up_and_an_old_reading_is_not_shown() {
        let samples = Samples::default();
        for second in 0..=20 {
            for edge in ["paris", "lyon"] {
                samples.add(Time(second * 1000), edge, vec![group(second * 5)], true);
            }
        }
        let now = Time(20_400);
        let Recently { last_10_s, last_60_s } = samples.recently(now, "shop", "blue");
        assert_eq!(last_10_s.unwrap().requests_per_s, 10.0);
        assert_eq!(last_60_s.unwrap().seconds, 20.0);
        assert_eq!(samples.recently(now, "shop", "green"), Recently::default());
        let both = ["paris", "lyon"];
        assert_eq!(samples.seen(now, "shop", both.into_iter()).unwrap().slots[0].counters.requests, 200);
        assert_eq!(samples.seen(Time(26_000), "shop", both.into_iter()), None);
    }

    #[test]
    fn a_group_that_is_gone_is_forgotten_and_an_edge_without_counters_has_no_rates() {
        let samples = Samples::default();
        samples.add(Time(0), "paris", vec![group(0)], true);
        samples.add(Time(1000), "paris", vec![], true);
        samples.forget();
        assert!(samples.minutes.lock().is_empty());
        samples.add(Time(0), "stock", vec![group(0)], false);
        samples.add(Time(1000), "stock", vec![group(0)], false);
        assert_eq!(samples.recently(Time(1000), "shop", "blue"), Recently::default());
    }
}
