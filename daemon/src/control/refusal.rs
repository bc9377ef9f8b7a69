//! The refusals of operators' requests.

use std::path::PathBuf;

use cutover_core::api::{Group, Shared, Traffic};
use cutover_core::deployment::{Part, State};
use cutover_core::shell::quoted;
use cutover_engine::edge::EdgeError;
use cutover_engine::journal::Deployment;

use super::BadText;
use crate::journal::{JournalError, Leads};

mod advice;
mod busy;
mod frozen;
mod not_run;
mod taken_back;
mod wire;

pub use wire::{NOT_LEADER, UNKNOWN_DEPLOYMENT};

use advice::{apart, has, instead, then, to_slot, to_standby, who_leads};
pub use busy::BusyAnswer;
pub(super) use busy::{Busy, Overtaken};
pub(super) use frozen::{Frozen, NotFrozen};
pub use not_run::NotRun;
pub(super) use taken_back::TakenBack;

/// Why a request is refused. Nothing has changed unless the message says so. Messages recommend a command where one helps.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The configuration is invalid, so no deployment can begin.
    #[error(
        "{}: no deployment can begin until it is fixed and reloaded, as by systemctl reload cutover; {why}",
        file.display()
    )]
    BrokenConfiguration {
        /// The file.
        file: PathBuf,
        /// The reason.
        why: String,
    },
    /// The group is not in the configuration.
    #[error("no group \"{group}\" in the configuration; it has: {}", known.join(", "))]
    UnknownGroup {
        /// The name.
        group: String,
        /// The existing names.
        known: Vec<String>,
    },
    /// The group has no such slot.
    #[error("group \"{group}\" has no slot \"{slot}\"; it has: {}", known.join(", "))]
    UnknownSlot {
        /// The name.
        slot: String,
        /// The group.
        group: String,
        /// The existing names.
        known: Vec<String>,
    },
    /// The group is in the configuration, but not on the edge.
    #[error("edge \"{edge}\" has no group \"{group}\"; it has: {}", known.join(", "))]
    NotOnEdge {
        /// The edge.
        edge: String,
        /// The name.
        group: String,
        /// The existing names.
        known: Vec<String>,
    },
    /// The slot of a deployment receives requests of users, or may at any moment.
    #[error("slot \"{slot}\" of group \"{group}\" {traffic}, so nothing is deployed to it; {helps}")]
    HasTraffic {
        /// The slot.
        slot: String,
        /// The group.
        group: String,
        /// Why it has traffic.
        traffic: Traffic,
        /// The command that helps.
        helps: String,
    },
    /// The slot shares servers with a slot that has traffic.
    #[error("slot \"{slot}\" {shared}: a command that starts or stops one affects both; {}", apart(helps.as_deref()))]
    Shared {
        /// The slot.
        slot: String,
        /// The other slot and the shared part.
        shared: Box<Shared>,
        /// The command that helps.
        helps: Option<String>,
    },
    /// The slot shares servers with a slot of another running deployment.
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
    /// The slot of a deployment is active.
    #[error(
        "slot \"{slot}\" of group \"{group}\" has the traffic: deploy to another slot{}",
        to_standby(group, standby.as_deref())
    )]
    Active {
        /// The slot.
        slot: String,
        /// The group.
        group: String,
        /// The standby.
        standby: Option<String>,
    },
    /// The group has only one slot.
    #[error(
        "group \"{0}\" has no second slot in nginx: there is nowhere to deploy to; add one to \"cutover {0}\" in nginx's \
         configuration"
    )]
    NoStandby(String),
    /// The version is part of the proof, and the request names none.
    #[error(
        "group.{group}.{key} contains {{version}}, so a deployment needs a version: cutover deploy {} --version VERSION{}",
        quoted(group),
        to_slot(to.as_deref())
    )]
    NeedsVersion {
        /// The group.
        group: String,
        /// The key that contains the placeholder.
        key: String,
        /// The slot of the request.
        to: Option<String>,
    },
    /// The version was bad, and was taken back a short time ago.
    #[error(transparent)]
    TakenBack(Box<TakenBack>),
    /// The edge lacks an ability that the deployment needs.
    #[error(
        "edge \"{edge}\" {missing}: delete \"steps\" from [group.{group}] and reload the daemon, as by systemctl reload cutover"
    )]
    Unable {
        /// The edge.
        edge: String,
        /// The group.
        group: String,
        /// The missing ability.
        missing: &'static str,
    },
    /// The request names no group.
    #[error("no group is named: name at least one")]
    NoGroup,
    /// One of several groups is refused, so nothing is done with any of them.
    #[error("group \"{group}\": {refusal}; nothing is done with the others either")]
    OfGroup {
        /// The group.
        group: String,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// Groups that should move together have other steps.
    #[error(
        "the steps of groups \"{}\" and \"{}\" give different shares, so they cannot move together: give both the same \
         shares in [group.NAME] steps, or deploy one after the other",
        groups[0], groups[1]
    )]
    StepsDiffer {
        /// The groups.
        groups: [String; 2],
    },
    /// Groups that should move together use the same servers.
    #[error(
        "slot \"{slot}\" of group \"{}\" shares servers with group \"{}\", so they cannot move together: deploy one after \
         the other",
        groups[0], groups[1]
    )]
    SharedTogether {
        /// The slot.
        slot: String,
        /// The groups.
        groups: [String; 2],
    },
    /// A deployment of the group is running.
    #[error("{0}")]
    Busy(Box<Busy>),
    /// A deployment for whose end the caller has waited was rolled back.
    #[error(transparent)]
    Overtaken(Box<Overtaken>),
    /// The group is frozen.
    #[error(transparent)]
    Frozen(Box<Frozen>),
    /// There is no freeze to end.
    #[error(transparent)]
    NotFrozen(Box<NotFrozen>),
    /// The slot is being stopped after a deployment.
    #[error(
        "slot \"{slot}\" is being stopped by deployment \"{id}\": wait until that ends; to end it now: cutover abort {}; then, {}",
        quoted(group),
        then(group, slot, *was_live)
    )]
    BeingStopped {
        /// The slot.
        slot: String,
        /// The group.
        group: String,
        /// The deployment.
        id: String,
        /// Whether the slot holds the version that was live before, and not one that was taken back.
        was_live: bool,
    },
    /// The request is not possible in this phase.
    #[error("deployment \"{id}\" is {phase}: {why}")]
    Unfit {
        /// The deployment.
        id: String,
        /// Its phase.
        phase: String,
        /// The reason.
        why: String,
    },
    /// There is no deployment to ask.
    #[error(
        "group \"{group}\" has no deployment under way: there is nothing to {verb}; to see what was last: cutover status {}",
        quoted(group)
    )]
    NothingUnderWay {
        /// The group.
        group: String,
        /// What it was asked to do.
        verb: &'static str,
    },
    /// The deployment to abort is already completed.
    #[error(
        "deployment \"{id}\" is completed; to go back to the version before it: cutover rollback {}",
        quoted(group)
    )]
    AlreadyCompleted {
        /// The deployment.
        id: String,
        /// Its group.
        group: String,
    },
    /// The deployment to roll back has not switched yet.
    #[error("deployment \"{id}\" has not moved traffic yet; to end it: cutover abort {}", quoted(group))]
    NotSwitchedYet {
        /// The deployment.
        id: String,
        /// Its group.
        group: String,
    },
    /// There is no warm version to roll back to.
    #[error("group \"{group}\" has no warm version to go back to; {}", instead(group, previous.as_deref(), up.as_deref()))]
    NoWayBack {
        /// The group.
        group: String,
        /// The version before the live one, if known.
        previous: Option<String>,
        /// Another slot that is healthy.
        up: Option<String>,
    },
    /// The target of a switch is not healthy.
    #[error(
        "slot \"{slot}\" is not healthy, so no traffic is moved there: {why}; if users are better off there all the same: \
         cutover switch {} --to {} --force",
        quoted(group),
        quoted(slot)
    )]
    Sick {
        /// The slot.
        slot: String,
        /// The group.
        group: String,
        /// The reason.
        why: String,
    },
    /// The old slot is not healthy enough to go back to.
    #[error(
        "slot \"{slot}\" is not healthy, so no traffic goes back there, and the deployment stays {phase}: {why}"
    )]
    NoBetter {
        /// The slot.
        slot: String,
        /// The phase of the deployment.
        phase: &'static str,
        /// The reason.
        why: String,
    },
    /// The daemon has no token for changes over TCP.
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
    /// A command is not run again, or has failed.
    #[error(transparent)]
    NotRun(Box<NotRun>),
    /// The database refuses, or cannot be used.
    #[error("{0}")]
    Database(String),
    /// An operator has to consent.
    #[error("{why}; if that does not matter, type: {next}")]
    DatabaseAsks {
        /// What would be lost.
        why: String,
        /// The command.
        next: String,
    },
    /// The edge did not make the switch.
    #[error("not switched: {0}")]
    NotSwitched(String),
    /// The edge made the switch, but it is not on disk.
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
        /// The edge's message.
        why: String,
    },
    /// The edge stopped answering during the switch.
    #[error("the traffic may or may not have moved: {why}; see: cutover status {}", quoted(group))]
    SwitchUnknown {
        /// The group.
        group: String,
        /// The last error.
        why: String,
    },
    /// One edge of several does not answer, and the policy says that all must.
    #[error(
        "{why}; a deployment moves all edges together: wait until it answers, or begin without it by fleet.on_missing = \
         \"exclude\" in [group.{group}.fleet]"
    )]
    EdgeMissing {
        /// The group.
        group: String,
        /// The edge, and why.
        why: EdgeError,
    },
    /// The edge cannot be read.
    #[error("{0}")]
    Edge(#[from] EdgeError),
    /// Another daemon leads, or none does.
    #[error("this daemon does not lead, so it changes nothing: {}", who_leads(.0.as_deref()))]
    NotLeading(Option<Box<Leads>>),
    /// This daemon has just begun to lead.
    #[error("this daemon has just begun to lead and resumes the deployments: try again in a moment")]
    Resuming,
    /// The journal failed.
    #[error("journal: {0}")]
    Journal(JournalError),
    /// The journal has no such deployment.
    #[error("no deployment \"{0}\" in the journal; to see which there are: cutover history")]
    UnknownDeployment(String),
    /// The journal has no such deployment, or no longer.
    #[error(
        "no deployment \"{id}\" in the journal: it may have been pruned, because the last {kept} of each group are kept; to see \
         them: cutover history"
    )]
    NotKept {
        /// The id.
        id: String,
        /// How many are kept.
        kept: u32,
    },
    /// The deployment has no output of this name on this host.
    #[error("deployment \"{id}\" has no output \"{name}\" on this host; {}", has(known))]
    NoOutput {
        /// The deployment.
        id: String,
        /// The name.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A text in the request is invalid.
    #[error(transparent)]
    BadText(#[from] BadText),
    /// The daemon could not finish the request.
    #[error("the request was not finished: {0}")]
    Interrupted(String),
}

impl Refusal {
    /// A refusal of a switch by hand that is possible if it is forced.
    pub(super) fn or_by_force(mut self, slot: &str) -> Self {
        if let Self::NotRun(why) = &mut self
            && let NotRun::Rerunning { by_force, .. } = &mut **why
        {
            *by_force = Some(slot.to_owned());
        }
        self
    }

    pub(super) fn being_stopped(group: &str, slot: &str, deployment: &Deployment, state: &State) -> Self {
        let was_live = deployment.plan.cleans_up(state) == Some(Part::Old);
        Self::BeingStopped {
            slot: slot.to_owned(),
            group: group.to_owned(),
            id: deployment.id.clone(),
            was_live,
        }
    }

    pub(crate) fn not_on_edge(edge: &str, group: &str, groups: &[Group]) -> Self {
        let known = groups.iter().map(|seen| seen.name.clone()).collect();
        Self::NotOnEdge { edge: edge.to_owned(), group: group.to_owned(), known }
    }

    pub(crate) fn no_such_slot(seen: &Group, slot: &str) -> Self {
        Self::UnknownSlot {
            slot: slot.to_owned(),
            group: seen.name.clone(),
            known: seen.slots.iter().map(|slot| slot.name.clone()).collect(),
        }
    }
}
