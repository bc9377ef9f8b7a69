//! Watches the upstream file of stock nginx in place of the module's route.
//!
//! A switch is asked for when the file changes. Until the reload is over, the old slot answers; after it, workers that are shutting
//! down may. Each such answer to a request that was sent after the change is one from the wrong slot.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};

use super::{ObservedSwitches, PAUSE, RouteWatcher};
use crate::SlotOracle;
use crate::site::stock::route;

impl RouteWatcher {
    /// Starts to tell `expected` about each switch of this file.
    pub fn of_file(file: PathBuf, expected: Arc<SlotOracle>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(watch(file, expected, Arc::clone(&stop)));
        Self { stop, task }
    }
}

async fn watch(file: PathBuf, expected: Arc<SlotOracle>, stop: Arc<AtomicBool>) -> Result<ObservedSwitches> {
    let mut watched = ObservedSwitches::default();
    let read = || fs::read_to_string(&file).context("failed to read the upstream file");
    let mut seen = route(&read()?);
    let mut last = Instant::now();
    loop {
        let last_query = stop.load(Ordering::SeqCst);
        let begin = Instant::now();
        let now = route(&read()?);
        if now != seen {
            let slots = [Some(&now.0), now.1.as_ref()].into_iter().flatten();
            expected.observe(&slots.map(String::as_str).collect::<Vec<_>>(), last);
            watched.switches.push(now.1.as_ref().unwrap_or(&now.0).clone());
            watched.times.push(Instant::now());
            watched.longest_doubt = watched.longest_doubt.max(last.elapsed());
            seen = now;
        }
        last = begin;
        if last_query {
            return Ok(watched);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
