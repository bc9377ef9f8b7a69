//! The deployments, by site. Those of one site run one after the other.

use std::time::Duration;

use cutover_tests::DatabaseKind;
use cutover_tests::site::{self, EdgeKind, Settings, Users};

use crate::scenario::{Accident, ExpectedOutcome, FailsBy, Scenario};

/// Deployments on one site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    pub(crate) settings: Settings,
    pub(crate) users: Users,
    pub(crate) scenarios: &'static [Scenario],
}

/// The time in which a user without patience gives up.
const IMPATIENT: Duration = Duration::from_secs(1);
/// Longer than nginx waits for an answer (`proxy_read_timeout`).
const PATIENT: Duration = Duration::from_secs(65);
/// The lease of scenario 12.
const LEASE: Duration = Duration::from_secs(2);
/// Less than that lease.
const QUICK_FLEET: &str = "patience = \"1500ms\"";

/// The share of errors that a shop allows which has hardly any. With a limit of 1 %, a tenth of these users would take
/// half a minute to prove 2 %.
const STRICT: f64 = 0.002;

/// So many answers of the old version are sure to be known: its deployment takes a third of a second until the switch.
const FEW: u32 = 20;

pub(crate) const SETTINGS: Settings = Settings {
    edge: EdgeKind::Module,
    edges: 1,
    fleet: "",
    steps: "[\"100%\"]",
    soak: "3s",
    min_requests: 50,
    max_error_ratio: 0.01,
    ready: "4s",
    drain: "10s",
    lease: Some(site::LEASE),
    trial: "",
    takes_ms: 0,
    database: None,
};

/// A good release with schema 2.
pub(crate) const GOOD: Scenario = Scenario {
    number: 0,
    title: "",
    version: "",
    schema: 2,
    fault: None,
    accident: Accident::None,
    expected: ExpectedOutcome::Completed,
    fails_by: FailsBy::Nothing,
    most_failed: 0,
    median_failed: None,
    back_within: Duration::ZERO,
    says: &[],
};

/// A release that is not switched to.
pub(crate) const FAILED: Scenario = Scenario { expected: ExpectedOutcome::Failed, ..GOOD };

/// A release that is taken back.
pub(crate) const TAKEN_BACK: Scenario = Scenario { expected: ExpectedOutcome::RolledBack, ..GOOD };

/// A release with schema 3 that answers 5xx to real traffic.
pub(crate) const ERRORS: Scenario = Scenario {
    version: "3.0.0",
    schema: 3,
    fault: Some("errors-after=40"),
    fails_by: FailsBy::Status(5),
    back_within: Duration::from_secs(2),
    says: &["the guard"],
    ..TAKEN_BACK
};

/// A release whose process ends.
const DIES: Scenario = Scenario { version: "3.1.0", fault: Some("exit-after=40"), schema: 2, ..ERRORS };

/// What only several edges can have.
pub(crate) const SERIES_OF_EDGES: [Series; 2] = [
    Series {
        settings: Settings { soak: "6s", fleet: QUICK_FLEET, ..SETTINGS },
        users: Users::Busy,
        scenarios: &[Scenario {
            number: 17,
            title: "a good release; one edge is killed",
            version: "3.0.0",
            accident: Accident::EdgeKilled,
            back_within: Duration::from_secs(6),
            says: &["has not answered for"],
            ..TAKEN_BACK
        }],
    },
    Series {
        settings: SETTINGS,
        users: Users::Busy,
        scenarios: &[Scenario {
            number: 18,
            title: "a good release; one edge moved by hand",
            version: "3.0.0",
            accident: Accident::EdgeMoved,
            back_within: Duration::from_secs(6),
            says: &["somebody moved the traffic of one edge alone"],
            ..TAKEN_BACK
        }],
    },
];

/// Migrations by cutover itself. With `--database`, scenario 4 is on this site, too.
const OF_DATABASE: Series = Series {
    // The soak ends with the first errors, which are to come after the orders.
    settings: Settings { database: Some(DatabaseKind::Sqlite), soak: "20s", ..SETTINGS },
    users: Users::Busy,
    scenarios: &[WRITTEN],
};

/// The new release has written what the old schema cannot keep.
const WRITTEN: Scenario = Scenario {
    number: 19,
    title: "it has written; a revert would lose rows",
    version: "3.3.0",
    fault: Some("errors-after=1000"),
    accident: Accident::GiftsOrdered,
    expected: ExpectedOutcome::Stuck,
    most_failed: 20,
    back_within: Duration::from_secs(20),
    says: &["3 rows were written since the deployment"],
    ..ERRORS
};

/// Scenario 4, and 19, whose numbers `--database` permits.
pub(crate) const WITH_DATABASE: Series = Series {
    scenarios: &[
        Scenario {
            number: 4,
            title: "5xx to real traffic, with a migration",
            most_failed: 20,
            median_failed: Some(5),
            ..ERRORS
        },
        WRITTEN,
    ],
    ..OF_DATABASE
};

