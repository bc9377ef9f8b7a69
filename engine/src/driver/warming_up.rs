//! The end of the phase smoking: requests of the daemon itself warm up the new version before it gets the traffic.
//!
//! They go straight to its servers, so nginx counts none of them, and they are no evidence for the verdict.

use std::collections::VecDeque;
use std::time::Duration;

use cutover_core::deployment::Event;
use cutover_core::smoke::OF_CHECK;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::work::Work;
use crate::asking::Agent;
use crate::journal::Journal;
use crate::policy::{Check, Warmup};
use crate::versions::Versions;
use crate::world::World;

/// Most answers of a window.
const WINDOW: usize = 100;
/// Pause after a request without an answer.
const PAUSE: Duration = Duration::from_millis(100);

/// What one server has answered.
#[derive(Debug, Default)]
struct Warming {
    /// Requests that were begun.
    begun: u32,
    /// Answers.
    answers: u32,
    /// Answers of 5xx.
    errors: u32,
    /// Requests without an answer, and why the last one had none.
    silent: u32,
    why: String,
    /// How long the last answers took that are no 5xx.
    window: VecDeque<Duration>,
    /// The 99th percentile of the first window.
    first: Option<Duration>,
}

impl<W: World, J: Journal> Work<W, J> {
    /// Sends the requests of the policy to the healthy servers of the new slot. Fails like a smoke test if most of them are
    /// answered with a 5xx, or not at all.
    pub(super) async fn warm_up(&self) -> Event {
        let Some(warmup) = &self.deployment.policy.warmup else { return Event::SmokePassed };
        let to = &self.deployment.plan.to;
        let group = match self.look_patiently().await {
            Ok(look) => look.group,
            Err(error) => return Event::SmokeFailed(format!("no warm-up: {error}")),
        };
        let healthy: Vec<String> = match group.slot(to) {
            Some(slot) => self.prober().round(slot).await.passing().map(str::to_owned).collect(),
            None => Vec::new(),
        };
        let servers: Vec<(String, Mutex<Warming>)> =
            healthy.into_iter().map(|address| (address, Mutex::default())).collect();
        let each = format!("{} to {}", requests(warmup.requests.get()), counted(servers.len(), "server"));
        self.note("smoking", &format!("warming up slot \"{to}\": {each}")).await;
        let checks = warmup.checks(&self.deployment.policy.probe);
        let begin = Instant::now();
        let until = begin + warmup.deadline.get();
        let warming = servers.iter().flat_map(|(address, server)| {
            let checks = &checks;
            (0..warmup.concurrency.get().min(warmup.requests.get()))
                .map(move |_| self.warm_one(warmup, (address, server), checks, until))
        });
        let is_done = tokio::time::timeout_at(until, join_all(warming)).await.is_ok();
        // The last requests have the same deadline.
        let is_late = !is_done || Instant::now() >= until;
        let all: Vec<Warming> = servers.into_iter().map(|(_, server)| server.into_inner()).collect();
        let seen = Seen::of(&all, warmup);
        let took = crate::policy::Duration::from(Duration::from_millis(millis(begin.elapsed())));
        if seen.bad * 2 > seen.finished {
            return Event::SmokeFailed(format!("warm-up failed: {}{}", seen.text, seen.why));
        }
        let how = match is_late {
            true => format!("the warm-up ended at its deadline of {}: ", warmup.deadline),
            false => "warmed up: ".to_owned(),
        };
        self.note("smoking", &format!("{how}{} in {took}", seen.text)).await;
        Event::SmokePassed
    }

