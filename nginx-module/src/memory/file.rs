//! The state file on disk: where it is, which users may own it, and how it is made.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cutover_core::state_file::{CAPACITY_STEP, MAGIC, encode_header, file_size};
use rustix::fs::OFlags;

use super::error::{StateError, failed};

/// Name of the file in the folder of `cutover_state`.
pub(crate) const NAME: &str = "routes";

pub(crate) enum Access {
    Read,
    Write,
}

pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// A folder that others can write would let them cut the file off under a running worker, which kills it (SIGBUS).
pub(crate) fn check_folder(folder: &Path) -> Result<(), StateError> {
    let refuse = |why: String| StateError::Folder { folder: folder.to_owned(), why };
    let meta = fs::metadata(folder).map_err(|error| refuse(error.to_string()))?;
    if !meta.is_dir() {
        return Err(refuse("it is not a folder".to_owned()));
    }
    if !trusted(meta.uid()) {
        let own = rustix::process::geteuid().as_raw();
        return Err(refuse(format!(
            "it belongs to the user with id {}, and this is the user with id {own}",
            meta.uid()
        )));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(refuse(format!("others may write to it (mode {:04o})", meta.mode() & 0o7777)));
    }
    Ok(())
}

fn trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Whether a file, or what is in a folder, could be changed: not on a read-only file system, for example.
pub(crate) fn check_can_write(path: &Path) -> Result<(), StateError> {
    let answer = rustix::fs::access(path, rustix::fs::Access::WRITE_OK);
    answer.map_err(|error| failed("writing to", path, error.into()))
}

/// Opens the file; `None` if there is none.
pub(crate) fn open_existing(path: &Path, access: Access) -> Result<Option<File>, StateError> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    if let Access::Write = access {
        options.write(true);
    }
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opening", path, error)),
    };
    let meta = file.metadata().map_err(|error| failed("reading", path, error))?;
    let refuse = |why| Err(StateError::Unsafe { path: path.to_owned(), why });
    if !meta.is_file() {
        return refuse("is not a regular file");
    }
    if !trusted(meta.uid()) {
        return refuse("belongs to another user");
    }
    if meta.mode() & 0o022 != 0 {
        return refuse("can be written by others");
    }
    Ok(Some(file))
}

/// Makes an empty state file, and opens it. If another process was faster, its file is opened.
pub(crate) fn create(path: &Path) -> Result<File, StateError> {
    write_whole(path).map_err(|error| failed("creating", path, error))?;
    open_existing(path, Access::Write)?.ok_or_else(|| failed("opening", path, io::ErrorKind::NotFound.into()))
}

/// The whole file appears at once, on disk, under its name. A file that is there already stays.
fn write_whole(path: &Path) -> io::Result<()> {
    let draft = path.with_extension(format!("new.{}", std::process::id()));
    let result = write_draft(&draft).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    // Not being able to remove the draft costs a few kilobytes; not having the file is what must be reported.
    let _ = fs::remove_file(&draft);
    result?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes all bytes, so that a full disk is found out here and not by a worker that touches the mapping.
fn write_draft(draft: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    let mut bytes = vec![0; file_size(CAPACITY_STEP) as usize];
    let header = encode_header(CAPACITY_STEP);
    for (place, byte) in bytes.iter_mut().zip(header) {
        *place = byte;
    }
    file.write_all(&bytes)?;
    file.sync_all()
}

/// Another opening of the file, for workers: one that outlives its master must not hold the lock, and a mapping keeps open what
/// it was made of.
pub(crate) fn open_again(path: &Path, file: &File) -> Result<File, StateError> {
    let failed = |error| failed("opening", path, error);
    let again = open_existing(path, Access::Write)?;
    let again = again.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    if identity(&again).map_err(failed)? != identity(file).map_err(failed)? {
        return Err(StateError::Replaced { path: path.to_owned(), held: "the old file".to_owned() });
    }
    Ok(again)
}

pub(crate) fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Whether a descriptor is of a state file.
pub(crate) fn is_state_file(fd: RawFd) -> bool {
    let mut start = [0; MAGIC.len()];
    // SAFETY: the number was just read from this process's own table.
    let file = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::pread(file, &mut start, 0) == Ok(MAGIC.len()) && start == MAGIC
}

/// What tells one state file from another while both exist: device and inode.
pub(crate) type Identity = (u64, u64);

pub(crate) fn identity(file: &File) -> io::Result<Identity> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino()))
}
