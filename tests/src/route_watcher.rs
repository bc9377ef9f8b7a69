//! Watches the route of a group that the daemon switches, and tells the oracle.
//!
//! It queries the group's generation every few milliseconds. A switch has happened between the beginning of the last query
//! that returned the old generation and the end of the first query that returned the new one. A request that was sent after
//! that end must be answered by the new slot, and a request that was answered before that beginning by the old slot. In
//! between both are correct; [`ObservedSwitches::longest_doubt`] is the length of that time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cutover_core::api::Group;
use tokio::task::JoinHandle;

use crate::{Admin, SlotOracle};

const PAUSE: Duration = Duration::from_millis(2);

/// A running watcher. Stops on drop.
#[derive(Debug)]
pub struct RouteWatcher {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<ObservedSwitches>>,
}

/// The switches that a watcher has seen.
#[derive(Clone, Debug, Default)]
pub struct ObservedSwitches {
    /// The slots that got the traffic, in order, after the first one.
    pub switches: Vec<String>,
    /// The longest time from the last query before a switch to the first one after it.
    pub longest_doubt: Duration,
}

impl RouteWatcher {
    /// Starts to tell `expected` about each switch after `first`.
    pub fn start(admin: Admin, first: Group, expected: Arc<SlotOracle>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(watch(admin, first, expected, Arc::clone(&stop)));
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

async fn watch(
    admin: Admin,
    first: Group,
    expected: Arc<SlotOracle>,
    stop: Arc<AtomicBool>,
) -> Result<ObservedSwitches> {
    let mut watched = ObservedSwitches::default();
    let mut seen = first;
    let mut last = Instant::now();
    loop {
        let last_query = stop.load(Ordering::SeqCst);
        let begin = Instant::now();
        let group = admin.group(&seen.name).await.context("failed to query the route")?;
        let changes = group.route.generation.wrapping_sub(seen.route.generation);
        if changes > 1 {
            // Several switches between two queries: any slot may have had the traffic.
            for slot in &group.slots {
                expected.observe(&slot.name, last);
            }
        }
        if changes > 0 {
            expected.observe(&group.route.active, last);
            watched.switches.push(group.route.active.clone());
            watched.longest_doubt = watched.longest_doubt.max(last.elapsed());
        }
        (seen, last) = (group, begin);
        if last_query {
            return Ok(watched);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
