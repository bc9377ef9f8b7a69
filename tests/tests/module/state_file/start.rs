//! The file at the start of nginx: created, found, refused.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use cutover_tests::nginx::Nginx;

use super::disk::SmallDisk;
use super::{HTTP, TWO, active, file, started};

#[tokio::test]
async fn the_file_is_private_and_there_from_the_first_start() {
    let nginx = started().await;
    let meta = fs::metadata(file(&nginx)).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o600, 0));
    let mut files: Vec<_> =
        fs::read_dir(nginx.prefix().join("state")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["events", "routes"], "no temporary file is left");
    assert_eq!(active(&nginx).await, ("blue".into(), 0));
}

#[tokio::test]
async fn checking_changes_nothing_on_a_live_nginx() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    let (before, meta) = (fs::read(file(&nginx)).unwrap(), fs::metadata(file(&nginx)).unwrap());
    nginx.set("slots", "slot red r; slot blue b; slot green g;");
    nginx.write_http(HTTP).unwrap();
    let answer = nginx.check().unwrap();
    assert!(answer.ok, "{}", answer.output);
    assert_eq!(fs::read(file(&nginx)).unwrap(), before);
    assert_eq!(fs::metadata(file(&nginx)).unwrap().mtime_nsec(), meta.mtime_nsec());
    assert!(nginx.admin_socket().exists(), "nginx -t must not remove the live socket");
    assert_eq!(active(&nginx).await, ("green".into(), 1));
}

