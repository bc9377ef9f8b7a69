//! Checks through nginx: slots whose servers are reached as users reach them.

use std::net::SocketAddr;

use cutover_tests::nginx::Builder;
use cutover_tests::test_host::GROUP;
use cutover_tests::{Nginx, TestHost, ports};

use super::{backends, failed, group, nginx, packets};

/// nginx as in [`nginx`], with a server for checks at this address.
fn with_door(builder: Builder, door: SocketAddr, names_slot: &str) -> Builder {
    builder.set("door", door).set("names_slot", names_slot).http(
        "cutover_state %%prefix%%/state;
        upstream shop_blue { server %%blue%%; }
        upstream shop_green { server %%green%%; }
        cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
        server { listen %%listen:main%%; location / { %%pass%% } }
        server { listen %%door%%; %%names_slot%% location / { %%pass%% } }
        server { listen %%admin%%; location / { cutover_api write=on; } }",
    )
}

const NAMES_SLOT: &str = "cutover_slot $http_x_cutover_slot; add_header X-Cutover-Slot $cutover_slot always;";

fn through(door: SocketAddr) -> String {
    format!("through = \"http://{door}\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_speak_no_http_are_probed_through_nginx() {
    for (pass, [blue, green]) in [
        ("fastcgi_pass shop;", [packets::fastcgi("blue").await, packets::fastcgi("green").await]),
        ("uwsgi_pass shop;", [packets::uwsgi("blue").await, packets::uwsgi("green").await]),
        ("scgi_pass shop;", [packets::scgi("blue").await, packets::scgi("green").await]),
    ] {
        let door = ports::free().unwrap();
        let smoke = format!(
            "[[group.shop.smoke]]\nname = \"page\"\npath = \"/\"\n{}\nexpect = {{ body_contains = \"{{slot}}\" }}\n",
            through(door)
        );
        let groups = format!("{}{smoke}", group(&through(door)));
        let builder = with_door(nginx(blue, green, pass), door, NAMES_SLOT);
        let host = TestHost::start(builder, &groups).await.unwrap();
        host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
        assert_eq!(host.active().await.unwrap(), "green", "{pass}");
        let (lines, succeeded) = host.check().unwrap();
        assert!(succeeded && !lines.iter().any(|line| line.contains("fails its probe")), "{lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fastcgi_server_is_recognised() {
    let (blue, green) = (packets::fastcgi("blue").await, packets::fastcgi("green").await);
    let host = TestHost::start(nginx(blue, green, "fastcgi_pass shop;"), &group("")).await.unwrap();
    let deployed = host.deploy("2").await.unwrap();
    let says = "it answers FastCGI: ask it through nginx, as in through = \"http://127.0.0.1:8081\"";
    assert!(failed(&deployed).contains(says), "{deployed:#?}");
}

/// The answer may be of the slot with the traffic, so it proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_does_not_name_the_slot_proves_nothing() {
    for (names_slot, says) in [
        ("", "nginx does not say that slot \"green\" has answered"),
        (
            "add_header X-Cutover-Slot $cutover_slot always;",
            "status 200 of slot \"blue\" instead of \"green\": the server of nginx at",
        ),
        ("cutover_slot $http_x_cutover_slot;", "add_header X-Cutover-Slot $cutover_slot always;"),
    ] {
        let (blue, green) = backends().await;
        let door = ports::free().unwrap();
        let builder = nginx(blue.address(), green.address(), "proxy_pass http://shop;");
        let builder = with_door(builder, door, names_slot);
        let host = TestHost::start(builder, &group(&through(door))).await.unwrap();
        let deployed = host.deploy("2").await.unwrap();
        assert!(failed(&deployed).contains(says), "{names_slot}: {deployed:#?}");
    }
}

/// The soak has no users, and sees that in spite of all the probes through nginx.
#[tokio::test(flavor = "multi_thread")]
async fn probes_through_nginx_are_previews_and_no_evidence() {
    let (blue, green) = backends().await;
    let door = ports::free().unwrap();
    let builder = nginx(blue.address(), green.address(), "proxy_pass http://shop;");
    let builder = with_door(builder, door, NAMES_SLOT);
    let probe = GROUP.replace(
        "interval = \"100ms\"\n    deadline",
        &format!("{}\n    interval = \"20ms\"\n    deadline", through(door)),
    );
    let host = TestHost::start(builder, &probe).await.unwrap();
    let deployed = host.deploy("2").await.unwrap();
    deployed.assert_ended("rolled_back", 4).unwrap();
    assert!(super::said(&deployed, "only 0 answers"), "{deployed:#?}");
    let seen = host.nginx.admin().group("shop").await.unwrap();
    for slot in &seen.slots {
        assert_eq!((slot.counters.requests, slot.counters.responses.success), (0, 0), "{}", slot.name);
        assert!(slot.previews.responses.success > 10, "{}: {:?}", slot.name, slot.previews);
    }
}

/// One door for each slot, over TLS to the servers, and a unix socket.
#[tokio::test(flavor = "multi_thread")]
async fn a_door_for_each_slot() {
    let (blue, green) = backends().await;
    let (blue_door, green_door) = (ports::free().unwrap(), ports::free().unwrap());
    let http = "cutover_state %%prefix%%/state;
        upstream shop_blue { server %%blue%%; }
        upstream shop_green { server %%green%%; }
        cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
        add_header X-Cutover-Slot $cutover_slot always;
        server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
        server { listen %%blue_door%%; cutover_slot blue; location / { proxy_pass http://shop; } }
        server { listen %%green_door%%; cutover_slot green; location / { proxy_pass http://shop; } }
        server { listen %%admin%%; location / { cutover_api write=on; } }";
    let builder = Nginx::builder().set("blue", blue.address()).set("green", green.address());
    let builder = builder.set("blue_door", blue_door).set("green_door", green_door).http(http);
    let probe = format!("through = {{ blue = \"http://{blue_door}\", green = \"http://{green_door}\" }}");
    let host = TestHost::start(builder, &group(&probe)).await.unwrap();
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    assert!(green.truth().targets["/health/ready"] > 1);
}

/// The server of the page of checks, as it is there but for its port and the files.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_page() {
    let page = include_str!("../../../../docs/checks.md");
    let example = page.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let door = ports::free().unwrap();
    let example = example.replace("127.0.0.1:8081", &door.to_string()).replace("include fastcgi_params;", "");
    let (blue, green) = (packets::fastcgi("blue").await, packets::fastcgi("green").await);
    let http = format!(
        "cutover_state %%prefix%%/state;
        upstream shop_blue {{ server %%blue%%; }}
        upstream shop_green {{ server %%green%%; }}
        cutover shop {{ slot blue shop_blue; slot green shop_green; active blue; }}
        server {{ listen %%listen:main%%; location / {{ fastcgi_pass shop; }} }}
        {example}
        server {{ listen %%admin%%; location / {{ cutover_api write=on; }} }}"
    );
    let builder = Nginx::builder().set("blue", blue).set("green", green).http(&http);
    let host = TestHost::start(builder, &group(&through(door))).await.unwrap();
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
}
