//! Calls whose server is dead, breaks off, or does not answer.

use std::time::Duration;

use cutover_core::counters::{Counters, Failures, Responses, ServerErrors};

use cutover_tests::wait;

use super::{CALL, GrpcEdge, counts, success};
use crate::protocols::frames::Step;

/// The pause of a slow server.
const PAUSE: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_costs_one_more_attempt() {
    let edge = GrpcEdge::start().await;
    edge.switch("half").await;
    for _ in 0..10 {
        assert_eq!(edge.call(CALL).await.unwrap().grpc_status.as_deref(), Some("0"));
    }
    let half = edge.ended("half", 10).await;
    let failed = half.counters.attempts_failed;
    assert!(failed >= 4, "every second call tries the dead server first: {half:?}");
    assert_eq!(half.failures, Failures { connect: failed, ..Failures::default() });
    assert_eq!(half.counters, Counters { attempts: 10 + failed, attempts_failed: failed, ..success(10) });
    assert_eq!(
        (edge.one.truth().calls, counts(&half)),
        (10, (10, 10)),
        "a refused connection has no latency"
    );
    edge.assert_bytes(&half).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_or_invalid_stream_is_a_failed_answer() {
    let edge = GrpcEdge::start().await;
    // The last case is a message without a head.
    for steps in [&[Step::Reset][..], &[Step::Close], &[Step::Message]] {
        edge.one.set_steps(steps);
        assert_eq!(edge.call(CALL).await.unwrap().status, 502, "{steps:?}");
    }
    let blue = edge.ended("blue", 3).await;
    let responses = Responses { server_error: 3, ..Responses::default() };
    let expected =
        Counters { requests: 3, attempts: 3, attempts_failed: 3, responses, ..Counters::default() };
    assert_eq!(blue.counters, expected);
    assert_eq!(blue.failures, Failures { answer: 3, ..Failures::default() });
    assert_eq!(blue.server_errors, ServerErrors { bad_gateway: 3, ..ServerErrors::default() });
    assert_eq!((edge.one.truth().calls, blue.whole.count), (3, 0));
    edge.assert_bytes(&blue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_closes_within_an_answer_cuts_it_off() {
    let edge = GrpcEdge::start().await;
    edge.one.set_steps(&[Step::Head(200), Step::Message, Step::Close]);
    assert!(edge.call(CALL).await.is_none());
    let blue = edge.ended("blue", 1).await;
    assert_eq!((blue.counters.responses.server_error, blue.server_errors.bad_gateway), (1, 1));
    assert_eq!((blue.failures, counts(&blue)), (Failures { answer: 1, ..Failures::default() }, (1, 0)));
    edge.assert_bytes(&blue).await;
}

/// nginx ends such a request with `NGX_ERROR`, not with 502 (`ngx_http_grpc_filter`).
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_or_invalid_stream_within_an_answer_cuts_it_off() {
    for last in [Step::Reset, Step::Head(200)] {
        let edge = GrpcEdge::start().await;
        edge.one.set_steps(&[Step::Head(200), Step::Message, last]);
        assert!(edge.call(CALL).await.is_none());
        let blue = edge.ended("blue", 1).await;
        let responses = Responses { server_error: 1, ..Responses::default() };
        assert_eq!(blue.counters.responses, responses, "{last:?}");
        assert_eq!(blue.failures, Failures { answer: 1, ..Failures::default() }, "{last:?}");
        assert_eq!((blue.counters.attempts_failed, counts(&blue)), (1, (1, 0)), "{last:?}");
        edge.assert_bytes(&blue).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_is_retried_on_another_server() {
    let edge = GrpcEdge::start().await;
    edge.switch("both").await;
    for step in [Step::Reset, Step::Head(503)] {
        // No further step: nginx closes the connection after this one.
        edge.one.set_steps(&[step]);
        for _ in 0..4 {
            // Without a message, because grpc_pass buffers no body and nginx does not resend what it has passed on
            // (ngx_http_upstream_next).
            assert_eq!(edge.call_with("/again", b"").await.unwrap().slot, "other");
        }
    }
    let both = edge.ended("both", 8).await;
    let Failures { answer, status, .. } = both.failures;
    // Each of the two workers balances for itself.
    assert!(answer >= 1 && status >= 1, "{both:?}");
    assert_eq!(both.failures, Failures { answer, status, ..Failures::default() });
    let failed = answer + status;
    assert_eq!(both.counters, Counters { attempts: 8 + failed, attempts_failed: failed, ..success(8) });
    assert_eq!((edge.one.truth().calls, edge.other.truth().calls), (failed, 8));
    assert_eq!(both.whole.count, 8);
    edge.assert_bytes(&both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_answer_runs_into_its_time_limit() {
    let edge = GrpcEdge::start().await;
    edge.one.set_steps(&[]);
    assert_eq!(edge.call("/short").await.unwrap().status, 504);
    edge.one.set_steps(&[Step::Head(200), Step::Message]);
    assert!(edge.call("/short").await.is_none(), "the answer breaks off");
    let blue = edge.ended("blue", 2).await;
    assert_eq!(blue.failures, Failures { timeout: 2, ..Failures::default() });
    assert_eq!((blue.counters.responses.server_error, blue.server_errors.gateway_timeout), (2, 2));
    assert_eq!((blue.counters.attempts, blue.counters.attempts_failed, blue.whole.count), (2, 2, 0));
    edge.assert_bytes(&blue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_answer_takes_as_long_as_its_server() {
    let edge = GrpcEdge::start().await;
    edge.one.set_steps(&[Step::Head(200), Step::Message, Step::Wait(PAUSE), Step::Trailers(0)]);
    edge.call(CALL).await.unwrap();
    let blue = edge.ended("blue", 1).await;
    assert_eq!(counts(&blue), (1, 1));
    let (first_byte, whole) = (blue.first_byte.sum_us, blue.whole.sum_us);
    assert!(
        Duration::from_micros(whole) + wait::NGINX_TICK >= PAUSE && first_byte < whole,
        "{first_byte}, {whole}"
    );
}

/// A server begins each connection with a SETTINGS frame, which is not part of an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_settings_frame_is_no_first_byte() {
    let edge = GrpcEdge::start().await;
    edge.one.set_steps(&[Step::Wait(PAUSE), Step::Head(200), Step::Message, Step::Trailers(0)]);
    edge.call(CALL).await.unwrap();
    let blue = edge.ended("blue", 1).await;
    assert_eq!(counts(&blue), (1, 1));
    let first_byte = Duration::from_micros(blue.first_byte.sum_us);
    assert!(first_byte + wait::NGINX_TICK >= PAUSE, "{first_byte:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_with_settings_and_no_answer_has_no_latency() {
    let edge = GrpcEdge::start().await;
    edge.one.set_steps(&[]);
    assert_eq!(edge.call("/short").await.unwrap().status, 504);
    assert_eq!(counts(&edge.ended("blue", 1).await), (0, 0));
}
