//! The checks of `cutover check`: whether the configuration fits the running nginx and the installed programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cutover_core::api::Group as Seen;
use cutover_core::probe::NO_PRIMARY;
use cutover_edges::file::Fault;
use cutover_engine::edge::{Abilities, Edge, PROBES_ONLY};
use cutover_engine::families;
use cutover_engine::fleet::{Fleet, Member};
use cutover_engine::peers::Peers;
use cutover_engine::policy::{Argv, Diagnose, Policy, SmokeKind, Switched};
use cutover_engine::prober::Prober;
use cutover_engine::versions::Versions;
use serde::Serialize;

use crate::config::Config;

mod database;
mod door;
mod literals;
mod names;
mod plan;
mod probes;
mod rights;
mod running;
mod signals;
mod tls;
mod user;

pub use database::check_databases;
pub use door::check_door;
use literals::{check_env, check_words};
use names::{check_names, check_shared};
pub use plan::DeploymentPlan;
use probes::{check_programs, check_ways};
pub use rights::check_folders;
use rights::why_not;
pub use running::check_running;
pub use signals::check_signals;
pub use tls::check_tls;
pub use user::{Account, is_root};

/// One result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "text", rename_all = "snake_case")]
pub enum Finding {
    /// A deployment will fail.
    Problem(String),
    /// A deployment or a rollback may fail, or leave something behind.
    Warning(String),
    /// Information; nothing is wrong.
    Hint(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(text) => write!(f, "problem: {text}"),
            Self::Warning(text) => write!(f, "warning: {text}"),
            Self::Hint(text) => write!(f, "hint: {text}"),
        }
    }
}

impl From<Fault> for Finding {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Problem(text) => Self::Problem(text),
            Fault::Warning(text) => Self::Warning(text),
            Fault::Hint(text) => Self::Hint(text),
        }
    }
}

/// Runs all checks and returns all findings, and what a deployment of each group would do. `versions`: those in the slots of each
/// group, as far as the daemon knows.
pub async fn check<E: Edge>(
    config: &Config,
    (edges, peers): (&[Member<E>], &impl Peers),
    versions: &BTreeMap<String, Versions>,
) -> (Vec<Finding>, Vec<DeploymentPlan>) {
    let (mut findings, mut plans) = (Vec::new(), Vec::new());
    if config.group.is_empty() {
        findings.push(Finding::Warning("there is no [group.NAME]: nothing can be deployed".to_owned()));
    }
    let read = read(config, edges, &mut findings).await;
    for (name, group) in &config.group {
        let name = name.as_str();
        check_commands(name, group, &mut findings);
        check_env(name, group, &mut findings);
        check_probe(name, group, &mut findings);
        check_programs(name, group, &mut findings);
        check_trial(name, group, &mut findings);
        let abilities = Fleet::new(edges, &group.edges).abilities();
        check_abilities(name, group, abilities, &mut findings);
        let Some(seen) = read.get(group.edges.as_slice()) else { continue };
        match seen.iter().find(|seen| seen.name == name) {
            Some(group_seen) => {
                check_slots(group_seen, seen, group, &mut findings);
                check_shared(group_seen, seen, &mut findings);
                check_names(group_seen, &mut findings);
                plans.extend(DeploymentPlan::of(group, group_seen));
                check_ways(group_seen, group, &mut findings);
                let versions = versions.get(name).cloned().unwrap_or_default();
                let prober = Prober { world: peers, group: name, policy: group, versions };
                check_active(&prober, group_seen, &mut findings).await;
            }
            None => {
                let known: Vec<&str> = seen.iter().map(|seen| seen.name.as_str()).collect();
                findings.push(Finding::Problem(format!(
                    "group.{name}: nginx has no group of this name; it has: {}",
                    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                )));
            }
        }
    }
    (findings, plans)
}

