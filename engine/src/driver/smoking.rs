//! The phase smoking: runs the smoke tests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use cutover_core::api::Slot;
use cutover_core::deployment::Event;
use cutover_core::placeholder::{Values, fill};
use cutover_core::probe::{NO_PRIMARY, Require};
use cutover_core::smoke::{Capture, OF_CHECK};
use tokio::time::Instant;

use super::jobs::job_for_new;
use super::work::Work;

use crate::asking::{Agent, Asked, Asking};
use crate::commands::{Job, SmokeResult};
use crate::journal::Journal;
use crate::policy::{Argv, Check, Command, Hurl, Smoke, SmokeKind};
use crate::versions::Versions;
use crate::world::World;

/// Values that smoke tests have captured, by server and word.
type Captured = BTreeMap<String, BTreeMap<String, String>>;

impl<W: World, J: Journal> Work<W, J> {
    /// Runs the smoke tests in order on the servers of the new slot. Stops at the first failure.
    pub(super) async fn smoke(&self) -> Event {
        let group = match self.look_patiently().await {
            Ok(look) => look.group,
            Err(error) => return Event::SmokeFailed(error.to_string()),
        };
        self.stand_by(&group).await;
        let servers = match group.slot(&self.deployment.plan.to) {
            Some(slot) => self.servers_to_smoke(slot).await,
            None => Vec::new(),
        };
        let mut captured = Captured::new();
        for (number, test) in (1..).zip(&self.deployment.policy.smoke) {
            match self.smoke_one(number, test, &servers, &mut captured).await {
                Ok(how) => self.note("smoking", &format!("smoke \"{}\" passed{how}", test.name)).await,
                Err(why) => return Event::SmokeFailed(format!("smoke \"{}\" failed: {why}", test.name)),
            }
        }
        Event::SmokePassed
    }

    /// The healthy primaries if they are enough for `probe.require`, otherwise all primaries.
    async fn servers_to_smoke(&self, slot: &Slot) -> Vec<String> {
        let all = || slot.primaries().map(|peer| peer.address.clone()).collect();
        let require = self.deployment.policy.probe.require;
        if require == Require::All {
            return all();
        }
        let round = self.prober().round(slot).await;
        let servers = round.results.len();
        let healthy: Vec<String> = round.passing().map(str::to_owned).collect();
        if require.is_met(healthy.len(), servers) { healthy } else { all() }
    }

    /// Returns the figures that follow "passed".
    async fn smoke_one(
        &self,
        number: usize,
        test: &Smoke,
        servers: &[String],
        captured: &mut Captured,
    ) -> Result<String, String> {
        let name = format!("smoke-{number}");
        if !matches!(test.kind(), SmokeKind::Command(_)) && servers.is_empty() {
            return Err(format!("slot \"{}\": {NO_PRIMARY}", self.deployment.plan.to));
        }
        match test.kind() {
            SmokeKind::Command(command) => {
                let mut job = job_for_new(&self.deployment, &name, command);
                job.environment.insert("CUTOVER_PEERS".to_owned(), servers.join(" "));
                self.smoke_command(test, "", job).await.map(|()| String::new())
            }
            SmokeKind::Hurl(hurl) => {
                for address in servers {
                    let job = self.hurl(&name, hurl, address, captured.get(address))?;
                    let done = self.smoke_command(test, address, job).await;
                    done.map_err(|why| format!("{address}: {why}{}", hint_of_hurl(&why)))?;
                }
                Ok(String::new())
            }
            SmokeKind::Check { check, timeout } => {
                let mut longest = Duration::ZERO;
                for address in servers {
                    let its = captured.entry(address.clone()).or_default();
                    let took = self.smoke_peer(test, (check, timeout.get()), address, its).await;
                    longest = longest.max(took.map_err(|why| format!("{address}: {why}"))?);
                }
                Ok(format!(" in {}", shown(longest)))
            }
        }
    }

    /// Runs a command and keeps its result. Its output is in a file.
    async fn smoke_command(&self, test: &Smoke, peer: &str, job: Job) -> Result<(), String> {
        let begin = Instant::now();
        let sent = job.command.command.typed();
        let (name, deployment) = (job.name.clone(), &self.deployment.id);
        let done = self.run_job("smoking", Some(job)).await;
        let result = SmokeResult {
            name: test.name.clone(),
            peer: peer.to_owned(),
            sent,
            came: done.as_ref().map_or_else(|failed| failed.reason.clone(), |()| "exit code 0".to_owned()),
            milliseconds: milliseconds(begin.elapsed()),
            failed: done.as_ref().err().map(|failed| failed.reason.clone()),
            answer: done
                .as_ref()
                .map_or_else(|failed| failed.tail.clone(), |()| format!("output in {name}.log")),
        };
        self.world.keep(deployment, &result).await;
        done.map_err(|failed| failed.reason)
    }

