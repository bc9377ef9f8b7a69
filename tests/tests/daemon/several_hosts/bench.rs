//! Three hosts, their daemon, and one or two groups that move together. The third host fails in a phase of a deployment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cutover_core::api::Group;
use cutover_tests::daemon::{Deployed, Deployment};
use cutover_tests::hosts::Host;
use cutover_tests::{Backend, Daemon, Hosts, Network, Relay, wait};

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

/// A second group with slots of its own, at `/api`.
const API: &str = "
    keepalive_requests 1000000;
    upstream api_blue { server %%api_blue%%; keepalive 32; }
    upstream api_green { server %%api_green%%; keepalive 32; }
    cutover api { slot blue api_blue; slot green api_green; active blue; }
";

const LEASE: Duration = Duration::from_secs(3);
/// How long a failure lasts: longer than the lease.
const OUTAGE: Duration = Duration::from_secs(5);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_millis(1_500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Killed,
    Paused,
    CutOff,
    /// 200 ms for each round trip.
    Slow,
    /// The first group only.
    MovedByHand,
}

pub(super) const FAILURES: [Failure; 5] =
    [Failure::Killed, Failure::Paused, Failure::CutOff, Failure::Slow, Failure::MovedByHand];

pub(super) const PHASES: [&str; 8] =
    ["provisioning", "probing", "smoking", "switching", "soaking", "confirming", "draining", "warm"];

/// The servers of the group `api`.
pub(super) struct Api {
    _blue: Backend,
    pub(super) green: Backend,
}

/// Three hosts and their daemon. The third host is reached through a relay, and fails.
pub(super) struct Bench<'a> {
    hosts: &'a Hosts,
    relay: &'a Relay,
    pub(super) daemon: Daemon,
    groups: &'static [&'static str],
    version: u32,
}

/// The longest times with both versions.
#[derive(Debug, Default)]
pub(super) struct Mixed {
    pub(super) before_commit: Duration,
    pub(super) after_commit: Duration,
    /// Within each host, between its groups.
    pub(super) by_host: BTreeMap<usize, Duration>,
}

/// What an observer is told about the test.
#[derive(Default)]
struct Told {
    /// The third host is down or paused, so it serves nobody.
    unheard: AtomicBool,
    committed: AtomicBool,
    over: AtomicBool,
}

/// Starts three hosts with the groups `shop` and `api`. `None` if this nginx has no TLS.
pub(super) async fn start_hosts(network: &Network) -> Option<(Hosts, Api)> {
    let [blue, green] = [3002, 3003].map(|port| SocketAddr::from((Network::TEST, port)));
    let _blue = Backend::start_at("blue", blue).await.unwrap();
    let api = Api { _blue, green: Backend::start_at("green", green).await.unwrap() };
    let variables = [("api_blue", blue.to_string()), ("api_green", green.to_string())];
    let location = "location /api { proxy_pass http://api; }";
    let http = format!("{API}{}", Hosts::http_with(location));
    let hosts = Hosts::start_with(network, 3, &http, &variables).await.unwrap()?;
    Some((hosts, api))
}

/// A relay to the admin API of the third host.
pub(super) async fn start_relay(hosts: &Hosts) -> Relay {
    let address = SocketAddr::from((Network::TEST, 9443));
    Relay::start(address, hosts.host(3).unwrap().admin_address()).await.unwrap()
}

