//! The phases, and how a deployment can end.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Retry, Time};

/// Where a deployment is. The driver does the work of the phase, and the event that comes of it leads to the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The database is brought to what the new version needs.
    Migrating,
    /// The new version is started in the standby slot.
    Provisioning,
    /// Waits until every peer of the standby is healthy.
    Probing {
        /// Not healthy by then: failed.
        until: Time,
    },
    /// The smoke tests run against the standby.
    Smoking,
    /// The route is about to move.
    Switching(Store),
    /// The new slot has the traffic and is watched.
    Soaking {
        /// When the verdict is due.
        until: Time,
    },
    /// Requests that the old slot holds come to their end.
    Draining {
        /// Goes on then in any case.
        until: Time,
    },
    /// The new version is live; the old slot stays up, and probed, as the way back.
    Warm {
        /// When the window is over.
        until: Time,
    },
    /// The old slot is stopped.
    Decommissioning(Retry),
    /// The new version is live. Final.
    Completed {
        /// What was left undone, if anything.
        note: Option<String>,
    },
    /// It failed before the switch, and what it did is undone.
    TearingDown {
        /// Why.
        cause: Cause,
        /// What is being undone.
        step: TeardownStep,
        /// How often that was tried.
        retry: Retry,
    },
    /// It failed before the switch: no traffic has moved. Final.
    Failed(Cause),
    /// It failed after the switch, and traffic goes back.
    RollingBack {
        /// Why.
        cause: Cause,
        /// What is being done.
        step: RollbackStep,
        /// How often that was tried.
        retry: Retry,
        /// The database keeps the migrations: users have written with them since.
        keep_database: bool,
    },
    /// Traffic is back on the old slot. Final.
    RolledBack(Cause),
    /// A human must look. Final: nothing more is done to traffic, slots or database.
    Stuck {
        /// What could not be done, and why.
        reason: String,
        /// What to type next.
        next: String,
    },
}

/// The two halves of a switch: what is journaled between them tells a restarted daemon whether the store has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// The route is read.
    Reading,
    /// The standby is probed once more and the route is moved, if it still has the generation that was read.
    Storing,
}

/// What is undone before the switch, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeardownStep {
    /// The database, if this deployment migrated it.
    Revert,
    /// The new slot is stopped.
    Teardown,
}

/// What is undone after the switch, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackStep {
    /// The old slot is probed, and the route is moved back to it.
    SwitchBack,
    /// Requests that the new slot holds come to their end.
    Drain {
        /// Goes on then in any case.
        until: Time,
    },
    /// The database, if this deployment migrated it.
    Revert,
    /// The new slot is stopped; before the database is reverted, if it still holds requests at the deadline.
    Teardown,
}

/// Why a deployment did not go through: a word for programs and a line for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The word.
    pub kind: CauseKind,
    /// The line.
    pub text: String,
}

impl Cause {
    pub(super) fn new(kind: CauseKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
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
    /// The switch was not made, or cannot be relied on.
    Switch,
    /// Somebody else moved the route.
    RouteMoved,
    /// The edge took the traffic back.
    TakenBack,
    /// The soak's verdict was Bad.
    Soak,
    /// The soak saw too few requests.
    Inconclusive,
    /// The soak could not read nginx.
    Blind,
    /// An operator asked for it.
    Operator,
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
    /// A human must look.
    Stuck,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Completed, Self::Failed, Self::RolledBack, Self::Stuck];

    /// As on the wire.
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
    /// Names of all phases, as on the wire, in the order of a good walk, then of a bad one.
    pub const NAMES: [&'static str; 15] = [
        "migrating",
        "provisioning",
        "probing",
        "smoking",
        "switching",
        "soaking",
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

    /// As on the wire and in labels.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Migrating => "migrating",
            Self::Provisioning => "provisioning",
            Self::Probing { .. } => "probing",
            Self::Smoking => "smoking",
            Self::Switching(_) => "switching",
            Self::Soaking { .. } => "soaking",
            Self::Draining { .. } => "draining",
            Self::Warm { .. } => "warm",
            Self::Decommissioning(_) => "decommissioning",
            Self::Completed { .. } => "completed",
            Self::TearingDown { .. } => "tearing_down",
            Self::Failed(_) => "failed",
            Self::RollingBack { .. } => "rolling_back",
            Self::RolledBack(_) => "rolled_back",
            Self::Stuck { .. } => "stuck",
        }
    }

    /// Why the deployment is being undone, or was.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::TearingDown { cause, .. }
            | Self::Failed(cause)
            | Self::RollingBack { cause, .. }
            | Self::RolledBack(cause) => Some(cause),
            _ => None,
        }
    }

    /// Whether nothing more is done.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Failed(_) | Self::RolledBack(_) | Self::Stuck { .. })
    }

    /// When the work of this phase may begin: a step that failed is tried again after a pause.
    pub fn not_before(&self) -> Option<Time> {
        match self {
            Self::Decommissioning(retry)
            | Self::TearingDown { retry, .. }
            | Self::RollingBack { retry, .. } => Some(retry.at),
            _ => None,
        }
    }

    /// Whether a command is running that changes the database.
    pub fn changes_database(&self) -> bool {
        matches!(
            self,
            Self::Migrating
                | Self::TearingDown { step: TeardownStep::Revert, .. }
                | Self::RollingBack { step: RollbackStep::Revert, .. }
        )
    }

    /// How the deployment has ended for whoever waits for it; it is completed from the warm window on.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Warm { .. } | Self::Decommissioning(_) | Self::Completed { .. } => Some(Outcome::Completed),
            Self::Failed(_) => Some(Outcome::Failed),
            Self::RolledBack(_) => Some(Outcome::RolledBack),
            Self::Stuck { .. } => Some(Outcome::Stuck),
            _ => None,
        }
    }
}
