//! The folder or the file is removed or replaced while nginx runs under load: nginx continues with the open file, refuses a
//! reload, and the message says how to keep the routes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cutover_tests::process::{self, Signal};
use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use cutover_tests::wait;

use super::file;

const REPLACED: &str = "was removed or replaced while nginx runs on the old one";

async fn start() -> TestEdge {
    TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_is_removed() {
    let edge = start().await;
    let folder = edge.nginx.prefix().join("state");
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 5).await.unwrap();
    fs::remove_dir_all(&folder).unwrap();
    edge.shop.switch_times(&load, 5).await.unwrap();
    let missing = "cannot be used: No such file or directory";
    edge.nginx.expect_in_log(missing);
    let error = edge.nginx.reload().await.unwrap_err().to_string();
    assert!(error.contains(missing), "{error}");
    edge.shop.switch_times(&load, 5).await.unwrap();
    // The operator creates the missing folder. The next refusal names the file to copy.
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    edge.nginx.expect_in_log(REPLACED);
    let error = edge.nginx.reload().await.unwrap_err().to_string();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "no new file is created");
    edge.shop.switch_times(&load, 5).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("the folder is removed", &report).unwrap();
    copy_what_the_message_names(&edge, &error).await;
}

/// An older copy replaces the file: a backup that was restored by mistake.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_replaced() {
    let edge = start().await;
    let load = edge.load().unwrap();
    let backup = edge.nginx.prefix().join("backup");
    fs::copy(file(&edge.nginx), &backup).unwrap();
    edge.shop.switch_times(&load, 5).await.unwrap();
    fs::rename(&backup, file(&edge.nginx)).unwrap();
    edge.shop.switch_times(&load, 5).await.unwrap();
    edge.nginx.expect_in_log(REPLACED);
    let error = edge.nginx.reload().await.unwrap_err().to_string();
    assert!(error.contains(REPLACED), "{error}");
    edge.shop.switch_times(&load, 5).await.unwrap();
    refuse_upgrade(&edge).await;
    edge.shop.switch_times(&load, 5).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("the file is replaced", &report).unwrap();
    copy_what_the_message_names(&edge, &error).await;
}

/// A binary upgrade is refused, too, and the old master continues.
async fn refuse_upgrade(edge: &TestEdge) {
    let master = edge.nginx.master().unwrap();
    let refusals = || edge.nginx.error_log().matches(REPLACED).count();
    let before = refusals();
    process::signal(master, Signal::USR2).unwrap();
    wait::until("the refusal of the new program", || refusals() > before).await.unwrap();
    let old_is_back = || {
        !edge.nginx.prefix().join("nginx.pid.oldbin").exists()
            && edge.nginx.master().is_ok_and(|now| now == master)
            && edge.nginx.pids().len() == 3
    };
    wait::until("the old master alone", old_is_back).await.unwrap();
}

/// Follows the message: "copy HELD over it to keep the routes, then stop and start nginx".
async fn copy_what_the_message_names(edge: &TestEdge, message: &str) {
    let held = message.split("copy ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(held.starts_with("/proc/"), "{message}");
    fs::copy(PathBuf::from(held), file(&edge.nginx)).unwrap();
    fs::set_permissions(file(&edge.nginx), fs::Permissions::from_mode(0o600)).unwrap();
    edge.nginx.stop().await.unwrap();
    edge.nginx.start().await.unwrap();
    edge.shop.assert_settled().await.unwrap();
}
