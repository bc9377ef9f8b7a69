//! The resources of a process: descriptors, mappings, memory. Used by tests for leaks.

use std::fmt;
use std::fs;

use anyhow::{Context, Result};

use crate::process::{self, Pid};

/// The resources of one process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Open descriptors.
    pub descriptors: usize,
    /// Open descriptors that are not sockets.
    pub files: usize,
    /// Lines of `/proc/PID/maps`.
    pub mappings: usize,
    /// Mappings of the module's state file and counters.
    pub own_mappings: usize,
    /// Resident memory, in KiB.
    pub resident: u64,
    /// Resident anonymous memory, in KiB: a leak shows here.
    pub anonymous: u64,
    /// Proportional set size, in KiB.
    pub proportional: u64,
}

impl Footprint {
    /// Reads the resources of a live process.
    pub fn of(pid: Pid) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| format!("{path}, of {:?}", process::title(pid)))
        };
        let maps = read("maps")?;
        let own = |line: &&str| line.ends_with("/routes") || line.contains("memfd:cutover");
        let memory = read("smaps_rollup")?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?;
        let links: Vec<_> = descriptors.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
        Ok(Self {
            descriptors: links.len(),
            files: links.iter().filter(|link| !link.to_string_lossy().starts_with("socket:")).count(),
            mappings: maps.lines().count(),
            own_mappings: maps.lines().filter(own).count(),
            resident: kib(&memory, "Rss:")?,
            anonymous: kib(&memory, "Anonymous:")?,
            proportional: kib(&memory, "Pss:")?,
        })
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} descriptors ({} files), {} mappings ({} own), {} KiB resident, {} anonymous, {} proportional",
            self.descriptors,
            self.files,
            self.mappings,
            self.own_mappings,
            self.resident,
            self.anonymous,
            self.proportional
        )
    }
}

fn kib(memory: &str, key: &str) -> Result<u64> {
    let line = memory.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("no {key} in {memory}"))
}
