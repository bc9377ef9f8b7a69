//! A slot that answers, but with another version than the one that was deployed.

use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Action, Backend, TestHost};

const EXPECTED: &str = "
    [group.shop.probe.expect]
    headers = { x-version = \"{version}\" }
    [group.shop.provision]
    command = [\"/bin/true\"]
";

struct Slots {
    host: TestHost,
    blue: Backend,
    green: Backend,
}

impl Slots {
    async fn start() -> Self {
        let short = GROUP_WITHOUT_TRAFFIC
            .replace("interval = \"20ms\"", "interval = \"20ms\"\n    deadline = \"500ms\"");
        let (host, [blue, green]) = TestHost::with_slots_and(&format!("{short}{EXPECTED}")).await.unwrap();
        Self { host, blue, green }
    }
}

fn runs(slot: &Backend, version: &str) {
    slot.on("/", Action::status(200).header("x-version", version));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provision_that_does_nothing_ends_before_the_switch() {
    let Slots { host, blue, green } = Slots::start().await;
    runs(&blue, "1");
    runs(&green, "2");
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    // The old process still answers in blue.
    let deployed = host.deploy("3").await.unwrap();
    deployed.assert_ended("failed", 3).unwrap();
    let said = &deployed.events.last().unwrap().message;
    assert!(
        said.contains("/: header \"x-version\" is \"1\" instead of \"3\"; no traffic has moved"),
        "{said}"
    );
    assert_eq!(host.active().await.unwrap(), "green");

    runs(&blue, "3");
    host.deploy("3").await.unwrap().assert_ended("completed", 0).unwrap();
    let (lines, _) = host.check().unwrap();
    assert!(!lines.iter().any(|line| line.contains("fails its probe")), "{lines:?}");
    runs(&blue, "4");
    let (lines, _) = host.check().unwrap();
    let said = "it has the traffic but fails its probe: ";
    assert!(
        lines.iter().any(|line| line.contains(said) && line.contains("\"4\" instead of \"3\"")),
        "{lines:?}"
    );
    // Green has the version that users had.
    host.run("cutover rollback shop").unwrap();
    assert_eq!(host.active().await.unwrap(), "green");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_without_its_version_is_refused() {
    let Slots { host, .. } = Slots::start().await;
    let refused = host.daemon.cli(&["deploy", "shop"]).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.trim_end().ends_with("needs a version: cutover deploy shop --version VERSION"), "{said}");
}
