//! `cutover check`

use std::io::{self, Write};

use clap::Args;
use cutover_edges::host::HostEdge;
use cutover_edges::prometheus::Prometheus;
use cutover_engine::fleet::Member;
use cutover_engine::versions::Versions;
use serde::Serialize;

use super::{CliError, Place};
use crate::check::{
    Account, DeploymentPlan, Finding, check, check_databases, check_door, check_folders, check_running,
    check_signals, check_tls, is_root,
};
use crate::command::Checker;
use crate::config::{EdgeSection, Loaded};
use crate::control::{ConfigurationStatus, GroupStatus};
use crate::peers::HostPeers;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The user as whom the daemon runs [default for root: that of the unit, of the running daemon, or of its state folder]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// One JSON object: findings, and what a deployment of each group would do
    #[arg(long)]
    json: bool,
}

/// The result with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    /// As whom the checks ran, if root became another user.
    user: Option<String>,
    groups: usize,
    problems: usize,
    findings: Vec<Finding>,
    plan: Vec<DeploymentPlan>,
}

impl Check {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        place.here_only("check")?;
        let mut findings = Vec::new();
        let user = self.become_the_daemon(place, &mut findings)?;
        // Read again: the daemon's user may not be able to.
        let Loaded { config, path, digest, .. } = place.loaded()?;
        findings.extend(check_folders(&config));
        let mut edges = Vec::new();
        for (name, section) in &config.edge {
            let edge = section.reading_edge(name.as_str());
            if let (EdgeSection::Module(section), HostEdge::Module(module)) = (section, &edge) {
                findings.extend(check_door(name, section, module).await);
                findings.extend(check_tls(name, section, module).await);
            }
            if let HostEdge::File(file) = &edge {
                findings.extend(file.inspect().await.into_iter().map(Finding::from));
            }
            edges.push(Member::new(edge));
        }
        let client = place.client()?;
        // Without a daemon no version is known, and there is nothing to compare with.
        let peers = HostPeers::new(Checker::default());
        let status = client.get::<Vec<GroupStatus>>("/v1/status").await.unwrap_or_default();
        let versions = status.iter().map(|status| (status.group.clone(), versions(status))).collect();
        let (found, plan) = check(&config, (&edges, &peers), &versions).await;
        findings.extend(found);
        findings.extend(check_databases(&config).await);
        findings.extend(check_signals(&config, &edges, &Prometheus, &versions).await);
        if let Ok(running) = client.get::<ConfigurationStatus>("/v1/configuration").await {
            findings.extend(check_running(&path, digest, &running));
        }
        let problems = findings.iter().filter(|finding| matches!(finding, Finding::Problem(_))).count();
        let report = Report { user, groups: config.group.len(), problems, findings, plan };
        if self.json {
            writeln!(io::stdout(), "{}", serde_json::json!(report))?;
        } else {
            report.print()?;
        }
        Ok(u8::from(problems > 0))
    }

    /// As root, becomes the daemon's user, so that every check finds what that user cannot do.
    fn become_the_daemon(
        &self,
        place: &Place,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<String>, CliError> {
        let Loaded { config, path, .. } = place.loaded()?;
        let account = match &self.user {
            Some(name) => Account::named(name, "--user").map(Some),
            None if is_root() => Account::of_daemon(&path, &config),
            None => Ok(None),
        };
        match account.and_then(|account| account.map(|it| it.become_it().map(|()| it)).transpose()) {
            Ok(account) => {
                let account = account.filter(|account| account.uid != 0);
                findings.extend(account.as_ref().map(|Account { name, source, .. }| {
                    Finding::Hint(format!("checked as user \"{name}\", as whom the daemon runs ({source})"))
                }));
                Ok(account.map(|account| account.name))
            }
            Err(why) if self.user.is_some() => Err(CliError::User(why)),
            Err(why) => {
                findings.push(Finding::Problem(why));
                Ok(None)
            }
        }
    }
}

impl Report {
    fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for finding in &self.findings {
            writeln!(out, "{finding}")?;
        }
        let (groups, problems) = (counted(self.groups, "group"), counted(self.problems, "problem"));
        writeln!(out, "{groups} checked, {problems}")?;
        for plan in &self.plan {
            write!(out, "\n{plan}")?;
        }
        Ok(())
    }
}

/// The versions in the slots of a group.
fn versions(status: &GroupStatus) -> Versions {
    let known = status.slots.iter().filter_map(|slot| Some((slot.name.clone(), slot.version.clone()?)));
    known.collect()
}

fn counted(number: usize, noun: &str) -> String {
    match number {
        0 => format!("no {noun}"),
        1 => format!("1 {noun}"),
        more => format!("{more} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|number| counted(number, "group")), ["no group", "1 group", "2 groups"]);
    }
}
