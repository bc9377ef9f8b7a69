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

use crate::conf::{Main, Module, main_of_request};
use crate::ext::{self, ConfExt, Logged, pool_str};
use crate::group::Group;
use crate::layout::bits;
use crate::upstream::choice::Choice;
use crate::upstream::{self, UpstreamRequest, by_name};

/// Makes the variables known; runs before any directive is read.
pub(crate) fn add(cf: &mut ngx_conf_t) -> Result<(), Logged> {
    add_one::<GroupName>(cf, ngx_string!("cutover_group"), 0)?;
    add_one::<SlotName>(cf, ngx_string!("cutover_slot"), 0)?;
    add_one::<Generation>(cf, ngx_string!("cutover_generation"), 0)?;
    add_one::<Backend>(cf, ngx_string!("cutover_upstream"), 0)?;
    add_one::<SlotOf>(cf, SLOT_OF, NGX_HTTP_VAR_PREFIX)
}

/// The names of variables that end with the name of a group begin with this.
const SLOT_OF: ngx_str_t = ngx_string!("cutover_slot_of_");

fn add_one<V: Variable>(cf: &mut ngx_conf_t, mut name: ngx_str_t, flags: u32) -> Result<(), Logged> {
    let flags = (NGX_HTTP_VAR_NOCACHEABLE | flags) as usize;
    // SAFETY: `cf` is being parsed, and the name is static.
    let variable = unsafe { ngx_http_add_variable(cf, &mut name, flags) };
    // SAFETY: a variable of this configuration, or null when nginx has logged why not.
    let variable = unsafe { variable.as_mut() }.ok_or(Logged)?;
    variable.get_handler = Some(get::<V>);
    Ok(())
}

/// Refuses a configuration that asks for the slot of a group which it does not have. All variables are known now.
pub(crate) fn check(cf: &mut ngx_conf_t, main: &Main) -> Result<(), Logged> {
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

/// What gives a variable its value.
trait Variable {
    /// `data` is what nginx keeps with the variable.
    fn value<'a>(request: &'a mut ngx_http_request_t, data: usize) -> Value<'a>;
}

enum Value<'a> {
    Text(&'a [u8]),
    Number(u32),
    NotFound,
    /// The pool is exhausted, for example.
    Failed,
}

/// The getter of every variable.
unsafe extern "C" fn get<V: Variable>(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes the request that is served.
    let request = unsafe { &mut *r };
    let pool = request.pool;
    // SAFETY: nginx passes the place for the value.
    let place = unsafe { &mut *value };
    let mut digits = [0; DIGITS];
    let text = match V::value(request, data) {
        Value::Text(text) => text,
        Value::Number(number) => decimal(number, &mut digits),
        Value::NotFound => {
            bits::ngx_variable_value_t::NOT_FOUND.set(place, true);
            return Status::NGX_OK.into();
        }
        Value::Failed => return Status::NGX_ERROR.into(),
    };
    // A copy: nginx's variables are not bound to the life of a group.
    let Some(copy) = pool_str(pool, text) else { return Status::NGX_ERROR.into() };
    place.data = copy.data;
    bits::ngx_variable_value_t::LEN.set(place, copy.len as u32);
    bits::ngx_variable_value_t::VALID.set(place, true);
    bits::ngx_variable_value_t::NOT_FOUND.set(place, false);
    Status::NGX_OK.into()
}

/// `$cutover_group`.
struct GroupName;

impl Variable for GroupName {
    fn value<'a>(request: &'a mut ngx_http_request_t, _data: usize) -> Value<'a> {
        decided(request).map_or(Value::NotFound, |decided| Value::Text(decided.group.name.as_bytes()))
    }
}

/// `$cutover_slot`.
struct SlotName;

impl Variable for SlotName {
    fn value<'a>(request: &'a mut ngx_http_request_t, _data: usize) -> Value<'a> {
        decided(request).map_or(Value::NotFound, |decided| Value::Text(decided.slot.as_bytes()))
    }
}

/// `$cutover_generation`.
struct Generation;

impl Variable for Generation {
    fn value<'a>(request: &'a mut ngx_http_request_t, _data: usize) -> Value<'a> {
        decided(request).map_or(Value::NotFound, |decided| Value::Number(decided.generation))
    }
}

