//! The control socket. It has its mode before a client can connect. A stale socket does not prevent a start.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as Bound, UnixStream};
use std::path::Path;
use std::{fs, process};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;

use super::ServeError;
use crate::config::Mode;

const BACKLOG: i32 = 128;

/// Listens at `path`. Fails if another daemon listens there, or if the path exists and is not a socket.
pub(super) fn bind(path: &Path, mode: Mode) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Socket { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(failed)?;
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(failed(io::Error::other("it exists and is not a socket")));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(ServeError::SocketInUse(path.to_owned()));
        }
        _ => {}
    }
    // The socket gets its mode and listens under another name before it replaces the old one. So a client never finds a socket with
    // another mode, or none.
    let draft = folder.join(format!(".cutover.{}", process::id()));
    let _ = fs::remove_file(&draft);
    let listener = listen(&draft, mode).and_then(|bound| {
        fs::rename(&draft, path)?;
        Ok(bound)
    });
    if listener.is_err() {
        let _ = fs::remove_file(&draft);
    }
    let bound = listener.map_err(failed)?;
    bound.set_nonblocking(true).map_err(failed)?;
    UnixListener::from_std(bound).map_err(failed)
}

/// Device and inode of the file at `path`.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn listen(draft: &Path, mode: Mode) -> io::Result<Bound> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(draft)?)?;
    fs::set_permissions(draft, fs::Permissions::from_mode(mode.bits()))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(Bound::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/c.sock");
        drop(bind(&path, Mode::OWNER).unwrap());
        assert!(path.exists(), "dropped without being removed, as by SIGKILL");
        let live = bind(&path, Mode::OWNER).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&path, Mode::OWNER), Err(ServeError::SocketInUse(_))));
        drop(live);
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no draft is left: {left:?}");
    }

    #[tokio::test]
    async fn a_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sock");
        fs::write(&path, "precious").unwrap();
        let error = bind(&path, Mode::OWNER).unwrap_err().to_string();
        assert!(error.contains("not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
