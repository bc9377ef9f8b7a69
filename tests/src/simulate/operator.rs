//! The shop's operator: the small idempotent commands that the daemon calls.
//!
//! Under the prefix: `slots/SLOT.address` (fixed), `slots/SLOT.pid` and `slots/SLOT.log`. A slot runs detached, in a process group of
//! its own, and outlives the command that started it and the daemon that called that.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use cutover_tests::flavour;
use cutover_tests::process::{self, Pid, Signal};

use crate::release::Release;

/// How long a slot may take to finish what it holds before it is killed.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
pub(crate) enum Slot {
    /// Runs CUTOVER_VERSION in CUTOVER_SLOT, in place of what ran there
    Start(StartSlot),
    /// Stops what runs in CUTOVER_SLOT
    Stop(StopSlot),
}

#[derive(Debug, Args)]
pub(crate) struct StartSlot {
    #[arg(long)]
    prefix: PathBuf,
    #[arg(long, env = "CUTOVER_SLOT")]
    slot: String,
    #[arg(long, env = "CUTOVER_VERSION")]
    version: String,
}

#[derive(Debug, Args)]
pub(crate) struct StopSlot {
    #[arg(long)]
    prefix: PathBuf,
    #[arg(long, env = "CUTOVER_SLOT")]
    slot: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Migrate {
    /// Brings the schema to what CUTOVER_VERSION needs
    Up(ChangeSchema),
    /// Takes back what CUTOVER_DEPLOYMENT has applied
    Down(ChangeSchema),
}

#[derive(Debug, Args)]
pub(crate) struct ChangeSchema {
    #[arg(long)]
    prefix: PathBuf,
    #[arg(long, env = "CUTOVER_VERSION")]
    version: String,
}

impl Slot {
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Self::Start(start) => {
                start_slot(&start.prefix, &start.slot, &Release::find(&start.prefix, &start.version)?)
            }
            Self::Stop(stop) => stop_slot(&stop.prefix, &stop.slot),
        }
    }
}

impl Migrate {
    pub(crate) fn run(&self) -> Result<()> {
        let mut shop = Command::new(flavour::program("shop")?);
        match self {
            Self::Up(change) => {
                let schema = Release::find(&change.prefix, &change.version)?.schema;
                shop.args(["migrate", "up", "--to", &schema.to_string()]);
                shop.arg("--database").arg(database(&change.prefix));
            }
            Self::Down(change) => {
                shop.args(["migrate", "down"]).arg("--database").arg(database(&change.prefix));
            }
        }
        if !shop.status()?.success() {
            bail!("the migration failed");
        }
        Ok(())
    }
}

/// The database that all releases share.
pub(crate) fn database(prefix: &Path) -> PathBuf {
    prefix.join("shop.sqlite")
}

/// Runs a release in a slot; nothing to do when it runs there already.
pub(crate) fn start_slot(prefix: &Path, slot: &str, release: &Release) -> Result<()> {
    if let Some(pid) = running(prefix, slot)
        && process::title(pid).contains(&format!("--version {} ", release.version))
    {
        println!("{} already runs in {slot} as process {pid}", release.version);
        return Ok(());
    }
    stop_slot(prefix, slot)?;
    let address = fs::read_to_string(slot_file(prefix, slot, "address"))
        .with_context(|| format!("no slot {slot:?}"))?;
    let log = fs::OpenOptions::new().create(true).append(true).open(slot_file(prefix, slot, "log"))?;
    let mut shop = Command::new(flavour::program("shop")?);
    shop.args(["serve", "--listen", address.trim(), "--slot", slot, "--version", &release.version])
        .args(["--schema", &release.schema.to_string()])
        .arg("--database")
        .arg(database(prefix))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    if let Some(fault) = &release.fault {
        shop.args(["--fault", fault]);
    }
    let child = shop.spawn().context("failed to start the shop")?;
    fs::write(slot_file(prefix, slot, "pid"), child.id().to_string())?;
    println!("{} starts in {slot} as process {}", release.version, child.id());
    Ok(())
}

/// Stops what runs in a slot; nothing to do when nothing does.
pub(crate) fn stop_slot(prefix: &Path, slot: &str) -> Result<()> {
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

/// The process in a slot. The id may have passed on to somebody else: the command line must be the shop's, with this database.
fn running(prefix: &Path, slot: &str) -> Option<Pid> {
    let pid = process::from_file(&slot_file(prefix, slot, "pid")).ok()?;
    (process::alive(pid) && process::title(pid).contains(&*database(prefix).to_string_lossy())).then_some(pid)
}

pub(crate) fn slot_file(prefix: &Path, slot: &str, kind: &str) -> PathBuf {
    prefix.join("slots").join(format!("{slot}.{kind}"))
}
