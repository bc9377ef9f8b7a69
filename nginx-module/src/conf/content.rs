//! Locations that have their content from this module: from `cutover_api` or `cutover_metrics`, and from nothing else.

use std::ptr::NonNull;

use ngx::ffi::{
    ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_core_srv_conf_t, ngx_http_request_t,
    ngx_int_t,
};
use ngx::http::HttpModuleConfExt;

use crate::ext::{self, ConfExt, Logged, Place};

pub(crate) type Handler = extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

/// One of these locations.
pub(crate) struct Content {
    location: NonNull<ngx_http_core_loc_conf_t>,
    handler: Handler,
    directive: String,
    place: Place,
}

impl Content {
    /// Gives the location that is being parsed its content; returns the server that it is in, too.
    pub(crate) fn take(
        cf: &mut ngx_conf_t,
        handler: Handler,
    ) -> Result<(Self, *mut ngx_http_core_srv_conf_t), Logged> {
        let core = ext::module(&raw const ngx_http_core_module);
        // SAFETY: the core module's location configuration is an ngx_http_core_loc_conf_t.
        let location = unsafe { cf.http_location_conf_unchecked::<ngx_http_core_loc_conf_t>(core) };
        // SAFETY: the core module's server configuration is an ngx_http_core_srv_conf_t.
        let server = unsafe { cf.http_server_conf_unchecked(core) };
        let (Some(mut location), Some(server)) = (location, server) else { return Err(Logged) };
        let content = Self { location, handler, directive: cf.word(0), place: cf.place() };
        // SAFETY: belongs to the location that is being parsed.
        let location = unsafe { location.as_mut() };
        if location.handler.is_some() {
            return Err(cf.refuse(format_args!("{}", content.is_not_alone())));
        }
        location.handler = Some(handler);
        Ok((content, server.as_ptr()))
    }

    /// Refuses a location that a directive after ours has taken over: nginx lets the last one win, and says nothing.
    pub(crate) fn check(&self, cf: &mut ngx_conf_t) -> Result<(), Logged> {
        // SAFETY: a location of the configuration that has just been parsed.
        let now = unsafe { self.location.as_ref() }.handler;
        if now.map(|now| now as usize) == Some(self.handler as usize) {
            return Ok(());
        }
        Err(cf.refuse_at(&self.place, format_args!("{}", self.is_not_alone())))
    }

    fn is_not_alone(&self) -> String {
        format!(
            "\"{}\" in a location that has its content from another directive too: give it a location of its own",
            self.directive
        )
    }
}
