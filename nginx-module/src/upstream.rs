//! The request path: a group takes a request as an upstream, chooses a slot, and lets that slot's own upstream do the rest.
//!
//! ```text
//! ngx_http_upstream_init_request
//!   -> init_peer          choose the slot, call its upstream's own peer.init, put our callbacks in front
//! ngx_http_upstream_connect
//!   -> peer::get          count the attempt, ask the balancer
//! ngx_http_upstream_next / finalize
//!   -> peer::free         count the failure, tell the balancer
//! ngx_http_upstream_finalize_request
//!   -> record::finalize   count the answer: once for each request, on every way to its end
//! ```

use ngx::core::Status;
use ngx::ffi::{
    NGX_HTTP_UPSTREAM_CREATE, NGX_LOG_INFO, ngx_conf_t, ngx_http_complex_value, ngx_http_request_t,
    ngx_http_upstream_main_conf_t, ngx_http_upstream_module, ngx_http_upstream_srv_conf_t, ngx_int_t,
    ngx_str_t,
};
use ngx::http::{HttpModuleConfExt, HttpModuleLocationConf};

use crate::Module;
use crate::ext::{self, ConfExt, Logged, connection, elements, log};
use crate::group::{Choice, Group, Slot};

mod peer;
mod record;

pub(crate) use record::Record;

type Upstream = ngx_http_upstream_srv_conf_t;

/// `peer.init_upstream` of a group: all upstreams have been parsed, so the slots' can be found.
pub(crate) extern "C" fn init_upstream(cf: *mut ngx_conf_t, upstream: *mut Upstream) -> ngx_int_t {
    // SAFETY: nginx passes the configuration that it is parsing.
    let cf = unsafe { &mut *cf };
    // SAFETY: nginx passes the upstream whose init_upstream this is.
    let upstream = unsafe { &mut *upstream };
    upstream.peer.init = Some(init_peer);
    // SAFETY: conf::block put the group there; it lives as long as the cycle.
    let group: &Group = unsafe { &*upstream.peer.data.cast() };
    ext::status(group.slots.iter().try_for_each(|slot| find_upstream(cf, group, slot)))
}

fn find_upstream(cf: &mut ngx_conf_t, group: &Group, slot: &Slot) -> Result<(), Logged> {
    let module = ext::module(&raw const ngx_http_upstream_module);
    // SAFETY: the upstream module's main configuration is an ngx_http_upstream_main_conf_t.
    let main = unsafe { cf.http_main_conf_unchecked::<ngx_http_upstream_main_conf_t>(module) };
    // SAFETY: belongs to the configuration that is being parsed.
    let Some(main) = main.map(|main| unsafe { main.as_ref() }) else { return Err(Logged) };
    // SAFETY: an array of pointers to upstreams.
    let known: &[*mut Upstream] = unsafe { elements(&raw const main.upstreams) };

    let name = &slot.upstream_name;
    let found = known.iter().find_map(|candidate| {
        // SAFETY: nginx fills the array with upstreams of this cycle.
        let upstream = unsafe { candidate.as_ref() }?;
        let defined = upstream.flags & NGX_HTTP_UPSTREAM_CREATE as usize != 0;
        (defined && upstream.host.as_bytes().eq_ignore_ascii_case(name.as_bytes())).then_some(upstream)
    });
    let Some(found) = found else {
        return Err(cf.refuse_at(
            &slot.place,
            format_args!(
                "unknown upstream \"{name}\" for slot \"{}\" of group \"{}\": define \"upstream {name} {{ .. }}\"",
                slot.name, group.name
            ),
        ));
    };
    if is_group(cf, found) {
        return Err(cf.refuse_at(
            &slot.place,
            format_args!(
                "slot \"{}\" of group \"{}\" names the group \"{name}\": a slot needs an upstream, not another group",
                slot.name, group.name
            ),
        ));
    }
    slot.upstream.set(Some(found.into()));
    Ok(())
}

fn is_group(cf: &ngx_conf_t, upstream: &Upstream) -> bool {
    let data: *const Group = upstream.peer.data.cast();
    crate::conf::main_of(cf)
        .is_some_and(|main| main.groups.iter().any(|group| std::ptr::eq(&raw const **group, data)))
}

/// `peer.init` of a group: runs for each request (and subrequest) when its upstream is about to be connected.
extern "C" fn init_peer(r: *mut ngx_http_request_t, upstream: *mut Upstream) -> ngx_int_t {
    // SAFETY: nginx passes the upstream whose peer.init this is.
    let upstream = unsafe { &*upstream };
    // SAFETY: conf::block put the group there; it lives as long as the cycle.
    let group: &Group = unsafe { &*upstream.peer.data.cast() };
    // SAFETY: nginx passes the request, which has an upstream now.
    let request = unsafe { &mut *r };
    let record = match Record::chosen_for(request) {
        Some(record) if std::ptr::eq(record.group(), group) => record,
        _ => {
            let choice = choose(request, group);
            match Record::add(request, group, choice) {
                Some(record) => record,
                None => return Status::NGX_ERROR.into(),
            }
        }
    };
    record.start()
}

/// The slot for a request: what `cutover_slot` says, else the route.
pub(crate) fn choose(request: &mut ngx_http_request_t, group: &Group) -> Choice {
    let logger = connection(request).log;
    let value = match Module::location_conf(request) {
        Some(location) if !location.slot.is_null() => location.slot,
        _ => return group.choose(logger),
    };
    let mut wanted = ngx_str_t::empty();
    // SAFETY: compiled in the configuration of this request's location.
    if unsafe { ngx_http_complex_value(request, value, &mut wanted) } != 0 {
        return group.choose(logger);
    }
    match wanted.as_bytes() {
        b"" | b"active" => group.choose(logger),
        b"standby" => group.standby(logger),
        name => match group.position(name) {
            Some(slot) => Choice { slot, ..group.choose(logger) },
            None => {
                log(
                    NGX_LOG_INFO,
                    logger,
                    format_args!(
                        "cutover_slot: group \"{}\" has no slot \"{}\"; the route decides",
                        group.name,
                        name.escape_ascii()
                    ),
                );
                group.choose(logger)
            }
        },
    }
}