/// The longest ones begin first, so that none is left alone at the end.
pub(crate) const SERIES: [Series; 11] = [
    OF_DATABASE,
    Series {
        settings: SETTINGS,
        users: Users::Busy,
        scenarios: &[
            Scenario { number: 1, title: "a good release", version: "2.0.0", says: &["is live"], ..GOOD },
            Scenario {
                number: 2,
                title: "never gets ready",
                version: "2.1.0",
                fault: Some("never-ready"),
                says: &["was not healthy within 4s"],
                ..FAILED
            },
            Scenario {
                number: 3,
                title: "fails its smoke test",
                version: "2.2.0",
                fault: Some("bad-catalogue"),
                says: &["the catalogue has tea"],
                ..FAILED
            },
            Scenario {
                number: 4,
                title: "5xx to real traffic, with a migration",
                most_failed: 20,
                median_failed: Some(5),
                ..ERRORS
            },
            Scenario {
                number: 5,
                title: "dies right after the switch",
                most_failed: 20,
                median_failed: Some(5),
                ..DIES
            },
            Scenario {
                number: 6,
                title: "a good release; the daemon is killed",
                version: "3.2.0",
                schema: 3,
                accident: Accident::DaemonKilled,
                ..GOOD
            },
        ],
    },
    Series {
        settings: Settings { drain: "1s", soak: "10s", min_requests: FEW, ..SETTINGS },
        users: Users::Arriving(PATIENT),
        scenarios: &[Scenario {
            number: 7,
            title: "3 of 10 requests hang; users wait",
            version: "3.0.0",
            fault: Some("hangs=30%"),
            fails_by: FailsBy::Silence,
            most_failed: 150,
            back_within: Duration::from_secs(10),
            says: &["unanswered"],
            ..TAKEN_BACK
        }],
    },
    Series {
        settings: Settings { soak: "10s", min_requests: FEW, ..SETTINGS },
        users: Users::Arriving(IMPATIENT),
        scenarios: &[Scenario {
            number: 8,
            title: "3 of 10 hang; users give up after 1 s",
            version: "3.0.0",
            fault: Some("hangs=30%"),
            fails_by: FailsBy::Silence,
            most_failed: 600,
            back_within: Duration::from_secs(10),
            says: &["given up by the client"],
            ..TAKEN_BACK
        }],
    },
    Series {
        settings: Settings {
            steps: "[\"1% 1s\", \"10% 20s\", \"100%\"]",
            max_error_ratio: STRICT,
            trial: "rescue = false",
            ..SETTINGS
        },
        users: Users::Busy,
        scenarios: &[Scenario {
            number: 16,
            title: "2 % errors, in steps; no rescue",
            version: "3.0.0",
            fault: Some("errors=2%"),
            fails_by: FailsBy::Status(5),
            most_failed: 20,
            back_within: Duration::from_secs(22),
            says: &["answers of green are errors"],
            ..TAKEN_BACK
        }],
    },
    Series {
        settings: Settings { soak: "6s", lease: Some(LEASE), fleet: QUICK_FLEET, ..SETTINGS },
        users: Users::Busy,
        scenarios: &[Scenario {
            number: 12,
            title: "2 % errors; the daemon is gone",
            version: "3.0.0",
            fault: Some("errors=2%"),
            accident: Accident::DaemonGone { back_within: LEASE.saturating_add(Duration::from_secs(1)) },
            fails_by: FailsBy::Status(5),
            most_failed: 60,
            back_within: Duration::from_secs(5),
            says: &["the lease of the last change"],
            ..TAKEN_BACK
        }],
    },
    Series {
        settings: SETTINGS,
        users: Users::Busy,
        scenarios: &[Scenario {
            number: 9,
            title: "404 to everything",
            version: "3.0.0",
            fault: Some("not-found"),
            fails_by: FailsBy::Status(4),
            most_failed: 1500,
            back_within: Duration::from_secs(2),
            says: &["are 4xx"],
            ..TAKEN_BACK
        }],
    },
    Series {
        settings: Settings { takes_ms: 20, min_requests: FEW, ..SETTINGS },
        users: Users::Busy,
        scenarios: &[Scenario {
            number: 10,
            title: "ten times slower",
            version: "3.0.0",
            fault: Some("slower=10"),
            back_within: Duration::from_secs(4),
            says: &["p50 of", "p95 of", "p99 of", "took"],
            ..TAKEN_BACK
        }],
    },
    Series {
        settings: SETTINGS,
        users: Users::Few,
        scenarios: &[Scenario {
            number: 11,
            title: "a good release; hardly any users",
            version: "3.0.0",
            back_within: Duration::from_secs(6),
            says: &["soak inconclusive: only"],
            ..TAKEN_BACK
        }],
    },
    Series {
        settings: Settings { trial: "rescue = false", ..SETTINGS },
        users: Users::Busy,
        scenarios: &[
            Scenario {
                number: 13,
                title: "5xx to real traffic; no rescue",
                most_failed: 120,
                median_failed: Some(40),
                ..ERRORS
            },
            Scenario {
                number: 14,
                title: "dies right after the switch; no rescue",
                most_failed: 120,
                median_failed: Some(40),
                ..DIES
            },
        ],
    },
    Series {
        settings: Settings { steps: "[\"1% 1s\", \"10% 2s\", \"100%\"]", ..SETTINGS },
        users: Users::Busy,
        scenarios: &[Scenario {
            number: 15,
            title: "a good release in steps",
            version: "3.0.0",
            says: &["is live"],
            ..GOOD
        }],
    },
];
