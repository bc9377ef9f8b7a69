//! The counters of a slot for clients that send or read slowly, stop, or disconnect.
//!
//! These tests sleep because the pause of a client is under test: see [`PAUSE`].

mod downloads;
mod gone;
mod uploads;

use std::net::SocketAddr;
use std::time::Duration;

use cutover_core::api::Slot;
use cutover_core::counters::{Counters, Responses};
use cutover_tests::backend::Truth;
use cutover_tests::http1::{Head, Reader};
use cutover_tests::test_edge::{TestEdge, UPSTREAMS};
use cutover_tests::{Action, wait};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

/// The pause of a slow client: far longer than the slot needs, and shorter than any time limit.
const PAUSE: Duration = Duration::from_millis(400);

/// Size of a large answer: more than fits into nginx's buffers and the socket buffers without a temporary file.
const LARGE: usize = 2_000_000;

const LOCATIONS: &str = "
    client_body_buffer_size 8k;
    client_max_body_size 4m;
    proxy_buffers 4 4k;
    proxy_busy_buffers_size 8k;
    access_log %%prefix%%/access.log;
    location / { proxy_pass http://shop; }
    location /passed-on { proxy_request_buffering off; proxy_pass http://shop; }

    # Answers are buffered in a file, buffered in memory only, or not buffered.
    location /file { proxy_pass http://shop; }
    location /buffers { proxy_max_temp_file_size 0; proxy_pass http://shop; }
    location /unbuffered { proxy_buffering off; proxy_pass http://shop; }
    # nginx finds out only by writing that a client has disconnected.
    location /unbuffered/blindly { proxy_ignore_client_abort on; proxy_buffering off; proxy_pass http://shop; }
    location /buffers/blindly { proxy_ignore_client_abort on; proxy_max_temp_file_size 0; proxy_pass http://shop; }
    location /file/at-a-rate { limit_rate 100k; proxy_pass http://shop; }
    location /buffers/at-a-rate { limit_rate 100k; proxy_max_temp_file_size 0; proxy_pass http://shop; }

    # The same with short time limits.
    location /impatient { client_body_timeout 500ms; proxy_pass http://shop; }
    location /impatient/passed-on {
        client_body_timeout 500ms;
        proxy_request_buffering off;
        proxy_pass http://shop;
    }
    location /impatient/file { send_timeout 500ms; proxy_pass http://shop; }
    location /impatient/buffers { send_timeout 500ms; proxy_max_temp_file_size 0; proxy_pass http://shop; }
    location /impatient/unbuffered { send_timeout 500ms; proxy_buffering off; proxy_pass http://shop; }
";

/// Starts nginx with small socket buffers for its clients; by default they hold megabytes.
async fn start() -> TestEdge {
    let http = TestEdge::http(UPSTREAMS, LOCATIONS);
    let edge = TestEdge::start(&http.replace("%%listen:main%%", "%%listen:main%% sndbuf=16k")).await.unwrap();
    for place in ["/file", "/buffers", "/unbuffered", "/impatient"] {
        edge.blue.on(place, Action::status(200).large(LARGE));
    }
    edge
}

async fn blue(edge: &TestEdge) -> Slot {
    edge.slot("blue").await.unwrap()
}

/// Waits until this many requests have ended, which is shortly after their clients have received the last byte.
async fn ended(edge: &TestEdge, requests: u64) -> Slot {
    let what = format!("the end of {requests} requests");
    wait::until_async(wait::PATIENCE, &what, async || {
        let now = blue(edge).await.counters;
        now.responses.total() == requests && now.in_flight == 0
    })
    .await
    .unwrap();
    blue(edge).await
}

/// Waits until the slot has this many requests in flight.
async fn in_flight(edge: &TestEdge, requests: u64) {
    let what = format!("{requests} in flight");
    let check = async || blue(edge).await.counters.in_flight == requests;
    wait::until_async(wait::PATIENCE, &what, check).await.unwrap();
}

async fn logged(edge: &TestEdge, text: &str) {
    wait::until(&format!("{text:?} in the log"), || edge.nginx.error_log().contains(text)).await.unwrap();
}

/// Waits until nginx has logged a request with this status, which the client may not have received.
async fn ended_with(edge: &TestEdge, status: u16) {
    let log = || std::fs::read_to_string(edge.nginx.prefix().join("access.log")).unwrap();
    let what = format!("a request that ends with {status}");
    wait::until(&what, || log().contains(&format!("HTTP/1.1\" {status} "))).await.unwrap();
}

/// The counters after one request with one attempt that did not fail.
fn one(responses: Responses) -> Counters {
    Counters { requests: 1, attempts: 1, responses, ..Counters::default() }
}

/// Sent and received bytes in the slot's counters.
fn bytes(slot: &Slot) -> (u64, u64) {
    (slot.bytes.sent, slot.bytes.received)
}

/// The same bytes in the backend's counters.
fn backend_bytes(truth: &Truth) -> (u64, u64) {
    (truth.bytes_received, truth.bytes_sent)
}

/// The counts of the histograms `first_byte` and `whole`.
fn counts(slot: &Slot) -> (u64, u64) {
    (slot.first_byte.count, slot.whole.count)
}

/// A client with a small receive buffer, which sends and reads only when the test says so.
struct Client {
    stream: TcpStream,
    reader: Reader,
}

impl Client {
    async fn connect(edge: &TestEdge) -> Self {
        let address: SocketAddr = edge.nginx.address("main").unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, reader: Reader::default() }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a GET, and reads only the head and the bytes that arrive with it.
    async fn begin(edge: &TestEdge, target: &str) -> (Self, Head) {
        let mut client = Self::connect(edge).await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n").as_bytes()).await;
        let head = client.head().await;
        (client, head)
    }

    async fn head(&mut self) -> Head {
        self.head_or_end().await.unwrap()
    }

    /// Reads a head; `None` when nginx closes the connection.
    async fn head_or_end(&mut self) -> Option<Head> {
        let head = tokio::time::timeout(wait::PATIENCE, self.reader.head(&mut self.stream));
        head.await.unwrap().unwrap()
    }

    /// Reads the rest of the body and returns its length.
    async fn finish(&mut self, head: &Head) -> anyhow::Result<usize> {
        let body = tokio::time::timeout(wait::PATIENCE, self.reader.body(&mut self.stream, head));
        Ok(body.await??.len())
    }
}
