//! `X-Accel-Redirect` and `error_page` to the same group: one client request becomes several requests to one slot.

use cutover_tests::load::{Load, Request};
use cutover_tests::test_edge::{TestEdge, UPSTREAMS};
use cutover_tests::{Action, Backend};

const LOCATIONS: &str = "
    location / { proxy_pass http://shop; add_header x-cutover-slot $cutover_slot always; }
    location /kept/ { internal; proxy_pass http://shop; add_header x-cutover-slot $cutover_slot always; }
    location /broken {
        proxy_intercept_errors on;
        error_page 503 = /kept/excuse;
        proxy_pass http://shop;
    }
";

#[tokio::test(flavor = "multi_thread")]
async fn each_internal_redirect_finds_its_slot() {
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATIONS)).await.unwrap();
    let rules = |backend: &Backend| {
        backend.on("/file", Action::status(200).header("x-accel-redirect", "/kept/file"));
        backend.on("/twice", Action::status(200).header("x-accel-redirect", "/kept/twice"));
        backend.on("/kept/twice", Action::status(200).header("x-accel-redirect", "/kept/at-last"));
        backend.on("/broken", Action::status(503));
    };
    rules(&edge.blue);
    rules(&edge.green);
    let requests = ["/file", "/twice", "/broken", "/"].map(Request::get).to_vec();
    let load = Load::start(edge.plan().unwrap().requests(requests), edge.oracle());
    let report = super::switch_and_reload(&edge, load, "internal redirects").await;
    let requests = |target: &str| {
        let count = |backend: &Backend| backend.truth().targets.get(target).copied().unwrap_or(0);
        count(&edge.blue) + count(&edge.green)
    };
    assert_eq!(requests("/file"), requests("/kept/file"));
    assert_eq!(requests("/twice"), requests("/kept/twice"));
    assert_eq!(requests("/twice"), requests("/kept/at-last"));
    assert_eq!(requests("/broken"), requests("/kept/excuse"));
    assert_eq!(requests("/file") + requests("/twice") + requests("/broken") + requests("/"), report.total);
}
