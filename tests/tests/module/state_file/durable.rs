//! An acknowledged change is on disk: another nginx starts with it from a copy of the disk that was made after the reply.

use std::fs;
use std::path::Path;

use cutover_core::api::{ErrorCode, RouteChange, RouteState};
use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use cutover_tests::{Nginx, client};

use super::disk::{FaultyDisk, ThinDisk};
use super::disk_trouble::start;
use super::file;

/// Changes of every kind, made in turn; each makes another route than the one before.
const CHANGES: [&str; 5] = [
    r#"{"active":"green"}"#,
    r#"{"split":{"green":70,"blue":30}}"#,
    r#"{"active":"blue","lease_ms":600000}"#,
    r#"{"active":"green","guard":{"min_requests":5,"max_error_ratio":0.5,"window_ms":5000},"rescue":true}"#,
    r#"{"active":"blue"}"#,
];

const ROUNDS: usize = 15;

/// Another nginx with the same groups, not started yet.
fn another(of: &TestEdge) -> Nginx {
    let builder = Nginx::builder().set("blue", of.blue.address()).set("green", of.green.address());
    builder.http(&TestEdge::http(UPSTREAMS, LOCATION)).build().unwrap()
}

/// Makes the changes, and a copy after each reply. Returns the acknowledged route for each copy.
async fn change_and_copy(edge: &TestEdge, mut copy: impl FnMut(usize)) -> Vec<RouteState> {
    let mut acknowledged = Vec::new();
    for (round, change) in CHANGES.into_iter().cycle().take(ROUNDS).enumerate() {
        let change: RouteChange = serde_json::from_str(change).unwrap();
        let group = edge.nginx.admin().change("shop", &change).await.unwrap();
        copy(round);
        acknowledged.push(group.route);
    }
    acknowledged
}

