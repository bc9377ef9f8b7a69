//! Promise 3: never empty, never forgotten. The state file over restarts, reloads and damage.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use cutover_tests::Backend;
use cutover_tests::nginx::Nginx;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream b { server 127.0.0.1:1; }
    upstream g { server 127.0.0.1:2; }
    upstream r { server 127.0.0.1:3; }
    cutover shop { %%slots%% active blue; }
    cutover blog { slot one b; slot two g; active one; }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

const TWO: &str = "slot blue b; slot green g;";

async fn started() -> Nginx {
    Nginx::builder().set("slots", TWO).http(HTTP).start().await.unwrap()
}

fn file(nginx: &Nginx) -> PathBuf {
    nginx.prefix().join("state/routes")
}

async fn active(nginx: &Nginx) -> (String, u32) {
    let route = nginx.admin().group("shop").await.unwrap().route;
    (route.active, route.generation)
}

async fn refused_at_start(nginx: &Nginx, why: &str) {
    nginx.expect_in_log(why);
    let answer = nginx.try_start().await.unwrap();
    assert!(!answer.ok, "started, but expected: {why}");
    assert!(answer.output.contains(why), "expected {why:?}, got: {}", answer.output);
    assert!(!nginx.check().unwrap().ok, "nginx -t must say the same");
}

#[tokio::test]
async fn the_file_is_private_and_there_from_the_first_start() {
    let nginx = started().await;
    let meta = fs::metadata(file(&nginx)).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o600, 0));
    assert_eq!(fs::read_dir(nginx.prefix().join("state")).unwrap().count(), 1, "no drafts stay behind");
    assert_eq!(active(&nginx).await, ("blue".into(), 0));
}

#[tokio::test]
async fn slots_keep_their_route_when_they_are_reordered_added_and_removed() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    nginx.admin().switch("blog", "two").await.unwrap();
    for slots in [
        "slot green g; slot blue b;",
        "slot red r; slot green g; slot blue b;",
        "slot blue b; slot red r; slot green g;",
        "slot green g; slot blue b;",
    ] {
        nginx.set("slots", slots);
        nginx.write_http(HTTP).unwrap();
        nginx.reload().await.unwrap();
        assert_eq!(active(&nginx).await, ("green".into(), 1), "{slots}");
        nginx.kill_all().await.unwrap();
        nginx.start().await.unwrap();
        assert_eq!(active(&nginx).await, ("green".into(), 1), "{slots} after a restart");
    }
    assert_eq!(nginx.admin().group("blog").await.unwrap().route.active, "two");
}

#[tokio::test]
async fn a_slot_added_by_a_reload_can_take_the_traffic() {
    let nginx = started().await;
    nginx.set("slots", "slot red r; slot blue b; slot green g;");
    nginx.write_http(HTTP).unwrap();
    nginx.reload().await.unwrap();
    assert_eq!(nginx.admin().switch("shop", "red").await.unwrap().route.active, "red");
    nginx.reload().await.unwrap();
    assert_eq!(active(&nginx).await, ("red".into(), 1));
}

#[tokio::test]
async fn the_active_slot_cannot_be_dropped() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    nginx.set("slots", "slot blue b;");
    nginx.write_http(HTTP).unwrap();
    let why = "group \"shop\" has no slot \"green\", which is active now";
    nginx.expect_in_log(why);
    let before = fs::read(file(&nginx)).unwrap();
    assert!(nginx.check().unwrap().output.contains(why));
    let error = nginx.reload().await.unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    assert_eq!(fs::read(file(&nginx)).unwrap(), before, "nothing is half-applied");
    assert_eq!(active(&nginx).await, ("green".into(), 1), "the old workers go on");
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
    assert!(nginx.admin_socket().exists(), "nginx -t must not take the live socket away");
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
        assert_eq!(fs::read(&path).unwrap(), bytes, "a damaged file is left as it is");
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
    // A reload of the first, and an upgrade, are not another nginx.
    first.reload().await.unwrap();
    first.upgrade().await.unwrap();
    assert_eq!(active(&first).await, ("green".into(), 1));
    assert!(!second.try_start().await.unwrap().ok, "the lock outlives the upgrade");
    first.kill_all().await.unwrap();
    second.start().await.unwrap();
    assert_eq!(active(&second).await, ("green".into(), 1));
}

