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

use ngx::ffi::{
    NGX_LOG_NOTICE, NGX_LOG_WARN, ngx_conf_t, ngx_http_conf_addr_t, ngx_http_conf_port_t,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_core_srv_conf_t,
};
use ngx::http::HttpModuleConfExt;

use crate::ext::{self, ConfExt, elements, log, text};

/// How long a server that is alive may take to show that it does not hang up. Only waited for when nginx is going to fail anyway,
/// because the address is in use.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often, and how long apart, a server that is just ending is tried.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

type Server = *mut ngx_http_core_srv_conf_t;

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
    let core = ext::module(&raw const ngx_http_core_module);
    // SAFETY: the core module's main configuration is an ngx_http_core_main_conf_t.
    let main = unsafe { cf.http_main_conf_unchecked::<ngx_http_core_main_conf_t>(core) };
    // SAFETY: belongs to the configuration that is being parsed.
    let Some(main) = main.map(|main| unsafe { main.as_ref() }) else { return Vec::new() };
    // SAFETY: the ports that `listen` collects are ngx_http_conf_port_t.
    let ports: &[ngx_http_conf_port_t] = unsafe { elements(main.ports) };
    let mut paths = Vec::new();
    for port in ports {
        // SAFETY: the addresses of a port are ngx_http_conf_addr_t.
        let addresses: &[ngx_http_conf_addr_t] = unsafe { elements(&raw const port.addrs) };
        for address in addresses {
            // SAFETY: the servers of an address are pointers to server configurations.
            let here: &[Server] = unsafe { elements(&raw const address.servers) };
            if here.iter().any(|server| servers.contains(server)) {
                let name = text(&address.opt.addr_text);
                paths.extend(name.strip_prefix("unix:").map(str::to_owned));
            }
        }
    }
    paths
}
