//! A switch between two parts of a request.

use std::time::Duration;

use cutover_core::api::{Group, Slot};
use cutover_core::counters::Responses;
use cutover_tests::{Action, Nginx, TestEdge, client, wait};

use super::{FILE, http, start, start_with};

/// Sends a request and switches to green when blue has received the part `first`. Returns how many requests for `second` blue
/// and green have received.
async fn switched_between(edge: &TestEdge, target: &str, first: &str, second: &str) -> (u64, u64) {
    edge.blue.on(first, Action::status(200).after(Duration::from_millis(400)));
    let address = edge.nginx.address("main").unwrap();
    let request = tokio::spawn({
        let target = target.to_owned();
        async move { client::get(address, &target).await }
    });
    let requests = |backend: &cutover_tests::Backend, target: &str| {
        backend.truth().targets.get(target).copied().unwrap_or(0)
    };
    wait::until(first, || requests(&edge.blue, first) == 1).await.unwrap();
    edge.shop.switch_to("green").await.unwrap();
    assert_eq!(request.await.unwrap().unwrap().status, 200);
    (requests(&edge.blue, second), requests(&edge.green, second))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_began_before_a_switch_is_of_one_version() {
    let edge = start("").await;
    assert_eq!(switched_between(&edge, "/page", "/part/a", "/part/b").await, (1, 0));
    let green = client::get(edge.nginx.address("main").unwrap(), "/page").await.unwrap();
    assert_eq!(green.slot(), "green", "a page that begins later");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_page_gets_its_parts_from_one_version() {
    let edge = start("").await;
    assert_eq!(switched_between(&edge, "/static/page.html", "/part/a", "/part/b").await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_goes_on_after_the_module_s_own_answers() {
    let edge = start(
        "location = /v1/groups { ssi off; cutover_api; }
         location = /metrics { ssi off; cutover_metrics; }",
    )
    .await;
    for part in ["/v1/groups", "/metrics"] {
        let page = format!(r#"begin <!--# include virtual="{part}" --> end"#);
        std::fs::write(edge.nginx.prefix().join("static/own.html"), page).unwrap();
        let answer = client::get(edge.nginx.address("main").unwrap(), "/static/own.html").await.unwrap();
        let body = String::from_utf8_lossy(&answer.body);
        assert!(
            body.starts_with("begin ") && body.contains("shop") && body.ends_with(" end"),
            "{part}: {body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_and_its_request_are_of_one_version() {
    let edge = start("").await;
    assert_eq!(switched_between(&edge, "/authorized", "/auth", "/authorized").await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_page_is_of_the_version_that_failed() {
    let edge = start("").await;
    edge.blue.on("/broken", Action::status(503).after(Duration::from_millis(400)));
    let address = edge.nginx.address("main").unwrap();
    let request = tokio::spawn(client::get(address, "/broken"));
    wait::until("/broken", || edge.blue.truth().requests == 1).await.unwrap();
    edge.shop.switch_to("green").await.unwrap();
    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.status_and_slot(), (200, "blue"));
}

/// The client reads the first bytes, and the rest after a switch. Meanwhile no slice is in flight, but the slot still has the
/// request.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_download_in_slices_holds_its_slot() {
    const LARGE: usize = 40 << 20;
    let more = "location /large {
        slice 8m;
        proxy_set_header Range $slice_range;
        proxy_set_header X-Request-Id $request_id;
        proxy_pass http://shop;
    }";
    let edge = start(more).await;
    edge.blue.on("/large", Action::File(LARGE));
    edge.green.on("/large", Action::File(LARGE));
    let mut slow = edge.connect().await.unwrap();
    slow.send("GET", "/large", &[]).await.unwrap();
    let idle = || edge.blue.truth().requests >= 1 && edge.blue.truth().in_flight == 0;
    wait::until("the first slice", idle).await.unwrap();
    edge.shop.switch_to("green").await.unwrap();
    assert_eq!(edge.slot("blue").await.unwrap().counters.in_flight, 1, "the download is not over");
    let answer = slow.answer().await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, LARGE));
    assert!(answer.body.iter().all(|byte| *byte == b'b'), "one version");
    edge.until("the download to end", |group| group.slot("blue").unwrap().counters.in_flight == 0)
        .await
        .unwrap();
    assert_eq!(edge.green.truth().requests, 0);
    assert_eq!(edge.slot("blue").await.unwrap().counters.responses.server_error, 0);
    assert_eq!(
        client::get(edge.nginx.address("main").unwrap(), "/sliced").await.unwrap().body,
        "g".repeat(FILE).as_bytes()
    );
}

/// The slices of one download come from two slots, whose files differ: nginx cuts the download, and no slot has failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_nginx_cuts_is_no_failure_of_a_slot() {
    let more = "location /mixed {
        slice 1k;
        cutover_slot $slot_of_slice;
        proxy_set_header Range $slice_range;
        proxy_pass http://shop;
    }";
    let map = "map $slice_range $slot_of_slice { volatile; default active; bytes=1024-2047 green; }";
    let edge = start_with(Nginx::builder().http(&format!("{map}{}", http(more)))).await;
    edge.blue.on("/mixed", Action::File(FILE));
    edge.green.on("/mixed", Action::File(FILE));
    edge.get("/mixed").await.unwrap_err();
    let idle = |slot: &Slot| slot.in_flight() == 0;
    let counted =
        |group: &Group| group.slot("green").unwrap().previews.requests == 1 && group.slots.iter().all(idle);
    let group = edge.until("green's part to be counted", counted).await.unwrap();
    let (blue, green) = (group.slot("blue").unwrap(), group.slot("green").unwrap());
    let one = Responses { success: 1, ..Responses::default() };
    assert_eq!((blue.counters.responses, green.previews.responses), (one, one), "green's part is a preview");
    assert_eq!((blue.counters.attempts_failed, green.counters.attempts_failed), (0, 0));
}

/// A part that nginx keeps in memory fails when its answer breaks off.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_in_memory_that_breaks_off_is_a_failure_of_the_slot() {
    // The default of 4 KB can be too small for the first read.
    let edge = start("location /half { subrequest_output_buffer_size 64k; proxy_pass http://shop; }").await;
    edge.blue.on("/page", Action::status(200).body(r#"<!--# include virtual="/half" set="half" -->"#));
    edge.blue.on("/half", Action::CutBody);
    edge.get("/page").await.unwrap();
    let counted = |group: &Group| group.slot("blue").unwrap().counters.responses.total() == 2;
    let group = edge.until("two parts to be counted", counted).await.unwrap();
    let blue = group.slot("blue").unwrap();
    assert_eq!((blue.counters.responses.server_error, blue.failures.answer), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_kept_connection_chooses_its_slot() {
    let edge = start("").await;
    let mut client = edge.connect().await.unwrap();
    assert_eq!(client.request("GET", "/page", &[]).await.unwrap().slot(), "blue");
    edge.shop.switch_to("green").await.unwrap();
    assert_eq!(client.request("GET", "/page", &[]).await.unwrap().slot(), "green");
}
