//! The six deployments.

/// One deployment, and its expected outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) number: u8,
    pub(crate) title: &'static str,
    pub(crate) version: &'static str,
    pub(crate) schema: u32,
    pub(crate) fault: Option<&'static str>,
    pub(crate) expected: ExpectedOutcome,
    pub(crate) kill_daemon: bool,
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
}

impl ExpectedOutcome {
    /// The outcome and exit code of `cutover deploy`.
    pub(crate) fn word_and_code(self) -> (&'static str, i32) {
        match self {
            Self::Completed => ("completed", 0),
            Self::Failed => ("failed", 3),
            Self::RolledBack => ("rolled_back", 4),
        }
    }
}

pub(crate) const SCENARIOS: [Scenario; 6] = [
    Scenario {
        number: 1,
        title: "a good release",
        version: "2.0.0",
        schema: 2,
        fault: None,
        expected: ExpectedOutcome::Completed,
        kill_daemon: false,
    },
    Scenario {
        number: 2,
        title: "never gets ready",
        version: "2.1.0",
        schema: 2,
        fault: Some("never-ready"),
        expected: ExpectedOutcome::Failed,
        kill_daemon: false,
    },
    Scenario {
        number: 3,
        title: "fails its smoke test",
        version: "2.2.0",
        schema: 2,
        fault: Some("bad-catalogue"),
        expected: ExpectedOutcome::Failed,
        kill_daemon: false,
    },
    Scenario {
        number: 4,
        title: "5xx to real traffic, with a migration",
        version: "3.0.0",
        schema: 3,
        fault: Some("errors-after=40"),
        expected: ExpectedOutcome::RolledBack,
        kill_daemon: false,
    },
    Scenario {
        number: 5,
        title: "dies right after the switch",
        version: "3.1.0",
        schema: 2,
        fault: Some("exit-after=40"),
        expected: ExpectedOutcome::RolledBack,
        kill_daemon: false,
    },
    Scenario {
        number: 6,
        title: "a good release; the daemon is killed",
        version: "3.2.0",
        schema: 3,
        fault: None,
        expected: ExpectedOutcome::Completed,
        kill_daemon: true,
    },
];
