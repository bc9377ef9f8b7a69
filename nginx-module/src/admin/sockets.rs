//! Unix sockets that a killed nginx has left behind.
//!
//! nginx refuses to start when the file of a unix socket exists. For the admin API that would turn a crash into an outage, so a
//! socket that no process listens on is removed first; any other file, and a socket that is alive, stays.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ngx::ffi::{NGX_LOG_NOTICE, NGX_LOG_WARN, ngx_conf_t};

use super::listens::{self, Server};
use crate::ext::{self, ConfExt, log, text};

/// How long a server that is alive may take to show that it does not hang up. Only waited for when nginx is going to fail anyway,
/// because the address is in use.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often, and how long apart, a server that is just ending is tried.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// Called before nginx opens its sockets.
pub(crate) fn remove_stale(cf: &mut ngx_conf_t, servers: &[Server]) {
    if ext::only_checking() || has_sockets_already(cf) {
        return;
    }
    for path in paths(cf, servers) {
        let path = Path::new(&path);
        if !is_stale(path) {
            continue;
        }
        match fs::remove_file(path) {
            Ok(()) => {
                let path = path.display();
                log(
                    NGX_LOG_NOTICE,
                    cf.log,
                    format_args!("cutover_api: removed \"{path}\", which nobody listened on"),
                );
            }
            Err(error) => {
                let path = path.display();
                log(
                    NGX_LOG_WARN,
                    cf.log,
                    format_args!("cutover_api: removing the stale socket \"{path}\" failed: {error}"),
                );
            }
        }
    }
}

/// On a reload or a binary upgrade the sockets are inherited, and alive.
fn has_sockets_already(cf: &ngx_conf_t) -> bool {
    cf.is_reload() || ext::is_upgrade()
}

/// Whether no process listens there. A server that is just ending still takes connections, and closes them unanswered: then it
/// is tried again.
fn is_stale(path: &Path) -> bool {
    let is_socket = || fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    for _ in 0..ATTEMPTS {
        match UnixStream::connect(path) {
            Err(error) => return error.kind() == ErrorKind::ConnectionRefused && is_socket(),
            Ok(stream) if hangs_up(&stream) => thread::sleep(PAUSE),
            Ok(_) => return false,
        }
    }
    false
}

/// Whether the other side closes a connection on which nothing was sent: a server would wait for a request.
fn hangs_up(mut stream: &UnixStream) -> bool {
    if stream.set_read_timeout(Some(PATIENCE)).is_err() {
        return false;
    }
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// Paths of the unix sockets that these servers listen on.
fn paths(cf: &ngx_conf_t, servers: &[Server]) -> Vec<String> {
    let names = listens::addresses(cf, servers).map(|address| text(&address.opt.addr_text));
    names.filter_map(|name| name.strip_prefix("unix:").map(str::to_owned)).collect()
}
