//! A load that checks every answer: the status, that it is complete, that it belongs to the request, and the slot.
//!
//! Kept-alive connections send many requests, GET only; fresh connections send one request each. These wait for an answer
//! before they send again; an arrival is a fresh connection that opens whether or not others wait. A reload makes nginx
//! close idle connections. When nginx closes a kept-alive connection before the first byte of an answer, the load sends
//! the request again on a fresh connection, as HTTP clients do, and counts a *reconnect*. Any other request without a
//! complete, correct answer is a *failure*. A complete answer from a slot that had lost the traffic before the request was
//! sent is *stale*.

pub mod check;
mod client;
pub mod report;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::slot_oracle::SlotOracle;
use crate::wait;

pub use report::{Failure, Report};

/// The requests to send, and the number of connections.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The address of nginx.
    pub address: SocketAddr,
    /// Number of kept-alive connections.
    pub kept_alive: usize,
    /// Number of senders that open a fresh connection for each request.
    pub fresh: usize,
    /// Time between two arrivals, if there are any.
    pub arrivals: Option<Duration>,
    /// Pause of each connection between two requests.
    pub pause: Duration,
    /// The requests, sent in turn.
    pub requests: Vec<Request>,
    /// Time limit of a request.
    pub limit: Duration,
}

/// One request to send.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    target: String,
    body: String,
}

impl Request {
    /// A GET.
    pub fn get(target: &str) -> Self {
        Self { method: "GET", target: target.to_owned(), body: String::new() }
    }

    /// A POST with a JSON body. It uses fresh connections only, because it must not be sent twice.
    pub fn post(target: &str, body: &str) -> Self {
        Self { method: "POST", target: target.to_owned(), body: body.to_owned() }
    }
}

impl Plan {
    /// Six kept-alive connections and two fresh senders; all send GET `/`.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            kept_alive: 6,
            fresh: 2,
            arrivals: None,
            pause: Duration::ZERO,
            requests: vec![Request::get("/")],
            limit: Duration::from_secs(10),
        }
    }

    /// Sets the number of kept-alive connections and of fresh senders.
    pub fn connections(mut self, kept_alive: usize, fresh: usize) -> Self {
        (self.kept_alive, self.fresh) = (kept_alive, fresh);
        self
    }

    /// Sets the time between two arrivals, in place of all other connections.
    pub fn arrivals(mut self, every: Duration) -> Self {
        (self.kept_alive, self.fresh, self.arrivals) = (0, 0, Some(every));
        self
    }

    /// Sets the pause of each connection between two requests.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Sets the time limit of a request.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the requests, sent in turn.
    pub fn requests(mut self, requests: Vec<Request>) -> Self {
        self.requests = requests;
        self
    }
}

/// A running load. Stops on drop.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    connections: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    expected: Arc<SlotOracle>,
    report: Mutex<Report>,
    stop: AtomicBool,
    next_id: AtomicU64,
}

impl Load {
    /// Starts a load whose answers are judged by `expected`.
    pub fn start(plan: Plan, expected: &Arc<SlotOracle>) -> Self {
        let shared = Arc::new(Shared {
            plan,
            expected: Arc::clone(expected),
            report: Mutex::default(),
            stop: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
        });
        let mut connections = JoinSet::new();
        for _ in 0..shared.plan.kept_alive {
            connections.spawn(client::kept_alive(Arc::clone(&shared)));
        }
        for _ in 0..shared.plan.fresh {
            connections.spawn(client::fresh(Arc::clone(&shared)));
        }
        if let Some(every) = shared.plan.arrivals {
            connections.spawn(client::arrivals(Arc::clone(&shared), every));
        }
        Self { shared, connections }
    }

    /// The counts so far.
    pub fn report(&self) -> Report {
        self.shared.report().clone()
    }

    /// The oracle of slots.
    pub fn oracle(&self) -> &Arc<SlotOracle> {
        &self.shared.expected
    }

    /// Waits for this many more answers.
    pub async fn answers(&self, more: u64) -> anyhow::Result<()> {
        let goal = self.report().total + more;
        wait::until(&format!("{more} more answers"), || self.report().total >= goal).await
    }

    /// Waits until each connection has finished its current request, and returns the final counts.
    pub async fn stop(mut self) -> Report {
        self.shared.stop.store(true, Ordering::SeqCst);
        while self.connections.join_next().await.is_some() {}
        let mut report = self.report();
        report.settle(&self.shared.expected);
        report
    }
}

impl Shared {
    fn report(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// The next request for this kind of connection, with its id.
    fn next(&self, kept_alive: bool) -> (u64, &Request) {
        loop {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            let index = usize::try_from(id).unwrap_or_default() % self.plan.requests.len().max(1);
            match self.plan.requests.get(index) {
                Some(request) if !kept_alive || request.method == "GET" => return (id, request),
                _ => {}
            }
        }
    }

    /// Counts the outcome of a request.
    fn judge(&self, sent: Instant, outcome: check::RequestOutcome) {
        let answered = Instant::now();
        let allowed = outcome.rescued
            || outcome.slot.as_deref().is_none_or(|slot| self.expected.allows(slot, sent, answered));
        self.report().add(sent, answered, outcome, allowed);
    }
}