impl<'a> Bench<'a> {
    /// Starts the daemon for these groups, which it deploys together.
    pub(super) async fn start(
        hosts: &'a Hosts,
        relay: &'a Relay,
        groups: &'static [&'static str],
        change: impl Fn(&str) -> String,
    ) -> Self {
        let [one, two, third] = hosts.all() else { panic!("three hosts") };
        let keys = format!(
            "{}[edge.two]\n{}[edge.three]\n{}",
            hosts.keys(one),
            hosts.keys(two),
            hosts.keys_through(relay, third)
        );
        let tables: String = groups
            .iter()
            .map(|group| change(&GROUP.replace("group.shop", &format!("group.{group}"))))
            .collect();
        let daemon = Daemon::start_with(&hosts.folder(), &keys, &tables).await.unwrap();
        Self { hosts, relay, daemon, groups, version: 1 }
    }

    /// Begins to deploy the next version of all groups.
    pub(super) fn deploy(&mut self) -> Deployment {
        self.version += 1;
        self.daemon.begin_deploy_together(self.groups, &self.version.to_string()).unwrap()
    }

    fn third(&self) -> &Host {
        self.hosts.host(3).unwrap()
    }

    /// The slots that have the traffic: one, if all hosts and groups have the same.
    pub(super) async fn actives(&self) -> BTreeSet<String> {
        let mut actives = BTreeSet::new();
        for host in self.hosts.all() {
            let groups = host.nginx.admin().groups().await.unwrap().groups;
            actives.extend(self.slots_of(groups));
        }
        actives
    }

    /// The same for one host. `None` if it does not answer at once.
    async fn actives_of(&self, host: &Host) -> Option<BTreeSet<String>> {
        let admin = host.nginx.admin();
        let all = tokio::time::timeout(Duration::from_millis(200), admin.groups()).await.ok()?.ok()?.groups;
        Some(self.slots_of(all))
    }

    fn slots_of(&self, groups: Vec<Group>) -> BTreeSet<String> {
        let ours = groups.into_iter().filter(|group| self.groups.contains(&group.name.as_str()));
        ours.map(|group| group.route.active).collect()
    }

    /// Deploys, lets the third host fail in a phase, and returns the outcome. `None`: the deployment was too fast for the phase.
    pub(super) async fn fail_in(&mut self, failure: Failure, phase: &str) -> Option<(String, Mixed)> {
        let before = self.actives().await;
        assert_eq!(before.len(), 1, "{before:?}");
        let old = before.first().unwrap();
        let mut deployment = self.deploy();
        if deployment.phase(phase).await.is_err() {
            return None;
        }
        let told = Told::default();
        told.committed.store(matches!(phase, "draining" | "warm"), Ordering::SeqCst);
        let failing = async {
            self.begin_and_end(failure, old, &told.unheard).await;
            let deployed = deployment.finish().await.unwrap();
            told.committed.store(deployed.outcome == "completed", Ordering::SeqCst);
            // What is left of a lease, and a repair.
            let same = async || self.actives().await.len() == 1;
            let waited =
                wait::until_async(LEASE + SLACK * 4, "all hosts to have the same version", same).await;
            waited.unwrap_or_else(|error| panic!("{failure:?} in {phase}: {error}: {deployed:#?}"));
            told.over.store(true, Ordering::SeqCst);
            deployed
        };
        let (deployed, mixed) = tokio::join!(failing, self.watch(&told));
        let name = format!("{failure:?} in {phase}");
        assert!(mixed.before_commit <= LEASE + SLACK, "{name}: {mixed:?} {deployed:#?}");
        // A host that is cut off serves users, on the old version after its lease. It is repaired when it is back.
        let away = if failure == Failure::CutOff { OUTAGE - LEASE } else { Duration::ZERO };
        assert!(mixed.after_commit <= away + SLACK * 2, "{name}: {mixed:?} {deployed:#?}");
        let outcomes = outcomes(&deployed);
        assert_eq!(outcomes.len(), self.groups.len(), "{name}: {deployed:#?}");
        let has_moved = self.actives().await != before;
        // A deployment that could not clean up while the host was away is stuck, and its traffic is where it was.
        for outcome in outcomes.values() {
            assert_eq!(has_moved, outcome == "completed", "{name}: {outcomes:?} {deployed:#?}");
        }
        if outcomes.values().any(|outcome| outcome == "stuck") {
            let said: Vec<&str> = deployed.events.iter().map(|event| event.message.as_str()).collect();
            println!("{}", said.join("\n"));
        }
        let outcomes: BTreeSet<String> = outcomes.into_values().collect();
        Some((Vec::from_iter(outcomes).join(", "), mixed))
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
    async fn watch(&self, told: &Told) -> Mixed {
        let mut mixed = Mixed::default();
        let mut since = None::<Instant>;
        let mut since_by_host = BTreeMap::<usize, Instant>::new();
        while !told.over.load(Ordering::SeqCst) {
            let mut actives = BTreeSet::new();
            for (number, host) in self.hosts.all().iter().enumerate() {
                // A host that is down or paused serves nobody.
                let is_silent =
                    told.unheard.load(Ordering::SeqCst) && host.address() == self.third().address();
                let its = if is_silent { None } else { self.actives_of(host).await };
                let its = its.unwrap_or_default();
                let longest = mixed.by_host.entry(number + 1).or_default();
                if its.len() > 1 {
                    let took = since_by_host.entry(number).or_insert_with(Instant::now).elapsed();
                    *longest = took.max(*longest);
                } else {
                    since_by_host.remove(&number);
                }
                actives.extend(its);
            }
            if actives.len() < 2 {
                since = None;
            } else {
                let took = since.get_or_insert_with(Instant::now).elapsed();
                let longest = match told.committed.load(Ordering::SeqCst) {
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

/// The outcome of each deployment.
pub(super) fn outcomes(deployed: &Deployed) -> BTreeMap<String, String> {
    let ended = deployed.events.iter().filter_map(|event| Some((event, event.outcome.clone()?)));
    ended.map(|(event, outcome)| (event.deployment.clone(), outcome)).collect()
}
