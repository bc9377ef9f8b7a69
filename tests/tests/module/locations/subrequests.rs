//! `auth_request` and `mirror` to the same group as the main request.

use cutover_tests::load::{Load, Request};
use cutover_tests::test_edge::{TestEdge, UPSTREAMS};

const LOCATIONS: &str = "
    location / { auth_request /auth; mirror /mirror; proxy_pass http://shop; }
    location = /auth {
        internal;
        proxy_pass_request_body off;
        proxy_set_header Content-Length '';
        proxy_set_header Connection '';
        proxy_pass http://shop;
    }
    location = /mirror { internal; proxy_pass http://shop; }
";

#[tokio::test(flavor = "multi_thread")]
async fn each_subrequest_finds_its_slot() {
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATIONS)).await.unwrap();
    let requests = vec![Request::get("/"), Request::post("/orders", &"x".repeat(30_000))];
    let load = Load::start(edge.plan().unwrap().requests(requests), edge.oracle());
    let report = super::switch_and_reload(&edge, load, "auth_request and mirror").await;
    super::counted(&edge, 3 * report.total).await;
    let (blue, green) = (edge.blue.truth(), edge.green.truth());
    assert_eq!(blue.requests + green.requests, 3 * report.total);
    for target in ["/auth", "/mirror"] {
        let requests = |targets: &std::collections::BTreeMap<String, u64>| targets.get(target).copied();
        let (blue, green) = (requests(&blue.targets).unwrap(), requests(&green.targets).unwrap());
        assert_eq!(blue + green, report.total, "{target}");
    }
}
