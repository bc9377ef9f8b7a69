//! One deployment over three hosts, one of which fails. Each host has a real nginx in a network namespace of its own.
//!
//! In the end all hosts have the same version. Users have not seen both for longer than the lease before the commit, and for
//! longer than one repair after it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cutover_tests::hosts::Host;
use cutover_tests::{Daemon, Hosts, Network, Relay, wait};

const GROUP: &str = r#"
    [group.shop]
    warm = "1h"
    [group.shop.fleet]
    patience = "1500ms"
    [group.shop.trial]
    lease = "3s"
    [group.shop.provision]
    command = ["/bin/true"]
    [group.shop.decommission]
    command = ["/bin/true"]
    [group.shop.probe]
    path = "/"
    interval = "100ms"
    [[group.shop.smoke]]
    name = "answers"
    path = "/"
    [group.shop.soak]
    duration = "3s"
    interval = "100ms"
    on_inconclusive = "promote"
    [group.shop.drain]
    deadline = "2s"
"#;

const LEASE: Duration = Duration::from_secs(3);
/// How long a failure lasts: longer than the lease.
const OUTAGE: Duration = Duration::from_secs(5);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_millis(1_500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Killed,
    Paused,
    CutOff,
    /// 200 ms for each round trip.
    Slow,
    MovedByHand,
}

const FAILURES: [Failure; 5] =
    [Failure::Killed, Failure::Paused, Failure::CutOff, Failure::Slow, Failure::MovedByHand];

const PHASES: [&str; 8] =
    ["provisioning", "probing", "smoking", "switching", "soaking", "confirming", "draining", "warm"];

/// Three hosts and their daemon. The third host is reached through a relay, and fails.
struct Bench<'a> {
    hosts: &'a Hosts,
    relay: &'a Relay,
    daemon: Daemon,
    version: u32,
}

/// The longest times with both versions.
#[derive(Debug, Default)]
struct Mixed {
    before_commit: Duration,
    after_commit: Duration,
}

impl<'a> Bench<'a> {
    async fn start(hosts: &'a Hosts, relay: &'a Relay) -> Self {
        let [one, two, third] = hosts.all() else { panic!("three hosts") };
        let keys = format!(
            "{}[edge.two]\n{}[edge.three]\n{}",
            hosts.keys(one),
            hosts.keys(two),
            hosts.keys_through(relay, third)
        );
        let daemon = Daemon::start_with(&hosts.folder(), &keys, GROUP).await.unwrap();
        Self { hosts, relay, daemon, version: 1 }
    }

    fn third(&self) -> &Host {
        self.hosts.host(3).unwrap()
    }

    async fn actives(&self) -> Vec<String> {
        let mut actives = Vec::new();
        for host in self.hosts.all() {
            actives.push(host.active().await.unwrap());
        }
        actives
    }

    /// Deploys, lets the third host fail in a phase, and returns the outcome. `None`: the deployment was too fast for the phase.
    async fn fail_in(&mut self, failure: Failure, phase: &str) -> Option<(String, Mixed)> {
        self.version += 1;
        let version = self.version.to_string();
        let before = self.actives().await;
        assert!(before.iter().all(|active| *active == before[0]), "{before:?}");
        let mut deployment = self.daemon.begin_deploy("shop", &version).unwrap();
        if deployment.phase(phase).await.is_err() {
            return None;
        }
        let unheard = Arc::new(AtomicBool::new(false));
        let committed = Arc::new(AtomicBool::new(matches!(phase, "draining" | "warm")));
        let over = Arc::new(AtomicBool::new(false));
        let failing = async {
            self.begin_and_end(failure, &before[0], &unheard).await;
            let deployed = deployment.finish().await.unwrap();
            committed.store(deployed.outcome == "completed", Ordering::SeqCst);
            // What is left of a lease, and a repair.
            wait::until_async(LEASE + SLACK * 4, "all hosts to have the same version", async || {
                let actives = self.actives().await;
                actives.iter().all(|active| *active == actives[0])
            })
            .await
            .unwrap_or_else(|error| panic!("{failure:?} in {phase}: {error}: {deployed:#?}"));
            over.store(true, Ordering::SeqCst);
            deployed
        };
        let (deployed, mixed) = tokio::join!(failing, self.watch(&unheard, &committed, &over));
        let name = format!("{failure:?} in {phase}");
        assert!(mixed.before_commit <= LEASE + SLACK, "{name}: {mixed:?} {deployed:#?}");
        assert!(mixed.after_commit <= SLACK * 2, "{name}: {mixed:?} {deployed:#?}");
        let active = &self.actives().await[0];
        let has_moved = *active != before[0];
        // A deployment that could not clean up while the host was away is stuck, and its traffic is where it was.
        assert_eq!(has_moved, deployed.outcome == "completed", "{name}: {active} {deployed:#?}");
        if deployed.outcome == "stuck" {
            let said: Vec<&str> = deployed.events.iter().map(|event| event.message.as_str()).collect();
            println!("{}", said.join("\n"));
        }
        Some((deployed.outcome, mixed))
    }

