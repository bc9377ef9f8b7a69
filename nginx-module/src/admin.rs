//! The admin API: the content of a location with `cutover_api`. Its calls and answers are described in
//! [`cutover_core::api`].

use cutover_core::api::{Action, Call, ErrorCode, Failure, Groups, parse_call};
use cutover_core::exposition::render;
use ngx::ffi::{
    NGINX_VERSION, ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_request_t, ngx_int_t,
};
use ngx::http::{HttpModuleConfExt, HttpModuleLocationConf};

use crate::conf::{Module, main_of_request};
use crate::ext::{self, text};
use crate::group::Group;
use crate::layout::bits;

mod access;
mod answer;
mod body;
mod change;
mod describe;
mod durable;
mod headers;
mod listens;
mod pause;
mod peers;
mod pending;
mod sockets;
mod standby;
mod switch;
mod tls;
mod trial;

pub(crate) use durable::{follow as follow_cycle, start as start_waiting};
pub(crate) use listens::check_remote;
pub(crate) use sockets::remove_stale as remove_stale_sockets;

use access::User;
use answer::Answer;

/// Where the API's paths begin.
const API_ROOT: &[u8] = b"/v1";

/// Content handler of the location.
pub(crate) extern "C" fn handle(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the request that is served.
    let request = unsafe { &mut *r };
    // If-Match is ours: nginx's own filter would compare it with the answer's ETag.
    bits::ngx_http_request_t::DISABLE_NOT_MODIFIED.set(request, true);
    match find_call(request) {
        Ok(Next::Change(action, group, user)) => pending::begin(request, action, group, user),
        Ok(Next::Send(answer)) | Err(answer) => answer.send_without_body(request),
    }
}

/// Content handler of a location with `cutover_metrics`. nginx's own directives limit its readers.
pub(crate) extern "C" fn handle_metrics(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the request that is served.
    let request = unsafe { &mut *r };
    let answer = match Call::Metrics.check_method(&text(&request.method_name), "metrics are") {
        Ok(()) => metrics(request),
        Err(bad) => Answer::bad_call(bad),
    };
    answer.send_without_body(request)
}

fn metrics(request: &ngx_http_request_t) -> Answer {
    let groups = groups_of(request);
    let living = describe::living(groups);
    let described: Vec<_> = groups.iter().map(|group| describe::metrics(group, living.as_ref())).collect();
    Answer::metrics(render(env!("CARGO_PKG_VERSION"), &NGINX_VERSION.to_string_lossy(), &described))
}

enum Next {
    Send(Answer),
    Change(Action, &'static Group, User),
}

fn find_call(request: &mut ngx_http_request_t) -> Result<Next, Answer> {
    let api = Module::location_conf(request).and_then(|location| location.api.as_deref());
    let api = api.ok_or_else(|| Answer::internal("this location has no cutover_api"))?;
    let user = access::check(request, api)?;

    let path = path_in_location(request);
    let call = parse_call(&text(&request.method_name), &path).map_err(Answer::bad_call)?;
    match call {
        Call::Groups => Ok(Next::Send(all_groups(request))),
        Call::Metrics => Ok(Next::Send(metrics(request))),
        Call::Group(name) => Ok(Next::Send(Answer::group(&describe::with_events(find(request, name)?)))),
        Call::Change(action, name) => {
            access::check_write(api, &user)?;
            let group = find(request, name)?;
            body::check_length(request)?;
            Ok(Next::Change(action, group, user))
        }
    }
}

fn groups_of(request: &ngx_http_request_t) -> &'static [Box<Group>] {
    main_of_request(request).map_or(&[], |main| &main.groups)
}

fn all_groups(request: &ngx_http_request_t) -> Answer {
    let groups = groups_of(request);
    let living = describe::living(groups);
    Answer::ok(&Groups {
        module: env!("CARGO_PKG_VERSION").to_owned(),
        nginx: NGINX_VERSION.to_string_lossy().into_owned(),
        groups: groups.iter().map(|group| describe::one_of_many(group, living.as_ref())).collect(),
    })
}

/// Names that an error lists.
const MOST_NAMES: usize = 20;

fn find(request: &ngx_http_request_t, name: &str) -> Result<&'static Group, Answer> {
    main_of_request(request).and_then(|main| main.group(name)).ok_or_else(|| {
        let groups = groups_of(request);
        let mut known: Vec<&str> = groups.iter().map(|group| group.name.as_str()).take(MOST_NAMES).collect();
        if groups.len() > known.len() {
            known.push("..");
        }
        let message = format!("no group \"{name}\"; the configuration has: {}", known.join(", "));
        Answer::failure(Failure::new(ErrorCode::UnknownGroup, message))
    })
}

/// The API's paths begin where the location ends: `location /cutover/ { cutover_api; }` serves `/cutover/v1/groups`.
fn path_in_location(request: &ngx_http_request_t) -> String {
    let core = ext::module(&raw const ngx_http_core_module);
    // SAFETY: the core module's location configuration is an ngx_http_core_loc_conf_t.
    let location = unsafe { request.http_location_conf_unchecked::<ngx_http_core_loc_conf_t>(core) };
    let uri = request.uri.as_bytes();
    let prefix = match location {
        // SAFETY: belongs to the configuration that serves the request.
        Some(location) => unsafe { location.as_ref() }.name.as_bytes(),
        None => b"",
    };
    // `location = /v1/groups` and the like name a part of the API's own paths.
    let is_root = |rest: &[u8]| {
        rest.strip_prefix(API_ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    let own = (0..prefix.len()).find(|at| prefix.get(*at..).is_some_and(is_root)).unwrap_or(prefix.len());
    let rest = prefix.get(..own).and_then(|prefix| uri.strip_prefix(prefix)).unwrap_or(uri);
    format!("/{}", String::from_utf8_lossy(rest).trim_start_matches('/'))
}
