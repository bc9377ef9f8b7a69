//! Parts of refusals that name the subject or recommend a command.

use cutover_core::shell::quoted;

use crate::journal::Leads;

/// What there is.
pub(super) fn has(known: &[String]) -> String {
    match known {
        [] => "no command has left any here".to_owned(),
        known => format!("it has: {}", known.join(", ")),
    }
}

pub(super) fn whose(group: &str, wanted: Option<&str>) -> String {
    match wanted {
        Some(id) => format!("deployment \"{id}\" of group \"{group}\""),
        None => format!("the last deployment of group \"{group}\""),
    }
}

pub(super) fn instead(group: &str, previous: Option<&str>, up: Option<&str>) -> String {
    let group = quoted(group);
    match up {
        Some(slot) => {
            format!(
                "slot \"{slot}\" is healthy; to give it the traffic: cutover switch {group} --to {}",
                quoted(slot)
            )
        }
        None => {
            format!(
                "to deploy an earlier version again: cutover deploy {group} --version {}",
                previous.map_or("VERSION".to_owned(), quoted)
            )
        }
    }
}

/// The hints to follow a deployment and to abort it, if it can be aborted.
pub(super) fn or(group: Option<&str>, may_abort: bool) -> String {
    let Some(group) = group.map(quoted) else { return String::new() };
    let abort = match may_abort {
        true => format!("; to end it: cutover abort {group}"),
        false => String::new(),
    };
    format!("; to follow it: cutover watch {group}{abort}")
}

/// What follows after the end of the command that stops a slot.
pub(super) fn then(group: &str, slot: &str, was_live: bool) -> String {
    let group = quoted(group);
    match was_live {
        true => format!(
            "if the slot is still healthy, it can get the traffic: cutover switch {group} --to {}",
            quoted(slot)
        ),
        false => format!("deploy again: cutover deploy {group} --version VERSION"),
    }
}

pub(super) fn to_standby(group: &str, standby: Option<&str>) -> String {
    let deploy = |slot| format!(", for example: cutover deploy {} --to {}", quoted(group), quoted(slot));
    standby.map(deploy).unwrap_or_default()
}

/// The slot that the request named, as it is typed again.
pub(super) fn to_slot(to: Option<&str>) -> String {
    to.map(|slot| format!(" --to {}", quoted(slot))).unwrap_or_default()
}

pub(super) fn apart(helps: Option<&str>) -> String {
    let apart = "give each slot servers of its own";
    match helps {
        Some(helps) => format!("move the other group away first: {helps}; or {apart}"),
        None => apart.to_owned(),
    }
}

/// Which daemon leads.
pub(super) fn who_leads(leads: Option<&Leads>) -> String {
    match leads {
        Some(Leads { who, epoch }) => format!(
            "daemon {} on host \"{}\" does, in epoch {epoch}; run the command there, on its socket {}",
            who.daemon, who.host, who.socket
        ),
        None => {
            "no daemon is known to lead now, or the store does not answer; see: cutover status".to_owned()
        }
    }
}
