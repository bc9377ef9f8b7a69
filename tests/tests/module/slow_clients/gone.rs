//! Clients that stop reading, or disconnect during an answer.

use cutover_core::counters::{Failures, Responses};
use cutover_tests::{TestEdge, wait};

use super::{Client, PAUSE, backend_bytes, bytes, counts, ended, in_flight, one, start};

const ABORTED: Responses = Responses {
    informational: 0,
    success: 0,
    redirection: 0,
    client_error: 0,
    server_error: 0,
    aborted: 1,
    rescued: 0,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_aborted() {
    let edge = start().await;
    let (mut client, head) = Client::begin(&edge, "/impatient/unbuffered").await;
    assert_aborted(&edge, "/impatient/unbuffered").await;
    assert!(client.finish(&head).await.is_err(), "nginx has closed the connection");
}

/// nginx ends such a request with `NGX_ERROR`, not with 408 (`ngx_http_upstream_process_downstream`).
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_what_is_buffered_is_aborted() {
    let edge = start().await;
    let (mut client, head) = Client::begin(&edge, "/impatient/buffers").await;
    assert_aborted(&edge, "/impatient/buffers").await;
    assert!(client.finish(&head).await.is_err(), "nginx has closed the connection");
}

/// When a write to the client fails, nginx ends the request with `NGX_ERROR`; when a read fails, with 499.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_a_failed_write_finds_gone_is_aborted() {
    for target in ["/unbuffered/blindly", "/buffers/blindly"] {
        let edge = start().await;
        let (client, _) = Client::begin(&edge, target).await;
        in_flight(&edge, 1).await;
        drop(client);
        assert_aborted(&edge, target).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_during_the_answer_is_aborted() {
    for target in ["/unbuffered", "/buffers"] {
        let edge = start().await;
        let (client, _) = Client::begin(&edge, target).await;
        // Until nginx waits for the client.
        tokio::time::sleep(PAUSE).await;
        drop(client);
        assert_aborted(&edge, target).await;
    }
}

/// Asserts that one request is aborted, with one attempt that got a first byte and did not fail.
async fn assert_aborted(edge: &TestEdge, target: &str) {
    let blue = ended(edge, 1).await;
    assert_eq!(blue.counters, one(ABORTED), "{target}");
    assert_eq!((blue.failures, counts(&blue)), (Failures::default(), (1, 0)), "{target}");
    wait::until("nginx to close its connection", || edge.blue.truth().in_flight == 0).await.unwrap();
    let ((sent, received), (got, gave)) = (bytes(&blue), backend_bytes(&edge.blue.truth()));
    // The backend has sent more than nginx has read: the difference is in socket buffers.
    assert!(sent == got && received > 0 && received < gave, "{target}: {received} of {gave}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_or_disconnects_after_nginx_has_the_answer_does_not_affect_the_slot() {
    for target in ["/file", "/impatient/file"] {
        let edge = start().await;
        let (mut client, head) = Client::begin(&edge, target).await;
        let blue = ended(&edge, 1).await;
        assert_eq!(blue.counters, one(Responses { success: 1, ..Responses::default() }), "{target}");
        assert_eq!((counts(&blue), bytes(&blue)), ((1, 1), backend_bytes(&edge.blue.truth())), "{target}");
        if target == "/file" {
            drop(client);
            super::logged(&edge, "while sending to client").await;
        } else {
            super::logged(&edge, "client timed out").await;
            assert!(client.finish(&head).await.is_err(), "nginx has closed the connection");
        }
        assert_eq!(super::blue(&edge).await, blue, "{target}");
    }
}
