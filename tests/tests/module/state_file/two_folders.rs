//! A reload moves `cutover_state` to another folder while old workers still serve. Old workers use the routes and counters of
//! the old folder, new workers those of the new one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cutover_core::api::{Group, RouteChange};
use cutover_core::event::Kind;
use cutover_tests::footprint::Footprint;
use cutover_tests::http1::Reader;
use cutover_tests::process::{self, Signal};
use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use cutover_tests::{Action, Client, Nginx, client, wait};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

const UPGRADES: &str = "location /echo {
    proxy_pass http://shop;
    proxy_set_header Connection upgrade;
    proxy_set_header Upgrade $http_upgrade;
}";

fn http(folder: &str) -> String {
    let http = TestEdge::http(UPSTREAMS, &format!("{LOCATION} {UPGRADES}"));
    http.replace("%%prefix%%/state", &format!("%%prefix%%/{folder}"))
}

async fn start() -> TestEdge {
    let edge = TestEdge::start(&http("state")).await.unwrap();
    let other = edge.nginx.prefix().join("other");
    fs::create_dir(&other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o700)).unwrap();
    for backend in [&edge.blue, &edge.green] {
        backend.on("/echo", Action::Upgrade);
    }
    edge
}

fn routes(edge: &TestEdge, folder: &str) -> PathBuf {
    edge.nginx.prefix().join(folder).join("routes")
}

/// Copies the routes to the other folder, as the message of a refusal says, and reloads. By rename, because the file there may
/// be in use.
async fn move_to(edge: &TestEdge, from: &str, to: &str) {
    let new = routes(edge, to).with_extension("new");
    fs::copy(routes(edge, from), &new).unwrap();
    fs::rename(&new, routes(edge, to)).unwrap();
    edge.nginx.write_http(&http(to)).unwrap();
    edge.nginx.reload().await.unwrap();
}

/// Opens a connection that keeps its worker alive until it is dropped.
async fn echoing(edge: &TestEdge) -> Client {
    let mut client = Client::connect(edge.nginx.address("main").unwrap()).await.unwrap();
    assert_eq!(client.request("GET", "/echo", &[("upgrade", "echo")]).await.unwrap().status, 101);
    assert_eq!(client.echo(b"before").await.unwrap(), b"before");
    client
}

/// Begins an upload. A worker has read the head and waits for the body.
async fn uploading(edge: &TestEdge) -> (TcpStream, Reader) {
    let mut upload = TcpStream::connect(edge.nginx.address("main").unwrap()).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    upload.write_all(head.as_bytes()).await.unwrap();
    let mut reader = Reader::default();
    let go_on = reader.head(&mut upload).await.unwrap().unwrap();
    assert_eq!(go_on.status().unwrap(), 100);
    (upload, reader)
}

