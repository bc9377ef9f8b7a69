//! Request bodies that do not fit into memory, or that nginx passes on while it receives them.

use cutover_tests::load::{Load, Request};
use cutover_tests::test_edge::{TestEdge, UPSTREAMS};
use cutover_tests::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LOCATIONS: &str = "
    client_body_buffer_size 8k;
    client_max_body_size 4m;
    location / { proxy_pass http://shop; }
    location /buffered { proxy_pass http://shop; }
    location /unbuffered { proxy_request_buffering off; proxy_pass http://shop; }
";

async fn start() -> TestEdge {
    TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATIONS)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_temporary_files() {
    uploads("/buffered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_request_buffering() {
    uploads("/unbuffered").await;
}

async fn uploads(target: &str) {
    let edge = start().await;
    let body = |letter: char, bytes: usize| letter.to_string().repeat(bytes);
    let requests = vec![
        Request::get("/"),
        Request::post(target, &body('s', 100)),
        Request::post(target, &body('m', 20_000)),
        Request::post(target, &body('l', 300_000)),
    ];
    let plan = edge.plan().unwrap().connections(2, 4).requests(requests);
    let load = Load::start(plan, edge.oracle());
    let report = super::switch_and_reload(&edge, load, &format!("{target} bodies")).await;
    let (blue, green) = (edge.blue.truth(), edge.green.truth());
    assert_eq!(blue.requests + green.requests, report.total);
    // The distribution of large bodies is random, but each slot gets at least one.
    assert!(blue.body_bytes > 300_000 && green.body_bytes > 300_000, "{blue:?} {green:?}");
    super::counted(&edge, report.total).await;
}

/// nginx chooses the slot when it has the complete body, or at once without buffering, as documented.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_during_an_upload() {
    let edge = start().await;
    for (target, slot) in [("/buffered", "green"), ("/unbuffered", "blue")] {
        edge.shop.switch_to("blue").await.unwrap();
        let before = edge.blue.truth().in_flight;
        let mut upload = TcpStream::connect(edge.nginx.address("main").unwrap()).await.unwrap();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 50000\r\n\r\n"
        );
        upload.write_all(head.as_bytes()).await.unwrap();
        upload.write_all(&[b'x'; 25_000]).await.unwrap();
        if target == "/unbuffered" {
            wait::until("the head at the slot", || edge.blue.truth().in_flight > before).await.unwrap();
        }
        edge.shop.switch_to("green").await.unwrap();
        upload.write_all(&[b'x'; 25_000]).await.unwrap();
        let mut answer = String::new();
        upload.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.contains(" 200 ") && answer.contains(&format!("x-slot: {slot}")),
            "{target}: {answer}"
        );
    }
    assert_eq!((edge.blue.truth().body_bytes, edge.green.truth().body_bytes), (50_000, 50_000));
}
