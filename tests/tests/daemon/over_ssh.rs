//! The command line over ssh: a real sshd in a network of its own, whose cable is cut in the middle of a deployment.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output};

use cutover_tests::ssh_machine::{ADDRESS, NOBODY};
use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Backend, Nginx, SshMachine, TestEdge, TestHost, wait};

mod cut;
mod forced_command;
mod trouble;

struct Site {
    host: TestHost,
    machine: SshMachine,
    _blue: Backend,
    green: Backend,
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
        let groups = GROUP_WITHOUT_TRAFFIC
            .replace("warm = \"1h\"", steps)
            .replace("path = \"/\"", "path = \"/\"\ntimeout = \"10s\"");
        let host = TestHost::start(nginx, &groups).await.unwrap();
        Self { host, machine: SshMachine::start().await.unwrap(), _blue: blue, green }
    }

    /// The address of the daemon over ssh.
    fn address(&self) -> String {
        format!("ssh://root@{ADDRESS}{}", self.host.daemon.socket().display())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_at(&[&self.address()], arguments)
    }

    fn command_at(&self, hosts: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.host.daemon.command_at(hosts, arguments);
        command.env("CUTOVER_SSH", self.machine.ssh("ssh_config"));
        command
    }

    /// The output of a command over ssh, and of the same command on the machine itself. Advice over ssh is to be typed here, so it
    /// names the machine, which is left out.
    fn both(&self, arguments: &[&str]) -> (Output, Output) {
        let mut over = self.command(arguments).output().unwrap();
        let place = format!(" --host {}", self.address());
        over.stderr = String::from_utf8_lossy(&over.stderr).replace(&place, "").into_bytes();
        (over, self.host.daemon.cli(arguments).unwrap())
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

    async fn generation(&self) -> u64 {
        self.host.nginx.admin().group("shop").await.unwrap().route.generation.into()
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
        command
            .stdout(File::create(&output).unwrap())
            .stderr(File::create(&errors).unwrap())
            .process_group(0);
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
        &["status", "blog"][..],
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

/// Each verb that changes something does it over ssh, and ends with the exit code that it has on the machine itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_run_from_afar_from_its_beginning_to_its_end() {
    let site = Site::start().await;
    let run = |arguments: &[&str]| {
        let output = site.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let id = run(&["deploy", "shop", "--version", "2", "--detach"]);
    site.until_phase("soaking").await;
    run(&["pause", "shop"]);
    run(&["resume", "shop"]);
    run(&["promote", "shop"]);
    let watched = run(&["watch", "shop"]);
    assert!(watched.contains("deploying version \"2\"") && watched.contains("warm"), "{watched}");
    run(&["rollback", "shop"]);
    let history = run(&["history", "shop", "--limit", "1"]);
    assert!(history.contains(id.trim()) && history.contains("rolled back"), "{history}");
    let switched = run(&["switch", "shop", "--to", "green", "--reason", "from afar"]);
    assert!(switched.starts_with("slot \"green\" of group \"shop\" has the traffic"), "{switched}");
}

/// More than the pipes hold at once, in both directions.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_the_greatest_length_passes() {
    let site = Site::start().await;
    let version = "v".repeat(131_046);
    let begun = site.command(&["deploy", "shop", "--version", &version, "--detach"]).output().unwrap();
    assert_eq!(begun.status.code(), Some(0), "{}", String::from_utf8_lossy(&begun.stderr));
    site.until_phase("soaking").await;
    let (over, here) = site.both(&["history", "--json"]);
    assert!(over.stdout.len() > version.len());
    assert!(over == here, "{} and {} bytes", over.stdout.len(), here.stdout.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_hosts_answers_while_the_first_is_dead() {
    let site = Site::start().await;
    let dead = format!("ssh://root@{NOBODY}");
    let hosts = [dead.as_str(), &site.address()];
    let status = site.command_at(&hosts, &["status", "shop"]).output().unwrap();
    let shown = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(shown.starts_with("shop: slot \"blue\" has the traffic, generation 0\n"), "{shown}");
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(
        said.starts_with("cutover: ssh://root@10.77.0.3: ssh: connect to host 10.77.0.3 port 22: "),
        "{said}"
    );
    assert!(said.ends_with(&format!("; asking the next host, {}\n", hosts[1])), "{said}");

    let mut deploy = site.command_at(&[], &["deploy", "shop", "--version", "2"]);
    deploy.env("CUTOVER_HOST", hosts.join(","));
    let mut deploy = Running::begin(deploy, site.host.path("over-ssh"));
    deploy.until_output("50 %").await;
    site.host.run("cutover promote shop").unwrap();
    assert_eq!(deploy.end().await, Some(0), "{} {}", deploy.output(), deploy.errors());

    let none = site.command_at(&[&dead, &dead], &["status"]).output().unwrap();
    let said = String::from_utf8_lossy(&none.stderr);
    assert_eq!(none.status.code(), Some(1));
    assert!(said.ends_with("no host is left to ask\n"), "{said}");
}
