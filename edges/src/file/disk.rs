//! The upstream file on disk: replaced as a whole, put back as it was, and both safe against a power loss.
//!
//! ```text
//! keep      .backend.conf.NAME.cutover-before is a second name of the old file
//! replace   the new file is written beside it, flushed, renamed over it, and the folder is flushed
//! put_back  the old file gets its name again: the same inode, so the same bytes, owner and mode
//! forget    the second name is removed
//! ```
//!
//! As long as the second name exists, a change has begun whose end nobody has seen.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::FallocateFlags;

use super::settings::FileGroup;

/// More room than a file needs that is as long as the present one: another generation, another reason, other weights.
const ROOM: u64 = 8192;

/// The names of a group's file.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    /// The file, as nginx reads it.
    pub(super) file: PathBuf,
    before: PathBuf,
    new: PathBuf,
    spare: PathBuf,
}

impl Disk {
    pub(super) fn of(group: &FileGroup) -> Self {
        let beside = |ending| group.beside(ending);
        Self { file: group.real_file(), before: beside("before"), new: beside("new"), spare: beside("spare") }
    }

    /// The bytes of the file.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.file)
    }

    /// Whether a change has begun whose end nobody has seen.
    pub(super) fn is_open(&self) -> bool {
        self.before.exists()
    }

    /// The bytes of the file before an open change.
    pub(super) fn read_before(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.before)
    }

    /// Whether the open change has not replaced the file, or has put it back.
    pub(super) fn is_as_before(&self) -> io::Result<bool> {
        let (file, before) = (fs::metadata(&self.file)?, fs::metadata(&self.before)?);
        Ok((file.dev(), file.ino()) == (before.dev(), before.ino()))
    }

    /// When the file got its name or its content.
    pub(super) fn changed(&self) -> io::Result<SystemTime> {
        let file = fs::metadata(&self.file)?;
        let seconds = Duration::from_secs(u64::try_from(file.ctime()).unwrap_or(0));
        Ok(UNIX_EPOCH + seconds + Duration::from_nanos(u64::try_from(file.ctime_nsec()).unwrap_or(0)))
    }

    /// Keeps the old file under its second name.
    pub(super) fn keep(&self) -> io::Result<()> {
        fs::hard_link(&self.file, &self.before)?;
        self.flush_folder()
    }

    /// Replaces the file. After an error it is as it was, unless only the last flush has failed.
    pub(super) fn replace(&self, text: &str) -> io::Result<()> {
        let like = fs::metadata(&self.file)?;
        let written = self.write_new(text, &like, false).or_else(|error| match error.kind() {
            // The way back needs no room on a full disk.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                fs::rename(&self.spare, &self.new).map_err(|_| error)?;
                self.write_new(text, &like, true)
            }
            _ => Err(error),
        });
        if let Err(error) = written.and_then(|()| fs::rename(&self.new, &self.file)) {
            let _ = fs::remove_file(&self.new);
            return Err(error);
        }
        self.flush_folder()
    }

    /// Gives the old file its name again. The change stays open.
    pub(super) fn put_back(&self) -> io::Result<()> {
        remove(&self.new)?;
        fs::hard_link(&self.before, &self.new)?;
        fs::rename(&self.new, &self.file)?;
        // Two names of one file: the rename did nothing.
        remove(&self.new)?;
        self.flush_folder()
    }

    /// Ends the open change: the file that is there stays.
    pub(super) fn forget(&self) -> io::Result<()> {
        remove(&self.before)?;
        self.flush_folder()
    }

    /// Flushes the file and its folder.
    pub(super) fn flush(&self) -> io::Result<()> {
        File::open(&self.file)?.sync_all()?;
        self.flush_folder()
    }

    /// Sets room aside for the next change, so that a full disk does not prevent the way back.
    pub(super) fn set_aside(&self) -> io::Result<()> {
        let room = fs::metadata(&self.file)?.len() + ROOM;
        let spare =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&self.spare)?;
        if spare.metadata()?.len() < room {
            rustix::fs::fallocate(&spare, FallocateFlags::empty(), 0, room)?;
            spare.sync_all()?;
        }
        Ok(())
    }

    fn write_new(&self, text: &str, like: &fs::Metadata, in_spare: bool) -> io::Result<()> {
        let mut new =
            OpenOptions::new().create(true).truncate(!in_spare).write(true).mode(0o600).open(&self.new)?;
        let written = (|| {
            let is = new.metadata()?;
            if (is.uid(), is.gid()) != (like.uid(), like.gid()) {
                fchown(&new, Some(like.uid()), Some(like.gid()))?;
            }
            new.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
            new.write_all(text.as_bytes())?;
            new.set_len(text.len() as u64)?;
            new.sync_all()
        })();
        if written.is_err() && !in_spare {
            let _ = fs::remove_file(&self.new);
        }
        written
    }

    fn flush_folder(&self) -> io::Result<()> {
        File::open(self.file.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::settings::{FileSlot, Server};

    fn disk(folder: &Path) -> Disk {
        let file = folder.join("backend.conf");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let slot = |name: &str| FileSlot {
            name: name.to_owned(),
            servers: vec![Server::parse("127.0.0.1:1").unwrap()],
        };
        let slots = vec![slot("blue"), slot("green")];
        Disk::of(&FileGroup { name: "shop".to_owned(), file, upstream: "backend".to_owned(), slots })
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_change_and_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path());
        disk.keep().unwrap();
        assert!(disk.is_open() && disk.is_as_before().unwrap());
        disk.replace("new").unwrap();
        assert!(disk.is_open() && !disk.is_as_before().unwrap());
        assert_eq!((disk.read().unwrap(), disk.read_before().unwrap()), (b"new".to_vec(), b"old".to_vec()));
        assert_eq!(fs::metadata(&disk.file).unwrap().mode() & 0o7777, 0o640);
        disk.forget().unwrap();
        assert_eq!((disk.is_open(), names(folder.path())), (false, vec!["backend.conf".to_owned()]));
    }

    #[test]
    fn what_is_put_back_is_the_old_file_itself() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path());
        let before = fs::metadata(&disk.file).unwrap();
        disk.keep().unwrap();
        // Also when nothing was replaced yet, and when it is put back twice.
        for text in [Some("new"), None, None] {
            if let Some(text) = text {
                disk.replace(text).unwrap();
            }
            disk.put_back().unwrap();
            let after = fs::metadata(&disk.file).unwrap();
            assert_eq!(
                (after.ino(), after.mode(), after.mtime_nsec()),
                (before.ino(), before.mode(), before.mtime_nsec())
            );
            assert!(disk.is_open() && disk.is_as_before().unwrap());
        }
        disk.forget().unwrap();
        assert_eq!(
            (disk.read().unwrap(), names(folder.path())),
            (b"old".to_vec(), vec!["backend.conf".to_owned()])
        );
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = disk(folder.path());
        let link = folder.path().join("link.conf");
        std::os::unix::fs::symlink("backend.conf", &link).unwrap();
        disk.file = fs::canonicalize(&link).unwrap();
        disk.replace("new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&link).unwrap(), b"new");
    }

    #[test]
    fn the_spare_room_becomes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path());
        disk.set_aside().unwrap();
        disk.set_aside().unwrap();
        let like = fs::metadata(&disk.file).unwrap();
        fs::rename(&disk.spare, &disk.new).unwrap();
        disk.write_new("new", &like, true).unwrap();
        fs::rename(&disk.new, &disk.file).unwrap();
        assert_eq!(
            (disk.read().unwrap(), fs::metadata(&disk.file).unwrap().mode() & 0o7777),
            (b"new".to_vec(), 0o640)
        );
    }
}
