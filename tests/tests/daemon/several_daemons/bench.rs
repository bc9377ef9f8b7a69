//! Deployments during which something fails as soon as a certain record is in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cutover_core::api::Group;
use cutover_tests::admin_proxy::AdminProxy;
use cutover_tests::daemon_hosts::Way;
use cutover_tests::journal_watch::Written;
use cutover_tests::test_host::Users;
use cutover_tests::two_daemons::WITHOUT_DRIVER;
use cutover_tests::{Action, Backend, DaemonHosts, Hosts, JournalWatch, Network, wait};
use jiff::Timestamp;

use super::fault::{Fault, LeaderFault, no_majority};
use super::mixed::{Mixed, MixedWatch};

/// How long a deployment may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The tables of a group. All phases leave a record, and the lease outlasts a takeover.
pub(crate) const GROUP: &str = r#"
    [group.shop]
    warm = "500ms"
    [group.shop.fleet]
    patience = "1500ms"
    [group.shop.migrate]
    command = ["/bin/sh", "-c", "echo migrate $CUTOVER_SLOT >>%%log%%"]
    [group.shop.revert]
    command = ["/bin/sh", "-c", "echo revert $CUTOVER_SLOT >>%%log%%"]
    [group.shop.provision]
    command = ["/bin/sh", "-c", "echo provision $CUTOVER_SLOT >>%%log%%"]
    [group.shop.decommission]
    command = ["/bin/sh", "-c", "echo decommission $CUTOVER_SLOT >>%%log%%"]
    [group.shop.probe]
    path = "/up"
    interval = "100ms"
    deadline = "10s"
    [[group.shop.smoke]]
    name = "answers"
    path = "/smoke"
    [group.shop.soak]
    duration = "1s"
    interval = "100ms"
    min_requests = 5
    # A machine that runs tests is slow at times.
    [group.shop.soak.signals]
    p50 = { max = "5s" }
    p95 = { max = "5s" }
    p99 = { max = "5s" }
    whole_p95 = { max = "5s" }
    [group.shop.trial]
    lease = "%%lease%%"
    [group.shop.drain]
    deadline = "1s"
"#;

/// The lease of the trial.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// How often an edge that is not as the others are is repaired.
const REPAIR: Duration = Duration::from_secs(1);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(2);

/// Pause of users between two requests, and how many times as long it is for those of the pages that a bad version breaks.
const PAUSE: Duration = Duration::from_millis(10);
const FEW: u32 = 12;
/// These pages.
const SOME: &str = "some";

/// What is wrong with the version that is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Good,
    /// One in some ten of its answers to users is bad: too few for the guard of the trial, and too many for the soak.
    Bad,
    /// Its smoke test fails.
    FailsBefore,
}

/// When the fault happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// After the record with this number. The first one is 1.
    Record(usize),
    /// After the first record with this label.
    Label(&'static str),
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    pub(crate) version: Version,
    pub(crate) record: usize,
    pub(crate) label: String,
    pub(crate) outcome: String,
    /// How long the deployment had no driver.
    pub(crate) without: Option<Duration>,
    /// How long users could see both versions.
    pub(crate) mixed: Mixed,
    /// Requests of users without a good answer.
    pub(crate) errors: u64,
    /// Changes of the daemon with the fault that nginx has refused.
    pub(crate) late: usize,
    /// The records of the whole deployment.
    pub(crate) records: Vec<Written>,
}

/// Edges, etcd, two daemons, and users.
pub(crate) struct Bench<'a> {
    hosts: &'a Hosts,
    pub(crate) pair: DaemonHosts,
    /// The slots of each group.
    backends: BTreeMap<&'static str, [&'a Backend; 2]>,
    /// Users of each group on each edge.
    users: Vec<(&'static str, Users)>,
    known: BTreeSet<String>,
    version: u32,
}

impl Version {
    pub(crate) const ALL: [Self; 3] = [Self::Good, Self::Bad, Self::FailsBefore];

