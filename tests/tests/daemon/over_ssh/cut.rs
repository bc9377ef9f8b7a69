//! A connection that breaks while a command runs.

use std::time::Duration;

use cutover_tests::process::{self, Pid, Signal};
use cutover_tests::{Action, wait};

use super::{Running, Site};

/// Cuts the cable in the first step, lets the deployment come to its end meanwhile, and repairs the cable. Returns the command's
/// exit code. Checks that it has printed each event once.
async fn cut_until_the_end(site: &Site, config: &str, is_bad: bool) -> Option<i32> {
    let mut deploy = site.command(&["deploy", "shop", "--version", "2", "--json"]);
    deploy.env("CUTOVER_SSH", site.machine.ssh(config));
    let mut deploy = Running::begin(deploy, site.host.path("over-ssh"));
    deploy.until_output("\"soaking\"").await;
    site.machine.cut().unwrap();
    if is_bad {
        site.green.on("/", Action::status(500));
    } else {
        site.host.run("cutover promote shop").unwrap();
    }
    site.until_phase(if is_bad { "rolled_back" } else { "warm" }).await;
    deploy.until_error("connecting again").await;
    assert!(!deploy.output().contains("\"outcome\""), "{}", deploy.output());
    site.machine.repair().unwrap();
    let code = deploy.end().await;
    assert_eq!(deploy.output(), site.events(), "{}", deploy.errors());
    let said = deploy.errors();
    assert!(said.starts_with("cutover: the connection to the daemon of ssh://root@10.77.0.2/"), "{said}");
    assert_eq!(said.matches("; the deployment goes on; connecting again\n").count(), 1, "{said}");
    assert!(said.ends_with("cutover: connected again\n"), "{said}");
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_or_doubled_while_the_cable_is_cut() {
    let site = Site::start().await;
    assert_eq!(cut_until_the_end(&site, "ssh_config", false).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_that_of_a_deployment_that_went_back_meanwhile() {
    let site = Site::start().await;
    assert_eq!(cut_until_the_end(&site, "ssh_config", true).await, Some(4));
}

/// A process that ssh leaves behind shares the connection. It keeps the pipe of the errors open.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_shared_with_others_is_made_again_too() {
    let site = Site::start().await;
    assert_eq!(cut_until_the_end(&site, "ssh_config_that_shares", false).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_followed_on_after_sshd_was_killed() {
    let mut site = Site::start().await;
    let mut deploy = site.begin(&["deploy", "shop", "--version", "2", "--json"]);
    deploy.until_output("\"soaking\"").await;
    site.machine.kill_sshd().unwrap();
    deploy.until_error("Connection refused; connecting again").await;
    site.machine.start_sshd().await.unwrap();
    deploy.until_error("connected again").await;
    site.host.run("cutover promote shop").unwrap();
    assert_eq!(deploy.end().await, Some(0), "{} {}", deploy.output(), deploy.errors());
    assert_eq!(deploy.output(), site.events());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_followed_on_after_the_daemon_was_killed() {
    let mut site = Site::start().await;
    let mut deploy = site.begin(&["deploy", "shop", "--version", "2", "--json"]);
    deploy.until_output("\"soaking\"").await;
    site.host.daemon.kill().unwrap();
    deploy.until_error("no daemon answers at").await;
    site.host.daemon.resume().await.unwrap();
    deploy.until_error("connected again").await;
    site.host.run("cutover promote shop").unwrap();
    assert_eq!(deploy.end().await, Some(0), "{} {}", deploy.output(), deploy.errors());
    assert_eq!(deploy.output(), site.events());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_followed_on_at_the_next_host() {
    let site = Site::start().await;
    let (far, here) = (site.address(), format!("unix:{}", site.host.daemon.socket().display()));
    let deploy = site.command_at(&[&far, &here], &["deploy", "shop", "--version", "2", "--json"]);
    let mut deploy = Running::begin(deploy, site.host.path("over-ssh"));
    deploy.until_output("\"soaking\"").await;
    site.machine.cut().unwrap();
    deploy.until_error(&format!("; asking the next host, {here}\ncutover: connected again\n")).await;
    site.host.run("cutover promote shop").unwrap();
    assert_eq!(deploy.end().await, Some(0), "{} {}", deploy.output(), deploy.errors());
    assert_eq!(deploy.output(), site.events());
}

/// The daemon has taken a switch when the connection breaks: it makes the switch once, and the other host is not asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_may_have_been_taken_is_not_sent_again() {
    let mut site = Site::start().await;
    site.green.on("/", Action::status(200).after(Duration::from_secs(4)));
    let here = format!("unix:{}", site.host.daemon.socket().display());
    let hosts = [site.address(), here];
    let switch = site.command_at(&[&hosts[0], &hosts[1]], &["switch", "shop", "--to", "green"]);
    let mut switch = Running::begin(switch, site.host.path("over-ssh"));
    // The daemon probes a slot without traffic all the time, one request after the other.
    wait::until("the probe before the switch", || site.green.truth().in_flight > 1).await.unwrap();
    site.machine.kill_sshd().unwrap();
    assert_eq!(switch.end().await, Some(1), "{}", switch.errors());
    let said = switch.errors();
    assert!(
        said.contains("it may have taken the request, so it is not sent again; to see whether it has: "),
        "{said}"
    );
    let status = format!("cutover --host {} --host {} status\n", hosts[0], hosts[1]);
    assert!(said.ends_with(&status), "{said}");
    wait::until_async(wait::PATIENCE, "the switch", async || site.generation().await > 0).await.unwrap();
    assert_eq!(site.generation().await, 1);
    let history = site.host.daemon.cli(&["history"]).unwrap();
    assert_eq!(String::from_utf8(history.stdout).unwrap().lines().count(), 1);
}

/// Ctrl-C, which a terminal sends to the whole process group, ends the command line and ssh, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_ends_ssh_and_not_the_deployment() {
    let site = Site::start().await;
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::KILL, None)] {
        let verb: &[&str] = match signal {
            Signal::INT => &["deploy", "shop", "--version", "2"],
            _ => &["watch", "shop"],
        };
        let mut command = site.begin(verb);
        command.until_output("50 % of the traffic").await;
        assert!(site.machine.is_connected());
        process::signal_group(Pid::from_child(&command.child), signal);
        assert_eq!(command.end().await, code);
        let follow = format!("cutover --host {} watch shop", site.address());
        let advice = format!("cutover: the deployment goes on; to follow it: {follow}; to end it: ");
        assert_eq!(command.errors().starts_with(&advice), code.is_some(), "{}", command.errors());
        wait::until("the end of dial-stdio", || !site.machine.is_connected()).await.unwrap();
        assert_eq!(site.phase(), "soaking");
    }
}
