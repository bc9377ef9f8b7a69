//! nginx's raw structures with safe methods.

use std::ffi::c_char;
use std::fmt;

use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::ffi::{
    NGX_ERROR, NGX_LOG_EMERG, NGX_OK, ngx_array_push, ngx_array_t, ngx_conf_t, ngx_connection_t, ngx_cycle_t,
    ngx_event_t, ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_handler_pt, ngx_http_request_t,
    ngx_int_t, ngx_log_t, ngx_module_t, ngx_pid_t, ngx_pool_t, ngx_str_t,
};
use ngx::http::HttpModuleConfExt;
use ngx::{ngx_conf_log_error, ngx_log_error};

use crate::layout::bits;

/// The error is in nginx's log already.
#[derive(Debug)]
pub(crate) struct Logged;

/// `NGX_OK` or `NGX_ERROR`.
pub(crate) fn status(result: Result<(), Logged>) -> ngx_int_t {
    match result {
        Ok(()) => NGX_OK as ngx_int_t,
        Err(Logged) => NGX_ERROR as ngx_int_t,
    }
}

/// `NGX_CONF_OK` or `NGX_CONF_ERROR`.
pub(crate) fn conf_status(result: Result<(), Logged>) -> *mut c_char {
    match result {
        Ok(()) => NGX_CONF_OK,
        Err(Logged) => NGX_CONF_ERROR,
    }
}

/// Writes a line to the log at one of nginx's levels.
pub(crate) fn log(level: u32, log: *mut ngx_log_t, message: fmt::Arguments<'_>) {
    if !log.is_null() {
        ngx_log_error!(level, log, "{message}");
    }
}

/// What `ngx_conf_t` holds, safely.
pub(crate) trait ConfExt {
    /// The words of the directive that is being parsed, its name first.
    fn words(&self) -> &[ngx_str_t];

    /// The word at this place as text; what is not UTF-8 is shown as nginx would log it.
    fn word(&self, index: usize) -> String;

    /// Says at level emerg what is wrong and where in which file.
    fn refuse(&mut self, message: fmt::Arguments<'_>) -> Logged;

    /// The same with the place of an earlier directive.
    fn refuse_at(&mut self, place: &Place, message: fmt::Arguments<'_>) -> Logged;

    /// Where the parser is now.
    fn place(&self) -> Place;

    /// The cycle of this process that is running while this one is configured; `None` at the start.
    fn running_cycle(&self) -> Option<&ngx_cycle_t>;

    /// Whether there is one.
    fn is_reload(&self) -> bool {
        self.running_cycle().is_some()
    }
}

/// A file and a line in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    file: String,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {}:{}", self.file, self.line)
    }
}

impl ConfExt for ngx_conf_t {
    fn words(&self) -> &[ngx_str_t] {
        // SAFETY: while a directive is parsed, nginx keeps its words as an array of strings.
        match unsafe { self.args.as_ref() } {
            // SAFETY: the same array; its elements are ngx_str_t.
            Some(args) => unsafe { args.as_slice() },
            None => &[],
        }
    }

    fn word(&self, index: usize) -> String {
        self.words().get(index).map(text).unwrap_or_default()
    }

    fn refuse(&mut self, message: fmt::Arguments<'_>) -> Logged {
        ngx_conf_log_error!(NGX_LOG_EMERG, self, "{message}");
        Logged
    }

    fn refuse_at(&mut self, place: &Place, message: fmt::Arguments<'_>) -> Logged {
        log(NGX_LOG_EMERG, self.log, format_args!("{message} {place}"));
        Logged
    }

    fn place(&self) -> Place {
        // SAFETY: nginx points this at the file that it is reading, or at nothing.
        let Some(file) = (unsafe { self.conf_file.as_ref() }) else {
            return Place::default();
        };
        Place { file: text(&file.file.name), line: file.line }
    }

    fn running_cycle(&self) -> Option<&ngx_cycle_t> {
        // SAFETY: nginx sets the cycle before it parses, and it lives as long as the parsing.
        cycle_before(unsafe { &*self.cycle })
    }
}

/// The cycle that another one replaces, while nginx makes or begins that one; `None` at the start.
pub(crate) fn cycle_before(cycle: &ngx_cycle_t) -> Option<&ngx_cycle_t> {
    // SAFETY: there until the new one has begun; the first one has an empty stand-in (ngx_is_init_cycle).
    unsafe { cycle.old_cycle.as_ref() }.filter(|before| !before.conf_ctx.is_null())
}

