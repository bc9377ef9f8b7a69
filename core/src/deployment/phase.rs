//! The phases and outcomes of a deployment.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Retry, Time};

/// The phase of a deployment. The driver does the work of the phase, and the resulting event leads to the next phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The `migrate` command changes the database for the new version.
    Migrating,
    /// The `provision` command starts the new version in the standby slot.
    Provisioning,
    /// The driver waits until the new slot is healthy.
    Probing {
        /// If the slot is not healthy by then, the deployment fails.
        until: Time,
    },
    /// The smoke tests run against the new slot.
    Smoking,
    /// The route is about to move.
    Switching(Store),
    /// The new slot has the traffic, or the share of a step, and is watched.
    Soaking {
        /// The verdict is due then. `None`: the step lasts until an operator promotes it.
        until: Option<Time>,
    },
    /// The switch is made permanent: nothing takes the traffic back by itself any more.
    Confirming(Retry),
    /// The driver waits for the unfinished requests of the old slot.
    Draining {
        /// The wait ends then in any case.
        until: Time,
    },
    /// The new version is live. The old slot stays up and is probed, for a rollback.
    Warm {
        /// The warm window ends then.
        until: Time,
    },
    /// The `decommission` command stops the old slot.
    Decommissioning(Retry),
    /// The new version is live. Final.
    Completed {
        /// What the deployment left undone.
        note: Option<String>,
    },
    /// The deployment failed before the switch and is being undone.
    TearingDown {
        /// Why.
        cause: Cause,
        /// The current step.
        step: TeardownStep,
        /// The tries of the step so far.
        retry: Retry,
    },
    /// The deployment failed before the switch: no traffic has moved. Final.
    Failed(Cause),
    /// The deployment failed after the switch, and traffic goes back.
    RollingBack {
        /// Why.
        cause: Cause,
        /// The current step.
        step: RollbackStep,
        /// The tries of the step so far.
        retry: Retry,
        /// Whether the database keeps the migration, because users have written data with it.
        keep_database: bool,
    },
    /// Traffic is back on the old slot. Final.
    RolledBack {
        /// Why.
        cause: Cause,
        /// What is wrong with the old slot now. `None`: nothing that was seen.
        but: Option<String>,
    },
    /// An operator must act. Final: the daemon does nothing more to traffic, slots or database.
    Stuck {
        /// The failed step and the reason.
        reason: String,
        /// The command to type next.
        next: String,
        /// Why no operator is needed any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settled: Option<String>,
    },
}

/// The two halves of a switch. The state is journaled between them, so a restarted daemon can find out whether the route has moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// The driver reads the route.
    Reading,
    /// The driver probes the new slot once more and moves the route if it still has the revision that was read.
    Storing,
}

/// The part of a slot in a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The slot that had the traffic at the start.
    Old,
    /// The slot of the new version.
    New,
}

/// The steps that undo a deployment before the switch, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeardownStep {
    /// The `revert` command runs, if this deployment migrated the database.
    Revert,
    /// The `decommission` command stops the new slot.
    Teardown,
}

/// The steps that undo a deployment after the switch, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackStep {
    /// The driver probes the old slot and moves the route back to it.
    SwitchBack,
    /// The driver waits for the unfinished requests of the new slot.
    Drain {
        /// The wait ends then in any case.
        until: Time,
    },
    /// The `revert` command runs, if this deployment migrated the database.
    Revert,
    /// The `decommission` command stops the new slot. This comes before the revert if the slot still holds requests at the
    /// deadline.
    Teardown,
    /// The old slot is watched as a new version would be: what made the new version fail may have hurt it, too.
    Watch {
        /// The watch ends then.
        until: Time,
    },
}

/// Why a deployment did not complete: a word for programs and a line for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The word.
    pub kind: CauseKind,
    /// The line.
    pub text: String,
    /// Whether the version is to blame: what users got from it was bad.
    #[serde(default)]
    pub blames_version: bool,
}