#[tokio::test]
async fn a_file_removed_or_replaced_under_a_running_nginx_stops_the_reload() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    let why = "was removed or replaced while nginx runs on the old one";
    nginx.expect_in_log(why);
    let copy = fs::read(file(&nginx)).unwrap();
    fs::remove_file(file(&nginx)).unwrap();
    assert!(nginx.reload().await.unwrap_err().to_string().contains(why));
    assert_eq!(active(&nginx).await, ("green".into(), 1));
    fs::write(file(&nginx), &copy).unwrap();
    fs::set_permissions(file(&nginx), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(nginx.reload().await.unwrap_err().to_string().contains(why));
    // What the message says: copy it back, stop, start.
    nginx.stop().await.unwrap();
    nginx.start().await.unwrap();
    assert_eq!(active(&nginx).await, ("green".into(), 1));
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

/// Another folder has other routes: a reload that would move traffic is refused, one that takes the file along is not.
#[tokio::test]
async fn another_folder_must_have_the_routes() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    let other = nginx.prefix().join("other");
    fs::create_dir(&other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o700)).unwrap();
    nginx.write_http(&HTTP.replace("%%prefix%%/state", "%%prefix%%/other")).unwrap();
    let why = "the active slot of group \"shop\" is \"blue\", but \"green\" takes the traffic now";
    nginx.expect_in_log(why);
    let error = nginx.reload().await.unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    fs::copy(file(&nginx), other.join("routes")).unwrap();
    nginx.reload().await.unwrap();
    assert_eq!(active(&nginx).await, ("green".into(), 1));
    assert_eq!(nginx.admin().switch("shop", "blue").await.unwrap().route.generation, 2);
}

/// With another folder even `active` of the configuration must not move traffic.
#[tokio::test]
async fn another_folder_with_another_route_is_refused_before_the_first_switch_too() {
    let nginx = started().await;
    let donor = started().await;
    donor.admin().switch("shop", "green").await.unwrap();
    let other = nginx.prefix().join("other");
    fs::create_dir(&other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(file(&donor), other.join("routes")).unwrap();
    nginx.write_http(&HTTP.replace("%%prefix%%/state", "%%prefix%%/other")).unwrap();
    let why = "the active slot of group \"shop\" is \"green\", but \"blue\" takes the traffic now";
    nginx.expect_in_log(why);
    assert!(nginx.reload().await.unwrap_err().to_string().contains(why));
    assert_eq!(active(&nginx).await, ("blue".into(), 0));
}

/// Moved aside is as bad as removed: new workers would begin with other routes than the old ones have.
#[tokio::test]
async fn a_file_moved_aside_under_a_running_nginx_stops_the_reload() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    let why = "was removed or replaced while nginx runs on the old one";
    nginx.expect_in_log(why);
    let aside = nginx.prefix().join("state/routes.bak");
    fs::rename(file(&nginx), &aside).unwrap();
    assert!(nginx.reload().await.unwrap_err().to_string().contains(why));
    fs::copy(&aside, file(&nginx)).unwrap();
    assert!(nginx.reload().await.unwrap_err().to_string().contains(why), "another inode with the same bytes");
    fs::rename(&aside, file(&nginx)).unwrap();
    nginx.reload().await.unwrap();
    assert_eq!(active(&nginx).await, ("green".into(), 1));
}

