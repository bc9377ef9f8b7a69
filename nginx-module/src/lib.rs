//! `ngx_http_cutover_module`: a group of slots as an nginx upstream, switched by one store.
//!
//! ```text
//!  ext, layout, clock, pool   nginx's raw structures, with safe methods
//!  callbacks                  the callbacks of a balancer and a protocol, as plain data
//!  memory/                    shared by all processes: mapped routes, counters, events    survives reload, upgrade
//!  group                      one group at run time: which slot has which id
//!  trial/                     guard and lease take the traffic back
//!  state/                     the state file of one cycle: opened, locked, committed      survives SIGKILL, too
//!  backends                   groups of backend names
//!  conf/                      parsed once, by the master: cutover shop { slot blue shop_blue; .. }
//!  upstream/                  the request path: peer.init, the five peer callbacks, finalize
//!  variables                  $cutover_slot ..
//!  admin/                     the admin API: GET, PUT; peer credentials; answers after the flush
//!  directives/                the directives, and what sets them
//!  postconfiguration          checks across blocks, then opens the state
//!  process                    what each process does at its start
//! ```
//!
//! A file imports only files of the lines above its own.
//!
//! Each callback has three parts: trust nginx's pointers, ask safe code, answer nginx. What can be decided without nginx is
//! decided in `cutover-core`.
//!
//! # Soundness
//!
//! nginx runs a worker's callbacks one after another on one thread, and gives each the objects it names: a pointer that
//! nginx passes to a callback is valid until the callback returns, a request's pool lives as long as the request, and the
//! cycle's pool (which holds the configuration and, by its clean-up, the mapped memory) outlives every request that was
//! accepted under that cycle. The SAFETY comments below name the one of these that they rest on.

mod admin;
mod backends;
mod callbacks;
mod clock;
mod conf;
mod directives;
mod ext;
mod group;
mod layout;
mod memory;
mod pool;
mod postconfiguration;
mod process;
mod state;
mod trial;
mod upstream;
mod variables;

use ngx::ffi::{NGX_HTTP_MODULE, ngx_http_module_t, ngx_module_t};
use ngx::http::HttpModule;

use conf::Module;

impl HttpModule for Module {
    fn module() -> &'static ngx_module_t {
        ext::module(&raw const ngx_http_cutover_module)
    }

    unsafe extern "C" fn preconfiguration(cf: *mut ngx::ffi::ngx_conf_t) -> ngx::ffi::ngx_int_t {
        // SAFETY: nginx passes the configuration that it is parsing.
        ext::status(variables::add(unsafe { &mut *cf }))
    }

    unsafe extern "C" fn postconfiguration(cf: *mut ngx::ffi::ngx_conf_t) -> ngx::ffi::ngx_int_t {
        // SAFETY: nginx passes the configuration that it is parsing.
        ext::status(postconfiguration::finish(unsafe { &mut *cf }))
    }
}

static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(Module::preconfiguration),
    postconfiguration: Some(Module::postconfiguration),
    create_main_conf: Some(Module::create_main_conf),
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: Some(Module::create_loc_conf),
    merge_loc_conf: Some(Module::merge_loc_conf),
};

/// What nginx knows of this module; it writes the indexes.
#[unsafe(no_mangle)]
pub static mut ngx_http_cutover_module: ngx_module_t = ngx_module_t {
    ctx: &raw const CONTEXT as *mut _,
    commands: &raw mut directives::COMMANDS as *mut _,
    type_: NGX_HTTP_MODULE as usize,
    init_module: Some(process::init_module),
    init_process: Some(process::init),
    exit_master: Some(process::exit_master),
    ..ngx_module_t::default()
};

/// The three tables that nginx looks up in a dynamic module's file (ngx_load_module).
#[cfg(feature = "loadable")]
mod loadable {
    use std::ffi::c_char;
    use std::ptr;

    use ngx::ffi::ngx_module_t;

    use super::ngx_http_cutover_module;

    #[unsafe(no_mangle)]
    static mut ngx_modules: [*const ngx_module_t; 2] = [&raw const ngx_http_cutover_module, ptr::null()];

    #[unsafe(no_mangle)]
    static mut ngx_module_names: [*const c_char; 2] = [c"ngx_http_cutover_module".as_ptr(), ptr::null()];

    #[unsafe(no_mangle)]
    static mut ngx_module_order: [*const c_char; 1] = [ptr::null()];
}
