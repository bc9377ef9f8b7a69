//! Commands that stop a slot and hang: no user depends on them, so no deployment and no operator waits for them.

use std::time::Duration;

use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Action, Backend, Nginx, TestHost, wait};

/// `decommission` writes that it has begun, and hangs for longer than any step of these tests.
const HANGS: &str = r#"
    [group.shop.decommission]
    command = ["/bin/sh", "-c", "echo $CUTOVER_SLOT >> %%folder%%/stopping; exec sleep 20"]
"#;

struct Site {
    host: TestHost,
    backends: Vec<Backend>,
}

async fn start(slots: &[&str], config: &str) -> Site {
    let mut backends = Vec::new();
    let mut builder = Nginx::builder();
    let mut http = "cutover_state %%prefix%%/state;
        server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
        server { listen %%admin%%; location / { cutover_api write=on; } }\n"
        .to_owned();
    let mut group = String::new();
    for slot in slots {
        let backend = Backend::start(slot).await.unwrap();
        builder = builder.set(slot, backend.address());
        http.push_str(&format!("upstream shop_{slot} {{ server %%{slot}%%; }}\n"));
        group.push_str(&format!("slot {slot} shop_{slot}; "));
        backends.push(backend);
    }
    http.push_str(&format!("cutover shop {{ {group} active blue; }}"));
    let host = TestHost::start(builder.http(&http), &format!("{config}{HANGS}")).await.unwrap();
    Site { host, backends }
}

impl Site {
    /// Waits until `decommission` hangs in its Nth run.
    async fn until_stopping(&self, runs: usize) {
        let has_begun = || {
            let text = std::fs::read_to_string(self.host.path("stopping")).unwrap_or_default();
            text.lines().count() >= runs
        };
        wait::until("decommission to begin", has_begun).await.unwrap();
    }

    fn said_last(&self) -> String {
        self.host.daemon.status("shop").unwrap()["deployment"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

fn without_warm() -> String {
    GROUP_WITHOUT_TRAFFIC.replace("warm = \"1h\"", "warm = \"1ms\"")
}

/// Each refusal names the same two commands, and they help.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_back_while_the_old_slot_is_being_stopped() {
    let site = start(&["blue", "green"], &without_warm()).await;
    assert_eq!(site.host.deploy("2").await.unwrap().code, 0);
    site.until_stopping(1).await;
    let advice = "to end it now: cutover abort shop; then, if the slot is still healthy, it can get the traffic: \
                  cutover switch shop --to blue";
    for line in
        ["rollback shop", "switch shop --to blue", "switch shop --to blue --force", "deploy shop --version 3"]
    {
        let why = site.host.refused(&format!("cutover {line}")).unwrap();
        assert!(why.contains(advice), "{line}: {why}");
    }
    site.host.run("cutover abort shop").unwrap();
    let said = site.said_last();
    assert!(
        said.contains("slot \"blue\" may still run") && said.contains("cutover run shop decommission"),
        "{said}"
    );
    site.host.run("cutover switch shop --to blue").unwrap();
    assert_eq!(site.host.active().await.unwrap(), "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_needs_another_slot_begins_at_once() {
    let site = start(&["blue", "green", "red"], &without_warm()).await;
    assert_eq!(site.host.deploy("2").await.unwrap().code, 0);
    site.until_stopping(1).await;
    let deployed = site.host.deploy("3").await.unwrap();
    assert_eq!((deployed.outcome.as_str(), deployed.code), ("completed", 0), "{deployed:#?}");
    assert_eq!(site.host.active().await.unwrap(), "red");
    // The first command goes on beside, the second one stops green.
    site.until_stopping(3).await;
    let stopped = std::fs::read_to_string(site.host.path("stopping")).unwrap();
    assert_eq!(stopped.lines().collect::<Vec<_>>(), ["blue", "blue", "green"]);
    let why = site.host.refused("cutover deploy shop --version 4 --to blue").unwrap();
    assert!(why.contains("decommission of group \"shop\" is running again"), "{why}");
}

/// A release is bad, and `decommission` of the new slot hangs. A hotfix does not wait for its time limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_hotfix_after_a_rollback_that_hangs() {
    let config = GROUP_WITHOUT_TRAFFIC.replace("duration = \"100ms\"", "duration = \"20s\"");
    let mut site = start(&["blue", "green"], &config).await;
    let mut deployment = site.host.daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    let green = site.backends.pop().unwrap();
    let address = green.address();
    drop(green);
    site.until_stopping(1).await;
    assert_eq!(site.host.active().await.unwrap(), "blue", "traffic is back");
    let why = site.host.refused("cutover deploy shop --version 3").unwrap();
    assert!(why.contains("to end it now: cutover abort shop"), "{why}");
    site.host.run("cutover abort shop").unwrap();
    assert_eq!(deployment.finish().await.unwrap().outcome, "rolled_back");
    site.backends.push(Backend::start_at("green", address).await.unwrap());
    let mut hotfix = site.host.daemon.begin_deploy("shop", "3").unwrap();
    hotfix.phase("soaking").await.unwrap();
    assert_eq!(site.host.active().await.unwrap(), "green");
}

/// The warm window ends while the probes of a switch to its slot take their time.
#[tokio::test(flavor = "multi_thread")]
async fn no_switch_reaches_a_slot_that_is_being_stopped() {
    for begins_after in [700, 1_100] {
        let config = GROUP_WITHOUT_TRAFFIC.replace("warm = \"1h\"", "warm = \"1500ms\"");
        let site = start(&["blue", "green"], &config).await;
        assert_eq!(site.host.deploy("2").await.unwrap().code, 0);
        site.backends[0].on("/", Action::status(200).after(Duration::from_millis(900)));
        tokio::time::sleep(Duration::from_millis(begins_after)).await;
        let output = site.host.daemon.cli(&["switch", "shop", "--to", "blue"]).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let stopped = std::fs::read_to_string(site.host.path("stopping")).unwrap_or_default();
        let active = site.host.active().await.unwrap();
        assert_eq!(output.status.success(), active == "blue", "{output:?}");
        assert!(stopped.lines().all(|slot| slot != active), "after {begins_after} ms: {output:?}");
    }
}
