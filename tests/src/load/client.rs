//! The connections of a load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::check::{self, RequestOutcome};
use super::{Request, Shared};
use crate::http1::{Head, Reader, message};

pub(super) async fn kept_alive(shared: Arc<Shared>) {
    let mut kept: Option<Connection> = None;
    while !shared.stopped() {
        let (id, request) = shared.next(true);
        let sent = Instant::now();
        if let Some(mut connection) = kept.take() {
            match connection.exchange(&shared, id, request, false).await {
                Exchange::Answered(head, body) => {
                    kept = (!head.closes()).then_some(connection);
                    shared.judge(sent, check::check(id, request.body.as_bytes(), &head, &body));
                    shared.pause().await;
                    continue;
                }
                Exchange::ClosedBefore => shared.report().reconnects += 1,
                Exchange::Lost(why) => {
                    shared.judge(sent, RequestOutcome::lost(format!("kept-alive connection: {why}")));
                    continue;
                }
            }
        }
        kept = once(&shared, id, request, false).await;
        shared.pause().await;
    }
}

pub(super) async fn fresh(shared: Arc<Shared>) {
    while !shared.stopped() {
        let (id, request) = shared.next(false);
        once(&shared, id, request, true).await;
        shared.pause().await;
    }
}

/// Opens fresh connections at a steady pace.
pub(super) async fn arrivals(shared: Arc<Shared>, every: Duration) {
    let mut waiting = JoinSet::new();
    let mut pace = tokio::time::interval(every);
    while !shared.stopped() {
        pace.tick().await;
        let shared = Arc::clone(&shared);
        waiting.spawn(async move {
            let (id, request) = shared.next(false);
            once(&shared, id, request, true).await;
        });
        while waiting.try_join_next().is_some() {}
    }
    while waiting.join_next().await.is_some() {}
}

/// Sends a request on a fresh connection, where a close without an answer is a failure. Returns the connection if it can
/// be used again.
async fn once(shared: &Shared, id: u64, request: &Request, close: bool) -> Option<Connection> {
    let connecting = tokio::time::timeout(shared.plan.limit, TcpStream::connect(shared.plan.address)).await;
    let sent = Instant::now();
    let stream = match connecting {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            shared.judge(sent, RequestOutcome::lost(format!("connect: {error}")));
            return None;
        }
        Err(_) => {
            shared.judge(sent, RequestOutcome::lost("connect: timed out".to_owned()));
            return None;
        }
    };
    let _ = stream.set_nodelay(true);
    let mut connection = Connection { stream, reader: Reader::default() };
    match connection.exchange(shared, id, request, close).await {
        Exchange::Answered(head, body) => {
            shared.judge(sent, check::check(id, request.body.as_bytes(), &head, &body));
            (!close && !head.closes()).then_some(connection)
        }
        Exchange::ClosedBefore => {
            shared.judge(sent, RequestOutcome::lost("fresh connection closed without an answer".to_owned()));
            None
        }
        Exchange::Lost(why) => {
            shared.judge(sent, RequestOutcome::lost(format!("fresh connection: {why}")));
            None
        }
    }
}

struct Connection {
    stream: TcpStream,
    reader: Reader,
}

enum Exchange {
    Answered(Head, Vec<u8>),
    /// The connection ended before the first byte of the answer.
    ClosedBefore,
    /// The connection ended within the answer, or the answer was late.
    Lost(String),
}

impl Connection {
    async fn exchange(&mut self, shared: &Shared, id: u64, request: &Request, close: bool) -> Exchange {
        let id = id.to_string();
        let line = format!("{} {} HTTP/1.1", request.method, request.target);
        let connection = if close { "close" } else { "keep-alive" };
        let headers = [
            ("host", "shop.test"),
            ("x-request-id", id.as_str()),
            ("content-type", "application/json"),
            ("connection", connection),
        ];
        let bytes = message(&line, &headers, request.body.as_bytes());
        let exchange = async {
            // After a failed write the connection is closed; reading shows whether an answer had begun.
            let written = self.stream.write_all(&bytes).await;
            match self.reader.head(&mut self.stream).await {
                Ok(Some(head)) if written.is_ok() => match self.reader.body(&mut self.stream, &head).await {
                    Ok(body) => Exchange::Answered(head, body),
                    Err(error) => Exchange::Lost(format!("{error:#}")),
                },
                Ok(Some(head)) => {
                    Exchange::Lost(format!("answered before the request was sent: {:?}", head.line))
                }
                Ok(None) => Exchange::ClosedBefore,
                Err(error) => Exchange::Lost(format!("{error:#}")),
            }
        };
        let limit = tokio::time::timeout(shared.plan.limit, exchange);
        limit.await.unwrap_or_else(|_| Exchange::Lost(format!("no answer in {:?}", shared.plan.limit)))
    }
}

impl Shared {
    async fn pause(&self) {
        if self.plan.pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(self.plan.pause).await;
        }
    }
}
