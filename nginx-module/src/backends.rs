//! Groups of backend names: how a controller is entered that picks its backends by the value of a variable, as ingress-nginx
//! does.
//!
//! `set $proxy_upstream_name $cutover_upstream;` asks here in every location: one look-up by hash, and a name that belongs to
//! no group comes back as it is.

use std::collections::HashMap;

use ngx::ffi::{
    NGX_ERROR, ngx_conf_t, ngx_http_get_indexed_variable, ngx_http_get_variable_index, ngx_http_request_t,
    ngx_int_t,
};
use ngx::ngx_string;

use crate::ext::Logged;
use crate::group::Group;

/// By the name of the backend: the group's position.
#[derive(Default)]
pub(crate) struct Backends {
    groups: HashMap<Box<[u8]>, usize>,
    /// Of `$proxy_upstream_name`; only if there are such groups: nginx refuses a configuration that uses a variable which
    /// nobody defines.
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
        let mut name = ngx_string!("proxy_upstream_name");
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
        let index = usize::try_from(self.current?).ok()?;
        // SAFETY: an index of this configuration.
        let value = unsafe { ngx_http_get_indexed_variable(request, index) };
        // SAFETY: null, or a value that lives as long as the request.
        let value = unsafe { value.as_ref() }.filter(|value| value.not_found() == 0)?;
        Some(value.as_bytes())
    }

    /// The position of the group of this backend.
    pub(crate) fn group(&self, backend: &[u8]) -> Option<usize> {
        self.groups.get(backend).copied()
    }
}
