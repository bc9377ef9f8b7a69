//! The hooks of a group: `switched` is told of each change of the route, whoever has made it; `diagnose` says why a version has
//! failed. Neither delays anything.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cutover_core::api::RouteChange;
use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::{GROUP, GROUP_WITHOUT_TRAFFIC};
use cutover_tests::{Action, Daemon, TestEdge, TestHost, TwoDaemons, wait};
use serde_json::Value;

/// Writes a line for each change that it is told. It fails while there is a file `fails`, and hangs while there is one `hangs`.
const SWITCHED: &str = r#"
    [group.shop.switched]
    command = ["/bin/sh", "%%folder%%/switched"]
    timeout = "30s"
"#;

const SCRIPT: &str = r#"
set -u
cd "$(dirname "$0")"
echo "$CUTOVER_GROUP $CUTOVER_FROM($CUTOVER_FROM_VERSION)>$CUTOVER_TO($CUTOVER_TO_VERSION) $CUTOVER_SHARE" >> begun
while [ -e hangs ]; do sleep 0.05; done
if [ -e fails ]; then echo "the queue does not answer"; exit 3; fi
echo "$CUTOVER_GROUP $CUTOVER_FROM($CUTOVER_FROM_VERSION)>$CUTOVER_TO($CUTOVER_TO_VERSION) $CUTOVER_SHARE" >> told
echo "$CUTOVER_REASON|$CUTOVER_DEPLOYMENT" >> why
env > environment
"#;

/// nginx with both slots, and a daemon whose configuration has these tables.
async fn host(groups: &str) -> (TestEdge, Daemon) {
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    fs::write(edge.nginx.prefix().join("switched"), SCRIPT).unwrap();
    let daemon = Daemon::start(edge.nginx.prefix(), groups).await.unwrap();
    // What is there at the first look is no change.
    wait::until("the daemon to know the route", || said(&daemon)["switched"]["to"] == "blue").await.unwrap();
    (edge, daemon)
}

fn said(daemon: &Daemon) -> Value {
    daemon.status("shop").unwrap()
}