    /// Sends requests to one server, one after the other.
    async fn warm_one(
        &self,
        warmup: &Warmup,
        (address, server): (&str, &Mutex<Warming>),
        checks: &[Check],
        until: Instant,
    ) {
        let versions = Versions::of(&self.deployment);
        let asking = self.asking(&versions, Agent::Warmup, &OF_CHECK);
        loop {
            let number = match server.lock().begin(warmup) {
                Some(number) => usize::try_from(number).unwrap_or_default(),
                None => return,
            };
            let Some(check) = checks.get(number % checks.len().max(1)) else { return };
            let asked =
                asking.ask(check, address, None, until.saturating_duration_since(Instant::now())).await;
            match (asked.answer(), asked.reply.is_err() && Instant::now() >= until) {
                (Some(answer), _) => server.lock().answered(answer.status, asked.took, warmup),
                // The deadline has cut it off.
                (None, true) => return,
                (None, false) => {
                    server.lock().silent(format!("{address}: {}", asked.came()));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Warming {
    /// The number of the next request. `None`: it is warm, or bad.
    fn begin(&mut self, warmup: &Warmup) -> Option<u32> {
        let limit = warmup.until_p99.filter(|_| !self.is_bad());
        let is_warm = limit.is_none_or(|limit| self.p99(warmup).is_some_and(|p99| p99 < limit.get()));
        if self.begun >= warmup.requests.get() && is_warm {
            return None;
        }
        let number = self.begun;
        self.begun = self.begun.saturating_add(1);
        Some(number)
    }

    fn answered(&mut self, status: u16, took: Duration, warmup: &Warmup) {
        self.answers = self.answers.saturating_add(1);
        if status >= 500 {
            self.errors = self.errors.saturating_add(1);
            self.why = format!("the last status was {status}");
            return;
        }
        self.window.push_back(took);
        if self.window.len() > window(warmup) {
            self.window.pop_front();
        }
        self.first = self.first.or_else(|| self.p99(warmup));
    }

    fn silent(&mut self, why: String) {
        self.silent = self.silent.saturating_add(1);
        self.why = why;
    }

    /// The 99th percentile of a whole window.
    fn p99(&self, warmup: &Warmup) -> Option<Duration> {
        (self.window.len() >= window(warmup)).then(|| p99(&self.window)).flatten()
    }

    fn bad(&self) -> u64 {
        u64::from(self.errors) + u64::from(self.silent)
    }

    fn finished(&self) -> u64 {
        u64::from(self.answers) + u64::from(self.silent)
    }

    fn is_bad(&self) -> bool {
        self.bad() * 2 > self.finished()
    }
}

/// What all servers have answered.
struct Seen {
    finished: u64,
    bad: u64,
    text: String,
    /// What was wrong last.
    why: String,
}

impl Seen {
    fn of(all: &[Warming], warmup: &Warmup) -> Self {
        let sum = |count: fn(&Warming) -> u64| all.iter().map(count).sum::<u64>();
        let (finished, bad) = (sum(Warming::finished), sum(Warming::bad));
        let errors = sum(|server| u64::from(server.errors));
        let silent = sum(|server| u64::from(server.silent));
        let mut text = format!("{finished} requests to {}", counted(all.len(), "server"));
        // A window that is not whole is better than none.
        let first = all.iter().filter_map(|server| server.first.or_else(|| p99(&server.window))).max();
        let last = all.iter().filter_map(|server| p99(&server.window)).max();
        if let (Some(first), Some(last)) = (first, last) {
            text.push_str(&format!(", p99 {} at first and {} at last", shown(first), shown(last)));
            if let Some(limit) = warmup.until_p99.filter(|limit| last >= limit.get()) {
                text.push_str(&format!(", not below until_p99 = \"{limit}\""));
            }
        }
        text.push_str(&format!(", {errors} of the answers 5xx"));
        if silent > 0 {
            text.push_str(&format!(", {silent} without an answer"));
        }
        let why = all.iter().map(|server| server.why.as_str()).find(|why| !why.is_empty());
        Self { finished, bad, text, why: why.map(|why| format!("; {why}")).unwrap_or_default() }
    }
}

fn window(warmup: &Warmup) -> usize {
    usize::try_from(warmup.requests.get()).unwrap_or(WINDOW).min(WINDOW)
}

fn p99(window: &VecDeque<Duration>) -> Option<Duration> {
    let mut sorted: Vec<Duration> = window.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get((sorted.len() * 99).div_ceil(100).checked_sub(1)?).copied()
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn requests(each: u32) -> String {
    if each == 1 { "1 request".to_owned() } else { format!("{each} requests") }
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