#[tokio::test]
async fn damage_is_refused_and_never_read_as_a_route() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    nginx.stop().await.unwrap();
    let path = file(&nginx);
    let good = fs::read(&path).unwrap();
    let flip = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad
    };
    let mut newer = good.clone();
    newer[8] = 9;
    for (bytes, why) in [
        (good[..good.len() - 1].to_vec(), "is cut off"),
        (good[..4096].to_vec(), "is cut off"),
        (Vec::new(), "is cut off"),
        (b"#!/bin/sh\n".repeat(900), "is not a cutover state file"),
        (newer, "the checksum of its header does not match"),
        (flip(12), "the checksum of its header does not match"),
        (flip(4096 + 5), "the route of record 0 (group \"shop\") cannot be read"),
        (flip(4096 + 70), "the names of record 0 cannot be read"),
        (flip(4096 + 512 + 300), "the names of record 1 cannot be read"),
    ] {
        fs::write(&path, &bytes).unwrap();
        refused_at_start(&nginx, why).await;
        assert_eq!(fs::read(&path).unwrap(), bytes, "a damaged file is not changed");
    }
    fs::write(&path, &good).unwrap();
    nginx.start().await.unwrap();
    assert_eq!(active(&nginx).await, ("green".into(), 1));
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused() {
    let nginx = started().await;
    nginx.stop().await.unwrap();
    let path = file(&nginx);
    let aside = nginx.prefix().join("aside");
    fs::rename(&path, &aside).unwrap();
    symlink(&aside, &path).unwrap();
    refused_at_start(&nginx, "opening").await;
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    nginx.expect_in_log("is not a regular file");
    refused_at_start(&nginx, "opening").await;
    fs::remove_dir(&path).unwrap();
    fs::copy(&aside, &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    refused_at_start(&nginx, "can be written by others").await;
}

/// The file of events is checked in the same way, also by `nginx -t`.
#[tokio::test]
async fn events_in_a_file_that_is_not_ours_are_refused() {
    let nginx = started().await;
    nginx.stop().await.unwrap();
    let path = nginx.prefix().join("state/events");
    let refused = async |why: &str| {
        let answer = nginx.check().unwrap();
        assert!(!answer.ok && answer.output.contains(why), "{}", answer.output);
        refused_at_start(&nginx, why).await;
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    refused("state/events\" can be written by others").await;
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    nginx.expect_in_log("state/events\"");
    refused("state/events\"").await;
    fs::remove_dir(&path).unwrap();
    assert!(nginx.check().unwrap().ok, "a missing file is created");
    assert!(!path.exists(), "but not by nginx -t");
    nginx.start().await.unwrap();
}

/// After nginx has stopped, no process uses the ids of its slots: they can be reused.
#[tokio::test]
async fn a_stopped_nginx_may_come_back_with_other_slots() {
    let nginx = started().await;
    nginx.stop().await.unwrap();
    for letter in ["x", "y", "z"] {
        let slots: String = (0..8).map(|n| format!("slot {letter}{n} b;")).collect();
        let (before, rest) = HTTP.split_once("cutover shop").unwrap();
        let rest = rest.split_once('}').unwrap().1;
        let group = format!("{before}cutover shop {{ {slots} active {letter}0; }}{rest}");
        nginx.write_http(&group).unwrap();
        nginx.start().await.unwrap();
        nginx.stop().await.unwrap();
    }
}

/// A group finds its events by the place of its record, which another group may have had.
#[tokio::test]
async fn a_group_never_shows_the_events_of_another() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    nginx.stop().await.unwrap();
    fs::remove_file(file(&nginx)).unwrap();
    nginx.write_http(&HTTP.replace("cutover shop", "cutover other")).unwrap();
    nginx.start().await.unwrap();
    assert_eq!(nginx.admin().group("other").await.unwrap().events, []);
    nginx.admin().switch("other", "green").await.unwrap();
    let group = nginx.admin().group("other").await.unwrap();
    assert_eq!(group.events.iter().map(|event| event.number).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn two_nginx_never_share_a_file() {
    let first = started().await;
    first.admin().switch("shop", "green").await.unwrap();
    let folder = first.prefix().join("state");
    let http = HTTP.replace("%%prefix%%/state", &folder.display().to_string());
    let second = Nginx::builder().set("slots", TWO).http(&http).build().unwrap();
    let why = "is in use by another nginx";
    second.expect_in_log(why);
    let answer = second.try_start().await.unwrap();
    assert!(!answer.ok && answer.output.contains(why), "{}", answer.output);
    // A reload and an upgrade of the first nginx are not refused.
    first.reload().await.unwrap();
    first.upgrade().await.unwrap();
    assert_eq!(active(&first).await, ("green".into(), 1));
    assert!(!second.try_start().await.unwrap().ok, "the lock outlives the upgrade");
    first.kill_all().await.unwrap();
    second.start().await.unwrap();
    assert_eq!(active(&second).await, ("green".into(), 1));
}

#[tokio::test]
async fn a_stale_socket_never_stops_nginx() {
    let nginx = started().await;
    nginx.kill_all().await.unwrap();
    assert!(nginx.admin_socket().exists());
    assert!(nginx.check().unwrap().ok);
    assert!(nginx.admin_socket().exists(), "nginx -t removes nothing");
    nginx.start().await.unwrap();
    assert_eq!(active(&nginx).await, ("blue".into(), 0));
    assert!(nginx.error_log().contains("removed \""));
}

/// A killed nginx needs a moment to end; until then the kernel accepts connections for it.
#[tokio::test]
async fn a_socket_of_a_process_that_is_just_ending_never_stops_nginx() {
    let nginx = Nginx::builder().set("slots", TWO).http(HTTP).build().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(nginx.admin_socket()).unwrap();
    let ending = std::thread::spawn(move || {
        // The module connects to check whether the process lives, and the connection succeeds. Then the process ends.
        listener.accept().unwrap();
    });
    nginx.start().await.unwrap();
    ending.join().unwrap();
    assert_eq!(active(&nginx).await, ("blue".into(), 0));
}

#[tokio::test]
async fn a_stale_socket_never_stops_an_nginx_without_groups() {
    let nginx = Nginx::builder()
        .http("server { listen %%admin%%; location / { cutover_api; } }")
        .start()
        .await
        .unwrap();
    nginx.kill_all().await.unwrap();
    nginx.start().await.unwrap();
    assert_eq!(nginx.admin().groups().await.unwrap().groups.len(), 0);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_not_removed() {
    let nginx = Nginx::builder().set("slots", TWO).http(HTTP).build().unwrap();
    fs::write(nginx.admin_socket(), "precious").unwrap();
    nginx.expect_in_log("Address already in use");
    nginx.expect_in_log("still could not bind()");
    assert!(!nginx.try_start().await.unwrap().ok);
    assert_eq!(fs::read_to_string(nginx.admin_socket()).unwrap(), "precious");
}

/// Without free space the start is refused with the path, and no incomplete file is left. With space nginx starts.
#[tokio::test]
async fn a_full_disk_is_refused_at_the_start() {
    let nginx = Nginx::builder().set("slots", TWO).http(HTTP).build().unwrap();
    let small = SmallDisk::mount(nginx.prefix().join("state"), "16k");
    nginx.expect_in_log("No space left on device");
    let answer = nginx.try_start().await.unwrap();
    assert!(!answer.ok && answer.output.contains("state/routes\" failed"), "{}", answer.output);
    assert_eq!(fs::read_dir(small.path()).unwrap().count(), 0, "no incomplete file is left");
    small.resize("1m");
    nginx.start().await.unwrap();
    // The disk is full again while nginx runs, but all blocks of the file are allocated.
    fs::write(small.path().join("ballast"), vec![1; 2 << 20]).unwrap_err();
    assert_eq!(nginx.admin().switch("shop", "green").await.unwrap().route.generation, 1);
    nginx.kill_all().await.unwrap();
    nginx.start().await.unwrap();
    assert_eq!(active(&nginx).await, ("green".into(), 1));
    // Unmounted before nginx's folder is removed.
    drop(small);
}

/// A byte of the mapped route changes while nginx runs: requests use the configured `active`, and a switch works.
#[tokio::test]
async fn a_route_damaged_in_memory_falls_back_to_active() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    let file = fs::OpenOptions::new().write(true).open(file(&nginx)).unwrap();
    file.write_at(&[0xff], 4096 + 2).unwrap();
    assert_eq!(active(&nginx).await.0, "blue");
    assert_eq!(nginx.admin().switch("shop", "green").await.unwrap().route.active, "green");
}

async fn refused_at_start(nginx: &Nginx, why: &str) {
    nginx.expect_in_log(why);
    let answer = nginx.try_start().await.unwrap();
    assert!(!answer.ok, "started, but expected: {why}");
    assert!(answer.output.contains(why), "expected {why:?}, got: {}", answer.output);
    assert!(!nginx.check().unwrap().ok, "nginx -t must say the same");
}
