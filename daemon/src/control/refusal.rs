//! Why something an operator asked for is not done.

use std::path::PathBuf;

use cutover_core::api::{Group, Shared, Traffic};
use cutover_core::shell::quoted;
use cutover_engine::edge::EdgeError;

use super::BadText;
use crate::journal::JournalError;

/// A refusal: nothing has changed, unless it says so. Each says what to do instead, where there is something.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The configuration is broken, and nothing new is begun with it.
    #[error(
        "{}: no deployment can begin until it is fixed and reloaded, as by systemctl reload cutover; {why}",
        file.display()
    )]
    BrokenConfiguration {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Not in the configuration.
    #[error("no group \"{group}\" in the configuration; it has: {}", known.join(", "))]
    UnknownGroup {
        /// The name.
        group: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// Not in nginx.
    #[error("group \"{group}\" has no slot \"{slot}\"; it has: {}", known.join(", "))]
    UnknownSlot {
        /// The name.
        slot: String,
        /// The group.
        group: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// In the configuration of the daemon, not on the edge.
    #[error("edge \"{edge}\" has no group \"{group}\"; it has: {}", known.join(", "))]
    NotOnEdge {
        /// The edge.
        edge: String,
        /// The name.
        group: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// A deployment into a slot that users' requests go to, or may at any moment.
    #[error("slot \"{slot}\" of group \"{group}\" {traffic}, so nothing is deployed to it; {helps}")]
    HasTraffic {
        /// The slot.
        slot: String,
        /// The group.
        group: String,
        /// Why it has.
        traffic: Traffic,
        /// What to type.
        helps: String,
    },
    /// A deployment into a slot whose servers have users of another group.
    #[error("slot \"{slot}\" {shared}: a command that starts or stops one affects both; {}", apart(helps.as_deref()))]
    Shared {
        /// The slot.
        slot: String,
        /// What it shares with whom.
        shared: Box<Shared>,
        /// What to type.
        helps: Option<String>,
    },
    /// A deployment into a slot whose servers another deployment works on.
    #[error(
        "slot \"{slot}\" shares servers with group \"{group}\", whose deployment \"{id}\" has not ended: wait until it ends"
    )]
    SharedBusy {
        /// The slot.
        slot: String,
        /// The other group.
        group: String,
        /// Its deployment.
        id: String,
    },
    /// A deployment into the slot that has the traffic.
    #[error(
        "slot \"{slot}\" of group \"{group}\" has the traffic: deploy to another slot{}",
        to_standby(group, standby.as_deref())
    )]
    Active {
        /// The slot.
        slot: String,
        /// The group.
        group: String,
        /// The slot that stands by.
        standby: Option<String>,
    },
    /// A group with one slot.
    #[error("group \"{0}\" has no second slot in nginx: there is nowhere to deploy to")]
    NoStandby(String),
    /// A deployment that needs what the edge cannot do.
    #[error("edge \"{edge}\" {missing}, so this deployment is not possible")]
    Unable {
        /// The edge.
        edge: String,
        /// What it does not do.
        missing: &'static str,
    },
    /// A deployment is under way.
    #[error("deployment \"{id}\" is {phase}: wait until it ends{}", or_abort(phase))]
    Busy {
        /// Which.
        id: String,
        /// Its phase.
        phase: String,
    },
    /// Core does not allow it in this phase.
    #[error("deployment \"{id}\" is {phase}: {why}")]
    Unfit {
        /// Which.
        id: String,
        /// Its phase.
        phase: String,
        /// Why not.
        why: String,
    },
    /// An abort without a deployment.
    #[error("group \"{0}\" has no deployment under way: there is nothing to abort")]
    NothingToAbort(String),
    /// An abort after the end.
    #[error(
        "deployment \"{id}\" is completed; to go back to the version before it: cutover rollback {}",
        quoted(group)
    )]
    AlreadyCompleted {
        /// Which.
        id: String,
        /// Its group.
        group: String,
    },
    /// A rollback before the switch.
    #[error("deployment \"{id}\" has not moved traffic yet; to end it: cutover abort {}", quoted(group))]
    NotSwitchedYet {
        /// Which.
        id: String,
        /// Its group.
        group: String,
    },
    /// A rollback with nothing warm.
    #[error("group \"{group}\" has no warm version to go back to; {}", instead(group, previous.as_deref(), up.as_deref()))]
    NoWayBack {
        /// The group.
        group: String,
        /// What was there before.
        previous: Option<String>,
        /// A slot without traffic that is healthy all the same.
        up: Option<String>,
    },
    /// The target of a switch.
    #[error("slot \"{slot}\" is not healthy, so no traffic is moved there: {why}")]
    Sick {
        /// The slot.
        slot: String,
        /// What is wrong with it.
        why: String,
    },
    /// Traffic would have to go back to a slot that is worse.
    #[error(
        "slot \"{slot}\" is not healthy, so no traffic goes back there, and the deployment stays {phase}: {why}"
    )]
    NoBetter {
        /// The slot.
        slot: String,
        /// Where the deployment is.
        phase: &'static str,
        /// What is wrong with the slot.
        why: String,
    },
    /// Known before anything is begun.
    #[error(
        "edge.{edge}.admin \"{admin}\": over TCP a deployment or a switch needs a token: set \
         edge.{edge}.token_file to the file that \"cutover_api token_file=\" names in nginx, or use \"unix:/PATH\""
    )]
    ReadsOnly {
        /// The edge's name.
        edge: String,
        /// Its address.
        admin: String,
    },
    /// A command again, of a deployment that has left nothing to do for it.
    #[error("{} has nothing to {which}", whose(group, wanted.as_deref()))]
    NothingToRun {
        /// The group.
        group: String,
        /// Which command.
        which: &'static str,
        /// The deployment, if it was named.
        wanted: Option<String>,
    },
    /// A revert, where an earlier deployment left its migration and another one came after it.
    #[error(
        "deployment \"{id}\" left its migration in the database, but \"{later}\" came after it and may need it; if nothing \
         needs it any more: cutover run {} {which} --deployment {id}",
        quoted(group)
    )]
    LeftEarlier {
        /// The group.
        group: String,
        /// Which command.
        which: &'static str,
        /// The earlier deployment.
        id: String,
        /// The one that came after it.
        later: String,
    },
    /// A command again, on a slot that a later deployment has used.
    #[error(
        "deployment \"{later}\" has used the slots of group \"{group}\" since \"{id}\": {which} would stop another version"
    )]
    UsedSince {
        /// The group.
        group: String,
        /// Which command.
        which: &'static str,
        /// The deployment that was named.
        id: String,
        /// The later one.
        later: String,
    },
    /// A command again, while one is run again.
    #[error("{which} of group \"{group}\" is running again: wait until it ends")]
    Rerunning {
        /// The group.
        group: String,
        /// Which command.
        which: &'static str,
    },
    /// A command again, on a slot that has traffic.
    #[error("slot \"{slot}\" {traffic}, so {which} is not run")]
    InUse {
        /// The slot.
        slot: String,
        /// Which command.
        which: &'static str,
        /// Why it has traffic.
        traffic: Traffic,
    },
    /// A command again, that did not succeed.
    #[error("{0}")]
    CommandFailed(String),
    /// The edge did not.
    #[error("not switched: {0}")]
    NotSwitched(String),
    /// It has switched, as far as one can see; the disk is behind.
    #[error(
        "switched: slot \"{slot}\" of group \"{group}\" has the traffic, but the switch is not flushed to disk, so a \
         power loss would undo it: {why}; to flush it: cutover switch {} --to {}",
        quoted(group),
        quoted(slot)
    )]
    NotOnDisk {
        /// The slot.
        slot: String,
        /// The group.
        group: String,
        /// What the edge says.
        why: String,
    },
    /// The edge has stopped answering in the middle of it.
    #[error("the traffic may or may not have moved: {why}; see: cutover status {}", quoted(group))]
    SwitchUnknown {
        /// The group.
        group: String,
        /// What was tried last.
        why: String,
    },
    /// The edge cannot be read.
    #[error("{0}")]
    Edge(#[from] EdgeError),
    /// The journal failed.
    #[error("journal: {0}")]
    Journal(JournalError),
    /// Not a deployment.
    #[error("no deployment \"{0}\" in the journal")]
    UnknownDeployment(String),
    /// A text that nothing could be done with.
    #[error(transparent)]
    BadText(#[from] BadText),
    /// The daemon gave up on the request.
    #[error("the request was not finished: {0}")]
    Interrupted(String),
}

fn whose(group: &str, wanted: Option<&str>) -> String {
    match wanted {
        Some(id) => format!("deployment \"{id}\" of group \"{group}\""),
        None => format!("the last deployment of group \"{group}\""),
    }
}

fn instead(group: &str, previous: Option<&str>, up: Option<&str>) -> String {
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

/// What is being undone, or is live already, cannot be aborted.
fn or_abort(phase: &str) -> &'static str {
    if ["rolling_back", "tearing_down", "decommissioning"].contains(&phase) { "" } else { ", or abort it" }
}

fn to_standby(group: &str, standby: Option<&str>) -> String {
    let deploy = |slot| format!(", for example: cutover deploy {} --to {}", quoted(group), quoted(slot));
    standby.map(deploy).unwrap_or_default()
}

fn apart(helps: Option<&str>) -> String {
    let apart = "give each slot servers of its own";
    match helps {
        Some(helps) => format!("move the other group away first: {helps}; or {apart}"),
        None => apart.to_owned(),
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Open(id) => Self::Busy { id, phase: "not finished".to_owned() },
            error => Self::Journal(error),
        }
    }
}