impl Cause {
    pub(super) fn new(kind: CauseKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), blames_version: kind == CauseKind::Soak }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The word of a [`Cause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// `migrate` failed.
    Migrate,
    /// `provision` failed.
    Provision,
    /// The new slot was not healthy in time.
    Probe,
    /// A smoke test failed.
    Smoke,
    /// The switch was not made, or is uncertain.
    Switch,
    /// Somebody else moved the route.
    RouteMoved,
    /// The edge took the traffic back.
    TakenBack,
    /// The soak's verdict was Bad.
    Soak,
    /// The soak saw too little evidence for a verdict.
    Inconclusive,
    /// The soak could not read nginx.
    Blind,
    /// An operator asked for it.
    Operator,
    /// A deployment of another group that moves with this one went back.
    Companion,
}

impl CauseKind {
    /// Whether the new version was judged by what it did to users.
    pub fn is_verdict(self) -> bool {
        matches!(self, Self::Soak | Self::Inconclusive)
    }
}

/// How a deployment ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new version is live.
    Completed,
    /// It failed before the switch.
    Failed,
    /// Traffic is back on the old version.
    RolledBack,
    /// An operator must act.
    Stuck,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 4] = [Self::Completed, Self::Failed, Self::RolledBack, Self::Stuck];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Stuck => "stuck",
        }
    }

    /// The exit code of `cutover deploy`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::Failed => 3,
            Self::RolledBack => 4,
            Self::Stuck => 5,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Phase {
    /// The beginning of [`Phase::Confirming`].
    pub(super) fn confirming(now: Time) -> Self {
        Self::Confirming(Retry { failed: 0, at: now })
    }

    /// The end of a deployment that needs an operator, who types `next`.
    pub fn stuck(reason: String, next: String) -> Self {
        Self::Stuck { reason, next, settled: None }
    }

    /// Whether an operator is needed.
    pub fn needs_operator(&self) -> bool {
        matches!(self, Self::Stuck { settled: None, .. })
    }

    /// Names of all phases on the wire: the phases of a good deployment in their order, then the others.
    pub const NAMES: [&'static str; 16] = [
        "migrating",
        "provisioning",
        "probing",
        "smoking",
        "switching",
        "soaking",
        "confirming",
        "draining",
        "warm",
        "decommissioning",
        "completed",
        "tearing_down",
        "failed",
        "rolling_back",
        "rolled_back",
        "stuck",
    ];

    /// The name on the wire and in labels of metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Migrating => "migrating",
            Self::Provisioning => "provisioning",
            Self::Probing { .. } => "probing",
            Self::Smoking => "smoking",
            Self::Switching(_) => "switching",
            Self::Soaking { .. } => "soaking",
            Self::Confirming(_) => "confirming",
            Self::Draining { .. } => "draining",
            Self::Warm { .. } => "warm",
            Self::Decommissioning(_) => "decommissioning",
            Self::Completed { .. } => "completed",
            Self::TearingDown { .. } => "tearing_down",
            Self::Failed(_) => "failed",
            Self::RollingBack { .. } => "rolling_back",
            Self::RolledBack { .. } => "rolled_back",
            Self::Stuck { .. } => "stuck",
        }
    }

    /// Why the deployment is being undone, or was.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::TearingDown { cause, .. }
            | Self::Failed(cause)
            | Self::RollingBack { cause, .. }
            | Self::RolledBack { cause, .. } => Some(cause),
            _ => None,
        }
    }

    /// Whether this is the last phase of a deployment.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Completed { .. } | Self::Failed(_) | Self::RolledBack { .. } | Self::Stuck { .. }
        )
    }

    /// When the work of this phase may begin. A failed step is retried after a pause.
    pub fn not_before(&self) -> Option<Time> {
        match self {
            Self::Confirming(retry)
            | Self::Decommissioning(retry)
            | Self::TearingDown { retry, .. }
            | Self::RollingBack { retry, .. } => Some(retry.at),
            _ => None,
        }
    }

    /// Failed tries of the current step; 0 for a phase whose work is not retried.
    pub fn failed_tries(&self) -> u32 {
        match self {
            Self::Confirming(retry)
            | Self::Decommissioning(retry)
            | Self::TearingDown { retry, .. }
            | Self::RollingBack { retry, .. } => retry.failed,
            _ => 0,
        }
    }

    /// Whether the work of this phase probes and judges the slot that has the traffic.
    pub fn judges(&self) -> bool {
        matches!(
            self,
            Self::Switching(_)
                | Self::Soaking { .. }
                | Self::Confirming(_)
                | Self::Draining { .. }
                | Self::RollingBack { step: RollbackStep::SwitchBack | RollbackStep::Watch { .. }, .. }
        )
    }

    /// Whether another deployment or switch may begin, because this one only watches.
    pub fn only_watches(&self) -> bool {
        matches!(self, Self::Warm { .. } | Self::RollingBack { step: RollbackStep::Watch { .. }, .. })
    }

    /// Whether the work of this phase is a command that changes the database.
    pub fn changes_database(&self) -> bool {
        matches!(
            self,
            Self::Migrating
                | Self::TearingDown { step: TeardownStep::Revert, .. }
                | Self::RollingBack { step: RollbackStep::Revert, .. }
        )
    }

    /// The outcome for an operator who waits. A deployment counts as completed from the warm window on.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Warm { .. } | Self::Decommissioning(_) | Self::Completed { .. } => Some(Outcome::Completed),
            Self::Failed(_) => Some(Outcome::Failed),
            Self::RolledBack { .. } => Some(Outcome::RolledBack),
            Self::Stuck { .. } => Some(Outcome::Stuck),
            _ => None,
        }
    }
}
