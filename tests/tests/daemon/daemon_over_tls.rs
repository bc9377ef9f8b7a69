//! The daemon with an edge on another host.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cutover_tests::certificate::{Authority, Certificate, Validity};
use cutover_tests::daemon::config;
use cutover_tests::flavour::program;
use cutover_tests::hosts::Host;
use cutover_tests::test_host::{GOOD_COMMANDS, GROUP_WITHOUT_TRAFFIC};
use cutover_tests::{Backend, Daemon, Hosts, Network, Relay, wait};

mod certificates;

/// The time limit of one call, and what a busy machine adds.
const LIMIT: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(3);

async fn start(hosts: &Hosts, keys: &str) -> Daemon {
    Daemon::start_with(&hosts.folder(), keys, &format!("{GROUP_WITHOUT_TRAFFIC}{GOOD_COMMANDS}"))
        .await
        .unwrap()
}

fn run(daemon: &Daemon, line: &str) -> (i32, String) {
    said(daemon.cli(&line.split_whitespace().collect::<Vec<_>>()).unwrap())
}

fn said(output: Output) -> (i32, String) {
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// `cutover check` with other keys of `[edge.nginx]`; no daemon runs.
fn check(hosts: &Hosts, keys: &str) -> (i32, String) {
    let folder = hosts.folder();
    let text = config::text(keys, &format!("{GROUP_WITHOUT_TRAFFIC}{GOOD_COMMANDS}"));
    let path = folder.join("checked.toml");
    fs::write(&path, text.replace("%%folder%%", &folder.display().to_string())).unwrap();
    said(Command::new(program("cutover").unwrap()).arg("--config").arg(path).arg("check").output().unwrap())
}

/// The keys with another value of one of them; `None` leaves the key out.
fn replaced(keys: &str, key: &str, value: Option<&Path>) -> String {
    let kept =
        keys.lines().filter(|line| !line.starts_with(&format!("{key} ="))).map(|line| format!("{line}\n"));
    let new = value.map(|value| format!("{key} = \"{}\"\n", value.display()));
    kept.chain(new).collect()
}

/// Copies over a file by rename, as it should be: a reader never sees a part of it.
fn replace(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    fs::copy(from, &new).unwrap();
    fs::rename(new, to).unwrap();
}

/// Gives nginx another certificate.
async fn serve(host: &Host, certificate: &Certificate) {
    host.nginx.set("certificate", certificate.certificate.display());
    host.nginx.set("key", certificate.key.display());
    host.nginx.write_http(&Hosts::http()).unwrap();
    host.nginx.reload().await.unwrap();
}

#[test]
fn it_deploys_rolls_back_and_switches() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let daemon = start(&hosts, &hosts.keys(host)).await;
        let (code, said) = run(&daemon, "check");
        assert!(code == 0 && said.starts_with("1 group checked, no problem\n"), "{said}");
        let deployed = daemon.deploy("shop", "2").await.unwrap();
        assert_eq!((deployed.code, host.active().await.unwrap().as_str()), (0, "green"), "{deployed:?}");
        assert_eq!(run(&daemon, "rollback shop").0, 0);
        assert_eq!(host.active().await.unwrap(), "blue");
        assert_eq!(run(&daemon, "switch shop --to green").0, 0);
        assert_eq!(host.active().await.unwrap(), "green");
        let events = host.group().await.unwrap().events;
        assert!(events.iter().all(|event| event.who == "token from 10.77.0.254"), "{events:?}");
    });
}

#[test]
fn it_deploys_to_three_hosts_and_reports_the_one_that_is_away() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 3).await.unwrap() else { return };
        let daemon = start(&hosts, &hosts.edges()).await;
        let (code, said) = run(&daemon, "check");
        assert!(code == 0 && said.starts_with("1 group checked, no problem\n"), "{said}");
        let deployed = daemon.deploy("shop", "2").await.unwrap();
        assert_eq!(deployed.code, 0, "{deployed:?}");
        for host in hosts.all() {
            assert_eq!(host.active().await.unwrap(), "green", "{}", host.address());
        }
        // Killed, and started again: the route is the one that was acknowledged.
        let second = hosts.host(2).unwrap();
        second.kill();
        let (code, said) = run(&daemon, "check");
        assert!(code == 1 && said.contains("https://10.77.0.2:9443"), "{said}");
        second.nginx.start().await.unwrap();
        assert_eq!(second.active().await.unwrap(), "green");
        assert_eq!(run(&daemon, "check").0, 0);
    });
}

