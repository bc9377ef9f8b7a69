//! The commands of the shop's operator: small and idempotent.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use cutover_tests::flavour;
use cutover_tests::site::{Release, database, slot};

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
                let release = Release::find(&start.prefix, &start.version)?;
                println!("{}", slot::start(&start.prefix, &start.slot, &release)?);
                Ok(())
            }
            Self::Stop(stop) => slot::stop(&stop.prefix, &stop.slot),
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
