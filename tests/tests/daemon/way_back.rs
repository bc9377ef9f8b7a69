//! Backup, dead and missing servers, and when a slot is a way back: real configurations in which a good release was refused,
//! or users stayed on a bad one.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use cutover_tests::nginx::Builder;
use cutover_tests::temp::TempDir;
use cutover_tests::test_host::GROUP;
use cutover_tests::{Action, Backend, Nginx, TestHost, ports};

/// An nginx with the group over these upstreams.
fn nginx(upstreams: &str) -> Builder {
    Nginx::builder().http(&http(upstreams))
}

fn http(upstreams: &str) -> String {
    format!(
        "cutover_state %%prefix%%/state;
        {upstreams}
        cutover shop {{ slot blue shop_blue; slot green shop_green; active blue; }}
        server {{
            listen %%listen:main%%;
            location / {{
                proxy_pass http://shop;
                proxy_next_upstream error timeout http_500 http_502 http_503 http_504;
                proxy_next_upstream_tries 2;
            }}
        }}
        server {{ listen %%admin%%; location / {{ cutover_api write=on; }} }}"
    )
}

async fn backend(name: &str) -> Backend {
    Backend::start(name).await.unwrap()
}

/// Sets the status of all answers, and that of the health page.
fn set_status(backend: &Backend, all: u16, health: u16) {
    backend.on("/", Action::status(all));
    backend.on("/health/ready", Action::status(health));
}

/// A loopback address without a listener.
fn dead_address() -> SocketAddr {
    ports::free().unwrap()
}