/// Starts nginx and asserts that it has the acknowledged route. A trial's lease may be shorter by now.
async fn assert_starts_with(nginx: &Nginx, acknowledged: &RouteState, round: usize) {
    nginx.start().await.unwrap();
    let mut route = nginx.admin().group("shop").await.unwrap().route;
    if let (Some(trial), Some(before)) = (&mut route.trial, &acknowledged.trial) {
        assert!(trial.lease_left_ms <= before.lease_left_ms, "round {round}");
        trial.lease_left_ms = before.lease_left_ms;
    }
    assert_eq!(route, *acknowledged, "round {round}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_folder_starts_with_what_was_acknowledged() {
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    let state = edge.nginx.prefix().join("state");
    let copy_of = |round: usize| edge.nginx.prefix().join(format!("copy-{round}"));
    let copy = |round| {
        fs::create_dir(copy_of(round)).unwrap();
        for name in ["routes", "events"] {
            fs::copy(state.join(name), copy_of(round).join(name)).unwrap();
        }
    };
    let acknowledged = change_and_copy(&edge, copy).await;
    for round in (1..ROUNDS).step_by(3) {
        let nginx = another(&edge);
        for name in ["routes", "events"] {
            fs::copy(copy_of(round).join(name), nginx.prefix().join("state").join(name)).unwrap();
        }
        assert_starts_with(&nginx, &acknowledged[round], round).await;
        let events = nginx.admin().group("shop").await.unwrap().events;
        let generations: Vec<_> = events.iter().map(|event| event.generation as usize).collect();
        assert_eq!(generations, (1..=round + 1).collect::<Vec<_>>(), "the events are there, too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_of_power_takes_nothing_that_was_acknowledged() {
    let mount =
        |nginx: &Nginx| FaultyDisk::mount(nginx.prefix().join("disk.img"), nginx.prefix().join("state"));
    let (edge, disk) = start(mount).await;
    let Some(disk) = disk else {
        println!("SKIPPED: no /dev/loop-control, so no disk whose contents can be copied");
        return;
    };
    let copy_of = |round: usize| edge.nginx.prefix().join(format!("copy-{round}.img"));
    let acknowledged = change_and_copy(&edge, |round| disk.copy_to(&copy_of(round))).await;
    for round in (0..ROUNDS).step_by(2) {
        let nginx = another(&edge);
        let _disk = power_returns(&nginx, &copy_of(round));
        assert_starts_with(&nginx, &acknowledged[round], round).await;
        nginx.kill_all().await.unwrap();
    }
    edge.nginx.kill_all().await.unwrap();
}

fn power_returns(nginx: &Nginx, copy: &Path) -> FaultyDisk {
    FaultyDisk::mount_copy(copy.to_owned(), nginx.prefix().join("state"))
}

/// The disk is out of space: the traffic moves, and the reply says that the change is not durable. When the caller repeats the
/// call with space available, the reply acknowledges it.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_was_not_durable_can_be_asked_for_again() {
    let mount = |nginx: &Nginx| ThinDisk::mount(nginx.prefix().join("storage"), nginx.prefix().join("state"));
    let (edge, disk) = start(mount).await;
    let Some(mut disk) = disk else {
        println!("SKIPPED: no /dev/loop-control, so no disk that can be overcommitted");
        return;
    };
    let admin = edge.nginx.admin();
    admin.switch("shop", "green").await.unwrap();
    disk.run_out_for(&file(&edge.nginx));
    for attempt in 1..=3 {
        let reply = admin.switch_if("shop", "blue", if attempt == 1 { 1 } else { 2 }).await.unwrap();
        assert_eq!(reply.status, 507, "attempt {attempt}: {}", reply.body);
        let failure = reply.failure().unwrap();
        assert_eq!(failure.error.code, ErrorCode::NotDurable);
        let route = failure.group.unwrap().route;
        assert_eq!((route.active.as_str(), route.generation), ("blue", 2), "attempt {attempt}");
        let answer = client::get(edge.nginx.address("main").unwrap(), "/").await.unwrap();
        assert_eq!(answer.head.header("x-slot"), Some("blue"), "the traffic has moved");
    }
    assert!(edge.nginx.error_log().contains("[crit]"));
    disk.make_room();
    let group = admin.switch("shop", "blue").await.unwrap();
    assert_eq!(group.route.generation, 2, "the repeated call changes nothing");
    let copy = edge.nginx.prefix().join("copy.img");
    disk.copy_to(&copy);
    let nginx = another(&edge);
    let _disk = power_returns(&nginx, &copy);
    assert_starts_with(&nginx, &group.route, 0).await;
    nginx.kill_all().await.unwrap();
    edge.nginx.kill_all().await.unwrap();
}

/// Two groups share one page of the file. When its flush fails, both callers must be told.
#[tokio::test(flavor = "multi_thread")]
async fn two_switches_at_once_are_both_told_that_they_are_not_durable() {
    let blue = cutover_tests::Backend::start("blue").await.unwrap();
    let green = cutover_tests::Backend::start("green").await.unwrap();
    let blog = "cutover blog { slot blue shop_blue; slot green shop_green; active blue; }";
    let builder = Nginx::builder().set("blue", blue.address()).set("green", green.address());
    let nginx = builder.http(&(TestEdge::http(UPSTREAMS, LOCATION) + blog)).build().unwrap();
    let Some(mut disk) = ThinDisk::mount(nginx.prefix().join("storage"), nginx.prefix().join("state")) else {
        return;
    };
    nginx.start().await.unwrap();
    let admin = nginx.admin();
    admin.switch("shop", "green").await.unwrap();
    admin.switch("blog", "green").await.unwrap();
    disk.run_out_for(&file(&nginx));
    let mut answers = Vec::new();
    for round in 1..=40 {
        let to = if round % 2 == 1 { "blue" } else { "green" };
        let (one, two) = tokio::join!(admin.switch_if("shop", to, round), admin.switch_if("blog", to, round));
        answers.push((one.unwrap().status, two.unwrap().status));
    }
    assert!(answers.iter().all(|both| *both == (507, 507)), "{answers:?}");
}