/// One of nginx's own modules, for its typed configuration.
pub(crate) fn module(module: *const ngx_module_t) -> &'static ngx_module_t {
    // SAFETY: callers pass the address of a module's static; nginx fills it in before any configuration is parsed.
    unsafe { &*module }
}

/// Adds a handler to one of the phases that nginx runs for each request.
pub(crate) fn add_phase_handler(
    cf: &mut ngx_conf_t,
    phase: usize,
    handler: unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t,
) -> Result<(), Logged> {
    let core = module(&raw const ngx_http_core_module);
    // SAFETY: the core module's main configuration is an ngx_http_core_main_conf_t.
    let main = unsafe { cf.http_main_conf_unchecked::<ngx_http_core_main_conf_t>(core) };
    // SAFETY: belongs to the configuration that is being parsed.
    let main = main.map(|mut main| unsafe { main.as_mut() }).ok_or(Logged)?;
    let handlers = &raw mut main.phases.get_mut(phase).ok_or(Logged)?.handlers;
    // SAFETY: an array that nginx has made before the modules' postconfiguration (ngx_http_init_phases).
    let place: *mut ngx_http_handler_pt = unsafe { ngx_array_push(handlers) }.cast();
    if place.is_null() {
        return Err(Logged);
    }
    // SAFETY: room for one handler, just made.
    unsafe { place.write(Some(handler)) };
    Ok(())
}

/// The connection of a request.
pub(crate) fn connection(request: &ngx_http_request_t) -> &ngx_connection_t {
    // SAFETY: a request has its connection for as long as it lives.
    unsafe { &*request.connection }
}

/// A string as text, for messages and look-ups.
pub(crate) fn text(string: &ngx_str_t) -> String {
    String::from_utf8_lossy(string.as_bytes()).into_owned()
}

/// Copies `bytes` into the pool.
pub(crate) fn pool_str(pool: *mut ngx_pool_t, bytes: &[u8]) -> Option<ngx_str_t> {
    // SAFETY: callers pass the pool of the request or cycle that they serve.
    unsafe { ngx_str_t::from_bytes(pool, bytes) }
}

/// The value of one of nginx's variables. `None`: this nginx has no such variable, or it has no value for this request.
pub(crate) fn variable(request: &mut ngx_http_request_t, name: &'static str) -> Option<String> {
    let mut name = ngx_str_t { data: name.as_ptr().cast_mut(), len: name.len() };
    // SAFETY: a string, which is only read.
    let key = unsafe { ngx::ffi::ngx_hash_key(name.data, name.len) };
    // SAFETY: a request that is being served, and a string that is only read and lives through the call.
    let value = unsafe { ngx::ffi::ngx_http_get_variable(request, &mut name, key) };
    // SAFETY: null, or a value in the pool of the request.
    let value = unsafe { value.as_ref() }?;
    if bits::ngx_variable_value_t::NOT_FOUND.is_set(value) {
        return None;
    }
    let len = bits::ngx_variable_value_t::LEN.get(value) as usize;
    Some(if len == 0 { String::new() } else { text(&ngx_str_t { data: value.data, len }) })
}

/// The elements of an array, as what nginx documents them to be.
///
/// # Safety
/// The array must hold elements of `T`, and stay unchanged while they are borrowed.
pub(crate) unsafe fn elements<'a, T>(array: *const ngx_array_t) -> &'a [T] {
    // SAFETY: nginx's arrays are valid once they are reachable; the caller vouches for `T`.
    match unsafe { array.as_ref() } {
        // SAFETY: the caller vouches for `T`.
        Some(array) => unsafe { array.as_slice() },
        None => &[],
    }
}

/// The id of this process: of a worker, after its master has forked it. Costs no system call.
pub(crate) fn pid() -> ngx_pid_t {
    // SAFETY: set at the begin of main and after each fork, before anything else of the process runs.
    unsafe { ngx::ffi::ngx_pid }
}

