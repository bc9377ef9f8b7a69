//! A disk that is full, read-only or broken while nginx runs: traffic and switches continue, and a switch that is not durable
//! is not acknowledged as durable.

use std::time::Duration;

use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use cutover_tests::{Nginx, wait};

use super::disk::{FaultyDisk, ReadOnly, SmallDisk};

/// Starts nginx with a file system that `mount` mounts at the state folder.
pub(super) async fn start<D>(mount: impl FnOnce(&Nginx) -> D) -> (TestEdge, D) {
    let blue = cutover_tests::Backend::start("blue").await.unwrap();
    let green = cutover_tests::Backend::start("green").await.unwrap();
    let builder = Nginx::builder().set("blue", blue.address()).set("green", green.address());
    let nginx = builder.http(&TestEdge::http(UPSTREAMS, LOCATION)).build().unwrap();
    let disk = mount(&nginx);
    nginx.start().await.unwrap();
    let shop = cutover_tests::Switcher::new(&nginx, "shop", &["blue", "green"]);
    (TestEdge { blue, green, nginx, shop }, disk)
}

/// The file's blocks are allocated at the start. Only a configuration with more groups than fit needs new blocks.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_growth_and_nothing_else() {
    let (edge, disk) = start(|nginx| SmallDisk::mount(nginx.prefix().join("state"), "40k")).await;
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 5).await.unwrap();
    let few = TestEdge::http(UPSTREAMS, LOCATION);
    let many: String = (0..100)
        .map(|n| format!("cutover g{n} {{ slot one shop_blue; slot two shop_green; active one; }}\n"))
        .collect();
    edge.nginx.write_http(&(few.clone() + &many)).unwrap();
    edge.nginx.expect_in_log("No space left on device");
    let error = edge.nginx.reload().await.unwrap_err();
    assert!(format!("{error:#}").contains("state/routes\" failed"), "{error:#}");
    edge.shop.switch_times(&load, 5).await.unwrap();
    disk.resize("1m");
    edge.nginx.reload().await.unwrap();
    assert_eq!(edge.nginx.admin().switch("g99", "two").await.unwrap().route.generation, 1);
    edge.shop.switch_times(&load, 5).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("a full disk", &report).unwrap();
}

/// An incomplete growth does not damage the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_growth_that_failed_can_be_started_over() {
    let (edge, disk) = start(|nginx| SmallDisk::mount(nginx.prefix().join("state"), "40k")).await;
    edge.shop.switch().await.unwrap();
    let few = TestEdge::http(UPSTREAMS, LOCATION);
    let many: String =
        (0..100).map(|n| format!("cutover g{n} {{ slot one shop_blue; active one; }}\n")).collect();
    edge.nginx.write_http(&(few.clone() + &many)).unwrap();
    edge.nginx.expect_in_log("No space left on device");
    edge.nginx.reload().await.unwrap_err();
    edge.nginx.kill_all().await.unwrap();
    edge.nginx.write_http(&few).unwrap();
    edge.nginx.start().await.unwrap();
    edge.shop.assert_settled().await.unwrap();
    edge.shop.switch().await.unwrap();
    edge.nginx.write_http(&(few + &many)).unwrap();
    disk.resize("1m");
    edge.nginx.reload().await.unwrap();
    edge.shop.assert_settled().await.unwrap();
    assert_eq!(edge.nginx.admin().groups().await.unwrap().groups.len(), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_file_system_refuses_a_reload_and_nothing_else() {
    let (edge, disk) = start(|nginx| SmallDisk::mount(nginx.prefix().join("state"), "1m")).await;
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 5).await.unwrap();
    let read_only = ReadOnly::make(disk.path().to_owned());
    edge.nginx.expect_in_log("Read-only file system");
    let error = edge.nginx.reload().await.unwrap_err();
    assert!(format!("{error:#}").contains("opening \""), "{error:#}");
    assert!(!edge.nginx.check().unwrap().ok, "nginx -t must say the same");
    edge.shop.switch_times(&load, 5).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("a read-only file system", &report).unwrap();
    edge.nginx.kill_all().await.unwrap();
    let answer = edge.nginx.try_start().await.unwrap();
    assert!(!answer.ok && answer.output.contains("Read-only file system"), "{}", answer.output);
    drop(read_only);
    edge.nginx.start().await.unwrap();
    edge.shop.assert_settled().await.unwrap();
}

