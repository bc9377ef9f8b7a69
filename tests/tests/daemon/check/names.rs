//! A server that nginx knows by a name: nginx does not start when the name has no address, so `check` tells it before.

use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Backend, Nginx, TestEdge, TestHost};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_told_before_it_is_gone_and_keeps_nginx_from_starting_after() {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    let http = TestEdge::http(UPSTREAMS, LOCATION);
    // No address for nginx, and one for the resolver of every machine.
    let name = format!("127.1:{}", green.address().port());
    let nginx = Nginx::builder().set("blue", blue.address()).set("green", &name).http(&http);
    let host = TestHost::start(nginx, GROUP_WITHOUT_TRAFFIC).await.unwrap();
    let (said, is_good) = host.check().unwrap();
    let hint = said.iter().find(|line| line.contains("is a name")).unwrap_or_else(|| panic!("{said:?}"));
    let begin =
        format!("hint: group.shop, slot \"green\": \"server {name}\" of upstream shop_green is a name");
    assert!(is_good && hint.starts_with(&begin), "{said:?}");
    assert!(hint.contains("nginx does not start or reload when the name has no address"), "{hint}");

    // The container with this name is gone, and nginx stops.
    host.nginx.stop().await.unwrap();
    host.nginx.set("green", "gone.invalid:80");
    host.nginx.write_http(&http).unwrap();
    host.nginx.expect_in_log("host not found in upstream \"gone.invalid");
    let refused = host.nginx.check().unwrap();
    assert!(
        !refused.ok && refused.output.contains("host not found in upstream \"gone.invalid"),
        "{}",
        refused.output
    );
    let (said, is_good) = host.check().unwrap();
    let problem =
        said.iter().find(|line| line.starts_with("problem: ")).unwrap_or_else(|| panic!("{said:?}"));
    assert!(
        !is_good && problem.contains("nginx -t"),
        "the command that says why it does not start: {problem}"
    );

    // What the hint says helps.
    host.nginx.set("green", green.address());
    host.nginx.write_http(&http).unwrap();
    host.nginx.start().await.unwrap();
    let (said, is_good) = host.check().unwrap();
    assert!(is_good && !said.iter().any(|line| line.contains("is a name")), "{said:?}");
}
