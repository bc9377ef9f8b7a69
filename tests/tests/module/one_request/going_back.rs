//! Trials: the parts of a request after its slot has lost the traffic, or after a rescue.

use std::time::Duration;

use cutover_tests::{Action, client, wait};

use super::start;

const SLOW: Duration = Duration::from_millis(400);

/// A page whose second part fails on green, and two more after it.
const PAGE: &str = concat!(
    r#"<!--# include virtual="/part/a" wait="yes" -->"#,
    r#"<!--# include virtual="/fails" wait="yes" -->"#,
    r#"<!--# include virtual="/part/b" -->"#,
);

#[tokio::test(flavor = "multi_thread")]
async fn parts_after_a_rescue_go_to_the_fallback() {
    let edge = start("").await;
    edge.green.on("/page", Action::status(200).body(PAGE));
    edge.green.on("/fails", Action::Cut);
    edge.try_out("green", true).await.unwrap();
    let answer = client::get(edge.nginx.address("main").unwrap(), "/page").await.unwrap();
    assert_eq!(answer.status_and_slot(), (200, "green"));
    let (blue, green) = (edge.blue.truth().targets, edge.green.truth().targets);
    assert_eq!(blue.keys().collect::<Vec<_>>(), ["/fails", "/part/b"], "after the rescue");
    assert_eq!(green.keys().collect::<Vec<_>>(), ["/fails", "/page", "/part/a"], "before it");
    let group = edge.until_idle().await.unwrap();
    let green = group.slot("green").unwrap().counters;
    assert_eq!((green.requests, green.responses.rescued), (3, 1));
    assert_eq!(group.slot("blue").unwrap().counters.responses.success, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_rescued_request_follows_its_redirect() {
    let edge = start("").await;
    // The fallback answers with a redirect, and the next part goes to the fallback.
    edge.green.on("/accel/twice", Action::Cut);
    edge.try_out("green", true).await.unwrap();
    let answer = client::get(edge.nginx.address("main").unwrap(), "/accel/twice").await.unwrap();
    assert_eq!(answer.status_and_slot(), (200, "blue"));
    assert_eq!(edge.green.truth().targets.keys().collect::<Vec<_>>(), ["/accel/twice"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_where_it_began_when_the_guard_goes_back() {
    let edge = start("").await;
    edge.green.on("/part/a", Action::status(200).after(SLOW));
    edge.green.on("/bad", Action::status(500));
    let guarded = r#"{"active":"green","guard":{"min_requests":1,"max_error_ratio":0,"window_ms":60000}}"#;
    edge.change(guarded).await.unwrap();
    let address = edge.nginx.address("main").unwrap();
    let request = tokio::spawn(client::get(address, "/page"));
    wait::until("/part/a", || edge.green.truth().targets.contains_key("/part/a")).await.unwrap();
    assert_eq!(client::get(address, "/bad").await.unwrap().status, 500);
    edge.until_active("blue").await.unwrap();
    assert_eq!(request.await.unwrap().unwrap().status_and_slot(), (200, "green"));
    assert_eq!(edge.blue.truth().requests, 0);
    assert_eq!(edge.green.truth().requests, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_request_are_rescued_also_when_its_trial_has_ended() {
    let edge = start("").await;
    edge.green.on("/page", Action::status(200).body(PAGE));
    edge.green.on("/part/a", Action::status(200).after(SLOW));
    edge.green.on("/fails", Action::Cut);
    let change = r#"{"active":"green","rescue":true,"guard":{"min_requests":1,"max_error_ratio":0,"window_ms":60000}}"#;
    edge.change(change).await.unwrap();
    edge.green.on("/bad", Action::status(500));
    let address = edge.nginx.address("main").unwrap();
    let request = tokio::spawn(client::get(address, "/page"));
    wait::until("/part/a", || edge.green.truth().targets.contains_key("/part/a")).await.unwrap();
    assert_eq!(client::get(address, "/bad").await.unwrap().status, 500);
    edge.until_active("blue").await.unwrap();
    let answer = request.await.unwrap().unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    assert!(!text.contains("an error occurred"), "{text}");
    assert_eq!(edge.blue.truth().targets.keys().collect::<Vec<_>>(), ["/fails", "/part/b"]);
}

/// The guard counts each part as a request.
#[tokio::test(flavor = "multi_thread")]
async fn parts_count_for_the_trial_under_which_their_request_began() {
    let edge = start("").await;
    edge.green.on("/part/b", Action::status(500));
    let guarded =
        r#"{"active":"green","guard":{"min_requests":100,"max_error_ratio":0.5,"window_ms":60000}}"#;
    edge.change(guarded).await.unwrap();
    client::get(edge.nginx.address("main").unwrap(), "/page").await.unwrap();
    let ended = |group: &cutover_core::api::Group| {
        let figures = group.route.trial.as_ref().unwrap().figures;
        (figures.requests, figures.errors) == (5, 1)
    };
    edge.until("five parts, one of them failed", ended).await.unwrap();
}