/// Each slot's server is the backup of the other slot.
const CROSSED: &str = "
    upstream shop_blue  { server %%blue%% max_fails=1 fail_timeout=30s; server %%green%% backup; }
    upstream shop_green { server %%green%% max_fails=1 fail_timeout=30s; server %%blue%% backup; }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_goes_live_although_the_broken_release_is_its_backup() {
    let (blue, green) = (backend("blue").await, backend("green").await);
    set_status(&blue, 500, 500);
    let builder = nginx(CROSSED).set("blue", blue.address()).set("green", green.address());
    let host = TestHost::start(builder, GROUP).await.unwrap();
    let _users = host.users().unwrap();
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    assert_eq!(host.active().await.unwrap(), "green");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smoke_test_does_not_ask_the_backup() {
    let (blue, green) = (backend("blue").await, backend("green").await);
    let builder = nginx(CROSSED).set("blue", blue.address()).set("green", green.address());
    let smoke = "[[group.shop.smoke]]\nname = \"is the new version\"\npath = \"/\"\nexpect = { body_contains = \"green\" }\n";
    let host = TestHost::start(builder, &format!("{GROUP}{smoke}")).await.unwrap();
    let _users = host.users().unwrap();
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_an_error_page_does_not_prevent_a_rollback() {
    let (blue, green, sorry) = (backend("blue").await, backend("green").await, backend("sorry").await);
    set_status(&green, 500, 200);
    set_status(&sorry, 503, 404);
    let builder = nginx(
        "upstream shop_blue { server %%blue%%; server %%sorry%% backup; } upstream shop_green { server %%green%%; }",
    );
    let builder =
        builder.set("blue", blue.address()).set("green", green.address()).set("sorry", sorry.address());
    let host = TestHost::start(builder, GROUP).await.unwrap();
    let users = host.users().unwrap();
    users.more(15).await.unwrap();
    host.deploy("2").await.unwrap().assert_ended("rolled_back", 4).unwrap();
    assert_eq!(host.active().await.unwrap(), "blue");
    assert_eq!(sorry.truth().requests, 0, "a backup is not probed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_deployment_stays() {
    let green = backend("green").await;
    let builder = nginx("upstream shop_blue { server %%blue%%; } upstream shop_green { server %%green%%; }");
    let builder = builder.set("blue", dead_address()).set("green", green.address());
    let host = TestHost::start(builder, GROUP).await.unwrap();
    let deployed = host.deploy("1").await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let said: Vec<_> = deployed.events.iter().map(|event| event.message.as_str()).collect();
    assert!(
        said.iter().any(|said| said.contains("has no healthy server, so there is no way back")),
        "{said:#?}"
    );
    assert!(
        said.iter().any(|said| said.contains("there is nothing to go back to, so the new version stays")),
        "{said:#?}"
    );
    assert!(
        !said.iter().any(|said| said.contains("is no longer healthy")),
        "it was never healthy: {said:#?}"
    );
    assert_eq!(host.active().await.unwrap(), "green");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_first_deployment_stays_and_its_advice_makes_nothing_worse() {
    let (blue_at, green) = (dead_address(), backend("green").await);
    set_status(&green, 500, 200);
    let builder = nginx("upstream shop_blue { server %%blue%%; } upstream shop_green { server %%green%%; }");
    let builder = builder.set("blue", blue_at).set("green", green.address());
    let host = TestHost::start(builder, GROUP).await.unwrap();
    let users = host.users().unwrap();
    let deployed = host.deploy("1").await.unwrap();
    deployed.assert_ended("stuck", 5).unwrap();
    assert_eq!(host.active().await.unwrap(), "green", "the only version that runs");
    let message = &deployed.events.last().unwrap().message;
    let advice = message.rsplit_once("next, type: ").unwrap().1;
    assert_eq!(advice, "cutover deploy shop --version VERSION");
    // A corrected release goes to the other slot.
    let _blue = Backend::start_at("blue", blue_at).await.unwrap();
    users.more(15).await.unwrap();
    host.run(&advice.replace("VERSION", "2")).unwrap();
    assert_eq!(host.active().await.unwrap(), "blue");
}

/// One of the two servers of the old slot has been down for days, without any effect for users.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_slot_with_one_server_of_two_is_a_way_back() {
    let (blue, green, green2) = (backend("blue").await, backend("green").await, backend("green").await);
    set_status(&green, 500, 200);
    set_status(&green2, 500, 200);
    let builder = nginx(
        "upstream shop_blue { zone b 64k; server %%blue%%; server %%dead%%; }
        upstream shop_green { zone g 64k; server %%green%%; server %%green2%%; }",
    );
    let builder = builder
        .set("blue", blue.address())
        .set("dead", dead_address())
        .set("green", green.address())
        .set("green2", green2.address());
    let host = TestHost::start(builder, GROUP).await.unwrap();
    let users = host.users().unwrap();
    users.more(15).await.unwrap();
    let deployed = host.deploy("2").await.unwrap();
    deployed.assert_ended("rolled_back", 4).unwrap();
    let said: Vec<_> = deployed.events.iter().map(|event| event.message.as_str()).collect();
    assert!(said.iter().any(|said| said.contains("1 of its 2 servers healthy")), "{said:#?}");
    users.more_good(15).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_server_twice_is_probed_at_each_place() {
    let (blue, green) = (backend("blue").await, backend("green").await);
    let builder = nginx(
        "upstream shop_blue { server %%blue%%; } upstream shop_green { server %%green%%; server %%green%%; }",
    );
    let builder = builder.set("blue", blue.address()).set("green", green.address());
    let host = TestHost::start(builder, GROUP).await.unwrap();
    let _users = host.users().unwrap();
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_required_share_of_healthy_servers_is_enough() {
    let (blue, green) = (backend("blue").await, backend("green").await);
    let builder = nginx(
        "upstream shop_blue { server %%blue%%; }
        upstream shop_green { server %%green%%; server %%dead%%; }",
    );
    let builder =
        builder.set("blue", blue.address()).set("green", green.address()).set("dead", dead_address());
    let require = GROUP.replace("[group.shop.probe]", "[group.shop.probe]\nrequire = \"50%\"");
    let host = TestHost::start(builder, &require).await.unwrap();
    let _users = host.users().unwrap();
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
}

const BY_NAME: &str = "
    upstream shop_blue { server localhost:%%blue_port%%; }
    upstream shop_green { server localhost:%%green_port%%; }
";

/// A name that resolves to IPv4 and IPv6, and applications that listen on IPv4 only.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_never_answers_is_named_before_the_first_deployment() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("SKIPPED: this machine has no IPv6 loopback address");
        return;
    }
    let (blue, green) = (backend("blue").await, backend("green").await);
    let (blue_port, green_port) = (blue.address().port(), green.address().port());
    let folder = TempDir::new().unwrap();
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n::1 localhost\n").unwrap();
    let mount = format!("mount --bind {} /etc/hosts && exec \"$0\" \"$@\"", hosts.display());
    let builder = nginx(BY_NAME);
    let builder = builder.set("blue_port", blue_port).set("green_port", green_port);
    let builder = builder.through(&["unshare", "--mount", "/bin/sh", "-c", &mount]);
    let host = TestHost::start(builder, GROUP).await.unwrap();
    let (lines, succeeded) = host.check().unwrap();
    let problem = lines.iter().find(|line| line.starts_with("problem: group.shop, slot \"blue\": [::1]:"));
    let problem = problem.unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(problem.contains(&format!("\"server 127.0.0.1:{blue_port}\"")), "{problem}");
    assert!(!succeeded);
    let hint = lines.iter().find(|line| line.starts_with("hint: group.shop, slot \"green\""));
    assert!(hint.is_some_and(|hint| hint.contains("resolves to")), "{lines:#?}");
    let failed = host.deploy("2").await.unwrap();
    failed.assert_ended("failed", 3).unwrap();
    let message = &failed.events.last().unwrap().message;
    assert!(message.contains(&format!("\"server 127.0.0.1:{green_port}\"")), "{message}");
    assert!(message.contains("probe.require = \"one\""), "{message}");
    // The operator follows the message, and the next deployment succeeds.
    host.nginx.write_http(&http(&BY_NAME.replace("localhost", "127.0.0.1"))).unwrap();
    host.nginx.reload().await.unwrap();
    let (lines, succeeded) = host.check().unwrap();
    assert!(succeeded && lines.iter().all(|line| !line.contains("[::1]")), "{lines:#?}");
    let _users = host.users().unwrap();
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_without_servers_is_a_hint() {
    let blue = backend("blue").await;
    let builder =
        nginx("upstream shop_blue { server %%blue%%; } upstream shop_green { server %%green%% down; }");
    let builder = builder.set("blue", blue.address()).set("green", dead_address());
    let host = TestHost::start(builder, GROUP).await.unwrap();
    let (lines, succeeded) = host.check().unwrap();
    assert!(succeeded, "{lines:#?}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("hint: group.shop, slot \"green\": it has no server except")),
        "{lines:#?}"
    );
}
