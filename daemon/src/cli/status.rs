//! `cutover status [GROUP]`

use std::io::{self, Write};

use clap::Args;
use cutover_core::api::{Peer, Traffic};

use super::terminal::{column, plain};
use super::{CliError, Place};
use crate::control::{GroupStatus, HealthState, HealthStatus, SlotStatus};
use cutover_core::name::in_path;

#[derive(Debug, Args)]
pub(super) struct Status {
    /// The group [default: all]
    group: Option<String>,
    /// Print JSON: one group, or a list of all
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let mut out = io::stdout().lock();
        match self.group {
            Some(group) => {
                let status: GroupStatus = client.get(&format!("/v1/groups/{}", in_path(&group))).await?;
                match self.json {
                    true => writeln!(out, "{}", serde_json::json!(status))?,
                    false => print(&mut out, &status)?,
                }
            }
            None => {
                let all: Vec<GroupStatus> = client.get("/v1/status").await?;
                match self.json {
                    true => writeln!(out, "{}", serde_json::json!(all))?,
                    false => all.iter().try_for_each(|status| print(&mut out, status))?,
                }
            }
        }
        Ok(0)
    }
}

fn print(out: &mut impl Write, status: &GroupStatus) -> io::Result<()> {
    match (&status.active, &status.edge_error) {
        (Some(active), _) => {
            let generation = status.generation.unwrap_or(0);
            writeln!(out, "{}: \"{active}\" has the traffic, generation {generation}", status.group)?;
        }
        (None, error) => writeln!(out, "{}: {}", status.group, error.as_deref().unwrap_or("unknown"))?,
    }
    if let (Some(active), Some(line)) = (&status.active, health(&status.health)) {
        writeln!(out, "  \"{active}\" {}", plain(&line))?;
    }
    for slot in &status.slots {
        let role = role(slot);
        let peers: Vec<String> =
            slot.peers.iter().map(|peer| format!("{}{}", peer.address, note(peer))).collect();
        let version =
            slot.version.as_deref().filter(|version| !version.is_empty()).map_or("-".to_owned(), column);
        writeln!(
            out,
            "  {:<10} {role:<10} version {version:<12} {:>4} in flight  {}",
            slot.name,
            slot.in_flight,
            peers.join(", ")
        )?;
    }
    if let Some(deployment) = &status.deployment {
        writeln!(
            out,
            "  deployment {} is {}: {}",
            deployment.deployment,
            deployment.phase,
            plain(&deployment.message)
        )?;
    }
    Ok(())
}

/// The health of the active slot in one line. Trouble stands out. `None` if it is not known.
fn health(status: &HealthStatus) -> Option<String> {
    let since = status.since.as_deref().unwrap_or_default();
    let why = status.why.as_deref().unwrap_or_default();
    let helps = status.helps();
    match status.state {
        HealthState::Unknown => None,
        HealthState::Healthy => Some(format!("is healthy since {since}")),
        HealthState::Degraded => Some(format!("is DEGRADED since {since}: {why}")),
        HealthState::Dead => Some(format!("is DEAD since {since}: {why}{helps}")),
        HealthState::Bad => Some(format!("is BAD since {since}: {why}{helps}")),
    }
}

/// The role of a slot, in one or two words.
fn role(slot: &SlotStatus) -> String {
    match &slot.traffic {
        Some(Traffic::Active) => "active".to_owned(),
        Some(Traffic::Share { percent }) => percent.to_string(),
        Some(Traffic::Fallback { .. }) => "fallback".to_owned(),
        Some(Traffic::InFlight { .. }) | None if slot.standby => "standby".to_owned(),
        Some(Traffic::InFlight { .. }) | None => "idle".to_owned(),
    }
}

fn note(peer: &Peer) -> &'static str {
    match peer {
        Peer { down: true, .. } => " (down)",
        Peer { backup: true, .. } => " (backup)",
        Peer { .. } => "",
    }
}
