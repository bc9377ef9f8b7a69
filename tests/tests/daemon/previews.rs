//! Previews are counted apart from requests of users: they hold their slot, and are no evidence for or against a release.

use cutover_core::api::{Slot, Traffic, TrialPhase};
use cutover_core::counters::{Counters, Previews, Responses};
use cutover_core::guard::Figures;
use cutover_tests::client::Answer;
use cutover_tests::test_host::GROUP;
use cutover_tests::{Action, Backend, Client, Nginx, TestEdge, TestHost};

/// At `testers` a header fixes the slot; at `main` the location may.
const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream shop_blue { server %%blue%% max_fails=0; keepalive 8; }
    upstream shop_green { server %%green%% max_fails=0; keepalive 8; }
    cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
    map $http_upgrade $connection_upgrade { default ''; echo upgrade; }
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    ssi_types *;
    proxy_intercept_errors on;
    server {
        listen %%listen:main%%;
        location / { proxy_pass http://shop; add_header x-cutover-slot $cutover_slot always; }
        location /page { cutover_slot standby; ssi on; proxy_pass http://shop; }
        location /part/route { cutover_slot active; proxy_pass http://shop; }
        location /mirrored { mirror /mirror; proxy_pass http://shop; }
        location = /mirror { internal; cutover_slot standby; proxy_pass http://shop; }
        location /failed/kept { cutover_slot green; error_page 503 = @kept; proxy_pass http://shop; }
        location @kept { rewrite ^ /kept break; proxy_pass http://shop; }
        location /failed/routed { cutover_slot green; error_page 503 = @routed; proxy_pass http://shop; }
        location @routed { cutover_slot ''; rewrite ^ /routed break; proxy_pass http://shop; }
        location /failed/named { error_page 503 = @named; proxy_pass http://shop; }
        location @named { cutover_slot green; rewrite ^ /named break; proxy_pass http://shop; }
    }
    server {
        listen %%listen:testers%%;
        cutover_slot $http_x_slot;
        location / { proxy_intercept_errors off; proxy_pass http://shop; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

async fn start() -> TestEdge {
    let edge = TestEdge::start(HTTP).await.unwrap();
    set_actions(&edge.blue);
    set_actions(&edge.green);
    edge
}

fn set_actions(backend: &Backend) {
    backend.on("/moved", Action::status(302));
    backend.on("/missing", Action::status(404));
    backend.on("/broken", Action::status(500));
    backend.on("/failed", Action::status(503));
    backend.on("/cut", Action::Cut);
    backend.on("/hang", Action::Hang);
    backend.on("/call", Action::Upgrade);
    let page = concat!(
        r#"<!--# include virtual="/part/inherited" wait="yes" -->"#,
        r#"<!--# include virtual="/part/route" wait="yes" -->"#,
    );
    backend.on("/page", Action::status(200).body(page));
}

async fn tester(nginx: &Nginx) -> Client {
    Client::connect(nginx.address("testers").unwrap()).await.unwrap()
}

/// A request with a fixed slot, or with another value for `cutover_slot`.
async fn ask(nginx: &Nginx, slot: &str, target: &str) -> Answer {
    tester(nginx).await.request("GET", target, &[("x-slot", slot)]).await.unwrap()
}

/// Begins a request with a fixed slot that is not answered before its client disconnects.
async fn hang(nginx: &Nginx, slot: &str) -> Client {
    let mut client = tester(nginx).await;
    client.send("GET", "/hang", &[("x-slot", slot)]).await.unwrap();
    client
}

/// Opens an upgraded connection to a fixed slot.
async fn call(nginx: &Nginx, slot: &str) -> Client {
    let mut client = tester(nginx).await;
    let headers = [("x-slot", slot), ("connection", "upgrade"), ("upgrade", "echo")];
    assert_eq!(client.request("GET", "/call", &headers).await.unwrap().status, 101);
    client
}

/// Waits until the previews of a slot have these counters.
async fn until_previews(edge: &TestEdge, slot: &str, expected: Previews) {
    let what = format!("the previews of {slot} to be {expected:?}");
    edge.until(&what, |group| group.slot(slot).unwrap().previews == expected).await.unwrap();
}

fn ended(responses: Responses) -> Previews {
    Previews { requests: responses.total(), responses, ..Previews::default() }
}

/// What a slot shows that has never had a request of a user, apart from its previews.
fn unused(slot: &Slot) -> Slot {
    let Slot { name, upstream, peers, previews, .. } = slot.clone();
    Slot { name, upstream, peers, previews, ..Slot::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_previews_at_once_are_counted_apart() {
    let edge = start().await;
    let load = edge.load().unwrap();
    let round = async || {
        for slot in ["blue", "green", "standby"] {
            for (target, status) in [("/", 200), ("/moved", 302), ("/missing", 404), ("/broken", 500)] {
                assert_eq!(ask(&edge.nginx, slot, target).await.status, status, "{slot} {target}");
            }
        }
    };
    for _ in 0..20 {
        round().await;
    }
    edge.nginx.reload().await.unwrap();
    for _ in 0..20 {
        round().await;
    }
    let report = load.stop().await;
    edge.assert_exact("users beside testers", &report).unwrap();
    edge.until_counted(report.total).await.unwrap();

    let of_blue = Responses {
        success: 40,
        redirection: 40,
        client_error: 40,
        server_error: 40,
        ..Responses::default()
    };
    for _ in 0..2 {
        let group = edge.group().await.unwrap();
        let (blue, green) = (group.slot("blue").unwrap(), group.slot("green").unwrap());
        assert_eq!(blue.counters.requests, report.total);
        assert_eq!((blue.counters.attempts_failed, blue.counters.errors()), (0, 0));
        assert_eq!((blue.first_byte.count, blue.whole.count), (report.total, report.total));
        assert_eq!(blue.previews, ended(of_blue));
        // By name and as the standby.
        assert_eq!(green.previews, ended(of_blue.zip(&of_blue, |one, other| one + other)));
        assert_eq!(*green, unused(green));
        // Then once more: all of it is kept over a binary upgrade.
        edge.nginx.upgrade().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_changes_no_figure_of_users() {
    let edge = start().await;
    for target in ["/", "/moved", "/missing", "/broken", "/cut"] {
        edge.get(target).await.unwrap();
    }
    let counted = |slot: &Slot| slot.counters.responses.total() == 5 && slot.in_flight() == 0;
    let group =
        edge.until("the users' requests", |group| counted(group.slot("blue").unwrap())).await.unwrap();
    let before = group.slot("blue").unwrap();
    assert_eq!(before.previews, Previews::default());

    for target in ["/", "/moved", "/missing", "/broken", "/cut", "/failed"] {
        ask(&edge.nginx, "blue", target).await;
    }
    let (hanging, mut calling) = (hang(&edge.nginx, "blue").await, call(&edge.nginx, "blue").await);
    assert_eq!(calling.echo(b"hello").await.unwrap(), b"hello");
    let responses =
        Responses { success: 1, redirection: 1, client_error: 1, server_error: 3, ..Responses::default() };
    until_previews(&edge, "blue", Previews { requests: 8, in_flight: 2, upgraded: 1, ..ended(responses) })
        .await;
    drop((hanging, calling));
    let responses = Responses { aborted: 1, informational: 1, ..responses };
    until_previews(&edge, "blue", ended(responses)).await;
    let after = edge.slot("blue").await.unwrap();
    assert_eq!(Slot { previews: Previews::default(), ..after }, *before);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_route_decides_the_request_is_of_a_user() {
    let edge = start().await;
    for slot in ["", "active", "purple"] {
        assert_eq!(ask(&edge.nginx, slot, "/").await.status_and_slot(), (200, "blue"), "{slot:?}");
    }
    let group = edge.until_counted(3).await.unwrap();
    assert!(group.slots.iter().all(|slot| slot.previews == Previews::default()), "{group:?}");
    // By its name, the active slot has previews too.
    assert_eq!(ask(&edge.nginx, "blue", "/").await.status_and_slot(), (200, "blue"));
    until_previews(&edge, "blue", ended(Responses { success: 1, ..Responses::default() })).await;
    assert_eq!(edge.slot("blue").await.unwrap().counters.requests, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_is_counted_by_what_has_chosen_its_slot() {
    let edge = start().await;
    let counted = |slot: &Slot| (slot.counters.requests, slot.previews.requests);
    let mut before = [(0, 0), (0, 0)];
    // Requests of users and previews of blue, and of green.
    for (target, blue, green) in [
        ("/", (1, 0), (0, 0)),
        ("/page", (1, 0), (0, 2)),
        ("/mirrored", (1, 0), (0, 1)),
        ("/failed/kept", (0, 0), (0, 2)),
        ("/failed/routed", (1, 0), (0, 1)),
        ("/failed/named", (1, 0), (0, 1)),
    ] {
        edge.get(target).await.unwrap();
        let expected: Vec<_> =
            before.iter().zip([blue, green]).map(|(old, new)| (old.0 + new.0, old.1 + new.1)).collect();
        let group = edge
            .until(&format!("{target}: {expected:?}"), |group| {
                let idle = group.slots.iter().all(|slot| slot.in_flight() == 0);
                idle && group.slots.iter().map(counted).collect::<Vec<_>>() == expected
            })
            .await
            .unwrap();
        before = [counted(&group.slots[0]), counted(&group.slots[1])];
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_preview_holds_its_slot() {
    let edge = start().await;
    let (hanging, mut calling) = (hang(&edge.nginx, "blue").await, call(&edge.nginx, "blue").await);
    let open = Previews { requests: 2, in_flight: 2, upgraded: 1, ..Previews::default() };
    until_previews(&edge, "blue", open).await;
    edge.shop.switch_to("green").await.unwrap();
    let held = async || edge.group().await.unwrap().has_traffic("blue");
    let both = Some(Traffic::InFlight { requests: 2, upgraded: 1 });
    assert_eq!(held().await, both);
    edge.nginx.reload().await.unwrap();
    assert_eq!(held().await, both, "after a reload");
    let old = edge.nginx.begin_upgrade().await.unwrap();
    assert_eq!(held().await, both, "the old master's workers still have them");
    assert_eq!(calling.echo(b"still here").await.unwrap(), b"still here");
    drop(hanging);
    let one = Some(Traffic::InFlight { requests: 1, upgraded: 1 });
    edge.until("one of them to end", |group| group.has_traffic("blue") == one).await.unwrap();
    drop(calling);
    edge.until("both to end", |group| group.has_traffic("blue").is_none()).await.unwrap();
    edge.nginx.retire(old).await.unwrap();
    let blue = edge.slot("blue").await.unwrap();
    assert_eq!(blue.previews, ended(Responses { aborted: 1, informational: 1, ..Responses::default() }));
    assert_eq!(blue.counters, Counters::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_takes_its_previews_along() {
    let edge = start().await;
    let mut hanging = Vec::new();
    for _ in 0..6 {
        hanging.push(hang(&edge.nginx, "green").await);
    }
    until_previews(&edge, "green", Previews { requests: 6, in_flight: 6, ..Previews::default() }).await;
    for _ in 0..edge.nginx.workers().len() {
        // This kills another worker each time, because the list begins with the oldest.
        edge.nginx.kill_worker().await.unwrap();
    }
    until_previews(&edge, "green", Previews { requests: 6, ..Previews::default() }).await;
    assert_eq!(edge.group().await.unwrap().has_traffic("green"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_sees_users_only() {
    let edge = start().await;
    let guard = r#""guard":{"min_requests":10,"max_error_ratio":0.2,"window_ms":60000}"#;
    edge.change(&format!(r#"{{"active":"green",{guard}}}"#)).await.unwrap();
    for slot in ["green", "blue", "standby"] {
        for _ in 0..20 {
            assert_eq!(ask(&edge.nginx, slot, "/broken").await.status, 500);
        }
    }
    until_previews(&edge, "green", ended(Responses { server_error: 20, ..Responses::default() })).await;
    let trial = edge.group().await.unwrap().route.trial.unwrap();
    assert_eq!((trial.phase, trial.figures), (TrialPhase::Armed, Figures::default()));
    for _ in 0..10 {
        assert_eq!(edge.get("/").await.unwrap().status, 200);
    }
    for _ in 0..3 {
        assert_eq!(edge.get("/broken").await.unwrap().status, 500);
    }
    // Not held: that previews of the fallback fail does not make it a failing one.
    let group = edge.until_active("blue").await.unwrap();
    assert_eq!(group.events.last().unwrap().figures, Some(Figures { requests: 13, errors: 3, slow: 0 }));
}

/// The state file knows the names of fifteen slots of a group. Then a new one takes the place of one that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_takes_the_place_of_another_begins_anew() {
    let http = |number: u32| {
        format!(
            "cutover_state %%prefix%%/state;
            upstream shop_blue {{ server %%blue%%; }}
            upstream shop_green {{ server %%green%%; }}
            cutover shop {{ slot blue shop_blue; slot green{number} shop_green; active blue; }}
            server {{ listen %%listen:testers%%; cutover_slot $http_x_slot; location / {{ proxy_pass http://shop; }} }}
            server {{ listen %%admin%%; location / {{ cutover_api; }} }}"
        )
    };
    let edge = TestEdge::start(&http(0)).await.unwrap();
    for number in 0..20 {
        if number > 0 {
            edge.nginx.write_http(&http(number)).unwrap();
            edge.nginx.reload().await.unwrap();
        }
        let slot = format!("green{number}");
        assert_eq!(edge.slot(&slot).await.unwrap().previews, Previews::default(), "{slot}");
        assert_eq!(ask(&edge.nginx, &slot, "/").await.status_and_slot(), (200, "green"));
        until_previews(&edge, &slot, ended(Responses { success: 1, ..Responses::default() })).await;
    }
}

async fn host() -> (TestHost, [Backend; 2]) {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    [&blue, &green].into_iter().for_each(set_actions);
    let nginx = Nginx::builder().http(HTTP).set("blue", blue.address()).set("green", green.address());
    (TestHost::start(nginx, GROUP).await.unwrap(), [blue, green])
}

#[tokio::test(flavor = "multi_thread")]
async fn testers_do_not_take_a_release_back() {
    let (host, _backends) = host().await;
    let users = host.users().unwrap();
    let testers = async {
        loop {
            assert_eq!(ask(&host.nginx, "green", "/broken").await.status, 500);
        }
    };
    let deployed = tokio::select! {
        deployed = host.deploy("2") => deployed.unwrap(),
        () = testers => unreachable!(),
    };
    assert_eq!((deployed.outcome.as_str(), deployed.code), ("completed", 0), "{deployed:#?}");
    assert_eq!(users.answers().1, 0, "no request of a user failed");
    let green = host.nginx.admin().group("shop").await.unwrap().slot("green").unwrap().clone();
    assert_eq!(green.counters.errors(), 0);
    let (errors, given) = (green.previews.responses.server_error, green.counters.requests);
    assert!(errors > 20 && errors * 20 > given, "{errors} errors would be evidence beside {given} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_a_preview() {
    let (host, _backends) = host().await;
    let _users = host.users().unwrap();
    let mut calling = call(&host.nginx, "blue").await;
    let deployed = host.deploy("2").await.unwrap();
    assert_eq!(deployed.code, 0, "{deployed:#?}");
    let said = |text: &str| deployed.events.iter().any(|event| event.message.contains(text));
    assert!(said("still holds 1 connection after 1s"), "{deployed:#?}");
    assert_eq!(calling.echo(b"still here").await.unwrap(), b"still here");
    let status = host.daemon.status("shop").unwrap();
    let blue =
        status["slots"].as_array().unwrap().iter().find(|slot| slot["name"] == "blue").unwrap().clone();
    assert_eq!(blue["in_flight"], 1, "{blue}");
}
