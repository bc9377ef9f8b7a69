//! The file while nginx runs: reloads, binary upgrades, other folders, slots that are added and removed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cutover_tests::nginx::Nginx;
use cutover_tests::process::Pid;
use cutover_tests::{Backend, Flavour};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{HTTP, TWO, active, file, started};

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
    assert_eq!(fs::read(file(&nginx)).unwrap(), before, "a refused reload changes nothing");
    assert_eq!(active(&nginx).await, ("green".into(), 1), "the old workers continue");
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
    // As the message says: copy the file back, stop, start.
    nginx.stop().await.unwrap();
    nginx.start().await.unwrap();
    assert_eq!(active(&nginx).await, ("green".into(), 1));
}

/// A reload to another folder is refused when its routes would move traffic, and accepted when the file was copied.
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

/// A reload to another folder must not move traffic either when the route is still that of the configuration.
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

/// A renamed file is like a removed one: new workers would begin with other routes than the old ones.
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

/// An old worker that finishes an upload does not know a slot that a reload has added. It uses the last slot that it knows,
/// and not the configured `active`.
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
    // The worker must read the head before the reload, because it closes idle connections then. No condition shows this.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    nginx.reload().await.unwrap();
    nginx.admin().switch("shop", "red").await.unwrap();
    upload.write_all(b"cd").await.unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("x-slot: green"), "{answer}");
    assert!(nginx.error_log().contains("leads to a slot that this worker's configuration does not have"));
}

/// An old worker has received a call before the reload. The reload drops the slot that the call switches to.
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

/// A reload that is refused after the state file was opened has no effect.
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

/// A new program whose configuration has no `cutover_state` must release the lock.
#[tokio::test]
async fn an_upgrade_to_a_configuration_without_state_releases_the_lock() {
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

/// The file grows beyond the first 64 groups and keeps the routes, also for old workers.
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

/// Upgrades pass descriptors on. They must not accumulate, and a worker that outlives its master must not hold the lock.
#[tokio::test]
async fn no_descriptor_is_left_behind() {
    let nginx = started().await;
    // A process's descriptors: of the state file, of those with the lock, and of the counters.
    let held = |pid: Pid| {
        let mut held = [0; 3];
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let fd = fd.unwrap();
            let Ok(link) = fs::read_link(fd.path()) else { continue };
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", fd.file_name().display()));
            let is_routes = link.ends_with("routes");
            held[0] += usize::from(is_routes);
            held[1] += usize::from(is_routes && info.is_ok_and(|info| info.contains("lock:")));
            held[2] += usize::from(link.to_string_lossy().contains("memfd:cutover"));
        }
        held
    };
    for round in 0..4 {
        if round > 0 {
            nginx.upgrade().await.unwrap();
            nginx.reload().await.unwrap();
        }
        // One with the lock, one that all processes share, and one for each of two workers.
        assert_eq!(held(nginx.master().unwrap()), [4, 1, 1], "round {round}");
        for worker in nginx.workers() {
            assert_eq!(held(worker), [2, 0, 0], "round {round}: the shared one, and its own");
        }
    }
    for worker in nginx.workers() {
        let maps = fs::read_to_string(format!("/proc/{worker}/maps")).unwrap();
        assert_eq!(maps.lines().filter(|line| line.ends_with("state/routes")).count(), 1);
    }
}

/// A module file at a new path is loaded at another address, in the same process as the old one.
#[tokio::test]
async fn a_new_module_file_finds_routes_and_counters() {
    if Flavour::from_env().unwrap().has_module_linked_in() {
        println!("SKIPPED: this nginx has the module linked in: there is no file to replace");
        return;
    }
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
