//! `$cutover_group`, `$cutover_slot` and `$cutover_generation`: what was decided for the request; and `$cutover_slot_of_NAME`: the
//! slot that it has, or gets, of a group.
//!
//! Before a request has met a group the first three are those of `cutover_group`, or else empty. A request that meets several
//! (internal redirects) shows the latest.

use std::ptr;

use ngx::core::Status;
use ngx::ffi::{
    NGX_HTTP_VAR_NOCACHEABLE, NGX_HTTP_VAR_PREFIX, ngx_conf_t, ngx_http_add_variable,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_request_t, ngx_http_variable_t,
    ngx_http_variable_value_t, ngx_int_t, ngx_str_t,
};
use ngx::http::{HttpModuleConfExt, HttpModuleLocationConf};
use ngx::ngx_string;

use crate::Module;
use crate::conf;
use crate::ext::{self, ConfExt, Logged, pool_str};
use crate::group::{Choice, Group};
use crate::layout::bits;
use crate::upstream::{self, Record};

#[derive(Clone, Copy)]
enum Variable {
    Group,
    Slot,
    Generation,
}

/// Makes the variables known; runs before any directive is read.
pub(crate) fn add(cf: &mut ngx_conf_t) -> Result<(), Logged> {
    add_one(cf, ngx_string!("cutover_group"), Variable::Group)?;
    add_one(cf, ngx_string!("cutover_slot"), Variable::Slot)?;
    add_one(cf, ngx_string!("cutover_generation"), Variable::Generation)?;
    add_with(cf, ngx_string!("cutover_upstream"), get_upstream, 0)?;
    add_flagged(cf, SLOT_OF, get_slot_of, 0, NGX_HTTP_VAR_PREFIX)
}

/// What a variable's name begins with that goes on with the name of a group.
const SLOT_OF: ngx_str_t = ngx_string!("cutover_slot_of_");

/// Refuses a configuration that asks for the slot of a group which it does not have. All variables are known now.
pub(crate) fn check(cf: &mut ngx_conf_t, main: &conf::Main) -> Result<(), Logged> {
    let core = ext::module(&raw const ngx_http_core_module);
    // SAFETY: the core module's main configuration is an ngx_http_core_main_conf_t.
    let known = unsafe { cf.http_main_conf_unchecked::<ngx_http_core_main_conf_t>(core) };
    // SAFETY: belongs to the configuration that is being parsed.
    let Some(known) = known.map(|known| unsafe { known.as_ref() }) else { return Ok(()) };
    // SAFETY: an array of variables.
    let used: &[ngx_http_variable_t] = unsafe { ext::elements(&raw const known.variables) };
    for variable in used {
        let name = variable.name.as_bytes();
        let Some(group) = group_in(name) else { continue };
        if main.group_of_variable(group).is_none() {
            return Err(cf.refuse(format_args!(
                "unknown group in variable \"${}\": the groups are {}; for one whose name has other characters than \
                 those of variables there is \"cutover_group NAME;\"",
                name.escape_ascii(),
                main.names()
            )));
        }
    }
    Ok(())
}

/// The name of the group that a variable asks for.
fn group_in(variable: &[u8]) -> Option<&[u8]> {
    let (prefix, group) = variable.split_at_checked(SLOT_OF.len)?;
    prefix.eq_ignore_ascii_case(SLOT_OF.as_bytes()).then_some(group)
}

fn add_one(cf: &mut ngx_conf_t, name: ngx_str_t, which: Variable) -> Result<(), Logged> {
    add_with(cf, name, get, which as usize)
}

type Get = unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_http_variable_value_t, usize) -> ngx_int_t;

fn add_with(cf: &mut ngx_conf_t, name: ngx_str_t, get: Get, data: usize) -> Result<(), Logged> {
    add_flagged(cf, name, get, data, 0)
}

fn add_flagged(
    cf: &mut ngx_conf_t,
    mut name: ngx_str_t,
    get: Get,
    data: usize,
    flags: u32,
) -> Result<(), Logged> {
    let flags = (NGX_HTTP_VAR_NOCACHEABLE | flags) as usize;
    // SAFETY: `cf` is being parsed, and the name is static.
    let variable = unsafe { ngx_http_add_variable(cf, &mut name, flags) };
    // SAFETY: a variable of this configuration, or null when nginx has logged why not.
    let variable = unsafe { variable.as_mut() }.ok_or(Logged)?;
    variable.get_handler = Some(get);
    variable.data = data;
    Ok(())
}

unsafe extern "C" fn get(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes the request that is served.
    let request = unsafe { &mut *r };
    // SAFETY: nginx passes the place for the value.
    let value = unsafe { &mut *value };
    let record = if is_being_built(request) { decide_now(request) } else { Record::latest(request) };
    let decided = match record {
        Some(record) => Some((record.group(), record.slot_name(), record.generation())),
        None => of_location(request),
    };
    let Some((group, slot, generation)) = decided else {
        bits::ngx_variable_value_t::NOT_FOUND.set(value, true);
        return Status::NGX_OK.into();
    };
    let mut digits = [0; DIGITS];
    let text = match data {
        which if which == Variable::Group as usize => group.name.as_bytes(),
        which if which == Variable::Slot as usize => slot.as_bytes(),
        _ => decimal(generation, &mut digits),
    };
    give(request, value, text)
}

/// Group, slot and generation of the location's `cutover_group`.
fn of_location<'a>(request: &mut ngx_http_request_t) -> Option<(&'a Group, &'a str, u32)> {
    let named = Module::location_conf(request)?.group.as_ref()?;
    let group = conf::main_of_request(request)?.named(named)?;
    let choice = slot_of(request, group)?;
    Some((group, group.slots.get(choice.slot)?.name.as_str(), choice.generation))
}

