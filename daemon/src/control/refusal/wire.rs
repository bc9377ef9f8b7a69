//! Refusals in the control API: HTTP status and code word.

use super::Refusal;

/// The code word of a change that a daemon refuses because another daemon leads. Nothing has changed, so the command line sends the
/// change to its next host.
pub const NOT_LEADER: &str = "not_leader";

/// The code word of a deployment that the daemon's journal does not have.
pub const UNKNOWN_DEPLOYMENT: &str = "unknown_deployment";

impl Refusal {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::OfGroup { refusal, .. } => refusal.status(),
            Self::UnknownGroup { .. }
            | Self::NotOnEdge { .. }
            | Self::UnknownDeployment(_)
            | Self::NotKept { .. }
            | Self::NoOutput { .. } => 404,
            Self::UnknownSlot { .. }
            | Self::NeedsVersion { .. }
            | Self::Active { .. }
            | Self::NoStandby(_)
            | Self::NoGroup
            | Self::StepsDiffer { .. }
            | Self::BadText(_) => 422,
            Self::BrokenConfiguration { .. }
            | Self::TakenBack(_)
            | Self::Busy(_)
            | Self::Overtaken(_)
            | Self::Frozen(_)
            | Self::NotFrozen(_)
            | Self::Unfit { .. }
            | Self::NothingUnderWay { .. }
            | Self::BeingStopped { .. }
            | Self::AlreadyCompleted { .. }
            | Self::NotSwitchedYet { .. }
            | Self::NoWayBack { .. }
            | Self::ReadsOnly { .. }
            | Self::Unable { .. }
            | Self::HasTraffic { .. }
            | Self::NotRun(_)
            | Self::Database(_)
            | Self::DatabaseAsks { .. }
            | Self::Shared { .. }
            | Self::SharedBusy { .. }
            | Self::SharedTogether { .. }
            | Self::NoBetter { .. }
            | Self::Sick { .. } => 409,
            Self::NotSwitched(_) | Self::SwitchUnknown { .. } | Self::EdgeMissing { .. } | Self::Edge(_) => {
                502
            }
            Self::NotOnDisk { .. } => 507,
            Self::NotLeading(_) | Self::Resuming => 503,
            Self::Journal(_) | Self::Interrupted(_) => 500,
        }
    }

    /// The code word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BrokenConfiguration { .. } => "broken_configuration",
            Self::UnknownGroup { .. } => "unknown_group",
            Self::NoGroup => "no_group",
            Self::OfGroup { refusal, .. } => refusal.code(),
            Self::StepsDiffer { .. } => "steps_differ",
            Self::SharedTogether { .. } => "shared_servers",
            Self::NotOnEdge { .. } => "not_on_edge",
            Self::UnknownSlot { .. } => "unknown_slot",
            Self::NeedsVersion { .. } => "needs_version",
            Self::TakenBack(_) => "taken_back",
            Self::HasTraffic { .. } => "slot_has_traffic",
            Self::Shared { .. } => "shared_servers",
            Self::SharedBusy { .. } => "busy",
            Self::NotRun(why) => why.code(),
            Self::Database(_) => "database",
            Self::DatabaseAsks { .. } => "database_asks",
            Self::Active { .. } => "slot_is_active",
            Self::NoStandby(_) => "no_standby",
            Self::Busy(_) => "busy",
            Self::Overtaken(_) => "overtaken",
            Self::Frozen(_) => "frozen",
            Self::NotFrozen(_) => "not_frozen",
            Self::Unfit { .. } => "unfit",
            Self::NothingUnderWay { .. } => "nothing_under_way",
            Self::BeingStopped { .. } => "being_stopped",
            Self::AlreadyCompleted { .. } => "already_completed",
            Self::NotSwitchedYet { .. } => "not_switched_yet",
            Self::NoWayBack { .. } => "no_way_back",
            Self::Sick { .. } => "sick",
            Self::NoBetter { .. } => "no_better",
            Self::ReadsOnly { .. } => "reads_only",
            Self::Unable { .. } => "unable",
            Self::NotSwitched(_) => "not_switched",
            Self::NotOnDisk { .. } => "not_durable",
            Self::SwitchUnknown { .. } => "switch_unknown",
            Self::EdgeMissing { .. } => "edge_missing",
            Self::Edge(_) => "edge",
            Self::NotLeading(_) => "not_leading",
            Self::Resuming => "resuming",
            Self::Journal(_) => "journal",
            Self::UnknownDeployment(_) => UNKNOWN_DEPLOYMENT,
            Self::NotKept { .. } => UNKNOWN_DEPLOYMENT,
            Self::NoOutput { .. } => "no_output",
            Self::BadText(_) => "bad_text",
            Self::Interrupted(_) => "interrupted",
        }
    }
}
