//! One deployment during which something fails as soon as a certain record is in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cutover_tests::admin_proxy::AdminProxy;
use cutover_tests::journal_watch::Written;
use cutover_tests::two_daemons::WITHOUT_DRIVER;
use cutover_tests::{JournalWatch, wait};
use jiff::Timestamp;

use super::bench::{Bench, LEASE, Version};
use super::fault::{Fault, LeaderFault, no_majority};
use super::mixed::{Mixed, MixedWatch};

/// How long a deployment may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How often an edge that is not as the others are is repaired.
const REPAIR: Duration = Duration::from_secs(1);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(2);

/// What a daemon says that does not lead, or has not resumed the deployments yet.
const NOT_LEADING: &str = "lead";
/// Tries to begin a deployment.
const TRIES: u32 = 3;

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

impl When {
    fn is(self, number: usize, written: &Written) -> bool {
        match self {
            Self::Record(wanted) => number == wanted,
            Self::Label(wanted) => written.label() == wanted,
        }
    }
}

impl Bench<'_> {
    /// Deploys to all groups. The version is that of the first group; the others are good. Lets the fault happen at its time.
    /// Returns `None` if the deployment was over before.
    pub(crate) async fn row(&mut self, fault: Fault, version: Version, when: When) -> Result<Option<Row>> {
        let row = self.try_row(fault, version, when).await;
        row.with_context(|| format!("{fault:?} after {when:?}, version {version:?}"))
    }

    async fn try_row(&mut self, fault: Fault, version: Version, when: When) -> Result<Option<Row>> {
        let (from, to) = self.prepare(version).await?;
        let leading = self.pair.cluster.until_led().await?;
        let watch = JournalWatch::start(&self.pair.cluster, (leading + 2) % 3).await?;
        let mut course = Course { watch, known: self.known.clone(), groups: self.backends.len() };
        let bad_before = self.bad();
        let mixed = MixedWatch::start(self.hosts.all().iter().map(|host| host.nginx.admin()).collect());
        let mut tries = 0;
        let (first, reached) = loop {
            tries += 1;
            let first = self.until_led(&course.watch).await?;
            let refused = tokio::select! {
                reached = course.until_record(when) => break (first, reached?),
                refused = self.deploy(first) => refused?,
            };
            // On a busy machine the lead changes by itself at times.
            ensure!(refused.contains(NOT_LEADING) && tries < TRIES, "the deployment was refused: {refused}");
        };
        let Some((record, label)) = reached else {
            let records = course.records();
            println!("{}: {:?}", labels(&records), records.last().map(|last| &last.state.phase));
            self.known.extend(course.ids());
            return Ok(None);
        };
        let begun = Timestamp::now();
        let mut measured_from = begun;
        match fault {
            Fault::Nothing => {}
            Fault::Leader(fault) => {
                fault.begins(&mut self.pair, first).await?;
                self.until_taken_over(fault, first, begun, &course).await?;
                fault.ends(&mut self.pair, first).await?;
            }
            Fault::Member(fault, member) => fault.begins(&mut self.pair, member.number(leading))?,
            Fault::NoMajority => {
                no_majority(&self.pair, leading).await?;
                // The members need some time to agree, which is none of the daemon's.
                self.pair.cluster.until_led().await?;
                measured_from = Timestamp::now();
            }
        }
        let records = course.until_over().await?;
        if let Fault::Member(fault, member) = fault {
            fault.ends(&mut self.pair, member.number(leading)).await?;
        }
        let ids = course.ids();
        self.known.extend(ids.iter().cloned());
        let outcome = self.agreed(&ids).await?;
        ensure!(outcome == version.outcome(), "the outcome is {outcome}: {}", labels(&records));
        self.is_on(if outcome == "completed" { to } else { &from }).await?;
        // The one that failed has written all of them: nobody has anything to resume.
        let is_last = records.iter().all(|written| written.term == 0);
        let without = match fault {
            Fault::Leader(_) if is_last => None,
            Fault::Leader(_) => Some(self.driven_after(1 - first, begun, &ids)?),
            _ => self.longest_without(measured_from, &ids),
        };
        ensure!(without.is_none_or(|without| without <= WITHOUT_DRIVER), "without a driver for {without:?}");
        let late = match fault {
            // A leader that leads again may change the route again.
            Fault::Leader(_) if course.watch.terms() == 1 => {
                self.refuses_to_switch(first, &from).await?;
                self.nothing_late_counts(first, begun, &ids).await?
            }
            _ => 0,
        };
        let mixed = mixed.longest(&records);
        ensure!(mixed.before_commit <= LEASE + SLACK && mixed.after_commit <= REPAIR + SLACK, "{mixed:?}");
        let errors = self.errors_since(&bad_before, version, to)?;
        Ok(Some(Row { fault, version, record, label, outcome, without, mixed, errors, late, records }))
    }

    /// Makes the next slot answer as a version does. Returns the slot that has the traffic, and that one.
    async fn prepare(&mut self, version: Version) -> Result<(String, &'static str)> {
        let groups: Vec<&'static str> = self.backends.keys().copied().collect();
        let from = self.settled(groups[0]).await?;
        let to = if from == "blue" { "green" } else { "blue" };
        for (number, group) in groups.iter().enumerate() {
            ensure!(self.settled(group).await? == from, "the groups are on different slots");
            self.behave(if number == 0 { version } else { Version::Good }, group, to);
            let _ = fs::remove_file(self.log(group));
        }
        self.version += 1;
        Ok((from, to))
    }

    /// Waits until a daemon leads, and has resumed the deployments.
    async fn until_led(&self, watch: &JournalWatch) -> Result<usize> {
        let leads = || {
            let leader = self.pair.leader_of(watch)?;
            self.pair.daemons[leader].leads().then_some(leader)
        };
        wait::until_some(wait::PATIENCE, "a daemon to lead", leads).await
    }

    /// Starts the deployment. Returns only if it is refused, and says why.
    async fn deploy(&self, leader: usize) -> Result<String> {
        let groups: Vec<&str> = self.backends.keys().copied().collect();
        let number = self.version.to_string();
        let words = [&["deploy"], groups.as_slice(), &["--version", &number, "--detach"]].concat();
        let mut command = tokio::process::Command::from(self.pair.daemons[leader].daemon.command(&words));
        let output = command.kill_on_drop(true).output().await?;
        if output.status.success() {
            return std::future::pending().await;
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Waits until the other daemon drives the deployments, and with late changes until it has fenced their routes.
    async fn until_taken_over(
        &self,
        fault: LeaderFault,
        first: usize,
        begun: Timestamp,
        course: &Course,
    ) -> Result<()> {
        let other = 1 - first;
        let log = || self.pair.daemons[other].daemon.log();
        let leads = || self.pair.leader_of(&course.watch) == Some(other);
        wait::until("the other daemon to lead", leads).await.with_context(log)?;
        let (ids, written) = (course.ids(), course.records().len());
        let drives = || course.is_over() || self.driven_after(other, begun, &ids).is_ok();
        wait::until("the other daemon to drive the deployment", drives).await.with_context(log)?;
        let is_held = self.pair.daemons[first].proxies.iter().any(AdminProxy::has_late);
        if fault.is_late() && is_held && !course.is_over() {
            // The fence is in the next record, or is the work before it.
            let is_fenced = || course.records().len() > written;
            wait::until("the next record", is_fenced).await.with_context(log)?;
        }
        Ok(())
    }
}

/// The records of the deployments of a row.
struct Course {
    watch: JournalWatch,
    /// Deployments of other rows.
    known: BTreeSet<String>,
    groups: usize,
}

impl Course {
    fn records(&self) -> Vec<Written> {
        ours(&self.watch.records(), &self.known)
    }

    fn ids(&self) -> BTreeSet<String> {
        self.records().into_iter().map(|written| written.deployment).collect()
    }

    fn is_over(&self) -> bool {
        are_over(&self.records(), self.groups)
    }

    /// Returns the number and the label of the record as soon as it is written; `None` if all deployments end before.
    async fn until_record(&mut self, when: When) -> Result<Option<(usize, String)>> {
        let (known, groups) = (&self.known, self.groups);
        let find = |records: &[Written]| {
            let records = ours(records, known);
            let found = records.iter().enumerate().find(|(at, written)| when.is(at + 1, written));
            let found = found.map(|(at, written)| (at + 1, written.label()));
            (found.is_some() || are_over(&records, groups)).then_some(found)
        };
        self.watch.until(LIMIT, "the record", find).await
    }

    /// Waits for the end of all deployments. Returns all records.
    async fn until_over(&mut self) -> Result<Vec<Written>> {
        let (known, groups) = (&self.known, self.groups);
        let find = |records: &[Written]| {
            let records = ours(records, known);
            are_over(&records, groups).then_some(records)
        };
        self.watch.until(LIMIT, "the end of the deployment", find).await
    }
}

fn ours(records: &[Written], known: &BTreeSet<String>) -> Vec<Written> {
    records.iter().filter(|written| !known.contains(&written.deployment)).cloned().collect()
}

/// Whether the deployments of so many groups have ended.
fn are_over(records: &[Written], groups: usize) -> bool {
    let last: BTreeMap<&str, &Written> =
        records.iter().map(|written| (written.deployment.as_str(), written)).collect();
    last.len() == groups && last.values().all(|written| written.state.phase.is_final())
}

fn labels(records: &[Written]) -> String {
    records.iter().map(Written::label).collect::<Vec<_>>().join(" > ")
}
