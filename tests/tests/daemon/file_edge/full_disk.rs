//! A disk without room for the upstream file.

use std::fs;
use std::process::Command;

use cutover_tests::FileHost;
use cutover_tests::file_host::{FileSettings, HTTP};
use cutover_tests::temp::TempDir;

/// A small tmpfs, unmounted on drop.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let at = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(at.path())
            .status()
            .unwrap();
        assert!(mounted.success());
        Self(at)
    }

    /// Leaves no room.
    fn fill(&self) {
        let filled = fs::write(self.0.path().join("filling"), vec![0; 1 << 20]);
        assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A host whose upstream file is on a disk of its own.
async fn host() -> (FileHost, SmallDisk) {
    let disk = SmallDisk::mount();
    let settings = FileSettings {
        http: HTTP.replace("%%prefix%%/conf.d", &disk.0.path().display().to_string()),
        folder: Some(disk.0.path().to_owned()),
        ..FileSettings::default()
    };
    let host = FileHost::start(settings).await.unwrap();
    (host, disk)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_begins() {
    let (host, disk) = host().await;
    disk.fill();
    let before = host.text().unwrap();
    let deployed = host.deploy("2").await.unwrap();
    deployed.assert_ended("failed", 3).unwrap();
    let message = &deployed.events.last().unwrap().message;
    assert!(
        message.contains("No space left on device") && message.contains("nothing has changed"),
        "{message}"
    );
    assert_eq!(
        (host.text().unwrap(), host.files().unwrap()),
        (before, vec!["backend.conf".to_owned(), "filling".to_owned()])
    );
}

/// The room for the way back was set aside before.
#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_needs_no_room() {
    let (host, disk) = host().await;
    host.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    disk.fill();
    let back = host.daemon.cli(&["rollback", "shop"]).unwrap();
    assert!(back.status.success(), "{back:?}");
    assert_eq!((host.active().unwrap().as_str(), host.answering().await.unwrap().as_str()), ("blue", "blue"));
}
