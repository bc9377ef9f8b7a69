//! `cutover_slot` and the slot that a request has chosen.

use cutover_tests::{Backend, client, wait};

use super::start;

const MORE: &str = "
    location /tester { cutover_slot standby; ssi on; proxy_pass http://shop/page; }
    location /other { ssi on; proxy_pass http://shop/other; }
    location /part/green { cutover_slot green; proxy_pass http://shop; }
    location /part/route { cutover_slot active; proxy_pass http://shop; }
    location /tried { mirror /trial; proxy_pass http://shop; }
    location = /trial { internal; cutover_slot standby; proxy_pass http://shop; }
    location /guarded { auth_request /trial; proxy_pass http://shop; }
";

fn targets(backend: &Backend) -> Vec<String> {
    backend.truth().targets.into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tester_gets_whole_pages() {
    let edge = start(MORE).await;
    let answer = client::get(edge.nginx.address("main").unwrap(), "/tester").await.unwrap();
    assert_eq!(answer.status_and_slot(), (200, "green"));
    assert_eq!(edge.green.truth().requests, 5, "{:?}", targets(&edge.green));
    assert_eq!(edge.blue.truth().requests, 0, "{:?}", targets(&edge.blue));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_can_fix_the_slot_of_its_part() {
    let edge = start(MORE).await;
    let page = concat!(
        r#"<!--# include virtual="/part/green" wait="yes" -->"#,
        r#"<!--# include virtual="/part/route" wait="yes" -->"#,
        r#"<!--# include virtual="/part/b" -->"#,
    );
    edge.blue.on("/other", cutover_tests::Action::status(200).body(page));
    edge.green.on("/page", cutover_tests::Action::status(200).body(page));
    let address = edge.nginx.address("main").unwrap();
    assert_eq!(client::get(address, "/other").await.unwrap().status_and_slot(), (200, "blue"));
    assert_eq!(targets(&edge.green), ["/part/green"]);
    assert_eq!(targets(&edge.blue), ["/other", "/part/b", "/part/route"]);
    // In the page of a tester only the location's own `cutover_slot` differs.
    assert_eq!(client::get(address, "/tester").await.unwrap().status_and_slot(), (200, "green"));
    assert_eq!(targets(&edge.green), ["/page", "/part/b", "/part/green"]);
    assert_eq!(edge.blue.truth().targets["/part/route"], 2);
}

/// A slot that is fixed for one part does not change the slot of the request.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_to_the_standby_does_not_move_the_request() {
    let edge = start(MORE).await;
    let address = edge.nginx.address("main").unwrap();
    for target in ["/tried", "/guarded"] {
        assert_eq!(client::get(address, target).await.unwrap().status_and_slot(), (200, "blue"), "{target}");
    }
    wait::until("the mirrored request", || edge.green.truth().targets.get("/trial") == Some(&2))
        .await
        .unwrap();
    assert_eq!(edge.blue.truth().requests, 2);
}
