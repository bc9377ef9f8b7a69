//! The memory of a process.

use std::fs;

use anyhow::{Context, Result};
use cutover_tests::process::Pid;

/// In bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Proportional set size: its own memory, and its share of shared memory.
    pub(super) pss: u64,
    /// The part of it that is shared memory: state file and counters.
    pub(super) shared: u64,
    /// Page tables, which are not part of the above.
    pub(super) page_tables: u64,
}

impl Memory {
    pub(super) fn of(pid: Pid) -> Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self {
            pss: field(&rollup, "Pss:")?,
            shared: field(&rollup, "Pss_Shmem:")?,
            page_tables: field(&status, "VmPTE:")?,
        })
    }

    pub(super) fn of_first(pids: &[Pid]) -> Result<Self> {
        Self::of(*pids.first().context("nginx has no worker")?)
    }
}

fn field(text: &str, name: &str) -> Result<u64> {
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok());
    Ok(value.with_context(|| format!("the kernel does not say {name}"))? * 1024)
}