/// Starts another nginx with a state folder of the first one. Returns its active slot, generation and kinds of events.
async fn active_in(edge: &TestEdge, folder: &str) -> (String, u32, Vec<Kind>) {
    let state = edge.nginx.prefix().join(folder).display().to_string();
    let builder = Nginx::builder().set("blue", edge.blue.address()).set("green", edge.green.address());
    let http = http(folder).replace(&format!("%%prefix%%/{folder}"), &state);
    let nginx = builder.http(&http).start().await.unwrap();
    let group = nginx.admin().group("shop").await.unwrap();
    let kinds = group.events.iter().map(|event| event.kind).collect();
    (group.route.active, group.route.generation, kinds)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_worker_stays_with_its_folder_and_its_counters() {
    let edge = start().await;
    edge.nginx.admin().switch("shop", "green").await.unwrap();
    let old = edge.nginx.workers();
    let mut echoing = echoing(&edge).await;
    let (mut upload, mut reader) = uploading(&edge).await;
    move_to(&edge, "state", "other").await;
    let before = fs::read(routes(&edge, "state")).unwrap();

    let moved = edge.group().await.unwrap();
    assert_eq!((moved.route.active.as_str(), moved.route.generation), ("green", 1));
    let counters = |group: &Group| {
        let slots = group.slots.iter();
        slots.map(|slot| (slot.counters.requests, slot.counters.in_flight, slot.upgraded)).collect::<Vec<_>>()
    };
    assert_eq!(counters(&moved), [(0, 0, 0), (0, 0, 0)], "another folder has other counters");
    edge.nginx.admin().switch("shop", "blue").await.unwrap();
    for _ in 0..5 {
        let answer = client::get(edge.nginx.address("main").unwrap(), "/").await.unwrap();
        assert_eq!(answer.head.header("x-slot"), Some("blue"));
    }

    upload.write_all(b"body").await.unwrap();
    let answer = reader.head(&mut upload).await.unwrap().unwrap();
    assert_eq!(
        (answer.status().unwrap(), answer.header("x-slot")),
        (200, Some("green")),
        "the route of the old folder"
    );
    assert_eq!(echoing.echo(b"after").await.unwrap(), b"after");
    drop((echoing, upload));
    process::gone(&old, wait::PATIENCE).await.unwrap();

    let counted = async || counters(&edge.group().await.unwrap()) == [(5, 0, 0), (0, 0, 0)];
    wait::until_async(wait::PATIENCE, "the counters of the new workers", counted).await.unwrap();
    assert_eq!(fs::read(routes(&edge, "state")).unwrap(), before, "the old folder has not changed");
    assert_eq!(
        active_in(&edge, "state").await,
        ("green".into(), 1, vec![Kind::Switch]),
        "the old folder is not locked"
    );
    edge.nginx.kill_all().await.unwrap();
    edge.nginx.start().await.unwrap();
    assert_eq!(
        (edge.group().await.unwrap().route.active.as_str(), edge.group().await.unwrap().route.generation),
        ("blue", 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_worker_refuses_calls_for_the_old_folder() {
    let edge = start().await;
    let leased = RouteChange { lease_ms: Some(600_000), ..RouteChange::to("green", "a test") };
    edge.nginx.admin().change("shop", &leased).await.unwrap();
    let old = edge.nginx.workers();
    let calls = [
        ("PUT", "route", r#"{"active":"blue"}"#),
        ("POST", "renew", r#"{"lease_ms":1000}"#),
        ("POST", "confirm", "{}"),
    ];
    let mut begun = Vec::new();
    for (method, what, body) in calls {
        let mut call = UnixStream::connect(edge.nginx.admin_socket()).await.unwrap();
        let head = format!(
            "{method} /v1/groups/shop/{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        call.write_all(head.as_bytes()).await.unwrap();
        let go_on = Reader::default().head(&mut call).await.unwrap().unwrap();
        assert_eq!(go_on.status().unwrap(), 100);
        begun.push((call, body));
    }
    move_to(&edge, "state", "other").await;
    let before = fs::read(routes(&edge, "state")).unwrap();
    for (mut call, body) in begun {
        call.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        call.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 409 ") && answer.contains("\"left_behind\""), "{answer}");
    }
    process::gone(&old, wait::PATIENCE).await.unwrap();
    assert_eq!(fs::read(routes(&edge, "state")).unwrap(), before);
    edge.nginx.admin().confirm("shop").await.unwrap();
    let group = edge.group().await.unwrap();
    assert_eq!((group.route.active.as_str(), group.route.trial), ("green", None));
}

/// The master compares the routes of both folders at the end of `http {}`, and then reads more of the configuration.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_while_the_configuration_is_read_is_taken_over() {
    let edge = start().await;
    edge.nginx.admin().switch("shop", "green").await.unwrap();
    edge.nginx.admin().switch("shop", "blue").await.unwrap();
    fs::copy(routes(&edge, "state"), routes(&edge, "other")).unwrap();
    edge.nginx.write_http(&http("other")).unwrap();
    let gates = ["gate-1", "gate-2"].map(|name| edge.nginx.prefix().join(name));
    let file = edge.nginx.prefix().join("nginx.conf");
    for gate in &gates {
        rustix::fs::mknodat(CWD, gate, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}include {};\n", gate.display())).unwrap();
    }
    let meanwhile = async {
        pass(&gates[0]).await;
        edge.nginx.admin().switch("shop", "green").await.unwrap();
        pass(&gates[1]).await;
    };
    let (reloaded, ()) = tokio::join!(edge.nginx.reload(), meanwhile);
    reloaded.unwrap();
    let group = edge.group().await.unwrap();
    assert_eq!((group.route.active.as_str(), group.route.generation), ("green", 3));
    assert_eq!(edge.get("/").await.unwrap().status_and_slot(), (200, "green"));
    let event = group.events.last().unwrap();
    assert_eq!((event.from.as_str(), event.to.as_str(), event.generation), ("blue", "green", 3));
    assert!(edge.nginx.error_log().contains("switched to \"green\" in the folder that nginx leaves"));
    edge.nginx.kill_all().await.unwrap();
    edge.nginx.write_http(&http("other")).unwrap();
    edge.nginx.start().await.unwrap();
    assert_eq!(edge.get("/").await.unwrap().status_and_slot(), (200, "green"));
}

/// Opens the writing end of a FIFO whose reader waits.
async fn pass(gate: &Path) {
    while rustix::fs::open(gate, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The new master of an upgrade moves to another folder, and the upgrade is taken back: the old folder is still in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_a_new_master_leaves_stays_with_the_old_one() {
    let edge = start().await;
    let workers = edge.nginx.workers();
    let old = edge.nginx.begin_upgrade().await.unwrap();
    let new = edge.nginx.master().unwrap();
    fs::copy(routes(&edge, "state"), routes(&edge, "other")).unwrap();
    edge.nginx.write_http(&http("other")).unwrap();
    let log_before = edge.nginx.error_log().len();
    process::signal(new, Signal::HUP).unwrap();
    let reloaded = || edge.nginx.error_log()[log_before..].contains("gracefully shutting down");
    wait::until("the new master to reload", reloaded).await.unwrap();
    edge.nginx.write_http(&http("state")).unwrap();
    edge.nginx.take_back(old).await.unwrap();
    assert_eq!(edge.nginx.workers(), workers);
    edge.nginx.admin().switch("shop", "green").await.unwrap();
    assert_eq!(edge.get("/").await.unwrap().status_and_slot(), (200, "green"));
    edge.nginx.reload().await.unwrap();
    edge.nginx.admin().switch("shop", "blue").await.unwrap();
}

/// The trial was copied with the routes. It ends in both folders, by the workers of each.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_lease_ends_in_both_folders() {
    let edge = start().await;
    let leased = RouteChange { lease_ms: Some(1500), ..RouteChange::to("green", "a test") };
    edge.nginx.admin().change("shop", &leased).await.unwrap();
    let old = edge.nginx.workers();
    let echoing = echoing(&edge).await;
    move_to(&edge, "state", "other").await;
    let ended = async || edge.group().await.unwrap().route.active == "blue";
    wait::until_async(wait::PATIENCE, "the lease to end", ended).await.unwrap();
    let event = edge.group().await.unwrap().events.pop().unwrap();
    assert_eq!((event.kind, event.generation), (Kind::Lease, 2));
    // The old worker ends its trial in the old folder.
    let gone_back = || edge.nginx.error_log().matches("went back from \"green\" to \"blue\"").count() == 2;
    wait::until("the lease to end in the old folder", gone_back).await.unwrap();
    drop(echoing);
    process::gone(&old, wait::PATIENCE).await.unwrap();
    assert_eq!(edge.group().await.unwrap().events.len(), 1);
    assert_eq!(active_in(&edge, "state").await, ("blue".into(), 2, vec![Kind::Switch, Kind::Lease]));
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_between_folders_leaks_nothing() {
    let edge = start().await;
    let load = edge.load().unwrap();
    let mut first = None;
    for (round, [from, to]) in
        [["state", "other"], ["other", "state"]].into_iter().cycle().take(4).enumerate()
    {
        edge.shop.switch_times(&load, 3).await.unwrap();
        move_to(&edge, from, to).await;
        // Old workers do not follow a switch in the new folder.
        wait::until("the old workers to end", || edge.nginx.pids().len() == 3).await.unwrap();
        edge.shop.assert_settled().await.unwrap();
        edge.shop.switch_times(&load, 3).await.unwrap();
        let held = Footprint::of(edge.nginx.master().unwrap()).unwrap();
        let held = (held.descriptors, held.own_mappings);
        assert_eq!(*first.get_or_insert(held), held, "round {round}");
    }
    let report = load.stop().await;
    edge.assert_exact("4 moves, 24 switches", &report).unwrap();
    // The other folder has different routes by now.
    edge.nginx.write_http(&http("other")).unwrap();
    edge.nginx.expect_in_log("there the active slot of group \"shop\" is");
    edge.nginx.reload().await.unwrap_err();
    edge.shop.assert_settled().await.unwrap();
}
