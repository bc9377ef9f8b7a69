//! File systems of a test's own, unmounted when they go: a small one, and one that breaks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs of a given size.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: PathBuf, size: &str) -> Self {
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs", &text(&at)]);
        Self(at)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn resize(&self, size: &str) {
        run("mount", &["-o", &format!("remount,size={size}"), &text(&self.0)]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l", &text(&self.0)]);
    }
}

/// Makes what is at this path read-only for whoever opens it from now on, until it goes.
pub(crate) struct ReadOnly(PathBuf);

impl ReadOnly {
    pub(crate) fn make(path: PathBuf) -> Self {
        run("mount", &["--bind", &text(&path), &text(&path)]);
        run("mount", &["-o", "remount,bind,ro", &text(&path)]);
        Self(path)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        run("umount", &["-l", &text(&self.0)]);
    }
}

/// An ext4 that can be told to have found an error, upon which it becomes read-only, for open files too, as most are set up
/// on hosts.
pub(crate) struct FaultyDisk {
    image: PathBuf,
    at: PathBuf,
}

impl FaultyDisk {
    /// `None` where no file can be mounted as a disk.
    pub(crate) fn mount(image: PathBuf, at: PathBuf) -> Option<Self> {
        if !Path::new("/dev/loop-control").exists() {
            return None;
        }
        fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        run("mkfs.ext4", &["-q", "-E", "root_owner=0:0", &text(&image)]);
        let disk = Self { image, at };
        disk.mount_again();
        Some(disk)
    }

    fn mount_again(&self) {
        run("mount", &["-o", "loop,errors=remount-ro", &text(&self.image), &text(&self.at)]);
        fs::set_permissions(&self.at, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }

    /// From now on nothing reaches the disk.
    pub(crate) fn break_down(&self) {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(&text(&self.at))).unwrap();
        let device = line.split(' ').next().unwrap().trim_start_matches("/dev/");
        fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test").unwrap();
    }

    /// From now on writing waits, as while a snapshot is taken or a disk hangs, until [`thaw`](Self::thaw).
    pub(crate) fn freeze(&self) {
        run("fsfreeze", &["--freeze", &text(&self.at)]);
    }

    /// Lets writing go on.
    pub(crate) fn thaw(&self) {
        run("fsfreeze", &["--unfreeze", &text(&self.at)]);
    }

    /// What an operator does: unmount, check, mount. Nobody may use it.
    pub(crate) fn repair(&self) {
        run("umount", &[&text(&self.at)]);
        let checked = Command::new("e2fsck").args(["-f", "-y"]).arg(&self.image).output().unwrap();
        // 1: errors were corrected.
        assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
        self.mount_again();
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        // If a test fails while it is frozen: nothing on it could end otherwise.
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.at).output();
        run("umount", &["-l", &text(&self.at)]);
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}
