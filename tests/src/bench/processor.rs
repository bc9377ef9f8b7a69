//! Processor time, which depends less on the machine's other load.

use std::fs;

use anyhow::{Context, Result};
use cutover_tests::process::Pid;

/// The processor time of a process's first thread, in seconds. nginx rarely uses others.
pub(crate) fn of(pid: Pid) -> Result<f64> {
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    Ok(nanoseconds.with_context(|| format!("no time in {path}"))? / 1e9)
}

/// The processor time of this process's ended children, in seconds.
pub(crate) fn of_ended_children() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("failed to read this process's times")?;
    // The name in brackets may contain brackets; cutime and cstime (proc(5)) are the 14th and 15th field after it.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').skip(13).take(2));
    let ticks = fields.context("no such fields")?.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS)
}

/// Ticks per second in `/proc/PID/stat` (`USER_HZ`).
const TICKS: f64 = 100.0;