impl Refusal {
    pub(super) fn no_such_slot(seen: &Group, slot: &str) -> Self {
        Self::UnknownSlot {
            slot: slot.to_owned(),
            group: seen.name.clone(),
            known: seen.slots.iter().map(|slot| slot.name.clone()).collect(),
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(&self) -> u16 {
        match self {
            Self::UnknownGroup { .. } | Self::NotOnEdge { .. } | Self::UnknownDeployment(_) => 404,
            Self::UnknownSlot { .. } | Self::Active { .. } | Self::NoStandby(_) | Self::BadText(_) => 422,
            Self::BrokenConfiguration { .. }
            | Self::Busy { .. }
            | Self::Unfit { .. }
            | Self::NothingToAbort(_)
            | Self::AlreadyCompleted { .. }
            | Self::NotSwitchedYet { .. }
            | Self::NoWayBack { .. }
            | Self::ReadsOnly { .. }
            | Self::Unable { .. }
            | Self::LeftEarlier { .. }
            | Self::UsedSince { .. }
            | Self::HasTraffic { .. }
            | Self::NothingToRun { .. }
            | Self::Rerunning { .. }
            | Self::InUse { .. }
            | Self::CommandFailed(_)
            | Self::Shared { .. }
            | Self::SharedBusy { .. }
            | Self::NoBetter { .. }
            | Self::Sick { .. } => 409,
            Self::NotSwitched(_) | Self::SwitchUnknown { .. } | Self::Edge(_) => 502,
            Self::NotOnDisk { .. } => 507,
            Self::Journal(_) | Self::Interrupted(_) => 500,
        }
    }

    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BrokenConfiguration { .. } => "broken_configuration",
            Self::UnknownGroup { .. } => "unknown_group",
            Self::NotOnEdge { .. } => "not_on_edge",
            Self::UnknownSlot { .. } => "unknown_slot",
            Self::HasTraffic { .. } => "slot_has_traffic",
            Self::Shared { .. } => "shared_servers",
            Self::SharedBusy { .. } => "busy",
            Self::NothingToRun { .. } => "nothing_to_run",
            Self::Rerunning { .. } => "busy",
            Self::InUse { .. } => "slot_is_in_use",
            Self::CommandFailed(_) => "command_failed",
            Self::Active { .. } => "slot_is_active",
            Self::NoStandby(_) => "no_standby",
            Self::Busy { .. } => "busy",
            Self::Unfit { .. } => "unfit",
            Self::NothingToAbort(_) => "nothing_to_abort",
            Self::AlreadyCompleted { .. } => "already_completed",
            Self::NotSwitchedYet { .. } => "not_switched_yet",
            Self::NoWayBack { .. } => "no_way_back",
            Self::Sick { .. } => "sick",
            Self::NoBetter { .. } => "no_better",
            Self::ReadsOnly { .. } => "reads_only",
            Self::Unable { .. } => "unable",
            Self::LeftEarlier { .. } => "left_earlier",
            Self::UsedSince { .. } => "used_since",
            Self::NotSwitched(_) => "not_switched",
            Self::NotOnDisk { .. } => "not_durable",
            Self::SwitchUnknown { .. } => "switch_unknown",
            Self::Edge(_) => "edge",
            Self::Journal(_) => "journal",
            Self::UnknownDeployment(_) => "unknown_deployment",
            Self::BadText(_) => "bad_text",
            Self::Interrupted(_) => "interrupted",
        }
    }
}
