//! The heads of answers on their way to clients, for groups of backend names: a 101 tells that a connection is upgraded.
//!
//! Nothing else is seen of such a request before it ends, and a WebSocket may last for hours.

use std::cell::Cell;

use ngx::core::Status;
use ngx::ffi::{
    NGX_HTTP_SWITCHING_PROTOCOLS, ngx_http_output_header_filter_pt, ngx_http_request_t,
    ngx_http_top_header_filter, ngx_int_t,
};

use super::by_name;

thread_local! {
    /// The filter after this one. nginx does all its work on one thread.
    static NEXT: Cell<ngx_http_output_header_filter_pt> = const { Cell::new(None) };
}

/// Puts the filter before all others. nginx builds the chain anew with each configuration.
pub(crate) fn watch() {
    // SAFETY: nginx reads its configuration on its only thread.
    NEXT.set(unsafe { ngx_http_top_header_filter });
    // SAFETY: the same.
    unsafe { ngx_http_top_header_filter = Some(head) };
}

unsafe extern "C" fn head(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the request whose answer it sends.
    let request = unsafe { &*r };
    if request.headers_out.status == NGX_HTTP_SWITCHING_PROTOCOLS as usize {
        by_name::upgraded(request);
    }
    match NEXT.get() {
        // SAFETY: the filter that nginx, or a module of this configuration, has put there.
        Some(next) => unsafe { next(r) },
        None => Status::NGX_OK.into(),
    }
}
