//! Why a command of a deployment is not run again, or has failed.

use cutover_core::api::Traffic;
use cutover_core::shell::quoted;
use cutover_engine::commands::Failed;

use super::Refusal;
use super::advice::whose;

/// Why `cutover run` is refused, or what became of its command.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    /// The active slot fails its probes, but answers users.
    #[error(
        "slot \"{slot}\" fails its probes, but gave {answers} good answers to users in the last second, so it is not started \
         again; to see what fails: cutover status {}",
        quoted(group)
    )]
    Serving {
        /// The group.
        group: String,
        /// The slot.
        slot: String,
        /// Good answers.
        answers: u64,
    },
    /// The deployment has left nothing for the command to do.
    #[error("{} has nothing to {which}; to see what it did: cutover history {}", whose(group, wanted.as_deref()), quoted(group))]
    NothingToRun {
        /// The group.
        group: String,
        /// The command.
        which: &'static str,
        /// The deployment that the operator named.
        wanted: Option<String>,
    },
    /// The migration to revert is from an earlier deployment, and a later one may need it.
    #[error(
        "deployment \"{id}\" left its migration in the database, but \"{later}\" came after it and may need it; if nothing \
         needs it any more: cutover run {} {which} --deployment {id}",
        quoted(group)
    )]
    LeftEarlier {
        /// The group.
        group: String,
        /// The command.
        which: &'static str,
        /// The earlier deployment.
        id: String,
        /// The later deployment.
        later: String,
    },
    /// A later deployment has used the slots since.
    #[error(
        "deployment \"{later}\" has used the slots of group \"{group}\" since \"{id}\": {which} would stop another version; to \
         see what is in each slot: cutover status {}",
        quoted(group)
    )]
    UsedSince {
        /// The group.
        group: String,
        /// The command.
        which: &'static str,
        /// The deployment that the operator named.
        id: String,
        /// The later deployment.
        later: String,
    },
    /// A command of the group is already running again.
    #[error("{}", rerunning(group, which, *ends, by_force.as_deref()))]
    Rerunning {
        /// The group.
        group: String,
        /// The command.
        which: &'static str,
        /// Whether an abort ends it. Nothing but its time ends a hook.
        ends: bool,
        /// The slot to which a switch by hand is possible all the same, if it is forced.
        by_force: Option<String>,
    },
    /// The slot of the command has traffic.
    #[error("slot \"{slot}\" {traffic}, so {which} is not run; {}", freed(group, traffic, other.as_deref()))]
    InUse {
        /// The group.
        group: String,
        /// The slot.
        slot: String,
        /// The command.
        which: &'static str,
        /// Why it has traffic.
        traffic: Traffic,
        /// Another slot of the group.
        other: Option<String>,
    },
    /// The active slot serves, so it is not started again.
    #[error(
        "slot \"{slot}\" has the traffic, and {healthy} of its {servers} servers {} healthy, so provision is not run; to put a \
         version into the other slot: cutover deploy {} --version VERSION",
        if *healthy == 1 { "is" } else { "are" },
        quoted(group)
    )]
    Alive {
        /// The group.
        group: String,
        /// The slot.
        slot: String,
        /// Number of healthy servers.
        healthy: usize,
        /// Number of servers.
        servers: usize,
    },
    /// The active slot holds no version that a command can start.
    #[error(
        "the version in slot \"{slot}\" cannot be started again: {why}; start its servers, or deploy a version: cutover deploy \
         {} --version VERSION",
        quoted(group)
    )]
    NeverStarted {
        /// The group.
        group: String,
        /// The slot.
        slot: String,
        /// The reason.
        why: String,
    },
    /// The command failed.
    #[error("{0}")]
    CommandFailed(String),
}

impl NotRun {
    /// A command that has failed, with the end of its output.
    pub(in crate::control) fn failed(failed: Failed) -> Self {
        Self::CommandFailed(match failed.tail.lines().count() {
            0 | 1 => failed.reason,
            _ => format!("{}\n{}", failed.reason, failed.tail),
        })
    }

    /// The code word for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NothingToRun { .. } | Self::NeverStarted { .. } => "nothing_to_run",
            Self::Rerunning { .. } => "busy",
            Self::Serving { .. } => "slot_is_serving",
            Self::InUse { .. } => "slot_is_in_use",
            Self::Alive { .. } => "slot_is_healthy",
            Self::CommandFailed(_) => "command_failed",
            Self::LeftEarlier { .. } => "left_earlier",
            Self::UsedSince { .. } => "used_since",
        }
    }
}

/// What runs, and the commands for an operator who cannot wait.
fn rerunning(group: &str, which: &str, ends: bool, by_force: Option<&str>) -> String {
    // A verb of its own, as `cutover database`, is no command of a deployment.
    let again = if which.contains(' ') { "" } else { " again" };
    let mut text = format!("{which} of group \"{group}\" is running{again}: wait until it ends");
    let group = quoted(group);
    if let Some(slot) = by_force {
        text +=
            &format!("; to move the traffic meanwhile: cutover switch {group} --to {} --force", quoted(slot));
    }
    if ends {
        text += &format!("; to end it: cutover abort {group}");
    }
    text
}

/// How the slot gets free of traffic.
fn freed(group: &str, traffic: &Traffic, other: Option<&str>) -> String {
    let group = quoted(group);
    match other.filter(|_| traffic.is_routed()) {
        Some(other) => {
            format!("to move the traffic away first: cutover switch {group} --to {}", quoted(other))
        }
        None => format!("try again when that has ended; to see it: cutover status {group}"),
    }
}

impl From<NotRun> for Refusal {
    fn from(why: NotRun) -> Self {
        Self::NotRun(Box::new(why))
    }
}
