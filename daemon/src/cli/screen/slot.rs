//! The lines of one slot: its part of the traffic, version and health, and what it did in the last seconds.

use cutover_core::api::{Peer, Traffic};
use cutover_core::rates::Rates;
use cutover_core::verdict::numbers::Thousands;

use super::super::terminal::column;
use super::figures::rates;
use super::{Line, Now, Style};
use crate::control::{HealthState, HealthStatus, SlotStatus};

/// The widths of the columns that depend on all slots of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    name: usize,
    version: usize,
}

impl Columns {
    pub(super) fn of(slots: &[SlotStatus]) -> Self {
        let widest = |texts: &dyn Fn(&SlotStatus) -> String| {
            slots.iter().map(|slot| console::measure_text_width(&texts(slot))).max().unwrap_or_default()
        };
        Self { name: widest(&|slot| slot.name.clone()), version: widest(&version) }
    }
}

/// The lines of a slot.
pub(super) fn lines(slot: &SlotStatus, columns: Columns, now: &Now) -> Vec<Line> {
    let indent = columns.name + 4;
    let share = slot.share.map(|share| share.to_string()).unwrap_or_default();
    let first = Line::new(indent)
        .text("  ")
        .column(Style::Bold, &slot.name, columns.name + 2)
        .column(Style::Plain, role(slot), 10)
        .column(Style::Plain, share, 8)
        .column(Style::Plain, version(slot), columns.version + 2);
    let (style, health) = health(slot, now);
    let mut lines = vec![first.add(style, health)];
    let windows = [("10 s", &slot.last_10_s), ("1 min", &slot.last_60_s)];
    let is_quiet = slot.last_60_s.as_ref().is_none_or(|rates| rates.requests == 0);
    if slot.traffic.is_some() || !is_quiet {
        lines.extend(
            windows.into_iter().filter_map(|(name, rates)| Some(window(name, rates.as_ref()?, indent))),
        );
    }
    lines.push(servers(slot, indent));
    lines
}

fn window(name: &str, of: &Rates, indent: usize) -> Line {
    let [requests, errors, p50, p99] = rates(of);
    let style = if of.errors > 0 { Style::Doubt } else { Style::Plain };
    Line::new(indent)
        .text(" ".repeat(indent))
        .column(Style::Dim, name, 7)
        .column(Style::Plain, requests, 11)
        .column(style, errors, 18)
        .column(Style::Plain, p50, 13)
        .text(p99)
}

/// What the slot holds, and its servers.
fn servers(slot: &SlotStatus, indent: usize) -> Line {
    let peers: Vec<String> =
        slot.peers.iter().map(|peer| format!("{}{}", peer.address, note(peer))).collect();
    let peers = if peers.is_empty() { "no server".to_owned() } else { peers.join(", ") };
    let held = match (slot.in_flight, slot.upgraded) {
        (0, _) => String::new(),
        (all, 0) => format!("{} in flight; ", Thousands(all)),
        (all, upgraded) => {
            format!("{} in flight, {} of them upgraded; ", Thousands(all), Thousands(upgraded))
        }
    };
    let command = slot.command.as_ref().map(|name| format!("; {name} is running")).unwrap_or_default();
    Line::new(indent).text(" ".repeat(indent)).text(held).add(Style::Dim, peers).add(Style::Doubt, command)
}

fn version(slot: &SlotStatus) -> String {
    match slot.version.as_deref() {
        None | Some("") => "unknown version".to_owned(),
        Some(version) => format!("version {}", column(version)),
    }
}

/// The health of a slot in a few words. The line of the group has the reason, if the slot is active.
fn health(slot: &SlotStatus, now: &Now) -> (Style, String) {
    let HealthStatus { state, why, since, .. } = &slot.health;
    let lasts = since.as_ref().map(|since| format!(" for {}", now.since(since))).unwrap_or_default();
    let why = why.as_ref().filter(|_| !slot.active).map(|why| format!(": {why}")).unwrap_or_default();
    match state {
        HealthState::Unknown => (Style::Dim, "not probed now".to_owned()),
        HealthState::Healthy => (Style::Good, format!("healthy{lasts}")),
        HealthState::Degraded => (Style::Doubt, format!("DEGRADED{lasts}{why}")),
        HealthState::Dead if slot.active => (Style::Bad, format!("DEAD{lasts}")),
        HealthState::Dead => (Style::Dim, format!("not running{lasts}")),
        HealthState::Bad => (Style::Bad, format!("BAD{lasts}")),
    }
}

/// The role of a slot in one word.
fn role(slot: &SlotStatus) -> &'static str {
    match &slot.traffic {
        Some(Traffic::Active) => "active",
        Some(Traffic::Share { .. }) => "share",
        Some(Traffic::Fallback { .. }) => "fallback",
        Some(Traffic::InFlight { .. } | Traffic::OldWorkers { .. }) | None if slot.standby => "standby",
        Some(Traffic::InFlight { .. } | Traffic::OldWorkers { .. }) | None => "idle",
    }
}

fn note(peer: &Peer) -> &'static str {
    match peer {
        Peer { down: true, .. } => " (down)",
        Peer { backup: true, .. } => " (backup)",
        Peer { .. } => "",
    }
}
