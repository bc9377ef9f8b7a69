//! The output of a deployment's commands: its size is bounded, and it is still written after the daemon has ended.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cutover_tests::temp::TempDir;
use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Daemon, TestEdge, flavour, process, wait};

const PROVISION: &str = r#"
    [group.shop.provision]
    command = ["/bin/sh", "-c", "%%script%%"]
"#;

/// The first MiB, the line that says that the output was cut off, and the command line.
const MOST: u64 = (1 << 20) + 200;

async fn started(script: &str) -> (TestEdge, Daemon) {
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    let provision = PROVISION.replace("%%script%%", script);
    let groups = format!("{GROUP_WITHOUT_TRAFFIC}{provision}");
    let daemon = Daemon::start(edge.nginx.prefix(), &groups).await.unwrap();
    (edge, daemon)
}

/// Waits for the output of the only deployment's `provision`.
async fn log(folder: &Path) -> PathBuf {
    let deployments = folder.join("daemon/deployments");
    wait::until_some(wait::PATIENCE, "the output of provision", || {
        let entries = fs::read_dir(&deployments).ok()?;
        entries.flatten().map(|entry| entry.path().join("provision.log")).find(|path| path.exists())
    })
    .await
    .unwrap()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

async fn until_longer(log: &Path) {
    let before = length(log);
    wait::until("output of the background child", || length(log) > before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn output_never_exceeds_one_mebibyte() {
    let (edge, daemon) = started("timeout 1 yes; true").await;
    daemon.deploy_detached("shop", "2").unwrap();
    let log = log(edge.nginx.prefix()).await;
    let mut longest = 0;
    while daemon.status("shop").unwrap()["deployment"]["phase"] == "provisioning" {
        for _ in 0..20 {
            longest = longest.max(length(&log));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(longest > 1 << 20 && longest < MOST, "{longest}");
    let text = fs::read_to_string(&log).unwrap();
    assert!(
        text.ends_with("\n[output cut off by cutover]\n") && text.len() as u64 == longest,
        "{}",
        text.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_child_keeps_writing_after_the_daemon_is_killed() {
    let loop_of_ticks = "while [ ! -e %%folder%%/stop ]; do echo tick; sleep 0.02; done; echo over";
    let (edge, mut daemon) = started(&format!("({loop_of_ticks}) & true")).await;
    let folder = edge.nginx.prefix().to_owned();
    assert_eq!(daemon.deploy("shop", "2").await.unwrap().code, 0);
    let log = log(&folder).await;
    until_longer(&log).await;
    daemon.kill().unwrap();
    until_longer(&log).await;
    daemon.resume().await.unwrap();
    until_longer(&log).await;
    daemon.stop().await.unwrap();
    until_longer(&log).await;
    // The relay is the daemon's program, started as /proc/self/exe.
    assert_eq!(process::mentioning(&["exe"], &log).len(), 1, "one relay");
    fs::write(folder.join("stop"), "").unwrap();
    wait::until("the end of the relay", || process::mentioning(&["exe"], &log).is_empty()).await.unwrap();
    assert!(fs::read_to_string(&log).unwrap().ends_with("tick\nover\n"));
}

/// The journal's reserve on disk is for the journal, not for the output of commands.
#[test]
fn output_leaves_room_for_the_journal_on_a_nearly_full_disk() {
    let folder = TempDir::new().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program}");
    };
    run(
        "mount",
        &["-t".as_ref(), "tmpfs".as_ref(), "-osize=2500k".as_ref(), "tmpfs".as_ref(), disk.as_os_str()],
    );
    let output = disk.join("output.log");
    let (daemon, relays) = UnixStream::pair().unwrap();
    let mut relay = Command::new(flavour::program("cutover").unwrap())
        .args(["__copy", "--", "output.log"])
        .stdin(Stdio::piped())
        .stdout(Stdio::from(OwnedFd::from(relays)))
        .stderr(fs::File::create(&output).unwrap())
        .spawn()
        .unwrap();
    drop(daemon);
    relay.stdin.take().unwrap().write_all(&vec![b'x'; 1_000_000]).unwrap();
    let ended = relay.wait().unwrap();
    let written = fs::metadata(&output).unwrap().len();
    run("umount", &[disk.as_os_str()]);
    assert!(ended.success());
    assert!((1..700_000).contains(&written), "{written} bytes of the 2.5 MB are written");
}