    fn hurl(
        &self,
        name: &str,
        hurl: &Hurl,
        peer: &str,
        captured: Option<&BTreeMap<String, String>>,
    ) -> Result<Job, String> {
        let deployment = &self.deployment;
        let versions = Versions::of(deployment);
        let values = Values { peer, captured, ..versions.values(&deployment.plan.to) };
        let file = fill(&hurl.file, &values);
        let (socket, host) = match peer.strip_prefix("unix:") {
            Some(path) => (Some(path.trim_end_matches(':')), "http://localhost".to_owned()),
            None => (None, format!("http://{peer}")),
        };
        let own = [
            ("host", host.as_str()),
            ("version", deployment.version.as_str()),
            ("slot", &deployment.plan.to),
        ];
        let mut words: Vec<String> =
            ["/usr/bin/env", "hurl", "--test", "--no-color"].map(str::to_owned).into();
        for (word, value) in own {
            words.extend(["--variable".to_owned(), format!("{word}={value}")]);
        }
        words.extend(socket.into_iter().flat_map(|path| ["--unix-socket".to_owned(), path.to_owned()]));
        words.push(file);
        let command = Command {
            command: Argv::parse(words)?,
            timeout: hurl.timeout,
            cwd: None,
            nothing_applied: None,
            wait_for_sessions: None,
        };
        let mut job = job_for_new(deployment, name, &command);
        // A value may be a secret, and arguments are in the list of processes and in the file of the output.
        let captured = captured.into_iter().flatten();
        job.environment.extend(captured.map(|(word, value)| (format!("HURL_{word}"), value.clone())));
        Ok(job)
    }

    /// Checks one server, keeps the result, and captures what the test captures. Returns how long it took.
    async fn smoke_peer(
        &self,
        test: &Smoke,
        (check, limit): (&Check, Duration),
        address: &str,
        captured: &mut BTreeMap<String, String>,
    ) -> Result<Duration, String> {
        let versions = Versions::of(&self.deployment);
        let asked =
            self.asking(&versions, Agent::Smoke, &OF_CHECK).ask(check, address, Some(captured), limit).await;
        let verdict = asked.verdict.clone().and_then(|()| taken(&asked, &test.capture, captured));
        let mut result = SmokeResult::of(&test.name, address, &asked, &verdict);
        if verdict.is_ok() && !test.capture.is_empty() {
            // It has what is captured, such as a token.
            result.answer.clear();
        }
        self.world.keep(&self.deployment.id, &result).await;
        if verdict.is_err() && !result.answer.is_empty() {
            let SmokeResult { sent, came, milliseconds, answer, .. } = &result;
            let what = format!("answer of {address} to {sent}: {came}, {milliseconds} ms:\n{answer}");
            self.note("smoking", &what).await;
        }
        verdict.map(|()| asked.took)
    }

    /// Asks servers of the new slot.
    pub(super) fn asking<'a>(
        &'a self,
        versions: &'a Versions,
        agent: Agent,
        pass: &'a Range<u16>,
    ) -> Asking<'a, W> {
        let plan = &self.deployment.plan;
        Asking {
            world: &*self.world,
            group: &plan.group,
            policy: &self.deployment.policy,
            values: versions.values(&plan.to),
            agent,
            pass,
        }
    }
}

/// Takes what is captured out of an answer.
fn taken(
    asked: &Asked,
    capture: &BTreeMap<String, Capture>,
    into: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let Some(answer) = asked.answer() else { return Ok(()) };
    for (word, from) in capture {
        let value =
            from.take(answer).map_err(|why| format!("{}: cannot capture \"{word}\": {why}", asked.sent))?;
        into.insert(word.clone(), value);
    }
    Ok(())
}

/// What follows the failure of `env hurl`, if there is no such program.
fn hint_of_hurl(why: &str) -> &'static str {
    match why.contains("exit status: 127") {
        true => {
            "; install the program hurl into a folder of PATH, such as /usr/local/bin, or leave the test out"
        }
        false => "",
    }
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

fn shown(took: Duration) -> String {
    format!("{} ms", milliseconds(took))
}
