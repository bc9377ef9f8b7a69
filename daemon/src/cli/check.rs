//! `cutover check`

use std::io::{self, Write};

use clap::Args;
use cutover_edges::host::HostEdge;
use cutover_edges::prometheus::Prometheus;
use cutover_engine::fleet::Member;
use cutover_engine::versions::Versions;

use super::{CliError, Place};
use crate::check::{Finding, check, check_door, check_running, check_signals, check_tls};
use crate::command::Checker;
use crate::config::{EdgeSection, Loaded};
use crate::control::{ConfigurationStatus, GroupStatus};
use crate::peers::HostPeers;

#[derive(Debug, Args)]
pub(super) struct Check {}

impl Check {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        place.here_only("check")?;
        let Loaded { config, path, digest, .. } = place.loaded()?;
        let mut findings = Vec::new();
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
        findings.extend(check(&config, (&edges, &peers), &versions).await);
        findings.extend(check_signals(&config, &edges, &Prometheus, &versions).await);
        if let Ok(running) = client.get::<ConfigurationStatus>("/v1/configuration").await {
            findings.extend(check_running(&path, digest, &running));
        }
        let mut out = io::stdout().lock();
        for finding in &findings {
            writeln!(out, "{finding}")?;
        }
        let problems = findings.iter().filter(|finding| matches!(finding, Finding::Problem(_))).count();
        writeln!(out, "{} checked, {}", counted(config.group.len(), "group"), counted(problems, "problem"))?;
        Ok(u8::from(problems > 0))
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