    async fn begin_and_end(&self, failure: Failure, old: &str, unheard: &AtomicBool) {
        let third = self.third();
        match failure {
            Failure::Killed => {
                unheard.store(true, Ordering::SeqCst);
                third.kill();
                tokio::time::sleep(OUTAGE).await;
                third.nginx.start().await.unwrap();
                unheard.store(false, Ordering::SeqCst);
            }
            Failure::Paused => {
                unheard.store(true, Ordering::SeqCst);
                let frozen = third.freeze().unwrap();
                tokio::time::sleep(OUTAGE).await;
                drop(frozen);
                unheard.store(false, Ordering::SeqCst);
            }
            Failure::CutOff => {
                third.network.cut_off().unwrap();
                tokio::time::sleep(OUTAGE).await;
                third.network.reconnect().unwrap();
            }
            Failure::Slow => {
                self.relay.delay(Duration::from_millis(100));
                tokio::time::sleep(OUTAGE).await;
                self.relay.delay(Duration::ZERO);
            }
            Failure::MovedByHand => {
                let other = if third.active().await.unwrap() == old { "green" } else { old };
                let other = if other == old && old == "green" { "blue" } else { other };
                let _ = third.nginx.admin().switch("shop", other).await;
            }
        }
    }

    /// Looks at all hosts that serve users until it is over.
    async fn watch(&self, unheard: &AtomicBool, committed: &AtomicBool, over: &AtomicBool) -> Mixed {
        let mut mixed = Mixed::default();
        let mut since = None::<Instant>;
        while !over.load(Ordering::SeqCst) {
            let mut actives = Vec::new();
            for host in self.hosts.all() {
                // A host that is down or paused serves nobody.
                if unheard.load(Ordering::SeqCst) && host.address() == self.third().address() {
                    continue;
                }
                let active = tokio::time::timeout(Duration::from_millis(200), host.active()).await;
                actives.extend(active.ok().and_then(Result::ok));
            }
            if actives.iter().all(|active| *active == actives[0]) {
                since = None;
            } else {
                let took = since.get_or_insert_with(Instant::now).elapsed();
                let longest = match committed.load(Ordering::SeqCst) {
                    true => &mut mixed.after_commit,
                    false => &mut mixed.before_commit,
                };
                *longest = took.max(*longest);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        mixed
    }
}

fn run(cases: &[(Failure, &str)]) {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 3).await.unwrap() else { return };
        let third = hosts.host(3).unwrap();
        let address = SocketAddr::from((Network::TEST, 9443));
        let relay = Relay::start(address, third.admin_address()).await.unwrap();
        let mut bench = Bench::start(&hosts, &relay).await;
        for (failure, phase) in cases {
            match bench.fail_in(*failure, phase).await {
                Some((outcome, Mixed { before_commit, after_commit })) => {
                    println!("| {failure:?} | {phase} | {outcome} | {before_commit:?} | {after_commit:?} |");
                }
                None => println!("| {failure:?} | {phase} | the phase was over | | |"),
            }
        }
    });
}

#[test]
fn a_host_fails() {
    run(&[
        (Failure::MovedByHand, "provisioning"),
        (Failure::MovedByHand, "soaking"),
        (Failure::Killed, "soaking"),
        (Failure::CutOff, "soaking"),
        (Failure::Paused, "switching"),
        (Failure::Slow, "provisioning"),
        (Failure::MovedByHand, "warm"),
    ]);
}

#[test]
#[ignore = "takes minutes: each failure in each phase"]
fn a_host_fails_in_each_phase() {
    let cases: Vec<_> = FAILURES.iter().flat_map(|failure| PHASES.map(|phase| (*failure, phase))).collect();
    run(&cases);
}