/// The first start is not possible there, and `nginx -t` says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_file_system_without_a_file_is_refused() {
    let (edge, disk) = start(|nginx| SmallDisk::mount(nginx.prefix().join("state"), "1m")).await;
    edge.nginx.stop().await.unwrap();
    std::fs::remove_file(disk.path().join("routes")).unwrap();
    let _read_only = ReadOnly::make(disk.path().to_owned());
    edge.nginx.expect_in_log("Read-only file system");
    for answer in [edge.nginx.check().unwrap(), edge.nginx.try_start().await.unwrap()] {
        assert!(!answer.ok && answer.output.contains("Read-only file system"), "{}", answer.output);
    }
}

/// The file system has an error and becomes read-only while the state file is mapped.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_broken_disk_switches_are_not_durable_but_traffic_moves() {
    let mount =
        |nginx: &Nginx| FaultyDisk::mount(nginx.prefix().join("disk.img"), nginx.prefix().join("state"));
    let (edge, disk) = start(mount).await;
    let Some(disk) = disk else {
        println!("SKIPPED: no /dev/loop-control, so no disk that can fail");
        return;
    };
    let workers = edge.nginx.workers();
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 3).await.unwrap();
    let durable = edge.oracle().settled();
    disk.break_down();
    for _ in 0..6 {
        let (to, seen) = (edge.shop.next(), edge.nginx.admin().group("shop").await.unwrap());
        let call = edge.oracle().announce(&to);
        let reply = edge.nginx.admin().switch_if("shop", &to, seen.route.generation).await.unwrap();
        call.acknowledge();
        assert_eq!((reply.status, reply.failure().unwrap().group.unwrap().route.active), (507, to));
        load.answers(20).await.unwrap();
    }
    edge.nginx.expect_in_log("Read-only file system");
    edge.nginx.reload().await.unwrap_err();
    edge.shop.assert_settled().await.unwrap();
    load.answers(50).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("a broken disk, 9 switches", &report).unwrap();
    assert!(edge.nginx.error_log().contains("was not flushed to disk"));
    assert_eq!(edge.nginx.workers(), workers, "no worker has died");

    edge.nginx.kill_all().await.unwrap();
    assert!(!edge.nginx.try_start().await.unwrap().ok);
    disk.repair();
    edge.nginx.start().await.unwrap();
    let active = edge.nginx.admin().group("shop").await.unwrap().route.active;
    assert_eq!(active, durable, "the last switch that was acknowledged as durable");
    wait::until("the workers", || edge.nginx.workers().len() == 2).await.unwrap();
    edge.nginx.kill_all().await.unwrap();
}

/// The disk hangs for a while, as during a snapshot. The caller of the switch waits, and at most the worker that makes the
/// switch blocks. No request fails, and the other worker serves requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_holds_up_one_worker_at_most() {
    let mount =
        |nginx: &Nginx| FaultyDisk::mount(nginx.prefix().join("disk.img"), nginx.prefix().join("state"));
    let (edge, disk) = start(mount).await;
    let Some(disk) = disk else {
        println!("SKIPPED: no /dev/loop-control, so no disk that can hang");
        return;
    };
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 3).await.unwrap();
    disk.freeze();
    let switching = edge.shop.switch();
    let meanwhile = async {
        // All connections of the load may belong to the blocked worker, so this uses new ones. Some of them may already be
        // accepted by that worker.
        let mut answered = 0;
        for _ in 0..110 {
            let answer = tokio::time::timeout(Duration::from_millis(500), edge.get("/")).await;
            answered += u32::from(answer.is_ok_and(|answer| answer.is_ok()));
        }
        disk.thaw();
        answered
    };
    let (switched, answered) = tokio::join!(switching, meanwhile);
    assert!(answered >= 100, "{answered} of 110 new connections");
    switched.unwrap();
    edge.shop.switch_times(&load, 3).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("a disk that hangs", &report).unwrap();
}
