//! A slot is in flight from the first part that reached the group until the whole request ends, also between parts.

use std::time::Duration;

use cutover_tests::{Action, TestEdge, wait};

use super::{Upload, start};

const MORE: &str = "
    location = /permit {
        internal;
        proxy_pass_request_body off;
        proxy_set_header Content-Length '';
        proxy_pass http://shop;
    }
    location /permitted { auth_request /permit; proxy_pass http://shop; }
    location = /elsewhere { internal; proxy_pass http://shop_green; }
    location /first { error_page 404 = /second; proxy_pass http://shop; }
    location /second { auth_request /elsewhere; proxy_pass http://shop; }
    location /named { set $named $cutover_slot_of_shop; proxy_pass http://shop; }
    location = /echoes.html { ssi on; cutover_slot green; root %%prefix%%/static; }
    location /failed { error_page 404 = @other; set $said $cutover_slot_of_shop; proxy_pass http://shop; }
    location @other {
        cutover_slot standby;
        set $said $cutover_slot_of_shop;
        add_header x-said $said always;
        proxy_pass http://shop;
    }
";

async fn in_flight(edge: &TestEdge) -> (i64, i64) {
    let group = edge.group().await.unwrap();
    let of = |slot: &str| i64::try_from(group.slot(slot).unwrap().in_flight()).unwrap();
    (of("blue"), of("green"))
}

/// Sends a request, and switches to green while the request waits for an upstream outside the group.
async fn held_while_elsewhere(edge: &TestEdge, target: &str, last: &str) {
    edge.green.on("/elsewhere", Action::status(200).after(Duration::from_secs(1)));
    let mut client = edge.connect().await.unwrap();
    client.send("GET", target, &[]).await.unwrap();
    wait::until("/elsewhere", || edge.green.truth().targets.contains_key("/elsewhere")).await.unwrap();
    assert_eq!(edge.blue.truth().in_flight, 0, "no part is at the slot");
    edge.shop.switch_to("green").await.unwrap();
    assert_eq!(in_flight(edge).await, (1, 0), "the request is not over");
    assert_eq!(client.answer().await.unwrap().status, 200);
    assert!(edge.blue.truth().targets.contains_key(last), "{:?}", edge.blue.truth().targets);
    edge.until_idle().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn between_an_authorization_and_the_body_of_its_request() {
    let edge = start(MORE).await;
    let upload = Upload::begin(&edge, "/permitted").await;
    let permitted = || edge.blue.truth().requests == 1 && edge.blue.truth().in_flight == 0;
    wait::until("the authorization", permitted).await.unwrap();
    edge.shop.switch_to("green").await.unwrap();
    // Enough time for nginx to read the answer of the authorization.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(in_flight(&edge).await, (1, 0), "the request is not over");
    let answer = upload.finish().await;
    assert!(answer.contains("x-slot: blue"), "{answer}");
    edge.until_idle().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn between_an_error_and_what_its_page_asks_for() {
    let edge = start(MORE).await;
    edge.blue.on("/first", Action::status(404));
    held_while_elsewhere(&edge, "/first", "/second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_two_parts_of_a_static_page() {
    let edge = start(MORE).await;
    let page = concat!(
        r#"<!--# include virtual="/part/a" wait="yes" -->"#,
        r#"<!--# include virtual="/elsewhere" wait="yes" -->"#,
        r#"<!--# include virtual="/part/b" -->"#,
    );
    std::fs::write(edge.nginx.prefix().join("static/parts.html"), page).unwrap();
    held_while_elsewhere(&edge, "/static/parts.html", "/part/b").await;
}

/// A variable has named the slot, and the client reads slowly.
#[tokio::test(flavor = "multi_thread")]
async fn until_the_client_has_its_answer_when_the_slot_was_named() {
    const LARGE: usize = 40 << 20;
    let edge = start(MORE).await;
    edge.blue.on("/named", Action::File(LARGE));
    let mut client = edge.connect().await.unwrap();
    client.send("GET", "/named", &[]).await.unwrap();
    let idle = || edge.blue.truth().requests == 1 && edge.blue.truth().in_flight == 0;
    wait::until("the upstream's end", idle).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(in_flight(&edge).await, (1, 0), "the client is still served");
    assert_eq!(client.answer().await.unwrap().body.len(), LARGE);
    edge.until_idle().await.unwrap();
}

/// A range that the client has requested needs no further part.
#[tokio::test(flavor = "multi_thread")]
async fn no_longer_than_its_upstream_takes_for_a_range_in_one_piece() {
    const LARGE: usize = 40 << 20;
    let edge = start(MORE).await;
    edge.blue.on("/range", Action::File(LARGE));
    let mut client = edge.connect().await.unwrap();
    let range = format!("bytes=1-{}", LARGE - 1);
    client.send("GET", "/range", &[("range", &range)]).await.unwrap();
    let idle = || edge.blue.truth().requests == 1 && edge.blue.truth().in_flight == 0;
    wait::until("the upstream's end", idle).await.unwrap();
    edge.until_idle().await.unwrap();
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (206, LARGE - 1));
}

/// Naming the slot many times counts one request in flight.
#[tokio::test(flavor = "multi_thread")]
async fn once_when_the_slot_is_named_often() {
    let edge = start(MORE).await;
    let echo = r#"<!--# echo var="cutover_slot_of_shop" -->"#;
    let wait = r#"<!--# include virtual="/elsewhere" wait="yes" -->"#;
    let page = format!("{}{wait}", echo.repeat(300));
    std::fs::write(edge.nginx.prefix().join("static/echoes.html"), page).unwrap();
    edge.green.on("/elsewhere", Action::status(200).body("").after(Duration::from_secs(1)));
    let mut client = edge.connect().await.unwrap();
    client.send("GET", "/echoes.html", &[]).await.unwrap();
    wait::until("/elsewhere", || edge.green.truth().targets.contains_key("/elsewhere")).await.unwrap();
    assert_eq!(in_flight(&edge).await, (0, 1));
    assert_eq!(client.answer().await.unwrap().body, "green".repeat(300).as_bytes());
    edge.until_idle().await.unwrap();
}

/// After a redirect the variable names the slot of the new location.
#[tokio::test(flavor = "multi_thread")]
async fn at_the_slot_of_the_new_location_after_a_redirect() {
    let edge = start(MORE).await;
    edge.blue.on("/failed", Action::status(404));
    let answer = edge.get("/failed").await.unwrap();
    assert_eq!((answer.status_and_slot(), answer.head.header("x-said")), ((200, "green"), Some("green")));
    edge.until_idle().await.unwrap();
}