    pub(crate) fn outcome(self) -> &'static str {
        match self {
            Self::Good => "completed",
            Self::Bad => "rolled_back",
            Self::FailsBefore => "failed",
        }
    }
}

impl When {
    fn is(self, number: usize, written: &Written) -> bool {
        match self {
            Self::Record(wanted) => number == wanted,
            Self::Label(wanted) => written.label() == wanted,
        }
    }
}

impl<'a> Bench<'a> {
    /// Starts it for these groups and the servers of their slots. `is_tls`: the daemons reach the edges over the network, and not
    /// by their unix sockets.
    pub(crate) async fn start(
        network: &Network,
        hosts: &'a Hosts,
        is_tls: bool,
        backends: BTreeMap<&'static str, [&'a Backend; 2]>,
    ) -> Result<Self> {
        let names = ["nginx", "two", "three"];
        let way = |host: &cutover_tests::hosts::Host| match is_tls {
            true => Way::Keys(hosts.keys(host)),
            false => Way::Socket(host.nginx.admin_socket()),
        };
        let edges: Vec<(&str, Way)> = names.into_iter().zip(hosts.all().iter().map(way)).collect();
        let folder = hosts.folder();
        let groups = backends.keys().map(|group| {
            let table = GROUP.replace("group.shop", &format!("group.{group}"));
            let log = folder.join(format!("{group}.log"));
            table
                .replace("%%log%%", &log.display().to_string())
                .replace("%%lease%%", &format!("{}s", LEASE.as_secs()))
        });
        let groups: String = groups.collect();
        let pair = DaemonHosts::start(network, &hosts.authority, &folder, &edges, &groups).await?;
        let mut bench = Self { hosts, pair, backends, users: Vec::new(), known: BTreeSet::new(), version: 1 };
        for group in bench.backends.keys() {
            // With several groups, each has a location of its own.
            let path = if bench.backends.len() == 1 { "/".to_owned() } else { format!("/{group}/") };
            for host in hosts.all() {
                for (path, pause) in [(path.clone(), PAUSE), (format!("{path}{SOME}"), PAUSE * FEW)] {
                    let users = Users::start_at(host.main(), &path, pause)?;
                    users.more_good(2).await?;
                    bench.users.push((group, users));
                }
            }
        }
        Ok(bench)
    }

    /// The group on each edge.
    pub(crate) async fn groups(&self, group: &str) -> Result<Vec<Group>> {
        let mut all = Vec::new();
        for host in self.hosts.all() {
            all.push(host.nginx.admin().group(group).await?);
        }
        Ok(all)
    }

    /// The slot that has the traffic on all edges, and no trial or split goes on.
    async fn settled(&self, group: &str) -> Result<String> {
        let all = self.groups(group).await?;
        let first = all.first().context("no edge")?.route.active.clone();
        for seen in &all {
            let route = &seen.route;
            let is_settled = route.active == first && route.trial.is_none() && route.split.is_none();
            ensure!(
                is_settled,
                "group \"{group}\": {:?}",
                all.iter().map(|seen| &seen.route).collect::<Vec<_>>()
            );
        }
        Ok(first)
    }

    fn behave(&self, version: Version, group: &str, slot: &str) {
        let [blue, green] = self.backends[group];
        let backend = if slot == "blue" { blue } else { green };
        let status = |is_bad| Action::status(if is_bad { 500 } else { 200 });
        for path in [format!("/{SOME}"), format!("/{group}/{SOME}")] {
            backend.on(&path, status(version == Version::Bad));
        }
        backend.on("/up", status(false));
        backend.on("/smoke", status(version == Version::FailsBefore));
    }

    fn log(&self, group: &str) -> PathBuf {
        self.hosts.folder().join(format!("{group}.log"))
    }

    /// Deploys to all groups. The version is that of the first group; the others are good. Lets the fault happen at its time.
    /// Returns `None` if the deployment was over before.
    pub(crate) async fn row(&mut self, fault: Fault, version: Version, when: When) -> Result<Option<Row>> {
        let row = self.try_row(fault, version, when).await;
        row.with_context(|| format!("{fault:?} after {when:?}, version {version:?}"))
    }

    async fn try_row(&mut self, fault: Fault, version: Version, when: When) -> Result<Option<Row>> {
        let groups: Vec<&'static str> = self.backends.keys().copied().collect();
        let from = self.settled(groups[0]).await?;
        let to = if from == "blue" { "green" } else { "blue" };
        for (number, group) in groups.iter().enumerate() {
            ensure!(self.settled(group).await? == from, "the groups are on different slots");
            self.behave(if number == 0 { version } else { Version::Good }, group, to);
            let _ = fs::remove_file(self.log(group));
        }
        let leading = self.pair.cluster.leading_member().await?;
        let mut watch = JournalWatch::start(&self.pair.cluster, (leading + 2) % 3).await?;
        let first = wait::until_some(wait::PATIENCE, "a daemon to lead", || {
            let leader = self.pair.leader_of(&watch)?;
            self.pair.daemons[leader].leads().then_some(leader)
        });
        let first = first.await?;
        let bad_before = self.bad();
        let mixed = MixedWatch::start(self.hosts.all().iter().map(|host| host.nginx.admin()).collect());
        self.version += 1;
        let number = self.version.to_string();
        let words = [&["deploy"], groups.as_slice(), &["--version", &number, "--detach"]].concat();
        let mut command = tokio::process::Command::from(self.pair.daemons[first].daemon.command(&words));
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let refused = async {
            match command.wait_with_output().await {
                Ok(output) if output.status.success() => std::future::pending().await,
                output => output,
            }
        };
        let known = self.known.clone();
        let ours = move |records: &[Written]| -> Vec<Written> {
            records.iter().filter(|written| !known.contains(&written.deployment)).cloned().collect()
        };
        let count = groups.len();
        let reached = watch.until(LIMIT, "the record", |records| {
            let records = ours(records);
            let found = records.iter().enumerate().find(|(at, written)| when.is(at + 1, written));
            let found = found.map(|(at, written)| (at + 1, written.label()));
            (found.is_some() || are_final(&records, count)).then_some(found)
        });
        let reached = tokio::select! {
            reached = reached => reached?,
            output = refused => bail!("the deployment was refused: {output:?}"),
        };
        // Others may have been written meanwhile.
        let seen = ours(&watch.records());
        let mut is_last = are_final(&seen, count);
        let Some((record, label)) = reached else {
            self.known.extend(seen.into_iter().map(|written| written.deployment));
            return Ok(None);
        };
        let begun = Timestamp::now();
        let mut measured_from = begun;
        match fault {
            Fault::Nothing => {}
            Fault::Leader(fault) => {
                fault.begins(&mut self.pair, first).await?;
                is_last = are_final(&ours(&watch.records()), count);
                self.until_taken_over(fault, first, begun, &watch, &ours, count).await?;
                fault.ends(&mut self.pair, first).await?;
            }
            Fault::Member(fault, member) => fault.begins(&mut self.pair, member.number(leading))?,
            Fault::NoMajority => {
                no_majority(&self.pair, leading).await?;
                measured_from = Timestamp::now();
            }
        }
        let ended = watch.until(LIMIT, "the end of the deployment", |records| {
            let records = ours(records);
            are_final(&records, count).then_some(records)
        });
        let records = ended.await?;
        if let Fault::Member(fault, member) = fault {
            fault.ends(&mut self.pair, member.number(leading)).await?;
        }
        let ids: BTreeSet<String> = records.iter().map(|written| written.deployment.clone()).collect();
        let outcome = self.agreed(&ids).await?;
        self.known.extend(ids.iter().cloned());
        let without = match fault {
            Fault::Leader(_) if is_last => None,
            Fault::Leader(_) => Some(self.driven_after(1 - first, begun, &ids)?),
            _ => self.longest_without(measured_from, &ids),
        };
        ensure!(outcome == version.outcome(), "the outcome is {outcome}: {}", labels(&records));
        let active = if outcome == "completed" { to } else { &from };
        for group in &groups {
            ensure!(
                self.settled(group).await? == active,
                "group \"{group}\" is on another slot than {active}"
            );
            let log = fs::read_to_string(self.log(group)).unwrap_or_default();
            ensure!(!log.contains(&format!("decommission {active}")), "the active slot was stopped: {log}");
        }
        ensure!(without.is_none_or(|without| without <= WITHOUT_DRIVER), "without a driver for {without:?}");
        let late = match fault {
            // A leader that leads again may change the route again.
            Fault::Leader(_) if watch.terms() == 1 => self.nothing_late_counts(first, begun, &ids).await?,
            _ => 0,
        };
        let mixed = mixed.longest(&records);
        ensure!(mixed.before_commit <= LEASE + SLACK && mixed.after_commit <= REPAIR + SLACK, "{mixed:?}");
        let errors = self.errors_since(&bad_before, version, to)?;
        for group in &groups {
            self.behave(Version::Good, group, to);
        }
        Ok(Some(Row { fault, version, record, label, outcome, without, mixed, errors, late, records }))
    }

    /// Waits until the other daemon drives the deployments, and with late changes until it has fenced their routes.
    async fn until_taken_over(
        &self,
        fault: LeaderFault,
        first: usize,
        begun: Timestamp,
        watch: &JournalWatch,
        ours: &impl Fn(&[Written]) -> Vec<Written>,
        count: usize,
    ) -> Result<()> {
        let other = &self.pair.daemons[1 - first];
        let leads = || self.pair.leader_of(watch) == Some(1 - first);
        let waited = wait::until("the other daemon to lead", leads).await;
        waited.with_context(|| other.daemon.log())?;
        let written = ours(&watch.records());
        if are_final(&written, count) {
            return Ok(());
        }
        let ids: BTreeSet<String> = written.iter().map(|written| written.deployment.clone()).collect();
        let drives =
            || self.driven_after(1 - first, begun, &ids).is_ok() || are_final(&ours(&watch.records()), count);
        wait::until("the other daemon to drive the deployment", drives)
            .await
            .with_context(|| other.daemon.log())?;
        let is_held = self.pair.daemons[first].proxies.iter().any(AdminProxy::has_late);
        if fault == LeaderFault::ChangesAreLate && is_held {
            // The fence is in the next record, or is the work before it.
            let is_fenced = || ours(&watch.records()).len() > written.len();
            wait::until("the next record", is_fenced).await.with_context(|| other.daemon.log())?;
        }
        Ok(())
    }

    /// How long after `begun` a daemon has begun to drive all deployments that were open.
    fn driven_after(&self, daemon: usize, begun: Timestamp, ids: &BTreeSet<String>) -> Result<Duration> {
        let resumed = ids.iter().flat_map(|id| {
            self.pair.daemons[daemon].logged(begun, &["resuming the deployment", &quoted(id)])
        });
        let last = resumed.max().context("the deployment was not resumed")?;
        Ok(Duration::try_from(last.duration_since(begun)).unwrap_or_default())
    }

    /// The longest time in which a deployment had no driver, because the daemon that led had lost its lease.
    fn longest_without(&self, from: Timestamp, ids: &BTreeSet<String>) -> Option<Duration> {
        let logged = |texts: &[&str]| -> Vec<Timestamp> {
            self.pair.daemons.iter().flat_map(|host| host.logged(from, texts)).collect()
        };
        let resumed: Vec<Timestamp> =
            ids.iter().flat_map(|id| logged(&["resuming the deployment", &quoted(id)])).collect();
        let lost = logged(&["no longer leading"]);
        let gaps = lost.iter().filter_map(|lost| {
            let next = resumed.iter().filter(|at| *at > lost).min()?;
            Duration::try_from(next.duration_since(*lost)).ok()
        });
        // It was lost before `from`, in the outage.
        let first = resumed.iter().min().filter(|first| lost.iter().all(|lost| lost > first));
        let first = first.and_then(|first| Duration::try_from(first.duration_since(from)).ok());
        gaps.chain(first).max()
    }

    /// The outcome, when both daemons say the same.
    async fn agreed(&self, ids: &BTreeSet<String>) -> Result<String> {
        let mut said = Vec::new();
        for (number, host) in self.pair.daemons.iter().enumerate() {
            for id in ids {
                let what = format!("daemon {number} to know the end of {id}");
                let outcome = wait::until_some(LIMIT, &what, || host.daemon.outcome(id).ok().flatten());
                said.push(outcome.await.with_context(|| host.daemon.log())?);
            }
        }
        let first = said.first().context("no deployment")?.clone();
        ensure!(said.iter().all(|outcome| *outcome == first), "there are several outcomes: {said:?}");
        Ok(first)
    }

    /// No change of the first daemon has had an effect after the first one of the other daemon. Returns how many were refused.
    async fn nothing_late_counts(
        &self,
        first: usize,
        begun: Timestamp,
        ids: &BTreeSet<String>,
    ) -> Result<usize> {
        let hosts = [first, 1 - first].map(|number| self.pair.daemons[number].host.address().to_string());
        let mut refused = 0;
        for group in self.backends.keys() {
            for edge in self.groups(group).await? {
                let mut is_other = false;
                for event in
                    edge.events.iter().filter(|event| ids.iter().any(|id| event.reason.contains(id.as_str())))
                {
                    is_other |= event.who.ends_with(&hosts[1]);
                    let is_late = is_other && event.who.ends_with(&hosts[0]);
                    ensure!(!is_late, "a late change counts: {:?}", edge.events);
                }
            }
        }
        let of = |number: usize| self.pair.daemons[number].proxies.iter().enumerate();
        for ((edge, old), (_, new)) in of(first).zip(of(1 - first)) {
            let age = Duration::try_from(Timestamp::now().duration_since(begun)).unwrap_or_default();
            let begun = Instant::now().checked_sub(age).context("the clock is young")?;
            let answered = |proxy: &AdminProxy| -> Vec<(Instant, u16, String)> {
                let all = proxy.asked().into_iter();
                let all = all.filter_map(|asked| asked.answered.map(|(at, status)| (at, status, asked.line)));
                all.filter(|(at, ..)| *at > begun).collect()
            };
            let fenced = answered(new).into_iter().find(|(_, status, _)| *status < 300);
            for (at, status, line) in answered(old) {
                let is_late = fenced.as_ref().is_some_and(|(fenced, ..)| at > *fenced);
                ensure!(!is_late || status >= 400, "edge {edge}: {line} counts, and is late");
                refused += usize::from(status >= 400);
            }
        }
        Ok(refused)
    }

    fn bad(&self) -> BTreeMap<(&'static str, String), u64> {
        let mut bad = BTreeMap::new();
        for (group, users) in &self.users {
            for (slot, count) in users.bad_by_slot() {
                *bad.entry((*group, slot)).or_default() += count;
            }
        }
        bad
    }

    /// The requests without a good answer. Only a bad version may give bad answers, and only its slot.
    fn errors_since(
        &self,
        before: &BTreeMap<(&'static str, String), u64>,
        version: Version,
        to: &str,
    ) -> Result<u64> {
        let mut errors = 0;
        for (key, count) in self.bad() {
            let new = count - before.get(&key).copied().unwrap_or_default();
            let is_bad = version == Version::Bad && key.1 == to;
            ensure!(new == 0 || is_bad, "{new} requests of {key:?} have failed");
            errors += new;
        }
        Ok(errors)
    }
}

fn quoted(id: &str) -> String {
    format!("deployment=\"{id}\"")
}

/// Whether the deployments of so many groups have ended.
fn are_final(records: &[Written], groups: usize) -> bool {
    let last: BTreeMap<&str, &Written> =
        records.iter().map(|written| (written.deployment.as_str(), written)).collect();
    last.len() == groups && last.values().all(|written| written.state.phase.is_final())
}

pub(crate) fn labels(records: &[Written]) -> String {
    records.iter().map(Written::label).collect::<Vec<_>>().join(" > ")
}
