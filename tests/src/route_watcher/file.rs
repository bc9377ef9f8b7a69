//! Watches the upstream file of stock nginx in place of the module's route.
//!
//! A switch begins when the file changes, and has ended when the daemon has removed the second name of the old file: then only
//! workers that have read the new one accept connections. A request that is sent after that and answered by the other slot was
//! answered by a worker that is shutting down.

use std::fs;
use std::path::{Path, PathBuf};
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
    // The last time that the file was as before and no change was open.
    let mut last = Instant::now();
    loop {
        let last_query = stop.load(Ordering::SeqCst);
        let begin = Instant::now();
        let is_open = is_open(&file)?;
        let now = route(&read()?);
        if now != seen && !is_open {
            let slots: Vec<&str> =
                [Some(&now.0), now.1.as_ref()].into_iter().flatten().map(String::as_str).collect();
            expected.observe(&slots, last);
            watched.switches.push(now.1.as_ref().unwrap_or(&now.0).clone());
            watched.times.push(Instant::now());
            watched.longest_doubt = watched.longest_doubt.max(last.elapsed());
            seen = now;
        }
        if !is_open {
            last = begin;
        }
        if last_query && !is_open {
            return Ok(watched);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a change is under way.
fn is_open(file: &Path) -> Result<bool> {
    let folder = file.parent().context("a file without a folder")?;
    for entry in fs::read_dir(folder)? {
        if entry?.file_name().to_string_lossy().ends_with(".cutover-before") {
            return Ok(true);
        }
    }
    Ok(false)
}
