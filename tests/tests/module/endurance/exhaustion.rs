//! A worker without a free descriptor, or that may not create a thread, still switches and replies when the route is on
//! disk.

use cutover_tests::footprint::Footprint;
use cutover_tests::http1::{Reader, message};
use cutover_tests::process::Pid;
use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use cutover_tests::{Nginx, wait};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

const DESCRIPTORS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_descriptors_still_switches() {
    let builder = Nginx::builder().main(&format!("worker_rlimit_nofile {DESCRIPTORS};"));
    let edge = TestEdge::start_with(builder.http(&TestEdge::http(UPSTREAMS, LOCATION))).await.unwrap();
    // Before the other connections, because the worker accepts none afterwards.
    let mut admin = AdminConnection::open(&edge).await;
    let address = edge.nginx.address("main").unwrap();
    let mut idle = Vec::new();
    for _ in 0..3 * DESCRIPTORS {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let used_up = |worker: &Pid| {
        let refusal = format!("{worker}#{worker}: accept4() failed (24: Too many open files)");
        edge.nginx.error_log().contains(&refusal)
    };
    wait::until("both workers to run out of descriptors", || edge.nginx.workers().iter().all(used_up))
        .await
        .unwrap();
    switch_through(&edge, &mut admin).await;
    drop(idle);
    // A request needs two, one for its slot, and the load has some at once.
    let has_room = |worker: &Pid| Footprint::of(*worker).is_ok_and(|now| now.descriptors + 10 < DESCRIPTORS);
    wait::until("the workers to close them", || edge.nginx.workers().iter().all(has_room)).await.unwrap();
    go_on(&edge).await;
}

/// Each thread counts as a process of the workers' user, which already has more than one.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_threads_still_switches() {
    let builder = Nginx::builder().through(&["prlimit", "--nproc=1"]);
    let edge = TestEdge::start_with(builder.http(&TestEdge::http(UPSTREAMS, LOCATION))).await.unwrap();
    let mut admin = AdminConnection::open(&edge).await;
    switch_through(&edge, &mut admin).await;
    go_on(&edge).await;
}

async fn switch_through(edge: &TestEdge, admin: &mut AdminConnection) {
    for _ in 0..5 {
        let to = edge.shop.next();
        let call = edge.oracle().announce(&to);
        admin.switch(&to).await;
        call.acknowledge();
    }
}

async fn go_on(edge: &TestEdge) {
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 10).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("after a resource had run out", &report).unwrap();
    edge.nginx.kill_all().await.unwrap();
    edge.nginx.start().await.unwrap();
    edge.shop.assert_settled().await.unwrap();
}

/// A keep-alive connection to the admin API.
struct AdminConnection {
    stream: UnixStream,
    reader: Reader,
}

impl AdminConnection {
    async fn open(edge: &TestEdge) -> Self {
        let stream = UnixStream::connect(edge.nginx.admin_socket()).await.unwrap();
        let mut admin = Self { stream, reader: Reader::default() };
        // The reply shows that a worker has accepted the connection.
        assert_eq!(admin.ask("GET /v1/groups/shop HTTP/1.1", "").await.0, 200);
        admin
    }

    async fn switch(&mut self, slot: &str) {
        let (status, body) =
            self.ask("PUT /v1/groups/shop/route HTTP/1.1", &format!("{{\"active\":\"{slot}\"}}")).await;
        assert_eq!(status, 200, "{body}");
        assert!(body.contains(&format!("\"active\":\"{slot}\"")), "{body}");
    }

    async fn ask(&mut self, line: &str, body: &str) -> (u16, String) {
        let headers = [("host", "nginx"), ("content-type", "application/json")];
        self.stream.write_all(&message(line, &headers, body.as_bytes())).await.unwrap();
        let head = self.reader.head(&mut self.stream).await.unwrap().unwrap();
        let body = self.reader.body(&mut self.stream, &head).await.unwrap();
        (head.status().unwrap(), String::from_utf8(body).unwrap())
    }
}
