//! An HTTP server inside the test that does what it is told, request by request, and counts what really reached it.
//!
//! Unless told otherwise it answers 200 with a JSON body that names its slot and the request, so that a load can check
//! which slot answered which request; see [`crate::load::check`].

mod connection;
mod counting_stream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::task::{JoinHandle, JoinSet};

use crate::ports;

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Answer it.
    Answer(Answer),
    /// Close the connection without a byte of an answer.
    Cut,
    /// Send the head and half of the body, then close.
    CutBody,
    /// The first request of a kept connection's second life is cut off without a byte, as if the server had closed it while
    /// it was idle; a first request on a connection gets this status.
    CloseThen(u16),
    /// Never answer; ends when the other side closes.
    Hang,
    /// Answer 101 and send back whatever comes, until the other side closes.
    Upgrade,
    /// A file of so many bytes, each the first letter of the slot, with an `ETag` that names the slot; the part of it that
    /// `Range` asks for.
    File(usize),
}

/// An answer to give.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    delay: Duration,
    padding: Option<usize>,
    body: Option<String>,
    closes: bool,
}

impl Action {
    /// Answers with this status.
    pub fn status(status: u16) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            delay: Duration::ZERO,
            padding: None,
            body: None,
            closes: false,
        }
    }
}

impl Answer {
    /// With one more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Only after a while.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// With a body of a little more than so many bytes, in place of any size.
    pub fn large(mut self, bytes: usize) -> Self {
        self.padding = Some(bytes);
        self
    }

    /// With this body in place of the usual one.
    pub fn body(mut self, text: &str) -> Self {
        self.body = Some(text.to_owned());
        self
    }

    /// And closes the connection.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }
}

impl From<Answer> for Action {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// What really happened at a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Connections taken.
    pub connections: u64,
    /// Requests of which the head came in: the attempts of nginx that reached this server.
    pub requests: u64,
    /// Requests by their target, without the query.
    pub targets: BTreeMap<String, u64>,
    /// Requests by their `X-Request-Id`.
    pub ids: BTreeMap<String, u64>,
    /// Bytes of the requests' bodies.
    pub body_bytes: u64,
    /// Whole answers by status; 101 counts when it is sent.
    pub answered: BTreeMap<u16, u64>,
    /// Requests that were cut off on purpose.
    pub cut: u64,
    /// Requests that the other side gave up before the whole answer was sent.
    pub abandoned: u64,
    /// Bytes that came in, heads included.
    pub bytes_received: u64,
    /// Bytes that were sent, heads included.
    pub bytes_sent: u64,
    /// Requests here now, upgraded connections included.
    pub in_flight: u64,
}

/// The server. Ends when it goes.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    slot: String,
    actions: Mutex<Vec<(String, Action)>>,
    truth: Mutex<Truth>,
}

impl Shared {
    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn action(&self, target: &str) -> Action {
        let actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = actions.iter().rev().find(|(prefix, _)| target.starts_with(prefix.as_str()));
        rule.map_or_else(|| Action::status(200).into(), |(_, action)| action.clone())
    }
}

impl Backend {
    /// A server on a free port of loopback whose answers name `slot`.
    pub async fn start(slot: &str) -> Result<Self> {
        Self::start_at(slot, ports::free()?).await
    }

    /// A server at this address, whose answers name `slot`.
    pub async fn start_at(slot: &str, address: SocketAddr) -> Result<Self> {
        let shared = Shared { slot: slot.to_owned(), actions: Mutex::default(), truth: Mutex::default() };
        let mut backend = Self { address, shared: Arc::new(shared), task: None };
        backend.resume().await?;
        Ok(backend)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to do from now on with requests whose target begins with `prefix`; the latest rule that fits wins.
    pub fn on(&self, prefix: &str, action: impl Into<Action>) {
        let mut actions = self.shared.actions.lock().unwrap_or_else(PoisonError::into_inner);
        actions.push((prefix.to_owned(), action.into()));
    }

    /// What has happened so far.
    pub fn truth(&self) -> Truth {
        self.shared.truth().clone()
    }

    /// Dies: connections break, new ones are refused.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Lives again, at the same address.
    pub async fn resume(&mut self) -> Result<()> {
        let listener = ports::listen(self.address).await?;
        let shared = Arc::clone(&self.shared);
        self.task = Some(tokio::spawn(async move {
            // Goes with this task, and takes the connections along.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.truth().connections += 1;
                connections.spawn(connection::serve(stream, Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        }));
        Ok(())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
