//! The command line over ssh: a real sshd in a network of its own, which is cut in the middle of a deployment.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output};

use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Backend, Nginx, SshMachine, TestEdge, TestHost, wait};

struct Site {
    host: TestHost,
    machine: SshMachine,
    _blue: Backend,
    _green: Backend,
}

impl Site {
    /// A deployment waits in its first step until it is promoted.
    async fn start() -> Self {
        let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
        let nginx = Nginx::builder()
            .http(&TestEdge::http(UPSTREAMS, LOCATION))
            .set("blue", blue.address())
            .set("green", green.address());
        let steps = "warm = \"1h\"\nsteps = [\"50% manual\", \"100%\"]";
        let groups = GROUP_WITHOUT_TRAFFIC.replace("warm = \"1h\"", steps);
        let host = TestHost::start(nginx, &groups).await.unwrap();
        Self { host, machine: SshMachine::start().await.unwrap(), _blue: blue, _green: green }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.host.daemon.command_over(&self.machine.ssh(), arguments)
    }

    /// The output of a command over ssh, and of the same command on the daemon's own machine.
    fn both(&self, arguments: &[&str]) -> (Output, Output) {
        (self.command(arguments).output().unwrap(), self.host.daemon.cli(arguments).unwrap())
    }

    fn begin(&self, arguments: &[&str]) -> Running {
        Running::begin(self.command(arguments), self.host.path("over-ssh"))
    }

    fn phase(&self) -> String {
        let status = self.host.daemon.status("shop").unwrap();
        status["deployment"]["phase"].as_str().unwrap_or_default().to_owned()
    }

    async fn until_phase(&self, phase: &str) {
        wait::until(&format!("phase {phase}"), || self.phase() == phase).await.unwrap();
    }

    /// What `cutover watch` prints on the daemon's own machine.
    fn events(&self) -> String {
        let output = self.host.daemon.cli(&["watch", "shop", "--json"]).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A command in progress. Drop kills it.
struct Running {
    child: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl Running {
    fn begin(mut command: Command, at: PathBuf) -> Self {
        let (output, errors) = (at.with_extension("out"), at.with_extension("err"));
        command.stdout(File::create(&output).unwrap()).stderr(File::create(&errors).unwrap());
        Self { child: command.spawn().unwrap(), output, errors }
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap()
    }

    async fn until_output(&self, text: &str) {
        let said = wait::until(&format!("{text:?}"), || self.output().contains(text)).await;
        assert!(said.is_ok(), "{said:?}: {} {}", self.output(), self.errors());
    }

    async fn until_error(&self, text: &str) {
        let said = wait::until(&format!("{text:?}"), || self.errors().contains(text)).await;
        assert!(said.is_ok(), "{said:?}: {} {}", self.output(), self.errors());
    }

    /// Waits for the end. Returns the exit code.
    async fn end(&mut self) -> Option<i32> {
        let mut code = None;
        let ended = wait::until("the end of the command", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        assert!(ended.await.is_ok(), "{} {}", self.output(), self.errors());
        code.unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_that_of_the_machine_itself() {
    let site = Site::start().await;
    for arguments in [
        &["status"][..],
        &["status", "shop", "--json"],
        &["status", "blog"],
        &["history"],
        &["watch", "shop"],
        &["abort", "shop"],
        &["rollback", "shop"],
        &["promote", "shop"],
        &["switch", "shop", "--to", "nowhere"],
        &["run", "shop", "revert"],
        &["deploy", "blog", "--version", "2"],
    ] {
        let (over, here) = site.both(arguments);
        assert_eq!(over, here, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_goes_on_while_the_cable_is_cut_and_no_event_is_lost_or_doubled() {
    let site = Site::start().await;
    let mut deploy = site.begin(&["deploy", "shop", "--version", "2", "--json"]);
    deploy.until_output("\"soaking\"").await;
    site.machine.cut().unwrap();
    site.host.run("cutover promote shop").unwrap();
    site.until_phase("warm").await;
    assert!(!deploy.output().contains("warm"), "{}", deploy.output());
    deploy.until_error("connecting again").await;
    site.machine.repair().unwrap();
    assert_eq!(deploy.end().await, Some(0), "{} {}", deploy.output(), deploy.errors());
    assert_eq!(deploy.output(), site.events());
    assert!(deploy.errors().ends_with("cutover: connected again\n"), "{}", deploy.errors());
}
