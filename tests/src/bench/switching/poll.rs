//! A connection that sends requests without a pause and records the slot of each answer.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::proxy::Slot;
use crate::exchange::{self, Exchange};

/// One complete answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimedAnswer {
    pub(super) sent: Instant,
    pub(super) answered: Instant,
    pub(super) slot: Slot,
}

/// The answers and failures of a poll.
#[derive(Clone, Debug, Default)]
pub(super) struct PollReport {
    pub(super) answers: Vec<TimedAnswer>,
    /// Requests without a correct answer.
    pub(super) failed: u64,
    /// Times that the proxy closed the connection before the first byte of an answer, or announced it.
    pub(super) closed: u64,
}

/// A running poll. Stops on drop.
#[derive(Debug)]
pub(super) struct Poll {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// The slot of the latest answer, plus one.
    latest: AtomicU8,
    found: Mutex<PollReport>,
}

impl Poll {
    pub(super) fn start(address: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || for_thread.ask(address));
        Self { shared, thread: Some(thread) }
    }

    /// Whether the latest answer came from this slot.
    pub(super) fn sees(&self, slot: Slot) -> bool {
        self.shared.latest.load(Ordering::Acquire) == slot as u8 + 1
    }

    pub(super) fn stop(mut self) -> PollReport {
        self.end();
        self.shared.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn ask(&self, address: SocketAddr) {
        let request = exchange::request("GET", "shop.test", "/", None, "");
        let mut found = PollReport::default();
        let mut kept: Option<Exchange<TcpStream>> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let reused = kept.is_some();
            let Some(mut exchange) = kept.take().or_else(|| Exchange::tcp(address).ok()) else {
                found.failed += 1;
                continue;
            };
            let sent = Instant::now();
            match exchange.request(&request) {
                Ok(answer) => {
                    let slot = [Slot::Blue, Slot::Green]
                        .into_iter()
                        .find(|slot| answer.status == 200 && answer.header("x-slot") == Some(slot.name()));
                    match slot {
                        Some(slot) => {
                            found.answers.push(TimedAnswer { sent, answered: Instant::now(), slot });
                            self.latest.store(slot as u8 + 1, Ordering::Release);
                        }
                        None => found.failed += 1,
                    }
                    if answer.closes() {
                        found.closed += 1;
                    } else {
                        kept = Some(exchange);
                    }
                }
                // A proxy may close a keep-alive connection between two requests; clients retry then.
                Err(error) if reused && error.kind() == ErrorKind::ConnectionAborted => found.closed += 1,
                Err(_) => found.failed += 1,
            }
        }
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}
