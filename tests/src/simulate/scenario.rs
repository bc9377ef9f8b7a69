//! A deployment, and what must hold.

use std::time::Duration;

/// One deployment, and what must hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) number: u8,
    pub(crate) title: &'static str,
    pub(crate) version: &'static str,
    pub(crate) schema: u32,
    pub(crate) fault: Option<&'static str>,
    pub(crate) accident: Accident,
    pub(crate) expected: ExpectedOutcome,
    /// How a request fails that the new release has failed.
    pub(crate) fails_by: FailsBy,
    /// The most requests that may fail.
    pub(crate) most_failed: u64,
    /// The most requests that may fail in the median of several runs, if a promise says so.
    pub(crate) median_failed: Option<u64>,
    /// The longest time from the switch until the traffic is back.
    pub(crate) back_within: Duration,
    /// The last message of the daemon has one of these texts in it.
    pub(crate) says: &'static [&'static str],
}

impl Scenario {
    /// The same over stock nginx, where the daemon alone takes a bad version back, at its next reading of the log. `None`: nothing
    /// takes it back.
    pub(crate) fn over_stock_nginx(self) -> Option<Self> {
        let Self { accident, expected, most_failed, back_within, says, .. } = self;
        match (accident, expected) {
            // An old worker may take an order that the new release should have.
            (Accident::DaemonGone { .. } | Accident::GiftsOrdered, _) => None,
            (_, ExpectedOutcome::RolledBack) => Some(Self {
                // Every request of a bad version fails until the next reading, and then until the reload.
                most_failed: if self.fails_by == FailsBy::Nothing {
                    most_failed
                } else {
                    most_failed.max(2_500)
                },
                median_failed: None,
                back_within: back_within + Duration::from_secs(4),
                says: if says.contains(&"the guard") || says.contains(&"unanswered") { &[] } else { says },
                ..self
            }),
            _ => Some(self),
        }
    }
}

/// What happens during the soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accident {
    /// Nothing.
    None,
    /// The daemon is killed and started again at once.
    DaemonKilled,
    /// The daemon is killed. It is started again after nginx has moved the traffic back, which must not take longer than this.
    DaemonGone {
        /// From the kill.
        back_within: Duration,
    },
    /// The last of several edges is killed. It is started again after the traffic of the others is back.
    EdgeKilled,
    /// The last of several edges is moved back by hand.
    EdgeMoved,
    /// The last agent is stopped before the deployment begins, and goes on after its end. Only on Kubernetes.
    AgentStopped,
    /// Users order with what only the new release can store. Afterwards an operator types what the daemon says.
    GiftsOrdered,
}

/// How a request fails that the new release has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailsBy {
    /// None may fail.
    Nothing,
    /// With a status of this hundred.
    Status(u16),
    /// With a status of the 5xx, or without an answer.
    Silence,
}

/// The expected outcome of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpectedOutcome {
    /// The new release has the traffic.
    Completed,
    /// No traffic was moved.
    Failed,
    /// The old release has the traffic again.
    RolledBack,
    /// The same, and an operator decides about the database.
    Stuck,
}

impl ExpectedOutcome {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Stuck => "stuck",
        }
    }

    /// The exit code of `cutover deploy`.
    pub(crate) fn code_of_deploy(self) -> i32 {
        match self {
            Self::Completed => 0,
            Self::Failed => 3,
            Self::RolledBack => 4,
            Self::Stuck => 5,
        }
    }

    /// The exit code of `kubectl wait --for=condition=Completed`.
    pub(crate) fn code_of_kubectl(self) -> i32 {
        i32::from(self != Self::Completed)
    }
}
