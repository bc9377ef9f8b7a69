//! Request bodies that arrive slowly or incompletely.

use std::time::{Duration, Instant};

use cutover_core::api::Slot;
use cutover_core::counters::{Counters, Failures, Responses};
use cutover_tests::backend::Truth;
use cutover_tests::{TestEdge, wait};

use super::{Client, PAUSE, backend_bytes, blue, bytes, counts, ended, ended_with, logged, one, start};

/// One half of the body: more than nginx buffers in memory.
const HALF: &[u8] = &[b'h'; 20_000];

/// Sends a head and the first half of the body.
async fn first_half(edge: &TestEdge, target: &str) -> Client {
    let mut client = Client::connect(edge).await;
    let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 2 * HALF.len());
    client.send(head.as_bytes()).await;
    client.send(HALF).await;
    client
}

const BUFFERED: &str = "a client request body is buffered to a temporary file";

/// Sends the second half. Asserts that the request is answered and counted with its complete body.
async fn second_half(edge: &TestEdge, mut client: Client) -> Slot {
    client.send(HALF).await;
    let head = client.head().await;
    assert_eq!(head.status().unwrap(), 200);
    client.finish(&head).await.unwrap();
    let blue = ended(edge, 1).await;
    assert_eq!(blue.counters, one(Responses { success: 1, ..Responses::default() }));
    assert_eq!((bytes(&blue), edge.blue.truth().body_bytes), (backend_bytes(&edge.blue.truth()), 40_000));
    assert_eq!(counts(&blue), (1, 1));
    blue
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_that_is_buffered_costs_the_slot_nothing() {
    let edge = start().await;
    let client = first_half(&edge, "/").await;
    logged(&edge, BUFFERED).await;
    tokio::time::sleep(PAUSE).await;
    assert_eq!((blue(&edge).await.counters, edge.blue.truth()), (Counters::default(), Truth::default()));
    let after_the_pause = Instant::now();
    let blue = second_half(&edge, client).await;
    assert!(
        Duration::from_micros(blue.whole.sum_us) < after_the_pause.elapsed() + wait::NGINX_TICK,
        "{:?}",
        blue.whole
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_that_is_passed_on_holds_the_slot_from_its_first_byte() {
    let edge = start().await;
    let client = first_half(&edge, "/passed-on").await;
    wait::until("the head at the slot", || edge.blue.truth().in_flight == 1).await.unwrap();
    tokio::time::sleep(PAUSE).await;
    let open = blue(&edge).await;
    assert_eq!(open.counters, Counters { in_flight: 1, ..one(Responses::default()) });
    assert_eq!((bytes(&open), counts(&open)), ((0, 0), (0, 0)), "counted at the end");
    let blue = second_half(&edge, client).await;
    // The time to the first byte includes the client's pause, because the slot waits for the body.
    assert!(
        Duration::from_micros(blue.first_byte.sum_us) + wait::NGINX_TICK >= PAUSE,
        "{:?}",
        blue.first_byte
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_while_it_is_buffered_never_meets_the_slot() {
    let edge = start().await;
    let mut client = first_half(&edge, "/impatient").await;
    assert!(client.head_or_end().await.is_none());
    ended_with(&edge, 408).await;
    assert!(edge.nginx.error_log().contains(BUFFERED));
    assert_eq!((blue(&edge).await.counters, edge.blue.truth()), (Counters::default(), Truth::default()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_while_it_is_passed_on_is_aborted() {
    let edge = start().await;
    let mut client = first_half(&edge, "/impatient/passed-on").await;
    assert!(client.head_or_end().await.is_none());
    ended_with(&edge, 408).await;
    let blue = ended(&edge, 1).await;
    assert_eq!(blue.counters, one(Responses { aborted: 1, ..Responses::default() }));
    assert_eq!((blue.failures, counts(&blue)), (Failures::default(), (0, 0)));
    wait::until("the slot to read all bytes", || backend_bytes(&edge.blue.truth()) == bytes(&blue))
        .await
        .unwrap();
    wait::until("nginx to close its connection", || edge.blue.truth().in_flight == 0).await.unwrap();
    assert!(blue.bytes.sent > 20_000 && edge.blue.truth().requests == 1, "{blue:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_while_its_body_is_buffered_never_meets_the_slot() {
    let edge = start().await;
    let client = first_half(&edge, "/").await;
    logged(&edge, BUFFERED).await;
    drop(client);
    logged(&edge, "client prematurely closed connection").await;
    assert_eq!((blue(&edge).await.counters, edge.blue.truth()), (Counters::default(), Truth::default()));
}

/// nginx itself ends such a request with 400 (`ngx_http_do_read_client_request_body`).
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_while_its_body_is_passed_on_is_aborted() {
    let edge = start().await;
    let client = first_half(&edge, "/passed-on").await;
    wait::until("the head at the slot", || edge.blue.truth().in_flight == 1).await.unwrap();
    drop(client);
    let blue = ended(&edge, 1).await;
    assert_eq!(blue.counters, one(Responses { aborted: 1, ..Responses::default() }));
    assert_eq!((blue.failures, counts(&blue)), (Failures::default(), (0, 0)));
}
