//! An HTTP server inside the test process. A test sets its action for each target; it counts every request it receives.
//!
//! By default it answers 200 with a JSON body that names its slot and the request, so that a load can check which slot
//! answered which request; see [`crate::load::check`].

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
    /// Close the connection before the first byte of an answer.
    Cut,
    /// Send the head and half of the body, then close.
    CutBody,
    /// Answer the first request on a connection with this status. Close the connection at the second request without an
    /// answer, like a server whose keep-alive timeout has just ended.
    CloseThen(u16),
    /// Never answer; wait until nginx closes the connection.
    Hang,
    /// Answer 101 and echo all bytes until nginx closes the connection.
    Upgrade,
    /// Serve a file of this many bytes, each the first letter of the slot's name, with the slot's name as `ETag`. Supports
    /// `Range`.
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
    unless: Option<(String, String)>,
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
            unless: None,
        }
    }
}

impl Answer {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Delays the answer.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets the size of the body to a little more than this many bytes; by default it varies.
    pub fn large(mut self, bytes: usize) -> Self {
        self.padding = Some(bytes);
        self
    }

    /// Replaces the usual body.
    pub fn body(mut self, text: &str) -> Self {
        self.body = Some(text.to_owned());
        self
    }

    /// Only for requests without this header. Those that have it are answered with 200.
    pub fn unless_header(mut self, name: &str, value: &str) -> Self {
        self.unless = Some((name.to_owned(), value.to_owned()));
        self
    }

    /// Closes the connection after the answer.
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

/// What a backend has received and sent: the ground truth for the module's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Accepted connections.
    pub connections: u64,
    /// Requests whose head was received: the attempts of nginx that reached this server.
    pub requests: u64,
    /// Requests by their target, without the query.
    pub targets: BTreeMap<String, u64>,
    /// Requests by their `X-Request-Id`.
    pub ids: BTreeMap<String, u64>,
    /// Bytes of the request bodies.
    pub body_bytes: u64,
    /// Complete answers by status; a 101 counts when it is sent.
    pub answered: BTreeMap<u16, u64>,
    /// Requests that an action cut off.
    pub cut: u64,
    /// Requests whose connection nginx closed before the answer was complete.
    pub abandoned: u64,
    /// Received bytes, heads included.
    pub bytes_received: u64,
    /// Sent bytes, heads included.
    pub bytes_sent: u64,
    /// Requests in progress, upgraded connections included.
    pub in_flight: u64,
}

/// The server. Stops on drop.
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
    /// Starts a server on a free loopback port; its answers name `slot`.
    pub async fn start(slot: &str) -> Result<Self> {
        Self::start_at(slot, ports::free()?).await
    }

    /// Starts a server at this address; its answers name `slot`.
    pub async fn start_at(slot: &str, address: SocketAddr) -> Result<Self> {
        let shared = Shared { slot: slot.to_owned(), actions: Mutex::default(), truth: Mutex::default() };
        let mut backend = Self { address, shared: Arc::new(shared), task: None };
        backend.resume().await?;
        Ok(backend)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the action for requests whose target begins with `prefix`. The latest matching rule wins.
    pub fn on(&self, prefix: &str, action: impl Into<Action>) {
        let mut actions = self.shared.actions.lock().unwrap_or_else(PoisonError::into_inner);
        actions.push((prefix.to_owned(), action.into()));
    }

    /// The counts so far.
    pub fn truth(&self) -> Truth {
        self.shared.truth().clone()
    }

    /// Stops the server: open connections break, new ones are refused.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Starts the server again at the same address.
    pub async fn resume(&mut self) -> Result<()> {
        let listener = ports::listen(self.address).await?;
        let shared = Arc::clone(&self.shared);
        self.task = Some(tokio::spawn(async move {
            // Aborting this task drops the set, which aborts the connections.
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
