//! The slots of the shop: one process each.
//!
//! Each slot has the files `slots/SLOT.address` (fixed), `slots/SLOT.pid` and `slots/SLOT.log` under the prefix. It runs in
//! its own process group and outlives the command that started it and the daemon.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Release, database_argument};
use crate::flavour;
use crate::process::{self, Pid, Signal};

/// The shutdown grace: a slot that has not finished its requests by then is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Writes the address of each slot.
pub(super) fn prepare<'a>(prefix: &Path, slots: impl Iterator<Item = (&'a str, SocketAddr)>) -> Result<()> {
    fs::create_dir(prefix.join("slots"))?;
    for (slot, address) in slots {
        fs::write(file(prefix, slot, "address"), address.to_string())?;
    }
    Ok(())
}

/// Runs a release in a slot. Does nothing when it already runs there. Returns what it did, in a sentence.
pub fn start(prefix: &Path, slot: &str, release: &Release) -> Result<String> {
    if let Some(pid) = running(prefix, slot)
        && process::title(pid).contains(&format!("--version {} ", release.version))
    {
        return Ok(format!("{} already runs in {slot} as process {pid}", release.version));
    }
    stop(prefix, slot)?;
    let address =
        fs::read_to_string(file(prefix, slot, "address")).with_context(|| format!("no slot {slot:?}"))?;
    let log = fs::OpenOptions::new().create(true).append(true).open(file(prefix, slot, "log"))?;
    let mut shop = Command::new(flavour::program("shop")?);
    shop.args(["serve", "--listen", address.trim(), "--slot", slot, "--version", &release.version])
        .args(["--schema", &release.schema.to_string(), "--takes-ms", &release.takes_ms.to_string()])
        .arg("--database")
        .arg(database_argument(prefix))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    if let Some(fault) = &release.fault {
        shop.args(["--fault", fault]);
    }
    let child = shop.spawn().context("failed to start the shop")?;
    fs::write(file(prefix, slot, "pid"), child.id().to_string())?;
    Ok(format!("{} starts in {slot} as process {}", release.version, child.id()))
}

/// Stops the release in a slot, if one runs there.
pub fn stop(prefix: &Path, slot: &str) -> Result<()> {
    let Some(pid) = running(prefix, slot) else { return Ok(()) };
    process::signal(pid, Signal::TERM)?;
    let start = Instant::now();
    while process::alive(pid) && start.elapsed() < GRACE {
        std::thread::sleep(Duration::from_millis(10));
    }
    process::kill_now(&[pid]);
    println!("process {pid} in {slot} has ended");
    Ok(())
}

/// The process in a slot, if one runs there. The id may have been reused, so the command line must name this folder.
pub fn running(prefix: &Path, slot: &str) -> Option<Pid> {
    let pid = process::from_file(&file(prefix, slot, "pid")).ok()?;
    (process::alive(pid) && process::title(pid).contains(&format!("{}/", prefix.display()))).then_some(pid)
}

pub(super) fn file(prefix: &Path, slot: &str, kind: &str) -> PathBuf {
    prefix.join("slots").join(format!("{slot}.{kind}"))
}