/// The slot that the request has for the group, or gets now.
fn slot_of(request: &mut ngx_http_request_t, group: &Group) -> Option<Choice> {
    match group.backend {
        None => Record::slot_without_upstream(request, group),
        Some(_) => upstream::by_name::slot_without_upstream(request, group),
    }
}

/// `$cutover_slot_of_NAME`.
unsafe extern "C" fn get_slot_of(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes the request that is served.
    let request = unsafe { &mut *r };
    // SAFETY: nginx passes the place for the value.
    let value = unsafe { &mut *value };
    // SAFETY: of a variable that is known by its prefix nginx passes the whole name, which outlives the call.
    let name = unsafe { &*ptr::with_exposed_provenance::<ngx_str_t>(data) };
    let main = conf::main_of_request(request);
    let group = main.zip(group_in(name.as_bytes())).and_then(|(main, group)| main.group_of_variable(group));
    let Some(group) = group else {
        // Only a name that is not in the configuration gets here, by SSI for example.
        bits::ngx_variable_value_t::NOT_FOUND.set(value, true);
        return Status::NGX_OK.into();
    };
    match slot_of(request, group).and_then(|choice| group.slots.get(choice.slot)) {
        Some(slot) => give(request, value, slot.name.as_bytes()),
        None => Status::NGX_ERROR.into(),
    }
}

/// Copies the text: nginx's variables are not bound to the life of a group.
fn give(request: &ngx_http_request_t, value: &mut ngx_http_variable_value_t, text: &[u8]) -> ngx_int_t {
    let Some(copy) = pool_str(request.pool, text) else { return Status::NGX_ERROR.into() };
    value.data = copy.data;
    bits::ngx_variable_value_t::LEN.set(value, copy.len as u32);
    bits::ngx_variable_value_t::VALID.set(value, true);
    bits::ngx_variable_value_t::NOT_FOUND.set(value, false);
    Status::NGX_OK.into()
}

/// `$cutover_upstream`: the backend that the request has, or that of its slot if the backend is a group's.
unsafe extern "C" fn get_upstream(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes the request that is served.
    let request = unsafe { &mut *r };
    // SAFETY: nginx passes the place for the value.
    let value = unsafe { &mut *value };
    let Some(main) = conf::main_of_request(request) else { return Status::NGX_ERROR.into() };
    // SAFETY: the same request; the value of its variable lives as long.
    let Some(current) = main.backends.current(unsafe { &mut *r }) else {
        bits::ngx_variable_value_t::NOT_FOUND.set(value, true);
        return Status::NGX_OK.into();
    };
    let group = main.backends.group(current).and_then(|at| main.groups.get(at));
    let Some(group) = group else { return give(request, value, current) };
    let slot = upstream::by_name::slot(request, group).and_then(|slot| group.slots.get(slot));
    match slot {
        Some(slot) => give(request, value, slot.upstream_name.as_bytes()),
        None => Status::NGX_ERROR.into(),
    }
}

/// Digits of the largest generation.
const DIGITS: usize = 10;

/// A number as text without an allocation that could fail.
fn decimal(number: u32, digits: &mut [u8; DIGITS]) -> &[u8] {
    let mut rest = number;
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        used += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    digits.get(DIGITS - used..).unwrap_or_default()
}

/// Whether the request to the upstream is being built (`proxy_set_header X-Slot $cutover_slot`).
fn is_being_built(request: &ngx_http_request_t) -> bool {
    // A request that ends before its upstream has a status then, too: nginx gives it one before it is logged.
    let answered = request.headers_out.status != 0
        || bits::ngx_http_request_t::HEADER_SENT.is_set(request)
        || is_from_cache(request);
    // SAFETY: null, or the upstream of the request.
    let u = unsafe { request.upstream.as_ref() };
    // nginx says which upstream it is, and then asks that one's balancer to begin (ngx_http_upstream_init_request).
    u.is_some_and(|u| u.upstream.is_null()) && !answered && Record::current(request).is_none()
}

#[cfg(ngx_feature = "http_cache")]
fn is_from_cache(request: &ngx_http_request_t) -> bool {
    bits::ngx_http_request_t::CACHED.is_set(request)
}

/// Without nginx's cache the request has no such bit.
#[cfg(not(ngx_feature = "http_cache"))]
fn is_from_cache(_: &ngx_http_request_t) -> bool {
    false
}

/// The slot that is named there must be the one that will be used, so it is chosen now.
fn decide_now<'a>(request: &mut ngx_http_request_t) -> Option<&'a Record> {
    // SAFETY: null, or the upstream that this request is about to use.
    let u = unsafe { request.upstream.as_ref() }?;
    // SAFETY: null, or what a `proxy_pass` with a variable has come to.
    let group = match unsafe { u.resolved.as_ref() } {
        Some(resolved) if resolved.no_port != 0 => {
            // As nginx looks for an upstream of this name, whatever the case of its letters.
            conf::main_of_request(request)?.group_of_host(resolved.host.as_bytes())?
        }
        Some(_) => return None,
        None => {
            // SAFETY: set by nginx's proxy modules when they create the upstream.
            let conf = unsafe { u.conf.as_ref() }?;
            // SAFETY: null, or an upstream of the configuration that serves this request.
            upstream::group_of(unsafe { conf.upstream.as_ref() }?)?
        }
    };
    Record::choose_early(request, group)
}