#[test]
fn a_host_that_does_not_answer_costs_the_limit_of_one_call() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let daemon = start(&hosts, &hosts.keys(host)).await;
        assert_eq!(run(&daemon, "check").0, 0);
        let timed = |line: &str| {
            let begun = Instant::now();
            let (code, said) = run(&daemon, line);
            (code, said, begun.elapsed())
        };
        // The kernel accepts the connection, and nobody answers the handshake.
        let frozen = host.freeze().unwrap();
        let (code, said, took) = timed("switch shop --to green");
        assert!(
            code == 1
                && said.contains("nginx does not answer at https://10.77.0.1:9443: no connection within 5s"),
            "{said}"
        );
        assert!((LIMIT..LIMIT + SLACK).contains(&took), "{took:?}");
        drop(frozen);
        host.network.cut_off().unwrap();
        let (code, said, took) = timed("switch shop --to green");
        assert!(
            code == 1 && said.contains("nginx does not answer at https://10.77.0.1:9443: no connection"),
            "{said}"
        );
        assert!(took < LIMIT + SLACK, "{took:?}");
        host.network.reconnect().unwrap();
        wait::until_async(wait::PATIENCE, "the host to be back", async || run(&daemon, "check").0 == 0)
            .await
            .unwrap();
        assert_eq!(host.group().await.unwrap().route.generation, 0, "nothing was sent");
        assert_eq!(run(&daemon, "switch shop --to green").0, 0);
    });
}

/// A relay before a host, and the keys of an edge that is reached through it.
async fn relayed(hosts: &Hosts, host: &Host) -> (Relay, String) {
    let relay = Relay::start(SocketAddr::from((Network::TEST, 9443)), host.admin_address()).await.unwrap();
    let keys = hosts.keys_through(&relay, host);
    (relay, keys)
}

/// A server that is not nginx refuses a client in the handshake itself. With TLS 1.3 the client learns it when it reads.
#[test]
fn an_alert_of_the_server_is_explained() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let own = hosts.authority.issue("server", "IP:10.77.0.254", Validity::Days(20)).unwrap();
        let keys = format!("admin = \"https://10.77.0.254:9444\"\n{}", hosts.credentials());
        let without = replaced(&replaced(&keys, "client_cert", None), "client_key", None);
        let stranger = Authority::make(&hosts.folder(), "stranger").unwrap();
        for (version, ca, keys, why) in [
            (
                "-tls1_3",
                &hosts.authority,
                &without,
                "it requires a client's certificate: set edge.nginx.client_cert and",
            ),
            ("-tls1_2", &hosts.authority, &without, "10.77.0.254:9444 refuses the TLS connection: "),
            (
                "-tls1_3",
                &stranger,
                &keys,
                "it does not accept the certificate of edge.nginx.client_cert (UnknownCA)",
            ),
            (
                "-tls1_2",
                &stranger,
                &keys,
                "it does not accept the certificate of edge.nginx.client_cert (UnknownCA)",
            ),
        ] {
            let mut server = Command::new("openssl");
            server.args([
                "s_server",
                "-quiet",
                "-accept",
                "10.77.0.254:9444",
                "-Verify",
                "1",
                "-verify_return_error",
                version,
            ]);
            server
                .arg("-cert")
                .arg(&own.certificate)
                .arg("-key")
                .arg(&own.key)
                .arg("-CAfile")
                .arg(&ca.own.certificate);
            let quiet = || Stdio::null();
            let _server =
                Ended(server.stdin(Stdio::piped()).stdout(quiet()).stderr(quiet()).spawn().unwrap());
            let listens = async || tokio::net::TcpStream::connect("10.77.0.254:9444").await.is_ok();
            wait::until_async(wait::PATIENCE, "openssl to listen", listens).await.unwrap();
            let (code, said) = check(&hosts, keys);
            assert!(code == 1 && said.contains(why), "{version}: {said}");
        }
    });
}

/// A process that is killed on drop.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_slow_network_delays_a_deployment_and_does_not_fail_it() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let (relay, keys) = relayed(&hosts, host).await;
        relay.delay(Duration::from_millis(200));
        let daemon = start(&hosts, &keys).await;
        let begun = Instant::now();
        let deployed = daemon.deploy("shop", "2").await.unwrap();
        println!(
            "a deployment with 200 ms in each direction: {:?}, {} connections",
            begun.elapsed(),
            relay.connections()
        );
        assert_eq!((deployed.code, host.active().await.unwrap().as_str()), (0, "green"), "{deployed:?}");
    });
}

/// On the daemon's host the same address may lead to another server.
#[test]
fn a_server_that_only_the_edge_host_reaches_is_not_probed_here() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let own = Backend::start("green").await.unwrap();
        let socket = format!("unix:{}/app.sock", hosts.folder().display());
        host.nginx.set("blue", socket);
        host.nginx.set("green", own.address());
        host.nginx.write_http(&Hosts::http()).unwrap();
        host.nginx.reload().await.unwrap();
        let patient =
            GROUP_WITHOUT_TRAFFIC.replace("interval = \"20ms\"", "interval = \"20ms\"\ndeadline = \"500ms\"");
        let groups = format!("{patient}{GOOD_COMMANDS}");
        let daemon = Daemon::start_with(&hosts.folder(), &hosts.keys(host), &groups).await.unwrap();
        let why = "is a server that only the host 10.77.0.1 reaches, and this daemon runs elsewhere";
        for verb in ["check", "switch shop --to green", "deploy shop --version 2"] {
            let (_, said) = run(&daemon, verb);
            assert!(said.contains(why), "{verb}: {said}");
        }
        assert_eq!(host.active().await.unwrap(), "blue");
        assert_eq!(own.truth().requests, 0);
    });
}
