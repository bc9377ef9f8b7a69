//! The status of a group: one block of lines.

use std::collections::BTreeMap;

use cutover_core::api::{TrialPhase, TrialState};
use cutover_core::deployment::Outcome;

use super::live::{parts, words};
use super::slot::{self, Columns};
use super::when::long;
use super::{Line, Now, Style};
use crate::control::{
    CleanUp, DeploymentStatus, EdgeStatus, GroupStatus, HealthState, HookStatus, LeaderStatus, NextStep,
};

/// The width of the words at the left.
const LABEL: usize = 11;

/// The lines of a group. `cutover`: the program with its hosts, as it is typed here.
pub(in crate::cli) fn lines(status: &GroupStatus, cutover: &str, now: &Now) -> Vec<Line> {
    let mut lines: Vec<Line> = trouble(status, now).into_iter().collect();
    if let Some(active) = &status.active {
        let generation = status.generation.unwrap_or(0);
        let text = format!(": slot \"{active}\" has the traffic, generation {generation}");
        lines.push(Line::new(2).add(Style::Bold, &status.group).text(text));
    }
    let columns = Columns::of(&status.slots);
    lines.extend(status.slots.iter().flat_map(|slot| slot::lines(slot, columns, now)));
    lines.extend(edges(&status.edges).map(|text| labelled("edges").text(text)));
    lines.extend(status.frozen.as_ref().map(|freeze| labelled("frozen").text(now.local(&freeze.in_words()))));
    lines.extend(status.switched.as_ref().and_then(|hook| hook_line(hook, now)));
    lines.extend(status.trial.as_ref().map(|trial| labelled("trial").text(on_trial(trial))));
    lines.extend(status.deployment.iter().flat_map(|one| deployment(one, now)));
    lines.extend(status.cleaning_up.iter().map(|one| labelled("clean-up").text(cleaning(one))));
    lines.extend(status.leader.as_ref().map(|leader| labelled("leader").text(led_by(leader))));
    lines.extend(status.next.as_ref().map(|next| next_step(next, cutover)));
    lines
}

/// The daemon is away, and the edges were asked.
pub(in crate::cli) fn away(why: &str) -> Line {
    let text = format!(
        "the daemon is away: {why}; traffic is not affected, but nothing is deployed, watched or cleaned up until it runs again"
    );
    Line::new(2).add(Style::Doubt, text)
}

fn labelled(label: &str) -> Line {
    Line::new(LABEL + 2).text("  ").column(Style::Dim, label, LABEL)
}

/// What users notice, in the first line.
fn trouble(status: &GroupStatus, now: &Now) -> Option<Line> {
    let Some(active) = &status.active else {
        let why = status.edge_error.as_deref().unwrap_or("unknown");
        return Some(Line::new(2).add(Style::Bad, format!("{}: {why}", status.group)));
    };
    let health = &status.health;
    let (style, word) = match health.state {
        HealthState::Dead => (Style::Bad, "DEAD"),
        HealthState::Bad => (Style::Bad, "BAD"),
        HealthState::Degraded => (Style::Doubt, "DEGRADED"),
        HealthState::Healthy | HealthState::Unknown => return None,
    };
    let lasts = health.since.as_ref().map(|since| format!(" for {}", now.since(since))).unwrap_or_default();
    let why = now.local(health.why.as_deref().unwrap_or("its probes fail"));
    Some(Line::new(2).add(style, format!("{}: slot \"{active}\" is {word}{lasts}: {why}", status.group)))
}

/// A change on trial.
fn on_trial(trial: &TrialState) -> String {
    let TrialState { slot, fallback, phase, lease_left_ms, guard, rescue, .. } = trial;
    let left = lease_left_ms
        .map(|ms| format!(" for {} more", long(std::time::Duration::from_millis(ms))))
        .unwrap_or_default();
    let rules = [(guard.is_some(), "guard"), (lease_left_ms.is_some(), "lease"), (*rescue, "rescue")];
    let rules: Vec<&str> = rules.into_iter().filter_map(|(is_on, name)| is_on.then_some(name)).collect();
    match phase {
        TrialPhase::Armed => {
            format!(
                "slot \"{slot}\" is on trial{left} ({}); otherwise \"{fallback}\" gets the traffic back",
                rules.join(", ")
            )
        }
        TrialPhase::Held => {
            format!(
                "slot \"{slot}\" keeps the traffic although it fails, because \"{fallback}\" was failing, too"
            )
        }
        TrialPhase::GoingBack => {
            format!("slot \"{slot}\" has failed: the traffic goes back to \"{fallback}\"")
        }
    }
}

