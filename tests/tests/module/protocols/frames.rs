//! A gRPC server that writes HTTP/2 frames itself: it can break off at any frame, and counts each byte of its connections.
//!
//! nginx has one call at a time on a connection, so the server has no table of streams. Its windows are of the maximal size,
//! and its headers are HPACK literals.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cutover_tests::ports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A step of the answer to a call. The steps begin when the call is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Send the head, with this HTTP status.
    Head(u16),
    /// Echo the call's message.
    Message,
    /// Send trailers, with this gRPC status.
    Trailers(u8),
    /// Send head and trailers in one frame, with this gRPC status.
    TrailersOnly(u8),
    /// Must be the first step: the head is sent when the call's head arrives, and each piece of a message is echoed at once.
    Talk,
    Wait(Duration),
    /// Send `RST_STREAM`.
    Reset,
    /// Close the sending side of the connection.
    Close,
}

/// What the server has received and sent: the ground truth for the module's counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) connections: u64,
    /// Connections that have ended.
    pub(crate) closed: u64,
    /// Calls whose head was received.
    pub(crate) calls: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
}

/// The server. It runs until the end of the test.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    slot: &'static str,
    steps: Mutex<Vec<Step>>,
    truth: Mutex<Truth>,
    between_calls: tokio::sync::Notify,
}

impl Server {
    /// Starts a server with correct answers that name `slot`.
    pub(crate) async fn start(slot: &'static str) -> Self {
        let listener = ports::listen(ports::free().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let steps = Mutex::new(vec![Step::Head(200), Step::Message, Step::Trailers(0)]);
        let shared =
            Shared { slot, steps, truth: Mutex::default(), between_calls: tokio::sync::Notify::new() };
        let shared = Arc::new(shared);
        let server = Self { address, shared: Arc::clone(&shared) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.truth.lock().unwrap().connections += 1;
                let connection =
                    Connection { stream, shared: Arc::clone(&shared), call: 0, message: Vec::new() };
                tokio::spawn(connection.serve());
            }
        });
        server
    }

    /// Sets the answer to later calls.
    pub(crate) fn set_steps(&self, steps: &[Step]) {
        *self.shared.steps.lock().unwrap() = steps.to_vec();
    }

    pub(crate) fn truth(&self) -> Truth {
        self.shared.truth.lock().unwrap().clone()
    }

    /// Sends a `PING` on a connection that has no call. There must be such a connection.
    pub(crate) fn ping(&self) {
        self.shared.between_calls.notify_one();
    }
}

struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
    /// The stream of the call.
    call: u32,
    message: Vec<u8>,
}

impl Connection {
    async fn serve(mut self) {
        // nginx may close a connection at any time.
        let _ = self.frames().await;
        self.shared.truth.lock().unwrap().closed += 1;
    }

    async fn frames(&mut self) -> Result<()> {
        self.read(&mut [0; b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()]).await?;
        let widest = (i32::MAX as u32).to_be_bytes();
        let initial_window_size = [&[0, 4], &widest[..]].concat();
        let more = (i32::MAX as u32 - 65_535).to_be_bytes();
        self.send(&[frame(SETTINGS, 0, 0, &initial_window_size), frame(WINDOW_UPDATE, 0, 0, &more)].concat())
            .await?;
        let shared = Arc::clone(&self.shared);
        loop {
            let mut head = [0; 9];
            tokio::select! {
                read = self.stream.read(&mut head[..1]) => self.received(read?)?,
                () = shared.between_calls.notified() => {
                    self.send(&frame(PING, 0, 0, &[0; 8])).await?;
                    continue;
                }
            }
            self.read(&mut head[1..]).await?;
            let [high, middle, low, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
            self.read(&mut payload).await?;
            match kind {
                SETTINGS if flags & ACK == 0 => self.send(&frame(SETTINGS, ACK, 0, b"")).await?,
                HEADERS => self.call(u32::from_be_bytes(stream)).await?,
                DATA if self.talks() => self.send(&frame(DATA, 0, self.call, &payload)).await?,
                DATA => self.message.extend(payload),
                _ => continue,
            }
            if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                self.play().await?;
            }
        }
    }

    async fn call(&mut self, stream: u32) -> Result<()> {
        self.shared.truth.lock().unwrap().calls += 1;
        self.call = stream;
        self.message.clear();
        if self.talks() {
            let head = self.head(200);
            self.send(&head).await?;
        }
        Ok(())
    }

    fn talks(&self) -> bool {
        matches!(self.shared.steps.lock().unwrap().first(), Some(Step::Talk))
    }

    async fn play(&mut self) -> Result<()> {
        let steps = self.shared.steps.lock().unwrap().clone();
        for step in steps {
            let bytes = match step {
                Step::Head(status) => self.head(status),
                // In frames of the maximal size that nginx accepts.
                Step::Message => {
                    self.message.chunks(16_384).flat_map(|piece| frame(DATA, 0, self.call, piece)).collect()
                }
                Step::Trailers(status) => {
                    let status = literal("grpc-status", &status.to_string());
                    frame(HEADERS, END_HEADERS | END_STREAM, self.call, &status)
                }
                Step::TrailersOnly(status) => {
                    let lines = [self.lines(200), literal("grpc-status", &status.to_string())].concat();
                    frame(HEADERS, END_HEADERS | END_STREAM, self.call, &lines)
                }
                Step::Talk => continue,
                Step::Wait(time) => {
                    tokio::time::sleep(time).await;
                    continue;
                }
                Step::Reset => frame(RST_STREAM, 0, self.call, &[0, 0, 0, 2]),
                Step::Close => {
                    // The reading side stays open, because a full close could discard bytes that nginx has not read.
                    self.stream.shutdown().await?;
                    continue;
                }
            };
            self.send(&bytes).await?;
        }
        Ok(())
    }

    fn head(&self, status: u16) -> Vec<u8> {
        frame(HEADERS, END_HEADERS, self.call, &self.lines(status))
    }

    fn lines(&self, status: u16) -> Vec<u8> {
        [
            literal(":status", &status.to_string()),
            literal("content-type", "application/grpc"),
            literal("x-slot", self.shared.slot),
        ]
        .concat()
    }

    async fn read(&mut self, mut into: &mut [u8]) -> Result<()> {
        while !into.is_empty() {
            let read = self.stream.read(into).await?;
            self.received(read)?;
            into = into.split_at_mut(read).1;
        }
        Ok(())
    }

    fn received(&self, bytes: usize) -> Result<()> {
        self.shared.truth.lock().unwrap().bytes_received += bytes as u64;
        if bytes == 0 { Err(Error::from(ErrorKind::UnexpectedEof)) } else { Ok(()) }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        // Counted before it is sent, so that a client that has the answer finds it in the counts.
        self.shared.truth.lock().unwrap().bytes_sent += bytes.len() as u64;
        self.stream.write_all(bytes).await
    }
}

/// A frame: length, kind, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header as an HPACK literal without indexing.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}
