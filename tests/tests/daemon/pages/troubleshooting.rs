//! docs/troubleshooting.md: each symptom is caused, and the commands of the page are typed.

use std::fs;

use cutover_tests::page::Shell;
use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::{GROUP, Users};
use cutover_tests::{Action, Backend, Nginx, Page, TestEdge, wait};

use super::site::{End, functions};

const COMMANDS: &str = "
    [group.shop.provision]
    command = [\"/bin/true\"]
    [group.shop.decommission]
    command = [\"/bin/true\"]
    [[group.shop.smoke]]
    name = \"it is ready\"
    path = \"/health/ready\"
";

struct Host {
    page: Page,
    shell: Shell,
    nginx: Nginx,
}

impl Host {
    fn configure(&self, text: &str) {
        fs::write(self.nginx.prefix().join("cutover.toml"), text).unwrap();
    }

    /// Types the example of a section.
    fn show(&self, section: &str) {
        let blocks = self.page.section(section).unwrap().blocks().unwrap();
        let [block] = blocks.as_slice() else { panic!("{section}: {blocks:?}") };
        self.shell.session(block).unwrap_or_else(|error| panic!("{section}: {error:#}"));
    }
}

/// An nginx with two slots, a good configuration of the daemon, and no daemon.
async fn host(blue: &Backend, green: &Backend) -> (Host, String) {
    let http = TestEdge::http(UPSTREAMS, LOCATION);
    let nginx = Nginx::builder().set("blue", blue.address()).set("green", green.address()).http(&http);
    let nginx = nginx.start().await.unwrap();
    let shell = Shell::new(nginx.prefix(), functions(&nginx));
    let shown = nginx.prefix().display();
    let good = format!(
        "[daemon]\nsocket = \"{shown}/cutover.sock\"\nstate = \"{shown}/daemon\"\n[edge.nginx]\n\
         admin = \"unix:{shown}/admin.sock\"\n{GROUP}{COMMANDS}"
    );
    let host = Host { page: Page::read("docs/troubleshooting.md").unwrap(), shell, nginx };
    host.configure(&good);
    (host, good)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_symptom_and_what_helps() {
    let (mut blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    let (host, good) = host(&blue, &green).await;
    let _end = End(host.nginx.prefix().to_owned());

    host.show("No daemon answers");
    host.nginx.stop().await.unwrap();
    host.show("nginx does not answer");
    host.configure(&good.replace("min_requests = 5", "min_requests = 5\nmax_error_ratio = \"1%\""));
    host.show("Failed to parse");
    host.configure(&format!("{good}\n# Changed.\n"));
    host.show("The running daemon");

    let users = Users::start(host.nginx.address("main").unwrap()).unwrap();
    users.more_good(20).await.unwrap();
    green.on("/health/ready", Action::status(503));
    host.show("Failed: the slot");
    // Bad for users, and good for the probe and the smoke test.
    green.on("/", Action::status(500));
    green.on("/health/ready", Action::status(200));
    host.show("Rolled back");
    drop(users);
    host.show("The group is frozen");
    green.on("/", Action::status(200));
    blue.stop().await;
    let is_dead = || host.shell.try_run("cutover status shop").is_ok_and(|(_, said)| said.contains("DEAD"));
    wait::until("the active slot to be dead", is_dead).await.unwrap();
    host.show("The active slot is dead");
}

/// Messages that name their cause: each is caused, too.
#[tokio::test(flavor = "multi_thread")]
async fn each_message_and_what_helps() {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    let (host, good) = host(&blue, &green).await;
    let _end = End(host.nginx.prefix().to_owned());
    let provision = |command: &str| good.replacen("command = [\"/bin/true\"]", command, 1);
    let apply = |text: &str, verb: &str| {
        host.configure(text);
        let (code, said) = host.shell.try_run(&format!("systemctl {verb} cutover")).unwrap();
        assert_eq!(code, 0, "{said}");
    };

    apply(&provision("command = [\"/bin/echo\", \"$CUTOVER_SLOT\"]"), "start");
    host.show("No shell reads");
    apply(&provision("command = [\"/bin/sleep\", \"60\"]\n    timeout = \"1s\""), "reload");
    host.show("A command did not end");
    apply(&good, "reload");
    host.show("Inconclusive");
    apply(
        &good.replacen("warm = \"1s\"", "warm = \"1s\"\n    steps = [\"50% manual\", \"100%\"]", 1),
        "reload",
    );
    host.show("Another deployment is under way");
}