/// An old worker that finishes an upload knows nothing of a slot that a reload has added: it stays where the traffic was,
/// and never goes to what `active` says.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_worker_stays_on_the_slot_that_it_knew() {
    let blue = Backend::start("blue").await.unwrap();
    let green = Backend::start("green").await.unwrap();
    let http = "
        cutover_state %%prefix%%/state;
        upstream b { server %%blue%%; } upstream g { server %%green%%; } upstream r { server 127.0.0.1:3; }
        cutover shop { %%slots%% active blue; }
        server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
        server { listen %%admin%%; location / { cutover_api write=on; } }
    ";
    let builder =
        Nginx::builder().set("slots", TWO).set("blue", blue.address()).set("green", green.address());
    let nginx = builder.http(http).start().await.unwrap();
    nginx.admin().switch("shop", "green").await.unwrap();
    let mut upload = TcpStream::connect(nginx.address("main").unwrap()).await.unwrap();
    upload
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab")
        .await
        .unwrap();
    nginx.set("slots", "slot blue b; slot green g; slot red r;");
    nginx.write_http(http).unwrap();
    // Until the worker has read the head it would be idle, and close at the reload.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    nginx.reload().await.unwrap();
    nginx.admin().switch("shop", "red").await.unwrap();
    upload.write_all(b"cd").await.unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("x-slot: green"), "{answer}");
    assert!(nginx.error_log().contains("leads to a slot that this worker's configuration does not have"));
}

/// A switch that an old worker was asked for before the reload, to a slot that the reload has dropped.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_worker_cannot_switch_to_a_dropped_slot() {
    let nginx = started().await;
    nginx.set("slots", "slot blue b; slot green g; slot red r;");
    nginx.write_http(HTTP).unwrap();
    nginx.reload().await.unwrap();
    let mut call = UnixStream::connect(nginx.admin_socket()).await.unwrap();
    let head = "PUT /v1/groups/shop/route HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"active\"";
    call.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    nginx.set("slots", TWO);
    nginx.write_http(HTTP).unwrap();
    nginx.reload().await.unwrap();
    call.write_all(b":\"red\"").await.unwrap();
    call.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    call.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("no longer has this slot"), "{answer}");
    assert_eq!(active(&nginx).await, ("blue".into(), 0));
    assert!(nginx.check().unwrap().ok);
}

/// A reload that is refused after the state was opened leaves nothing that counts.
#[tokio::test]
async fn a_reload_refused_elsewhere_changes_nothing() {
    let nginx = started().await;
    nginx.set("slots", "slot red r; slot blue b;");
    nginx.write_http(HTTP).unwrap();
    let bad = fs::read_to_string(nginx.prefix().join("nginx.conf")).unwrap() + "\nnonsense;\n";
    fs::write(nginx.prefix().join("nginx.conf"), bad).unwrap();
    nginx.expect_in_log("unknown directive \"nonsense\"");
    assert!(nginx.reload().await.is_err());
    assert_eq!(nginx.admin().switch("shop", "green").await.unwrap().route.generation, 1);
    nginx.set("slots", TWO);
    nginx.write_http(HTTP).unwrap();
    nginx.reload().await.unwrap();
    assert_eq!(active(&nginx).await, ("green".into(), 1));
}

/// A new program with a configuration that has no state must not go on holding the lock.
#[tokio::test]
async fn an_upgrade_to_a_configuration_without_state_lets_go_of_it() {
    let nginx = started().await;
    nginx.write_http("server { listen %%admin%%; location / { return 204; } }").unwrap();
    nginx.upgrade().await.unwrap();
    for pid in nginx.pids() {
        let links = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        let left: Vec<_> = links
            .filter(|link| link.ends_with("routes") || link.to_string_lossy().contains("cutover:"))
            .collect();
        assert!(left.is_empty(), "process {pid} holds {left:?}");
    }
}

/// No free space: refused with the path, nothing half-made; with space again it starts.
#[tokio::test]
async fn a_full_disk_is_refused_at_the_start() {
    let nginx = Nginx::builder().set("slots", TWO).http(HTTP).build().unwrap();
    let small = SmallDisk::mount(nginx.prefix().join("state"), "16k");
    nginx.expect_in_log("No space left on device");
    let answer = nginx.try_start().await.unwrap();
    assert!(!answer.ok && answer.output.contains("state/routes\" failed"), "{}", answer.output);
    assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0, "no half-made file stays behind");
    small.resize("1m");
    nginx.start().await.unwrap();
    // Full again while it runs: the file's blocks are all there already.
    fs::write(small.0.join("ballast"), vec![1; 2 << 20]).unwrap_err();
    assert_eq!(nginx.admin().switch("shop", "green").await.unwrap().route.generation, 1);
    nginx.kill_all().await.unwrap();
    nginx.start().await.unwrap();
    assert_eq!(active(&nginx).await, ("green".into(), 1));
    // Before nginx's folder goes, which it lies in.
    drop(small);
}

