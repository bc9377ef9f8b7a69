//! One answer of the API: status, headers and JSON, and how nginx sends it.

use std::ffi::c_void;
use std::ptr;

use cutover_core::api::{ErrorCode, Failure, Group, parse_call};
use ngx::core::Status;
use ngx::ffi::{
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_OK, ngx_buf_t, ngx_chain_t, ngx_http_output_filter,
    ngx_http_request_t, ngx_http_send_header, ngx_int_t, ngx_list_push, ngx_pool_cleanup_add, ngx_pool_t,
    ngx_str_t, ngx_table_elt_t,
};
use ngx::ngx_string;
use serde::Serialize;

use super::path_in_location;
use crate::ext::pool_str;
use crate::layout::bits;

/// What a request is answered with.
pub(super) struct Answer {
    status: u32,
    generation: Option<u32>,
    code: Option<ErrorCode>,
    content_type: ngx_str_t,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn ok(body: &impl Serialize) -> Self {
        Self {
            status: NGX_HTTP_OK,
            generation: None,
            code: None,
            content_type: ngx_string!("application/json"),
            body: json(body),
        }
    }

    /// A page in the text format of Prometheus.
    pub(super) fn metrics(page: String) -> Self {
        Self {
            content_type: ngx_string!("text/plain; version=0.0.4"),
            body: page.into_bytes(),
            ..Self::ok(&())
        }
    }

    /// A group, with its generation as the ETag.
    pub(super) fn group(group: &Group) -> Self {
        Self { generation: Some(group.route.generation), ..Self::ok(group) }
    }

    pub(super) fn failure(failure: Failure) -> Self {
        Self {
            status: u32::from(failure.error.code.status()),
            generation: failure.group.as_ref().map(|group| group.route.generation),
            code: Some(failure.error.code),
            ..Self::ok(&failure)
        }
    }

    pub(super) fn internal(message: &str) -> Self {
        Self::failure(Failure::new(ErrorCode::Internal, message))
    }

    /// Sends it; gives back what a content handler returns.
    pub(super) fn send(self, request: &mut ngx_http_request_t) -> ngx_int_t {
        self.try_send(request).unwrap_or(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t)
    }

    /// `None`: the pool is exhausted.
    fn try_send(mut self, request: &mut ngx_http_request_t) -> Option<ngx_int_t> {
        if self.body.last() != Some(&b'\n') {
            self.body.push(b'\n');
        }
        let out = &mut request.headers_out;
        out.status = self.status as usize;
        out.content_length_n = self.body.len() as i64;
        out.content_type = self.content_type;
        out.content_type_len = out.content_type.len;
        header(request, ngx_string!("Cache-Control"), b"no-store")?;
        if let Some(generation) = self.generation {
            header(request, ngx_string!("ETag"), format!("\"{generation}\"").as_bytes())?;
        }
        if self.code == Some(ErrorCode::Unauthorized) {
            header(request, ngx_string!("WWW-Authenticate"), b"Bearer")?;
        }
        if self.code == Some(ErrorCode::MethodNotAllowed) {
            header(request, ngx_string!("Allow"), allowed(request).as_bytes())?;
        }
        // SAFETY: the request that is served, whose headers are complete.
        let rc = unsafe { ngx_http_send_header(request) };
        if rc == Status::NGX_ERROR.0
            || rc > Status::NGX_OK.0
            || bits::ngx_http_request_t::HEADER_ONLY.is_set(request)
        {
            return Some(rc);
        }
        send_body(request, self.body)
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    // The wire types have string keys only: nothing in them can fail.
    serde_json::to_vec(body).unwrap_or_default()
}

/// The one method that the path would have taken.
fn allowed(request: &ngx_http_request_t) -> &'static str {
    match parse_call("PUT", &path_in_location(request)) {
        Ok(call) => call.allows(),
        Err(_) => "GET, HEAD",
    }
}

fn header(request: &mut ngx_http_request_t, key: ngx_str_t, value: &[u8]) -> Option<()> {
    let value = pool_str(request.pool, value)?;
    // SAFETY: nginx's list of headers holds ngx_table_elt_t.
    let place: *mut ngx_table_elt_t = unsafe { ngx_list_push(&mut request.headers_out.headers) }.cast();
    // SAFETY: null, or room for one header. Zeroes first: newer nginx links headers of the same name.
    unsafe { place.as_mut() }?;
    // SAFETY: as above.
    unsafe { place.write_bytes(0, 1) };
    // SAFETY: zeroes are a valid header.
    let header = unsafe { place.as_mut() }?;
    header.hash = 1;
    header.key = key;
    header.value = value;
    Some(())
}

/// The pool drops the bytes with the request: a page of metrics may have many megabytes, and is not copied.
fn give_to_pool<'a>(pool: *mut ngx_pool_t, bytes: Vec<u8>) -> Option<&'a mut Vec<u8>> {
    unsafe extern "C" fn drop_bytes(bytes: *mut c_void) {
        // SAFETY: written below; the pool calls this once, at its end.
        unsafe { ptr::drop_in_place(bytes.cast::<Vec<u8>>()) };
    }
    // SAFETY: callers pass the pool of the request that they serve.
    let cleanup = unsafe { ngx_pool_cleanup_add(pool, size_of::<Vec<u8>>()) };
    // SAFETY: null, or an entry of the pool.
    let cleanup = unsafe { cleanup.as_mut() }?;
    let place: *mut Vec<u8> = cleanup.data.cast();
    // SAFETY: room for it; nginx aligns what it gives for any type.
    unsafe { place.write(bytes) };
    cleanup.handler = Some(drop_bytes);
    // SAFETY: just written; it lives as long as the pool.
    unsafe { place.as_mut() }
}

fn send_body(request: &mut ngx_http_request_t, body: Vec<u8>) -> Option<ngx_int_t> {
    // SAFETY: the pool is the request's.
    let pool = unsafe { ngx::core::Pool::from_ngx_pool(request.pool) };
    let body = give_to_pool(request.pool, body)?;
    // SAFETY: zeroed memory of the pool, or null; zeroes are a valid buffer.
    let buffer: &mut ngx_buf_t = unsafe { pool.calloc_type::<ngx_buf_t>().as_mut() }?;
    let bytes = body.as_mut_ptr_range();
    buffer.pos = bytes.start;
    buffer.start = bytes.start;
    buffer.last = bytes.end;
    buffer.end = buffer.last;
    bits::ngx_buf_t::MEMORY.set(buffer, true);
    bits::ngx_buf_t::LAST_BUF.set(buffer, true);
    bits::ngx_buf_t::LAST_IN_CHAIN.set(buffer, true);
    let mut chain = ngx_chain_t { buf: buffer, next: std::ptr::null_mut() };
    // SAFETY: nginx copies the links it keeps; the buffer lives in the request's pool.
    Some(unsafe { ngx_http_output_filter(request, &mut chain) })
}
