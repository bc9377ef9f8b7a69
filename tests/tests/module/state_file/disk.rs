//! File systems for a test, unmounted on drop: a small one, one that fails, and an overcommitted one.

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

/// A read-only bind mount over a path. Files that are already open stay writable.
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

/// An ext4 with `errors=remount-ro`, as on most hosts, in which a test can trigger an error. It then becomes read-only, for
/// open files too.
pub(crate) struct FaultyDisk {
    image: PathBuf,
    at: PathBuf,
}

impl FaultyDisk {
    /// `None` when the machine has no loop devices.
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

    /// Mounts a copy that [`copy_to`](Self::copy_to) has made, as after a loss of power.
    pub(crate) fn mount_copy(image: PathBuf, at: PathBuf) -> Self {
        let disk = Self { image, at };
        disk.mount_again();
        disk
    }

    /// Copies the disk as a loss of power would leave it: without the data that is only in the kernel's page cache.
    pub(crate) fn copy_to(&self, image: &Path) {
        fs::copy(&self.image, image).unwrap();
    }

    fn mount_again(&self) {
        run("mount", &["-o", "loop,errors=remount-ro", &text(&self.image), &text(&self.at)]);
        fs::set_permissions(&self.at, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }

    /// Triggers an error: from now on no write reaches the disk.
    pub(crate) fn break_down(&self) {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(&text(&self.at))).unwrap();
        let device = line.split(' ').next().unwrap().trim_start_matches("/dev/");
        fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test").unwrap();
    }

    /// Blocks all writes until [`thaw`](Self::thaw), as during a snapshot or when a disk hangs.
    pub(crate) fn freeze(&self) {
        run("fsfreeze", &["--freeze", &text(&self.at)]);
    }

    /// Lets writes continue.
    pub(crate) fn thaw(&self) {
        run("fsfreeze", &["--unfreeze", &text(&self.at)]);
    }

    /// Unmounts, checks and mounts the disk, as an operator would. No process may use it.
    pub(crate) fn repair(&self) {
        run("umount", &[&text(&self.at)]);
        let checked = Command::new("e2fsck").args(["-f", "-y"]).arg(&self.image).output().unwrap();
        // Exit code 1 means that errors were corrected.
        assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
        self.mount_again();
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        // A test may fail while the disk is frozen, and its processes could not end then.
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.at).output();
        run("umount", &["-l", &text(&self.at)]);
    }
}

/// A [`FaultyDisk`] on storage that is smaller than the disk, like a thinly provisioned volume with a snapshot.
pub(crate) struct ThinDisk {
    // Dropped first, so unmounted first.
    disk: FaultyDisk,
    storage: SmallDisk,
    /// The offset at which the disk has no storage, and the data that was there.
    hole: Option<(u64, Vec<u8>)>,
}

impl ThinDisk {
    /// `None` when the machine has no loop devices.
    pub(crate) fn mount(storage: PathBuf, at: PathBuf) -> Option<Self> {
        fs::create_dir(&storage).unwrap();
        let storage = SmallDisk::mount(storage, "24m");
        // With blocks of one page, the unit in which storage can be missing.
        let disk = FaultyDisk::make(storage.path().join("disk.img"), at, 16 << 20, &["-b", "4096"])?;
        run("fallocate", &["--length", "16m", &text(&disk.image)]);
        Some(Self { disk, storage, hole: None })
    }

    /// Removes the storage of this file's blocks: from now on a flush of the file fails.
    pub(crate) fn run_out_for(&mut self, file: &Path) {
        // "   0:        0..       8:       1291..      1299:      9:             last,eof"
        let extents = Command::new("filefrag").args(["-e", "-b4096"]).arg(file).output().unwrap();
        let extents = String::from_utf8(extents.stdout).unwrap();
        let first = extents.lines().find(|line| line.trim_start().starts_with("0:")).unwrap();
        assert!(first.contains("last,eof"), "the file has one extent: {extents}");
        let physical = first.split(':').nth(2).unwrap().split("..").next().unwrap().trim();
        let at = physical.parse::<u64>().unwrap() * 4096;
        let mut there = vec![0; fs::metadata(file).unwrap().len() as usize];
        let image = fs::File::open(&self.disk.image).unwrap();
        image.read_exact_at(&mut there, at).unwrap();
        let (offset, length) = (at.to_string(), there.len().to_string());
        let place = ["--punch-hole", "--offset", &offset, "--length", &length];
        run("fallocate", &[place.as_slice(), &[&text(&self.disk.image)]].concat());
        self.hole = Some((at, there));
        fs::write(self.ballast(), vec![1; 24 << 20]).unwrap_err();
    }

    /// Makes room again. The disk still has the old data.
    pub(crate) fn make_room(&mut self) {
        fs::remove_file(self.ballast()).unwrap();
        let (at, there) = self.hole.take().unwrap();
        let image = fs::OpenOptions::new().write(true).open(&self.disk.image).unwrap();
        image.write_all_at(&there, at).unwrap();
    }

    /// See [`FaultyDisk::copy_to`].
    pub(crate) fn copy_to(&self, image: &Path) {
        self.disk.copy_to(image);
    }

    fn ballast(&self) -> PathBuf {
        self.storage.path().join("ballast")
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}