/// Reads the groups of all edges, once for the groups of the configuration that have the same edges.
async fn read<'a, E: Edge>(
    config: &'a Config,
    edges: &[Member<E>],
    findings: &mut Vec<Finding>,
) -> BTreeMap<&'a [String], Vec<Seen>> {
    let mut named: BTreeSet<&[String]> = config.group.values().map(|group| group.edges.as_slice()).collect();
    if named.is_empty() {
        named.insert(&[]);
    }
    let mut read = BTreeMap::new();
    for names in named {
        match Fleet::new(edges, names).groups().await {
            Ok(seen) => {
                read.insert(names, seen);
            }
            Err(error) => findings.push(Finding::Problem(error.to_string())),
        }
    }
    read
}

fn check_slots(seen: &Seen, all: &[Seen], policy: &Policy, findings: &mut Vec<Finding>) {
    let name = &seen.name;
    if seen.slots.len() < 2 {
        let have = seen.slots.len();
        findings.push(Finding::Problem(format!(
            "group.{name}: a deployment needs 2 slots in nginx, it has {have}"
        )));
    }
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for slot in &seen.slots {
        for peer in slot.primaries() {
            if let Some(other) = owners.insert(&peer.address, &slot.name).filter(|other| *other != slot.name)
            {
                let (slot, address) = (&slot.name, &peer.address);
                let share =
                    format!("group.{name}: slots \"{other}\" and \"{slot}\" share the server {address}");
                findings.push(match policy.starts_or_stops() {
                    true => Finding::Problem(format!(
                        "{share}: a command that starts or stops one affects both, so neither can be deployed to"
                    )),
                    false => Finding::Warning(format!("{share}: a change to one affects both")),
                });
            }
        }
        let at = format!("group.{name}, slot \"{}\"", slot.name);
        let is_active = slot.name == seen.route.active;
        match slot.primaries().next() {
            None if is_active => {
                findings.push(Finding::Problem(format!("{at}: it has the traffic, and {NO_PRIMARY}")))
            }
            // The name of its server may resolve only after the server has started.
            None => {
                findings.push(Finding::Hint(format!("{at}: {NO_PRIMARY}; a deployment has to start one")))
            }
            Some(_) => {}
        }
        if let Some(shared) =
            seen.shared_with(&slot.name, all).filter(|shared| !is_active && shared.traffic.is_routed())
        {
            findings.push(Finding::Warning(format!("{at}: it {shared}, so it cannot be deployed to now")));
        }
        if let Some(families) = families::of_slot(slot).filter(|_| !is_active) {
            findings.push(Finding::Hint(format!("{at}: {families}")));
        }
    }
}

/// Probes the active slot. If the live version fails its probe, the next version probably fails it too.
async fn check_active<W: Peers>(prober: &Prober<'_, W>, seen: &Seen, findings: &mut Vec<Finding>) {
    let Some(slot) = seen.slot(&seen.route.active) else { return };
    let at = format!("group.{}, slot \"{}\"", seen.name, slot.name);
    let round = prober.round(slot).await;
    let (passed, servers) = (round.passed(), round.results.len());
    let families = families::of_slot(slot).filter(|_| passed > 0 && passed < servers);
    let families = families.map(|families| families.answering(round.passing()));
    if let Some(doubt) = round.doubt() {
        findings.push(Finding::Warning(format!("{at}: {doubt}")));
    }
    for (address, probed) in &round.results {
        let Err(why) = probed else { continue };
        findings.push(match &families {
            Some(families) if !prober.policy.probe.require.is_met(passed, servers) => Finding::Problem(
                format!("{at}: {address}: {why}; so no version there can become healthy: {families}"),
            ),
            _ => Finding::Warning(format!("{at}: it has the traffic but fails its probe: {address}: {why}")),
        });
    }
}

