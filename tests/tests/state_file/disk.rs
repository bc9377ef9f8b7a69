//! File systems of a test's own, unmounted when they go: a small one, one that breaks, and one that has promised too much.

use std::fs;
use std::os::unix::fs::FileExt;
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
        Self::make(image, at, 8 << 20, &[])
    }

    fn make(image: PathBuf, at: PathBuf, size: u64, options: &[&str]) -> Option<Self> {
        if !Path::new("/dev/loop-control").exists() {
            return None;
        }
        fs::File::create(&image).unwrap().set_len(size).unwrap();
        run("mkfs.ext4", &[options, &["-q", "-E", "root_owner=0:0", &text(&image)]].concat());
        Some(Self::mount_copy(image, at))
    }

    /// What [`copy_to`](Self::copy_to) has left, as it is found when the power is back.
    pub(crate) fn mount_copy(image: PathBuf, at: PathBuf) -> Self {
        let disk = Self { image, at };
        disk.mount_again();
        disk
    }

    /// What a loss of power at this moment would leave: what has reached the disk, and not what only the kernel has.
    pub(crate) fn copy_to(&self, image: &Path) {
        fs::copy(&self.image, image).unwrap();
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

/// A [`FaultyDisk`] with less behind it than it promises, as a thinly provisioned one that has a snapshot.
pub(crate) struct ThinDisk {
    // Unmounted first.
    disk: FaultyDisk,
    behind: SmallDisk,
    /// Where on the disk nothing can be written, and what is there.
    used_up: Option<(u64, Vec<u8>)>,
}

impl ThinDisk {
    /// `None` where no file can be mounted as a disk.
    pub(crate) fn mount(behind: PathBuf, at: PathBuf) -> Option<Self> {
        fs::create_dir(&behind).unwrap();
        let behind = SmallDisk::mount(behind, "24m");
        // In blocks of a page, which is what can be missing behind it.
        let disk = FaultyDisk::make(behind.path().join("disk.img"), at, 16 << 20, &["-b", "4096"])?;
        run("fallocate", &["--length", "16m", &text(&disk.image)]);
        Some(Self { disk, behind, used_up: None })
    }

    /// From now on nothing is left for what is written to this file: a flush says so.
    pub(crate) fn run_out_for(&mut self, file: &Path) {
        // "   0:        0..       8:       1291..      1299:      9:             last,eof"
        let extents = Command::new("filefrag").args(["-e", "-b4096"]).arg(file).output().unwrap();
        let extents = String::from_utf8(extents.stdout).unwrap();
        let first = extents.lines().find(|line| line.trim_start().starts_with("0:")).unwrap();
        assert!(first.contains("last,eof"), "in one piece: {extents}");
        let physical = first.split(':').nth(2).unwrap().split("..").next().unwrap().trim();
        let at = physical.parse::<u64>().unwrap() * 4096;
        let mut there = vec![0; fs::metadata(file).unwrap().len() as usize];
        let image = fs::File::open(&self.disk.image).unwrap();
        image.read_exact_at(&mut there, at).unwrap();
        let (offset, length) = (at.to_string(), there.len().to_string());
        let place = ["--punch-hole", "--offset", &offset, "--length", &length];
        run("fallocate", &[place.as_slice(), &[&text(&self.disk.image)]].concat());
        self.used_up = Some((at, there));
        fs::write(self.ballast(), vec![1; 24 << 20]).unwrap_err();
    }

    /// There is room again. On the disk is still what was there.
    pub(crate) fn make_room(&mut self) {
        fs::remove_file(self.ballast()).unwrap();
        let (at, there) = self.used_up.take().unwrap();
        let image = fs::OpenOptions::new().write(true).open(&self.disk.image).unwrap();
        image.write_all_at(&there, at).unwrap();
    }

    /// See [`FaultyDisk::copy_to`].
    pub(crate) fn copy_to(&self, image: &Path) {
        self.disk.copy_to(image);
    }

    fn ballast(&self) -> PathBuf {
        self.behind.path().join("ballast")
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}
