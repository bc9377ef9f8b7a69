//! `cutover status [GROUP]`

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Args;
use cutover_core::api::{Peer, Traffic};

use super::terminal::{column, plain};
use super::{CliError, Place};
use crate::control::{
    DeploymentStatus, EdgeStatus, GroupStatus, HealthState, HealthStatus, HookStatus, LeaderStatus,
    SlotStatus,
};
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
    pub(super) fn json(&self) -> bool {
        self.json
    }

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
    if let Some(line) = edges(&status.edges) {
        writeln!(out, "  {}", plain(&line))?;
    }
    for slot in &status.slots {
        let role = role(slot);
        let peers: Vec<String> =
            slot.peers.iter().map(|peer| format!("{}{}", peer.address, note(peer))).collect();
        let command = slot.command.as_ref().map_or_else(String::new, |name| format!("  ({name} is running)"));
        let version =
            slot.version.as_deref().filter(|version| !version.is_empty()).map_or("-".to_owned(), column);
        writeln!(
            out,
            "  {:<10} {role:<10} version {version:<12} {:>4} in flight  {}{command}",
            slot.name,
            slot.in_flight,
            peers.join(", ")
        )?;
    }
    if let Some(line) = status.switched.as_ref().and_then(hook_line) {
        writeln!(out, "  {}", plain(&line))?;
    }
    if let Some(freeze) = &status.frozen {
        writeln!(out, "  {}", super::freeze::line(freeze))?;
    }
    if let Some(deployment) = &status.deployment {
        writeln!(out, "  {}", deployment_line(deployment))?;
        if let Some(figures) = &deployment.figures {
            writeln!(out, "  until now: {}", plain(&figures.to_string()))?;
        }
    }
    if let Some(leader) = &status.leader {
        writeln!(out, "  {}", leader_line(leader))?;
    }
    Ok(())
}

/// The hook `switched`, if it runs or has failed.
fn hook_line(hook: &HookStatus) -> Option<String> {
    match hook {
        HookStatus { running_since: Some(since), .. } => Some(format!("switched is running since {since}")),
        HookStatus { failed: Some(why), told, next, .. } => {
            let next = next.as_deref().unwrap_or_default();
            Some(format!("switched FAILED at {told}: {why}; to run it again, type: {next}"))
        }
        HookStatus { .. } => None,
    }
}

/// Which daemon leads, in one line.
fn leader_line(leader: &LeaderStatus) -> String {
    let epoch = leader.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
    match (&leader.host, &leader.daemon) {
        (Some(host), Some(daemon)) => {
            let me = if leader.me { "this daemon, " } else { "" };
            format!("led by {me}{} on host \"{}\"{epoch}", plain(daemon), plain(host))
        }
        _ => "led by no daemon that is known now: nothing is deployed".to_owned(),
    }
}

/// A deployment in one line: while it is under way, with its step, if it has several, and who has paused it.
fn deployment_line(one: &DeploymentStatus) -> String {
    let is_over = one.phase == "stuck" && !one.needs_operator;
    let mut line =
        format!("deployment {} {} {}", one.deployment, if is_over { "was" } else { "is" }, one.phase);
    // Before the first switch there is no step yet, and after the last one nothing is left of them.
    let in_a_step = matches!(one.phase.as_str(), "switching" | "soaking" | "rolling_back");
    if one.outcome.is_none() && in_a_step && one.steps > 1 {
        line.push_str(&format!(", step {} of {}", one.step, one.steps));
    }
    if let (None, Some(by)) = (one.outcome, &one.paused_by) {
        line.push_str(&format!(", paused by {}", plain(by)));
    }
    if let (None, false) = (one.outcome, one.with.is_empty()) {
        line.push_str(&format!(", together with \"{}\"", plain(&one.with.join("\", \""))));
    }
    format!("{line}: {}", plain(&one.message))
}

/// The edges in one line, as in `edges: 2 of 3 on "green"; "lyon" unreachable for 40 s`. `None` for one edge.
fn edges(edges: &[EdgeStatus]) -> Option<String> {
    let mut slots = BTreeMap::<String, usize>::new();
    let mut unreachable = Vec::new();
    for edge in edges {
        match (&edge.active, &edge.share) {
            (Some(active), None) => *slots.entry(format!("\"{active}\"")).or_default() += 1,
            (Some(active), Some((slot, percent))) => {
                *slots.entry(format!("\"{active}\" with {percent} on \"{slot}\"")).or_default() += 1;
            }
            (None, _) => {
                let why = edge.error.as_deref().unwrap_or_default();
                let time = edge.away_s.map_or_else(String::new, |seconds| format!(" for {seconds} s"));
                unreachable.push(format!("\"{}\" unreachable{time}: {why}", edge.edge));
            }
        }
    }
    let of = edges.len();
    let mut slots: Vec<(String, usize)> = slots.into_iter().collect();
    slots.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let on = slots.into_iter().map(|(slot, count)| format!("{count} of {of} on {slot}"));
    let all: Vec<String> = on.chain(unreachable).collect();
    (of > 0).then(|| format!("edges: {}", all.join("; ")))
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
        Some(Traffic::InFlight { .. } | Traffic::OldWorkers { .. }) | None if slot.standby => {
            "standby".to_owned()
        }
        Some(Traffic::InFlight { .. } | Traffic::OldWorkers { .. }) | None => "idle".to_owned(),
    }
}

fn note(peer: &Peer) -> &'static str {
    match peer {
        Peer { down: true, .. } => " (down)",
        Peer { backup: true, .. } => " (backup)",
        Peer { .. } => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_in_one_line() {
        for (phase, (step, steps), paused_by, outcome, shown) in [
            ("soaking", (2, 3), Some("uid 0"), None, "is soaking, step 2 of 3, paused by uid 0: the message"),
            ("soaking", (2, 3), None, None, "is soaking, step 2 of 3: the message"),
            ("switching", (1, 2), None, None, "is switching, step 1 of 2: the message"),
            ("rolling_back", (2, 2), None, None, "is rolling_back, step 2 of 2: the message"),
            ("soaking", (1, 1), None, None, "is soaking: the message"),
            ("soaking", (1, 1), Some("uid 0"), None, "is soaking, paused by uid 0: the message"),
            ("soaking", (1, 1), Some("a\u{1b}b"), None, "is soaking, paused by a\\u{1b}b: the message"),
            ("probing", (1, 3), Some("uid 7"), None, "is probing, paused by uid 7: the message"),
            ("warm", (3, 3), None, None, "is warm: the message"),
            ("completed", (3, 3), None, Some("completed"), "is completed: the message"),
            ("stuck", (2, 3), Some("uid 0"), Some("stuck"), "is stuck: the message"),
            ("stuck", (1, 1), None, Some("stuck"), "was stuck: the message"),
        ] {
            let status = serde_json::from_value(serde_json::json!({
                "deployment": "shop-1", "group": "shop", "version": "2", "previous_version": "1", "from": "blue",
                "to": "green", "phase": phase, "step": step, "steps": steps, "paused_by": paused_by,
                "outcome": outcome, "needs_operator": phase == "stuck" && step == 2,
                "message": "the message", "asked_by": "uid 0", "started": "", "updated": "",
            }));
            assert_eq!(deployment_line(&status.unwrap()), format!("deployment shop-1 {shown}"));
        }
    }
}