/// Growing beyond the first 64 groups keeps the routes, also for workers of before.
#[tokio::test]
async fn the_file_grows_with_the_configuration() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    let size = fs::metadata(file(&nginx)).unwrap().len();
    let many: String =
        (0..100).map(|n| format!("cutover g{n} {{ slot one b; slot two g; active one; }}\n")).collect();
    nginx.write_http(&format!("{HTTP}{many}")).unwrap();
    nginx.reload().await.unwrap();
    assert!(fs::metadata(file(&nginx)).unwrap().len() > size);
    assert_eq!(nginx.admin().switch("g99", "two").await.unwrap().route.generation, 1);
    assert_eq!(nginx.admin().groups().await.unwrap().groups.len(), 102);
    nginx.upgrade().await.unwrap();
    assert_eq!(active(&nginx).await, ("green".into(), 1));
    assert_eq!(nginx.admin().group("g99").await.unwrap().route.active, "two");
}

/// Upgrades hand descriptors on; they must not pile up.
#[tokio::test]
async fn no_descriptor_is_left_behind() {
    let nginx = started().await;
    let held = |nginx: &Nginx| {
        let master = nginx.master().unwrap();
        let links = fs::read_dir(format!("/proc/{master}/fd")).unwrap();
        let links = links.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        links
            .filter(|link| link.ends_with("routes") || link.to_string_lossy().contains("memfd:cutover"))
            .count()
    };
    assert_eq!(held(&nginx), 2);
    for _ in 0..3 {
        nginx.upgrade().await.unwrap();
        nginx.reload().await.unwrap();
        assert_eq!(held(&nginx), 2);
    }
    for worker in nginx.workers() {
        let maps = fs::read_to_string(format!("/proc/{worker}/maps")).unwrap();
        assert_eq!(maps.lines().filter(|line| line.ends_with("state/routes")).count(), 1);
        let fds = fs::read_dir(format!("/proc/{worker}/fd")).unwrap();
        let open =
            fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).any(|link| link.ends_with("routes"));
        assert!(!open, "a worker needs the mapping only");
    }
}

/// A module file at a new path is other code with other addresses, in one process with the old.
#[tokio::test]
async fn a_new_module_file_finds_routes_and_counters() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    for (number, upgrade) in [(1, false), (2, true), (3, false)] {
        let copy = nginx.prefix().join(format!("module-{number}.so"));
        fs::copy(nginx.flavour().module(), &copy).unwrap();
        nginx.set("load_module", format!("load_module {};", copy.display()));
        nginx.write_http(HTTP).unwrap();
        if upgrade {
            nginx.upgrade().await.unwrap();
        } else {
            nginx.reload().await.unwrap();
        }
        let expected = if number % 2 == 1 { "green" } else { "blue" };
        assert_eq!(active(&nginx).await, (expected.into(), number));
        let next = if expected == "green" { "blue" } else { "green" };
        nginx.admin().switch("shop", next).await.unwrap();
    }
}

/// A bit that flips in the mapped route while nginx runs: the request path falls back, says so once, and can be switched.
#[tokio::test]
async fn a_route_damaged_in_memory_falls_back_to_active() {
    let nginx = started().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    let file = fs::OpenOptions::new().write(true).open(file(&nginx)).unwrap();
    file.write_at(&[0xff], 4096 + 2).unwrap();
    assert_eq!(active(&nginx).await.0, "blue");
    assert_eq!(nginx.admin().switch("shop", "green").await.unwrap().route.active, "green");
}

/// A tmpfs of a given size, unmounted when it goes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, size: &str) -> Self {
        run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs", &at.display().to_string()],
        );
        Self(at)
    }

    fn resize(&self, size: &str) {
        run("mount", &["-o", &format!("remount,size={size}"), &self.0.display().to_string()]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l", &self.0.display().to_string()]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = std::process::Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}