fn check_probe(name: &str, group: &Policy, findings: &mut Vec<Finding>) {
    let probe = &group.probe;
    // The first probe runs at once.
    let least = probe.interval.get().saturating_mul(probe.healthy.get() - 1);
    if least >= probe.deadline.get() {
        findings.push(Finding::Problem(format!(
            "group.{name}.probe: {} good probes at an interval of {} take longer than the deadline of {}, \
             so no version can become healthy",
            probe.healthy.get(),
            probe.interval,
            probe.deadline
        )));
    }
}

fn check_abilities(name: &str, group: &Policy, abilities: Abilities, findings: &mut Vec<Finding>) {
    if abilities.leaves_probes_only(group) {
        findings.push(Finding::Warning(format!(
            "group.{name}: a new version is {PROBES_ONLY}: let the edge count answers, add soak.synthetic = {{ smoke = true }}, \
             or a [[group.{name}.signal]]"
        )));
    }
    if !abilities.shares && group.steps.get().last() > 0 {
        findings.push(Finding::Problem(format!(
            "group.{name}.steps: this edge moves all traffic at once: leave them out, or let the edge give shares"
        )));
    }
}

/// The daemon renews a lease at each reading of the counters.
fn check_trial(name: &str, group: &Policy, findings: &mut Vec<Finding>) {
    let interval = group.soak.interval;
    if let Some(lease) = group.trial.lease.filter(|lease| *lease <= interval) {
        findings.push(Finding::Problem(format!(
            "group.{name}.trial: the lease of {lease} ends before the daemon renews it, which it does each {interval} \
             (soak.interval): every deployment is taken back"
        )));
    }
}

fn check_commands(name: &str, group: &Policy, findings: &mut Vec<Finding>) {
    let commands = [
        ("migrate", &group.migrate),
        ("plan", &group.plan),
        ("revert", &group.revert),
        ("provision", &group.provision),
        ("decommission", &group.decommission),
    ];
    for (key, command) in commands {
        if let Some(command) = command {
            let at = format!("group.{name}.{key}");
            check_command(&at, &command.command, command.cwd.as_deref(), findings);
        }
    }
    let hooks = [
        ("switched", group.switched.as_ref().map(Switched::to_run)),
        ("diagnose", group.diagnose.as_ref().map(Diagnose::to_run)),
    ];
    for (key, command) in &hooks {
        if let Some(command) = command {
            let at = format!("group.{name}.{key}");
            check_command(&at, &command.command, command.cwd.as_deref(), findings);
        }
    }
    for smoke in &group.smoke {
        if let SmokeKind::Command(command) = smoke.kind() {
            let at = format!("group.{name}.smoke \"{}\"", smoke.name);
            check_command(&at, &command.command, command.cwd.as_deref(), findings);
        }
    }
    if group.migrate.is_some() && group.revert.is_none() {
        findings.push(Finding::Warning(format!(
            "group.{name}: migrate without revert: a rollback leaves the database migrated"
        )));
    }
    if group.migrate.is_none() && group.revert.is_some() {
        findings.push(Finding::Warning(format!("group.{name}: revert without migrate is never run")));
    }
    if group.provision.is_some() && group.decommission.is_none() {
        findings.push(Finding::Warning(format!(
            "group.{name}: provision without decommission: old and failed versions are left running"
        )));
    }
    if group.smoke.is_empty() {
        findings.push(Finding::Warning(format!("group.{name}: no smoke test: the probe alone decides")));
    }
}

