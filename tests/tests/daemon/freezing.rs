//! A freeze: no new version gets traffic, and the way back stays open.

use cutover_tests::{Action, Backend, TestHost, wait};
use serde_json::Value;

struct Site {
    host: TestHost,
    _slots: [Backend; 2],
}

impl Site {
    async fn start(steps: &str) -> Self {
        let (host, slots) = TestHost::with_slots(steps).await.unwrap();
        Self { host, _slots: slots }
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.host.daemon.command(arguments).env("SUDO_USER", "alice").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The refusal of a verb.
    fn refused(&self, arguments: &[&str]) -> Value {
        let output = self.host.daemon.cli(&[arguments, &["--json"]].concat()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_new_version_gets_traffic_and_the_way_back_stays_open() {
    let mut site = Site::start("").await;
    site.host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    let said = site.text(&["freeze", "shop", "--reason", "the sale"]);
    assert!(
        said.contains(
            "group \"shop\" is frozen by alice (as root), reason \"the sale\": no new version gets traffic"
        ),
        "{said}"
    );
    let history = site.text(&["history", "shop"]);
    let act = history.lines().next().unwrap().split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
    assert_eq!(act, "shop frozen by hand alice (as root) the sale", "{history}");
    // It outlives the daemon.
    site.host.daemon.kill().unwrap();
    site.host.daemon.resume().await.unwrap();
    let status = site.host.daemon.status("shop").unwrap();
    assert_eq!(
        (&status["frozen"]["who"], &status["frozen"]["reason"]),
        (&"alice (as root)".into(), &"the sale".into())
    );
    assert!(site.text(&["status", "shop"]).contains("frozen by alice (as root), reason \"the sale\""));

    let refused = site.refused(&["deploy", "shop", "--version", "3"]);
    assert_eq!(
        (refused["code"].as_str(), refused["next"].as_str()),
        (Some("frozen"), Some("cutover unfreeze shop"))
    );
    let error = refused["error"].as_str().unwrap();
    assert!(
        error.contains(" by alice (as root), reason \"the sale\": no new version gets traffic"),
        "{error}"
    );

    // Back is possible, by hand and by a rollback; forward again is not.
    site.text(&["rollback", "shop"]);
    assert_eq!(site.host.active().await.unwrap(), "blue");
    assert_eq!(site.refused(&["switch", "shop", "--to", "green"])["code"], "frozen");

    // The command in the refusal ends it.
    site.host.run(refused["next"].as_str().unwrap()).unwrap();
    site.text(&["switch", "shop", "--to", "green"]);
    site.text(&["freeze", "--all"]);
    site.text(&["switch", "shop", "--to", "blue"]);
    assert_eq!(site.refused(&["deploy", "shop", "--version", "3"])["next"], "cutover unfreeze --all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_under_way_goes_on_and_can_be_ended() {
    let site = Site::start("steps = [\"50% manual\", \"100%\"]").await;
    let mut deployment = site.host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    let said = site.text(&["freeze", "--all", "--for", "2h"]);
    let going_on = said.lines().find(|line| line.contains("is under way and goes on")).unwrap();
    assert!(said.contains("all groups are frozen until "), "{said}");
    // The advice is typed.
    let hold = going_on.split("; to hold it: ").nth(1).unwrap().split("; ").next().unwrap();
    site.host.run(hold).unwrap();
    site.host.run(going_on.rsplit_once("to end it: ").unwrap().1).unwrap();
    assert_eq!(site.host.active().await.unwrap(), "blue");
    let said = site.refused(&["unfreeze", "shop"]);
    assert_eq!(said["next"], "cutover unfreeze --all", "{said}");
    assert_eq!(site.text(&["unfreeze", "--all"]), "the freeze of all groups has ended\n");
    assert_eq!(site.text(&["unfreeze", "--all"]), "no group was frozen\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_with_a_time_ends_by_itself() {
    let site = Site::start("").await;
    site.text(&["freeze", "shop", "--for", "1500ms"]);
    assert_eq!(site.refused(&["deploy", "shop", "--version", "2"])["code"], "frozen");
    let is_over = || site.host.daemon.status("shop").unwrap().get("frozen").is_none();
    wait::until("the end of the freeze", is_over).await.unwrap();
    site.host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    let bad = site.host.daemon.cli(&["freeze", "shop", "--for", "soon"]).unwrap();
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(
        bad.status.code() == Some(2) && said.contains("\"soon\" is not a duration, as in \"30s\""),
        "{said}"
    );
    assert_eq!(site.host.daemon.cli(&["freeze"]).unwrap().status.code(), Some(2), "a group or --all");
}

/// The slot that had the traffic before holds another version by now.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_rejected_is_no_way_back() {
    let site = Site::start("[[group.shop.smoke]]\nname = \"a page\"\npath = \"/page\"").await;
    for version in ["2", "3"] {
        site.host.deploy(version).await.unwrap().assert_ended("completed", 0).unwrap();
    }
    assert_eq!(site.host.active().await.unwrap(), "blue");
    let [_, green] = &site._slots;
    green.on("/page", Action::status(500));
    site.host.deploy("4").await.unwrap().assert_ended("failed", 3).unwrap();
    green.on("/page", Action::status(200));
    site.text(&["freeze", "shop"]);
    assert_eq!(site.refused(&["switch", "shop", "--to", "green"])["code"], "frozen");
    assert_eq!(site.host.active().await.unwrap(), "blue");
}
