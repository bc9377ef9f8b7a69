//! A slot's figures of gRPC calls, compared with what the server received and sent.
//!
//! `bytes` are those of the connection, HTTP/2 frames included: `ngx_http_upstream_process_header` and
//! `ngx_http_upstream_process_non_buffered_request` add what they read to `u->state->bytes_received` before the protocol looks
//! at it, and `u->state->bytes_sent` becomes `u->peer.connection->sent`, which `ngx_http_upstream_get_keepalive_peer` sets back.
//! So they equal the server's counts, with two exceptions: bytes that nginx has not read when it closes a connection, and
//! bytes that arrive while the connection has no call.

mod cancelled;
mod failed;

use cutover_core::api::Slot;
use cutover_core::counters::{Counters, Failures, Responses};
use cutover_tests::{Nginx, wait};

use super::frames::{Server, Step};
use super::{echo, grpc};

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream one  { server %%one%%; keepalive 4; }
    upstream half { server %%dead%% max_fails=0; server %%one%% max_fails=0; }
    upstream both { server %%one%% max_fails=0; server %%other%% max_fails=0; }
    cutover shop { slot blue one; slot half half; slot both both; active blue; }
    grpc_read_timeout 30s;
    server {
        listen %%listen:main%% http2;
        location / { grpc_pass grpc://shop; }
        location /short { grpc_read_timeout 500ms; grpc_pass grpc://shop; }
        location /again { grpc_next_upstream error invalid_header http_503 non_idempotent; grpc_pass grpc://shop; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

const CALL: &str = "/shop.Catalogue/List";
const HELLO: &[u8] = b"\0\0\0\0\x05hello";

struct GrpcEdge {
    one: Server,
    other: Server,
    nginx: Nginx,
}

impl GrpcEdge {
    async fn start() -> Self {
        let (one, other) = (Server::start("blue").await, Server::start("other").await);
        let builder = Nginx::builder().set("one", one.address).set("other", other.address);
        let builder = builder.set("dead", cutover_tests::ports::free().unwrap());
        let nginx = builder.http(HTTP).start().await.unwrap();
        Self { one, other, nginx }
    }

    /// Makes one call on a new connection; `None` when the answer breaks off.
    async fn call(&self, path: &str) -> Option<grpc::Answer> {
        self.call_with(path, HELLO).await
    }

    async fn call_with(&self, path: &str, message: &[u8]) -> Option<grpc::Answer> {
        let connection = grpc::connect(self.nginx.address("main").unwrap()).await;
        grpc::call(&connection, path, message).await.ok()
    }

    async fn slot(&self, slot: &str) -> Slot {
        self.nginx.admin().group("shop").await.unwrap().slot(slot).unwrap().clone()
    }

    async fn switch(&self, slot: &str) {
        self.nginx.admin().switch("shop", slot).await.unwrap();
    }

    /// Waits until `check` holds for the slot's counters, which is shortly after the clients have received the last byte.
    async fn once(&self, slot: &str, what: &str, check: impl Fn(&Counters) -> bool) -> Slot {
        wait::until_async(wait::PATIENCE, what, async || check(&self.slot(slot).await.counters))
            .await
            .unwrap();
        self.slot(slot).await
    }

    async fn ended(&self, slot: &str, calls: u64) -> Slot {
        let what = format!("the end of {calls} calls to {slot}");
        self.once(slot, &what, |now| now.responses.total() == calls && now.in_flight == 0).await
    }

    /// Asserts that the servers' byte counts equal those of the slot, once the servers have read everything.
    async fn assert_bytes(&self, slot: &Slot) {
        let by_servers = || {
            let (one, other) = (self.one.truth(), self.other.truth());
            (one.bytes_received + other.bytes_received, one.bytes_sent + other.bytes_sent)
        };
        let counted = (slot.bytes.sent, slot.bytes.received);
        let waited = wait::until("the servers to read all bytes", || by_servers().0 >= counted.0).await;
        assert_eq!(counted, by_servers(), "{waited:?}");
    }
}

/// The counts of the histograms `first_byte` and `whole`.
fn counts(slot: &Slot) -> (u64, u64) {
    (slot.first_byte.count, slot.whole.count)
}

fn success(number: u64) -> Counters {
    let responses = Responses { success: number, ..Responses::default() };
    Counters { requests: number, attempts: number, responses, ..Counters::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_their_bytes_are_those_that_the_server_saw() {
    let edge = GrpcEdge::start().await;
    let connection = grpc::connect(edge.nginx.address("main").unwrap()).await;
    for number in 0..20 {
        // From less than one frame to more than nginx's buffers.
        let message = vec![b'm'; number * 15_000 + 1];
        let answer = grpc::call(&connection, CALL, &message).await.unwrap();
        assert_eq!((answer.status, answer.grpc_status.as_deref()), (200, Some("0")));
        assert_eq!((answer.slot.as_str(), answer.message.len()), ("blue", message.len()));
    }
    let blue = edge.ended("blue", 20).await;
    assert_eq!(blue.counters, success(20));
    assert_eq!(counts(&blue), (20, 20));
    edge.assert_bytes(&blue).await;
    let truth = edge.one.truth();
    assert_eq!((truth.calls, truth.connections), (20, 1), "nginx has kept the connection");
    assert!(blue.bytes.sent > 2_850_000 && blue.bytes.received > 2_850_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_between_calls_are_not_counted() {
    let edge = GrpcEdge::start().await;
    edge.call(CALL).await.unwrap();
    let blue = edge.ended("blue", 1).await;
    edge.assert_bytes(&blue).await;
    edge.one.ping();
    wait::until("nginx to close a connection with unexpected bytes", || edge.one.truth().closed == 1)
        .await
        .unwrap();
    let frame = 17;
    assert_eq!(edge.one.truth().bytes_sent, blue.bytes.received + frame);
    assert_eq!(edge.slot("blue").await, blue);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_grpc_is_an_answer() {
    let edge = GrpcEdge::start().await;
    for steps in [&[Step::Head(200), Step::Trailers(14)][..], &[Step::TrailersOnly(14)]] {
        edge.one.set_steps(steps);
        let answer = edge.call(CALL).await.unwrap();
        assert_eq!((answer.status, answer.grpc_status.as_deref()), (200, Some("14")));
    }
    let blue = edge.ended("blue", 2).await;
    assert_eq!(blue.counters, success(2), "the class is that of the HTTP status");
    assert_eq!((blue.failures, counts(&blue)), (Failures::default(), (2, 2)));
    edge.one.set_steps(&[Step::Head(503), Step::Trailers(14)]);
    assert_eq!(edge.call(CALL).await.unwrap().status, 503);
    let blue = edge.ended("blue", 3).await;
    assert_eq!((blue.counters.responses.server_error, blue.server_errors.unavailable), (1, 1));
    assert_eq!((blue.failures, counts(&blue)), (Failures::default(), (3, 3)), "nginx has not retried it");
    edge.assert_bytes(&blue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_is_in_flight_over_a_switch_and_a_reload() {
    let edge = GrpcEdge::start().await;
    edge.one.set_steps(&[Step::Talk, Step::Trailers(0)]);
    let (slot, mut stream) = echo::Stream::open(edge.nginx.address("main").unwrap()).await;
    assert_eq!(slot, "blue");
    let open = Counters { requests: 1, attempts: 1, in_flight: 1, ..Counters::default() };
    for change in ["nothing", "a switch", "a reload"] {
        match change {
            "a switch" => edge.switch("both").await,
            "a reload" => edge.nginx.reload().await.unwrap(),
            _ => {}
        }
        stream.say(change).await;
        let blue = edge.slot("blue").await;
        assert_eq!((blue.counters, counts(&blue)), (open, (1, 0)), "after {change}");
        assert_eq!((blue.bytes.sent, blue.bytes.received), (0, 0), "bytes are added at the end of a call");
        assert_eq!(blue.upgraded, 0);
    }
    stream.end().await;
    let blue = edge.ended("blue", 1).await;
    assert_eq!((blue.counters, counts(&blue)), (success(1), (1, 1)));
    edge.assert_bytes(&blue).await;
    assert_eq!(edge.slot("both").await.counters, Counters::default());
}