fn check_command(at: &str, command: &Argv, cwd: Option<&Path>, findings: &mut Vec<Finding>) {
    let program = command.program();
    let shown = program.display();
    match std::fs::metadata(program) {
        Err(error) => findings.push(Finding::Problem(format!("{at}: command \"{shown}\": {error}"))),
        Ok(file) if !file.is_file() => {
            findings.push(Finding::Problem(format!("{at}: command \"{shown}\" is not a file")));
        }
        Ok(file) if file.permissions().mode() & 0o111 == 0 => {
            findings.push(Finding::Problem(format!("{at}: command \"{shown}\" is not executable")));
        }
        Ok(_) => {
            let why = why_not(program);
            findings.extend(why.map(|why| Finding::Problem(format!("{at}: command \"{shown}\" {why}"))));
        }
    }
    check_words(at, command, findings);
    if let Some(cwd) = cwd.filter(|cwd| !cwd.is_dir()) {
        findings.push(Finding::Problem(format!("{at}: cwd \"{}\" is not a folder", cwd.display())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cutover_engine::scripted::Scripted;
    use cutover_engine::world::World;

    async fn findings(groups: &str) -> String {
        let text = format!("[edge.nginx]\nadmin = \"unix:/nginx\"\n{groups}");
        let world = Scripted::new();
        let (found, _) =
            check(&Config::parse(&text).unwrap(), (world.edges(), &world), &BTreeMap::new()).await;
        found.iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[tokio::test]
    async fn all_that_is_wrong_is_said() {
        let found = findings(
            "[group.shop.migrate]\ncommand = [\"/no/such/program\"]\ncwd = \"/no/such/folder\"\n\
             [group.shop.provision]\ncommand = [\"/etc/passwd\"]\n\
             [group.other]\n",
        )
        .await;
        for said in [
            "problem: group.other: nginx has no group of this name; it has: shop",
            "problem: group.shop.migrate: command \"/no/such/program\": No such file",
            "problem: group.shop.migrate: cwd \"/no/such/folder\" is not a folder",
            "problem: group.shop.provision: command \"/etc/passwd\" is not executable",
            "warning: group.shop: migrate without revert",
            "warning: group.shop: provision without decommission",
            "warning: group.shop: no smoke test",
        ] {
            assert!(found.contains(said), "{said}: {found}");
        }
    }

    #[tokio::test]
    async fn what_can_never_work_is_a_problem() {
        let text = "[edge.nginx]\nadmin = \"unix:/nginx\"\n\
                    [group.shop.probe]\nhealthy = 4\ninterval = \"2s\"\ndeadline = \"6s\"\n\
                    [group.shop.trial]\nlease = \"1s\"\n";
        let world = Scripted::new();
        world.scene().sick.push("blue".to_owned());
        let blue = world.scene().slots[0].1.clone();
        world.scene().slots[1].1 = blue;
        let (found, _) =
            check(&Config::parse(text).unwrap(), (world.edges(), &world), &BTreeMap::new()).await;
        let found: String = found.iter().map(|finding| format!("{finding}\n")).collect();
        for said in [
            "problem: group.shop.trial: the lease of 1s ends before the daemon renews it, which it does each 1s",
            "problem: group.shop.probe: 4 good probes at an interval of 2s take longer than the deadline of 6s",
            "warning: group.shop: slots \"blue\" and \"green\" share the server 127.0.0.1:1",
            "warning: group.shop, slot \"blue\": it has the traffic but fails its probe: 127.0.0.1:1: /health/ready: status 503",
        ] {
            assert!(found.contains(said), "{said}: {found}");
        }
    }

    #[tokio::test]
    async fn a_good_configuration() {
        let found = findings(
            "[group.shop.provision]\ncommand = [\"/bin/sh\"]\n\
             [group.shop.decommission]\ncommand = [\"/bin/sh\"]\n\
             [[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\n",
        )
        .await;
        assert_eq!(found, "");
    }

    #[tokio::test]
    async fn an_nginx_that_does_not_answer_is_one_problem_of_others() {
        let world = Scripted::new();
        world.scene().fail("group", 1);
        let text = "[edge.nginx]\nadmin = \"unix:/nginx\"\n[group.shop.migrate]\ncommand = [\"/no/such\"]\n";
        let (found, _) =
            check(&Config::parse(text).unwrap(), (world.edges(), &world), &BTreeMap::new()).await;
        assert!(matches!(&found[0], Finding::Problem(text) if text.contains("does not answer")), "{found:?}");
        assert!(found.iter().any(|finding| finding.to_string().contains("/no/such")), "{found:?}");
    }
}