fn lines(folder: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn until_lines(folder: &Path, name: &str, wanted: &[&str]) {
    let what = format!("{wanted:?} in {name}");
    let done = wait::until(&what, || lines(folder, name) == wanted).await;
    done.unwrap_or_else(|error| panic!("{error}: {:?}", lines(folder, name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_of_each_change_whoever_makes_it() {
    let (edge, daemon) = host(&format!("{GROUP_WITHOUT_TRAFFIC}{SWITCHED}")).await;
    let folder = edge.nginx.prefix();
    daemon.deploy("shop", "2").await.unwrap().assert_ended("completed", 0).unwrap();
    let forward = "shop blue()>green(2) 100";
    until_lines(folder, "told", &[forward]).await;
    // A person with curl, behind the back of the daemon.
    edge.nginx.admin().change("shop", &RouteChange::to("blue", "curl of a person")).await.unwrap();
    let back = "shop green(2)>blue() 100";
    until_lines(folder, "told", &[forward, back]).await;
    // A person with the command line.
    let switched = daemon.cli(&["switch", "shop", "--to", "green", "--reason", "it is good"]).unwrap();
    assert!(switched.status.success(), "{switched:?}");
    until_lines(folder, "told", &[forward, back, forward]).await;
    let why = lines(folder, "why");
    assert!(why[0].starts_with("deployment shop-") && why[0].contains("of version \"2\"|shop-"), "{why:?}");
    assert!(why[1].starts_with("curl of a person|"), "{why:?}");
    assert!(why[2].starts_with("it is good (by "), "{why:?}");
    let status = said(&daemon)["switched"].clone();
    assert_eq!(
        (&status["to"], &status["share"], &status["failed"]),
        (&"green".into(), &100.0.into(), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_of_a_rollback_and_of_each_step() {
    let group = GROUP.replace("[group.shop]", "[group.shop]\n    steps = [\"20% 600ms\", \"100%\"]");
    let (edge, daemon) = host(&format!("{group}{SWITCHED}    each_step = true\n")).await;
    let users = cutover_tests::test_host::Users::start(edge.nginx.address("main").unwrap()).unwrap();
    let mut deployment = daemon.begin_deploy("shop", "2").unwrap();
    let folder = edge.nginx.prefix();
    let (step, all) = ("shop blue()>green(2) 20", "shop blue()>green(2) 100");
    until_lines(folder, "told", &[step, all]).await;
    deployment.phase("soaking").await.unwrap();
    edge.green.on("/", Action::status(500));
    deployment.finish().await.unwrap().assert_ended("rolled_back", 4).unwrap();
    until_lines(folder, "told", &[step, all, "shop green(2)>blue() 100"]).await;
    drop(users);
}

/// The guard works while the daemon is away. The next daemon tells of it.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_of_what_the_guard_of_nginx_has_done_while_the_daemon_was_away() {
    let guard = "guard = { min_requests = 5, max_error_ratio = 0.1, window = \"2s\" }";
    let group = format!("{GROUP}    [group.shop.trial]\n    lease = \"60s\"\n    {guard}\n");
    let group = group.replace("1500ms", "60s");
    let (edge, mut daemon) = host(&format!("{group}{SWITCHED}")).await;
    let users = cutover_tests::test_host::Users::start(edge.nginx.address("main").unwrap()).unwrap();
    users.more_good(20).await.unwrap();
    let deployment = daemon.begin_deploy("shop", "2").unwrap();
    let folder = edge.nginx.prefix();
    let forward = "shop blue()>green(2) 100";
    until_lines(folder, "told", &[forward]).await;
    daemon.kill().unwrap();
    edge.green.on("/", Action::status(500));
    edge.until_active("blue").await.unwrap();
    daemon.resume().await.unwrap();
    until_lines(folder, "told", &[forward, "shop green(2)>blue() 100"]).await;
    let why = lines(folder, "why");
    // The daemon that is back writes its own way back over that of the guard. That moves nothing.
    assert!(why[1].starts_with("guard: "), "{why:?}");
    drop((users, deployment));
}

/// The daemon is killed between the switch and the end of the hook: the next one tells it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_while_it_tells_tells_again() {
    let (edge, mut daemon) = host(&format!("{GROUP_WITHOUT_TRAFFIC}{SWITCHED}")).await;
    let folder = edge.nginx.prefix();
    fs::write(folder.join("hangs"), "").unwrap();
    let forward = "shop blue()>green() 100";
    edge.nginx.admin().change("shop", &RouteChange::to("green", "curl")).await.unwrap();
    until_lines(folder, "begun", &[forward]).await;
    daemon.kill().unwrap();
    daemon.resume().await.unwrap();
    until_lines(folder, "begun", &[forward, forward]).await;
    assert!(lines(folder, "told").is_empty(), "the abandoned hook is ended");
    fs::remove_file(folder.join("hangs")).unwrap();
    until_lines(folder, "told", &[forward]).await;
    let is_over =
        || said(&daemon)["switched"]["to"] == "green" && said(&daemon)["switched"]["running_since"].is_null();
    wait::until("the end of the hook", is_over).await.unwrap();
    // And never again.
    daemon.stop().await.unwrap();
    daemon.resume().await.unwrap();
    edge.nginx.admin().change("shop", &RouteChange::to("blue", "curl")).await.unwrap();
    until_lines(folder, "told", &[forward, "shop green()>blue() 100"]).await;
}

/// A hook hangs. The rollback, and the next deployment, do not wait for it. Then it is told of the last state.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_delays_nothing() {
    let (edge, daemon) = host(&format!("{GROUP_WITHOUT_TRAFFIC}{SWITCHED}")).await;
    let folder = edge.nginx.prefix();
    fs::write(folder.join("hangs"), "").unwrap();
    let begun = Instant::now();
    daemon.deploy("shop", "2").await.unwrap().assert_ended("completed", 0).unwrap();
    until_lines(folder, "begun", &["shop blue()>green(2) 100"]).await;
    assert!(said(&daemon)["switched"]["running_since"].is_string(), "{}", said(&daemon));
    let rolled_back = daemon.cli(&["rollback", "shop"]).unwrap();
    assert!(rolled_back.status.success(), "{rolled_back:?}");
    assert_eq!(edge.group().await.unwrap().route.active, "blue");
    daemon.deploy("shop", "3").await.unwrap().assert_ended("completed", 0).unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "nothing has waited for the hook: {:?}",
        begun.elapsed()
    );
    assert!(lines(folder, "told").is_empty());
    fs::remove_file(folder.join("hangs")).unwrap();
    // The rollback in between is over; the version is another one.
    until_lines(folder, "told", &["shop blue()>green(2) 100", "shop green(2)>green(3) 100"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_fails_is_said_and_can_be_run_again() {
    let (edge, daemon) = host(&format!("{GROUP_WITHOUT_TRAFFIC}{SWITCHED}")).await;
    let folder = edge.nginx.prefix();
    fs::write(folder.join("fails"), "").unwrap();
    let mut deployment = daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    wait::until("the failure in the status", || said(&daemon)["switched"]["failed"].is_string())
        .await
        .unwrap();
    let shown = daemon.cli(&["status", "shop"]).unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let line = shown.lines().find(|line| line.contains("the hook failed ")).unwrap();
    assert!(line.contains("the queue does not answer"), "{line}");
    let (_, typed) = line.split_once("to run it again, type: ").unwrap();
    assert_eq!(typed, "cutover run shop switched");
    let words: Vec<&str> = typed.split_whitespace().skip(1).collect();
    let failed = daemon.cli(&words).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(String::from_utf8_lossy(&failed.stderr).contains("the queue does not answer"), "{failed:?}");
    fs::remove_file(folder.join("fails")).unwrap();
    let succeeded = daemon.cli(&words).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&succeeded.stdout),
        "switched of group \"shop\" succeeded\n",
        "{succeeded:?}"
    );
    assert_eq!(lines(folder, "told"), ["shop blue()>green(2) 100"]);
    assert_eq!(said(&daemon)["switched"]["failed"], Value::Null);
    assert!(
        daemon.log().contains("the hook \\\"switched\\\" has failed") || daemon.log().contains("has failed")
    );
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let noted = deployed.events.iter().any(|event| event.message.contains("nothing waits for it"));
    assert!(noted, "{:#?}", deployed.events);
}

/// What a hook of the daemon before has been told stays, and a group that gets a hook later is not told old news.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_hook_is_told_of_changes_from_then_on() {
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    let folder = edge.nginx.prefix().to_owned();
    fs::write(folder.join("switched"), SCRIPT).unwrap();
    let mut daemon = Daemon::start(&folder, GROUP_WITHOUT_TRAFFIC).await.unwrap();
    daemon.deploy("shop", "2").await.unwrap().assert_ended("completed", 0).unwrap();
    assert_eq!(said(&daemon)["switched"], Value::Null);
    daemon.stop().await.unwrap();
    let text = fs::read_to_string(daemon.config()).unwrap();
    let hook = SWITCHED.replace("%%folder%%", &folder.display().to_string());
    fs::write(daemon.config(), format!("{text}{hook}")).unwrap();
    daemon.resume().await.unwrap();
    wait::until("the hook in the status", || said(&daemon)["switched"]["to"] == "green").await.unwrap();
    edge.nginx.admin().change("shop", &RouteChange::to("blue", "curl")).await.unwrap();
    until_lines(&folder, "told", &["shop green(2)>blue() 100"]).await;
}

/// The environment of a login of the daemon's user. The variables of the daemon itself are not among it; those of the group are.
#[tokio::test(flavor = "multi_thread")]
async fn commands_have_a_sane_environment() {
    let groups = format!(
        "{GROUP_WITHOUT_TRAFFIC}    [group.shop.env]\n    LANG = \"de_DE.UTF-8\"\n    QUEUE = \"jobs\"\n{SWITCHED}"
    );
    let (edge, mut daemon) = host(&groups).await;
    daemon.stop().await.unwrap();
    daemon.set_variables([("HOME", "/nowhere".to_owned()), ("SECRET", "of the daemon".to_owned())]);
    daemon.resume().await.unwrap();
    edge.nginx.admin().change("shop", &RouteChange::to("green", "curl")).await.unwrap();
    let folder = edge.nginx.prefix();
    wait::until("the hook", || folder.join("why").exists() && !lines(folder, "environment").is_empty())
        .await
        .unwrap();
    let environment = lines(folder, "environment");
    let value = |name: &str| {
        let line = environment.iter().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.map(str::to_owned)
    };
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let root: Vec<&str> =
        passwd.lines().find(|line| line.split(':').nth(2) == Some("0")).unwrap().split(':').collect();
    for (name, wanted) in [("HOME", root[5]), ("USER", root[0]), ("LOGNAME", root[0]), ("SHELL", root[6])] {
        assert_eq!(value(name).as_deref(), Some(wanted), "{environment:?}");
    }
    assert_eq!(value("LANG").as_deref(), Some("de_DE.UTF-8"), "the variables of the group come last");
    assert_eq!(value("QUEUE").as_deref(), Some("jobs"));
    assert_eq!(value("SECRET"), None);
    assert!(value("PATH").unwrap().contains("/usr/bin"));
}

/// The last lines of the failed version's log are shown with the failure, and the version still runs then.
#[tokio::test(flavor = "multi_thread")]
async fn diagnose_is_shown_with_the_failure() {
    let commands = r#"
    [group.shop.provision]
    command = ["/bin/sh", "-c", "touch %%folder%%/runs"]
    [group.shop.decommission]
    command = ["/bin/sh", "-c", "rm -f %%folder%%/runs"]
    [group.shop.diagnose]
    command = ["/bin/sh", "-c", "test -e %%folder%%/runs && echo slot $CUTOVER_SLOT of $CUTOVER_VERSION: no database"]
"#;
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    edge.green.on("/health/ready", Action::status(503));
    let host = TestHost {
        daemon: Daemon::start(edge.nginx.prefix(), &format!("{GROUP}{commands}")).await.unwrap(),
        nginx: edge.nginx,
    };
    let shown = host.daemon.cli(&["deploy", "shop", "--version", "2"]).unwrap();
    assert_eq!(shown.status.code(), Some(3), "{shown:?}");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("slot green of 2: no database"), "{shown}");
    let (before, after) = shown.split_once("diagnose of slot \"green\":").unwrap();
    assert!(
        before.contains("tearing down") && after.contains("slot \"green\" was not healthy within 3s"),
        "{shown}"
    );
    assert!(!host.path("runs").exists());
}

/// A rollback: the traffic is back before `diagnose` has ended, and a hanging one costs its timeout.
#[tokio::test(flavor = "multi_thread")]
async fn a_diagnose_that_hangs_does_not_delay_the_way_back() {
    let commands = r#"
    [group.shop.decommission]
    command = ["/bin/sh", "-c", "touch %%folder%%/stopped"]
    [group.shop.diagnose]
    command = ["/bin/sh", "-c", "echo begun; touch %%folder%%/begun; sleep 600"]
    timeout = "3s"
"#;
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    let folder = edge.nginx.prefix().to_owned();
    let daemon = Daemon::start(&folder, &format!("{GROUP}{commands}")).await.unwrap();
    let users = cutover_tests::test_host::Users::start(edge.nginx.address("main").unwrap()).unwrap();
    let mut deployment = daemon.begin_deploy("shop", "2").unwrap();
    deployment.phase("soaking").await.unwrap();
    edge.green.on("/", Action::status(500));
    wait::until("diagnose", || folder.join("begun").exists()).await.unwrap();
    let begun = Instant::now();
    assert_eq!(edge.group().await.unwrap().route.active, "blue", "the traffic went back first");
    assert!(!folder.join("stopped").exists(), "the slot still runs");
    wait::until("the stop of the slot", || folder.join("stopped").exists()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("rolled_back", 4).unwrap();
    let said =
        deployed.events.iter().find(|event| event.message.starts_with("diagnose did not end within 3s"));
    assert!(said.is_some_and(|event| event.message.contains("begun")), "{:#?}", deployed.events);
    drop(users);
}

/// The daemon that leads dies, and the traffic moves before another one leads. That one tells of it, and of nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_leader_tells_what_the_last_one_has_not() {
    let hook = "    [group.shop.switched]\n    command = [\"/bin/sh\", \"-c\", \"echo $CUTOVER_FROM $CUTOVER_TO >>%%log%%\"]\n";
    let groups = format!("{}{hook}", cutover_tests::two_daemons::GROUP);
    let mut pair = TwoDaemons::start(1, &groups).await.unwrap();
    let first = pair.until_leader().await.unwrap();
    wait::until("the daemon to know the route", || said(&pair.daemons[first])["switched"]["to"] == "blue")
        .await
        .unwrap();
    let folder = pair.edge.nginx.prefix().to_owned();
    let switch = async |slot: &str| {
        pair.edge.nginx.admin().change("shop", &RouteChange::to(slot, "curl")).await.unwrap();
    };
    switch("green").await;
    until_lines(&folder, "commands", &["blue green"]).await;
    let known = || said(&pair.daemons[first])["switched"]["to"] == "green";
    wait::until("the record of it", known).await.unwrap();
    switch("blue").await;
    until_lines(&folder, "commands", &["blue green", "green blue"]).await;
    let known = || {
        let switched = said(&pair.daemons[first])["switched"].clone();
        switched["to"] == "blue" && switched["running_since"].is_null()
    };
    wait::until("the record of it", known).await.unwrap();
    pair.daemons[first].kill().unwrap();
    pair.edge.nginx.admin().change("shop", &RouteChange::to("green", "curl")).await.unwrap();
    until_lines(&folder, "commands", &["blue green", "green blue", "blue green"]).await;
    assert_eq!(pair.until_leader().await.unwrap(), 1 - first);
}
