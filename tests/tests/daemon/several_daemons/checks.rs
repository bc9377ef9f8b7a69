//! What must hold after a deployment during which something has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cutover_tests::admin_proxy::AdminProxy;
use cutover_tests::wait;
use jiff::Timestamp;

use super::bench::{Bench, Version};

/// How long a daemon may take to know the end of a deployment.
const LIMIT: Duration = Duration::from_secs(60);

impl Bench<'_> {
    /// How long after `begun` a daemon has begun to drive all deployments that were open.
    pub(crate) fn driven_after(
        &self,
        daemon: usize,
        begun: Timestamp,
        ids: &BTreeSet<String>,
    ) -> Result<Duration> {
        let resumed = ids.iter().flat_map(|id| {
            self.pair.daemons[daemon].logged(begun, &["resuming the deployment", &quoted(id)])
        });
        let last = resumed.max().context("the deployment was not resumed")?;
        Ok(Duration::try_from(last.duration_since(begun)).unwrap_or_default())
    }

    /// The longest time in which a deployment had no driver, because the daemon that led had lost its lease.
    pub(crate) fn longest_without(&self, from: Timestamp, ids: &BTreeSet<String>) -> Option<Duration> {
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
    pub(crate) async fn agreed(&self, ids: &BTreeSet<String>) -> Result<String> {
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

    /// All edges send all traffic of all groups to this slot, and no command has stopped it.
    pub(crate) async fn is_on(&self, active: &str) -> Result<()> {
        for group in self.backends.keys() {
            let now = self.settled(group).await?;
            ensure!(now == active, "group \"{group}\" is on {now}, not on {active}");
            let log = fs::read_to_string(self.log(group)).unwrap_or_default();
            ensure!(!log.contains(&format!("decommission {active}")), "the active slot was stopped: {log}");
        }
        Ok(())
    }

    /// No change of the first daemon has had an effect after the first one of the other daemon. Returns how many were refused.
    pub(crate) async fn nothing_late_counts(
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
            let fences = answered(new);
            for (at, status, line) in answered(old) {
                // Each group has a route, and a fence, of its own.
                let mut of_group = fences.iter().filter(|(_, status, its)| *status < 300 && *its == line);
                let is_late = of_group.next().is_some_and(|(fenced, ..)| at > *fenced);
                ensure!(!is_late || status >= 400, "edge {edge}: {line} counts, and is late");
                refused += usize::from(status >= 400);
            }
        }
        Ok(refused)
    }

    /// A daemon that does not lead any more moves no traffic, also if an operator asks for it. It soon says who leads.
    pub(crate) async fn refuses_to_switch(&self, daemon: usize, to: &str) -> Result<()> {
        let daemon = &self.pair.daemons[daemon].daemon;
        let names_leader = || match daemon.cli(&["switch", "shop", "--to", to]) {
            Ok(output) if output.status.success() => {
                Some(Err(anyhow::anyhow!("it has switched: {output:?}")))
            }
            output => {
                let said = String::from_utf8_lossy(&output.ok()?.stderr).into_owned();
                let is_known = said.contains("this daemon does not lead") && said.contains("in epoch");
                is_known.then_some(Ok(()))
            }
        };
        wait::until_some(wait::PATIENCE, "the daemon to name the one that leads", names_leader).await?
    }

    pub(crate) fn bad(&self) -> BTreeMap<(&'static str, String), u64> {
        let mut bad = BTreeMap::new();
        for (group, users) in &self.users {
            for (slot, count) in users.bad_by_slot() {
                *bad.entry((*group, slot)).or_default() += count;
            }
        }
        bad
    }

    /// The requests without a good answer. Only a bad version may give bad answers, and only its slot.
    pub(crate) fn errors_since(
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