/// The last deployment.
fn deployment(one: &DeploymentStatus, now: &Now) -> Vec<Line> {
    let version = match one.version.as_str() {
        "" => "unknown version".to_owned(),
        version => format!("version {}", super::super::terminal::column(version)),
    };
    let with = match (one.outcome, one.with.is_empty()) {
        (None, false) => format!(", together with \"{}\"", one.with.join("\", \"")),
        _ => String::new(),
    };
    let line = labelled("deployment").text(format!("{version} to \"{}\"{with}: ", one.to));
    let ago = format!("{} ago", now.since(&one.updated));
    match (&one.ending, one.outcome) {
        (Some(ending), _) => {
            let first = line
                .add(super::event::style(&one.phase), words(&one.phase))
                .text(format!(" {ago} ({})", one.deployment));
            let more = |label, text| labelled(label).text(now.local(text));
            vec![first, more("", &ending.what), more("why", &ending.why)]
        }
        (None, None) => {
            let first = line.text(parts(one, None).join(", "));
            let signals = one.figures.iter().flat_map(|figures| &figures.outside);
            let signals = signals.map(|signal| labelled("").text(signal.to_string()));
            std::iter::once(first).chain(signals).collect()
        }
        (None, Some(outcome)) => vec![line.text(done(one, outcome, &ago, now))],
    }
}

/// A deployment that is over, or only keeps the old version warm.
fn done(one: &DeploymentStatus, outcome: Outcome, ago: &str, now: &Now) -> String {
    match (&one.timing, one.phase.as_str()) {
        (Some(timing), "warm") => format!(
            "live; slot \"{}\" stays warm until {} ({} more)",
            one.from,
            now.clock(&timing.ends),
            long(std::time::Duration::from_millis(timing.left_ms))
        ),
        (_, "stuck") => format!("was stuck: {}", now.local(&one.message)),
        (_, "decommissioning") => format!("live; slot \"{}\" is being stopped", one.from),
        _ => format!("{} {ago}", words(outcome.as_str())),
    }
}

/// The hook `switched`, if it runs or has failed.
fn hook_line(hook: &HookStatus, now: &Now) -> Option<Line> {
    let line = labelled("switched");
    match hook {
        HookStatus { running_since: Some(since), .. } => {
            Some(line.text(format!("the hook is running since {}", now.clock(since))))
        }
        HookStatus { failed: Some(why), told, next, .. } => {
            let next = next.as_deref().unwrap_or_default();
            let failed =
                format!("the hook failed {} ago: {why}; to run it again, type: {next}", now.since(told));
            Some(line.add(Style::Bad, now.local(&failed)))
        }
        HookStatus { .. } => None,
    }
}

fn cleaning(one: &CleanUp) -> String {
    let version = match one.version.as_str() {
        "" => String::new(),
        version => format!(" (version {version})"),
    };
    format!("{} works on slot \"{}\"{version}", one.command, one.slot)
}

fn next_step(next: &NextStep, cutover: &str) -> Line {
    let line = labelled("next");
    match &next.command {
        Some(command) => {
            let typed = command.strip_prefix("cutover ").map(|rest| format!("{cutover} {rest}"));
            let typed = typed.unwrap_or_else(|| command.clone());
            line.add(Style::Bold, typed).add(Style::Dim, format!("  {}", next.purpose))
        }
        None => line.text(&next.purpose),
    }
}

/// Which daemon leads, in one line.
fn led_by(leader: &LeaderStatus) -> String {
    let epoch = leader.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
    match (&leader.host, &leader.daemon) {
        (Some(host), Some(daemon)) => {
            let me = if leader.me { "this daemon, " } else { "" };
            format!("led by {me}{daemon} on host \"{host}\"{epoch}")
        }
        _ => "led by no daemon that is known now: nothing is deployed".to_owned(),
    }
}

/// The edges in one line, as in `2 of 3 on "green"; "lyon" unreachable for 40 s`. `None` for one edge.
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
    (of > 0).then(|| all.join("; "))
}

#[cfg(test)]
mod tests;
