//! The request path: a group takes a request as an upstream, chooses a slot, and lets that slot's own upstream do the rest.
//!
//! ```text
//! ngx_http_upstream_init_request
//!   -> init_peer          choose the slot (`choice`), call its upstream's own peer.init, put our callbacks in front
//! ngx_http_upstream_connect
//!   -> peer::get          count the attempt, ask the balancer
//! ngx_http_upstream_process_header
//!   -> protocol::process_header     the first byte of an answer has come
//! ngx_http_upstream_next / finalize
//!   -> peer::free         count the failure, tell the balancer; rescue the request if that is armed
//! ngx_http_upstream_finalize_request
//!   -> protocol::finalize_request   count the answer: once for each request, on every way to its end
//! ```

use std::collections::HashMap;
use std::ptr::NonNull;

use cutover_core::name::MAX_NAME;
use ngx::core::Status;
use ngx::ffi::{
    NGX_HTTP_UPSTREAM_CREATE, ngx_conf_t, ngx_http_request_t, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_module, ngx_int_t,
};
use ngx::http::HttpModuleConfExt;

use crate::callbacks::{Target, Upstream};
use crate::conf::{self, Main};
use crate::ext::{self, ConfExt, Logged, elements};
use crate::group::{Group, Slot};

pub(crate) mod by_name;
pub(crate) mod choice;
mod create;
mod enter;
mod origin;
mod peer;
mod protocol;
mod request;
mod search;
mod sessions;
mod states;
pub(crate) mod upgrades;
mod wrap;

pub(crate) use request::UpstreamRequest;

use choice::choose;

/// `peer.init_upstream` of a group: all upstreams have been parsed, so the slots' can be found.
unsafe extern "C" fn init_upstream(cf: *mut ngx_conf_t, upstream: *mut Upstream) -> ngx_int_t {
    // SAFETY: nginx passes the configuration that it is parsing.
    let cf = unsafe { &mut *cf };
    // SAFETY: nginx passes the upstream whose init_upstream this is.
    let upstream = unsafe { &mut *upstream };
    upstream.peer.init = Some(init_peer);
    // SAFETY: directives::group put the group there; it lives as long as the cycle.
    let group: &Group = unsafe { &*upstream.peer.data.cast() };
    ext::status(group.slots.iter().try_for_each(|slot| find_upstream(cf, group, slot)))
}

fn find_upstream(cf: &mut ngx_conf_t, group: &Group, slot: &Slot) -> Result<(), Logged> {
    let name = &slot.upstream_name;
    let known = conf::main_of(cf).ok_or(Logged)?.upstreams.get_or_init(|| all_upstreams(cf));
    let found = known.get(name.to_ascii_lowercase().as_bytes()).copied();
    let Some(found) = found else {
        return Err(cf.refuse_at(
            &slot.place,
            format_args!(
                "unknown upstream \"{name}\" for slot \"{}\" of group \"{}\": define \"upstream {name} {{ .. }}\"",
                slot.name, group.name
            ),
        ));
    };
    // SAFETY: an upstream of this cycle.
    if group_of(unsafe { found.as_ref() }).is_some() {
        return Err(cf.refuse_at(
            &slot.place,
            format_args!(
                "slot \"{}\" of group \"{}\" names the group \"{name}\": a slot needs an upstream, not another group",
                slot.name, group.name
            ),
        ));
    }
    slot.upstream.set(Some(found));
    Ok(())
}

/// Those that are defined, not those that a `proxy_pass` to an address makes up.
fn all_upstreams(cf: &ngx_conf_t) -> HashMap<Vec<u8>, Target> {
    let module = ext::module(&raw const ngx_http_upstream_module);
    // SAFETY: the upstream module's main configuration is an ngx_http_upstream_main_conf_t.
    let main = unsafe { cf.http_main_conf_unchecked::<ngx_http_upstream_main_conf_t>(module) };
    // SAFETY: belongs to the configuration that is being parsed.
    let Some(main) = main.map(|main| unsafe { main.as_ref() }) else { return HashMap::new() };
    // SAFETY: an array of pointers to upstreams.
    let known: &[*mut Upstream] = unsafe { elements(&raw const main.upstreams) };
    let mut upstreams = HashMap::with_capacity(known.len());
    for upstream in known.iter().filter_map(|upstream| NonNull::new(*upstream)) {
        // SAFETY: nginx fills the array with upstreams of this cycle.
        let defined = unsafe { upstream.as_ref() };
        if defined.flags & NGX_HTTP_UPSTREAM_CREATE as usize != 0 {
            upstreams.insert(defined.host.as_bytes().to_ascii_lowercase(), upstream);
        }
    }
    upstreams
}

/// The group that an upstream stands for.
pub(crate) fn group_of(upstream: &Upstream) -> Option<&'static Group> {
    let ours = upstream.peer.init_upstream.is_some_and(|init| std::ptr::fn_addr_eq(init, INIT_UPSTREAM));
    // SAFETY: directives::group puts a group into the upstreams that it gives this callback; it lives as long as the cycle.
    if ours { unsafe { upstream.peer.data.cast::<Group>().as_ref() } } else { None }
}

/// The group that stands for a host, whatever the case of its letters, as nginx compares hosts. None is that of backend
/// names.
pub(crate) fn group_of_host(main: &Main, host: &[u8]) -> Option<&'static Group> {
    // On the stack: a request asks.
    let mut name = [0; MAX_NAME];
    let name = name.get_mut(..host.len())?;
    name.copy_from_slice(host);
    name.make_ascii_lowercase();
    let upstream = main.upstreams.get()?.get(&*name)?;
    // SAFETY: an upstream of the cycle that this configuration belongs to.
    group_of(unsafe { upstream.as_ref() })
}

/// The mark by which a group is known among upstreams. A static, because a function named twice may have two addresses.
pub(crate) static INIT_UPSTREAM: unsafe extern "C" fn(*mut ngx_conf_t, *mut Upstream) -> ngx_int_t =
    init_upstream;

/// `peer.init` of a group: runs for each request (and subrequest) when its upstream is about to be connected.
extern "C" fn init_peer(r: *mut ngx_http_request_t, upstream: *mut Upstream) -> ngx_int_t {
    // SAFETY: nginx passes the upstream whose peer.init this is.
    let upstream = unsafe { &*upstream };
    // SAFETY: directives::group put the group there; it lives as long as the cycle.
    let group: &Group = unsafe { &*upstream.peer.data.cast() };
    // SAFETY: nginx passes the request, which has an upstream now.
    let request = unsafe { &mut *r };
    let u = request.upstream;
    // SAFETY: as above.
    let own = match UpstreamRequest::chosen_for(unsafe { &*u }) {
        Some(own) if std::ptr::eq(own.group(), group) => own,
        _ => {
            let choice = choose(request, group, UpstreamRequest::earlier);
            match UpstreamRequest::new(request, u, group, choice) {
                Some(own) => own,
                None => return Status::NGX_ERROR.into(),
            }
        }
    };
    own.start()
}
