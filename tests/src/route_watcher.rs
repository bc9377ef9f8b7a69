//! Watches the route, since the daemon makes the switch and not the load.
//!
//! It asks the module for the group's generation again and again. A switch has happened between the begin of the last look that saw
//! the old generation and the end of the first that saw the new one. Requests sent after that end must be answered by the new slot;
//! requests answered before that begin, by the old one. Only in between is either right, and [`ObservedSwitches::longest_doubt`] says how long that
//! can have been.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cutover_core::api::Group;
use tokio::task::JoinHandle;

use crate::{Admin, SlotOracle};

const PAUSE: Duration = Duration::from_millis(2);

/// A running watch. Ends when it goes.
#[derive(Debug)]
pub struct RouteWatcher {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<ObservedSwitches>>,
}

/// What a watch has seen.
#[derive(Clone, Debug, Default)]
pub struct ObservedSwitches {
    /// The slots that got the traffic, in order, after the first one.
    pub switches: Vec<String>,
    /// How long at most either slot was right: from the last look before a switch to the first after it.
    pub longest_doubt: Duration,
}

impl RouteWatcher {
    /// Starts to tell `expected` of each switch after `first`.
    pub fn start(admin: Admin, first: Group, expected: Arc<SlotOracle>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(watch(admin, first, expected, Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Takes a last look and ends.
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
        let last_look = stop.load(Ordering::SeqCst);
        let begin = Instant::now();
        let group = admin.group(&seen.name).await.context("failed to look at the route")?;
        let changes = group.route.generation.wrapping_sub(seen.route.generation);
        if changes > 1 {
            // There and back between two looks: who had the traffic meanwhile cannot be told.
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
        if last_look {
            return Ok(watched);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
