//! SIGHUP reads the daemon's configuration again, as a whole or not at all, and a broken file stops no deployment in progress.

use std::fs;

use cutover_tests::nginx::Builder;
use cutover_tests::process::{self, Signal};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Backend, Nginx, TestHost, wait};

fn nginx(blue: &Backend, green: &Backend) -> Builder {
    let http = "cutover_state %%prefix%%/state;
        upstream shop_blue { server %%blue%%; }
        upstream shop_green { server %%green%%; }
        cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
        server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
        server { listen %%admin%%; location / { cutover_api write=on; } }";
    Nginx::builder().http(http).set("blue", blue.address()).set("green", green.address())
}

struct Site {
    host: TestHost,
    _blue: Backend,
    _green: Backend,
}

impl Site {
    async fn start(groups: &str) -> Self {
        let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
        let host = TestHost::start(nginx(&blue, &green), groups).await.unwrap();
        Self { host, _blue: blue, _green: green }
    }

    /// Replaces a text in the file.
    fn edit(&self, old: &str, new: &str) {
        let path = self.host.daemon.config();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(old), "{text}");
        fs::write(path, text.replace(old, new)).unwrap();
    }

    /// Sends SIGHUP and waits for a line of the log.
    async fn reload(&self, line: &str) {
        let lines = || self.host.daemon.log().matches(line).count();
        let before = lines();
        process::signal(self.host.daemon.pid().unwrap(), Signal::HUP).unwrap();
        wait::until(line, || lines() > before).await.unwrap();
    }

    /// Warnings of `cutover check` about the running daemon.
    fn stale(&self) -> Vec<String> {
        let (lines, _) = self.host.check().unwrap();
        lines.into_iter().filter(|line| line.contains("the running daemon")).collect()
    }
}

const TAKEN: &str = "the configuration was read again";
const REFUSED: &str = "the new configuration is refused; the daemon keeps the old one";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_begins_with_the_new_file() {
    let site = Site::start(GROUP_WITHOUT_TRAFFIC).await;
    assert_eq!(site.host.deploy("1").await.unwrap().outcome, "completed");
    assert!(site.stale().is_empty());
    site.edit("path = \"/\"", "path = \"/no-such-page\"\n    deadline = \"300ms\"");
    let stale = site.stale();
    assert!(stale[0].contains("has changed since the running daemon read it"), "{stale:?}");
    assert!(stale[0].contains("systemctl reload cutover, or send SIGHUP to the daemon"), "{stale:?}");
    site.reload(TAKEN).await;
    assert!(site.stale().is_empty(), "the advice helps");
    let backend = &site._blue;
    backend.on("/no-such-page", cutover_tests::Action::status(404));
    let deployed = site.host.deploy("2").await.unwrap();
    assert_eq!(deployed.outcome, "failed", "the new probe is asked: {deployed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing_and_its_error_is_logged() {
    let site = Site::start(GROUP_WITHOUT_TRAFFIC).await;
    site.edit("warm = \"1h\"", "warm = \"1 parsec\"");
    site.reload(REFUSED).await;
    let log = site.host.daemon.log();
    assert!(log.contains("1 parsec") && log.contains("as in"), "the value and what would be right: {log}");
    site.edit("warm = \"1 parsec\"", "warm = \"1h\"\n[group.blog]");
    site.edit("daemon\"", "elsewhere\"");
    site.reload(REFUSED).await;
    assert!(site.host.daemon.log().contains("[daemon] has changed, so the daemon must be restarted"));
    let output = site.host.daemon.cli(&["deploy", "blog", "--version", "1"]).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("no group \"blog\""), "nothing of a refused file counts: {stderr}");
    assert_eq!(site.host.deploy("1").await.unwrap().outcome, "completed");
}

/// The file is broken, and the daemon is killed in the soak: users must not be left on a version that nobody watches.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_group_does_not_stop_a_deployment_in_progress() {
    let groups = GROUP_WITHOUT_TRAFFIC.replace("duration = \"100ms\"", "duration = \"1500ms\"");
    let mut site = Site::start(&groups).await;
    let mut deployment = site.host.daemon.begin_deploy("shop", "1").unwrap();
    deployment.phase("soaking").await.unwrap();
    site.host.daemon.kill().unwrap();
    site.edit("[group.shop.soak]", "[group.blog]\nwarm = \"1 parsec\"\n[group.shop.soak]");
    site.host.daemon.resume().await.unwrap();
    assert_eq!(deployment.finish().await.unwrap().outcome, "completed");
    let output = site.host.daemon.cli(&["deploy", "shop", "--version", "2"]).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("no deployment can begin") && stderr.contains("1 parsec"), "{stderr}");
    site.host.run("cutover rollback shop").unwrap();
    assert_eq!(site.host.active().await.unwrap(), "blue");

    site.edit("warm = \"1 parsec\"", "warm = \"1s\"");
    site.reload(TAKEN).await;
    assert_eq!(site.host.deploy("3").await.unwrap().outcome, "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_deployment_in_progress_a_broken_file_ends_the_start() {
    let mut site = Site::start(GROUP_WITHOUT_TRAFFIC).await;
    site.host.daemon.stop().await.unwrap();
    site.edit("warm = \"1h\"", "warm = \"1 parsec\"");
    let error = site.host.daemon.resume().await.unwrap_err().to_string();
    assert!(error.contains("1 parsec"), "{error}");
}
