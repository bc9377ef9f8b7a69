//! SIGTERM ends the daemon, but not in the middle of a command that changes a database.

use std::fs;
use std::time::Duration;

use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Daemon, TestEdge, wait};

const BLOG: &str = "
    upstream blog_blue { server 127.0.0.1:1; }
    upstream blog_green { server 127.0.0.1:2; }
    cutover blog { slot blue blog_blue; slot green blog_green; active blue; }
";

/// The migration of `shop` ends when the revert of `blog` runs, which begins after the signal.
const COMMANDS: &str = r#"
    [group.shop.migrate]
    command = ["/bin/sh", "-c", "touch migrating; while [ ! -e reverting ]; do sleep 0.02; done; touch migrated"]
    cwd = "%%folder%%"
    [group.blog.migrate]
    command = ["/bin/true"]
    [group.blog.provision]
    command = ["/bin/sh", "-c", "touch provisioning; while [ ! -e stopping ]; do sleep 0.02; done; exit 1"]
    cwd = "%%folder%%"
    [group.blog.revert]
    command = ["/bin/sh", "-c", "touch reverting; sleep 1; touch reverted"]
    cwd = "%%folder%%"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_that_begins_while_the_daemon_ends_comes_to_its_end() {
    let edge = TestEdge::start(&TestEdge::http(&format!("{UPSTREAMS}{BLOG}"), LOCATION)).await.unwrap();
    let folder = edge.nginx.prefix().to_owned();
    let commands = COMMANDS.replace("%%folder%%", &folder.display().to_string());
    let groups = format!("{GROUP_WITHOUT_TRAFFIC}{commands}");
    let mut daemon = Daemon::start(&folder, &groups).await.unwrap();
    let exists = |name: &str| folder.join(name).exists();
    for group in ["shop", "blog"] {
        daemon.deploy_detached(group, "2").unwrap();
    }
    wait::until("both commands", || exists("migrating") && exists("provisioning")).await.unwrap();
    let signal_is_handled = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        fs::write(folder.join("stopping"), "").unwrap();
    };
    let (stopped, ()) = tokio::join!(daemon.stop(), signal_is_handled);
    stopped.unwrap();
    assert!(exists("migrated") && exists("reverted"), "{}", daemon.log());
}
