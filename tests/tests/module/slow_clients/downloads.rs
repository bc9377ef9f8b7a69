//! Clients that read slowly: the slot is in flight only while nginx has no room for the rest of the answer.

use std::time::Duration;

use cutover_core::counters::{Counters, Responses};

use super::{Client, LARGE, PAUSE, backend_bytes, blue, bytes, counts, ended, one, start};
use cutover_tests::{Action, wait};

const WELL: Responses = Responses {
    informational: 0,
    success: 1,
    redirection: 0,
    client_error: 0,
    server_error: 0,
    aborted: 0,
    rescued: 0,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_done_when_nginx_has_the_answer_in_a_file() {
    let edge = start().await;
    let (mut client, head) = Client::begin(&edge, "/file").await;
    // The client has read nothing of the body since.
    let blue_before = ended(&edge, 1).await;
    assert_eq!(blue_before.counters, one(WELL));
    assert_eq!((counts(&blue_before), bytes(&blue_before)), ((1, 1), backend_bytes(&edge.blue.truth())));
    assert!(client.finish(&head).await.unwrap() > LARGE);
    assert_eq!(blue(&edge).await, blue_before, "the slot's figures do not change any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_held_by_a_slow_reader_when_nginx_has_no_room_for_the_answer() {
    for target in ["/buffers", "/unbuffered"] {
        let edge = start().await;
        let (mut client, head) = Client::begin(&edge, target).await;
        tokio::time::sleep(PAUSE).await;
        let open = blue(&edge).await;
        assert_eq!(open.counters, Counters { in_flight: 1, ..one(Responses::default()) }, "{target}");
        assert_eq!((counts(&open), bytes(&open)), ((1, 0), (0, 0)), "{target}: bytes are added at the end");
        assert!(client.finish(&head).await.unwrap() > LARGE);
        let blue = ended(&edge, 1).await;
        assert_eq!(blue.counters, one(WELL), "{target}");
        assert_eq!((counts(&blue), bytes(&blue)), ((1, 1), backend_bytes(&edge.blue.truth())), "{target}");
        // The client has received the head before its pause.
        let (first_byte, whole) = (micros(blue.first_byte.sum_us), micros(blue.whole.sum_us));
        assert!(whole + wait::NGINX_TICK >= first_byte + PAUSE, "{target}: {first_byte:?}, {whole:?}");
    }
}

/// nginx sends 100 KB in each second, so the end of the body is sent in the third second.
#[tokio::test(flavor = "multi_thread")]
async fn a_limited_rate_is_no_latency_of_the_slot_when_nginx_has_room() {
    for (target, room) in [("/file/at-a-rate", true), ("/buffers/at-a-rate", false)] {
        let edge = start().await;
        edge.blue.on(target, Action::status(200).large(250_000));
        let (mut client, head) = Client::begin(&edge, target).await;
        let reading = tokio::spawn(async move { client.finish(&head).await });
        if room {
            ended(&edge, 1).await;
            assert!(!reading.is_finished(), "nginx has the answer long before the client");
        } else {
            super::in_flight(&edge, 1).await;
        }
        assert!(reading.await.unwrap().unwrap() > 250_000);
        let blue = ended(&edge, 1).await;
        assert_eq!((blue.counters, counts(&blue)), (one(WELL), (1, 1)), "{target}");
        assert_eq!(bytes(&blue), backend_bytes(&edge.blue.truth()), "{target}");
        let whole = micros(blue.whole.sum_us);
        assert!(room || whole > Duration::from_millis(900), "{target}: {whole:?}");
    }
}

fn micros(sum: u64) -> Duration {
    Duration::from_micros(sum)
}
