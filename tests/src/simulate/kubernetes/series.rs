//! The deployments on Kubernetes. Those that hosts have, too, have the same numbers.

use cutover_tests::site::{Settings, Users};

use crate::scenario::{Accident, FailsBy, Scenario};
use crate::series::{ERRORS, FAILED, GOOD, SETTINGS as ON_HOSTS, Series, TAKEN_BACK};

/// The numbers of the scenarios.
pub(crate) const NUMBERS: [u8; 7] = [1, 2, 3, 4, 9, 15, 20];

/// The balancer of ingress-nginx sends the requests, so the module cannot ask the old version instead.
const SETTINGS: Settings = Settings { ready: "10s", trial: "rescue = false", ..ON_HOSTS };

/// All of them have the same controllers, and each has a version of its own.
pub(super) const SERIES: [Series; 2] = [
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
                says: &["was not healthy within 10s"],
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
                title: "5xx to real traffic; no rescue",
                most_failed: 120,
                median_failed: Some(40),
                ..ERRORS
            },
            Scenario {
                number: 9,
                title: "404 to everything",
                version: "3.1.0",
                fault: Some("not-found"),
                fails_by: FailsBy::Status(4),
                most_failed: 1500,
                back_within: std::time::Duration::from_secs(4),
                says: &["are 4xx"],
                ..TAKEN_BACK
            },
            Scenario {
                number: 20,
                title: "a good release; one of two agents lags",
                version: "3.2.0",
                accident: Accident::AgentStopped,
                says: &["its agent does not answer"],
                ..FAILED
            },
        ],
    },
    Series {
        settings: Settings { steps: "[\"1% 1s\", \"10% 2s\", \"100%\"]", ..SETTINGS },
        users: Users::Busy,
        scenarios: &[Scenario {
            number: 15,
            title: "a good release in steps",
            version: "4.0.0",
            says: &["is live"],
            ..GOOD
        }],
    },
];
