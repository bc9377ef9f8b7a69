//! Another deployment is in the way: who it is, an exit code for that, and callers that wait for their turn.

use std::process::Stdio;
use std::time::Duration;

use cutover_tests::test_host::MANUAL_STEPS;
use cutover_tests::{Backend, Daemon, TestHost, wait};
use serde_json::Value;
use tokio::process::{Child, Command};

struct Site {
    host: TestHost,
    _slots: [Backend; 2],
}

impl Site {
    /// Each deployment waits in its first step until it is promoted.
    async fn start() -> Self {
        let (host, slots) = TestHost::with_slots(MANUAL_STEPS).await.unwrap();
        Self { host, _slots: slots }
    }

    async fn begin(&self, version: &str) -> String {
        let daemon = &self.host.daemon;
        let line = ["deploy", "shop", "--version", version, "--detach", "--reason", "the fix"];
        let output = daemon.command(&line).env("SUDO_USER", "alice").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        self.until_soaking(version).await;
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn until_soaking(&self, version: &str) {
        let is_there = || {
            let last = &self.host.daemon.status("shop").unwrap()["deployment"];
            last["version"] == version && last["phase"] == "soaking"
        };
        wait::until("the soak", is_there).await.unwrap();
    }

    /// Starts a command line that waits for its turn. Returns when it has told so.
    async fn waiting(&self, arguments: &[&str]) -> Waiting {
        let said = self.host.path(&format!("said-{}", arguments.join("-").replace('/', "")));
        let mut command = Command::from(self.host.daemon.command(arguments));
        let file = std::fs::File::create(&said).unwrap();
        let child = command.stdout(Stdio::piped()).stderr(file).kill_on_drop(true).spawn().unwrap();
        let waiting = Waiting { child, said };
        wait::until("a line about the wait", || waiting.said().contains("waiting: ")).await.unwrap();
        waiting
    }
}

struct Waiting {
    child: Child,
    said: std::path::PathBuf,
}

impl Waiting {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }

    async fn ended(self) -> (i32, String, String) {
        let said = self.said.clone();
        let output =
            tokio::time::timeout(wait::PATIENCE, self.child.wait_with_output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap_or(-1), text, std::fs::read_to_string(said).unwrap())
    }
}

