//! A gRPC server of HTTP/2 frames made by hand: it can break off anywhere, and knows each byte of its connections.
//!
//! nginx has one call at a time on a connection, so there is no need to keep streams apart. Windows are opened wide at once,
//! and heads are literals of HPACK.

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

/// One thing after the other, once a call has come whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The head, with an HTTP status.
    Head(u16),
    /// The call's message.
    Message,
    /// The end, with a status of gRPC.
    Trailers(u8),
    /// Head and end in one, with a status of gRPC and no message.
    TrailersOnly(u8),
    /// Only as the first: the head has been sent when the call's came, and each piece of a message when it came.
    Talk,
    Wait(Duration),
    /// `RST_STREAM`.
    Reset,
    /// The end of what the connection sends.
    Close,
}

/// What really happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) connections: u64,
    /// Connections that nginx has closed.
    pub(crate) left: u64,
    /// Calls of which the head came in.
    pub(crate) calls: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
}

/// The server; lives as long as the test.
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
    /// Answers well, and names `slot`.
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

    /// What it does from now on with each call.
    pub(crate) fn plays(&self, steps: &[Step]) {
        *self.shared.steps.lock().unwrap() = steps.to_vec();
    }

    pub(crate) fn truth(&self) -> Truth {
        self.shared.truth.lock().unwrap().clone()
    }

    /// Sends a `PING` over a connection that has no call. There must be one.
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
        // A connection that breaks is nginx's right.
        let _ = self.frames().await;
        self.shared.truth.lock().unwrap().left += 1;
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
                // The largest frame that nginx takes.
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
                    // And goes on reading: nginx would lose what it has not read yet.
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
        // Before it is sent: whoever has the answer in hand finds it in the truth.
        self.shared.truth.lock().unwrap().bytes_sent += bytes.len() as u64;
        self.stream.write_all(bytes).await
    }
}

/// Length, kind, flags, stream; then the payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header line that no table knows.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}