/// The id of the master of this process; its own, if it is one or has none (`master_process off`).
pub(crate) fn master_pid() -> ngx_pid_t {
    // SAFETY: set before the process serves.
    let process = unsafe { ngx::ffi::ngx_process };
    if [ngx::ffi::NGX_PROCESS_WORKER, ngx::ffi::NGX_PROCESS_HELPER].contains(&(process as u32)) {
        // SAFETY: as above.
        unsafe { ngx::ffi::ngx_parent }
    } else {
        pid()
    }
}

/// An event to be set as a timer, or posted. It lives as long as the process: nginx keeps pointers to it.
pub(crate) fn event(
    handler: unsafe extern "C" fn(*mut ngx_event_t),
    log: *mut ngx_log_t,
) -> *mut ngx_event_t {
    /// What nginx logs of an event whose data it takes for a connection (ngx_event_ident): the number is the fourth word.
    static IDENT: [usize; 4] = [0, 0, 0, usize::MAX];
    // SAFETY: plain data for which zeroes mean "not set", as nginx makes its own events.
    let mut event: ngx_event_t = unsafe { std::mem::zeroed() };
    event.handler = Some(handler);
    event.log = log;
    event.data = (&raw const IDENT).cast_mut().cast();
    Box::into_raw(Box::new(event))
}

/// Sets a timer, unless it is set for a sooner moment. Unlike nginx's ngx_event_add_timer it moves the timer however small the
/// change is (NGX_TIMER_LAZY_DELAY, 300 ms).
pub(crate) fn set_timer(timer: &mut ngx_event_t, after_ms: usize) {
    // SAFETY: nginx updates it between two events, on this thread.
    let at = unsafe { ngx::ffi::ngx_current_msec }.wrapping_add(after_ms);
    if bits::ngx_event_t::TIMER_SET.is_set(timer) && timer.timer.key <= at {
        return;
    }
    cancel_timer(timer);
    timer.timer.key = at;
    let tree = &raw mut ngx::ffi::ngx_event_timer_rbtree;
    // SAFETY: the tree of this process's timers, and a node that is not in it (ngx_event_add_timer).
    unsafe { ngx::ffi::ngx_rbtree_insert(tree, &mut timer.timer) };
    bits::ngx_event_t::TIMER_SET.set(timer, true);
}

/// Cancels a timer, if it is set.
pub(crate) fn cancel_timer(timer: &mut ngx_event_t) {
    if bits::ngx_event_t::TIMER_SET.is_set(timer) {
        let tree = &raw mut ngx::ffi::ngx_event_timer_rbtree;
        // SAFETY: the tree of this process's timers, and a node that is in it (ngx_event_del_timer).
        unsafe { ngx::ffi::ngx_rbtree_delete(tree, &mut timer.timer) };
        bits::ngx_event_t::TIMER_SET.set(timer, false);
    }
}

/// Lets the event happen in the next turn of the event loop; what is posted already is not posted again.
pub(crate) fn post_next(event: &mut ngx_event_t) {
    if !bits::ngx_event_t::POSTED.is_set(event) {
        bits::ngx_event_t::POSTED.set(event, true);
        let queue = &raw mut ngx::ffi::ngx_posted_next_events;
        // SAFETY: a queue of this process, and a link that is in none (ngx_post_event).
        unsafe { ngx::ffi::ngx_queue_insert_before(queue, &mut event.queue) };
    }
}

/// Whether this process only checks the configuration (`nginx -t`): it must change nothing.
pub(crate) fn only_checking() -> bool {
    // SAFETY: set while nginx reads its options, before any configuration is parsed.
    unsafe { ngx::ffi::ngx_test_config != 0 }
}

/// Whether this process was started by the master that it replaces (ngx_exec_new_binary).
pub(crate) fn is_upgrade() -> bool {
    std::env::var_os("NGINX").is_some()
}

/// The same, and that master is still there: this process's parent has not changed (as nginx's ngx_signal_handler asks).
pub(crate) fn is_upgrade_of_living_master() -> bool {
    // SAFETY: set at the begin of main.
    let parent = unsafe { ngx::ffi::ngx_parent };
    is_upgrade() && u32::try_from(parent).is_ok_and(|parent| parent == std::os::unix::process::parent_id())
}

/// Whether this process only brings a signal to a running nginx (`nginx -s reload`).
pub(crate) fn only_signalling() -> bool {
    // SAFETY: set while nginx reads its options, before any configuration is parsed.
    unsafe { ngx::ffi::ngx_process == ngx::ffi::NGX_PROCESS_SIGNALLER as usize }
}
