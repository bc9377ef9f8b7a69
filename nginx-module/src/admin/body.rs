//! The body of a request.

use std::os::fd::BorrowedFd;

use cutover_core::api::{ErrorCode, Failure, MAX_BODY};
use ngx::core::Status;
use ngx::ffi::{
    NGX_HTTP_SPECIAL_RESPONSE, ngx_buf_t, ngx_chain_t, ngx_http_read_client_request_body, ngx_http_request_t,
    ngx_int_t,
};

use super::answer::Answer;
use crate::layout::bits;

/// Refuses a body that says it is too large, before any of it is read.
pub(super) fn check_length(request: &ngx_http_request_t) -> Result<(), Answer> {
    if request.headers_in.content_length_n > MAX_BODY as i64 { Err(too_large()) } else { Ok(()) }
}

/// Reads the body; nginx calls `complete` when all of it is there. Returns what a content handler returns.
pub(super) fn read(
    request: &mut ngx_http_request_t,
    complete: unsafe extern "C" fn(*mut ngx_http_request_t),
) -> ngx_int_t {
    bits::ngx_http_request_t::REQUEST_BODY_IN_SINGLE_BUF.set(request, true);
    // SAFETY: the request that is served.
    let rc = unsafe { ngx_http_read_client_request_body(request, Some(complete)) };
    if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t { rc } else { Status::NGX_DONE.into() }
}

/// The bytes that nginx has read.
pub(super) fn bytes(request: &ngx_http_request_t) -> Result<Vec<u8>, Answer> {
    let mut bytes = Vec::new();
    // SAFETY: null, or the body that nginx has just read.
    let body = unsafe { request.request_body.as_ref() };
    let mut next: *const ngx_chain_t = body.map_or(std::ptr::null(), |body| body.bufs);
    // SAFETY: nginx ends a chain with null.
    while let Some(link) = unsafe { next.as_ref() } {
        // SAFETY: each link of a body has a buffer.
        let buffer = unsafe { &*link.buf };
        if bytes.len() + length(buffer) > MAX_BODY {
            return Err(too_large());
        }
        append(buffer, &mut bytes).map_err(|_| Answer::internal("the body could not be read back"))?;
        next = link.next;
    }
    Ok(bytes)
}

fn length(buffer: &ngx_buf_t) -> usize {
    if bits::ngx_buf_t::IN_FILE.is_set(buffer) {
        (buffer.file_last - buffer.file_pos) as usize
    } else {
        (buffer.last as usize).saturating_sub(buffer.pos as usize)
    }
}

/// nginx keeps what does not fit `client_body_buffer_size` in a file.
fn append(buffer: &ngx_buf_t, bytes: &mut Vec<u8>) -> rustix::io::Result<()> {
    let length = length(buffer);
    if !bits::ngx_buf_t::IN_FILE.is_set(buffer) {
        // SAFETY: a buffer in memory holds the bytes from `pos` to `last`.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(buffer.pos, length) });
        return Ok(());
    }
    // SAFETY: a buffer in a file has the file.
    let fd = unsafe { (*buffer.file).fd };
    // SAFETY: open for as long as the request.
    let file = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut content = vec![0; length];
    let mut offset = buffer.file_pos as u64;
    let mut rest = content.as_mut_slice();
    while !rest.is_empty() {
        match rustix::io::pread(file, &mut *rest, offset)? {
            0 => return Err(rustix::io::Errno::IO),
            read => {
                offset += read as u64;
                rest = rest.split_at_mut_checked(read).map(|(_, rest)| rest).unwrap_or_default();
            }
        }
    }
    bytes.append(&mut content);
    Ok(())
}

fn too_large() -> Answer {
    let message = format!("the body is larger than {MAX_BODY} bytes");
    Answer::failure(Failure::new(ErrorCode::BodyTooLarge, message))
}
