//! One answer of the API: status, headers and JSON, and how nginx sends it.

use cutover_core::api::{BadCall, ErrorCode, Failure, Group};
use ngx::core::Status;
use ngx::ffi::{
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_OK, NGX_HTTP_SPECIAL_RESPONSE, ngx_buf_t, ngx_chain_t,
    ngx_http_discard_request_body, ngx_http_finalize_request, ngx_http_output_filter, ngx_http_request_t,
    ngx_http_send_header, ngx_int_t, ngx_list_push, ngx_str_t, ngx_table_elt_t,
};
use ngx::ngx_string;
use serde::Serialize;

use crate::ext::pool_str;
use crate::layout::bits;
use crate::pool;

/// What a request is answered with.
pub(super) struct Answer {
    status: u32,
    generation: Option<u32>,
    code: Option<ErrorCode>,
    /// Value of the header `Allow`.
    allow: Option<&'static str>,
    content_type: ngx_str_t,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn ok(body: &impl Serialize) -> Self {
        Self {
            status: NGX_HTTP_OK,
            generation: None,
            code: None,
            allow: None,
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

    pub(super) fn bad_call(bad: BadCall) -> Self {
        Self { allow: bad.allow, ..Self::failure(bad.failure) }
    }

    pub(super) fn internal(message: &str) -> Self {
        Self::failure(Failure::new(ErrorCode::Internal, message))
    }

    /// Sends it; returns what a content handler returns.
    pub(super) fn send(self, request: &mut ngx_http_request_t) -> ngx_int_t {
        self.try_send(request).unwrap_or(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t)
    }

    /// The same for a request whose body nothing has read.
    pub(super) fn send_without_body(self, request: &mut ngx_http_request_t) -> ngx_int_t {
        // SAFETY: the request that is served, before anything else has read its body.
        let rc = unsafe { ngx_http_discard_request_body(request) };
        if rc != Status::NGX_OK.0 && rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t {
            return rc;
        }
        self.send(request)
    }

    /// Sends it and ends the request, whose body has been read.
    pub(super) fn finish(self, request: &mut ngx_http_request_t) {
        let rc = self.send(request);
        // SAFETY: the request whose body reading counted one more user of it, which this releases.
        unsafe { ngx_http_finalize_request(request, rc) };
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
        if let Some(allow) = self.allow {
            header(request, ngx_string!("Allow"), allow.as_bytes())?;
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

fn send_body(request: &mut ngx_http_request_t, body: Vec<u8>) -> Option<ngx_int_t> {
    // SAFETY: the pool is the request's.
    let pool = unsafe { ngx::core::Pool::from_ngx_pool(request.pool) };
    // The pool drops the bytes with the request: a page of metrics may have many megabytes, and is not copied.
    let body = pool::add(request.pool, body, pool::drop_value::<Vec<u8>>)?;
    // SAFETY: zeroed memory of the pool, or null; zeroes are a valid buffer.
    let buffer: &mut ngx_buf_t = unsafe { pool.calloc_type::<ngx_buf_t>().as_mut() }?;
    let bytes = body.as_mut_ptr_range();
    buffer.pos = bytes.start;
    buffer.start = bytes.start;
    buffer.last = bytes.end;
    buffer.end = buffer.last;
    bits::ngx_buf_t::MEMORY.set(buffer, true);
    // The end of a subrequest is not the end of the answer.
    bits::ngx_buf_t::LAST_BUF.set(buffer, std::ptr::eq(request.main, request));
    bits::ngx_buf_t::LAST_IN_CHAIN.set(buffer, true);
    let mut chain = ngx_chain_t { buf: buffer, next: std::ptr::null_mut() };
    // SAFETY: nginx copies the links it keeps; the buffer lives in the request's pool.
    Some(unsafe { ngx_http_output_filter(request, &mut chain) })
}
