//! Calls that their clients cancel.

use cutover_core::counters::{Counters, Failures, Responses};
use cutover_tests::wait;
use http_body_util::BodyExt;

use super::{CALL, GrpcEdge, HELLO};
use crate::protocols::frames::Step;
use crate::protocols::{echo, grpc};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_its_client_cancels_is_aborted() {
    let edge = GrpcEdge::start().await;
    let mut connection = grpc::connect(edge.nginx.address("main").unwrap()).await;
    for (calls, steps) in [(1, &[Step::Head(200), Step::Message][..]), (2, &[])] {
        edge.one.set_steps(steps);
        let request = grpc::request(CALL, "application/grpc", HELLO);
        let answer = connection.send_request(request);
        if steps.is_empty() {
            // Before the first byte of an answer.
            let waiting = tokio::spawn(answer);
            wait::until("the call at its server", || edge.one.truth().calls == calls).await.unwrap();
            edge.once("blue", "the call in flight", |now| now.in_flight == 1).await;
            waiting.abort();
        } else {
            let mut body = answer.await.unwrap().into_body();
            body.frame().await.unwrap().unwrap();
            edge.once("blue", "the call in flight", |now| now.in_flight == 1).await;
        }
        edge.ended("blue", calls).await;
    }
    let blue = edge.slot("blue").await;
    let responses = Responses { aborted: 2, ..Responses::default() };
    assert_eq!(blue.counters, Counters { requests: 2, attempts: 2, responses, ..Counters::default() });
    assert_eq!((blue.failures, blue.whole.count), (Failures::default(), 0));
    assert_eq!(edge.nginx.error_log().matches("client canceled stream").count(), 2);
    wait::until("nginx to close both connections", || edge.one.truth().closed == 2).await.unwrap();
    edge.assert_bytes(&blue).await;
}

/// While the client can still send messages, nginx reads the request body and ends the request with 400
/// (`ngx_http_v2_read_unbuffered_request_body`).
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_its_client_cancels_is_aborted() {
    let edge = GrpcEdge::start().await;
    edge.one.set_steps(&[Step::Talk, Step::Trailers(0)]);
    let (_, mut stream) = echo::Stream::open(edge.nginx.address("main").unwrap()).await;
    stream.say("hello").await;
    stream.cancel();
    let blue = edge.ended("blue", 1).await;
    assert!(edge.nginx.error_log().contains("client terminated stream"));
    let responses = Responses { aborted: 1, ..Responses::default() };
    assert_eq!(blue.counters, Counters { requests: 1, attempts: 1, responses, ..Counters::default() });
    assert_eq!((blue.failures, blue.whole.count), (Failures::default(), 0));
    edge.assert_bytes(&blue).await;
}