/// `$cutover_slot_of_NAME`.
struct SlotOf;

impl Variable for SlotOf {
    fn value<'a>(request: &'a mut ngx_http_request_t, data: usize) -> Value<'a> {
        // SAFETY: of a variable that is known by its prefix nginx passes the whole name, which outlives the call.
        let name = unsafe { &*ptr::with_exposed_provenance::<ngx_str_t>(data) };
        let main = main_of_request(request);
        let group =
            main.zip(group_in(name.as_bytes())).and_then(|(main, group)| main.group_of_variable(group));
        // Only a name that is not in the configuration is not found, by SSI for example.
        let Some(group) = group else { return Value::NotFound };
        let slot = slot_of(request, group).and_then(|choice| group.slots.get(choice.slot));
        slot.map_or(Value::Failed, |slot| Value::Text(slot.name.as_bytes()))
    }
}

/// `$cutover_upstream`: the backend that the request has, or that of its slot if the backend is a group's.
struct Backend;

impl Variable for Backend {
    fn value<'a>(request: &'a mut ngx_http_request_t, _data: usize) -> Value<'a> {
        let Some(main) = main_of_request(request) else { return Value::Failed };
        let r: *mut ngx_http_request_t = request;
        // SAFETY: the same request; the value of its variable lives as long.
        let Some(current) = main.backends.current(unsafe { &mut *r }) else { return Value::NotFound };
        let group = main.backends.group(current).and_then(|at| main.groups.get(at));
        let Some(group) = group else { return Value::Text(current) };
        // SAFETY: the same request.
        let slot = by_name::slot(unsafe { &mut *r }, group).and_then(|slot| group.slots.get(slot));
        slot.map_or(Value::Failed, |slot| Value::Text(slot.upstream_name.as_bytes()))
    }
}

/// What was decided for a request.
struct Decided<'a> {
    group: &'a Group,
    slot: &'a str,
    generation: u32,
}

fn decided<'a>(request: &mut ngx_http_request_t) -> Option<Decided<'a>> {
    let own = if is_being_built(request) { decide_now(request) } else { UpstreamRequest::latest(request) };
    match own {
        Some(own) => {
            Some(Decided { group: own.group(), slot: own.slot_name(), generation: own.generation() })
        }
        None => of_location(request),
    }
}

/// What is decided for the location's `cutover_group`.
fn of_location<'a>(request: &mut ngx_http_request_t) -> Option<Decided<'a>> {
    let named = Module::location_conf(request)?.group.as_ref()?;
    let group = main_of_request(request)?.named(named)?;
    let choice = slot_of(request, group)?;
    let slot = group.slots.get(choice.slot)?.name.as_str();
    Some(Decided { group, slot, generation: choice.generation })
}

/// The slot that the request has for the group, or gets now.
fn slot_of(request: &mut ngx_http_request_t, group: &Group) -> Option<Choice> {
    match group.backend {
        None => UpstreamRequest::slot_without_upstream(request, group),
        Some(_) => by_name::slot_without_upstream(request, group),
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
    u.is_some_and(|u| u.upstream.is_null()) && !answered && UpstreamRequest::current(request).is_none()
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

/// The value must be the slot that the request will use, so the slot is chosen now.
fn decide_now<'a>(request: &mut ngx_http_request_t) -> Option<&'a UpstreamRequest> {
    // SAFETY: null, or the upstream that this request is about to use.
    let u = unsafe { request.upstream.as_ref() }?;
    // SAFETY: null, or what a `proxy_pass` with a variable has come to.
    let group = match unsafe { u.resolved.as_ref() } {
        Some(resolved) if resolved.no_port != 0 => {
            // As nginx looks for an upstream of this name, whatever the case of its letters.
            upstream::group_of_host(main_of_request(request)?, resolved.host.as_bytes())?
        }
        Some(_) => return None,
        None => {
            // SAFETY: set by nginx's proxy modules when they create the upstream.
            let conf = unsafe { u.conf.as_ref() }?;
            // SAFETY: null, or an upstream of the configuration that serves this request.
            upstream::group_of(unsafe { conf.upstream.as_ref() }?)?
        }
    };
    UpstreamRequest::choose_early(request, group)
}
