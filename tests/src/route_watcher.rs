//! Watches the route of a group that the daemon switches, and tells the oracle.
//!
//! It queries the group's generation every few milliseconds. A switch has happened between the beginning of the last query
//! that returned the old generation and the end of the first query that returned the new one. A request that was sent after
//! that end must be answered by the new slot, and a request that was answered before that beginning by the old slot. In
//! between both are correct; [`ObservedSwitches::longest_doubt`] is the length of that time. While a split gives a second
//! slot a share, both slots are correct.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cutover_core::api::{Group, RouteState};
use tokio::task::JoinHandle;

use crate::{Admin, SlotOracle};

mod file;
mod fleet;

pub use fleet::Fleet;

const PAUSE: Duration = Duration::from_millis(2);

/// The same for one of several edges, whose watchers share the machine.
const PAUSE_OF_SEVERAL: Duration = Duration::from_millis(5);

/// A running watcher. Stops on drop.
#[derive(Debug)]
pub struct RouteWatcher {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<ObservedSwitches>>,
}

/// The switches that a watcher has seen.
#[derive(Clone, Debug, Default)]
pub struct ObservedSwitches {
    /// The slots that got the traffic, or a share of it, in order, after the first one.
    pub switches: Vec<String>,
    /// The longest time from the last query before a switch to the first one after it.
    pub longest_doubt: Duration,
    /// When the edge did not answer: from the last query before to the first one after it.
    pub outages: Vec<(Instant, Instant)>,
    /// When each of the switches was seen.
    times: Vec<Instant>,
    /// The slots that users are sent to, each time with when that was seen. None while the edge does not answer.
    routes: Vec<(Instant, Vec<String>)>,
}

impl ObservedSwitches {
    /// When the traffic left the slot that it was on at first, and when it was back there.
    pub fn away_from(&self, first: &str) -> Option<(Instant, Instant)> {
        let back = self.switches.iter().position(|slot| slot == first)?;
        Some((*self.times.first()?, *self.times.get(back)?))
    }
}

impl RouteWatcher {
    /// Starts to tell `expected` about each switch after `first`.
    pub fn start(admin: Admin, first: Group, expected: Arc<SlotOracle>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(watch(admin, first, expected, Arc::clone(&stop), Watched::Only));
        Self { stop, task }
    }

    /// The same for one of several edges. It may be away for a time, which is then in [`ObservedSwitches::outages`].
    pub fn of_several(admin: Admin, first: Group, expected: Arc<SlotOracle>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(watch(admin, first, expected, Arc::clone(&stop), Watched::OneOfSeveral));
        Self { stop, task }
    }

    /// Makes a last query and stops.
    pub async fn stop(mut self) -> Result<ObservedSwitches> {
        self.stop.store(true, Ordering::SeqCst);
        (&mut self.task).await?
    }
}

impl Drop for RouteWatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    Only,
    OneOfSeveral,
}

async fn watch(
    admin: Admin,
    first: Group,
    expected: Arc<SlotOracle>,
    stop: Arc<AtomicBool>,
    edge: Watched,
) -> Result<ObservedSwitches> {
    let mut watched = ObservedSwitches::default();
    let mut seen = first;
    let mut last = Instant::now();
    let mut is_away = false;
    let pause = if edge == Watched::Only { PAUSE } else { PAUSE_OF_SEVERAL };
    watched.routes.push((last, with_traffic(&seen.route)));
    loop {
        let last_query = stop.load(Ordering::SeqCst);
        let begin = Instant::now();
        let group = match admin.group(&seen.name).await {
            Err(_) if edge == Watched::OneOfSeveral && !last_query => {
                if !is_away {
                    watched.routes.push((Instant::now(), Vec::new()));
                }
                is_away = true;
                tokio::time::sleep(pause).await;
                continue;
            }
            answer => answer.context("failed to query the route")?,
        };
        if is_away {
            watched.outages.push((last, Instant::now()));
        }
        let changes = group.route.generation.wrapping_sub(seen.route.generation);
        if changes > 1 {
            // Several switches between two queries: any slot may have had the traffic.
            for slot in &group.slots {
                expected.observe(&[&slot.name], last);
            }
        }
        if changes > 0 {
            let slots = with_traffic(&group.route);
            expected.observe(&slots.iter().map(String::as_str).collect::<Vec<_>>(), last);
            watched.switches.extend(slots.last().cloned());
            watched.times.push(Instant::now());
            watched.longest_doubt = watched.longest_doubt.max(last.elapsed());
        }
        if changes > 0 || is_away || last_query {
            watched.routes.push((Instant::now(), with_traffic(&group.route)));
        }
        is_away = false;
        (seen, last) = (group, begin);
        if last_query {
            return Ok(watched);
        }
        tokio::time::sleep(pause).await;
    }
}

/// The active slot, then the one that has a share of the traffic beside it.
fn with_traffic(route: &RouteState) -> Vec<String> {
    let shares = route.split.iter().flat_map(|shares| shares.keys());
    let second = shares.into_iter().find(|slot| **slot != route.active);
    [Some(&route.active), second].into_iter().flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_traffic_is_back_at_the_first_switch_to_the_slot_that_it_left() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let watched = ObservedSwitches {
            switches: ["green", "blue", "blue"].map(str::to_owned).to_vec(),
            times: vec![at(1), at(3), at(4)],
            ..ObservedSwitches::default()
        };
        assert_eq!(watched.away_from("blue"), Some((at(1), at(3))));
        let forward = ObservedSwitches {
            switches: vec!["green".to_owned()],
            times: vec![at(1)],
            ..ObservedSwitches::default()
        };
        assert_eq!(forward.away_from("blue"), None);
    }
}
