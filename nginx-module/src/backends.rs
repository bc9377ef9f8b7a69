//! Groups of backend names: how a controller is entered that picks its backends by the value of a variable, as ingress-nginx
//! does.
//!
//! `set $proxy_upstream_name $cutover_upstream;` asks here in every location: one look-up by hash, and a name that belongs to
//! no group comes back as it is.

use std::collections::HashMap;

use ngx::ffi::{
    NGX_ERROR, ngx_conf_t, ngx_hash_key, ngx_http_get_indexed_variable, ngx_http_get_variable,
    ngx_http_get_variable_index, ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t, ngx_str_t,
};
use ngx::ngx_string;

use crate::ext::Logged;
use crate::group::Group;
use crate::layout::bits;

/// Where the controller keeps the name of the backend.
const NAME: ngx_str_t = ngx_string!("proxy_upstream_name");

/// By the name of the backend: the group's position.
#[derive(Default)]
pub(crate) struct Backends {
    groups: HashMap<Box<[u8]>, usize>,
    /// Of `$proxy_upstream_name`; only if there are such groups: nginx refuses a configuration that uses a variable which
    /// no module defines.
    current: Option<ngx_int_t>,
}

impl Backends {
    pub(crate) fn of(cf: &mut ngx_conf_t, groups: &[Box<Group>]) -> Result<Self, Logged> {
        let named = groups.iter().enumerate().filter_map(|(at, group)| Some((group.backend.as_deref()?, at)));
        let groups: HashMap<Box<[u8]>, usize> =
            named.map(|(name, at)| (name.as_bytes().into(), at)).collect();
        if groups.is_empty() {
            return Ok(Self::default());
        }
        let mut name = NAME;
        // SAFETY: `cf` is being parsed, and the name is static.
        let current = unsafe { ngx_http_get_variable_index(cf, &mut name) };
        if current == NGX_ERROR as ngx_int_t {
            Err(Logged)
        } else {
            Ok(Self { groups, current: Some(current) })
        }
    }

    /// The backend that the request has now; `None` if nothing names one.
    pub(crate) fn current<'a>(&self, request: &'a mut ngx_http_request_t) -> Option<&'a [u8]> {
        let value = match self.current.and_then(|index| usize::try_from(index).ok()) {
            // SAFETY: an index of this configuration.
            Some(index) => unsafe { ngx_http_get_indexed_variable(request, index) },
            None => by_name(request),
        };
        // SAFETY: null, or a value that lives as long as the request.
        let value =
            unsafe { value.as_ref() }.filter(|value| !bits::ngx_variable_value_t::NOT_FOUND.is_set(value))?;
        Some(value.as_bytes())
    }

    /// Whether there are any.
    pub(crate) fn are_some(&self) -> bool {
        !self.groups.is_empty()
    }

    /// The position of the group of this backend.
    pub(crate) fn group(&self, backend: &[u8]) -> Option<usize> {
        self.groups.get(backend).copied()
    }
}

/// Without groups of backend names the variable is looked up by its name: it must come back as it is.
#[cold]
fn by_name(request: &mut ngx_http_request_t) -> *mut ngx_http_variable_value_t {
    let mut name = NAME;
    // SAFETY: the name is static.
    let key = unsafe { ngx_hash_key(name.data, name.len) };
    // SAFETY: the request that is served; an unknown name gives a value that is not found.
    unsafe { ngx_http_get_variable(request, &mut name, key) }
}
