//! Checks that probes and smoke tests can reach the servers of the running nginx, and that the programs they need are there.

use std::path::Path;

use cutover_core::api::Group as Seen;
use cutover_edges::http::Address;
use cutover_engine::policy::{Check, Policy, SmokeKind, Way};

use super::{Finding, check_command};
use crate::command::PATH;

/// Checks the programs of probes and of tests with hurl.
pub(super) fn check_programs(name: &str, policy: &Policy, findings: &mut Vec<Finding>) {
    if let Check::Command(command) = &policy.probe.check {
        check_command(&format!("group.{name}.probe"), &command.command, command.cwd.as_deref(), findings);
    }
    let path = policy.env.get("PATH").map_or(PATH, String::as_str);
    let is_there = || path.split(':').any(|folder| Path::new(folder).join("hurl").is_file());
    for test in &policy.smoke {
        let SmokeKind::Hurl(hurl) = test.kind() else { continue };
        let at = format!("group.{name}.smoke \"{}\"", test.name);
        if !is_there() {
            findings.push(Finding::Problem(format!(
                "{at}: the program hurl is in no folder of PATH, {path}: install it, or set group.{name}.env.PATH"
            )));
        }
        // With a placeholder the file is that of a version.
        if !hurl.file.contains('{') && !Path::new(&hurl.file).is_file() {
            findings.push(Finding::Problem(format!("{at}: hurl \"{}\" is not a file", hurl.file)));
        }
    }
}

/// Checks that each check has a way to the servers of each slot.
pub(super) fn check_ways(seen: &Seen, policy: &Policy, findings: &mut Vec<Finding>) {
    let name = &seen.name;
    let tests = policy.smoke.iter().filter_map(|test| match test.kind() {
        SmokeKind::Check { check, .. } => Some((format!("group.{name}.smoke \"{}\"", test.name), check)),
        SmokeKind::Hurl(_) | SmokeKind::Command(_) => None,
    });
    for (at, check) in std::iter::once((format!("group.{name}.probe"), &policy.probe.check)).chain(tests) {
        let Some(way) = check.way() else { continue };
        for slot in &seen.slots {
            if let Some(key) = without_value(way, &slot.name) {
                let slot = &slot.name;
                findings.push(Finding::Problem(format!(
                    "{at}: {key} has no value for slot \"{slot}\": add one, as in {key} = {{ {slot} = .. }}"
                )));
            }
        }
    }
    let is_through = policy.probe.check.way().is_none_or(|way| way.through.is_some());
    for slot in seen.slots.iter().filter(|_| !is_through) {
        for peer in &slot.peers {
            if let Err(error) = Address::of_peer(&peer.address) {
                let slot = &slot.name;
                findings.push(Finding::Problem(format!(
                    "group.{name}, slot \"{slot}\": {error}, so it cannot be probed; a probe through nginx could, as in \
                     probe.through = \"http://127.0.0.1:8081\""
                )));
            }
        }
    }
}

fn without_value(way: &Way, slot: &str) -> Option<&'static str> {
    let lacks_port = way.port.as_ref().is_some_and(|port| port.of(slot).is_none());
    let lacks_door = way.through.as_ref().is_some_and(|door| door.of(slot).is_none());
    match (lacks_port, lacks_door) {
        (true, _) => Some("port"),
        (_, true) => Some("through"),
        _ => None,
    }
}
