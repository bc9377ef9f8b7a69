//! One connection of a backend: reads requests, performs the action for each, and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::counting_stream::CountingStream;
use super::{Action, Answer, Shared};
use crate::http1::{Head, Reader, message};

/// Varies the size of bodies from one packet to several of nginx's buffers.
static SIZE: AtomicUsize = AtomicUsize::new(0);

pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let stream = CountingStream::new(stream, Arc::clone(&shared));
    let mut connection = Connection { stream, reader: Reader::default(), shared, served: 0 };
    // nginx may close a connection at any time. The counts say what that meant for a request.
    while let Ok(true) = connection.request().await {}
}

struct Connection {
    stream: CountingStream,
    reader: Reader,
    shared: Arc<Shared>,
    /// Requests read from this connection.
    served: u64,
}

/// Whether a request has the header that exempts it.
fn is_excused(head: &Head, answer: &Answer) -> bool {
    answer.unless.as_ref().is_some_and(|(name, value)| head.header(name) == Some(value.as_str()))
}

/// Decrements the gauge on drop, also when the backend is stopped in the middle of a request.
struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.truth().in_flight -= 1;
    }
}

impl Connection {
    /// Serves one request. Returns whether the connection can take another one.
    async fn request(&mut self) -> Result<bool> {
        let Some(head) = self.reader.head(&mut self.stream).await? else { return Ok(false) };
        let [_, target, _] = &head.line;
        let path = target.split('?').next().unwrap_or_default();
        {
            let mut truth = self.shared.truth();
            truth.requests += 1;
            truth.in_flight += 1;
            *truth.targets.entry(path.to_owned()).or_default() += 1;
            if let Some(id) = head.header("x-request-id") {
                *truth.ids.entry(id.to_owned()).or_default() += 1;
            }
        }
        let _in_flight = InFlight(Arc::clone(&self.shared));
        let body = self.reader.body(&mut self.stream, &head).await?;
        self.shared.truth().body_bytes += body.len() as u64;
        let checksum = crc32fast::hash(&body);
        self.served += 1;
        match self.shared.action(target) {
            Action::CloseThen(_) if self.served > 1 => self.cut(b"").await,
            Action::CloseThen(status) => self.answer(&head, checksum, &Action::status(status)).await,
            Action::Answer(answer) if is_excused(&head, &answer) => {
                self.answer(&head, checksum, &Action::status(200)).await
            }
            Action::Answer(answer) => self.answer(&head, checksum, &answer).await,
            Action::Cut => self.cut(b"").await,
            Action::CutBody => {
                let whole = self.message(&head, checksum, &Action::status(200));
                self.cut(whole.get(..whole.len() - 10).unwrap_or_default()).await
            }
            Action::Hang => self.wait_for_close().await,
            Action::Upgrade => self.upgrade().await,
            Action::File(size) => self.file(&head, size).await,
        }
    }

    async fn file(&mut self, head: &Head, size: usize) -> Result<bool> {
        let slot = self.shared.slot.as_str();
        let range = head.header("range").and_then(|range| range.strip_prefix("bytes="));
        let range = range.and_then(|range| range.split_once('-'));
        let (first, end) = match range {
            Some((first, last)) => (first.parse()?, last.parse().unwrap_or(size).saturating_add(1).min(size)),
            None => (0, size),
        };
        let body = slot.get(..1).unwrap_or("?").repeat(end.saturating_sub(first));
        let (etag, range) =
            (format!("\"{slot}\""), format!("bytes {first}-{}/{size}", end.saturating_sub(1)));
        let mut headers = vec![("x-slot", slot), ("etag", etag.as_str()), ("accept-ranges", "bytes")];
        let whole = body.len() == size;
        if !whole {
            headers.push(("content-range", range.as_str()));
        }
        let line = if whole { "HTTP/1.1 200 Test" } else { "HTTP/1.1 206 Test" };
        let message = message(line, &headers, body.as_bytes());
        *self.shared.truth().answered.entry(if whole { 200 } else { 206 }).or_default() += 1;
        self.stream.write_all(&message).await?;
        Ok(!head.closes())
    }

    async fn answer(&mut self, head: &Head, checksum: u32, answer: &Answer) -> Result<bool> {
        if !answer.delay.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(answer.delay) => {}
                _ = self.reader.fill(&mut self.stream) => return Ok(self.abandoned()),
            }
        }
        let message = self.message(head, checksum, answer);
        // Counted before it is sent, so that a client that has the answer finds it in the counts.
        *self.shared.truth().answered.entry(answer.status).or_default() += 1;
        if self.stream.write_all(&message).await.is_err() {
            *self.shared.truth().answered.entry(answer.status).or_default() -= 1;
            return Ok(self.abandoned());
        }
        Ok(!answer.closes && !head.closes())
    }

    /// `checksum` is that of the request's body.
    fn message(&self, head: &Head, checksum: u32, answer: &Answer) -> Vec<u8> {
        let slot = self.shared.slot.as_str();
        let [method, target, _] = &head.line;
        let id = head.header("x-request-id").unwrap_or_default();
        let any = || SIZE.fetch_add(997, Relaxed) % 9000;
        let padding = "x".repeat(answer.padding.unwrap_or_else(any));
        let body = serde_json::json!({
            "slot": slot, "request_id": id, "method": method, "target": target, "padding": padding,
            "checksum": checksum,
        });
        let bodiless = method == "HEAD" || [204, 304].contains(&answer.status);
        let body =
            if bodiless { String::new() } else { answer.body.clone().unwrap_or_else(|| body.to_string()) };
        let mut headers = vec![("content-type", "application/json"), ("x-slot", slot), ("x-request-id", id)];
        headers.extend(answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if answer.closes {
            headers.push(("connection", "close"));
        }
        message(&format!("HTTP/1.1 {} Test", answer.status), &headers, body.as_bytes())
    }

    async fn cut(&mut self, before: &[u8]) -> Result<bool> {
        self.shared.truth().cut += 1;
        self.stream.write_all(before).await?;
        Ok(false)
    }

    async fn wait_for_close(&mut self) -> Result<bool> {
        while self.reader.fill(&mut self.stream).await.is_ok_and(|read| read > 0) {}
        Ok(self.abandoned())
    }

    async fn upgrade(&mut self) -> Result<bool> {
        *self.shared.truth().answered.entry(101).or_default() += 1;
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\nx-slot: {}\r\n\r\n",
            self.shared.slot
        );
        self.stream.write_all(head.as_bytes()).await?;
        let mut piece = [0; 1024];
        loop {
            let read = self.stream.read(&mut piece).await?;
            if read == 0 {
                return Ok(false);
            }
            self.stream.write_all(piece.get(..read).unwrap_or_default()).await?;
        }
    }

    /// Counts an abandoned request. The connection takes no further one.
    fn abandoned(&self) -> bool {
        self.shared.truth().abandoned += 1;
        false
    }
}
