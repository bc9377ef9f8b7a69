//! What goes wrong: nginx refuses, somebody edits, programs hang, the disk is full.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use cutover_tests::FileHost;
use cutover_tests::file_host::FileSettings;

/// The first error of a deployment that has moved no traffic.
async fn failed(host: &FileHost) -> String {
    let deployed = host.deploy("2").await.unwrap();
    deployed.assert_ended("failed", 3).unwrap();
    deployed.events.last().unwrap().message.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nginx_refuses_is_taken_back_byte_for_byte() {
    let host = FileHost::start(FileSettings::default()).await.unwrap();
    fs::set_permissions(host.file(), fs::Permissions::from_mode(0o640)).unwrap();
    chown(host.file(), Some(33), Some(33)).unwrap();
    // nginx reads this only at the next test.
    fs::write(host.path("conf.d/broken.conf"), "\n\nserver_nam x;\n").unwrap();
    let (before, inode) = (host.text().unwrap(), fs::metadata(host.file()).unwrap().ino());
    let workers = host.nginx.workers();
    let message = failed(&host).await;
    for said in [
        "nginx was not reloaded, and the old file is back at ",
        "[emerg] unknown directive \"server_nam\" in ",
        "conf.d/broken.conf:3",
    ] {
        assert!(message.contains(said), "{message}");
    }
    let after = fs::metadata(host.file()).unwrap();
    assert_eq!((host.text().unwrap(), after.ino()), (before, inode));
    assert_eq!((after.mode() & 0o777, after.uid(), after.gid()), (0o640, 33, 33));
    assert_eq!(host.nginx.workers(), workers, "nothing was reloaded");
    assert_eq!(host.files().unwrap(), ["backend.conf", "broken.conf"]);
    host.nginx.expect_in_log("unknown directive \"server_nam\"");

    fs::remove_file(host.path("conf.d/broken.conf")).unwrap();
    host.deploy("3").await.unwrap().assert_ended("completed", 0).unwrap();
    let after = fs::metadata(host.file()).unwrap();
    assert_eq!(
        (after.mode() & 0o777, after.uid(), after.gid()),
        (0o640, 33, 33),
        "the new file is like the old one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_file_is_refused_with_the_difference() {
    let host = FileHost::start(FileSettings::default()).await.unwrap();
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    let (text, green) = (host.text().unwrap(), host.green.address());
    let edited = text.replace(&format!("    server {green};"), "    server 127.0.0.1:9;");
    assert_ne!(edited, text);
    fs::write(host.file(), &edited).unwrap();
    let refused = host.daemon.cli(&["deploy", "shop", "--version", "3"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for line in ["somebody has edited it", "-    server 127.0.0.1:9;", &format!("+    server {green};")] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(host.text().unwrap(), edited, "nothing is overwritten");

    // Other lines may be edited at any time.
    fs::write(host.file(), text.replace("keepalive 32;", "keepalive 16; # less")).unwrap();
    host.deploy("4").await.unwrap().assert_ended("completed", 0).unwrap();
    assert!(host.text().unwrap().contains("    keepalive 16; # less\n"), "{}", host.text().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_brings_the_old_file_back() {
    let reload = Some("[\"/bin/sh\", \"-c\", \"echo no such service >&2; exit 5\"]".to_owned());
    let host = FileHost::start(FileSettings { reload, ..FileSettings::default() }).await.unwrap();
    let (before, workers) = (host.text().unwrap(), host.nginx.workers());
    let message = failed(&host).await;
    assert!(
        message.contains("ended with exit status: 5: no such service; the old file is back at "),
        "{message}"
    );
    assert_eq!((host.text().unwrap(), host.files().unwrap().len()), (before, 1));
    assert_eq!((host.nginx.workers(), host.answering().await.unwrap().as_str()), (workers, "blue"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_hangs_is_killed() {
    let reload = Some("[\"/bin/sh\", \"-c\", \"sleep 600 & echo $! > %%folder%%/hung; wait\"]".to_owned());
    let keys = "timeout = \"300ms\"".to_owned();
    let host = FileHost::start(FileSettings { reload, keys, ..FileSettings::default() }).await.unwrap();
    let before = host.text().unwrap();
    let message = failed(&host).await;
    assert!(
        message.contains("did not end within 300ms and was killed; the old file is back at "),
        "{message}"
    );
    assert_eq!(host.text().unwrap(), before);
    let pid: i32 = fs::read_to_string(host.path("hung")).unwrap().trim().parse().unwrap();
    let stat = format!("/proc/{pid}/stat");
    let is_gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    cutover_tests::wait::until("the child of the command to be gone", is_gone).await.unwrap();
}

/// The signal has reached nginx before the command hangs, so new workers have the new file.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_have_read_the_new_file_are_replaced_again() {
    let reload = "[\"/bin/sh\", \"-c\", \"kill -HUP $(cat %%folder%%/nginx.pid); test -e %%folder%%/again && exit; touch \
                  %%folder%%/again; sleep 600\"]";
    let keys = "timeout = \"2s\"".to_owned();
    let settings = FileSettings { reload: Some(reload.to_owned()), keys, ..FileSettings::default() };
    let host = FileHost::start(settings).await.unwrap();
    let before = host.text().unwrap();
    let message = failed(&host).await;
    assert!(message.contains("did not end within 2s and was killed; the old file is back at "), "{message}");
    assert_eq!((host.text().unwrap(), host.files().unwrap().len()), (before, 1));
    for _ in 0..20 {
        assert_eq!(host.answering().await.unwrap(), "blue");
    }
}

/// `nginx -t` passes, but the master cannot open the log of the new configuration.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_without_effect_brings_the_old_file_back() {
    let reload = Some("[\"/bin/true\"]".to_owned());
    let keys = "timeout = \"300ms\"".to_owned();
    let host = FileHost::start(FileSettings { reload, keys, ..FileSettings::default() }).await.unwrap();
    let before = host.text().unwrap();
    let message = failed(&host).await;
    assert!(message.contains("nginx did not replace its workers within 300ms of \"/bin/true\""), "{message}");
    assert_eq!((host.text().unwrap(), host.answering().await.unwrap().as_str()), (before, "blue"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nginx_that_does_not_run_is_named() {
    let host = FileHost::start(FileSettings::default()).await.unwrap();
    host.nginx.stop().await.unwrap();
    let status = host.daemon.status("shop").unwrap();
    let error = status.get("edge_error").and_then(|error| error.as_str()).unwrap();
    assert!(
        error.contains("nginx does not answer at ") && error.contains("nginx.pid: No such file"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changes_during_a_binary_upgrade() {
    let host = FileHost::start(FileSettings::default()).await.unwrap();
    let before = host.text().unwrap();
    let old = host.nginx.begin_upgrade().await.unwrap();
    let message = failed(&host).await;
    assert!(message.contains("nginx.pid.oldbin exists: a binary upgrade of nginx is under way"), "{message}");
    assert_eq!(host.text().unwrap(), before);
    host.nginx.retire(old).await.unwrap();
    host.deploy("3").await.unwrap().assert_ended("completed", 0).unwrap();
}