fn json(daemon: &Daemon, arguments: &[&str]) -> (i32, Value) {
    let output = daemon.cli(arguments).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_else(|| panic!("{arguments:?}: {output:?}"));
    (output.status.code().unwrap(), serde_json::from_str(last).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_says_who_and_what_and_since_when_and_has_a_code_of_its_own() {
    let site = Site::start().await;
    let id = site.begin("2").await;
    let daemon = &site.host.daemon;
    for line in [
        &["deploy", "shop", "--version", "3", "--json"][..],
        &["switch", "shop", "--to", "blue", "--json"],
        &["run", "shop", "decommission", "--json"],
    ] {
        let (code, failure) = json(daemon, line);
        assert_eq!(
            (code, failure["exit_code"].as_i64(), failure["code"].as_str()),
            (6, Some(6), Some("busy")),
            "{failure}"
        );
        let said = failure["error"].as_str().unwrap();
        assert!(
            said.starts_with(&format!("deployment \"{id}\" of version \"2\" is soaking, begun ")),
            "{said}"
        );
        assert!(
            said.contains(" ago by alice (as root), reason \"the fix\": wait until it ends, as with --wait"),
            "{said}"
        );
        assert_eq!(failure["next"], "cutover watch shop");
        let busy = &failure["busy"];
        assert_eq!(
            (busy["who"].as_str(), busy["phase"].as_str()),
            (Some("alice (as root)"), Some("soaking")),
            "{busy}"
        );
        assert!(busy["since"].as_str().unwrap().ends_with('Z'), "{busy}");
    }
    // A wait with a limit ends with the same code, and says how long it was.
    let (code, failure) = json(daemon, &["deploy", "shop", "--version", "3", "--wait=1s", "--json"]);
    assert_eq!(code, 6, "{failure}");
    assert!(failure["error"].as_str().unwrap().starts_with("waited for 1s; deployment \""), "{failure}");
}

/// Two callers wait: the first one is first, and a caller that does not wait does not overtake them.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_wait_come_in_their_order() {
    let site = Site::start().await;
    site.begin("2").await;
    let third = site.waiting(&["deploy", "shop", "--version", "3", "--wait", "--detach"]).await;
    let fourth = site.waiting(&["deploy", "shop", "--version", "4", "--wait", "--detach"]).await;
    site.host.run("cutover promote shop").unwrap();
    site.until_soaking("3").await;
    let (code, _, said) = third.ended().await;
    assert_eq!(code, 0, "{said}");
    // The fourth waits on, now for the third.
    wait::until("a line about the third", || fourth.said().contains("of version \"3\"")).await.unwrap();
    let refused = site.host.daemon.cli(&["deploy", "shop", "--version", "5"]).unwrap();
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    site.host.run("cutover promote shop").unwrap();
    site.until_soaking("4").await;
    assert_eq!(fourth.ended().await.0, 0);
}

/// What was decided before a rollback is not done after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_waited_for_a_version_that_was_rolled_back_does_not_deploy() {
    let site = Site::start().await;
    let id = site.begin("2").await;
    let waiting = site.waiting(&["deploy", "shop", "--version", "3", "--wait", "--json"]).await;
    site.host.run("cutover rollback shop --reason broken").unwrap();
    let (code, text, said) = waiting.ended().await;
    assert_eq!(code, 1, "{said}");
    let failure: Value = serde_json::from_str(text.trim()).unwrap();
    let error = failure["error"].as_str().unwrap();
    assert!(
        error.contains(&format!(
            "while this command waited, deployment \"{id}\" of version \"2\" ended as rolled back"
        )),
        "{error}"
    );
    assert!(error.contains("reason \"broken\""), "{error}");
    assert_eq!(
        (failure["code"].as_str(), failure["next"].as_str()),
        (Some("overtaken"), Some("cutover deploy shop --version 3"))
    );
    // The command that it names does it.
    let next = format!("{} --detach", failure["next"].as_str().unwrap());
    site.host.run(&next).unwrap();
}

/// A caller that is killed holds nobody up.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_leaves_the_line() {
    let site = Site::start().await;
    site.begin("2").await;
    let mut given_up = site.waiting(&["deploy", "shop", "--version", "3", "--wait", "--detach"]).await;
    given_up.child.start_kill().unwrap();
    given_up.child.wait().await.unwrap();
    site.host.run("cutover promote shop").unwrap();
    let (_, failure) = json(&site.host.daemon, &["deploy", "shop", "--version", "4", "--detach", "--json"]);
    if failure["busy"]["phase"] == "waiting" {
        assert!(
            failure["error"].as_str().unwrap().starts_with("root came first and has waited for "),
            "{failure}"
        );
    }
    let begins =
        || site.host.daemon.cli(&["deploy", "shop", "--version", "4", "--detach"]).unwrap().status.success();
    wait::until_within(Duration::from_secs(40), "the turn of the next caller", begins).await.unwrap();
}

/// Two operators want back at the same time: both are told that it has gone back, and neither that it cannot.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_somebody_else_has_begun_is_followed_to_its_end() {
    let site = Site::start().await;
    let id = site.begin("2").await;
    let rollback = ["rollback", "shop", "--wait", "--json"];
    let both = [0, 1].map(|_| {
        let mut command = site.host.daemon.command(&rollback);
        std::thread::spawn(move || command.output().unwrap())
    });
    for thread in both {
        let output = thread.join().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.code() != Some(0) {
            // It came after the end of the other one.
            assert!(text.contains("\"no_way_back\""), "{output:?}");
            continue;
        }
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(
            (last["deployment"].as_str(), last["outcome"].as_str(), last["exit_code"].as_i64()),
            (Some(id.as_str()), Some("rolled_back"), Some(0)),
            "{last}"
        );
    }
}
