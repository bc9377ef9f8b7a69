//! What a deployment of a group would do, step by step, from its policy and from what its edge has now.

use std::fmt::{self, Write};

use cutover_core::api::{Group as Seen, next_standby};
use cutover_core::deployment::Hold;
use cutover_core::shell::quoted;
use serde::Serialize;

use crate::policy::{Command, Duration, OnBad, OnInconclusive, Policy, SmokeKind};

/// What a deployment of one group would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeploymentPlan {
    /// The group.
    pub group: String,
    /// The slot that has the traffic.
    pub from: String,
    /// The slot that the next deployment goes to, unless another one is chosen.
    pub to: String,
    /// In order.
    pub steps: Vec<PlannedStep>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// The phase or the command, as in `probe`.
    pub step: &'static str,
    /// What it does.
    pub does: String,
}

impl DeploymentPlan {
    /// The plan of a group. `None` if the edge has no second slot.
    pub fn of(policy: &Policy, seen: &Seen) -> Option<Self> {
        let active = seen.slots.iter().position(|slot| slot.name == seen.route.active)?;
        let standby = || seen.slots.get(next_standby(active, seen.slots.len(), None, None));
        let to = seen.route.standby.clone().or_else(|| Some(standby()?.name.clone()))?;
        let from = seen.route.active.clone();
        if to == from {
            return None;
        }
        let mut plan = Self { group: seen.name.clone(), from, to, steps: Vec::new() };
        plan.prepare(policy, seen);
        plan.watch(policy);
        plan.clean_up(policy);
        Some(plan)
    }

    fn add(&mut self, step: &'static str, does: impl Into<String>) {
        self.steps.push(PlannedStep { step, does: does.into() });
    }

    /// All that happens before traffic moves.
    fn prepare(&mut self, policy: &Policy, seen: &Seen) {
        if let Some(database) = &policy.database {
            let (folder, lock) = (database.migrations.of("{version}"), database.lock_timeout);
            self.add(
                "migrate",
                format!("apply the new files of {folder}, waiting at most {lock} for a lock"),
            );
        }
        self.command("plan", policy.plan.as_ref());
        self.command("migrate", policy.migrate.as_ref());
        let to = self.to.clone();
        match &policy.provision {
            Some(command) => {
                self.add("provision", format!("start the new version in \"{to}\": {}", typed(command)))
            }
            None => self.add("provision", format!("no command: the new version must run in \"{to}\" before")),
        }
        let probe = &policy.probe;
        let servers: Vec<&str> = seen
            .slot(&to)
            .into_iter()
            .flat_map(|slot| slot.primaries())
            .map(|peer| peer.address.as_str())
            .collect();
        let servers = if servers.is_empty() { "its servers".to_owned() } else { servers.join(", ") };
        self.add(
            "probe",
            format!(
                "{} of {servers}, each {} until {} good in a row, at most {}; healthy must be: {}",
                probe.check.sent(),
                probe.interval,
                probe.healthy.get(),
                probe.deadline,
                probe.require
            ),
        );
        for smoke in &policy.smoke {
            let does = match smoke.kind() {
                SmokeKind::Check { check, timeout } => format!("{} within {timeout}", check.sent()),
                SmokeKind::Hurl(hurl) => format!("hurl {} within {}", hurl.file, hurl.timeout),
                SmokeKind::Command(command) => typed(command),
            };
            self.add("smoke", format!("{}: {does}", smoke.name));
        }
        if let Some(warmup) = &policy.warmup {
            let until =
                warmup.until_p99.map_or(String::new(), |limit| format!(", until the p99 is below {limit}"));
            let (requests, deadline) = (warmup.requests.get(), warmup.deadline);
            self.add("warm-up", format!("{requests} requests to each server{until}, at most {deadline}"));
        }
    }

    /// All that happens while users get the new version.
    fn watch(&mut self, policy: &Policy) {
        let soak = &policy.soak;
        for step in policy.steps.get().iter() {
            let hold = match step.hold {
                Hold::For(time) => format!("for {}", Duration::from(time)),
                Hold::Manual => format!("until: cutover promote {}", quoted(&self.group)),
            };
            self.add("switch", format!("{} of the traffic to \"{}\", {hold}", step.share, self.to));
        }
        let mut switch = format!("all traffic from \"{}\" to \"{}\"", self.from, self.to);
        if let Some(lease) = policy.trial.lease {
            let _ = write!(switch, "; nginx takes it back if the daemon is silent for {lease}");
        }
        self.add("switch", switch);
        if let Some(command) = policy.switched.as_ref().map(|hook| hook.to_run()) {
            self.add("switched", format!("beside it, and after each way back: {}", typed(&command)));
        }
        let few = match soak.on_inconclusive {
            OnInconclusive::Extend => format!("goes on for at most {} more", soak.extend_limit),
            OnInconclusive::Rollback => "goes back".to_owned(),
            OnInconclusive::Promote => "stays".to_owned(),
        };
        let mut does = format!(
            "{} under users; back at once if proven to be over {} % errors or worse than the old version; with fewer than {} \
             answers it {few}",
            soak.duration,
            soak.max_errors() * 100.0,
            soak.min_requests.get()
        );
        if !policy.signal.is_empty() {
            let names: Vec<&str> = policy.signal.iter().map(|query| query.name.as_str()).collect();
            let _ = write!(does, "; asks Prometheus: {}", names.join(", "));
        }
        self.add("soak", does);
    }

    /// All that happens to the old version, and the way back.
    fn clean_up(&mut self, policy: &Policy) {
        let from = self.from.clone();
        self.add("drain", format!("wait for the requests on \"{from}\", at most {}", policy.drain.deadline));
        let warm = policy.warm;
        let bad = match warm.on_bad {
            OnBad::Alert => "alerts",
            OnBad::Rollback => "goes back",
        };
        self.add(
            "warm",
            format!("keep \"{from}\" for {}; a new version that turns bad then {bad}", warm.duration),
        );
        match &policy.decommission {
            Some(command) => self.add("decommission", format!("stop \"{from}\": {}", typed(command))),
            None => self.add("decommission", format!("no command: the old version goes on in \"{from}\"")),
        }
        let revert = match (&policy.database, &policy.revert) {
            (Some(_), _) => {
                "; the migrations of this deployment are reverted unless rows would be lost".to_owned()
            }
            (None, Some(command)) => format!("; then {}", typed(command)),
            (None, None) => String::new(),
        };
        self.add(
            "way back",
            format!(
                "if it is bad: all traffic to \"{from}\", wait for the requests on \"{}\"{revert}",
                self.to
            ),
        );
    }

    fn command(&mut self, step: &'static str, command: Option<&Command>) {
        if let Some(command) = command {
            self.add(step, typed(command));
        }
    }
}

fn typed(command: &Command) -> String {
    format!("{} (within {})", command.command.typed(), command.timeout)
}

impl fmt::Display for DeploymentPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a deployment of group {} to slot \"{}\" would:", self.group, self.to)?;
        for (number, PlannedStep { step, does }) in self.steps.iter().enumerate() {
            writeln!(f, "{:4}. {step:<12}  {does}", number + 1)?;
        }
        Ok(())
    }
}
